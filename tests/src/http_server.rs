//! A small HTTP server: one answer for every request, after a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server on a free port of the loopback address. Its threads end with the process.
pub struct HttpServer {
    address: SocketAddr,
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
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            delay,
            status,
            body: body.to_owned(),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&of_thread);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        HttpServer { address, shared }
    }

    /// The URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
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

fn serve(shared: &Shared, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
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
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Request line and headers; `None` at the end of the connection.
fn head(reader: &mut BufReader<TcpStream>) -> Option<String> {
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
