//! Takes credentials and nonces out of traces. They leave the router in no form: neither to a file nor over the API.

use std::borrow::Cow;

use patchbay_message::{HeaderName, Message, Name, trim};

use super::model::{Answer, HookTrace, MessageTrace, message_of};
use super::text::Text;

/// What stands where credentials were.
pub(super) const GONE: &[u8] = b"removed";

/// The trace without the values of headers that have credentials or nonces.
pub fn scrubbed(trace: &HookTrace) -> Cow<'_, HookTrace> {
    if !has_secrets(trace) {
        return Cow::Borrowed(trace);
    }
    let mut trace = trace.clone();
    let message = |message: &mut MessageTrace| {
        scrub(&mut message.received);
        message.current.iter_mut().for_each(scrub);
    };
    trace.input.request.iter_mut().for_each(message);
    trace.input.response.iter_mut().for_each(message);
    trace.effects.message.iter_mut().for_each(scrub);
    for (name, value) in &mut trace.effects.reply_headers {
        if is_secret(Name::from(name.as_bytes()).known()) {
            *value = Text(GONE.to_vec());
        }
    }
    for answer in &mut trace.answers {
        if let Answer::Http(exchange) = answer {
            exchange.scrub();
        }
    }
    Cow::Owned(trace)
}

/// Whether a header has credentials or nonces (RFC 3261 §22, RFC 7616).
pub(super) fn is_secret(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Authorization
            | HeaderName::ProxyAuthorization
            | HeaderName::WwwAuthenticate
            | HeaderName::ProxyAuthenticate
            | HeaderName::AuthenticationInfo
            | HeaderName::ProxyAuthenticationInfo
    )
}

fn has_secrets(trace: &HookTrace) -> bool {
    let in_text = |text: &Text| message_of(text).is_none_or(|message| has_secret(&message));
    let in_message = |message: &MessageTrace| {
        in_text(&message.received) || message.current.as_ref().is_some_and(in_text)
    };
    let in_answer = |answer: &Answer| match answer {
        Answer::Http(exchange) => exchange.has_secrets(),
        _ => false,
    };
    let reply = &trace.effects.reply_headers;
    trace.answers.iter().any(in_answer)
        || trace.input.request.as_ref().is_some_and(in_message)
        || trace.input.response.as_ref().is_some_and(in_message)
        || trace.effects.message.as_ref().is_some_and(in_text)
        || reply
            .iter()
            .any(|(name, _)| is_secret(Name::from(name.as_bytes()).known()))
}

fn has_secret(message: &Message) -> bool {
    let mut lines = message.body().split(|byte| *byte == b'\n');
    message.fields().any(|(name, _)| is_secret(name.known())) || lines.any(is_secret_line)
}

/// Whether a line of a body is such a header: a body may hold a message (RFC 3420).
fn is_secret_line(line: &[u8]) -> bool {
    let colon = line.iter().position(|byte| *byte == b':');
    let name = colon.and_then(|colon| line.get(..colon));
    name.is_some_and(|name| is_secret(HeaderName::from_bytes(trim(name))))
}

fn scrubbed_body(body: &[u8]) -> Vec<u8> {
    let line = |line| match is_secret_line(line) {
        true => GONE,
        false => line,
    };
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').map(line).collect();
    lines.join(&b'\n')
}

fn scrub(text: &mut Text) {
    let value = |name: Name<'_>, value: &[u8]| match is_secret(name.known()) {
        true => GONE.to_vec(),
        false => value.to_vec(),
    };
    *text = rewritten(
        text,
        |uri| uri.to_vec(),
        value,
        |_, body| scrubbed_body(body),
    );
}

/// A message with another Request-URI, other values and another body. What is no message is left out: nobody could tell what is in it.
pub(super) fn rewritten(
    text: &Text,
    uri: impl Fn(&[u8]) -> Vec<u8>,
    value: impl Fn(Name<'_>, &[u8]) -> Vec<u8>,
    body: impl Fn(&Message, &[u8]) -> Vec<u8>,
) -> Text {
    let Some(message) = message_of(text) else {
        return Text::default();
    };
    let content = body(&message, message.body());
    let mut written = Vec::with_capacity(text.0.len());
    match message.status() {
        Some(status) => {
            written.extend_from_slice(message.version());
            written.extend_from_slice(format!(" {status} ").as_bytes());
            written.extend_from_slice(message.reason());
        }
        None => {
            written.extend_from_slice(message.method().as_bytes());
            written.push(b' ');
            written.extend_from_slice(&uri(message.request_uri()));
            written.push(b' ');
            written.extend_from_slice(message.version());
        }
    }
    written.extend_from_slice(b"\r\n");
    for (name, old) in message.fields() {
        written.extend_from_slice(name.text());
        written.extend_from_slice(b": ");
        match name.known() {
            HeaderName::ContentLength => {
                written.extend_from_slice(content.len().to_string().as_bytes());
            }
            _ => written.extend_from_slice(&value(name, old)),
        }
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"\r\n");
    written.extend_from_slice(&content);
    Text(written)
}

#[cfg(test)]
pub(super) mod tests {
    use patchbay_policy::Hook;

    use super::super::model::{Effects, Input, Outcome};
    use super::*;

    /// A trace of a request with these headers and this body.
    pub(in crate::trace) fn trace_of(headers: &str, body: &str) -> HookTrace {
        let text = format!(
            "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\nFrom: \"Alice A.\" <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1@192.0.2.7\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        HookTrace {
            environment: 1,
            at_unix_ms: 1_790_000_000_000,
            policy: "p".to_owned(),
            version: "v".to_owned(),
            input: Input {
                request: Some(MessageTrace {
                    received: Text(text.into_bytes()),
                    current: None,
                }),
                ..Input::without_message(Hook::RequestRoute)
            },
            answers: Vec::new(),
            outcome: Outcome::Verdict {
                verdict: "relay".to_owned(),
                status: None,
                reason: String::new(),
            },
            effects: Effects::default(),
            elapsed_us: 5,
        }
    }

    #[test]
    fn credentials_and_nonces_are_removed_and_the_headers_stay() {
        let mut trace = trace_of(
            "Proxy-Authorization: Digest username=\"alice\", nonce=\"n0nce\", response=\"s3cret\"\r\nauthorization: Digest response=\"s3cret\"\r\nX-Other: kept\r\n",
            "",
        );
        trace.effects.reply_headers = vec![(
            Text(b"WWW-Authenticate".to_vec()),
            Text(b"Digest nonce=\"n0nce\"".to_vec()),
        )];
        let clean = scrubbed(&trace);
        let json = serde_json::to_string(&*clean).expect("JSON");
        assert!(
            !json.contains("s3cret") && !json.contains("n0nce"),
            "{json}"
        );
        let request = clean.request().expect("still a message");
        assert_eq!(request.header("Authorization"), Some(GONE));
        assert_eq!(request.header("Proxy-Authorization"), Some(GONE));
        assert_eq!(request.header("X-Other"), Some(b"kept".as_slice()));
    }

    #[test]
    fn a_message_inside_of_a_body_has_no_credentials_either() {
        let trace = trace_of(
            "Content-Type: message/sipfrag\r\n",
            "INVITE sip:a@b SIP/2.0\r\nProxy-Authorization: Digest response=\"s3cret\"\r\nX-A: 1\r\n",
        );
        let clean = scrubbed(&trace);
        let request = clean.request().expect("still a message");
        assert_eq!(
            request.body(),
            b"INVITE sip:a@b SIP/2.0\r\nremoved\nX-A: 1\r\n"
        );
    }

    #[test]
    fn a_trace_without_secrets_stays_as_it_is() {
        let trace = trace_of("X-Other: kept\r\n", "body");
        assert!(matches!(scrubbed(&trace), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_no_message_is_left_out() {
        let mut trace = trace_of("", "");
        trace.effects.message = Some(Text(b"Authorization: s3cret".to_vec()));
        assert_eq!(scrubbed(&trace).effects.message, Some(Text::default()));
    }
}
