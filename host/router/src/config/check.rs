//! What a value has to look like beyond its type.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::section::nearest_word;
use super::{Listen, Transport, transport_name};

/// The longest bearer token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// Refuses the transports that this version has no listener for.
pub(crate) fn supported(listener: Listen) -> Result<Listen, String> {
    match listener.transport {
        Transport::Udp | Transport::Tcp => Ok(listener),
        other => Err(format!(
            "{} listeners are not supported by this version of Patchbay: use udp or tcp",
            transport_name(other)
        )),
    }
}

/// A node's name becomes part of tokens: letters, digits, `-`, `_` and `.`, at most 64.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err(format!(
            "{text:?} is no node name: use 1 to 64 letters, digits, '-', '_' and '.'"
        ));
    }
    Ok(text.to_owned())
}

/// A host name or address, lower case.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("{text:?} is no domain name"));
    }
    Ok(name.to_ascii_lowercase())
}

/// `host` or `host:port`, as it goes into Via.
pub(super) fn advertise(text: &str) -> Result<String, String> {
    let wrong = |_| {
        format!("{text:?} is not of the form host or host:port, such as \"sip.example.com:5060\"")
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!(
            "{text:?}: write an IPv6 address in brackets, such as \"[2001:db8::1]:5060\""
        ));
    }
    let host = domain(host).map_err(|_| ()).map_err(wrong)?;
    if matches!(&*host, "0.0.0.0" | "[::]") {
        return Err(format!(
            "{text:?} is no address that others can send to: write the one at which they reach the router, or leave it out"
        ));
    }
    match port {
        None => Ok(host),
        Some(port) => {
            let port: u16 = port.parse().map_err(|_| ()).map_err(wrong)?;
            if port == 0 {
                return Err(wrong(()));
            }
            Ok(format!("{host}:{port}"))
        }
    }
}

/// The name of a policy: of its file, its metrics and its place in URLs.
pub(super) fn policy_name(text: &str) -> Result<String, String> {
    if !is_policy_name(text) {
        return Err(format!(
            "{text:?} is no name of a policy: use 1 to 64 letters, digits, '-' and '_'"
        ));
    }
    Ok(text.to_owned())
}

/// The name of a namespace: what its keys in the store begin with.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err(format!(
            "{text:?} is no name of a namespace: use 1 to 64 letters, digits, '-', '_' and '.'"
        ));
    }
    Ok(text.to_owned())
}

/// The name of a route: in logs, labels and the API.
pub(super) fn route_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err(format!(
            "{text:?} is no name of a route: use 1 to 64 characters without spaces, quotes and backslashes"
        ));
    }
    Ok(text.to_owned())
}

/// Whether this can be the name of a policy.
pub fn is_policy_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// `--policy FILE.wasm`.
pub(super) fn policy_file(path: &Path) -> Result<(), String> {
    if let Err(error) = std::fs::File::open(path) {
        return Err(format!("{}: {error}", path.display()));
    }
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    policy_name(stem).map(|_| ()).map_err(|message| {
        format!(
            "{}: the file's name names the policy: {message}",
            path.display()
        )
    })
}

/// A realm stands in a quoted string.
pub(super) fn realm(text: &str) -> Result<String, String> {
    if text.is_empty()
        || text
            .chars()
            .any(|c| c.is_control() || matches!(c, '"' | '\\'))
    {
        return Err(format!(
            "{text:?} is no realm: it must not be empty and can't contain quotes, backslashes or control characters"
        ));
    }
    Ok(text.to_owned())
}

/// `ip:port`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not of the form ip:port, such as \"127.0.0.1:8060\""))
}

/// A number per second.
pub(super) fn rate(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no number of requests per second, such as \"50\"; \"0\" means no limit"
        )
    })
}

/// The name of a header, or how names begin with `*` after it.
pub(super) fn header_pattern(text: &str) -> Result<(), String> {
    if let Some(reason) = patchbay_policy::refuses_header(text) {
        return Err(format!("{text:?} can't be granted: {reason}"));
    }
    let start = text.strip_suffix('*').unwrap_or(text);
    let is_plain = start.is_empty() || patchbay_message::is_token(start.as_bytes());
    if !text.is_empty() && is_plain && !start.contains('*') {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no name of a header, such as \"P-Asserted-Identity\" or \"X-*\""
    ))
}

/// The levels of the log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What the names of all parts of the router begin with in the log.
const OWN_TARGET: &str = "patchbay";

/// Whether the log's filter can be understood, and lets through something of the router, unless that is what `off` says.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let wrong = |reason: &str| {
        format!("{text:?} is no filter, such as \"info\" or \"warn,patchbay=debug\": {reason}")
    };
    if let Err(error) = text.parse::<Targets>() {
        return Err(wrong(&error.to_string()));
    }
    let mut is_of_router = false;
    let directives = text.split(',').map(str::trim);
    for directive in directives.filter(|directive| !directive.is_empty()) {
        let is_level = directive.parse::<LevelFilter>().is_ok();
        is_of_router |= is_level || directive.starts_with(OWN_TARGET);
        if !is_level && !directive.contains('=') && !directive.starts_with(OWN_TARGET) {
            return Err(wrong(&unknown_level(directive)));
        }
    }
    match is_of_router {
        true => Ok(text.to_owned()),
        false => Err(wrong("nothing of the router would be logged")),
    }
}

fn unknown_level(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    match nearest_word(&lower, LEVELS.into_iter()) {
        Some(near) => format!("there is no level {word}; did you mean {near}?"),
        None => format!("there is no level {word}: use one of {}", LEVELS.join(", ")),
    }
}

/// The bearer token of this file.
pub fn token(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let token = text.trim();
    if token.is_empty()
        || token.len() > MAX_TOKEN_BYTES
        || !token.chars().all(|c| c.is_ascii_graphic())
    {
        return Err(format!(
            "{} must have one line with the token: printable ASCII without spaces",
            path.display()
        ));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_transport_ip_port() {
        let listener: Listen = "tcp:[::1]:5060".parse().expect("valid");
        assert_eq!(
            (listener.transport, listener.address),
            (Transport::Tcp, "[::1]:5060".parse().expect("valid"))
        );
        assert_eq!(listener.to_string(), "tcp:[::1]:5060");
        for text in [
            "",
            "udp",
            "udp:127.0.0.1",
            "sctp:127.0.0.1:5060",
            "127.0.0.1:5060",
            "udp:example.com:5060",
            "udp::1:5060",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn domains_are_names_or_addresses() {
        assert_eq!(domain("Example.COM."), Ok("example.com".into()));
        assert_eq!(domain("127.0.0.1"), Ok("127.0.0.1".into()));
        assert_eq!(domain("::1"), Ok("[::1]".into()));
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "sip:example.com",
            "example.com:5060",
        ] {
            assert!(domain(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn advertised_addresses_may_have_a_port() {
        assert_eq!(advertise("sip.example.com"), Ok("sip.example.com".into()));
        assert_eq!(
            advertise("sip.example.com:5070"),
            Ok("sip.example.com:5070".into())
        );
        assert_eq!(advertise("[2001:DB8::1]"), Ok("[2001:db8::1]".into()));
        assert_eq!(
            advertise("[2001:db8::1]:5060"),
            Ok("[2001:db8::1]:5060".into())
        );
        for text in [
            "",
            ":5060",
            "a:b",
            "a:0",
            "a:70000",
            "2001:db8::1",
            "a;b",
            "0.0.0.0",
            "0.0.0.0:5060",
            "[::]:5060",
        ] {
            assert!(advertise(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn policy_names_are_safe_in_paths() {
        assert!(is_policy_name("voicemail-on-busy"));
        for text in ["", ".", "..", "a/b", "a.b", "a b", "ü"] {
            assert!(!is_policy_name(text), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_of_headers_has_its_star_at_the_end() {
        for text in ["X-*", "*", "P-Asserted-Identity", "m"] {
            assert_eq!(header_pattern(text), Ok(()), "{text:?}");
        }
        for text in ["Via", "max-forwards", "v", "Route"] {
            let refused = header_pattern(text).expect_err("it is the host's");
            assert!(refused.contains("is the host's"), "{refused}");
        }
        for text in ["", "*-Id", "X-**", "X A", "X:", "\u{fc}"] {
            assert!(header_pattern(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_filter_of_the_log_has_levels_that_there_are() {
        for text in [
            "info",
            "WARN",
            "off",
            "warn,patchbay=debug",
            "patchbay::worker=trace, error",
            "patchbay",
            "hyper=debug,info",
        ] {
            assert_eq!(log_filter(text), Ok(text.to_owned()));
        }
        for (text, reason) in [
            ("inof", "did you mean info?"),
            ("warn,Debgu", "did you mean debug?"),
            ("everything", "use one of off, error"),
            ("patchbay=inof", "is no filter"),
            ("patchby=debug", "nothing of the router"),
            ("", "nothing of the router"),
        ] {
            let refused = log_filter(text).expect_err(text);
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn a_token_is_one_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").expect("write");
        assert_eq!(token(&file), Ok("s3cret".into()));
        std::fs::write(&file, "\n").expect("write");
        assert!(token(&file).is_err());
        std::fs::write(&file, "two words").expect("write");
        assert!(token(&file).is_err());
    }
}
