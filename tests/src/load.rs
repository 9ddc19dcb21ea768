//! A small load of whole calls over UDP: INVITE, 180, 200, ACK, BYE, 200, at a steady rate, from one thread.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::agent::SDP;
use crate::text::Text;

/// What became of one call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When the INVITE was sent.
    pub sent: Option<Instant>,
    /// From the INVITE to its first final response.
    pub answered_after: Option<Duration>,
    /// The status of that response.
    pub status: u16,
    /// The user that was called.
    pub user: String,
    /// The INVITE as it came to the callee.
    pub at_callee: Option<Text>,
    /// Each response to the INVITE but 100, as it came to the caller.
    pub responses: Vec<Text>,
    /// The BYE was answered with 200.
    pub ended: bool,
}

/// A caller and a callee with a socket each.
pub struct Load {
    caller: UdpSocket,
    callee: UdpSocket,
    router: SocketAddr,
    name: String,
    calls: BTreeMap<String, Call>,
}

impl Load {
    /// Binds both sockets; `name` distinguishes the Call-IDs of several loads.
    pub fn new(router: SocketAddr, name: &str) -> Load {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bind a socket");
            socket.set_nonblocking(true).expect("set nonblocking");
            socket
        };
        Load {
            caller: bind(),
            callee: bind(),
            router,
            name: name.to_owned(),
            calls: BTreeMap::new(),
        }
    }

    /// The callee's address, for a registration or a setting.
    pub fn callee(&self) -> SocketAddr {
        self.callee.local_addr().expect("a bound socket")
    }

    /// Registers the callee under this user name.
    pub fn register(&mut self, user: &str) {
        let mut agent = crate::agent::Agent::udp(self.router, user);
        let text = agent.compose(
            "REGISTER",
            "sip:localhost",
            &agent.aor(),
            "Expires: 3600\r\n",
            "",
        );
        let contact = format!("<sip:{user}@{}>", self.callee());
        agent.request(text.replace(&format!("<{}>", agent.contact()), &contact));
        agent.expect(200);
    }

    /// Makes `total` calls at `rate` a second; `user` names the callee of each. `between` runs before each call with its number.
    pub fn run(
        mut self,
        total: usize,
        rate: f64,
        user: impl Fn(usize) -> String,
        mut between: impl FnMut(usize),
    ) -> Vec<Call> {
        let start = Instant::now();
        for number in 0..total {
            between(number);
            let due = start + Duration::from_secs_f64(number as f64 / rate);
            self.serve_until(due);
            self.invite(number, &user(number));
        }
        let patience = Instant::now() + Duration::from_secs(15);
        while Instant::now() < patience && self.calls.values().any(|call| !call.is_over()) {
            self.serve_until(Instant::now() + Duration::from_millis(20));
        }
        self.calls.into_values().collect()
    }

    fn serve_until(&mut self, due: Instant) {
        loop {
            let busy = self.serve_callee() | self.serve_caller();
            let now = Instant::now();
            if now >= due {
                return;
            }
            if !busy {
                std::thread::sleep((due - now).min(Duration::from_micros(500)));
            }
        }
    }

    fn invite(&mut self, number: usize, user: &str) {
        let call_id = format!("{}-{number:06}", self.name);
        let text = self.request(
            "INVITE",
            &format!("sip:{user}@localhost"),
            &format!("<sip:{user}@localhost>"),
            &call_id,
            1,
            "",
            SDP,
        );
        self.calls.insert(
            call_id,
            Call {
                sent: Some(Instant::now()),
                user: user.to_owned(),
                ..Call::default()
            },
        );
        self.caller
            .send_to(text.as_bytes(), self.router)
            .expect("send");
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "these are the header fields of a request"
    )]
    fn request(
        &self,
        method: &str,
        uri: &str,
        to: &str,
        call_id: &str,
        cseq: u32,
        routes: &str,
        body: &str,
    ) -> String {
        let local = self.caller.local_addr().expect("a bound socket");
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{call_id}{method}{cseq};rport\r\nMax-Forwards: 70\r\n{routes}\
             From: <sip:load@localhost>;tag=f{call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:load@{local}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn serve_callee(&mut self) -> bool {
        let mut buffer = [0; 8192];
        let Ok((length, from)) = self.callee.recv_from(&mut buffer) else {
            return false;
        };
        let request = Text::parse(&buffer[..length]);
        match request.method() {
            "INVITE" => {
                self.answer(&request, 180, from);
                self.answer(&request, 200, from);
                if let Some(call) = self.calls.get_mut(request.header("Call-ID")) {
                    call.at_callee = Some(request);
                }
            }
            "BYE" => self.answer(&request, 200, from),
            _ => {}
        }
        true
    }

    fn answer(&self, request: &Text, status: u16, to: SocketAddr) {
        let mut text = format!("SIP/2.0 {status} Test\r\n");
        for (name, value) in &request.headers {
            match name.to_ascii_lowercase().as_str() {
                "via" | "from" | "call-id" | "cseq" | "record-route" => {
                    text.push_str(&format!("{name}: {value}\r\n"))
                }
                "to" if value.contains(";tag=") => text.push_str(&format!("To: {value}\r\n")),
                "to" => text.push_str(&format!("To: {value};tag=callee\r\n")),
                _ => {}
            }
        }
        text.push_str(&format!(
            "Contact: <sip:callee@{}>\r\nContent-Length: 0\r\n\r\n",
            self.callee()
        ));
        self.callee.send_to(text.as_bytes(), to).expect("send");
    }

    fn serve_caller(&mut self) -> bool {
        let mut buffer = [0; 8192];
        let Ok((length, _)) = self.caller.recv_from(&mut buffer) else {
            return false;
        };
        let response = Text::parse(&buffer[..length]);
        let call_id = response.header("Call-ID").to_owned();
        let Some(call) = self.calls.get_mut(&call_id) else {
            return true;
        };
        if response.method() == "BYE" {
            call.ended = response.status() == 200;
            return true;
        }
        if response.status() > 100 {
            call.responses.push(response.clone());
        }
        if response.status() < 200 {
            return true;
        }
        let first = call.answered_after.is_none();
        if first {
            call.answered_after = call.sent.map(|sent| sent.elapsed());
            call.status = response.status();
        }
        if response.status() >= 300 {
            let user = call.user.clone();
            let ack = self.request(
                "ACK",
                &format!("sip:{user}@localhost"),
                response.header("To"),
                &call_id,
                1,
                "",
                "",
            );
            // RFC 3261 §17.1.1.3: the ACK of a failure has the branch of the INVITE.
            let ack = ack.replace(&format!("{call_id}ACK1"), &format!("{call_id}INVITE1"));
            self.caller
                .send_to(ack.as_bytes(), self.router)
                .expect("send");
        } else {
            let routes: String = response
                .headers("Record-Route")
                .map(|route| format!("Route: {route}\r\n"))
                .collect();
            let uri = response.uri_in("Contact");
            let ack = self.request("ACK", &uri, response.header("To"), &call_id, 1, &routes, "");
            self.caller
                .send_to(ack.as_bytes(), self.router)
                .expect("send");
            if first {
                let bye =
                    self.request("BYE", &uri, response.header("To"), &call_id, 2, &routes, "");
                self.caller
                    .send_to(bye.as_bytes(), self.router)
                    .expect("send");
            }
        }
        true
    }
}

impl Call {
    fn is_over(&self) -> bool {
        self.status >= 300 || self.ended
    }
}
