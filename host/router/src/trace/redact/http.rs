//! Hides users and addresses in requests over HTTP.
//!
//! A URL stays one that the same policy makes of the same message once that is hidden: what is a user or an address becomes what it
//! becomes elsewhere, part by part. Any other part with an `@` or three digits may be somebody, too. Bodies keep their length alone.

use serde_json::{Map, Value};

use super::super::text::Text;
use super::Redactor;

/// More digits than this may be a number that somebody is called by.
const MAX_DIGITS: usize = 2;

/// Whether this is a request over HTTP with what came of it.
pub(super) fn is_exchange(map: &Map<String, Value>) -> bool {
    map.get("asked").is_some_and(|asked| asked == "http")
}

impl Redactor {
    pub(super) fn exchange(&self, exchange: &mut Map<String, Value>, users: &[Vec<u8>]) {
        let url = exchange
            .get("request")
            .and_then(|request| request.get("url"))
            .and_then(Value::as_str)
            .map(|url| (url.to_owned(), self.url(url, users)));
        for (key, item) in exchange.iter_mut() {
            let Value::Object(part) = item else {
                self.hide(item, key, users);
                continue;
            };
            if let Some(body) = part.get_mut("body") {
                hide_body(body);
            }
            let message = part.get("message").and_then(Value::as_str);
            let message = message.map(|text| self.about(text, url.as_ref(), users));
            self.hide(item, key, users);
            if let (Value::Object(part), Some(message)) = (item, message) {
                part.insert("message".to_owned(), Value::String(message));
            }
        }
        if let (Some(Value::Object(request)), Some((_, url))) = (exchange.get_mut("request"), url) {
            request.insert("url".to_owned(), Value::String(url));
        }
    }

    /// A message about a request to a URL: what names it names the hidden one then, and another spelling of it is hidden as well.
    fn about(&self, message: &str, url: Option<&(String, String)>, users: &[Vec<u8>]) -> String {
        let Some((old, new)) = url.filter(|(old, _)| !old.is_empty()) else {
            return self.words(message, users);
        };
        let unquoted = |text: &str| {
            let parts = text.split(old.as_str());
            let parts: Vec<String> = parts.map(|part| self.words(part, users)).collect();
            parts.join(new)
        };
        let quoted = format!("{old:?}");
        let parts: Vec<String> = message.split(&quoted).map(unquoted).collect();
        parts.join(&format!("{new:?}"))
    }

    /// A text with words that may be URLs or parts of some.
    fn words(&self, text: &str, users: &[Vec<u8>]) -> String {
        let is_end = |letter: char| letter.is_whitespace() || letter == '"';
        let word = |word: &str| {
            let (letters, end) = word.split_at(word.trim_end_matches(is_end).len());
            let hidden = match letters {
                url if url.contains("://") => self.url(url, users),
                parts if parts.contains('%') => self.url_parts(parts, users),
                _ => self.string(letters, users),
            };
            hidden + end
        };
        text.split_inclusive(is_end).map(word).collect()
    }

    /// A URL with the same scheme, the same host when that is a name, and as many parts.
    fn url(&self, url: &str, users: &[Vec<u8>]) -> String {
        let (start, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), url),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        start + &self.string(authority, users) + &self.url_parts(rest, users)
    }

    /// Path, query and fragment.
    fn url_parts(&self, parts: &str, users: &[Vec<u8>]) -> String {
        let mut hidden = String::new();
        let mut part = String::new();
        for letter in parts.chars() {
            if matches!(letter, '/' | '?' | '#' | '&' | '=' | ';') {
                hidden.push_str(&self.url_part(&std::mem::take(&mut part), users));
                hidden.push(letter);
            } else {
                part.push(letter);
            }
        }
        hidden + &self.url_part(&part, users)
    }

    fn url_part(&self, part: &str, users: &[Vec<u8>]) -> String {
        let plain = decoded(part);
        let hidden = self.string(&plain, users);
        let is_encoded = plain != part;
        if hidden != plain {
            return if is_encoded { encoded(&hidden) } else { hidden };
        }
        let digits = plain.bytes().filter(u8::is_ascii_digit).count();
        if digits > MAX_DIGITS || plain.contains('@') || !plain.is_ascii() {
            return self.user(plain.as_bytes());
        }
        part.to_owned()
    }
}

/// As many `x` as there were bytes.
fn hide_body(body: &mut Value) {
    let text: Text = serde_json::from_value(body.take()).unwrap_or_default();
    *body = Value::String("x".repeat(text.0.len()));
}

/// Without percent-encoding (RFC 3986 §2.1); what is no text then stays as it was.
pub(in crate::trace) fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| part.to_owned())
}

/// With percent-encoding of all but unreserved letters (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::super::super::file::Line;
    use super::super::super::model::{Answer, ErrorTrace};
    use super::super::super::outside::{HttpExchange, RequestTrace, ResponseTrace};
    use super::super::super::scrub::tests::trace_of;
    use super::super::super::text::Text;
    use super::super::tests::redactor;

    fn url(text: &str) -> String {
        redactor().url(text, &[b"alice".to_vec(), b"+4930123".to_vec()])
    }

    #[test]
    fn a_url_is_what_the_policy_makes_of_hidden_users() {
        let alice = redactor().user(b"alice");
        let number = redactor().user(b"+4930123");
        assert_eq!(
            url("http://lcr.example/v1/alice?to=%2B4930123&format=json"),
            format!("http://lcr.example/v1/{alice}?to={number}&format=json")
        );
        let uri = url("http://lcr.example/?uri=sip%3Aalice%40example.com");
        let hidden = format!("http://lcr.example/?uri=sip%3A{alice}%40example.com");
        assert_eq!(uri, hidden);
    }

    #[test]
    fn numbers_in_any_spelling_and_addresses_are_hidden() {
        let hidden = url("http://192.0.2.7:8080/4930-123?who=b%C3%B6b");
        for gone in ["192.0.2.7", "4930", "123", "b%C3"] {
            assert!(!hidden.contains(gone), "{hidden}");
        }
        assert!(hidden.contains(":8080/u"), "{hidden}");
    }

    #[test]
    fn a_message_names_the_hidden_url_and_hides_it_once() {
        let old = "http://192.0.2.7/v1?to=%2B4930123".to_owned();
        let new = url(&old);
        let about = |message: &str| {
            let urls = (old.clone(), new.clone());
            redactor().about(message, Some(&urls), &[b"alice".to_vec()])
        };
        assert_eq!(
            about(&format!("policy.grants.http does not have {old:?}")),
            format!("policy.grants.http does not have {new:?}")
        );
        assert_eq!(about(&format!("{old}: refused")), format!("{new}: refused"));
        let address = redactor().string("192.0.2.7:80", &[]);
        assert_eq!(
            about("no answer of 192.0.2.7:80 in 3000 ms, alice"),
            format!(
                "no answer of {address} in 3000 ms, {}",
                redactor().user(b"alice")
            )
        );
        for message in [
            "HTTP://192.0.2.7:80/v1?to=%2B4930123 is no URL",
            "\"http://192.0.2.7/v1?to=%2B4930123&x=\\\"\"",
            "/v1?to=%2b4930123",
        ] {
            let hidden = about(message);
            for gone in ["192.0.2.7", "4930123"] {
                assert!(!hidden.contains(gone), "{hidden}");
            }
        }
    }

    #[test]
    fn bodies_keep_their_length_and_messages_name_the_hidden_url() {
        let mut trace = trace_of("", "");
        let url = "http://192.0.2.7/4930123";
        trace.answers = vec![Answer::Http(Box::new(HttpExchange {
            request: RequestTrace {
                method: "POST".to_owned(),
                url: url.to_owned(),
                headers: vec![("X-User".to_owned(), "alice".to_owned())],
                body: Text(b"secret words".to_vec()),
            },
            response: Some(ResponseTrace {
                status: 200,
                headers: Vec::new(),
                body: Text(vec![0xff]),
            }),
            error: Some(ErrorTrace {
                kind: "denied".to_owned(),
                message: format!("not granted: {url:?}"),
            }),
        }))];
        let json = redactor().line(&Line::Run(Box::new(trace))).expect("JSON");
        let Ok(Line::Run(read)) = serde_json::from_slice(&json) else {
            panic!("no run");
        };
        let [Answer::Http(exchange)] = &read.answers[..] else {
            panic!("one exchange")
        };
        let text = String::from_utf8_lossy(&json);
        for gone in ["secret", "4930123", "alice", "192.0.2.7"] {
            assert!(!text.contains(gone), "{gone} is in {text}");
        }
        assert_eq!(exchange.request.body.0, b"xxxxxxxxxxxx");
        let response = exchange.response.as_ref().expect("a response");
        assert_eq!(response.body.0, b"x");
        let error = exchange.error.as_ref().expect("an error");
        assert!(error.message.contains(&exchange.request.url));
    }
}
