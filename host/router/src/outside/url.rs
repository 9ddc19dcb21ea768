//! Which URLs the operator has granted.

use http::Uri;
use http::uri::Scheme;

/// Why a text is no URL that can be asked, or granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It can't be read.
    #[error("{0:?} is no absolute URL, such as \"https://lcr.example.com/\"")]
    Malformed(String),
    /// Neither `http:` nor `https:`.
    #[error("{0:?} begins with neither http: nor https:")]
    Scheme(String),
    /// A user in front of the host.
    #[error("{0:?} has a user in front of the host: send an Authorization header instead")]
    User(String),
    /// `.` or `..` as a part of the path.
    #[error("{0:?} has a part . or .. in its path")]
    Dots(String),
    /// A pattern in a prefix.
    #[error("{0:?} is no pattern: a grant names one host, and has every URL that begins so")]
    Pattern(String),
    /// A query or a fragment in a prefix.
    #[error("{0:?} grants by scheme, host, port and path: leave out what is behind the path")]
    Query(String),
}

/// The beginning of URLs: scheme, host and port, and how the path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

impl UrlPrefix {
    /// Reads what stands in `policy.grants.http`.
    pub fn parse(text: &str) -> Result<UrlPrefix, UrlError> {
        let url = absolute(text)?;
        if url.query().is_some() {
            return Err(UrlError::Query(shown(text)));
        }
        let Some((scheme, host, port)) = origin(&url) else {
            return Err(UrlError::Malformed(shown(text)));
        };
        if host.contains('*') || url.path().contains('*') {
            return Err(UrlError::Pattern(shown(text)));
        }
        Ok(UrlPrefix {
            scheme,
            host,
            port,
            path: url.path().to_owned(),
        })
    }

    /// Whether this URL, read by [`absolute`], begins so. A path goes on after a whole part: `/lcr` has `/lcr/eu` and not `/lcr2`.
    pub(super) fn has(&self, url: &Uri) -> bool {
        let Some((scheme, host, port)) = origin(url) else {
            return false;
        };
        if (&scheme, &host, port) != (&self.scheme, &self.host, self.port) {
            return false;
        }
        url.path()
            .strip_prefix(self.path.as_str())
            .is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
            })
    }
}

/// Reads a URL that is complete and means what it seems to.
pub(super) fn absolute(text: &str) -> Result<Uri, UrlError> {
    if text.contains(['#', '\\']) {
        return Err(UrlError::Malformed(shown(text)));
    }
    let url: Uri = text.parse().map_err(|_| UrlError::Malformed(shown(text)))?;
    let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
        return Err(UrlError::Malformed(shown(text)));
    };
    if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
        return Err(UrlError::Scheme(shown(text)));
    }
    if authority.as_str().contains('@') {
        return Err(UrlError::User(
            without_user_info(text).unwrap_or_else(|| shown(text)),
        ));
    }
    // A port that is none reads as if there were none.
    if authority.port().is_none() && authority.host() != authority.as_str() {
        return Err(UrlError::Malformed(shown(text)));
    }
    if url.path().split('/').any(is_dots) {
        return Err(UrlError::Dots(shown(text)));
    }
    Ok(url)
}

/// Whether a server could take this part of a path for `.` or `..`.
fn is_dots(part: &str) -> bool {
    let plain = part.to_ascii_lowercase().replace("%2e", ".");
    let first = plain.split([';', '%']).next().unwrap_or_default();
    matches!(first, "." | "..")
}

/// What stands where credentials were.
const GONE: &str = "removed";

/// What stands in front of the host: such a URL is never asked.
pub(crate) fn user_info(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user_info, _) = rest.get(..end)?.rsplit_once('@')?;
    (!user_info.is_empty()).then_some(user_info)
}

/// The URL without the credentials in it; `None` when it has none.
pub(crate) fn without_user_info(url: &str) -> Option<String> {
    let user_info = user_info(url)?;
    let (scheme, rest) = url.split_once("://")?;
    let behind = rest.strip_prefix(user_info)?;
    Some(format!("{scheme}://{GONE}{behind}"))
}

/// The text as an error may show it, which policies log and answer with. Where it is no URL the credentials may go up to the last `@`: a
/// password with `/` or `#` in it is a usual mistake.
fn shown(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let (scheme, rest) = match scheme {
        "" => ("", text),
        _ => (text.get(..scheme.len() + 3).unwrap_or_default(), rest),
    };
    match rest.rsplit_once('@') {
        Some((_, behind)) => format!("{scheme}{GONE}@{behind}"),
        None => text.to_owned(),
    }
}

fn origin(url: &Uri) -> Option<(Scheme, String, u16)> {
    let scheme = url.scheme()?.clone();
    let host = url.host()?.to_ascii_lowercase();
    let default = if scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = match url.authority()?.port() {
        Some(port) => port.as_str().parse().ok()?,
        None => default,
    };
    (!host.is_empty()).then_some((scheme, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_no_pattern() {
        for text in [
            "https://*.example.com/",
            "https://*/",
            "https://a.example/*",
        ] {
            let refused = UrlPrefix::parse(text);
            assert_eq!(refused, Err(UrlError::Pattern(text.to_owned())));
        }
    }

    fn has(prefix: &str, url: &str) -> bool {
        let prefix = UrlPrefix::parse(prefix).expect("a prefix");
        absolute(url).is_ok_and(|url| prefix.has(&url))
    }

    #[test]
    fn a_prefix_has_what_is_below_it() {
        for url in [
            "https://lcr.example.com/",
            "https://LCR.example.com:443/v1/route?to=1",
            "https://lcr.example.com",
        ] {
            assert!(has("https://lcr.example.com/", url), "{url}");
            assert!(has("https://lcr.example.com", url), "{url}");
        }
        assert!(has("http://[::1]:8080/a", "http://[::1]:8080/a/b"));
        assert!(has("http://h/a", "http://h/a?b=c"));
    }

    #[test]
    fn a_prefix_has_nothing_that_only_looks_like_it() {
        for url in [
            "http://lcr.example.com/",
            "https://lcr.example.com.evil.test/",
            "https://lcr.example.com:8443/",
            "https://lcr.example.com@evil.test/",
            "https://lcr.example.com:x@evil.test/",
            "https://evil.test/https://lcr.example.com/",
            "https://evil.test#lcr.example.com/",
            "https://evil.test\\lcr.example.com/",
            "ftp://lcr.example.com/",
            "//lcr.example.com/",
            "/",
            "lcr.example.com",
            "",
        ] {
            assert!(!has("https://lcr.example.com/", url), "{url}");
        }
    }

    #[test]
    fn errors_show_no_credentials() {
        for (url, shown_as) in [
            ("https://u:s3cret@h/a@b", "https://removed@h/a@b"),
            ("http://http@h/", "http://removed@h/"),
            ("http://s3cret@h/a b", "http://removed@h/a b"),
            ("ftp://s3cret@h/", "ftp://removed@h/"),
            ("https://u:s3cret/s3cret@h/", "https://removed@h/"),
            ("https://u:s3cret#s3cret@h/", "https://removed@h/"),
            ("u:s3cret@h/", "removed@h/"),
        ] {
            let error = absolute(url).expect_err("it is refused").to_string();
            assert!(error.contains(&format!("{shown_as:?}")), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert_eq!(without_user_info("https://@lcr.example/"), None);
        assert_eq!(without_user_info("https://h/?a=b@c"), None);
    }

    #[test]
    fn a_path_can_not_be_left() {
        for path in [
            "",
            "lcr2",
            "lcr/../x",
            "lcr/%2E%2e/x",
            "lcr/.",
            "x/lcr",
            "lcr/..;/x",
        ] {
            let url = format!("http://h/{path}");
            assert!(!has("http://h/lcr", &url), "{url}");
        }
        assert!(has("http://h/lcr", "http://h/lcr/..x/.hidden"));
    }

    #[test]
    fn a_prefix_is_an_absolute_url_without_query() {
        for text in [
            "https://",
            "example.com",
            "https://h/?a",
            "https://u@h/",
            "ws://h/",
            "*",
            "https://h:99999/",
        ] {
            assert!(UrlPrefix::parse(text).is_err(), "{text}");
        }
    }
}
