//! The requests of a caller or phone, one set for each of its sockets.

use std::net::SocketAddrV4;

use super::SESSION;
use super::plan::{Kind, Plan};
use super::sockets::Peer;
use super::template::Template;

/// What leaves through one socket or connection.
#[derive(Debug)]
pub(super) struct Script {
    /// The server, through this socket.
    pub(super) server: Peer,
    /// The first request, and the one with credentials.
    pub(super) first: Template,
    /// The ACK to a 200, which begins the dialog.
    pub(super) acknowledge: Template,
    /// The ACK to any other final response, which belongs to the INVITE.
    pub(super) refused: Template,
    /// The BYE.
    pub(super) bye: Template,
}

impl Script {
    /// For the socket with this address.
    pub(super) fn new(plan: &Plan, server: Peer, local: SocketAddrV4) -> Self {
        let first = match plan.kind {
            Kind::Call => invite(plan, local),
            Kind::Register => register(plan, local),
            Kind::Options => options(plan, local),
        };
        Self {
            server,
            first: Template::new(&first),
            acknowledge: Template::new(&in_dialog(plan, local, "ACK", "a")),
            refused: Template::new(&acknowledge_refusal(plan, local)),
            bye: Template::new(&in_dialog(plan, local, "BYE", "b")),
        }
    }
}

/// The end of a branch tells the requests of a call apart, and those of a registration.
fn top(plan: &Plan, local: SocketAddrV4, letter: &str) -> String {
    format!(
        "Via: SIP/2.0/{} {local};branch=z9hG4bK{{key}}.{letter};rport\r\nMax-Forwards: 70\r\n",
        plan.transport.in_via()
    )
}

fn invite(plan: &Plan, local: SocketAddrV4) -> String {
    let top = top(plan, local, "i");
    let (domain, prefix) = (&plan.domain, &plan.prefix);
    let parameter = plan.transport.uri_parameter();
    let length = SESSION.len();
    format!(
        "INVITE sip:{prefix}{{user}}@{domain} SIP/2.0\r\n{top}\
         From: \"Caller\" <sip:caller@{domain}>;tag={{key}}\r\n\
         To: <sip:{prefix}{{user}}@{domain}>\r\n\
         Call-ID: {{key}}@side-by-side\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:caller@{local}{parameter}>\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, UPDATE\r\n\
         Supported: replaces, timer\r\n\
         User-Agent: side-by-side\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{SESSION}"
    )
}

/// RFC 3261 §12.2.1.1: through the routes of the dialog to the other's contact.
fn in_dialog(plan: &Plan, local: SocketAddrV4, method: &str, letter: &str) -> String {
    let top = top(plan, local, letter);
    format!(
        "{method} {{target}} SIP/2.0\r\n{top}{{routes}}\
         From: {{from}}\r\n\
         To: {{to}}\r\n\
         Call-ID: {{call}}\r\n\
         CSeq: {{cseq}} {method}\r\n\
         User-Agent: side-by-side\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// RFC 3261 §17.1.1.3: Request-URI, Via, From and Call-ID of the INVITE, the To of the response.
fn acknowledge_refusal(plan: &Plan, local: SocketAddrV4) -> String {
    let top = top(plan, local, "i");
    let (domain, prefix) = (&plan.domain, &plan.prefix);
    format!(
        "ACK sip:{prefix}{{user}}@{domain} SIP/2.0\r\n{top}\
         From: {{from}}\r\n\
         To: {{to}}\r\n\
         Call-ID: {{call}}\r\n\
         CSeq: 1 ACK\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A phone keeps its Call-ID and counts on, so that each is a refresh of the same binding.
fn register(plan: &Plan, local: SocketAddrV4) -> String {
    let top = top(plan, local, "r{cseq}");
    let (domain, prefix, contact) = (&plan.domain, &plan.prefix, plan.contact);
    let parameter = plan.transport.uri_parameter();
    format!(
        "REGISTER sip:{domain} SIP/2.0\r\n{top}\
         From: <sip:{prefix}{{user}}@{domain}>;tag={{key}}\r\n\
         To: <sip:{prefix}{{user}}@{domain}>\r\n\
         Call-ID: {{call}}\r\n\
         CSeq: {{cseq}} REGISTER\r\n\
         {{authorization}}\
         Contact: <sip:{prefix}{{user}}@{contact}{parameter}>\r\n\
         Expires: 3600\r\n\
         User-Agent: side-by-side\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn options(plan: &Plan, local: SocketAddrV4) -> String {
    let top = top(plan, local, "o");
    let domain = &plan.domain;
    let parameter = plan.transport.uri_parameter();
    format!(
        "OPTIONS sip:{domain} SIP/2.0\r\n{top}\
         From: <sip:ping@{domain}>;tag={{key}}\r\n\
         To: <sip:{domain}>\r\n\
         Call-ID: {{key}}@side-by-side\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:ping@{local}{parameter}>\r\n\
         Accept: application/sdp\r\n\
         User-Agent: side-by-side\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
