//! `wasi:keyvalue@0.2.0-draft`, for policies that bring a library for it: the same store as `interface keyvalue`, without a time to live.
//!
//! A bucket is a part of the keys: those of the bucket `lcr` begin with `lcr/`, those of `default` and of the one without a name are as
//! they are. What the operator has granted is looked at key by key. Only components can import it.

use wasmtime::component::{ComponentType, Linker, Lower, Resource, ResourceType};
use wasmtime::{Result, bail};

use super::{Call, keyvalue};
use crate::host::{ErrorKind, Host, HostError};
use crate::state::State;

/// The interfaces.
pub(crate) const INTERFACES: [&str; 3] = [STORE, ATOMICS, BATCH];
const STORE: &str = "wasi:keyvalue/store@0.2.0-draft";
const ATOMICS: &str = "wasi:keyvalue/atomics@0.2.0-draft";
const BATCH: &str = "wasi:keyvalue/batch@0.2.0-draft";

/// Buckets that an instance may have open.
const MAX_BUCKETS: usize = 64;
/// Keys of a page, as `keyvalue.list-keys` gives them.
const PAGE: usize = 1000;
/// Pages that can be listed: each begins at the first key.
const MAX_PAGES: u64 = 100;

/// A bucket, as the guest has it.
enum Bucket {}

/// The open buckets of an instance: what their keys begin with.
#[derive(Default)]
pub(crate) struct Buckets(Vec<Option<String>>);

#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    #[allow(dead_code, reason = "of the interface: every store exists")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
struct KeyResponse {
    keys: Vec<String>,
    cursor: Option<u64>,
}

type Answer<T> = std::result::Result<T, Error>;

impl From<HostError> for Error {
    fn from(error: HostError) -> Error {
        match error.kind {
            ErrorKind::Denied => Error::AccessDenied,
            _ => Error::Other(error.message),
        }
    }
}

impl Buckets {
    fn open(&mut self, identifier: &str) -> Answer<u32> {
        let prefix = match identifier {
            "" | "default" => String::new(),
            name => format!("{name}/"),
        };
        let free = self.0.iter().position(Option::is_none);
        let index = free.unwrap_or(self.0.len());
        if index >= MAX_BUCKETS {
            return Err(Error::Other(format!("{MAX_BUCKETS} buckets are open")));
        }
        if index == self.0.len() {
            self.0.push(None);
        }
        if let Some(bucket) = self.0.get_mut(index) {
            *bucket = Some(prefix);
        }
        u32::try_from(index).map_err(|_| Error::Other("too many buckets".into()))
    }

    fn close(&mut self, index: u32) {
        if let Some(bucket) = self.0.get_mut(index as usize) {
            *bucket = None;
        }
    }

    fn prefix(&self, bucket: &Resource<Bucket>) -> Result<&str> {
        match self.0.get(bucket.rep() as usize) {
            Some(Some(prefix)) => Ok(prefix),
            _ => bail!("the bucket is not open"),
        }
    }
}

pub(super) fn add<H: Host>(linker: &mut Linker<State<H>>) -> Result<()> {
    add_store(linker)?;
    add_atomics(linker)?;
    add_batch(linker)
}

fn add_store<H: Host>(linker: &mut Linker<State<H>>) -> Result<()> {
    let mut store = linker.instance(STORE)?;
    store.resource(
        "bucket",
        ResourceType::host::<Bucket>(),
        |mut call: Call<'_, H>, index| {
            call.data_mut().buckets.close(index);
            Ok(())
        },
    )?;
    store.func_wrap("open", |mut call: Call<'_, H>, (identifier,): (String,)| {
        let index = call.data_mut().buckets.open(&identifier);
        Ok((index.map(Resource::<Bucket>::new_own),))
    })?;
    store.func_wrap(
        "[method]bucket.get",
        |mut call: Call<'_, H>, (bucket, key): (Resource<Bucket>, String)| {
            in_bucket(&mut call, &bucket, &key, keyvalue::get)
        },
    )?;
    store.func_wrap(
        "[method]bucket.set",
        |mut call: Call<'_, H>, (bucket, key, value): (Resource<Bucket>, String, Vec<u8>)| {
            in_bucket(&mut call, &bucket, &key, |state, key| {
                keyvalue::set(state, key, &value)
            })
        },
    )?;
    store.func_wrap(
        "[method]bucket.delete",
        |mut call: Call<'_, H>, (bucket, key): (Resource<Bucket>, String)| {
            in_bucket(&mut call, &bucket, &key, keyvalue::delete)
        },
    )?;
    store.func_wrap(
        "[method]bucket.exists",
        |mut call: Call<'_, H>, (bucket, key): (Resource<Bucket>, String)| {
            in_bucket(&mut call, &bucket, &key, keyvalue::exists)
        },
    )?;
    store.func_wrap(
        "[method]bucket.list-keys",
        |mut call: Call<'_, H>, (bucket, cursor): (Resource<Bucket>, Option<u64>)| {
            let prefix = call.data().buckets.prefix(&bucket)?.to_owned();
            Ok((list_keys(call.data_mut(), &prefix, cursor.unwrap_or(0)),))
        },
    )
}

fn add_atomics<H: Host>(linker: &mut Linker<State<H>>) -> Result<()> {
    linker.instance(ATOMICS)?.func_wrap(
        "increment",
        |mut call: Call<'_, H>, (bucket, key, delta): (Resource<Bucket>, String, u64)| {
            in_bucket(&mut call, &bucket, &key, |state, key| {
                let delta = i64::try_from(delta).map_err(|_| too_large())?;
                let number = keyvalue::increment(state, key, delta)?;
                u64::try_from(number).map_err(|_| too_large())
            })
        },
    )
}

fn add_batch<H: Host>(linker: &mut Linker<State<H>>) -> Result<()> {
    let mut batch = linker.instance(BATCH)?;
    batch.func_wrap(
        "get-many",
        |mut call: Call<'_, H>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            let get = |key: String| {
                let (value,) = in_bucket(&mut call, &bucket, &key, keyvalue::get)?;
                Ok(value.map(|value| value.map(|value| (key, value))))
            };
            Ok((keys
                .into_iter()
                .map(get)
                .collect::<Result<Answer<Vec<_>>>>()?,))
        },
    )?;
    batch.func_wrap(
        "set-many",
        |mut call: Call<'_, H>, (bucket, pairs): (Resource<Bucket>, Vec<(String, Vec<u8>)>)| {
            let set = |(key, value): (String, Vec<u8>)| {
                let (done,) = in_bucket(&mut call, &bucket, &key, |state, key| {
                    keyvalue::set(state, key, &value)
                })?;
                Ok(done)
            };
            Ok((pairs.into_iter().map(set).collect::<Result<Answer<()>>>()?,))
        },
    )?;
    batch.func_wrap(
        "delete-many",
        |mut call: Call<'_, H>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            let delete = |key: String| {
                let (done,) = in_bucket(&mut call, &bucket, &key, keyvalue::delete)?;
                Ok(done)
            };
            Ok((keys
                .into_iter()
                .map(delete)
                .collect::<Result<Answer<()>>>()?,))
        },
    )
}

/// Does something with the key that this one of a bucket is.
fn in_bucket<H: Host, T>(
    call: &mut Call<'_, H>,
    bucket: &Resource<Bucket>,
    key: &str,
    act: impl FnOnce(&mut State<H>, &str) -> std::result::Result<T, HostError>,
) -> Result<(Answer<T>,)> {
    let key = [call.data().buckets.prefix(bucket)?, key].concat();
    Ok((act(call.data_mut(), &key).map_err(Error::from),))
}

/// A page of keys, by its number.
fn list_keys<H: Host>(state: &mut State<H>, prefix: &str, page: u64) -> Answer<KeyResponse> {
    if page >= MAX_PAGES {
        return Err(Error::Other(format!("{MAX_PAGES} pages can be listed")));
    }
    let mut after = String::new();
    let mut keys = Vec::new();
    for _ in 0..=page {
        keys = keyvalue::list_keys(state, prefix, &after)?;
        match keys.last() {
            Some(last) => after.clone_from(last),
            None => break,
        }
    }
    let cursor = (keys.len() >= PAGE).then_some(page + 1);
    let own = |key: String| key.strip_prefix(prefix).map(str::to_owned);
    Ok(KeyResponse {
        keys: keys.into_iter().filter_map(own).collect(),
        cursor,
    })
}

fn too_large() -> HostError {
    HostError {
        kind: ErrorKind::Limit,
        message: "the number is negative, or more than 63 bits".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_closed_and_bounded() {
        let mut buckets = Buckets::default();
        let first = buckets.open("lcr").unwrap();
        assert_eq!(
            buckets.prefix(&Resource::new_borrow(first)).unwrap(),
            "lcr/"
        );
        for _ in 1..MAX_BUCKETS {
            buckets.open("").unwrap();
        }
        assert!(buckets.open("default").is_err());
        buckets.close(first);
        assert!(buckets.prefix(&Resource::new_borrow(first)).is_err());
        assert_eq!(buckets.open("default"), Ok(first));
        assert_eq!(buckets.prefix(&Resource::new_borrow(first)).unwrap(), "");
    }
}
