//! What an answer must look like. A server that is fast because it leaves something out has lost.

use super::SESSION;
use super::message::{Message, number, parameter};

/// What can be wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It can't be taken apart.
    Unreadable,
    /// Not exactly our own Via is left.
    Via,
    /// The Call-ID is not that of the request.
    CallId,
    /// The CSeq is not that of the request.
    CSeq,
    /// The From is not that of the request.
    From,
    /// The To has no tag.
    ToTag,
    /// A Contact is missing, or not the one that was registered.
    Contact,
    /// The body has changed, or is where none belongs.
    Body,
    /// The proxy did not stay in the path.
    RecordRoute,
}

impl Fault {
    /// As it stands in a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Unreadable => "unreadable",
            Fault::Via => "via",
            Fault::CallId => "call-id",
            Fault::CSeq => "cseq",
            Fault::From => "from",
            Fault::ToTag => "to-tag",
            Fault::Contact => "contact",
            Fault::Body => "body",
            Fault::RecordRoute => "record-route",
        }
    }
}

/// What a request says and its responses have to repeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// `Call-ID`.
    pub(crate) call_id: &'a [u8],
    /// The tag in From.
    pub(crate) tag: &'a [u8],
    /// The number in CSeq; the method has been looked at before.
    pub(crate) cseq: u64,
}

/// What every response has in common with its request.
///
/// RFC 3261 §8.2.6.2: Via, From, Call-ID and CSeq are those of the request, and all but a 100 have a tag in To.
pub(crate) fn response(response: &Message, request: Expected) -> Result<(), Fault> {
    if response.vias != 1 {
        return Err(Fault::Via);
    }
    if response.call_id != request.call_id {
        return Err(Fault::CallId);
    }
    let cseq = response.cseq.split(|&byte| byte == b' ').next();
    if cseq.and_then(number) != Some(request.cseq) {
        return Err(Fault::CSeq);
    }
    if parameter(response.from, b"tag") != Some(request.tag) {
        return Err(Fault::From);
    }
    if response.status() != Some(100) && parameter(response.to, b"tag").is_none() {
        return Err(Fault::ToTag);
    }
    let length = response.content_length.unwrap_or(response.body.len());
    if length != response.body.len() {
        return Err(Fault::Body);
    }
    Ok(())
}

/// What a response that makes a dialog has besides.
pub(crate) fn dialog(response: &Message, through_proxy: bool) -> Result<(), Fault> {
    if response.contact.is_empty() {
        return Err(Fault::Contact);
    }
    if through_proxy && response.record_routes.is_empty() {
        return Err(Fault::RecordRoute);
    }
    Ok(())
}

/// The body of an INVITE or of its 200.
pub(crate) fn session(message: &Message) -> Result<(), Fault> {
    if message.body == SESSION.as_bytes() {
        Ok(())
    } else {
        Err(Fault::Body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(vias: &str, to: &str, more: &str) -> String {
        format!(
            "SIP/2.0 200 OK\r\n{vias}From: <sip:a@b>;tag=1\r\nTo: <sip:c@b>{to}\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{more}\r\n"
        )
    }

    fn check(vias: &str, to: &str, more: &str) -> Result<(), Fault> {
        let request = Expected {
            call_id: b"1",
            tag: b"1",
            cseq: 1,
        };
        let answer = text(vias, to, more);
        let answer = Message::read(answer.as_bytes()).unwrap();
        response(&answer, request)?;
        dialog(&answer, true)
    }

    #[test]
    fn a_good_answer_passes() {
        let more = "Contact: <sip:c@d>\r\nRecord-Route: <sip:e;lr>\r\nContent-Length: 0\r\n";
        assert_eq!(check("Via: ours\r\n", ";tag=2", more), Ok(()));
    }

    #[test]
    fn each_fault_is_noticed() {
        let via = "Via: ours\r\n";
        let contact = "Contact: <sip:c@d>\r\n";
        assert_eq!(check("Via: a\r\nVia: b\r\n", ";tag=2", ""), Err(Fault::Via));
        assert_eq!(check(via, "", ""), Err(Fault::ToTag));
        assert_eq!(check(via, ";tag=2", ""), Err(Fault::Contact));
        assert_eq!(check(via, ";tag=2", contact), Err(Fault::RecordRoute));
        let short = "Content-Length: 3\r\n";
        assert_eq!(check(via, ";tag=2", short), Err(Fault::Body));
        let other_call = "Call-ID: 2\r\n";
        assert_eq!(check(via, ";tag=2", other_call), Err(Fault::CallId));
        let other_sequence = "CSeq: 2 INVITE\r\n";
        assert_eq!(check(via, ";tag=2", other_sequence), Err(Fault::CSeq));
    }

    #[test]
    fn a_changed_body_is_noticed() {
        let with = |body: &str| format!("SIP/2.0 200 OK\r\n\r\n{body}");
        let good = with(SESSION);
        assert_eq!(session(&Message::read(good.as_bytes()).unwrap()), Ok(()));
        let bad = with(&SESSION.replace("PCMU", "PCMX"));
        let bad = Message::read(bad.as_bytes()).unwrap();
        assert_eq!(session(&bad), Err(Fault::Body));
    }
}
