//! Reading, changing and writing messages.

use std::hint::black_box;
use std::sync::Arc;

use patchbay_message::{Draft, HeaderName, Limits, Message, ResponseHead, write_response};

use crate::suite::{Steps, Suite};

/// What a phone sends, SDP included.
pub(crate) const INVITE: &str = "INVITE sip:u7@bench.test SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.2:7060;branch=z9hG4bK74bf9;rport\r\nMax-Forwards: 70\r\n\
    From: \"Alice\" <sip:u1@bench.test>;tag=9fxced76sl\r\nTo: <sip:u7@bench.test>\r\n\
    Call-ID: 3848276298220188511@127.0.0.2\r\nCSeq: 1 INVITE\r\nContact: <sip:u1@127.0.0.2:7060>\r\n\
    User-Agent: measurement\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nSupported: outbound, path\r\n\
    Content-Type: application/sdp\r\nContent-Length: 123\r\n\r\n\
    v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n";

const OPERATIONS: u64 = 2000;

struct Messages {
    limits: Limits,
    message: Message,
    request: Draft,
    out: Vec<u8>,
}

impl Messages {
    fn new() -> Messages {
        let limits = Limits::default();
        let message = Message::parse(INVITE.as_bytes(), &limits).expect("an INVITE");
        Messages {
            request: Draft::new(Arc::new(message)),
            message: Message::parse(INVITE.as_bytes(), &limits).expect("an INVITE"),
            limits,
            out: Vec::with_capacity(4096),
        }
    }
}

/// From bytes to views.
pub(crate) fn scan() -> Box<dyn Suite> {
    let steps = Steps::new(OPERATIONS, Messages::new())
        .step("scan an INVITE", |state, times| {
            for _ in 0..times {
                let bytes = black_box(INVITE.as_bytes());
                state
                    .message
                    .parse_into(bytes, &state.limits)
                    .expect("an INVITE");
            }
        })
        .step("validate it", |state, times| {
            for _ in 0..times {
                black_box(&state.message)
                    .validate()
                    .expect("a valid INVITE");
            }
        })
        .step(
            "view Via, From, To, CSeq, Max-Forwards, Call-ID",
            |state, times| {
                for _ in 0..times {
                    let message = black_box(&state.message);
                    black_box(message.top_via()).expect("Via");
                    black_box(message.from()).expect("From");
                    black_box(message.to()).expect("To");
                    black_box(message.cseq()).expect("CSeq");
                    black_box(message.max_forwards()).expect("Max-Forwards");
                    black_box(message.call_id());
                }
            },
        );
    Box::new(steps)
}

/// What a proxy changes in a request, and its bytes.
pub(crate) fn forward() -> Box<dyn Suite> {
    let steps = Steps::new(OPERATIONS, Messages::new()).step(
        "edit and write a forwarded INVITE",
        |state, times| {
            for _ in 0..times {
                let (request, out) = (&mut state.request, &mut state.out);
                let base = Arc::clone(request.base());
                request.reset(base);
                let edits = [
                    request.set_request_uri(b"sip:u7@127.0.0.3:6080"),
                    request.set(HeaderName::MaxForwards, b"69"),
                    request.prepend(
                        HeaderName::RecordRoute,
                        b"<sip:pb00000000000000000001mi5r6iqquu6038mnplntum0q6@127.0.0.1:5060;lr>",
                    ),
                    request.prepend(
                        HeaderName::Via,
                        b"SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKpb0000000000000002odmahrh9ea10qu",
                    ),
                ];
                assert!(edits.iter().all(Result::is_ok));
                out.clear();
                request.write_to(out);
                black_box(&out);
            }
        },
    );
    Box::new(steps)
}

/// A response of our own.
pub(crate) fn respond() -> Box<dyn Suite> {
    let steps = Steps::new(OPERATIONS, Messages::new()).step("write a 486", |state, times| {
        for _ in 0..times {
            let head = ResponseHead {
                status: 486,
                reason: "",
                to_tag: Some(b"8fk3nd92"),
            };
            state.out.clear();
            write_response(
                &mut state.out,
                black_box(&state.request),
                head,
                std::iter::empty(),
                b"",
            );
            black_box(&state.out);
        }
    });
    Box::new(steps)
}
