//! The client: connections are kept and used again, and every request has its time.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use patchbay_policy::{ErrorKind, HostError, HttpAnswer, HttpRequest, HttpResponse, Sleep};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::request::{checked, error};
use super::script::Script;

/// Bytes of a response's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection without requests is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections without requests that are kept per server.
const MAX_IDLE: usize = 64;

type Outgoing = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
/// The client, or why there is none.
type Made = Result<Outgoing, String>;

/// Sends the requests of policies. Its thread begins with the first of them, and ends with it.
#[derive(Default)]
pub struct HttpClient {
    thread: Mutex<Option<Thread>>,
    counts: Arc<Counts>,
    /// Instead of the system's.
    roots: Option<RootCertStore>,
    /// Nothing is sent: this answers.
    script: Option<Arc<Script>>,
}

#[derive(Clone)]
struct Thread {
    handle: Handle,
    client: Arc<OnceLock<Made>>,
    /// The thread ends when the last of these is gone.
    _alive: Arc<oneshot::Sender<()>>,
}

/// A timer on the thread, which ends when nobody waits for it any more.
struct Sleeping(JoinHandle<()>);

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // That the router ends is an end, too.
        Pin::new(&mut self.0).poll(context).map(drop)
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    waiting: AtomicU64,
}

/// What became of the requests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpStatistics {
    /// With a response.
    pub answered: u64,
    /// Without one: no connection, too large, too late.
    pub failed: u64,
    /// Not sent: not granted, or nothing that can be sent.
    pub refused: u64,
    /// On their way now.
    pub waiting: u64,
}

impl HttpClient {
    /// A client that trusts these certificates instead of the system's.
    pub fn trusting(roots: RootCertStore) -> HttpClient {
        HttpClient {
            roots: Some(roots),
            ..HttpClient::default()
        }
    }

    /// A client that sends nothing.
    pub(crate) fn scripted(script: Arc<Script>) -> HttpClient {
        HttpClient {
            script: Some(script),
            ..HttpClient::default()
        }
    }

    /// What answers when nothing is sent.
    pub(crate) fn script(&self) -> Option<&Arc<Script>> {
        self.script.as_ref()
    }

    /// What became of the requests so far.
    pub fn statistics(&self) -> HttpStatistics {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        HttpStatistics {
            answered: read(&self.counts.answered),
            failed: read(&self.counts.failed),
            refused: read(&self.counts.refused),
            waiting: read(&self.counts.waiting),
        }
    }

    /// Sends a request when one of the grants has its URL. There is an answer within `limit`.
    pub fn fetch(&self, request: HttpRequest, grants: &[String], limit: Duration) -> HttpAnswer {
        let (thread, request) = match self.prepare(request, grants) {
            Ok(prepared) => prepared,
            Err(error) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                return Box::pin(std::future::ready(Err(error)));
            }
        };
        let (sender, receiver) = oneshot::channel();
        let counts = Arc::clone(&self.counts);
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        let client = thread.client;
        thread.handle.spawn(async move {
            let answer = match client.get() {
                Some(Ok(client)) => within(limit, ask(client, request)).await,
                Some(Err(problem)) => Err(unavailable(problem.clone())),
                None => Err(unavailable("there is no client".to_owned())),
            };
            counts.ended(&answer);
            // The hook may be gone: then nobody needs the answer.
            let _ = sender.send(answer);
        });
        Box::pin(async move {
            receiver
                .await
                .unwrap_or_else(|_| Err(unavailable("the router ends".to_owned())))
        })
    }

    /// Is over after this time.
    pub fn sleep(&self, time: Duration) -> Sleep {
        let thread = match self.thread() {
            Ok(thread) => thread,
            Err(error) => {
                tracing::warn!(%error, "no thread for the timers of policies: they are over at once");
                return Box::pin(std::future::ready(()));
            }
        };
        let task = thread
            .handle
            .spawn(async move { tokio::time::sleep(time).await });
        Box::pin(Sleeping(task))
    }

    fn prepare(
        &self,
        request: HttpRequest,
        grants: &[String],
    ) -> Result<(Thread, Request<Full<Bytes>>), HostError> {
        let request = checked(request, grants)?;
        let thread = self
            .thread()
            .map_err(|error| unavailable(format!("no thread for HTTP: {error}")))?;
        Ok((thread, request))
    }

    fn thread(&self) -> io::Result<Thread> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            return Ok(thread.clone());
        }
        let started = start(self.roots.clone())?;
        Ok(thread.insert(started).clone())
    }
}

impl Counts {
    fn ended(&self, answer: &Result<HttpResponse, HostError>) {
        let count = match answer {
            Ok(_) => &self.answered,
            Err(_) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The thread makes the client before it serves anybody: reading the certificates of the system takes milliseconds, which no worker has.
fn start(roots: Option<RootCertStore>) -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let made = Arc::new(OnceLock::new());
    let of_thread = Arc::clone(&made);
    let handle = runtime.handle().clone();
    let (alive, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("policy-http".to_owned())
        .spawn(move || {
            of_thread.get_or_init(|| {
                client(roots.unwrap_or_else(system_roots))
                    .map_err(|error| format!("no client for HTTP: {error}"))
            });
            // Whether it is told or the other side is gone makes no difference.
            let _ = runtime.block_on(ended);
            // A name query that still runs is not waited for.
            runtime.shutdown_background();
        })?;
    Ok(Thread {
        handle,
        client: made,
        _alive: Arc::new(alive),
    })
}

fn client(roots: RootCertStore) -> io::Result<Outgoing> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .build(connector))
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system can't be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("the system has no certificates to trust: policies can't ask over https");
    }
    tracing::debug!(added, ignored, "certificates of the system");
    roots
}

async fn within(
    limit: Duration,
    answer: impl Future<Output = Result<HttpResponse, HostError>>,
) -> Result<HttpResponse, HostError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(HostError::late(limit)),
    }
}

async fn ask(client: &Outgoing, request: Request<Full<Bytes>>) -> Result<HttpResponse, HostError> {
    let server = server_of(request.uri());
    let response = client
        .request(request)
        .await
        .map_err(|error| unavailable(explained(&server, &with_causes(&error))))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, HttpRequest::MAX_BODY_BYTES)
        .collect()
        .await;
    let body = body.map_err(|problem| {
        if problem.is::<LengthLimitError>() {
            error(ErrorKind::Limit, "a response has at most 1 MiB".to_owned())
        } else {
            unavailable(with_causes(&*problem))
        }
    })?;
    Ok(HttpResponse {
        status: head.status.as_u16(),
        headers: headers(&head.headers),
        body: body.to_bytes().into(),
    })
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect()
}

fn unavailable(message: String) -> HostError {
    error(ErrorKind::Unavailable, message)
}

/// Scheme, host and port: path and query may be nobody's business.
fn server_of(url: &http::Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().map_or("", http::uri::Authority::as_str);
    format!("{scheme}://{authority}")
}

/// What is wrong with which server, and what helps where a certificate is not trusted.
fn explained(server: &str, problem: &str) -> String {
    let hint = if problem.contains("invalid peer certificate") {
        "; trusted are the certificates of the system, or those of SSL_CERT_FILE when that is set"
    } else {
        ""
    };
    format!("{server} : {problem}{hint}")
}

/// The error with what it came from, innermost last.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Instant;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../../tests/tls/server.pem");
    const KEY: &[u8] = include_bytes!("../../tests/tls/server.key");
    const OK: &[u8] = b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi";

    /// Serves each connection on a thread of its own.
    fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        address
    }

    /// Answers the first request, and keeps the connection until the client is done with it.
    fn answer(mut stream: TcpStream, answer: &[u8]) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer);
        let _ = stream.read(&mut request);
    }

    fn roots() -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
        roots.add(certificate).expect("a root");
        roots
    }

    fn fetch(client: &HttpClient, url: &str, limit: Duration) -> Result<HttpResponse, HostError> {
        let request = HttpRequest {
            method: "GET".to_owned(),
            url: url.to_owned(),
            ..HttpRequest::default()
        };
        // What the test asks is granted.
        let grants = [url.to_owned()];
        let answer = client.fetch(request, &grants, limit);
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(answer)
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    /// What a server that answers so makes of a request.
    fn asked(bytes: &'static [u8], limit: Duration) -> Result<HttpResponse, HostError> {
        let address = server(move |stream| answer(stream, bytes));
        fetch(&HttpClient::default(), &format!("http://{address}/"), limit)
    }

    #[test]
    fn a_response_comes_whole() {
        let response = asked(OK, PATIENCE).expect("a response");
        let header = ("x-a".to_owned(), "1".to_owned());
        assert_eq!(response.status, 200);
        assert!(response.headers.contains(&header), "{response:?}");
        assert_eq!(response.body, b"hi");
    }

    #[test]
    fn a_sleep_takes_its_time_and_wakes() {
        let began = Instant::now();
        let client = HttpClient::default();
        let sleep = client.sleep(Duration::from_millis(50));
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(sleep);
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(50) && took < PATIENCE,
            "{took:?}"
        );
    }

    #[test]
    fn a_redirection_is_not_followed() {
        let moved =
            b"HTTP/1.1 302 Moved\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(asked(moved, PATIENCE).expect("a response").status, 302);
    }

    #[test]
    fn an_answer_comes_in_its_time_whatever_the_server_does() {
        for begun in [
            &b""[..],
            b"HTTP/1.1 200 O",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
        ] {
            let began = Instant::now();
            let error = asked(begun, Duration::from_millis(100)).expect_err("late");
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(error.message.contains("100 ms"), "{}", error.message);
            assert!(began.elapsed() < PATIENCE);
        }
    }

    #[test]
    fn a_response_is_bounded() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n";
        let large: &'static [u8] = [head, &vec![0; HttpRequest::MAX_BODY_BYTES + 1][..]]
            .concat()
            .leak();
        let error = asked(large, PATIENCE).expect_err("too large");
        assert_eq!(error.kind, ErrorKind::Limit);
    }

    #[test]
    fn nobody_there_is_an_error_that_says_why() {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let url = format!("http://{}/", address.expect("a free port"));
        let client = HttpClient::default();
        let error = fetch(&client, &url, PATIENCE).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("refused"), "{}", error.message);
        assert_eq!(client.statistics().failed, 1);
        assert_eq!(client.statistics().waiting, 0);
    }

    /// A server with TLS, on a thread with a runtime of its own.
    fn tls_server() -> SocketAddr {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate")],
                PrivateKeyDer::from_pem_slice(KEY).expect("a key"),
            )
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        server(move |stream| {
            stream.set_nonblocking(true).expect("set nonblocking");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let stream = tokio::net::TcpStream::from_std(stream).expect("a stream");
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(OK).await;
                let _ = stream.read(&mut request).await;
            });
        })
    }

    #[test]
    fn tls_is_spoken_with_those_who_are_trusted() {
        let address = tls_server();
        let url = format!("https://localhost:{}/", address.port());
        let trusting = HttpClient::trusting(roots());
        assert_eq!(
            fetch(&trusting, &url, PATIENCE).expect("a response").body,
            b"hi"
        );
        let strict = HttpClient::trusting(RootCertStore::empty());
        let error = fetch(&strict, &url, PATIENCE).expect_err("unknown");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        for part in [
            &format!("https://localhost:{} : ", address.port()),
            "invalid peer certificate",
            "SSL_CERT_FILE",
        ] {
            assert!(error.message.contains(part), "{}", error.message);
        }
    }
}
