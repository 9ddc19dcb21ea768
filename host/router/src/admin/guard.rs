//! Who may ask: a loopback or configured Host, no foreign Origin, the content types of the API, and the token when there is one.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Admin;
use super::reply::Refusal;
use crate::config::Config;

pub(super) async fn guard(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    match check(&admin, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check(admin: &Admin, request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let host = text(headers, header::HOST).or_else(|| {
        request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
    });
    let host = host.ok_or_else(|| Refusal::bad_request("there is no Host header"))?;
    if !is_our_host(host, &admin.config()) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "foreign_host",
            "the Host header is neither loopback nor a configured name",
        ));
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && !is_our_origin(origin.to_str().unwrap_or_default(), host)
    {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "requests of other web sites are refused",
        ));
    }
    if !matches!(request.uri().path(), "/healthz" | "/readyz") {
        authorize(admin, headers)?;
    }
    content_type(request)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Loopback, or what the configuration names. With a listener beyond loopback (and so with a token) any address will do: only
/// names can be made to point here by somebody else.
fn is_our_host(host: &str, config: &Config) -> bool {
    let name = without_port(host);
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.is_loopback() || !config.admin.listen.ip().is_loopback();
    }
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    is("localhost") || is(&config.node.name) || config.node.domains.iter().any(|domain| is(domain))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _)) if host.parse::<Ipv6Addr>().is_err() && !host.ends_with(']') => name,
        _ => host,
    }
}

fn is_our_origin(origin: &str, host: &str) -> bool {
    let origin = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

fn authorize(admin: &Admin, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &admin.token else {
        return Ok(());
    };
    let given = text(headers, header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match given {
        Some((_, given))
            if is_same_token(given.trim(), token)
                || is_same_token(given.trim(), &admin.local_token) =>
        {
            Ok(())
        }
        _ => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Authorization: Bearer with the token of admin.token_file is needed",
        )),
    }
}

/// Compares digests, so that the time tells nothing about the token.
pub(super) fn is_same_token(left: &str, right: &str) -> bool {
    blake3::hash(left.as_bytes()) == blake3::hash(right.as_bytes())
}

/// Other content types are what a form of a web site can send without asking first.
fn content_type(request: &Request) -> Result<(), Refusal> {
    let expected = match *request.method() {
        Method::POST => "application/json",
        Method::PUT => "application/wasm",
        _ => return Ok(()),
    };
    let given = text(request.headers(), header::CONTENT_TYPE).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("the content type has to be {expected}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn config(text: &str) -> Config {
        Config::parse(text, "".as_ref(), &Overrides::default()).expect("valid")
    }

    #[test]
    fn hosts_are_loopback_or_configured() {
        let config = config("[node]\nname = \"edge-1\"\ndomains = [\"example.com\"]\n");
        for host in [
            "localhost",
            "localhost:8060",
            "127.0.0.1:8060",
            "127.1.2.3",
            "[::1]:8060",
            "[::1]",
            "Example.com",
            "edge-1:80",
        ] {
            assert!(is_our_host(host, &config), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.1:8060",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_our_host(host, &config), "{host}");
        }
    }

    #[test]
    fn origins_are_those_of_the_host() {
        assert!(is_our_origin("http://127.0.0.1:8060", "127.0.0.1:8060"));
        for origin in ["http://evil.example", "null", "", "http://127.0.0.1:9999"] {
            assert!(!is_our_origin(origin, "127.0.0.1:8060"), "{origin}");
        }
    }
}
