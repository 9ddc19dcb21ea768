//! Calls, registrations and questions over UDP, one message at a time: the next is sent when the one before has come through.
//!
//! So the router does exactly the same work for each, however slow it runs, and counts of that work can be compared.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::agent::SDP;
use crate::text::Text;

/// How long a message that ought to come may take: the router may run fifty times slower than usual.
const PATIENCE: Duration = Duration::from_secs(30);

/// A caller, a callee and a voicemail server, each with a socket.
pub struct LockStep {
    caller: UdpSocket,
    callee: UdpSocket,
    voicemail: UdpSocket,
    router: SocketAddr,
    pause: Duration,
    number: u64,
    received: u64,
}

impl LockStep {
    /// Binds the sockets. Before each message there is a `pause`: timers that are set a pause apart expire apart, always.
    pub fn new(pause: Duration) -> LockStep {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bind a socket");
            socket
                .set_read_timeout(Some(PATIENCE))
                .expect("set a timeout");
            socket
        };
        LockStep {
            caller: bind(),
            callee: bind(),
            voicemail: bind(),
            router: SocketAddr::from(([127, 0, 0, 1], 0)),
            pause,
            number: 0,
            received: 0,
        }
    }

    /// The router to talk to.
    pub fn set_router(&mut self, router: SocketAddr) {
        self.router = router;
    }

    /// The URI of the voicemail server.
    pub fn voicemail_uri(&self) -> String {
        format!("sip:voicemail@{}", address(&self.voicemail))
    }

    /// Datagrams received so far, provisional responses included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// REGISTER of the callee, answered with 200.
    pub fn register(&mut self) {
        self.number += 1;
        let local = address(&self.callee);
        self.send(
            &self.callee,
            &format!(
                "REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{n};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:bob@localhost>;tag=r{n}\r\nTo: <sip:bob@localhost>\r\nCall-ID: registration@{local}\r\nCSeq: {n} REGISTER\r\n\
                 Contact: <sip:bob@{local}>\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n",
                n = self.number
            ),
        );
        let call_id = format!("registration@{local}");
        // The Call-ID is that of every registration: what is left of the one before has another CSeq number.
        while expect(&self.callee, &mut self.received, &call_id, "REGISTER", 200).header("CSeq")
            != format!("{} REGISTER", self.number)
        {}
    }

    /// OPTIONS to the router itself, answered with 200.
    pub fn options(&mut self) {
        self.number += 1;
        let uri = format!("sip:{}", self.router);
        let request = self.request("OPTIONS", &uri, &format!("<{uri}>"), 1, "", "");
        self.send(&self.caller, &request);
        self.at_caller("OPTIONS", 200);
    }

    /// A whole call: INVITE, 180, 200, ACK, BYE, 200.
    pub fn call(&mut self) {
        let invite = self.invite();
        self.answered_call(&invite, false);
    }

    /// A call whose callee is busy and that voicemail takes: INVITE, 486, ACK, and the call with voicemail.
    pub fn busy_call(&mut self) {
        let invite = self.invite();
        self.send(&self.callee, &response(&invite, "486 Busy Here", ""));
        let call_id = self.call_id();
        expect(&self.callee, &mut self.received, &call_id, "ACK", 0);
        let invite = expect(&self.voicemail, &mut self.received, &call_id, "INVITE", 0);
        self.answered_call(&invite, true);
    }

    /// Sends an INVITE; as it comes to the callee.
    fn invite(&mut self) -> Text {
        self.number += 1;
        let request = self.request(
            "INVITE",
            "sip:bob@localhost",
            "<sip:bob@localhost>",
            1,
            "",
            SDP,
        );
        self.send(&self.caller, &request);
        let call_id = self.call_id();
        expect(&self.callee, &mut self.received, &call_id, "INVITE", 0)
    }

    /// The rest of a call whose INVITE has come to the one who takes it.
    fn answered_call(&mut self, invite: &Text, by_voicemail: bool) {
        let call_id = self.call_id();
        let taker = if by_voicemail {
            &self.voicemail
        } else {
            &self.callee
        };
        let contact = format!("Contact: <sip:bob@{}>\r\n", address(taker));
        self.send(taker, &response(invite, "180 Ringing", &contact));
        expect(&self.caller, &mut self.received, &call_id, "INVITE", 180);
        self.send(taker, &response(invite, "200 OK", &contact));
        let ok = expect(&self.caller, &mut self.received, &call_id, "INVITE", 200);
        let routes: String = ok
            .headers("Record-Route")
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let uri = ok.uri_in("Contact");
        let ack = self.request("ACK", &uri, ok.header("To"), 1, &routes, "");
        self.send(&self.caller, &ack);
        expect(taker, &mut self.received, &call_id, "ACK", 0);
        let bye = self.request("BYE", &uri, ok.header("To"), 2, &routes, "");
        self.send(&self.caller, &bye);
        let bye = expect(taker, &mut self.received, &call_id, "BYE", 0);
        self.send(taker, &response(&bye, "200 OK", ""));
        expect(&self.caller, &mut self.received, &call_id, "BYE", 200);
    }

    /// Takes what is left of retransmissions.
    pub fn drain(&mut self) {
        for socket in [&self.caller, &self.callee, &self.voicemail] {
            socket.set_nonblocking(true).expect("set nonblocking");
            while socket.recv_from(&mut [0; 8192]).is_ok() {}
            socket.set_nonblocking(false).expect("set blocking");
        }
    }

    fn call_id(&self) -> String {
        format!("{:08}@{}", self.number, address(&self.caller))
    }

    fn at_caller(&mut self, method: &str, status: u16) {
        let call_id = self.call_id();
        expect(&self.caller, &mut self.received, &call_id, method, status);
    }

    fn send(&self, from: &UdpSocket, text: &str) {
        std::thread::sleep(self.pause);
        from.send_to(text.as_bytes(), self.router).expect("send");
    }

    fn request(
        &self,
        method: &str,
        uri: &str,
        to: &str,
        cseq: u32,
        routes: &str,
        body: &str,
    ) -> String {
        let (local, n) = (address(&self.caller), self.number);
        let content_type = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{n:08}{method};rport\r\nMax-Forwards: 70\r\n{routes}\
             From: \"Alice\" <sip:alice@localhost>;tag=f{n:08}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:alice@{local}>\r\nUser-Agent: lock-step\r\n{content_type}Content-Length: {}\r\n\r\n{body}",
            self.call_id(),
            body.len()
        )
    }
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("a bound socket")
}

/// The message of this call with this method and status (0: a request). What else comes, 100s and retransmissions, is only counted.
fn expect(
    socket: &UdpSocket,
    received: &mut u64,
    call_id: &str,
    method: &str,
    status: u16,
) -> Text {
    let mut buffer = [0; 8192];
    loop {
        let (length, _) = socket
            .recv_from(&mut buffer)
            .unwrap_or_else(|error| panic!("waiting for {method} {status} of {call_id}: {error}"));
        *received += 1;
        let text = Text::parse(&buffer[..length]);
        if text.header("Call-ID") != call_id {
            continue;
        }
        if (text.method(), text.status()) == (method, status) {
            return text;
        }
        assert!(
            status == 0 || text.status() <= status,
            "waiting for {method} {status}: {text:?}"
        );
    }
}

fn response(request: &Text, status: &str, more: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for (name, value) in &request.headers {
        match name.to_ascii_lowercase().as_str() {
            "via" | "from" | "call-id" | "cseq" | "record-route" => {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            "to" if value.contains(";tag=") => text.push_str(&format!("To: {value}\r\n")),
            "to" => text.push_str(&format!("To: {value};tag=callee\r\n")),
            _ => {}
        }
    }
    format!("{text}{more}Content-Length: 0\r\n\r\n")
}
