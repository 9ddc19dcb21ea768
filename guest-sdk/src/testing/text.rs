//! Messages as tests write them.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use patchbay_message::{Draft, Limits, Message, ResponseHead, write_response};

use crate::transaction::Transport;

/// Reads a message. Line ends may be `\n`; lines may be indented; the empty line at the end may be left out.
pub(super) fn message(text: &str) -> Draft {
    let bytes = if text.contains("\r\n") {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(with_line_ends(text))
    };
    let message = Message::parse(bytes.as_bytes(), &Limits::default())
        .unwrap_or_else(|error| panic!("this is no SIP message ({error}):\n{text}"));
    if let Err(invalid) = message.validate() {
        panic!(
            "the router would answer {} ({}) to:\n{text}",
            invalid.status(),
            invalid.reason()
        );
    }
    Draft::new(Arc::new(message))
}

fn with_line_ends(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut message: String = head
        .lines()
        .map(|line| format!("{}\r\n", line.trim()))
        .collect();
    message.push_str("\r\n");
    message + &body.replace('\n', "\r\n")
}

/// A response to a request, as the callee's phone would send it.
pub(super) fn response(request: &Draft, status: u16) -> Draft {
    let mut bytes = Vec::new();
    let head = ResponseHead {
        status,
        reason: "",
        to_tag: Some(b"callee"),
    };
    write_response(&mut bytes, request, head, std::iter::empty(), b"");
    let message = Message::parse(&bytes, &Limits::default())
        .unwrap_or_else(|error| panic!("no response can be made: {error}"));
    Draft::new(Arc::new(message))
}

/// `udp:192.0.2.1:5060`.
pub(super) fn source(text: &str) -> (Transport, SocketAddr) {
    let (name, address) = text.split_once(':').unwrap_or((text, ""));
    let transport = match name {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        "ws" => Transport::Ws,
        "wss" => Transport::Wss,
        _ => panic!("{text:?} does not start with udp:, tcp:, tls:, ws: or wss:"),
    };
    let address = address
        .parse()
        .unwrap_or_else(|_| panic!("{text:?} has no address such as 192.0.2.1:5060"));
    (transport, address)
}
