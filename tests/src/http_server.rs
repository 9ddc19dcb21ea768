//! A small HTTP server: one answer for every request, after a time, with or without TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The certificate of a server with TLS, which is its own authority, for the name `localhost`.
pub const CERTIFICATE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../host/router/tests/tls/server.pem"
);
const KEY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../host/router/tests/tls/server.key"
);

/// A server on a free port of the loopback address. Its threads end with the process.
pub struct HttpServer {
    origin: String,
    shared: Arc<Shared>,
}

struct Shared {
    delay: Duration,
    status: u16,
    body: String,
    /// Heads and bodies.
    requests: Mutex<Vec<(String, String)>>,
    connections: AtomicUsize,
}

impl HttpServer {
    /// Answers every request with this status and body after `delay`.
    pub fn start(status: u16, body: &str, delay: Duration) -> HttpServer {
        let shared = Arc::new(Shared::new(status, body, delay));
        let address = listen(&shared, serve);
        HttpServer {
            origin: format!("http://{address}"),
            shared,
        }
    }

    /// The same over TLS, with [`CERTIFICATE`].
    pub fn start_tls(status: u16, body: &str) -> HttpServer {
        let shared = Arc::new(Shared::new(status, body, Duration::ZERO));
        let config = Arc::new(tls());
        let address = listen(&shared, move |shared, stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            serve(shared, StreamOwned::new(connection, stream));
        });
        HttpServer {
            origin: format!("https://localhost:{}", address.port()),
            shared,
        }
    }

    /// The URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.shared.requests.lock().expect("requests");
        requests.iter().map(|(head, _)| head.clone()).collect()
    }

    /// The bodies of the requests so far.
    pub fn bodies(&self) -> Vec<String> {
        let requests = self.shared.requests.lock().expect("requests");
        requests.iter().map(|(_, body)| body.clone()).collect()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn new(status: u16, body: &str, delay: Duration) -> Shared {
        Shared {
            delay,
            status,
            body: body.to_owned(),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
        }
    }
}

/// Serves each connection on a thread of its own.
fn listen(
    shared: &Arc<Shared>,
    serve: impl Fn(&Shared, TcpStream) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("a bound socket");
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (shared, serve) = (Arc::clone(&shared), serve.clone());
            shared.connections.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || serve(&shared, stream));
        }
    });
    address
}

fn tls() -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(CERTIFICATE).expect("a certificate")],
            PrivateKeyDer::from_pem_file(KEY).expect("a key"),
        )
        .expect("a certificate with its key")
}

fn serve(shared: &Shared, stream: impl Read + Write) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = head(&mut reader) {
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let request = (head, String::from_utf8_lossy(&body).into_owned());
        shared.requests.lock().expect("requests").push(request);
        std::thread::sleep(shared.delay);
        let answer = format!(
            "HTTP/1.1 {} Status\r\nX-Server: test\r\nContent-Length: {}\r\n\r\n{}",
            shared.status,
            shared.body.len(),
            shared.body
        );
        let stream = reader.get_mut();
        if stream.write_all(answer.as_bytes()).is_err() || stream.flush().is_err() {
            return;
        }
    }
}

/// Request line and headers; `None` at the end of the connection.
fn head(reader: &mut BufReader<impl Read>) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        let read = reader.read_line(&mut head).ok()?;
        if read == 0 {
            return None;
        }
        if head
            .get(before..)
            .is_some_and(|line| line.trim().is_empty())
        {
            return Some(head);
        }
    }
}
