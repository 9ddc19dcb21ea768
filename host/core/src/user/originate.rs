//! Requests of our own: RFC 3261 §8.1.
//!
//! The owner resolves the Request-URI, starts the request towards the first destination, and hands every event of its client
//! transaction to it. When a destination fails it may start the same request towards the next one, with a new branch
//! (RFC 3263 §4.3). A 2xx to an INVITE is handed on: its ACK is the business of whoever asked for the call.

use patchbay_message::{HeaderName, Invalid, Limits, Message, Name, ScanError, is_token};
use thiserror::Error;

use crate::door::{Originate, OriginateId, Packet, Transport};
use crate::time::Instant;
use crate::transaction::{
    ClientAction, InviteClientTransaction, NonInviteClientTransaction, Timing, build_ack,
};

/// What makes a request unlike any other; all of it from the random source of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIdentity {
    /// RFC 3261 §19.3: the From tag; a token.
    pub from_tag: String,
    /// RFC 3261 §8.1.1.4: the Call-ID.
    pub call_id: String,
}

impl RequestIdentity {
    /// An identity of 64 random bits for the tag and 128 for the Call-ID.
    pub fn from_random(tag: u64, call_id: [u64; 2]) -> RequestIdentity {
        let [high, low] = call_id;
        RequestIdentity {
            from_tag: format!("{tag:016x}"),
            call_id: format!("{high:016x}{low:016x}"),
        }
    }
}

/// The Via of one attempt to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopIdentity<'a> {
    /// The transport of the destination.
    pub transport: Transport,
    /// `host[:port]` of the listener that sends.
    pub sent_by: &'a str,
    /// RFC 3261 §8.1.1.7: with magic cookie, used for no other attempt.
    pub branch: &'a str,
}

/// Why a request of our own is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OriginateError {
    /// The method is no token, or one that belongs to another transaction (ACK, CANCEL).
    #[error("the method cannot be originated")]
    Method,
    /// A part has a line break or NUL in it and would become more than it is.
    #[error("a line break or NUL in the request")]
    LineBreak,
    /// A header is the core's own: Via, From, To, Call-ID, CSeq, Max-Forwards, Content-Length, Content-Type.
    #[error("{0:?} is set by the core")]
    OwnHeader(HeaderName),
    /// What was made of it is no message.
    #[error("no message: {0}")]
    Scan(#[from] ScanError),
    /// What was made of it is not valid.
    #[error("not valid: {0}")]
    Invalid(#[from] Invalid),
}

/// One request of our own and the client transaction of its current attempt.
#[derive(Debug)]
pub struct OriginatedRequest {
    originate: Originate,
    identity: RequestIdentity,
    machine: Option<Machine>,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteClientTransaction),
    NonInvite(NonInviteClientTransaction),
}

impl OriginatedRequest {
    /// Checks the request; nothing is sent yet.
    pub fn new(
        originate: Originate,
        identity: RequestIdentity,
    ) -> Result<OriginatedRequest, OriginateError> {
        check(&originate)?;
        Ok(OriginatedRequest {
            originate,
            identity,
            machine: None,
        })
    }

    /// Names the request in the answer.
    pub fn id(&self) -> OriginateId {
        self.originate.id
    }

    /// The URI to resolve.
    pub fn uri(&self) -> &[u8] {
        &self.originate.uri
    }

    /// The method, for the key of the client transaction.
    pub fn method(&self) -> &[u8] {
        &self.originate.method
    }

    /// Sends the request; a later call drops the transaction of the attempt before and starts a new one.
    pub fn start(
        &mut self,
        now: Instant,
        timing: Timing,
        hop: HopIdentity<'_>,
        out: &mut Vec<ClientAction>,
    ) -> Result<(), OriginateError> {
        let packet = self.build(hop)?;
        let reliable = hop.transport.is_reliable();
        self.machine = Some(if self.originate.method == b"INVITE" {
            Machine::Invite(InviteClientTransaction::start(
                now, timing, reliable, packet, out,
            ))
        } else {
            Machine::NonInvite(NonInviteClientTransaction::start(
                now, timing, reliable, packet, out,
            ))
        });
        Ok(())
    }

    /// A response with the branch of the current attempt came.
    pub fn on_response(&mut self, now: Instant, response: &Message, out: &mut Vec<ClientAction>) {
        let Some(status) = response.status() else {
            return;
        };
        match &mut self.machine {
            Some(Machine::Invite(machine)) => {
                machine.on_response(now, status, |invite| ack(invite, response), out)
            }
            Some(Machine::NonInvite(machine)) => machine.on_response(now, status, out),
            None => {}
        }
    }

    /// The current attempt could not be sent.
    pub fn on_transport_error(&mut self, out: &mut Vec<ClientAction>) {
        match &mut self.machine {
            Some(Machine::Invite(machine)) => machine.on_transport_error(out),
            Some(Machine::NonInvite(machine)) => machine.on_transport_error(out),
            None => {}
        }
    }

    /// Time has passed; does nothing before [`deadline`](Self::deadline).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<ClientAction>) {
        match &mut self.machine {
            Some(Machine::Invite(machine)) => machine.on_timeout(now, out),
            Some(Machine::NonInvite(machine)) => machine.on_timeout(now, out),
            None => {}
        }
    }

    /// When to call [`on_timeout`](Self::on_timeout).
    pub fn deadline(&self) -> Option<Instant> {
        match self.machine.as_ref()? {
            Machine::Invite(machine) => machine.deadline(),
            Machine::NonInvite(machine) => machine.deadline(),
        }
    }

    /// RFC 3261 §8.1.1: the mandatory headers, those that were asked for, the body.
    fn build(&self, hop: HopIdentity<'_>) -> Result<Packet, OriginateError> {
        let Originate {
            method,
            uri,
            from,
            to,
            headers,
            body,
            ..
        } = &self.originate;
        let mut out = Vec::with_capacity(512);
        let mut write = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        write(&[method, b" ", uri, b" SIP/2.0\r\n"]);
        // RFC 3581 §3: the response comes back through whatever is between.
        let via = format!(
            "Via: SIP/2.0/{} {};branch={};rport\r\n",
            name_of(hop.transport),
            hop.sent_by,
            hop.branch
        );
        write(&[via.as_bytes(), b"Max-Forwards: 70\r\n"]);
        write(&[
            b"From: <",
            from,
            b">;tag=",
            self.identity.from_tag.as_bytes(),
            b"\r\n",
        ]);
        write(&[b"To: <", to, b">\r\n"]);
        write(&[b"Call-ID: ", self.identity.call_id.as_bytes(), b"\r\n"]);
        write(&[b"CSeq: 1 ", method, b"\r\n"]);
        headers
            .iter()
            .for_each(|(name, value)| write(&[name, b": ", value, b"\r\n"]));
        let (content_type, body) = body
            .as_ref()
            .map_or((&[][..], &[][..]), |(kind, body)| (&kind[..], &body[..]));
        if !content_type.is_empty() {
            write(&[b"Content-Type: ", content_type, b"\r\n"]);
        }
        write(&[
            format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
            body,
        ]);
        Message::parse(&out, &Limits::default())?.validate()?;
        Ok(out.into())
    }
}

fn check(originate: &Originate) -> Result<(), OriginateError> {
    let Originate {
        method,
        uri,
        from,
        to,
        headers,
        body,
        ..
    } = originate;
    if !is_token(method) || matches!(&method[..], b"ACK" | b"CANCEL") {
        return Err(OriginateError::Method);
    }
    let content_type = body.as_ref().map(|(content_type, _)| content_type);
    let in_headers = headers.iter().flat_map(|(name, value)| [name, value]);
    let mut parts = [uri, from, to]
        .into_iter()
        .chain(content_type)
        .chain(in_headers);
    if parts.any(|part| part.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        return Err(OriginateError::LineBreak);
    }
    match headers
        .iter()
        .map(|(name, _)| Name::from(&name[..]).known())
        .find(|name| is_own(*name))
    {
        Some(name) => Err(OriginateError::OwnHeader(name)),
        None => Ok(()),
    }
}

fn is_own(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::MaxForwards
            | HeaderName::ContentLength
            | HeaderName::ContentType
    )
}

fn name_of(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
        Transport::Ws => "WS",
        Transport::Wss => "WSS",
    }
}

fn ack(invite: &[u8], response: &Message) -> Packet {
    let Ok(ack) = build_ack(invite, response) else {
        unreachable!("build has parsed the INVITE")
    };
    ack.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::ClientAction::{Response, Send, Terminated, TimedOut};

    fn originate(method: &str) -> Originate {
        Originate {
            id: OriginateId(7),
            method: method.into(),
            uri: b"sip:probe@192.0.2.1".to_vec(),
            from: b"sip:edge-1@example.com".to_vec(),
            to: b"sip:probe@192.0.2.1".to_vec(),
            headers: vec![(b"Accept".to_vec(), b"application/sdp".to_vec())],
            body: None,
        }
    }

    fn request(originate: Originate) -> Result<OriginatedRequest, OriginateError> {
        OriginatedRequest::new(originate, RequestIdentity::from_random(0xa, [0xb, 0xc]))
    }

    fn hop(transport: Transport) -> HopIdentity<'static> {
        HopIdentity {
            transport,
            sent_by: "198.51.100.1:5060",
            branch: "z9hG4bKfirst",
        }
    }

    fn start(request: &mut OriginatedRequest, transport: Transport) -> Vec<ClientAction> {
        let mut out = Vec::new();
        request
            .start(Instant(0), Timing::default(), hop(transport), &mut out)
            .unwrap();
        out
    }

    fn text(action: Option<&ClientAction>) -> String {
        let Some(Send(packet)) = action else {
            panic!("{action:?} sends nothing")
        };
        String::from_utf8(packet.to_vec()).unwrap()
    }

    fn response(status: u16, method: &str) -> Message {
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKfirst\r\n\
             From: <sip:edge-1@example.com>;tag=000000000000000a\r\nTo: <sip:probe@192.0.2.1>;tag=t\r\n\
             Call-ID: 1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn request_has_every_mandatory_header() {
        let out = start(&mut request(originate("OPTIONS")).unwrap(), Transport::Udp);
        let expected = "OPTIONS sip:probe@192.0.2.1 SIP/2.0\r\n\
            Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKfirst;rport\r\n\
            Max-Forwards: 70\r\n\
            From: <sip:edge-1@example.com>;tag=000000000000000a\r\n\
            To: <sip:probe@192.0.2.1>\r\n\
            Call-ID: 000000000000000b000000000000000c\r\n\
            CSeq: 1 OPTIONS\r\n\
            Accept: application/sdp\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(text(out.first()), expected);
    }

    #[test]
    fn body_goes_with_its_type_and_length() {
        let with_body = Originate {
            body: Some((b"text/plain".to_vec(), b"hello".to_vec())),
            ..originate("MESSAGE")
        };
        let out = start(&mut request(with_body).unwrap(), Transport::Tcp);
        assert!(
            text(out.first())
                .ends_with("Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
        );
    }

    #[test]
    fn response_is_handed_on() {
        let mut request = request(originate("OPTIONS")).unwrap();
        start(&mut request, Transport::Tcp);
        let mut out = Vec::new();
        request.on_response(Instant(1), &response(200, "OPTIONS"), &mut out);
        assert_eq!(out, [Response, Terminated]);
    }

    #[test]
    fn silence_is_a_timeout() {
        let mut request = request(originate("OPTIONS")).unwrap();
        start(&mut request, Transport::Tcp);
        let mut out = Vec::new();
        assert_eq!(request.deadline(), Some(Instant(32_000_000)));
        request.on_timeout(Instant(32_000_000), &mut out);
        assert_eq!(out, [TimedOut, Terminated]);
    }

    #[test]
    fn failed_invite_is_acked() {
        let mut request = request(originate("INVITE")).unwrap();
        start(&mut request, Transport::Udp);
        let mut out = Vec::new();
        request.on_response(Instant(1), &response(486, "INVITE"), &mut out);
        let ack = text(out.first());
        assert!(
            ack.starts_with("ACK sip:probe@192.0.2.1 SIP/2.0\r\n"),
            "{ack}"
        );
        assert!(
            ack.contains("\r\nTo: <sip:probe@192.0.2.1>;tag=t\r\n"),
            "{ack}"
        );
        assert_eq!(out.get(1..), Some(&[Response][..]));
    }

    #[test]
    fn next_destination_gets_the_same_request_with_another_branch() {
        let mut request = request(originate("OPTIONS")).unwrap();
        let first = text(start(&mut request, Transport::Udp).first());
        let mut out = Vec::new();
        request.on_transport_error(&mut out);
        out.clear();
        let second = HopIdentity {
            branch: "z9hG4bKsecond",
            ..hop(Transport::Udp)
        };
        request
            .start(Instant(5), Timing::default(), second, &mut out)
            .unwrap();
        assert_eq!(
            text(out.first()),
            first.replace("z9hG4bKfirst", "z9hG4bKsecond")
        );
    }

    #[test]
    fn methods_of_other_transactions_are_refused() {
        for method in ["ACK", "CANCEL", "", "TWO WORDS"] {
            assert_eq!(
                request(originate(method)).err(),
                Some(OriginateError::Method)
            );
        }
    }

    #[test]
    fn line_breaks_are_refused_everywhere() {
        let broken = b"x\r\nEvil: 1".to_vec();
        let base = || originate("OPTIONS");
        let all = [
            Originate {
                uri: broken.clone(),
                ..base()
            },
            Originate {
                from: broken.clone(),
                ..base()
            },
            Originate {
                to: broken.clone(),
                ..base()
            },
            Originate {
                headers: vec![(broken.clone(), b"1".to_vec())],
                ..base()
            },
            Originate {
                headers: vec![(b"X".to_vec(), broken.clone())],
                ..base()
            },
            Originate {
                body: Some((broken.clone(), b"1".to_vec())),
                ..base()
            },
        ];
        for originate in all {
            assert_eq!(request(originate).err(), Some(OriginateError::LineBreak));
        }
    }

    #[test]
    fn headers_of_the_core_are_refused_in_compact_form_too() {
        let headers = vec![(b"i".to_vec(), b"mine".to_vec())];
        let refused = request(Originate {
            headers,
            ..originate("OPTIONS")
        });
        assert_eq!(
            refused.err(),
            Some(OriginateError::OwnHeader(HeaderName::CallId))
        );
    }

    #[test]
    fn what_is_not_valid_is_not_sent() {
        let mut request = request(Originate {
            uri: b"sip:a b".to_vec(),
            ..originate("OPTIONS")
        })
        .unwrap();
        let mut out = Vec::new();
        assert!(
            request
                .start(Instant(0), Timing::default(), hop(Transport::Udp), &mut out)
                .is_err()
        );
        assert_eq!(out, []);
    }
}
