//! What a phone sends: requests that begin something, requests in its call, CANCEL, and what was written by hand.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use patchbay_core::door::Transport;
use patchbay_message::{HeaderName, Host, Limits, Message, Method, Uri};

use super::{Outgoing, Peer, Phone, Sent};
use crate::config::DEFAULT_SIP_PORT;
use crate::config::scenario::Send;
use crate::scenario::compose::{self, Composed, SDP, by_hand, text};
use crate::scenario::dialog::Call;

/// The first line and headers of a request, its branch, its call, and where it goes.
type Begun = (Composed, String, usize, Peer);

impl Phone {
    /// Sends what a step says; the address-of-record in `to` is that of the phone it names. The Call-ID is that of the request.
    pub(in crate::scenario) fn send(
        &mut self,
        send: &Send,
        to: Option<&str>,
        call: Option<&str>,
    ) -> Result<(Outgoing, String), String> {
        if let Some(text) = &send.text {
            return self.send_by_hand(text);
        }
        let found = match (send.method.as_str(), to) {
            ("CANCEL", _) => return self.cancel(send, call),
            ("REGISTER", _) | (_, Some(_)) => self.outside(send, to),
            _ => self.inside(send, call),
        };
        let (mut request, branch, call, to) = found?;
        match &send.body {
            Some(body) => request.body(body),
            None if send.method == "INVITE" => request.body(SDP),
            None => {}
        }
        request.edit(&send.headers);
        let call_id = self.call_id(call);
        let outgoing = self.dispatch(request, branch, call, to, false);
        let outgoing = outgoing.ok_or("the headers of this step make no SIP message")?;
        Ok((outgoing, call_id))
    }

    fn send_by_hand(&mut self, text: &str) -> Result<(Outgoing, String), String> {
        let bytes = by_hand(text);
        let Ok(message) = Message::parse(&bytes, &Limits::default()) else {
            // What is no message at all may be sent to see what comes of it.
            return Ok((
                Outgoing {
                    to: Peer::Router,
                    bytes,
                },
                String::new(),
            ));
        };
        let call_id = compose::text(message.call_id());
        if message.is_request() && message.method() != Method::Ack {
            self.calls.push(Call::of_caller_by_hand(&message));
            self.sent.push(Sent {
                branch: compose::text(message.top_branch().unwrap_or_default()),
                message: Arc::new(message),
                composed: None,
                call: self.calls.len() - 1,
                to: Peer::Router,
                finals: Vec::new(),
                is_authenticated: true,
            });
        }
        Ok((
            Outgoing {
                to: Peer::Router,
                bytes,
            },
            call_id,
        ))
    }

    /// A request that begins something.
    fn outside(&mut self, send: &Send, to: Option<&str>) -> Result<Begun, String> {
        let is_register = send.method == "REGISTER";
        let to = to.unwrap_or(&self.setup.aor).to_owned();
        let registrar = to.split_once('@').map_or(to.as_str(), |(_, domain)| domain);
        let uri = match &send.uri {
            Some(uri) => uri.clone(),
            None if is_register => format!("sip:{registrar}"),
            None => to.clone(),
        };
        let known = self
            .calls
            .iter()
            .position(|call| is_register && call.is_registration);
        let number = known.unwrap_or_else(|| {
            let name = &self.setup.name;
            let count = self.calls.len() + 1;
            self.calls.push(Call::of_caller(
                format!("{count}@{name}"),
                format!("<{}>;tag={name}{count}", self.setup.aor),
                is_register,
            ));
            self.calls.len() - 1
        });
        let branch = self.branch();
        let mut request = self.begin(&send.method, &uri, &branch);
        let contact = self.contact();
        let Some(call) = self.calls.get_mut(number) else {
            unreachable!("it was found or made")
        };
        call.cseq += 1;
        request.field("From", call.local.clone());
        request.field("To", format!("<{to}>"));
        request.field("Call-ID", call.call_id.clone());
        request.field("CSeq", format!("{} {}", call.cseq, send.method));
        request.field("Contact", contact);
        Ok((request, branch, number, Peer::Router))
    }

    /// A request in the phone's call: that of this Call-ID, or the last one.
    fn inside(&mut self, send: &Send, call_id: Option<&str>) -> Result<Begun, String> {
        let at = self.calls.iter().rposition(|call| {
            call.has_dialog() && call_id.is_none_or(|wanted| wanted == call.call_id)
        });
        let at = at.ok_or_else(|| {
            format!(
                "{} is in no call; a request outside of a call names in `to` whom it is for",
                self.setup.name
            )
        })?;
        let Some(call) = self.calls.get_mut(at) else {
            unreachable!("it was found")
        };
        call.cseq += 1;
        let cseq = call.cseq;
        let branch = self.branch();
        let (mut request, to) = self
            .in_dialog(at, &send.method, cseq, &branch)
            .ok_or("the call has no remote target")?;
        if !matches!(send.method.as_str(), "ACK" | "BYE") {
            request.field("Contact", self.contact());
        }
        if let Some(uri) = &send.uri {
            request.set_request_uri(&send.method, uri);
        }
        Ok((request, branch, at, to))
    }

    /// RFC 3261 §9.1.
    fn cancel(&mut self, send: &Send, call_id: Option<&str>) -> Result<(Outgoing, String), String> {
        let sent = self.sent.iter().rfind(|sent| {
            let is_wanted =
                call_id.is_none_or(|wanted| wanted.as_bytes() == sent.message.call_id());
            sent.message.method() == Method::Invite && sent.finals.is_empty() && is_wanted
        });
        let sent = sent.ok_or_else(|| {
            format!(
                "{} has no INVITE that waits for its final response",
                self.setup.name
            )
        })?;
        let invite = Arc::clone(&sent.message);
        let (branch, call, to) = (sent.branch.clone(), sent.call, sent.to);
        let mut cancel = self.begin("CANCEL", &text(invite.request_uri()), &branch);
        for (name, known) in [
            ("Route", HeaderName::Route),
            ("From", HeaderName::From),
            ("To", HeaderName::To),
            ("Call-ID", HeaderName::CallId),
        ] {
            for value in invite.headers(known) {
                cancel.field(name, text(value));
            }
        }
        let number = invite.cseq().map_or(1, |cseq| cseq.number);
        cancel.field("CSeq", format!("{number} CANCEL"));
        cancel.edit(&send.headers);
        let call_id = text(invite.call_id());
        let outgoing = self.dispatch(cancel, branch, call, to, false);
        Ok((
            outgoing.ok_or("the headers of this step make no SIP message")?,
            call_id,
        ))
    }

    /// A request in a dialog, with the route set (RFC 3261 §12.2.1.1), and where it goes.
    pub(super) fn in_dialog(
        &self,
        call: usize,
        method: &str,
        cseq: u32,
        branch: &str,
    ) -> Option<(Composed, Peer)> {
        let call = self.calls.get(call)?;
        let mut request = self.begin(method, &call.target, branch);
        for route in &call.routes {
            request.field("Route", route.clone());
        }
        request.field("From", call.local.clone());
        request.field("To", call.remote.clone());
        request.field("Call-ID", call.call_id.clone());
        request.field("CSeq", format!("{cseq} {method}"));
        let to = match call.routes.is_empty() {
            true => peer_at(&call.target).unwrap_or(Peer::Router),
            false => Peer::Router,
        };
        Some((request, to))
    }

    /// Keeps a request that is sent, to know its responses.
    pub(super) fn dispatch(
        &mut self,
        request: Composed,
        branch: String,
        call: usize,
        to: Peer,
        is_authenticated: bool,
    ) -> Option<Outgoing> {
        let bytes = request.bytes();
        let message = Message::parse(&bytes, &Limits::default()).ok()?;
        if message.method() != Method::Ack {
            self.sent.push(Sent {
                branch: message.top_branch().map_or(branch, text),
                message: Arc::new(message),
                composed: Some(request),
                call,
                to,
                finals: Vec::new(),
                is_authenticated,
            });
        }
        Some(Outgoing { to, bytes })
    }

    pub(super) fn begin(&self, method: &str, uri: &str, branch: &str) -> Composed {
        let mut request = Composed::new(format!("{method} {uri} SIP/2.0"));
        request.field("Via", self.via(branch));
        request.field("Max-Forwards", "70");
        request
    }

    pub(super) fn via(&self, branch: &str) -> String {
        let transport = match self.setup.transport {
            Transport::Udp => "UDP",
            _ => "TCP",
        };
        format!(
            "SIP/2.0/{transport} {};branch={branch};rport",
            self.setup.address
        )
    }

    pub(super) fn branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bK{}{}", self.setup.name, self.branches)
    }

    pub(super) fn contact(&self) -> String {
        format!("<{}>", self.setup.contact)
    }

    fn call_id(&self, call: usize) -> String {
        self.calls
            .get(call)
            .map(|call| call.call_id.clone())
            .unwrap_or_default()
    }
}

/// Where a URI with a numeric host leads.
fn peer_at(uri: &str) -> Option<Peer> {
    let uri = Uri::parse(uri.as_bytes()).ok()?;
    let ip = match uri.host {
        Host::V4(ip) => IpAddr::V4(ip),
        Host::V6(ip) => IpAddr::V6(ip),
        Host::Name(_) => return None,
    };
    let is_tcp = uri
        .transport()
        .is_some_and(|name| name.eq_ignore_ascii_case(b"tcp"));
    let transport = if is_tcp {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    let port = uri.port.unwrap_or(DEFAULT_SIP_PORT);
    Some(Peer::At(transport, SocketAddr::new(ip, port)))
}
