//! A call as one phone has it: a dialog (RFC 3261 §12), or what may become one.

use patchbay_message::{HeaderName, Message, NameAddr};

use super::compose::{header, text};

/// One side of a call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) call_id: String,
    /// What this phone writes into From, with its tag.
    pub(super) local: String,
    /// What it writes into To.
    pub(super) remote: String,
    /// The Request-URI of requests in the dialog.
    pub(super) target: String,
    /// The route set.
    pub(super) routes: Vec<String>,
    /// The last number that was used.
    pub(super) cseq: u32,
    /// A 2xx was sent or came.
    pub(super) is_established: bool,
    /// It is the one that all REGISTERs of the phone are in (RFC 3261 §10.2.4).
    pub(super) is_registration: bool,
}

impl Call {
    /// The call of a phone that is about to send its first request in it.
    pub(super) fn of_caller(call_id: String, local: String, is_registration: bool) -> Call {
        Call {
            call_id,
            local,
            remote: String::new(),
            target: String::new(),
            routes: Vec::new(),
            cseq: 0,
            is_established: false,
            is_registration,
        }
    }

    /// The same after a request that was written by hand.
    pub(super) fn of_caller_by_hand(request: &Message) -> Call {
        let call_id = text(request.call_id());
        let mut call = Call::of_caller(call_id, header(request, HeaderName::From), false);
        call.cseq = request.cseq().map_or(1, |cseq| cseq.number);
        call
    }

    /// RFC 3261 §12.1.1: the call of a phone that got the request, with its tag.
    pub(super) fn of_callee(request: &Message, tag: &str) -> Call {
        Call {
            call_id: text(request.call_id()),
            local: format!("{};tag={tag}", header(request, HeaderName::To)),
            remote: header(request, HeaderName::From),
            target: contact(request),
            routes: request.values(HeaderName::RecordRoute).map(text).collect(),
            cseq: 100,
            is_established: false,
            is_registration: false,
        }
    }

    /// RFC 3261 §12.1.2: a response that makes a dialog has come; in a dialog it can change the target alone (§12.2.1.2).
    pub(super) fn answered(&mut self, response: &Message) {
        if self.is_established {
            let target = contact(response);
            if !target.is_empty() {
                self.target = target;
            }
            return;
        }
        self.remote = header(response, HeaderName::To);
        self.target = contact(response);
        self.routes = response.values(HeaderName::RecordRoute).map(text).collect();
        self.routes.reverse();
    }

    /// Whether requests can be sent in it.
    pub(super) fn has_dialog(&self) -> bool {
        !self.remote.is_empty() && !self.is_registration
    }

    /// Whether a request in a dialog belongs to it.
    pub(super) fn is_of_request(&self, request: &Message) -> bool {
        self.call_id.as_bytes() == request.call_id() && tag(&self.local) == request.to_tag()
    }

    /// Whether a response comes from the other side of it.
    pub(super) fn is_of_response(&self, response: &Message) -> bool {
        self.call_id.as_bytes() == response.call_id() && tag(&self.remote) == response.to_tag()
    }
}

fn tag(address: &str) -> Option<&[u8]> {
    NameAddr::parse(address.as_bytes()).ok()?.tag()
}

fn contact(message: &Message) -> String {
    let value = message
        .values(HeaderName::Contact)
        .next()
        .unwrap_or_default();
    NameAddr::parse(value).map_or_else(|_| String::new(), |contact| text(contact.uri_raw))
}
