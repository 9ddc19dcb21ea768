//! The torture messages of RFC 4475 and RFC 5118, each with the verdict that its text states.
//!
//! What is judged here is the message as every element sees it: [`Message::parse`] and [`Message::validate`]. Where the
//! RFC leaves a verdict to the element that uses a header (416, 420, 483, a registrar's 400), the message is accepted, and
//! a test below shows what the view says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.

use patchbay_message::{
    AddressOfRecord, ContactValue, Credentials, HeaderName, Host, Invalid, Limits, Message, Method,
    ScanError, Scheme, Uri, Via, uri_eq,
};

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// A request that is answered with this status.
    Answered(u16),
    /// A response that is discarded.
    Discarded,
}

use Verdict::{Accepted, Answered, Discarded};

fn verdict(bytes: &[u8]) -> Verdict {
    match Message::parse(bytes, &Limits::default()) {
        Err(_) => Discarded,
        Ok(message) => match message.validate() {
            Ok(()) => Accepted,
            Err(invalid) if message.is_request() => Answered(invalid.status()),
            Err(_) => Discarded,
        },
    }
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// RFC 5118's archive has LF for CRLF.
fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| [line.strip_suffix(b"\n").unwrap_or(line), b"\r\n"].concat())
        .collect()
}

fn rfc4475(name: &str) -> Message {
    Message::parse(&bytes(&format!("rfc4475/{name}.dat")), &Limits::default()).unwrap()
}

fn rfc5118(name: &str) -> Message {
    Message::parse(
        &with_crlf(&bytes(&format!("rfc5118/{name}"))),
        &Limits::default(),
    )
    .unwrap()
}

macro_rules! rfc4475_verdicts {
    ($($(#[$why:meta])* $name:ident: $verdict:expr;)*) => {
        mod rfc4475_verdict {
            use super::*;
            $($(#[$why])* #[test] fn $name() {
                assert_eq!(verdict(&bytes(concat!("rfc4475/", stringify!($name), ".dat"))), $verdict);
            })*

            #[test]
            fn every_message_has_one() {
                let named = [$(stringify!($name)),*];
                for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rfc4475")).unwrap() {
                    let name = file.unwrap().file_name().into_string().unwrap();
                    assert!(named.contains(&name.strip_suffix(".dat").unwrap()), "{name}");
                }
            }
        }
    };
}

rfc4475_verdicts! {
    /// §3.1.1.1: folds, LWS everywhere, compact forms; "all elements should treat this as a well-formed request".
    wsinv: Accepted;
    /// §3.1.1.2: every character that tokens, words and quoted strings may hold, NUL in a quoted pair included.
    intmeth: Accepted;
    /// §3.1.1.3: escapes in URIs; "a parser must accept this as a well-formed message".
    esc01: Accepted;
    /// §3.1.1.4: %00 in user parts; "parsers must accept this message".
    escnull: Accepted;
    /// §3.1.1.5: % where it is no escape; an unknown method and an unknown header.
    esc02: Accepted;
    /// §3.1.1.6: no LWS before `<`; "elements should accept this request as well formed".
    lwsdisp: Accepted;
    /// §3.1.1.7: long values, 34 Vias.
    longreq: Accepted;
    /// §3.1.1.8: octets after the body of a datagram "must be ignored".
    dblreq: Accepted;
    /// §3.1.1.9: semicolons in the user part.
    semiuri: Accepted;
    /// §3.1.1.10: unknown transports in Via; "parsers must accept this message as well formed".
    transports: Accepted;
    /// §3.1.1.11: a binary body with NULs.
    mpart01: Accepted;
    /// §3.1.1.12: UTF-8 in the reason phrase.
    unreason: Accepted;
    /// §3.1.1.13: an empty reason phrase.
    noreason: Accepted;
    /// §3.1.2.1: empty parameters and values in Via; "should respond with a 400".
    badinv01: Answered(400);
    /// §3.1.2.2: Content-Length beyond the datagram; "should respond with a 400".
    clerr: Answered(400);
    /// §3.1.2.3: a negative Content-Length; "should respond with an error".
    ncl: Answered(400);
    /// §3.1.2.4: CSeq beyond 2**32-1; "should respond with a 400 Bad Request due to the CSeq error".
    scalar02: Answered(400);
    /// §3.1.2.5: the same in a response; "will simply discard it".
    scalarlg: Discarded;
    /// §3.1.2.6: a quote in To that does not end; "should return a 400".
    quotbal: Answered(400);
    /// §3.1.2.7: `<>` around the Request-URI; "reasonable always to reject" with 400.
    ltgtruri: Answered(400);
    /// §3.1.2.8: a blank inside the Request-URI; "should respond with a 400".
    lwsruri: Answered(400);
    /// §3.1.2.9: several blanks in the start line; "acceptable to reject", and never forwarded so.
    lwsstart: Answered(400);
    /// §3.1.2.10: blanks at the end of the start line; "acceptable to reject", and never forwarded so.
    trws: Answered(400);
    /// §3.1.2.11: headers in the Request-URI; "acceptable to reject with a 400", and never forwarded so.
    escruri: Answered(400);
    /// §3.1.2.12: a broken Date; an element "shouldn't" reject it unless it needs the date.
    baddate: Accepted;
    /// §3.1.2.13: Contact must have `<>`; for the registrar, whose view refuses it (see below).
    regbadct: Accepted;
    /// §3.1.2.14: blanks inside the addr-spec of To; "reasonable to reject" with 400.
    badaspec: Answered(400);
    /// §3.1.2.15: commas in display names without quotes; "reasonable always to reject" with 400.
    baddn: Answered(400);
    /// §3.1.2.16: SIP/7.0; "should respond with a 505".
    badvers: Answered(505);
    /// §3.1.2.17: CSeq of another method; "any element will respond with a 400".
    mismatch01: Answered(400);
    /// §3.1.2.18: the same with an unknown method; "should respond with a 501".
    mismatch02: Answered(501);
    /// §3.1.2.19: a response code over 699; "should simply drop it".
    bigcode: Discarded;
    /// §3.2.1: a branch of nothing but the cookie; "could fall back to the RFC 2543-style transaction identifier".
    badbranch: Accepted;
    /// §3.3.1: no Call-ID, From, To; "ideally a 400".
    insuf: Answered(400);
    /// §3.3.2: an unknown scheme; "a parser must accept this", the element answers 416.
    unkscm: Accepted;
    /// §3.3.3: a scheme that is known elsewhere; accepted, then 416.
    novelsc: Accepted;
    /// §3.3.4: other schemes in To, From, Contact; "proxies should treat this message as any other", a registrar answers 400.
    unksm2: Accepted;
    /// §3.3.5: Require and Proxy-Require; the element answers 420.
    bext01: Accepted;
    /// §3.3.6: a body of an unknown type; "a parser must not fail".
    invut: Accepted;
    /// §3.3.7: an unknown authorization scheme; "the request is well formed".
    regaut01: Accepted;
    /// §3.3.8: several Call-ID, To, From, Max-Forwards, CSeq; "would respond with a 400".
    multi01: Answered(400);
    /// §3.3.9: Content-Lengths that differ; "should respond with an error".
    mcl01: Answered(400);
    /// §3.3.10: a broadcast address in the second Via; well formed, the proxy drops it.
    bcast: Accepted;
    /// §3.3.11: Max-Forwards of 0; legal, a proxy answers 483.
    zeromf: Accepted;
    /// §3.3.12: a parameter of Contact, not of its URI.
    cparam01: Accepted;
    /// §3.3.13: a parameter of the URI.
    cparam02: Accepted;
    /// §3.3.14: an escaped header in the URI of a Contact.
    regescrt: Accepted;
    /// §3.3.15: Accept without SDP is for the endpoint.
    sdp01: Accepted;
    /// §3.4.1: RFC 2543: no branch, no tag, no Content-Length, no Max-Forwards; "should be accepted".
    inv2543: Accepted;
    /// In the archive only: a start line without version, so that nothing says it is SIP.
    test: Discarded;
}

macro_rules! rfc5118_verdicts {
    ($($(#[$why:meta])* $test:ident $file:literal: $verdict:expr;)*) => {
        mod rfc5118_verdict {
            use super::*;
            $($(#[$why])* #[test] fn $test() {
                assert_eq!(verdict(&with_crlf(&bytes(concat!("rfc5118/", $file)))), $verdict);
            })*

            #[test]
            fn every_message_has_one() {
                assert_eq!([$($file),*].len(), std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rfc5118")).unwrap().count());
            }
        }
    };
}

rfc5118_verdicts! {
    /// §4.1: well formed.
    ipv6_good "ipv6-good": Accepted;
    /// §4.2: no `[]` in the Request-URI; "should respond with a 400".
    ipv6_bad "ipv6-bad": Answered(400);
    /// §4.3: well formed; what was meant as a port is part of the address.
    port_ambiguous "port-ambiguous": Accepted;
    /// §4.4: well formed.
    port_unambiguous "port-unambiguous": Accepted;
    /// §4.5: `[]` in received; "must parse them successfully".
    via_received_param_with_delim "via-received-param-with-delim": Accepted;
    /// §4.5: the same without.
    via_received_param_no_delim "via-received-param-no-delim": Accepted;
    /// §4.6: meant as well formed, but its Content-Length is 268 for a body of 251 bytes, for which RFC 3261 §18.3 wants a
    /// 400. With the right length it is accepted (see below).
    ipv6_in_sdp "ipv6-in-sdp": Answered(400);
    /// §4.7: well formed.
    mult_ip_in_header "mult-ip-in-header": Accepted;
    /// §4.8: well formed.
    mult_ip_in_sdp "mult-ip-in-sdp": Accepted;
    /// §4.9: well formed.
    ipv4_mapped_ipv6 "ipv4-mapped-ipv6": Accepted;
    /// §4.10: `:::` by a literal reading of RFC 3261; "an implementation must tolerate both".
    ipv6_bug_abnf_3_colons "ipv6-bug-abnf-3-colons": Accepted;
    /// §4.10: the right form.
    ipv6_correct_abnf_2_colons "ipv6-correct-abnf-2-colons": Accepted;
}

#[test]
fn wsinv_is_read_through_its_folds() {
    let message = rfc4475("wsinv");
    assert_eq!(message.max_forwards(), Ok(Some(68)));
    assert_eq!(message.cseq().map(|cseq| cseq.number), Ok(9));
    assert_eq!(message.to().unwrap().tag(), Some(&b"1918181833n"[..]));
    assert_eq!(
        message.from().unwrap().display_name().as_deref(),
        Some(&br#"J Rosenberg \""#[..])
    );
    assert_eq!(message.header(HeaderName::Subject), Some(&b""[..]));
    assert_eq!(
        message.header("unknownheaderwithunusualvalue"),
        Some(&b";;,,;;,;"[..])
    );
    let branches: Vec<_> = message
        .values(HeaderName::Via)
        .map(|via| Via::parse(via).unwrap().branch().unwrap())
        .collect();
    assert_eq!(
        branches,
        [&b"390skdjuw"[..], b"z9hG4bK9ikj8", b"z9hG4bK30239"]
    );
    assert_eq!(message.body().len(), 150);
}

#[test]
fn intmeth_keeps_every_odd_character() {
    let message = rfc4475("intmeth");
    assert_eq!(
        message.method(),
        Method::Other(b"!interesting-Method0123456789_*+`.%indeed'~")
    );
    let uri = Uri::parse(message.request_uri()).unwrap();
    assert_eq!(
        uri.user,
        Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..])
    );
    assert_eq!(
        uri.password,
        Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..])
    );
    assert_eq!(
        message.to().unwrap().display_name().as_deref(),
        Some(&b"BEL:\x07 NUL:\0 DEL:\x7f"[..])
    );
    assert_eq!(
        message.from().unwrap().tag(),
        Some(&b"_token~1'+`*%!-."[..])
    );
}

#[test]
fn esc01_unescapes_once() {
    let message = rfc4475("esc01");
    assert_eq!(
        Uri::parse(message.request_uri())
            .unwrap()
            .user_unescaped()
            .as_ref(),
        b"sips:user@example.com"
    );
    let contact = message.header(HeaderName::Contact).unwrap();
    let Ok(ContactValue::Address(contact)) = ContactValue::parse(contact) else {
        panic!("no address")
    };
    let same = Uri::parse(b"sip:caller@host5.example.net;lr;name=value%2541").unwrap();
    let other = Uri::parse(b"sip:caller@host5.example.net;lr;name=valueA").unwrap();
    assert!(uri_eq(&contact.uri().unwrap(), &same));
    assert!(!uri_eq(&contact.uri().unwrap(), &other));
}

#[test]
fn escnull_does_not_shorten_the_user() {
    let message = rfc4475("escnull");
    let aor = AddressOfRecord::from_uri(&message.to().unwrap().uri().unwrap()).unwrap();
    assert_eq!(aor.user(), "null-\0-null");
    let contacts: Vec<_> = message.values(HeaderName::Contact).collect();
    assert_eq!(
        contacts,
        [
            &b"<sip:%00@host5.example.com>"[..],
            b"<sip:%00%00@host5.example.com>"
        ]
    );
}

#[test]
fn esc02_has_two_contacts_and_an_unknown_method() {
    let message = rfc4475("esc02");
    assert_eq!(message.values(HeaderName::Contact).count(), 2);
    assert_eq!(message.method(), Method::Other(b"RE%47IST%45R"));
}

#[test]
fn longreq_has_all_its_vias() {
    let message = rfc4475("longreq");
    assert_eq!(message.values(HeaderName::Via).count(), 34);
    assert!(
        message
            .values(HeaderName::Via)
            .all(|via| Via::parse(via).is_ok())
    );
}

#[test]
fn dblreq_ends_with_its_body() {
    let message = rfc4475("dblreq");
    assert_eq!(message.method(), Method::Register);
    assert!(message.body().is_empty());
    assert!(message.as_bytes().ends_with(b"Content-Length: 0\r\n\r\n"));
}

#[test]
fn semiuri_has_semicolons_in_its_user() {
    let message = rfc4475("semiuri");
    let uri = Uri::parse(message.request_uri()).unwrap();
    assert_eq!(
        (uri.user_unescaped().as_ref(), uri.host),
        (&b"user;par=u@example.net"[..], Host::Name(b"example.com"))
    );
}

#[test]
fn mpart01_keeps_its_binary_body() {
    assert_eq!(rfc4475("mpart01").body().len(), 553);
}

#[test]
fn regbadct_has_a_contact_that_its_view_refuses() {
    let message = rfc4475("regbadct");
    assert_eq!(
        ContactValue::parse(message.header(HeaderName::Contact).unwrap()),
        Err(Invalid::Address)
    );
}

#[test]
fn bigcode_is_no_response() {
    assert_eq!(
        Message::parse(&bytes("rfc4475/bigcode.dat"), &Limits::default()).unwrap_err(),
        ScanError::StatusCode
    );
}

#[test]
fn badbranch_has_no_transaction_identifier() {
    assert!(!rfc4475("badbranch").top_via().unwrap().has_magic_cookie());
}

#[test]
fn unknown_schemes_are_kept_for_the_element_to_refuse() {
    assert_eq!(
        Uri::parse(rfc4475("unkscm").request_uri()).unwrap().scheme,
        Scheme::Other(b"nobodyKnowsThisScheme")
    );
    assert_eq!(
        Uri::parse(rfc4475("novelsc").request_uri()).unwrap().scheme,
        Scheme::Other(b"soap.beep")
    );
    let to = rfc4475("unksm2");
    assert!(AddressOfRecord::from_uri(&to.to().unwrap().uri().unwrap()).is_none());
}

#[test]
fn bext01_lists_what_it_requires() {
    let message = rfc4475("bext01");
    let required: Vec<_> = message.values(HeaderName::ProxyRequire).collect();
    assert_eq!(
        required,
        [&b"noProxiesSupportThis"[..], b"norDoAnyProxiesSupportThis"]
    );
}

#[test]
fn regaut01_has_credentials_of_another_scheme() {
    let message = rfc4475("regaut01");
    let credentials =
        Credentials::parse(message.header(HeaderName::Authorization).unwrap()).unwrap();
    assert!(!credentials.is_digest());
    assert_eq!(
        credentials.get(b"opaque-data").as_deref(),
        Some(&b"here"[..])
    );
}

#[test]
fn contact_parameters_and_uri_parameters_stay_apart() {
    let view = |message: &Message| {
        let Ok(ContactValue::Address(contact)) =
            ContactValue::parse(message.header(HeaderName::Contact).unwrap())
        else {
            panic!("no address")
        };
        (
            contact.params.contains(b"unknownparam"),
            contact.uri().unwrap().param(b"unknownparam").is_some(),
        )
    };
    assert_eq!(view(&rfc4475("cparam01")), (true, false));
    assert_eq!(view(&rfc4475("cparam02")), (false, true));
}

#[test]
fn regescrt_keeps_the_escaped_header() {
    let message = rfc4475("regescrt");
    let Ok(ContactValue::Address(contact)) =
        ContactValue::parse(message.header(HeaderName::Contact).unwrap())
    else {
        panic!("no address")
    };
    assert_eq!(
        contact.uri().unwrap().headers,
        Some(&b"Route=%3Csip:sip.example.com%3E"[..])
    );
}

#[test]
fn inv2543_body_ends_with_the_datagram() {
    let message = rfc4475("inv2543");
    assert!(message.body().ends_with(b"m=audio 49217 RTP/AVP 0\r\n"));
    assert_eq!(
        (
            message.top_via().unwrap().branch(),
            message.from().unwrap().tag()
        ),
        (None, None)
    );
    assert_eq!(message.max_forwards(), Ok(None));
}

#[test]
fn ipv6_in_sdp_is_accepted_with_its_true_length() {
    let text = String::from_utf8(with_crlf(&bytes("rfc5118/ipv6-in-sdp"))).unwrap();
    assert_eq!(
        verdict(
            text.replace("Content-Length: 268", "Content-Length: 251")
                .as_bytes()
        ),
        Accepted
    );
}

#[test]
fn ports_are_outside_of_the_brackets() {
    let ambiguous = rfc5118("port-ambiguous");
    let uri = Uri::parse(ambiguous.request_uri()).unwrap();
    assert_eq!(
        (uri.host, uri.port),
        (Host::V6("2001:db8::10:5070".parse().unwrap()), None)
    );
    let unambiguous = rfc5118("port-unambiguous");
    let uri = Uri::parse(unambiguous.request_uri()).unwrap();
    assert_eq!(
        (uri.host, uri.port),
        (Host::V6("2001:db8::10".parse().unwrap()), Some(5070))
    );
}

#[test]
fn received_is_read_with_and_without_brackets() {
    for name in [
        "via-received-param-with-delim",
        "via-received-param-no-delim",
    ] {
        let message = rfc5118(name);
        assert_eq!(
            message.top_via().unwrap().received(),
            Some("2001:db8::9:255".parse().unwrap()),
            "{name}"
        );
    }
}

#[test]
fn three_colons_mean_two() {
    let (three, two) = (
        rfc5118("ipv6-bug-abnf-3-colons"),
        rfc5118("ipv6-correct-abnf-2-colons"),
    );
    assert!(uri_eq(
        &Uri::parse(three.request_uri()).unwrap(),
        &Uri::parse(two.request_uri()).unwrap()
    ));
}

#[test]
fn addresses_of_both_families_stand_in_one_via_list() {
    let message = rfc5118("mult-ip-in-header");
    let hosts: Vec<_> = message
        .values(HeaderName::Via)
        .map(|via| Via::parse(via).unwrap().host.address().unwrap())
        .collect();
    let expected: [std::net::IpAddr; 3] = [
        "2001:db8::9:1".parse().unwrap(),
        "192.0.2.1".parse().unwrap(),
        "2001:db8::9:255".parse().unwrap(),
    ];
    assert_eq!(hosts, expected);
}

#[test]
fn line_feeds_alone_are_accepted_and_become_crlf() {
    let raw = bytes("rfc5118/ipv6-correct-abnf-2-colons");
    assert_eq!(verdict(&raw), Accepted);
    let message = Message::parse(&raw, &Limits::default()).unwrap();
    assert_eq!(message.as_bytes(), [&with_crlf(&raw)[..], b"\r\n"].concat());
}
