//! What a run asked beyond the router: requests over HTTP, keys and values.

use patchbay_message::Name;
use patchbay_policy::{HttpRequest, HttpResponse, KeyValueAnswer, KeyValueRequest};
use serde::{Deserialize, Serialize};

use super::model::ErrorTrace;
use super::scrub::is_secret;
use super::text::Text;
use crate::outside::{user_info, without_user_info};

/// Headers of HTTP with credentials, besides those that SIP has as well.
const SECRET_HEADERS: [&str; 4] = ["cookie", "set-cookie", "x-api-key", "x-auth-token"];
/// What stands where credentials were.
const GONE: &str = "removed";

/// `http.fetch`, with what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpExchange {
    /// What was asked.
    pub request: RequestTrace,
    /// The response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseTrace>,
    /// Why there is none; without either, the run ended before there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorTrace>,
}

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTrace {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub body: Text,
}

/// A response over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseTrace {
    /// The status.
    pub status: u16,
    /// Names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub body: Text,
}

/// A call of `keyvalue` or `wasi:keyvalue`, with what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValueExchange {
    /// What was asked.
    pub request: KeyValueCall,
    /// What was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<KeyValueTold>,
    /// Why nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorTrace>,
}

/// What is asked of the key-value store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum KeyValueCall {
    /// The value.
    Get {
        /// Of this key.
        key: String,
    },
    /// Whether there is a value.
    Exists {
        /// Of this key.
        key: String,
    },
    /// Another value.
    Set {
        /// Of this key.
        key: String,
        /// The value.
        value: Text,
        /// For how long; none: for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_secs: Option<u32>,
    },
    /// No value.
    Delete {
        /// Of this key.
        key: String,
    },
    /// Adding to a number.
    Increment {
        /// Of this key.
        key: String,
        /// How much.
        delta: i64,
        /// For how long a new one is kept; none: for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_secs: Option<u32>,
    },
    /// The keys.
    ListKeys {
        /// What they begin with.
        prefix: String,
        /// They are behind this one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        after: String,
    },
}

/// What the key-value store tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyValueTold {
    /// It is done.
    Done,
    /// The value, if there is one.
    Value(Option<Text>),
    /// Whether there is a value.
    Exists(bool),
    /// What the number is now.
    Number(i64),
    /// Keys in order.
    Keys(Vec<String>),
}

impl From<&HttpRequest> for RequestTrace {
    fn from(request: &HttpRequest) -> RequestTrace {
        RequestTrace {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: Text(request.body.clone()),
        }
    }
}

impl From<&HttpResponse> for ResponseTrace {
    fn from(response: &HttpResponse) -> ResponseTrace {
        ResponseTrace {
            status: response.status,
            headers: response.headers.clone(),
            body: Text(response.body.clone()),
        }
    }
}

impl From<ResponseTrace> for HttpResponse {
    fn from(response: ResponseTrace) -> HttpResponse {
        HttpResponse {
            status: response.status,
            headers: response.headers,
            body: response.body.0,
        }
    }
}

impl From<&KeyValueRequest<'_>> for KeyValueCall {
    fn from(request: &KeyValueRequest<'_>) -> KeyValueCall {
        let key = request.key().to_owned();
        match *request {
            KeyValueRequest::Get { .. } => KeyValueCall::Get { key },
            KeyValueRequest::Exists { .. } => KeyValueCall::Exists { key },
            KeyValueRequest::Set {
                value, ttl_secs, ..
            } => KeyValueCall::Set {
                key,
                value: value.into(),
                ttl_secs,
            },
            KeyValueRequest::Delete { .. } => KeyValueCall::Delete { key },
            KeyValueRequest::Increment {
                delta, ttl_secs, ..
            } => KeyValueCall::Increment {
                key,
                delta,
                ttl_secs,
            },
            KeyValueRequest::ListKeys { after, .. } => KeyValueCall::ListKeys {
                prefix: key,
                after: after.to_owned(),
            },
        }
    }
}

impl From<&KeyValueAnswer> for KeyValueTold {
    fn from(answer: &KeyValueAnswer) -> KeyValueTold {
        match answer {
            KeyValueAnswer::Done => KeyValueTold::Done,
            KeyValueAnswer::Value(value) => KeyValueTold::Value(value.as_deref().map(Text::from)),
            KeyValueAnswer::Exists(exists) => KeyValueTold::Exists(*exists),
            KeyValueAnswer::Number(number) => KeyValueTold::Number(*number),
            KeyValueAnswer::Keys(keys) => KeyValueTold::Keys(keys.clone()),
        }
    }
}

impl From<KeyValueTold> for KeyValueAnswer {
    fn from(told: KeyValueTold) -> KeyValueAnswer {
        match told {
            KeyValueTold::Done => KeyValueAnswer::Done,
            KeyValueTold::Value(value) => KeyValueAnswer::Value(value.map(|value| value.0)),
            KeyValueTold::Exists(exists) => KeyValueAnswer::Exists(exists),
            KeyValueTold::Number(number) => KeyValueAnswer::Number(number),
            KeyValueTold::Keys(keys) => KeyValueAnswer::Keys(keys),
        }
    }
}

impl HttpExchange {
    /// What it does to a server; `None` for what only reads (RFC 9110 §9.2.1).
    pub(super) fn deed(&self) -> Option<String> {
        let request = &self.request;
        if matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
            return None;
        }
        let mut text = request.question();
        for (name, value) in &request.headers {
            let value = if is_secret_header(name) { GONE } else { value };
            text.push_str(&format!(" {name}: {value}"));
        }
        if !request.body.is_empty() {
            text.push(' ');
            text.push_str(&request.body.lossy());
        }
        Some(text)
    }

    /// Whether anything in it is a secret.
    pub(super) fn has_secrets(&self) -> bool {
        let response = self.response.iter().flat_map(|response| &response.headers);
        let mut headers = self.request.headers.iter().chain(response);
        headers.any(|(name, _)| is_secret_header(name)) || user_info(&self.request.url).is_some()
    }

    /// Takes the credentials out of it.
    pub(super) fn scrub(&mut self) {
        let response = self.response.iter_mut();
        let response = response.flat_map(|response| &mut response.headers);
        for (name, value) in self.request.headers.iter_mut().chain(response) {
            if is_secret_header(name) {
                GONE.clone_into(value);
            }
        }
        let user_info = user_info(&self.request.url).map(str::to_owned);
        let url = without_user_info(&self.request.url);
        let (Some(user_info), Some(url)) = (user_info, url) else {
            return;
        };
        // Such a URL was refused, with a message that may name it.
        if let Some(error) = &mut self.error {
            // It may show the URL as a text of Rust, with escapes.
            let shown = format!("{user_info:?}");
            let escaped = shown.get(1..shown.len() - 1).unwrap_or_default();
            let gone = format!("{GONE}@");
            for shown in [user_info.as_str(), escaped] {
                error.message = error.message.replace(&format!("{shown}@"), &gone);
            }
        }
        self.request.url = url;
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let response = self.response.as_ref();
        self.request.bytes() + response.map_or(0, ResponseTrace::bytes)
    }
}

impl ResponseTrace {
    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        bytes_of(&self.headers) + self.body.0.len()
    }
}

impl RequestTrace {
    /// In a few words.
    pub(crate) fn question(&self) -> String {
        let url = without_user_info(&self.url);
        format!("{} {}", self.method, url.as_ref().unwrap_or(&self.url))
    }

    /// Whether the same is asked. Credentials do not count: they are in no recording.
    pub(crate) fn is_same(&self, other: &RequestTrace) -> bool {
        (&self.method, &self.body) == (&other.method, &other.body)
            && (self.url == other.url || is_same_without_user_info(&self.url, &other.url))
            && open_headers(&self.headers).eq(open_headers(&other.headers))
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.method.len() + self.url.len() + bytes_of(&self.headers) + self.body.0.len()
    }
}

impl KeyValueCall {
    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let value = match self {
            KeyValueCall::Set { value, .. } => value.0.len(),
            KeyValueCall::ListKeys { after, .. } => after.len(),
            _ => 0,
        };
        self.key().len() + value
    }

    /// The key, or what the keys begin with.
    pub fn key(&self) -> &str {
        match self {
            KeyValueCall::Get { key }
            | KeyValueCall::Exists { key }
            | KeyValueCall::Set { key, .. }
            | KeyValueCall::Delete { key }
            | KeyValueCall::Increment { key, .. } => key,
            KeyValueCall::ListKeys { prefix, .. } => prefix,
        }
    }

    /// In a few words.
    pub(crate) fn question(&self) -> String {
        let (name, key) = (self.name(), self.key());
        format!("keyvalue.{name} {key}")
    }

    fn name(&self) -> &'static str {
        match self {
            KeyValueCall::Get { .. } => "get",
            KeyValueCall::Exists { .. } => "exists",
            KeyValueCall::Set { .. } => "set",
            KeyValueCall::Delete { .. } => "delete",
            KeyValueCall::Increment { .. } => "increment",
            KeyValueCall::ListKeys { .. } => "list-keys",
        }
    }

    /// What it changes; `None` for what only reads.
    pub(super) fn deed(&self) -> Option<String> {
        let (text, ttl_secs) = match self {
            KeyValueCall::Set {
                key,
                value,
                ttl_secs,
            } => (format!("set {key} to {}", value.lossy()), *ttl_secs),
            KeyValueCall::Delete { key } => (format!("delete {key}"), None),
            KeyValueCall::Increment {
                key,
                delta,
                ttl_secs,
            } => (format!("add {delta} to {key}"), *ttl_secs),
            _ => return None,
        };
        Some(match ttl_secs {
            Some(ttl_secs) => format!("{text} for {ttl_secs} s"),
            None => text,
        })
    }
}

impl KeyValueExchange {
    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let told = match &self.told {
            Some(KeyValueTold::Value(Some(value))) => value.0.len(),
            Some(KeyValueTold::Keys(keys)) => keys.iter().map(|key| key.len() + 24).sum(),
            _ => 0,
        };
        self.request.bytes() + told
    }
}

fn bytes_of(headers: &[(String, String)]) -> usize {
    let pair = |(name, value): &(String, String)| name.len() + value.len() + 48;
    headers.iter().map(pair).sum()
}

fn is_secret_header(name: &str) -> bool {
    is_secret(Name::from(name).known())
        || SECRET_HEADERS
            .iter()
            .any(|secret| secret.eq_ignore_ascii_case(name))
}

/// The headers by which two requests differ.
pub(super) fn open_headers(headers: &[(String, String)]) -> impl Iterator<Item = (String, &str)> {
    let open = headers.iter().filter(|(name, _)| !is_secret_header(name));
    open.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
}

/// Whether the URLs are the same when the credentials of one of them are removed.
fn is_same_without_user_info(url: &str, other: &str) -> bool {
    let (url, other) = (without_user_info(url), without_user_info(other));
    url.is_some() && url == other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(method: &str, url: &str, headers: &[(&str, &str)]) -> HttpExchange {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        HttpExchange {
            request: RequestTrace {
                method: method.to_owned(),
                url: url.to_owned(),
                headers: headers.iter().map(pair).collect(),
                body: Text::default(),
            },
            response: None,
            error: None,
        }
    }

    #[test]
    fn credentials_are_taken_out_and_the_request_stays_the_same() {
        let mut clean = exchange(
            "GET",
            "https://user:s3cret@lcr.example/a?b=c@d",
            &[("Authorization", "Bearer s3cret"), ("X-A", "1")],
        );
        let before = clean.clone();
        assert!(clean.has_secrets());
        clean.error = Some(ErrorTrace {
            kind: "invalid-argument".to_owned(),
            message: "\"https://user:s3cret@lcr.example/a\" has a user".to_owned(),
        });
        clean.response = Some(ResponseTrace {
            status: 200,
            headers: vec![("set-cookie".to_owned(), "s3cret".to_owned())],
            body: Text::default(),
        });
        clean.scrub();
        let json = serde_json::to_string(&clean).expect("JSON");
        assert!(!json.contains("s3cret"), "{json}");
        assert_eq!(clean.request.url, "https://removed@lcr.example/a?b=c@d");
        assert!(clean.request.is_same(&before.request));
        assert!(!exchange("GET", "http://h/?a=b@c", &[("X-A", "1")]).has_secrets());
    }

    #[test]
    fn another_request_is_another_one() {
        let one = exchange("GET", "http://h/a", &[("X-A", "1")]).request;
        let same = exchange("GET", "http://h/a", &[("x-a", "1"), ("Cookie", "2")]);
        assert!(one.is_same(&same.request));
        for (method, url, value) in [
            ("POST", "http://h/a", "1"),
            ("GET", "http://h/b", "1"),
            ("GET", "http://h/a", "2"),
        ] {
            let other = exchange(method, url, &[("X-A", value)]);
            assert!(!one.is_same(&other.request), "{method} {url} {value}");
        }
    }

    #[test]
    fn what_only_reads_is_no_deed() {
        assert_eq!(exchange("GET", "http://h/", &[]).deed(), None);
        let post = exchange("POST", "http://h/", &[("authorization", "s"), ("a", "b")]);
        assert_eq!(
            post.deed().as_deref(),
            Some("POST http://h/ authorization: removed a: b")
        );
        let key = || "k".to_owned();
        assert_eq!(KeyValueCall::Get { key: key() }.deed(), None);
        let add = KeyValueCall::Increment {
            key: key(),
            delta: -2,
            ttl_secs: Some(60),
        };
        assert_eq!(add.deed().as_deref(), Some("add -2 to k for 60 s"));
    }

    #[test]
    fn calls_of_the_store_come_back_from_json() {
        let exchange = KeyValueExchange {
            request: KeyValueCall::Set {
                key: "k".to_owned(),
                value: Text(vec![0xff]),
                ttl_secs: None,
            },
            told: Some(KeyValueTold::Value(None)),
            error: None,
        };
        let json = serde_json::to_string(&exchange).expect("JSON");
        assert_eq!(
            json,
            r#"{"request":{"call":"set","key":"k","value":{"hex":"ff"}},"told":{"value":null}}"#
        );
        let read: KeyValueExchange = serde_json::from_str(&json).expect("the same");
        assert_eq!(read, exchange);
    }

    #[test]
    fn credentials_of_a_url_go_from_a_message_however_it_shows_them() {
        let url = "https://user:s3c\"ret@lcr.example/";
        for message in [format!("{url:?} is no URL"), format!("{url} is no URL")] {
            let request = HttpRequest {
                url: url.to_owned(),
                ..HttpRequest::default()
            };
            let error = patchbay_policy::HostError {
                kind: patchbay_policy::ErrorKind::InvalidArgument,
                message,
            };
            let mut exchange = HttpExchange {
                request: RequestTrace::from(&request),
                response: None,
                error: Some(ErrorTrace::from(&error)),
            };
            exchange.scrub();
            let told = exchange.error.unwrap().message;
            assert!(!told.contains("s3c") && !told.contains("ret@"), "{told}");
            assert!(!exchange.request.url.contains("s3c"));
        }
    }
}
