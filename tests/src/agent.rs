//! A scripted user agent over UDP or TCP, IPv4 or IPv6: it sends what a test tells it and shows what came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::text::Text;

/// How long a message that ought to come may take.
const PATIENCE: Duration = Duration::from_secs(8);

static NEXT: AtomicU64 = AtomicU64::new(1);

fn unique() -> String {
    format!(
        "{:x}x{:x}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

enum Link {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        listener: TcpListener,
        buffer: Vec<u8>,
    },
}

/// A user agent with one socket.
pub struct Agent {
    /// The user part of its address-of-record.
    pub user: String,
    /// The domain of its address-of-record.
    pub domain: String,
    link: Link,
    local: SocketAddr,
    proxy: SocketAddr,
}

/// A request that an agent sent: what is needed to cancel it, acknowledge it, and go on in its dialog.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The whole request.
    pub text: Text,
    /// Its bytes.
    pub bytes: String,
}

impl Agent {
    /// An agent on UDP, on a free port of the loopback address of the proxy's family.
    pub fn udp(proxy: SocketAddr, user: &str) -> Agent {
        Agent::udp_from(proxy, user, loopback(proxy))
    }

    /// The same, on a free port of this address.
    pub fn udp_from(proxy: SocketAddr, user: &str, address: std::net::IpAddr) -> Agent {
        let socket = UdpSocket::bind((address, 0)).expect("bind a UDP socket");
        let local = socket.local_addr().expect("a bound socket");
        Agent {
            user: user.to_owned(),
            domain: "localhost".to_owned(),
            link: Link::Udp(socket),
            local,
            proxy,
        }
    }

    /// An agent on one TCP connection.
    pub fn tcp(proxy: SocketAddr, user: &str) -> Agent {
        let listener = TcpListener::bind((loopback(proxy), 0)).expect("bind a TCP listener");
        let stream = TcpStream::connect_timeout(&proxy, PATIENCE).expect("connect");
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        let local = stream.local_addr().expect("a connected socket");
        Agent {
            user: user.to_owned(),
            domain: "localhost".to_owned(),
            link: Link::Tcp {
                stream,
                listener,
                buffer: Vec::new(),
            },
            local,
            proxy,
        }
    }

    /// The address of the socket.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The transport as it is written in Via.
    pub fn transport(&self) -> &'static str {
        match self.link {
            Link::Udp(_) => "UDP",
            Link::Tcp { .. } => "TCP",
        }
    }

    /// The address-of-record.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// The contact URI.
    pub fn contact(&self) -> String {
        match self.link {
            Link::Udp(_) => format!("sip:{}@{}", self.user, self.local),
            Link::Tcp { .. } => format!("sip:{}@{};transport=tcp", self.user, self.local),
        }
    }

    /// A request outside of a dialog, as text to edit before it is sent.
    pub fn compose(&self, method: &str, uri: &str, to: &str, more: &str, body: &str) -> String {
        self.compose_with(
            method,
            uri,
            to,
            more,
            body,
            &format!("{}@agent", unique()),
            1,
            &unique(),
        )
    }

    /// The same with Call-ID, CSeq number and From tag given.
    #[allow(
        clippy::too_many_arguments,
        reason = "these are the header fields of a request"
    )]
    pub fn compose_with(
        &self,
        method: &str,
        uri: &str,
        to: &str,
        more: &str,
        body: &str,
        call_id: &str,
        cseq: u32,
        tag: &str,
    ) -> String {
        let (transport, local, branch, from, contact) = (
            self.transport(),
            self.local,
            unique(),
            self.aor(),
            self.contact(),
        );
        let length = body.len();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             From: <{from}>;tag={tag}\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <{contact}>\r\n\
             {more}Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// Sends text to the proxy.
    pub fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    /// Sends bytes to the proxy.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.link {
            Link::Udp(socket) => {
                socket.send_to(bytes, self.proxy).expect("send");
            }
            Link::Tcp { stream, .. } => stream.write_all(bytes).expect("write"),
        }
    }

    /// Sends text somewhere else than to the proxy (UDP only).
    pub fn send_to(&mut self, text: &str, address: SocketAddr) {
        let Link::Udp(socket) = &self.link else {
            panic!("only on UDP")
        };
        socket.send_to(text.as_bytes(), address).expect("send");
    }

    /// Sends a request and remembers it.
    pub fn request(&mut self, text: String) -> Sent {
        self.send(&text);
        Sent {
            text: Text::parse(text.as_bytes()),
            bytes: text,
        }
    }

    /// The next message, or `None` when none comes in `wait`.
    pub fn receive_within(&mut self, wait: Duration) -> Option<Text> {
        self.receive_bytes(wait).map(|bytes| Text::parse(&bytes))
    }

    /// The bytes of the next message, or `None` when none comes in `wait`.
    pub fn receive_bytes(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + wait;
        match &mut self.link {
            Link::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                socket
                    .set_read_timeout(Some(wait.max(Duration::from_millis(1))))
                    .expect("set a timeout");
                let (length, _) = socket.recv_from(&mut buffer).ok()?;
                buffer.truncate(length);
                Some(buffer)
            }
            Link::Tcp {
                stream,
                listener,
                buffer,
            } => {
                listener.set_nonblocking(true).expect("set nonblocking");
                loop {
                    if let Some(length) = framed(buffer) {
                        return Some(buffer.drain(..length).collect());
                    }
                    let left = deadline.checked_duration_since(Instant::now())?;
                    stream
                        .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                        .expect("set a timeout");
                    let mut chunk = [0; 16_384];
                    match stream.read(&mut chunk) {
                        Ok(0) | Err(_) => return None,
                        Ok(length) => buffer.extend_from_slice(&chunk[..length]),
                    }
                }
            }
        }
    }

    /// The next message.
    pub fn receive(&mut self) -> Text {
        self.receive_within(PATIENCE)
            .unwrap_or_else(|| panic!("{} waited in vain for a message", self.user))
    }

    /// The next request of that method; answers nothing, skips nothing but retransmissions of 100.
    pub fn expect_request(&mut self, method: &str) -> Text {
        let message = self.receive();
        assert!(
            message.start.starts_with(&format!("{method} ")),
            "{} expected {method}, got {message:?}",
            self.user
        );
        message
    }

    /// The next response, which must have this status; 100s before it are skipped.
    pub fn expect(&mut self, status: u16) -> Text {
        loop {
            let message = self.receive();
            match message.status() {
                100 if status != 100 => {}
                got if got == status => return message,
                _ => panic!("{} expected {status}, got {message:?}", self.user),
            }
        }
    }

    /// The next final response to the request with this CSeq method.
    pub fn final_response(&mut self) -> Text {
        loop {
            let message = self.receive();
            if message.status() >= 200 {
                return message;
            }
            assert!(
                message.status() >= 100,
                "{} expected a response, got {message:?}",
                self.user
            );
        }
    }

    /// Asserts that nothing comes for a while.
    pub fn expect_silence(&mut self, wait: Duration) {
        if let Some(message) = self.receive_within(wait) {
            panic!("{} expected silence, got {message:?}", self.user);
        }
    }

    /// Answers a request: with its Via, From, To (and a tag), Call-ID, CSeq, Record-Route.
    pub fn respond(&mut self, request: &Text, status: u16, more: &str, body: &str) -> Text {
        let text = self.compose_response(request, status, more, body);
        self.send(&text);
        Text::parse(text.as_bytes())
    }

    /// The text of such a response.
    pub fn compose_response(&self, request: &Text, status: u16, more: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status} Test\r\n");
        for (name, value) in &request.headers {
            let copied = ["via", "from", "call-id", "cseq", "record-route"]
                .contains(&name.to_ascii_lowercase().as_str());
            if copied {
                text.push_str(&format!("{name}: {value}\r\n"));
            } else if name.eq_ignore_ascii_case("To") {
                let tag = if status == 100 || value.contains(";tag=") {
                    String::new()
                } else {
                    format!(";tag={}", self.user)
                };
                text.push_str(&format!("To: {value}{tag}\r\n"));
            }
        }
        text.push_str(&format!(
            "Contact: <{}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.contact(),
            body.len()
        ));
        text
    }

    /// A request inside the dialog that `response` (2xx to `invite`) made, seen from the caller.
    pub fn in_dialog(&self, method: &str, invite: &Sent, response: &Text) -> String {
        let uri = response.uri_in("Contact");
        let routes: Vec<&str> = response.headers("Record-Route").collect();
        let routes: String = routes
            .join(",")
            .split(',')
            .rev()
            .map(|r| format!("Route: {}\r\n", r.trim()))
            .collect();
        let number: u32 = invite
            .text
            .header("CSeq")
            .split(' ')
            .next()
            .expect("a CSeq")
            .parse()
            .expect("a number");
        let number = if method == "ACK" { number } else { number + 1 };
        let (transport, local, branch, contact) =
            (self.transport(), self.local, unique(), self.contact());
        let (from, to, call_id) = (
            invite.text.header("From"),
            response.header("To"),
            invite.text.header("Call-ID"),
        );
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n{routes}\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\nContact: <{contact}>\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// A request inside the dialog that our 2xx `response` to `invite` made, seen from the callee.
    pub fn in_dialog_as_callee(&self, method: &str, invite: &Text, response: &Text) -> String {
        let uri = invite.uri_in("Contact");
        let routes: Vec<&str> = invite.headers("Record-Route").collect();
        let routes: String = if routes.is_empty() {
            String::new()
        } else {
            routes
                .join(",")
                .split(',')
                .map(|r| format!("Route: {}\r\n", r.trim()))
                .collect()
        };
        let (transport, local, branch, contact) =
            (self.transport(), self.local, unique(), self.contact());
        let (from, to, call_id) = (
            response.header("To"),
            response.header("From"),
            invite.header("Call-ID"),
        );
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n{routes}\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 7 {method}\r\nContact: <{contact}>\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// The CANCEL of an INVITE.
    pub fn cancel(&mut self, invite: &Sent) {
        let text = format!(
            "CANCEL {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} CANCEL\r\nContent-Length: 0\r\n\r\n",
            invite.text.uri(),
            invite.text.header("Via"),
            invite.text.header("From"),
            invite.text.header("To"),
            invite.text.header("Call-ID"),
            invite
                .text
                .header("CSeq")
                .split(' ')
                .next()
                .expect("a CSeq"),
        );
        self.send(&text);
    }

    /// The ACK of a non-2xx final response.
    pub fn acknowledge(&mut self, invite: &Sent, response: &Text) {
        let text = format!(
            "ACK {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
            invite.text.uri(),
            invite.text.header("Via"),
            invite.text.header("From"),
            response.header("To"),
            invite.text.header("Call-ID"),
            invite
                .text
                .header("CSeq")
                .split(' ')
                .next()
                .expect("a CSeq"),
        );
        self.send(&text);
    }

    /// Registers the contact without credentials and expects a 200.
    pub fn register(&mut self) -> Text {
        let text = self.compose(
            "REGISTER",
            &format!("sip:{}", self.domain),
            &self.aor(),
            "Expires: 300\r\n",
            "",
        );
        self.request(text);
        self.expect(200)
    }

    /// Registers with digest authentication (MD5) and expects a 401, then a 200.
    pub fn register_with(&mut self, password: &str) -> Text {
        let uri = format!("sip:{}", self.domain);
        let text = self.compose("REGISTER", &uri, &self.aor(), "Expires: 300\r\n", "");
        self.request(text);
        let challenge = self.expect(401);
        let credentials =
            self.credentials(&challenge, "WWW-Authenticate", "REGISTER", &uri, password);
        let text = self.compose(
            "REGISTER",
            &uri,
            &self.aor(),
            &format!("Authorization: {credentials}\r\nExpires: 300\r\n"),
            "",
        );
        self.request(text);
        self.expect(200)
    }

    /// The credentials that answer the MD5 challenge of a 401 or 407.
    pub fn credentials(
        &self,
        challenge: &Text,
        header: &str,
        method: &str,
        uri: &str,
        password: &str,
    ) -> String {
        let value = challenge
            .headers(header)
            .find(|v| {
                !v.contains("algorithm")
                    || v.contains("algorithm=MD5")
                    || v.contains("algorithm=\"MD5\"")
            })
            .unwrap_or_else(|| panic!("no MD5 challenge in {challenge:?}"));
        let (realm, nonce) = (quoted(value, "realm"), quoted(value, "nonce"));
        let user = &self.user;
        let ha1 = md5_hex(&format!("{user}:{realm}:{password}"));
        let ha2 = md5_hex(&format!("{method}:{uri}"));
        let cnonce = unique();
        let response = md5_hex(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"));
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5, \
             cnonce=\"{cnonce}\", qop=auth, nc=00000001"
        )
    }

    /// Sends an INVITE to a URI.
    pub fn invite(&mut self, uri: &str) -> Sent {
        let text = self.compose("INVITE", uri, uri, "Content-Type: application/sdp\r\n", SDP);
        self.request(text)
    }

    /// Accepts the connection that the proxy opens towards this agent's listener, and goes on there.
    pub fn accept(&mut self) {
        let Link::Tcp {
            stream,
            listener,
            buffer,
        } = &mut self.link
        else {
            panic!("only on TCP")
        };
        listener.set_nonblocking(false).expect("set blocking");
        *stream = listener.accept().expect("accept").0;
        buffer.clear();
    }
}

/// A body that looks like a session description.
pub const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn loopback(peer: SocketAddr) -> std::net::IpAddr {
    if peer.is_ipv4() {
        [127, 0, 0, 1].into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    }
}

fn md5_hex(text: &str) -> String {
    format!("{:x}", md5::compute(text))
}

fn quoted(value: &str, name: &str) -> String {
    let (_, rest) = value
        .split_once(&format!("{name}=\""))
        .unwrap_or_else(|| panic!("no {name} in {value}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// The length of the first message in a stream's bytes, once it is whole.
fn framed(buffer: &mut Vec<u8>) -> Option<usize> {
    while buffer.starts_with(b"\r\n") {
        buffer.drain(..2);
    }
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = Text::parse(&buffer[..head]);
    let length = head
        + text
            .header("Content-Length")
            .parse::<usize>()
            .expect("a Content-Length");
    (buffer.len() >= length).then_some(length)
}
