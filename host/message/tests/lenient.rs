//! What is legal but unusual, or wrong but common and harmless, is not refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.

use patchbay_message::{ContactValue, Limits, Message, NameAddr, Uri};

const LINES: [(&str, &str); 7] = [
    (
        "Via",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport",
    ),
    ("Max-Forwards", "Max-Forwards: 70"),
    ("From", "From: \"Alice\" <sip:alice@example.com>;tag=1"),
    ("To", "To: <sip:bob@example.com>"),
    ("Call-ID", "Call-ID: 1@192.0.2.1"),
    ("CSeq", "CSeq: 1 OPTIONS"),
    ("Content-Length", "Content-Length: 0"),
];

/// An OPTIONS with one of the lines replaced.
fn with(name: &str, line: &str) -> String {
    let mut text = "OPTIONS sip:bob@example.com SIP/2.0\r\n".to_owned();
    for (other, usual) in LINES {
        let line = if other == name { line } else { usual };
        if !line.is_empty() {
            text += &format!("{line}\r\n");
        }
    }
    text + "\r\n"
}

fn verdict(text: &str) -> Result<(), String> {
    Message::parse(text.as_bytes(), &Limits::default())
        .map_err(|error| error.to_string())?
        .validate()
        .map_err(|error| error.to_string())
}

#[test]
fn unusual_forms_of_the_mandatory_headers_pass() {
    let forms = [
        (
            "Via",
            "Via: SIP / 2.0 / UDP 192.0.2.1 : 5060 ; branch = z9hG4bK1",
        ),
        (
            "Via",
            "v:SIP/2.0/UDP first.example.com;branch=z9hG4bK1,SIP/2.0/TCP [2001:db8::1]:5061",
        ),
        ("Via", "Via: SIP/2.0/NONSENSE host;branch=z9hG4bK1"),
        ("Via", "Via: SIP/2.0/TLS-SCTP host;branch=z9hG4bK1"),
        ("Via", "VIA: SIP/2.0/UDP 192.0.2.1;branch=oldstyle"),
        ("Via", "Via: SIP/2.0/UDP 192.0.2.1"),
        (
            "Via",
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=2001:db8::1",
        ),
        (
            "Via",
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport=5060;alias;keep=30",
        ),
        ("Via", "Via: sip/2.0/udp 192.0.2.1;branch=z9hG4bK1"),
        (
            "Via",
            "Via: SIP/2.0/UDP host.example.com.:5060;branch=z9hG4bK1",
        ),
        ("Max-Forwards", ""),
        ("Max-Forwards", "max-forwards : 0070"),
        ("Max-Forwards", "Max-Forwards:255"),
        ("From", "From: sip:alice@example.com"),
        ("From", "f: sip:alice@example.com;tag=1"),
        ("From", "From: <tel:+1-212-555-0100;phone-context=x>;tag=1"),
        ("From", "From: tel:+12125550100;tag=1"),
        ("From", "From: Alice Smith <SIP:alice@EXAMPLE.com>;tag=1"),
        (
            "From",
            "From: \"a\\\"<>,;b\" <sip:alice@example.com;x=y?z=w>;tag=1;n=\"q;,\"",
        ),
        ("From", "From: \"\" <sip:alice@example.com>;tag=1"),
        ("From", "From:<sip:alice@example.com>;tag=1"),
        ("From", "From: \"Alice\"<sip:alice@example.com>;tag=1"),
        (
            "From",
            "From: <sip:alice%40x:secret;p=1@example.com:5060;transport=tcp>;tag=1",
        ),
        ("From", "From: \"Ж\" <sip:alice@example.com>;tag=1"),
        ("From", "From: Ж <sip:alice@example.com>;tag=1"),
        ("From", "From: <urn:service:sos>;tag=1"),
        ("From", "From: <sip:anonymous@anonymous.invalid>;TAG=1"),
        ("To", "t:\r\n <sip:bob@example.com>"),
        ("To", "To: <sip:[2001:db8::1]:5060>"),
        (
            "To",
            "To: <sip:+12125550100;npdi;rn=1@example.com;user=phone>",
        ),
        ("To", "To: <sip:*69@example.com>"),
        ("To", "To: <sip:**61*123#@example.com>"),
        ("Call-ID", "i: a"),
        ("Call-ID", "Call-ID: <>:\\/[]?{}\"()%@x"),
        ("CSeq", "CSeq:   0000000001    OPTIONS"),
        ("CSeq", "cseq: 1\r\n OPTIONS"),
        ("Content-Length", ""),
        ("Content-Length", "l: 0"),
        (
            "Content-Length",
            "Content-Length: 0\r\nContact: <sip:a@b>;q=1.000;+sip.instance=\"<urn:uuid:0>\";expires",
        ),
        (
            "Content-Length",
            "Content-Length: 0\r\nContact: sip:a@b , \"x,y\" <sip:c@d>",
        ),
        ("Content-Length", "Content-Length: 0\r\nSubject:"),
        ("Content-Length", "Content-Length: 0\r\nSupported:"),
        ("Content-Length", "Content-Length: 0\r\nX-Foo: \"open"),
        (
            "Content-Length",
            "Content-Length: 0\r\nAccept: */*, ,text/plain",
        ),
        (
            "Content-Length",
            "Content-Length: 0\r\nRoute: <sip:p.example.com;lr=on>,<sip:q;lr>",
        ),
    ];
    let refused: Vec<_> = forms
        .iter()
        .filter_map(|(name, line)| verdict(&with(name, line)).err().map(|error| (line, error)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn unusual_request_uris_pass() {
    for uri in [
        "SIP:bob@example.com",
        "sip:example.com",
        "sips:bob@example.com:5061;transport=tcp",
        "tel:+12125550100",
        "tel:911;phone-context=+1",
        "sip:bob@[2001:db8::1]",
        "sip:bob@192.0.2.1;lr;maddr=192.0.2.2;ttl=1",
        "sip:b%6fb:@example.com",
        "sip:;x=y@example.com",
        "sip:bob@example.com;unknown=%20;method=INVITE",
        "urn:service:sos",
        "sip:#31#123@example.com",
    ] {
        let text = with("", "").replacen("sip:bob@example.com SIP", &format!("{uri} SIP"), 1);
        assert_eq!(verdict(&text), Ok(()), "{uri}");
    }
}

#[test]
fn usual_contacts_and_names_are_read() {
    for contact in [
        "<sip:a@b>",
        "sip:a@b;q=0.5",
        "\"A\" <sip:a@b;transport=tcp>;expires=3600;q=0.7",
        "<sip:a@b>;expires=",
        "<sip:a@b>;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"",
        "*",
    ] {
        let read = ContactValue::parse(contact.as_bytes());
        assert!(
            read.is_ok() || contact.ends_with('='),
            "{contact}: {read:?}"
        );
    }
    let tel = NameAddr::parse(b"tel:+1;tag=x").unwrap();
    assert_eq!(tel.tag(), Some(&b"x"[..]));
    assert!(Uri::parse(b"sip:a@b;lr").unwrap().is_lr());
}

/// Who reads up to the NUL sees a Route there, others don't.
#[test]
fn a_nul_in_a_name_makes_it_no_header() {
    for name in ["Route\0", "v\0"] {
        let line = format!("Max-Forwards: 70\r\n{name}: <sip:192.0.2.7;lr>");
        let text = with("Max-Forwards", &line);
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(message.header("Route"), None, "{name:?}");
        assert_eq!(message.headers("Via").count(), 1, "{name:?}");
        assert!(verdict(&text).is_err(), "{name:?}");
    }
}
