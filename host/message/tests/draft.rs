//! What edits do to the bytes of a message.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.

use std::sync::Arc;

use patchbay_message::{
    Draft, EditError, HeaderName, Limits, Message, ResponseHead, default_reason, write_response,
};

const REQUEST: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/UDP b\r\nX-One: 1\r\nRoute: <sip:r1;lr>,\r\n <sip:r2;lr>\r\nRoute: <sip:r3;lr>\r\n\
    f: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nx-one: 2\r\nl: 4\r\n\r\nbody";

fn draft() -> Draft {
    Draft::new(Arc::new(
        Message::parse(REQUEST.as_bytes(), &Limits::default()).unwrap(),
    ))
}

fn written(draft: &Draft) -> String {
    let mut out = b"kept".to_vec();
    draft.write_to(&mut out);
    assert_eq!(out.len(), 4 + draft.written_len());
    String::from_utf8(out[4..].to_vec()).unwrap()
}

fn texts<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    values
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}

#[test]
fn without_edits_the_bytes_are_the_same() {
    let draft = draft();
    assert!(!draft.is_edited());
    assert_eq!(written(&draft), REQUEST);
}

#[test]
fn set_replaces_the_first_and_removes_the_others() {
    let mut draft = draft();
    draft.set("X-ONE", b" 3 ").unwrap();
    assert_eq!(texts(draft.headers("x-one")), ["3"]);
    assert_eq!(
        written(&draft),
        REQUEST
            .replace("X-One: 1", "X-One: 3")
            .replace("x-one: 2\r\n", "")
    );
}

#[test]
fn set_of_a_new_header_adds_it_at_the_end() {
    let mut draft = draft();
    draft.set("X-New", b"a").unwrap();
    draft.set("X-New", b"b").unwrap();
    assert_eq!(
        written(&draft),
        REQUEST.replace("l: 4\r\n", "l: 4\r\nX-New: b\r\n")
    );
}

#[test]
fn append_goes_after_the_last_and_prepend_before_the_first() {
    let mut draft = draft();
    draft.append("x-one", b"3").unwrap();
    draft.append("x-one", b"4").unwrap();
    draft.prepend("x-one", b"0").unwrap();
    draft.prepend("x-one", b"-1").unwrap();
    assert_eq!(
        texts(draft.headers("X-One")),
        ["-1", "0", "1", "2", "3", "4"]
    );
    let expected = REQUEST
        .replace("X-One: 1\r\n", "x-one: -1\r\nx-one: 0\r\nX-One: 1\r\n")
        .replace("x-one: 2\r\n", "x-one: 2\r\nx-one: 3\r\nx-one: 4\r\n");
    assert_eq!(written(&draft), expected);
}

#[test]
fn a_new_via_stands_on_its_own_line_before_the_others() {
    let mut draft = draft();
    draft
        .prepend(HeaderName::Via, b"SIP/2.0/UDP me;branch=z9hG4bK9")
        .unwrap();
    assert_eq!(draft.top_via().unwrap().branch(), Some(&b"z9hG4bK9"[..]));
    assert_eq!(
        written(&draft),
        REQUEST.replace("v: SIP", "Via: SIP/2.0/UDP me;branch=z9hG4bK9\r\nv: SIP")
    );
}

#[test]
fn prepend_of_a_new_header_comes_before_every_header() {
    let mut draft = draft();
    draft
        .prepend(HeaderName::RecordRoute, b"<sip:me;lr>")
        .unwrap();
    assert_eq!(
        written(&draft),
        REQUEST.replace(
            "SIP/2.0\r\nv:",
            "SIP/2.0\r\nRecord-Route: <sip:me;lr>\r\nv:"
        )
    );
}

#[test]
fn first_values_are_replaced_and_removed_one_by_one() {
    let mut draft = draft();
    draft
        .replace_first_value(HeaderName::Via, b"SIP/2.0/UDP a;received=1.2.3.4")
        .unwrap();
    assert_eq!(
        texts(draft.values(HeaderName::Via)),
        ["SIP/2.0/UDP a;received=1.2.3.4", "SIP/2.0/UDP b"]
    );
    assert_eq!(draft.remove_first_value(HeaderName::Route), Ok(true));
    assert_eq!(
        texts(draft.values(HeaderName::Route)),
        ["<sip:r2;lr>", "<sip:r3;lr>"]
    );
    assert_eq!(draft.remove_first_value(HeaderName::Route), Ok(true));
    assert_eq!(texts(draft.headers(HeaderName::Route)), ["<sip:r3;lr>"]);
    assert_eq!(draft.remove_first_value(HeaderName::Route), Ok(true));
    assert_eq!(draft.remove_first_value(HeaderName::Route), Ok(false));
    assert!(!written(&draft).contains("Route"));
}

#[test]
fn last_values_are_removed_one_by_one() {
    let mut draft = draft();
    assert_eq!(draft.remove_last_value(HeaderName::Route), Ok(true));
    assert_eq!(draft.remove_last_value(HeaderName::Route), Ok(true));
    assert_eq!(texts(draft.headers(HeaderName::Route)), ["<sip:r1;lr>"]);
    assert_eq!(draft.remove_last_value(HeaderName::Route), Ok(true));
    assert_eq!(draft.remove_last_value(HeaderName::Route), Ok(false));
}

#[test]
fn remove_counts_and_takes_insertions_too() {
    let mut draft = draft();
    draft.append("x-one", b"3").unwrap();
    assert_eq!(draft.remove("X-One"), Ok(3));
    assert_eq!(draft.remove("X-One"), Ok(0));
    assert_eq!(draft.header("x-one"), None);
    draft.set("x-one", b"4").unwrap();
    assert_eq!(texts(draft.headers("x-one")), ["4"]);
}

#[test]
fn a_new_body_brings_its_length_and_type() {
    let mut draft = draft();
    draft.set_body(b"text/plain", b"longer body").unwrap();
    let text = written(&draft);
    assert_eq!(
        text,
        REQUEST.replace(
            "l: 4\r\n\r\nbody",
            "l: 11\r\nContent-Type: text/plain\r\n\r\nlonger body"
        )
    );
    draft.set_body(b"", b"").unwrap();
    assert_eq!(
        written(&draft),
        REQUEST.replace("l: 4\r\n\r\nbody", "l: 0\r\n\r\n")
    );
    assert!(draft.body().is_empty());
}

#[test]
fn a_stream_gets_a_length_that_was_not_there() {
    let text = REQUEST.replace("l: 4\r\n", "");
    let mut draft = Draft::new(Arc::new(
        Message::parse(text.as_bytes(), &Limits::default()).unwrap(),
    ));
    draft.ensure_content_length().unwrap();
    draft.ensure_content_length().unwrap();
    assert_eq!(
        written(&draft),
        text.replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n")
    );
}

#[test]
fn the_request_uri_is_replaced() {
    let mut draft = draft();
    draft.set_request_uri(b"sip:carol@[::1]").unwrap();
    assert_eq!(draft.request_uri(), b"sip:carol@[::1]");
    assert_eq!(
        written(&draft),
        REQUEST.replacen("sip:bob@example.com", "sip:carol@[::1]", 1)
    );
}

#[test]
fn nothing_can_be_injected() {
    let mut draft = draft();
    for value in [&b"a\r\nX: b"[..], b"a\nb", b"a\rb", b"a\0b"] {
        assert_eq!(draft.set("X", value), Err(EditError::Value));
        assert_eq!(
            draft.append(HeaderName::Subject, value),
            Err(EditError::Value)
        );
        assert_eq!(draft.prepend("X", value), Err(EditError::Value));
        assert_eq!(
            draft.replace_first_value(HeaderName::Via, value),
            Err(EditError::Value)
        );
        assert_eq!(draft.set_body(value, b"x"), Err(EditError::Value));
        assert_eq!(draft.set_request_uri(value), Err(EditError::Uri));
    }
    for name in ["", "a b", "a:", "a\r\nb", "\u{e9}"] {
        assert_eq!(draft.set(name, b"x"), Err(EditError::Name));
    }
    assert_eq!(draft.set("l", b"9"), Err(EditError::ContentLength));
    assert_eq!(
        draft.remove(HeaderName::ContentLength),
        Err(EditError::ContentLength)
    );
    assert_eq!(draft.set_request_uri(b"sip:a b"), Err(EditError::Uri));
    assert_eq!(written(&draft), REQUEST);
}

#[test]
fn endless_edits_do_not_grow_for_ever() {
    let mut draft = draft();
    for round in 0..100_000 {
        draft
            .set("X-New", format!("{round:0100}").as_bytes())
            .unwrap();
    }
    assert!(written(&draft).contains(&format!("X-New: {:0100}\r\n", 99_999)));
    assert_eq!(
        draft.set("X-New", &vec![b'a'; 300_000]),
        Err(EditError::TooLarge)
    );
    let refused = (0..10_000).find_map(|_| draft.append("X-More", b"").err());
    assert_eq!(refused, Some(EditError::TooLarge));
}

#[test]
fn a_reset_draft_knows_nothing_of_its_edits() {
    let mut draft = draft();
    draft.set(HeaderName::Subject, b"x").unwrap();
    draft.set_body(b"a/b", b"c").unwrap();
    draft.reset(Arc::clone(draft.base()));
    assert!(!draft.is_edited());
    assert_eq!(written(&draft), REQUEST);
}

#[test]
fn a_clone_has_its_own_edits() {
    let mut first = draft();
    first.set(HeaderName::Subject, b"first").unwrap();
    let mut second = first.clone();
    second.set(HeaderName::Subject, b"second").unwrap();
    assert_eq!(first.header(HeaderName::Subject), Some(&b"first"[..]));
    first.clone_from(&second);
    assert_eq!(written(&first), written(&second));
}

#[test]
fn a_response_has_what_the_rfc_copies() {
    let mut out = Vec::new();
    let head = ResponseHead {
        status: 404,
        reason: "",
        to_tag: Some(b"tt"),
    };
    let headers = [(&b"X-A"[..], &b"1\r\nEvil: 2"[..]), (b"bad name", b"x")];
    write_response(&mut out, &draft(), head, headers.into_iter(), b"hi");
    let expected = "SIP/2.0 404 Not Found\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/UDP b\r\nFrom: <sip:a@x>;tag=1\r\n\
        To: <sip:b@x>;tag=tt\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nX-A: 1  Evil: 2\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_response_has_lines_of_its_own_where_the_requests_are_unusual() {
    let text = "OPTIONS sip:x SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@x>;tag=1\r\nTO:<sip:b@x> \r\n\
        call-id: c\r\nCSeq:  1\r\n OPTIONS\r\nMax-Forwards: 70\r\n\r\n";
    let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
    let request = Draft::new(Arc::new(message));
    let head = ResponseHead {
        status: 200,
        reason: "",
        to_tag: Some(b"tt"),
    };
    let mut out = Vec::new();
    write_response(&mut out, &request, head, std::iter::empty(), b"");
    let expected = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=tt\r\n\
        Call-ID: c\r\nCSeq: 1\r\n OPTIONS\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_tag_that_is_there_is_kept_and_timestamp_goes_into_a_100() {
    let mut request = draft();
    request.set(HeaderName::To, b"<sip:b@x>;tag=old").unwrap();
    request.set(HeaderName::Timestamp, b"54").unwrap();
    let mut out = Vec::new();
    let head = ResponseHead {
        status: 100,
        reason: "Hold On",
        to_tag: Some(b"new"),
    };
    write_response(&mut out, &request, head, std::iter::empty(), b"");
    let response = Message::parse(&out, &Limits::default()).unwrap();
    assert_eq!(
        (response.status(), response.reason()),
        (Some(100), &b"Hold On"[..])
    );
    assert_eq!(response.to().unwrap().tag(), Some(&b"old"[..]));
    assert_eq!(response.header(HeaderName::Timestamp), Some(&b"54"[..]));
    assert!(response.validate().is_ok());
}

#[test]
fn unknown_statuses_have_the_phrase_of_their_class() {
    assert_eq!(
        (
            default_reason(486),
            default_reason(499),
            default_reason(699)
        ),
        ("Busy Here", "Request Failure", "Global Failure")
    );
}

#[test]
fn a_request_uri_has_no_headers_and_no_method() {
    let message = Message::parse(
        b"OPTIONS sip:a@example.com SIP/2.0\r\nCall-ID: 1\r\n\r\n",
        &Limits::default(),
    )
    .unwrap();
    let mut draft = Draft::new(Arc::new(message));
    for (uri, expected) in [
        (
            "sip:b@192.0.2.1:5070;x=1?Subject=a",
            "sip:b@192.0.2.1:5070;x=1",
        ),
        (
            "sip:b@[2001:db8::1];METHOD=INVITE;lr?a=b",
            "sip:b@[2001:db8::1];lr",
        ),
        ("sip:b?c@192.0.2.1?a=b", "sip:b?c@192.0.2.1"),
        ("sip:192.0.2.1;method=BYE", "sip:192.0.2.1"),
        ("tel:+1;ext=2", "tel:+1;ext=2"),
    ] {
        draft.set_request_uri(uri.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(draft.request_uri()), expected);
    }
}

/// First line, a field, and the rest with other values, as a proxy forwards.
fn forwarded(draft: &Draft, values: &[(HeaderName, &[u8])]) -> String {
    let mut out = Vec::new();
    draft.write_start_line(&mut out);
    out.extend_from_slice(b"Via: own\r\n");
    draft.write_after_start_line(&mut out, values);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_forwarded_request_has_other_values_and_the_draft_stays() {
    let mut draft = draft();
    draft.set_request_uri(b"sip:c@example.net").unwrap();
    draft.remove_first_value(HeaderName::Route).unwrap();
    let values: [(HeaderName, &[u8]); 3] = [
        (HeaderName::CallId, b"other"),
        (HeaderName::MaxForwards, b"9"),
        (HeaderName::To, b"<sip:d@x>"),
    ];
    let expected = REQUEST
        .replace(
            "bob@example.com SIP/2.0\r\n",
            "c@example.net SIP/2.0\r\nVia: own\r\nMax-Forwards: 9\r\n",
        )
        .replace("<sip:r1;lr>,\r\n ", "")
        .replace("<sip:b@x>", "<sip:d@x>")
        .replace("Call-ID: c", "Call-ID: other");
    let before = written(&draft);
    assert_eq!(forwarded(&draft, &values), expected);
    assert_eq!(written(&draft), before);
}

#[test]
fn a_forwarded_request_has_the_value_in_place_of_edited_and_repeated_fields() {
    let mut draft = draft();
    draft.append(HeaderName::MaxForwards, b"3").unwrap();
    let values: [(HeaderName, &[u8]); 2] = [
        (HeaderName::MaxForwards, b"2"),
        (HeaderName::Route, b"<sip:r>"),
    ];
    let text = forwarded(&draft, &values);
    let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(texts(message.headers(HeaderName::MaxForwards)), ["2"]);
    assert_eq!(texts(message.headers(HeaderName::Route)), ["<sip:r>"]);
    assert_eq!(message.headers(HeaderName::Via).next(), Some(&b"own"[..]));
}

#[test]
fn a_header_that_was_removed_can_come_back() {
    let mut draft = draft();
    for name in [HeaderName::To, HeaderName::From] {
        assert_eq!(draft.remove(name).unwrap(), 1);
        assert!(draft.header(name).is_none() && draft.headers(name).next().is_none());
    }
    let copy = draft.clone();
    draft
        .append(HeaderName::From, b"<sip:new@example.com>")
        .unwrap();
    draft
        .prepend(HeaderName::To, b"<sip:new@example.com>")
        .unwrap();
    assert_eq!(draft.header("From"), Some(&b"<sip:new@example.com>"[..]));
    assert_eq!(draft.headers("To").count(), 1);
    assert_eq!(draft.remove(HeaderName::From).unwrap(), 1);
    assert!(draft.header("From").is_none() && copy.header("From").is_none());
    draft.clear();
    assert!(!draft.is_edited() && draft.header("From").is_none());
}
