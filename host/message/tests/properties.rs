//! What holds for all messages, streams and edits.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.

use std::sync::Arc;

use patchbay_message::{
    CSeq, ContactValue, Credentials, Draft, Frame, Framer, FramingError, HeaderName, Host,
    KeepAlive, Limits, Message, NameAddr, Uri, Values, Via, peek_header, uri_eq,
};
use proptest::prelude::*;

const REQUEST: &[u8] =
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nl: 3\r\n\r\n\r\n\x00";
const RESPONSE: &[u8] = b"SIP/2.0 200 OK\r\nCall-ID: x\r\nContent-Length\t:\r\n 0\r\n\r\n";

fn torture() -> Vec<Vec<u8>> {
    let folders = ["rfc4475", "rfc5118", "rfc3665"];
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| {
            std::fs::read_dir(format!(
                "{}/tests/data/{folder}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap()
        })
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// Asks for everything there is.
fn read_all(bytes: &[u8]) {
    let _ = peek_header(bytes, HeaderName::CallId);
    let Ok(message) = Message::parse(bytes, &Limits::default()) else {
        return;
    };
    let _ = (
        message.validate(),
        message.method(),
        message.max_forwards(),
        message.top_via(),
        message.cseq(),
    );
    for (name, value) in message.fields() {
        let _ = (
            Via::parse(value),
            Credentials::parse(value),
            ContactValue::parse(value),
        );
        if let Ok(address) = NameAddr::parse(value)
            && let Ok(uri) = address.uri()
        {
            assert!(uri_eq(&uri, &uri), "{:?}", String::from_utf8_lossy(uri.raw));
        }
        assert!(message.values(name.known()).count() <= bytes.len());
    }
    kept_views_say_what_the_values_say(&message);
    unedited_draft_is_identical(message);
}

/// What is read once when a message is scanned is what reading the value gives.
fn kept_views_say_what_the_values_say(message: &Message) {
    fn shown(view: Option<impl std::fmt::Debug>) -> String {
        format!("{view:?}")
    }
    let read = |name| message.header(name);
    assert_eq!(
        shown(message.top_via().ok()),
        shown(read(HeaderName::Via).and_then(|value| Via::parse_first(value).ok()))
    );
    for (kept, name) in [
        (message.from(), HeaderName::From),
        (message.to(), HeaderName::To),
    ] {
        let value = read(name).and_then(|value| NameAddr::parse(value).ok());
        let uri = |address: Option<NameAddr<'_>>| {
            shown(address.and_then(|address| address.uri().ok().map(|uri| format!("{uri:?}"))))
        };
        let kept = kept.ok();
        assert_eq!(kept, value);
        assert_eq!(uri(kept), uri(value));
    }
    assert_eq!(
        shown(message.cseq().ok()),
        shown(read(HeaderName::CSeq).and_then(|value| CSeq::parse(value).ok()))
    );
    assert_eq!(
        shown(message.request_uri_parts().ok()),
        shown(Uri::parse(message.request_uri()).ok())
    );
}

fn unedited_draft_is_identical(message: Message) {
    let message = Arc::new(message);
    let mut out = Vec::new();
    Draft::new(Arc::clone(&message)).write_to(&mut out);
    assert_eq!(out, message.as_bytes());
    let again = Message::parse(&out, &Limits::default()).unwrap();
    assert_eq!(again.as_bytes(), message.as_bytes());
    assert!(again.fields().eq(message.fields()));
    assert_eq!(
        (again.body(), again.validate()),
        (message.body(), message.validate())
    );
}

/// The frames of a stream that comes in these pieces, and the error that ends it.
fn frames<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    limits: Limits,
) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let mut framer = Framer::new(limits);
    let mut frames = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(message))) => frames.push(message.to_vec()),
                Ok(Some(Frame::KeepAlive(KeepAlive::Ping))) => frames.push(b"ping".to_vec()),
                Ok(Some(Frame::KeepAlive(KeepAlive::Pong))) => frames.push(b"pong".to_vec()),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn stream() -> Vec<u8> {
    [REQUEST, b"\r\n\r\n", RESPONSE, b"\r\n", REQUEST, REQUEST].concat()
}

#[test]
fn every_split_of_a_stream_gives_the_same_frames() {
    let stream = stream();
    let expected = [
        REQUEST, b"pong", b"ping", RESPONSE, b"pong", REQUEST, REQUEST,
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    assert_eq!(
        frames(stream.chunks(1), Limits::default()),
        (expected.clone(), None)
    );
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(
                frames(pieces.into_iter(), Limits::default()),
                (expected.clone(), None),
                "{first} {second}"
            );
        }
    }
}

#[test]
fn a_stream_that_can_not_be_framed_is_given_up() {
    let limits = Limits {
        max_message_bytes: 100,
        ..Limits::default()
    };
    for (head, error) in [
        (
            "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n",
            FramingError::NoContentLength,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n",
            FramingError::BadContentLength,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n",
            FramingError::BadContentLength,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: 99999999999999999999\r\n\r\n",
            FramingError::BadContentLength,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: 18446744073709551615\r\n\r\n",
            FramingError::TooLarge,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: 90\r\n\r\n",
            FramingError::TooLarge,
        ),
    ] {
        let mut framer = Framer::new(limits);
        framer.push(head.as_bytes());
        assert_eq!(framer.next(), Err(error), "{head}");
        assert_eq!(framer.broken_head(), Some(head.as_bytes()));
        assert_eq!(framer.next(), Err(error), "an error stays");
    }
    let endless = [b'a'; 101];
    assert_eq!(
        frames(endless.chunks(1), limits),
        (Vec::new(), Some(FramingError::TooLarge))
    );
}

#[test]
fn limits_are_kept() {
    use patchbay_message::ScanError;
    let text = b"OPTIONS sip:a@b SIP/2.0\r\nA: 1\r\nB: 22\r\n 33\r\n\r\n";
    let scan = |limits: Limits| Message::parse(text, &limits).map(|_| ()).map_err(Some);
    let exact = Limits {
        max_message_bytes: text.len(),
        max_headers: 2,
        max_header_bytes: 25,
    };
    assert_eq!(scan(exact), Ok(()));
    assert_eq!(
        scan(Limits {
            max_message_bytes: text.len() - 1,
            ..exact
        }),
        Err(Some(ScanError::MessageTooLarge))
    );
    assert_eq!(
        scan(Limits {
            max_headers: 1,
            ..exact
        }),
        Err(Some(ScanError::TooManyHeaders))
    );
    assert_eq!(
        scan(Limits {
            max_header_bytes: 24,
            ..exact
        }),
        Err(Some(ScanError::HeaderTooLong))
    );
}

#[test]
fn peek_finds_what_the_scanner_finds() {
    for bytes in torture() {
        let Ok(message) = Message::parse(&bytes, &Limits::default()) else {
            continue;
        };
        for name in [
            HeaderName::CallId,
            HeaderName::Via,
            HeaderName::From,
            HeaderName::Subject,
        ] {
            assert_eq!(peek_header(message.as_bytes(), name), message.header(name));
        }
    }
}

#[test]
fn torture_messages_are_written_as_they_came() {
    torture().iter().for_each(|bytes| read_all(bytes));
}

#[test]
fn keep_alives_are_no_messages() {
    use patchbay_message::ScanError;
    for bytes in [&b"\r\n\r\n"[..], b"\r\n", b""] {
        assert_eq!(
            Message::parse(bytes, &Limits::default()).unwrap_err(),
            ScanError::KeepAlive
        );
    }
}

#[test]
fn mixed_line_ends_are_refused_with_400() {
    let text = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nX: a\nP-Asserted-Identity: <sip:evil@b>\r\n\r\n";
    let message = Message::parse(text, &Limits::default()).unwrap();
    assert_eq!(
        message.validate().map_err(|invalid| invalid.status()),
        Err(400)
    );
    assert!(
        message.header(HeaderName::PAssertedIdentity).is_some(),
        "what the next hop may see is seen here too"
    );
}

/// One edit of a draft.
#[derive(Clone, Debug)]
enum Edit {
    Set(usize, String),
    Append(usize, String),
    Prepend(usize, String),
    Remove(usize),
}

const NAMES: [&str; 5] = ["Subject", "X-One", "Via", "Route", "X-Two"];

fn edit() -> impl Strategy<Value = Edit> {
    let value = "[!-+.-~]([ -+.-~]{0,20}[!-+.-~])?";
    prop_oneof![
        (0..NAMES.len(), value).prop_map(|(name, value)| Edit::Set(name, value)),
        (0..NAMES.len(), value).prop_map(|(name, value)| Edit::Append(name, value)),
        (0..NAMES.len(), value).prop_map(|(name, value)| Edit::Prepend(name, value)),
        (0..NAMES.len()).prop_map(Edit::Remove),
    ]
}

/// The same edit on a plain list of values.
fn model(values: &mut [Vec<Vec<u8>>; NAMES.len()], edit: &Edit) {
    match edit {
        Edit::Set(name, value) => values[*name] = vec![value.clone().into_bytes()],
        Edit::Append(name, value) => values[*name].push(value.clone().into_bytes()),
        Edit::Prepend(name, value) => values[*name].insert(0, value.clone().into_bytes()),
        Edit::Remove(name) => values[*name].clear(),
    }
}

fn apply(draft: &mut Draft, edit: &Edit) {
    match edit {
        Edit::Set(name, value) => draft.set(NAMES[*name], value.as_bytes()).unwrap(),
        Edit::Append(name, value) => draft.append(NAMES[*name], value.as_bytes()).unwrap(),
        Edit::Prepend(name, value) => draft.prepend(NAMES[*name], value.as_bytes()).unwrap(),
        Edit::Remove(name) => assert!(draft.remove(NAMES[*name]).is_ok()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn no_header_makes_a_view_panic(value in "[ -~\\r\\n\\t]{0,60}") {
        read_all(format!("INVITE sip:a SIP/2.0\r\nVia: {value}\r\nTo: {value}\r\nContact: {value}\r\nCSeq: {value}\r\n\r\n").as_bytes());
    }

    #[test]
    fn no_mutated_message_makes_the_parser_panic(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), kind in 0..3,
    ) {
        let messages = torture();
        let mut bytes = messages[which.index(messages.len())].clone();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.truncate(at),
            _ => bytes.insert(at, byte),
        }
        read_all(&bytes);
    }

    #[test]
    fn arbitrary_streams_do_not_depend_on_their_pieces(bytes in "[\\r\\n:l0-2 a]{0,60}", size in 1usize..10) {
        let whole = frames(std::iter::once(bytes.as_bytes()), Limits::default());
        prop_assert_eq!(frames(bytes.as_bytes().chunks(size), Limits::default()), whole);
    }

    #[test]
    fn the_first_via_is_the_first_value_of_the_list(
        field in "[ ,]{0,2}(SIP ?/2.0/UDP )?[a-c0-9.:]{1,4}( ?[a;=,()\"<>\\\\1 ]{1,4}){0,6}",
    ) {
        let listed = Values::of(HeaderName::Via, field.as_bytes()).next();
        let listed = listed.and_then(|value| Via::parse(value).ok());
        let first = Via::parse_first(field.as_bytes()).ok();
        prop_assert_eq!(format!("{first:?}"), format!("{listed:?}"));
    }

    #[test]
    fn addresses_are_those_of_the_standard_library(
        text in "[0-9]{1,4}(\\.[0-9]{1,3}){2,4}|[0-2]{1,3}(\\.[0-2]{1,3}){3}[.a]?",
    ) {
        let expected = text.parse().map_or(Host::Name(text.as_bytes()), Host::V4);
        prop_assert_eq!(Host::parse(text.as_bytes()), Some(expected));
    }

    #[test]
    fn edits_read_back_as_written(edits in proptest::collection::vec(edit(), 0..12)) {
        let text = b"INVITE sip:a@b SIP/2.0\r\nVia: v1\r\nX-One: 1\r\nv: v2\r\nRoute: r\r\nx-one: 2\r\n\r\nbody";
        let mut draft = Draft::new(Arc::new(Message::parse(text, &Limits::default()).unwrap()));
        let mut expected = NAMES.map(|name| draft.headers(name).map(<[u8]>::to_vec).collect::<Vec<_>>());
        for edit in &edits {
            apply(&mut draft, edit);
            model(&mut expected, edit);
        }
        let mut out = Vec::new();
        draft.write_to(&mut out);
        prop_assert_eq!(out.len(), draft.written_len());
        let message = Message::parse(&out, &Limits::default()).unwrap();
        for (name, values) in NAMES.iter().zip(&expected) {
            prop_assert_eq!(draft.headers(*name).map(<[u8]>::to_vec).collect::<Vec<_>>(), values.clone());
            prop_assert_eq!(message.headers(*name).map(<[u8]>::to_vec).collect::<Vec<_>>(), values.clone());
        }
        prop_assert!(message.fields().eq(draft.fields()));
        prop_assert_eq!(message.body(), b"body");
    }
}
