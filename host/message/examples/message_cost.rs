//! What a message costs: reads, edits and writes messages as the proxy does, so many times, for counting instructions.
//!
//! ```text
//! cargo build --release -p patchbay-message --example message_cost
//! for count in 100 1100; do
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/message_cost read-invite $count
//! done
//! ```
//!
//! The difference of the two totals, divided by the difference of the counts, is the cost of one message. Scenarios:
//! `read-` scans a message, validates it and asks for every view that the proxy asks for; `forward-` edits and writes it
//! as the proxy does; `respond-` writes a response to it. Each goes with `invite`, `ack`, `bye`, `register`, `options`,
//! the first two also with `ringing` and `ok`.
#![allow(clippy::unwrap_used, clippy::panic)] // A measurement that can't run has no result.

use std::hint::black_box;
use std::sync::Arc;

use patchbay_message::{
    Draft, HeaderName, Limits, Message, MessagePool, Method, NameAddr, ResponseHead, write_response,
};

/// What an audio phone with several codecs offers.
const BODY: &str = "v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 40000 RTP/AVP 96 97 98 9 0 8 18 101 102\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1; minptime=10; stereo=0; sprop-stereo=0; maxplaybackrate=48000\r\n\
    a=rtpmap:97 speex/16000\r\na=rtpmap:98 speex/8000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\na=rtpmap:102 telephone-event/48000\r\na=fmtp:102 0-16\r\na=ptime:20\r\na=maxptime:60\r\n\
    a=rtcp:40001 IN IP4 192.0.2.1\r\na=rtcp-fb:* trr-int 1000\r\na=rtcp-fb:* ccm tmmbr\r\na=sendrecv\r\n\
    a=candidate:1 1 UDP 2130706431 192.0.2.1 40000 typ host\r\na=candidate:1 2 UDP 2130706430 192.0.2.1 40001 typ host\r\n\
    a=candidate:2 1 UDP 1694498815 198.51.100.7 40000 typ srflx raddr 192.0.2.1 rport 40000\r\n\
    a=candidate:2 2 UDP 1694498814 198.51.100.7 40001 typ srflx raddr 192.0.2.1 rport 40001\r\n\
    a=ice-ufrag:oPzN\r\na=ice-pwd:mDz7GzOFyQmTbbDyDnCrRhTA\r\n";
const OWN_VIA: &str =
    "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKpbaaabtcwahuzxqrkdf5sfd7xl3oiv2gyxhurdwmwwj4";
const VIA: &str =
    "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK65f1a2.17.4711.1;received=192.0.2.1;rport=5070";
const RECORD_ROUTE: &str =
    "<sip:pbt-aaaaaaaaaaaaaaaaaadj6ft3s2u3wqoxjjtzbkc6dm4wse@192.0.2.9:5060;lr>";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "message_cost SCENARIO COUNT";
    let scenario = arguments.next().unwrap_or_else(|| panic!("{usage}"));
    let count: usize = arguments
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("{usage}"));
    let (work, kind) = scenario
        .split_once('-')
        .unwrap_or_else(|| panic!("{usage}"));
    let text = text(kind);
    match work {
        "read" => read(&text, count),
        "forward" => forward(&text, count),
        "respond" => respond(&text, count),
        _ => panic!("no scenario {scenario}"),
    }
}

fn text(kind: &str) -> Vec<u8> {
    let from = "From: \"Caller 17\" <sip:caller17@example.com>;tag=f4711\r\n";
    let to = "To: <sip:user42@example.com>";
    let call_id = "Call-ID: 17.4711.65f1a2@192.0.2.1\r\n";
    let via = "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK65f1a2.17.4711.1;rport\r\n";
    let dialog = |method: &str, number: u32, more: &str| {
        format!(
            "{method} sip:user42@192.0.2.2:5080 SIP/2.0\r\n{via}Max-Forwards: 70\r\nRoute: {RECORD_ROUTE}\r\n{from}{to};tag=u4712\r\n\
             {call_id}CSeq: {number} {method}\r\nUser-Agent: phone/1.0\r\n{more}Content-Length: 0\r\n\r\n"
        )
    };
    let response = |line: &str, body: &str| {
        format!(
            "SIP/2.0 {line}\r\nVia: {OWN_VIA}\r\nVia: {VIA}\r\nRecord-Route: {RECORD_ROUTE}\r\n{from}{to};tag=u4712\r\n{call_id}\
             CSeq: 1 INVITE\r\nContact: <sip:user42@192.0.2.2:5080>\r\n{body}"
        )
    };
    let sdp = format!(
        "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let text = match kind {
        "invite" => format!(
            "INVITE sip:user42@example.com SIP/2.0\r\n{via}Max-Forwards: 70\r\n{from}{to}\r\n{call_id}CSeq: 1 INVITE\r\n\
             Contact: <sip:caller17@192.0.2.1:5070>\r\nAllow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, UPDATE\r\n\
             Supported: replaces, timer\r\nUser-Agent: phone/1.0\r\n{sdp}"
        ),
        "ack" => dialog("ACK", 1, ""),
        "bye" => dialog("BYE", 2, ""),
        "register" => format!(
            "REGISTER sip:example.com SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: <sip:user42@example.com>;tag=17.4711.65f1a2\r\n\
             To: <sip:user42@example.com>\r\nCall-ID: reg-42-0a1b2c3d4e@192.0.2.1\r\nCSeq: 3 REGISTER\r\n\
             Contact: <sip:user42@192.0.2.1:5070>\r\nExpires: 3600\r\nUser-Agent: phone/1.0\r\nContent-Length: 0\r\n\r\n"
        ),
        "options" => format!(
            "OPTIONS sip:example.com SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: <sip:ping@example.com>;tag=f4711\r\n\
             To: <sip:example.com>\r\n{call_id}CSeq: 1 OPTIONS\r\nContact: <sip:ping@192.0.2.1:5070>\r\n\
             User-Agent: phone/1.0\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
        ),
        "ringing" => response("180 Ringing", "Content-Length: 0\r\n\r\n"),
        "ok" => response("200 OK", &sdp),
        _ => panic!("no message {kind}"),
    };
    text.into_bytes()
}

/// Scan, validation and views.
fn read(text: &[u8], count: usize) {
    let limits = Limits::default();
    let mut pool = MessagePool::default();
    let nothing = Arc::new(Message::default());
    let mut drafts = [0; 2].map(|_| Draft::with_capacity(nothing.clone(), 1024));
    for _ in 0..count {
        let mut message = pool.take();
        let scanned = Arc::get_mut(&mut message).unwrap_or_else(|| panic!("it is shared"));
        assert_eq!(scanned.parse_into(black_box(text), &limits), Ok(()));
        if message.is_request() {
            read_request(&message, &mut drafts);
        } else {
            read_response(&message);
        }
        drafts
            .iter_mut()
            .for_each(|draft| draft.reset(nothing.clone()));
        pool.put(message);
    }
}

fn read_request(message: &Arc<Message>, [received, request]: &mut [Draft; 2]) {
    // The transaction's key.
    let via = message.top_via().unwrap();
    black_box((via.branch(), via.has_magic_cookie(), via.host_raw));
    black_box(message.method());
    // What is noted in the Via.
    received.reset(message.clone());
    note_source(received);
    message.validate().unwrap();
    // What a proxy checks.
    let uri = received.request_uri_parts().unwrap();
    black_box((uri.scheme, uri.host, uri.user, uri.maddr()));
    black_box((received.max_forwards().unwrap(), received.call_id()));
    black_box(received.cseq().unwrap());
    black_box(received.from().unwrap().tag());
    black_box(received.to().unwrap().tag());
    for name in [HeaderName::Route, HeaderName::Authorization] {
        black_box(received.headers(name).count());
    }
    black_box(message.headers(HeaderName::Via).map(<[u8]>::len).max());
    black_box(received.values(HeaderName::ProxyRequire).count());
    black_box(received.header(HeaderName::MaxBreadth));
    // The route.
    request.clone_from(received);
    let is_ours = |route| {
        let uri = NameAddr::parse(route).unwrap().uri().unwrap();
        black_box((uri.user, uri.host, uri.is_lr())).2
    };
    let ours = request
        .values(HeaderName::Route)
        .next()
        .is_some_and(is_ours);
    if ours {
        request.remove_first_value(HeaderName::Route).unwrap();
    }
    black_box(request.values(HeaderName::Route).next());
    // Where responses go, and what they are made of.
    let via = message.top_via().unwrap();
    black_box((via.port, via.host, via.rport(), via.branch()));
    black_box(received.from().unwrap().tag());
}

fn note_source(received: &mut Draft) {
    let via = received.top_via().unwrap();
    black_box((via.host, via.rport()));
    let parameters = via.params.iter().count();
    assert!(parameters > 0);
    received
        .replace_first_value(HeaderName::Via, black_box(VIA.as_bytes()))
        .unwrap();
}

fn read_response(message: &Message) {
    black_box(message.top_via().unwrap().branch());
    message.validate().unwrap();
    black_box(message.method() == Method::Invite);
    black_box(message.values(HeaderName::Via).nth(1));
    black_box(message.header(HeaderName::To));
}

/// Edits and the written message.
fn forward(text: &[u8], count: usize) {
    let message = Arc::new(Message::parse(text, &Limits::default()).unwrap());
    let mut received = Draft::with_capacity(message.clone(), 1024);
    if message.is_request() {
        note_source(&mut received);
        received.remove_first_value(HeaderName::Route).unwrap();
    }
    let mut draft = Draft::with_capacity(message.clone(), 1024);
    let mut out = Vec::with_capacity(4096);
    for _ in 0..count {
        draft.clone_from(black_box(&received));
        if message.is_request() {
            draft.set(HeaderName::MaxForwards, b"69").unwrap();
            if message.method() != Method::Ack {
                draft.set(HeaderName::MaxBreadth, b"60").unwrap();
                draft
                    .prepend(HeaderName::RecordRoute, RECORD_ROUTE.as_bytes())
                    .unwrap();
            }
            draft.prepend(HeaderName::Via, OWN_VIA.as_bytes()).unwrap();
        } else {
            draft.remove_first_value(HeaderName::Via).unwrap();
            black_box(draft.header(HeaderName::Via));
        }
        out.clear();
        draft.write_to(&mut out);
        black_box(&out);
    }
}

/// The response of a policy.
fn respond(text: &[u8], count: usize) {
    let message = Arc::new(Message::parse(text, &Limits::default()).unwrap());
    let mut received = Draft::with_capacity(message, 1024);
    note_source(&mut received);
    let mut out = Vec::with_capacity(4096);
    let headers = [(&b"Contact"[..], &b"<sip:192.0.2.9>"[..])];
    for _ in 0..count {
        let head = ResponseHead {
            status: 200,
            reason: "",
            to_tag: Some(b"pbaabbccddee"),
        };
        out.clear();
        write_response(
            &mut out,
            black_box(&received),
            head,
            headers.iter().copied(),
            b"",
        );
        black_box(&out);
    }
}
