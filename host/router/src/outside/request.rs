//! From a policy's request to one that may be sent.

use http::header::{HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use patchbay_policy::{ErrorKind, HostError, HttpRequest};

use super::url::{UrlPrefix, absolute};

/// Why a request can't be sent, when it can't.
pub(crate) fn refusal(request: &HttpRequest, grants: &[String]) -> Option<HostError> {
    checked(request.clone(), grants).err()
}

/// The request, when it can be sent and one of the grants has it.
pub(super) fn checked(
    request: HttpRequest,
    grants: &[String],
) -> Result<Request<Full<Bytes>>, HostError> {
    let url = absolute(&request.url).map_err(|problem| invalid(problem.to_string()))?;
    let is_granted = grants
        .iter()
        .filter_map(|grant| UrlPrefix::parse(grant).ok())
        .any(|grant| grant.has(&url));
    if !is_granted {
        return Err(error(
            ErrorKind::Denied,
            format!("policy.grants.http does not have {:?}", request.url),
        ));
    }
    let method = Method::from_bytes(request.method.as_bytes())
        .ok()
        .filter(|method| *method != Method::CONNECT)
        .ok_or_else(|| {
            invalid(format!(
                "{:?} is no method that can be sent",
                request.method
            ))
        })?;
    if request.body.len() > HttpRequest::MAX_BODY_BYTES
        || request.headers.len() > HttpRequest::MAX_HEADERS
    {
        return Err(error(
            ErrorKind::Limit,
            "a request has at most 64 headers and a body of 1 MiB".to_owned(),
        ));
    }
    let mut sent = Request::new(Full::new(Bytes::from(request.body)));
    (*sent.method_mut(), *sent.uri_mut()) = (method, url);
    for (name, value) in request.headers {
        let (name, value) = checked_header(&name, &value)?;
        sent.headers_mut().append(name, value);
    }
    Ok(sent)
}

fn checked_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HostError> {
    let (Ok(known), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_str(value),
    ) else {
        return Err(invalid(format!("the header {name:?} can't be sent")));
    };
    if HttpRequest::is_host_owned(name) {
        return Err(error(
            ErrorKind::Denied,
            format!("{name} of a request is the host's"),
        ));
    }
    Ok((known, value))
}

fn invalid(message: String) -> HostError {
    error(ErrorKind::InvalidArgument, message)
}

pub(super) fn error(kind: ErrorKind, message: String) -> HostError {
    HostError { kind, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(request: HttpRequest) -> Option<ErrorKind> {
        let grants = ["http://h/a/".to_owned()];
        checked(request, &grants).err().map(|error| error.kind)
    }

    fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> HttpRequest {
        HttpRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..HttpRequest::default()
        }
    }

    #[test]
    fn only_what_is_granted_is_sent() {
        assert_eq!(kind(request("GET", "http://h/a/b", &[("X-A", "1")])), None);
        assert_eq!(
            kind(request("GET", "http://h/b", &[])),
            Some(ErrorKind::Denied)
        );
    }

    #[test]
    fn a_request_can_not_be_split_or_taken_over() {
        for (method, header, expected) in [
            ("GET\r\nX", ("X-A", "1"), ErrorKind::InvalidArgument),
            ("CONNECT", ("X-A", "1"), ErrorKind::InvalidArgument),
            ("GET", ("X-A", "1\r\nX-B: 2"), ErrorKind::InvalidArgument),
            ("GET", ("X A", "1"), ErrorKind::InvalidArgument),
            ("GET", ("hOst", "other"), ErrorKind::Denied),
            ("GET", ("Content-Length", "7"), ErrorKind::Denied),
            ("GET", ("Proxy-Authorization", "7"), ErrorKind::Denied),
        ] {
            assert_eq!(
                kind(request(method, "http://h/a/", &[header])),
                Some(expected),
                "{method} {header:?}"
            );
        }
    }

    #[test]
    fn a_request_is_bounded() {
        let large = HttpRequest {
            body: vec![0; HttpRequest::MAX_BODY_BYTES + 1],
            ..request("POST", "http://h/a/", &[])
        };
        assert_eq!(kind(large), Some(ErrorKind::Limit));
    }
}
