//! The guest's request: `outgoing-request`, its body and its options, and `outgoing-handler`.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::types::{
    ErrorCode, HostOutgoingBody, HostOutgoingRequest, HostRequestOptions, Method, Scheme,
};
use super::bindings::{outgoing_handler, types};
use super::exchange::Exchange;
use super::fields::Fields;
use super::held::Held;
use super::response::FutureResponse;
use super::streams::OutputStream;
use crate::host::{Host, HttpRequest};
use crate::imports::http;
use crate::state::State;

/// A request that is being made.
pub struct OutgoingRequest {
    method: Method,
    scheme: Option<Scheme>,
    authority: Option<String>,
    path_with_query: Option<String>,
    headers: Fields,
    /// Since the guest has asked for the body.
    exchange: Option<Exchange>,
    held: Held,
}

/// What the guest wants of the way a request is sent.
#[derive(Default)]
pub struct RequestOptions {
    first_byte_timeout: Option<u64>,
}

/// The body of a request.
pub struct OutgoingBody {
    exchange: Exchange,
    is_written: bool,
}

type Answer<T, E = ()> = Result<std::result::Result<T, E>>;

/// Bytes of method, authority and path: more than any server takes.
const MAX_TEXT_BYTES: usize = 64 << 10;

impl OutgoingRequest {
    /// Gives a part another value; when its texts are too much then, it keeps the one that it had.
    fn change<T>(
        &mut self,
        part: impl Fn(&mut OutgoingRequest) -> &mut T,
        value: T,
    ) -> std::result::Result<(), ()> {
        let before = std::mem::replace(part(self), value);
        if self.hold() {
            return Ok(());
        }
        *part(self) = before;
        Err(())
    }

    /// Takes account of the texts; false when they are too much.
    fn hold(&mut self) -> bool {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let method = match &self.method {
            Method::Other(name) => name.len(),
            _ => 0,
        };
        let bytes = method + length(&self.authority) + length(&self.path_with_query);
        bytes <= MAX_TEXT_BYTES && self.held.set(bytes)
    }

    /// The request without its body, and the account of what it takes.
    fn request(self) -> std::result::Result<(HttpRequest, Held), ErrorCode> {
        let scheme = match &self.scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) | None => "https",
            Some(Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
        };
        let Some(authority) = &self.authority else {
            return Err(ErrorCode::HttpRequestUriInvalid);
        };
        let path = self.path_with_query.as_deref().unwrap_or_default();
        let root = if path.starts_with('/') { "" } else { "/" };
        let request = HttpRequest {
            method: method_name(self.method)?,
            url: format!("{scheme}://{authority}{root}{path}"),
            headers: sent_headers(&self.headers),
            ..HttpRequest::default()
        };
        Ok((request, self.held.join(self.headers.into_held())))
    }
}

/// The host writes Content-Length itself: that of the guest has been compared with the body.
fn sent_headers(fields: &Fields) -> Vec<(String, String)> {
    fields
        .entries()
        .iter()
        .filter(|(name, _)| name != "content-length")
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value).into_owned();
            (name.clone(), value)
        })
        .collect()
}

fn method_name(method: Method) -> std::result::Result<String, ErrorCode> {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Connect => return Err(ErrorCode::HttpRequestMethodInvalid),
        Method::Other(name) => return Ok(name),
    };
    Ok(name.to_owned())
}

/// Whether a text can be a part of a URL.
fn is_of_url(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\')
}

/// Never less than was asked for.
fn milliseconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// Sends a request as soon as it is complete.
fn send<H: Host>(state: &mut State<H>, exchange: &Exchange) {
    if let Some(request) = exchange.take_request() {
        let answer = http::ask(state, request);
        exchange.asked(answer.map_err(ErrorCode::from));
    }
}

impl<H: Host> outgoing_handler::Host for State<H> {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> Answer<Resource<FutureResponse>, ErrorCode> {
        let mut request = self.table().delete(request)?;
        let timeout = match options {
            Some(options) => self.table().delete(options)?.first_byte_timeout,
            None => None,
        };
        let exchange = match request.exchange.take() {
            Some(exchange) => exchange,
            None => match self.web().exchange() {
                Some(exchange) if request.headers.content_length().unwrap_or(0) == 0 => exchange,
                Some(_) => return Ok(Err(ErrorCode::HttpRequestBodySize(Some(0)))),
                None => return Ok(Err(ErrorCode::ConnectionLimitReached)),
            },
        };
        match request.request() {
            Ok((mut request, held)) => {
                request.timeout_ms = timeout.map(milliseconds);
                exchange.handle(request, held);
            }
            Err(code) => return Ok(Err(code)),
        }
        send(self, &exchange);
        Ok(Ok(self.table().push(FutureResponse { exchange })?))
    }
}

impl<H: Host> types::Host for State<H> {
    fn http_error_code(
        &mut self,
        error: Resource<super::streams::Failure>,
    ) -> Result<Option<ErrorCode>> {
        Ok(Some(self.table().get(&error)?.0.clone()))
    }
}

impl<H: Host> HostOutgoingRequest for State<H> {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingRequest>> {
        let headers = self.table().delete(headers)?;
        let request = OutgoingRequest {
            method: Method::Get,
            scheme: None,
            authority: None,
            path_with_query: None,
            headers,
            exchange: None,
            held: self.web().held(),
        };
        Ok(self.table().push(request)?)
    }

    fn body(&mut self, request: Resource<OutgoingRequest>) -> Answer<Resource<OutgoingBody>> {
        if self.table().get(&request)?.exchange.is_some() {
            return Ok(Err(()));
        }
        let Some(exchange) = self.web().exchange() else {
            return Ok(Err(()));
        };
        let request = self.table().get_mut(&request)?;
        exchange.open_body(request.headers.content_length());
        request.exchange = Some(exchange.clone());
        let body = OutgoingBody {
            exchange,
            is_written: false,
        };
        Ok(Ok(self.table().push(body)?))
    }

    fn method(&mut self, request: Resource<OutgoingRequest>) -> Result<Method> {
        Ok(self.table().get(&request)?.method.clone())
    }

    fn set_method(&mut self, request: Resource<OutgoingRequest>, method: Method) -> Answer<()> {
        let request = self.table().get_mut(&request)?;
        if matches!(&method, Method::Other(name) if !super::fields::is_name(name)) {
            return Ok(Err(()));
        }
        Ok(request.change(|request| &mut request.method, method))
    }

    fn path_with_query(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        Ok(self.table().get(&request)?.path_with_query.clone())
    }

    fn set_path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
        path: Option<String>,
    ) -> Answer<()> {
        let request = self.table().get_mut(&request)?;
        if path.as_ref().is_some_and(|path| !is_of_url(path)) {
            return Ok(Err(()));
        }
        Ok(request.change(|request| &mut request.path_with_query, path))
    }

    fn scheme(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<Scheme>> {
        Ok(self.table().get(&request)?.scheme.clone())
    }

    fn set_scheme(
        &mut self,
        request: Resource<OutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> Answer<()> {
        if matches!(scheme, Some(Scheme::Other(_))) {
            return Ok(Err(()));
        }
        self.table().get_mut(&request)?.scheme = scheme;
        Ok(Ok(()))
    }

    fn authority(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        Ok(self.table().get(&request)?.authority.clone())
    }

    fn set_authority(
        &mut self,
        request: Resource<OutgoingRequest>,
        authority: Option<String>,
    ) -> Answer<()> {
        let request = self.table().get_mut(&request)?;
        let is_bad = |text: &String| text.is_empty() || text.contains(['/', '?', '@']);
        if authority
            .as_ref()
            .is_some_and(|text| is_bad(text) || !is_of_url(text))
        {
            return Ok(Err(()));
        }
        Ok(request.change(|request| &mut request.authority, authority))
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> Result<Resource<Fields>> {
        let held = self.web().held();
        let entries = self.table().get(&request)?.headers.entries().to_vec();
        Ok(self.table().push(Fields::complete(entries, held)?)?)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> Result<()> {
        self.table().delete(request)?;
        Ok(())
    }
}

impl<H: Host> HostRequestOptions for State<H> {
    fn new(&mut self) -> Result<Resource<RequestOptions>> {
        Ok(self.table().push(RequestOptions::default())?)
    }

    fn connect_timeout(&mut self, _: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Connections are shared, and how long one may take is the router's to say: not supported, as the interface has it.
    fn set_connect_timeout(&mut self, _: Resource<RequestOptions>, _: Option<u64>) -> Answer<()> {
        Ok(Err(()))
    }

    fn first_byte_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(self.table().get(&options)?.first_byte_timeout)
    }

    /// The first byte is there when the response is.
    fn set_first_byte_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        nanoseconds: Option<u64>,
    ) -> Answer<()> {
        self.table().get_mut(&options)?.first_byte_timeout = nanoseconds;
        Ok(Ok(()))
    }

    fn between_bytes_timeout(&mut self, _: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(None)
    }

    /// No time is between the bytes of a response that comes whole: not supported.
    fn set_between_bytes_timeout(
        &mut self,
        _: Resource<RequestOptions>,
        _: Option<u64>,
    ) -> Answer<()> {
        Ok(Err(()))
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> Result<()> {
        self.table().delete(options)?;
        Ok(())
    }
}

impl<H: Host> HostOutgoingBody for State<H> {
    fn write(&mut self, body: Resource<OutgoingBody>) -> Answer<Resource<OutputStream>> {
        let body = self.table().get_mut(&body)?;
        if std::mem::replace(&mut body.is_written, true) {
            return Ok(Err(()));
        }
        let exchange = body.exchange.clone();
        Ok(Ok(self.table().push(OutputStream { exchange })?))
    }

    fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> Answer<(), ErrorCode> {
        let body = self.table().delete(body)?;
        let trailers = match trailers {
            Some(trailers) => !self.table().delete(trailers)?.entries().is_empty(),
            None => false,
        };
        let finished = if trailers {
            body.exchange.drop_body();
            Err(ErrorCode::HttpRequestTrailerSectionSize(Some(0)))
        } else {
            body.exchange.finish_body()
        };
        send(self, &body.exchange);
        Ok(finished)
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> Result<()> {
        let body = self.table().delete(body)?;
        body.exchange.drop_body();
        send(self, &body.exchange);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::Holder;
    use super::*;

    fn request(holder: &Holder) -> OutgoingRequest {
        let headers = vec![("x-name".to_owned(), b"value".to_vec())];
        OutgoingRequest {
            method: Method::Get,
            scheme: None,
            authority: None,
            path_with_query: Some("/short".to_owned()),
            headers: Fields::complete(headers, holder.held()).unwrap(),
            exchange: None,
            held: holder.held(),
        }
    }

    #[test]
    fn a_request_that_waits_for_its_body_is_held() {
        let holder = Holder::default();
        let mut request = request(&holder);
        let authority = Some("a.example".to_owned());
        request
            .change(|request| &mut request.authority, authority)
            .unwrap();
        let held = holder.bytes();
        assert!(held > "/shorta.examplex-namevalue".len());
        let exchange = Exchange::default();
        exchange.open_body(None);
        let (request, account) = request.request().unwrap();
        exchange.handle(request, account);
        assert_eq!(holder.bytes(), held);
        exchange.finish_body().unwrap();
        assert!(exchange.take_request().is_some());
        assert_eq!(holder.bytes(), 0, "it is the host's now");
    }

    #[test]
    fn texts_that_are_too_long_are_not_kept() {
        let holder = Holder::default();
        let mut request = request(&holder);
        let long = || "x".repeat(MAX_TEXT_BYTES + 1);
        let path = Some(long());
        assert!(
            request
                .change(|request| &mut request.path_with_query, path)
                .is_err()
        );
        assert_eq!(request.path_with_query.as_deref(), Some("/short"));
        let method = Method::Other(long());
        assert!(
            request
                .change(|request| &mut request.method, method)
                .is_err()
        );
        assert!(matches!(request.method, Method::Get));
        let authority = Some("a.example".to_owned());
        assert!(
            request
                .change(|request| &mut request.authority, authority)
                .is_ok()
        );
        assert_eq!(request.held.bytes(), "/shorta.example".len());
    }
}
