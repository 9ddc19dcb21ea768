//! What a policy reaches beyond the router, answered by the [`World`](super::router::World) of the scenario.

pub(crate) mod http {
    use super::super::host::refuse;
    use super::super::router::with;
    pub(crate) use crate::bindings::imports::patchbay::policy::http::{Request, Response};
    use crate::bindings::imports::patchbay::policy::types::{Error, ErrorKind};

    pub(crate) fn fetch(request: &Request) -> Result<Response, Error> {
        with(|world| {
            world.http_requests.push(request.clone());
            let mut responses = world.router.responses.iter();
            match responses.find(|(url, _)| *url == request.url) {
                Some((_, response)) => Ok(response.clone()),
                None => refuse(
                    ErrorKind::Unavailable,
                    format!("nothing answers at {}", request.url),
                ),
            }
        })
    }
}

pub(crate) mod keyvalue {
    use super::super::host::refuse;
    use super::super::router::with;
    use crate::bindings::imports::patchbay::policy::types::{Error, ErrorKind};

    /// As the WIT package says.
    const MAX_LISTED: usize = 1000;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        with(|world| Ok(world.router.values.get(key).cloned()))
    }

    pub(crate) fn exists(key: &str) -> Result<bool, Error> {
        with(|world| Ok(world.router.values.contains_key(key)))
    }

    pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), Error> {
        if key.is_empty() {
            return refuse(ErrorKind::InvalidArgument, "a key is not empty");
        }
        with(|world| world.router.values.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }

    /// The time of a scenario stands still, so that no value ends.
    pub(crate) fn set_with_ttl(key: &str, value: &[u8], ttl_secs: u32) -> Result<(), Error> {
        check_ttl(ttl_secs)?;
        set(key, value)
    }

    pub(crate) fn delete(key: &str) -> Result<(), Error> {
        with(|world| world.router.values.remove(key));
        Ok(())
    }

    pub(crate) fn increment(key: &str, delta: i64) -> Result<i64, Error> {
        let number = match get(key)? {
            Some(value) => String::from_utf8_lossy(&value).parse::<i64>().ok(),
            None => Some(0),
        };
        let Some(number) = number else {
            return refuse(
                ErrorKind::InvalidArgument,
                format!("the value of {key:?} is no number"),
            );
        };
        let Some(sum) = number.checked_add(delta) else {
            return refuse(
                ErrorKind::Limit,
                format!("the number of {key:?} would leave 64 bits"),
            );
        };
        set(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    pub(crate) fn increment_with_ttl(key: &str, delta: i64, ttl_secs: u32) -> Result<i64, Error> {
        check_ttl(ttl_secs)?;
        increment(key, delta)
    }

    pub(crate) fn list_keys(prefix: &str, after: &str) -> Result<Vec<String>, Error> {
        with(|world| {
            let keys = world.router.values.keys();
            Ok(keys
                .filter(|key| key.starts_with(prefix) && key.as_str() > after)
                .take(MAX_LISTED)
                .cloned()
                .collect())
        })
    }

    fn check_ttl(ttl_secs: u32) -> Result<(), Error> {
        if ttl_secs == 0 {
            return refuse(
                ErrorKind::InvalidArgument,
                "a time to live is at least a second",
            );
        }
        Ok(())
    }
}
