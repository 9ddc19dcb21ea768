//! `rsip` as an independent reader of well-formed messages: both must see the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.

use patchbay_message::{CSeq, HeaderName, Limits, Message, NameAddr, Uri, Via};
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::{HasHeaders, HeadersExt};

/// The call flows of RFC 3665.
fn flows() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rfc3665"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| (file.display().to_string(), std::fs::read(file).unwrap()))
        .collect()
}

/// `rsip` knows no folded lines, so that it gets them joined.
fn read(bytes: &[u8]) -> (Message, rsip::SipMessage) {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let joined = head
        .replace("\r\n ;", ";")
        .replace("\r\n ", " ")
        .replace("\r\n\t", " ")
        + "\r\n\r\n"
        + body;
    let theirs = rsip::SipMessage::try_from(joined.as_str()).unwrap_or_else(|_| panic!("{joined}"));
    (Message::parse(bytes, &Limits::default()).unwrap(), theirs)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn host_port(host_raw: &[u8], port: Option<u16>) -> String {
    lossy(host_raw) + &port.map(|port| format!(":{port}")).unwrap_or_default()
}

#[test]
fn there_are_flows_to_compare_and_all_are_valid() {
    let flows = flows();
    assert!(flows.len() >= 30);
    for (name, bytes) in flows {
        assert_eq!(read(&bytes).0.validate(), Ok(()), "{name}");
    }
}

#[test]
fn start_lines_agree() {
    for (name, bytes) in flows() {
        let (ours, theirs) = read(&bytes);
        match theirs {
            rsip::SipMessage::Request(request) => {
                assert_eq!(
                    lossy(ours.method().as_bytes()),
                    request.method.to_string(),
                    "{name}"
                );
                assert_eq!(lossy(ours.request_uri()), request.uri.to_string(), "{name}");
            }
            rsip::SipMessage::Response(response) => {
                assert_eq!(ours.status(), Some(response.status_code.code()), "{name}");
            }
        }
    }
}

#[test]
fn header_counts_and_bodies_agree() {
    for (name, bytes) in flows() {
        let (ours, theirs) = read(&bytes);
        assert_eq!(
            ours.fields().count(),
            theirs.headers().iter().count(),
            "{name}"
        );
        assert_eq!(ours.body(), theirs.body().as_slice(), "{name}");
    }
}

#[test]
fn vias_agree() {
    for (name, bytes) in flows() {
        let (ours, theirs) = read(&bytes);
        let theirs = theirs.via_header().unwrap().typed().unwrap();
        let ours: Via<'_> = ours.top_via().unwrap();
        assert_eq!(
            lossy(ours.transport),
            theirs.transport.to_string(),
            "{name}"
        );
        assert_eq!(
            host_port(ours.host_raw, ours.port),
            theirs.uri.host_with_port.to_string(),
            "{name}"
        );
        assert_eq!(
            ours.branch().map(lossy),
            theirs.branch().map(ToString::to_string),
            "{name}"
        );
        assert_eq!(ours.received(), theirs.received().unwrap(), "{name}");
    }
}

#[test]
fn cseq_and_call_id_agree() {
    for (name, bytes) in flows() {
        let (ours, theirs) = read(&bytes);
        let cseq: CSeq<'_> = ours.cseq().unwrap();
        let typed = theirs.cseq_header().unwrap().typed().unwrap();
        assert_eq!(
            (cseq.number, lossy(cseq.method.as_bytes())),
            (typed.seq, typed.method.to_string()),
            "{name}"
        );
        assert_eq!(
            lossy(ours.call_id()),
            theirs.call_id_header().unwrap().value(),
            "{name}"
        );
    }
}

fn assert_address(
    name: &str,
    ours: NameAddr<'_>,
    display: Option<String>,
    uri: &rsip::Uri,
    tag: Option<String>,
) {
    let our_uri: Uri<'_> = ours.uri().unwrap();
    assert_eq!(
        ours.display_name()
            .map(|text| lossy(&text))
            .filter(|text| !text.is_empty()),
        display,
        "{name}"
    );
    assert_eq!(
        our_uri.user.map(lossy),
        uri.user().map(str::to_owned),
        "{name}"
    );
    assert_eq!(
        host_port(our_uri.host_raw, our_uri.port),
        uri.host_with_port.to_string(),
        "{name}"
    );
    assert_eq!(ours.tag().map(lossy), tag, "{name}");
}

#[test]
fn from_and_to_agree() {
    for (name, bytes) in flows() {
        let (ours, theirs) = read(&bytes);
        let from = theirs.from_header().unwrap().typed().unwrap();
        let tag = from.tag().map(ToString::to_string);
        assert_address(
            &name,
            ours.from().unwrap(),
            from.display_name.clone(),
            &from.uri,
            tag,
        );
        let to = theirs.to_header().unwrap().typed().unwrap();
        let tag = to.tag().map(ToString::to_string);
        assert_address(
            &name,
            ours.to().unwrap(),
            to.display_name.clone(),
            &to.uri,
            tag,
        );
    }
}

#[test]
fn content_lengths_agree() {
    for (name, bytes) in flows() {
        let (ours, theirs) = read(&bytes);
        let length = theirs.headers().iter().find_map(|header| match header {
            rsip::Header::ContentLength(length) => Some(length.value().to_owned()),
            _ => None,
        });
        assert_eq!(
            ours.header(HeaderName::ContentLength).map(lossy),
            length,
            "{name}"
        );
    }
}
