//! Requests that a client transaction derives from its INVITE: the ACK to a 300-699 and the CANCEL.
//!
//! Both copy their headers from the INVITE as it was passed to the transport, which is what the RFC compares them with.

use patchbay_message::{CSeq, Decimal, HeaderName, Limits, Message, ScanError};

/// RFC 3261 §17.1.1.3: appends the ACK for a 300-699 `response` to `invite`.
///
/// `invite` is the INVITE as sent. Nothing is appended when it can't be read, which our own requests always can.
pub fn write_ack(out: &mut Vec<u8>, invite: &Message, response: &Message) {
    let to = response
        .header(HeaderName::To)
        .or_else(|| invite.header(HeaderName::To));
    write_derived(out, invite, b"ACK", to);
}

/// RFC 3261 §17.1.1.3: the ACK for a 300-699 `response` to the INVITE that was sent as `invite`.
pub fn build_ack(invite: &[u8], response: &Message) -> Result<Vec<u8>, ScanError> {
    let invite = Message::parse(
        invite,
        &Limits {
            max_message_bytes: invite.len(),
            ..UNLIMITED
        },
    )?;
    let mut out = Vec::with_capacity(512);
    write_ack(&mut out, &invite, response);
    Ok(out)
}

/// RFC 3261 §9.1: the CANCEL of the INVITE that was sent as `invite`.
pub fn build_cancel(invite: &[u8]) -> Result<Vec<u8>, ScanError> {
    let invite = Message::parse(
        invite,
        &Limits {
            max_message_bytes: invite.len(),
            ..UNLIMITED
        },
    )?;
    let mut out = Vec::with_capacity(512);
    write_derived(&mut out, &invite, b"CANCEL", invite.header(HeaderName::To));
    Ok(out)
}

/// What we sent ourselves has passed the limits already, and may have grown a little since.
const UNLIMITED: Limits = Limits {
    max_message_bytes: usize::MAX,
    max_headers: usize::MAX,
    max_header_bytes: usize::MAX,
};

fn write_derived(out: &mut Vec<u8>, invite: &Message, method: &[u8], to: Option<&[u8]>) {
    let (Ok(via), Ok(CSeq { number, .. })) = (invite.top_via(), invite.cseq()) else {
        return;
    };
    write_all(out, &[method, b" ", invite.request_uri(), b" SIP/2.0\r\n"]);
    write_header(out, b"Via", via.raw);
    // RFC 3261 §17.1.1.3 and §9.1: so that the way is that of the INVITE.
    invite
        .headers(HeaderName::Route)
        .for_each(|route| write_header(out, b"Route", route));
    write_header(out, b"Max-Forwards", b"70");
    if let Some(from) = invite.header(HeaderName::From) {
        write_header(out, b"From", from);
    }
    if let Some(to) = to {
        write_header(out, b"To", to);
    }
    write_header(out, b"Call-ID", invite.call_id());
    write_all(
        out,
        &[
            b"CSeq: ",
            Decimal::new(u64::from(number)).as_bytes(),
            b" ",
            method,
            b"\r\n",
        ],
    );
    write_all(out, &[b"Content-Length: 0\r\n\r\n"]);
}

fn write_header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_all(out, &[name, b": ", value, b"\r\n"]);
}

fn write_all(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:bob@biloxi.com SIP/2.0\r\n\
        v: SIP/2.0/UDP p1.example.com;branch=z9hG4bKours, SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff\r\n\
        t: Bob <sip:bob@biloxi.com>\r\n\
        f: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
        Max-Forwards: 12\r\n\
        Route: <sip:p2.example.com;lr>\r\n\
        Route: <sip:p3.example.com;lr>\r\n\
        Require: 100rel\r\n\
        Proxy-Require: sec-agree\r\n\
        i: 987asjd97y7atg\r\n\
        CSeq: 986759 INVITE\r\n\
        Content-Type: text/plain\r\n\
        Content-Length: 4\r\n\r\nbody";

    fn response() -> Message {
        let text = b"SIP/2.0 486 Busy Here\r\n\
            Via: SIP/2.0/UDP p1.example.com;branch=z9hG4bKours;received=192.0.2.1\r\n\
            To: Bob <sip:bob@biloxi.com>;tag=99sa0xk\r\n\
            From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
            Call-ID: 987asjd97y7atg\r\nCSeq: 986759 INVITE\r\nContent-Length: 0\r\n\r\n";
        Message::parse(text, &Limits::default()).unwrap()
    }

    #[test]
    fn ack_takes_to_from_the_response_and_all_else_from_the_invite() {
        let expected = "ACK sip:bob@biloxi.com SIP/2.0\r\n\
            Via: SIP/2.0/UDP p1.example.com;branch=z9hG4bKours\r\n\
            Route: <sip:p2.example.com;lr>\r\n\
            Route: <sip:p3.example.com;lr>\r\n\
            Max-Forwards: 70\r\n\
            From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
            To: Bob <sip:bob@biloxi.com>;tag=99sa0xk\r\n\
            Call-ID: 987asjd97y7atg\r\n\
            CSeq: 986759 ACK\r\n\
            Content-Length: 0\r\n\r\n";
        let ack = build_ack(INVITE, &response()).unwrap();
        assert_eq!(String::from_utf8(ack).unwrap(), expected);
    }

    #[test]
    fn cancel_copies_the_invite_without_its_requirements() {
        let expected = "CANCEL sip:bob@biloxi.com SIP/2.0\r\n\
            Via: SIP/2.0/UDP p1.example.com;branch=z9hG4bKours\r\n\
            Route: <sip:p2.example.com;lr>\r\n\
            Route: <sip:p3.example.com;lr>\r\n\
            Max-Forwards: 70\r\n\
            From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
            To: Bob <sip:bob@biloxi.com>\r\n\
            Call-ID: 987asjd97y7atg\r\n\
            CSeq: 986759 CANCEL\r\n\
            Content-Length: 0\r\n\r\n";
        let cancel = build_cancel(INVITE).unwrap();
        assert_eq!(String::from_utf8(cancel).unwrap(), expected);
    }

    #[test]
    fn derived_requests_are_valid() {
        for bytes in [
            build_ack(INVITE, &response()).unwrap(),
            build_cancel(INVITE).unwrap(),
        ] {
            let message = Message::parse(&bytes, &Limits::default()).unwrap();
            assert_eq!(message.validate(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_message_gives_no_ack() {
        assert!(build_ack(b"garbage", &response()).is_err());
    }
}
