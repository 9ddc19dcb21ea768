//! One request and what comes of it. The resources that the guest has of it share it.
//!
//! | from | event | to |
//! | --- | --- | --- |
//! | unsent | `handle`, and the body is finished (or there is none) | asked |
//! | unsent | `handle`, and the body failed; or the guest waits for nothing else | answered with an error |
//! | asked | the answer of the host | answered |
//! | answered | `get` of the future | taken: a response that is read, or an error that is gone |
//! | any | the next hook begins | over |

use super::bindings::types::ErrorCode;
use super::error_code::{body_too_large, explained};
use super::held::Held;
use crate::host::{HttpAnswer, HttpRequest, HttpResponse};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A request and what comes of it.
#[derive(Clone, Default)]
pub(super) struct Exchange(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    /// Since `handle`, until it is sent: without its body, and with the account of what it takes.
    head: Option<(HttpRequest, Held)>,
    body: Vec<u8>,
    /// What the request's Content-Length says.
    declared_length: Option<u64>,
    writing: Writing,
    stage: Stage,
}

/// How far the body is.
#[derive(Default)]
enum Writing {
    /// Or nothing is to be written.
    #[default]
    Finished,
    Open,
    /// Nothing of it is kept.
    TooLarge,
    Failed(ErrorCode),
}

#[derive(Default)]
enum Stage {
    #[default]
    Unsent,
    Asked(HttpAnswer),
    Answered(Result<HttpResponse, ErrorCode>),
    Read {
        response: HttpResponse,
        position: usize,
    },
    Gone,
    Over,
}

/// Whether a guest that waits for the response goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    Waiting,
    /// Nothing happens until the guest itself goes on.
    Stuck,
}

/// Why nothing is written or read any more.
#[derive(Debug)]
pub(super) enum Ended {
    Closed,
    Failed(ErrorCode),
}

/// What `get` of the future gives.
pub(super) enum Taken {
    NotYet,
    Response { status: u16 },
    Failed(ErrorCode),
    Before,
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body is to be written.
    pub(super) fn open_body(&self, declared_length: Option<u64>) {
        let mut contents = self.lock();
        contents.writing = Writing::Open;
        contents.declared_length = declared_length;
    }

    /// Adds to the body. One that becomes too large is taken and thrown away, and the response is the error: clients expect one there, and
    /// some break when a write fails.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Ended> {
        let mut contents = self.lock();
        contents.writable()?;
        if contents.body.len() + bytes.len() > HttpRequest::MAX_BODY_BYTES {
            contents.body = Vec::new();
            contents.writing = Writing::TooLarge;
        }
        if matches!(contents.writing, Writing::Open) {
            contents.body.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Whether something can be written.
    pub(super) fn writable(&self) -> Result<(), Ended> {
        self.lock().writable()
    }

    /// The body is complete.
    pub(super) fn finish_body(&self) -> Result<(), ErrorCode> {
        let mut contents = self.lock();
        let length = contents.body.len() as u64;
        let declared = contents.declared_length.unwrap_or(length);
        match &contents.writing {
            Writing::Failed(code) => return Err(code.clone()),
            Writing::Open if declared != length => {
                let code = ErrorCode::HttpRequestBodySize(Some(length));
                contents.fail_body(code.clone());
                return Err(code);
            }
            Writing::Open | Writing::Finished => contents.writing = Writing::Finished,
            Writing::TooLarge => contents.fail_body(body_too_large()),
        }
        Ok(())
    }

    /// The guest drops the body: one that is not finished is not sent.
    pub(super) fn drop_body(&self) {
        let mut contents = self.lock();
        if matches!(contents.writing, Writing::Open) {
            contents.fail_body(explained(
                "the request's body was dropped before it was finished",
            ));
        }
    }

    /// The request is to be sent.
    pub(super) fn handle(&self, head: HttpRequest, held: Held) {
        self.lock().head = Some((head, held));
    }

    /// The request, once, when it can be sent.
    pub(super) fn take_request(&self) -> Option<HttpRequest> {
        let mut contents = self.lock();
        match &contents.writing {
            Writing::Open | Writing::TooLarge => None,
            Writing::Finished => {
                let (mut request, _) = contents.head.take()?;
                request.body = std::mem::take(&mut contents.body);
                Some(request)
            }
            Writing::Failed(code) => {
                let code = code.clone();
                contents.head.take()?;
                contents.stage = Stage::Answered(Err(code));
                None
            }
        }
    }

    /// The request is on its way, or the host has refused it.
    pub(super) fn asked(&self, answer: Result<HttpAnswer, ErrorCode>) {
        self.lock().stage = match answer {
            Ok(answer) => Stage::Asked(answer),
            Err(code) => Stage::Answered(Err(code)),
        };
    }

    /// Whether the future has something to get.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Readiness {
        let mut contents = self.lock();
        let answer = match &mut contents.stage {
            Stage::Unsent => return Readiness::Stuck,
            Stage::Asked(answer) => answer,
            _ => return Readiness::Ready,
        };
        match answer.as_mut().poll(context) {
            Poll::Pending => Readiness::Waiting,
            Poll::Ready(answer) => {
                contents.stage = Stage::Answered(answer.map_err(ErrorCode::from));
                Readiness::Ready
            }
        }
    }

    /// The guest waits for the response alone, while its body is not finished.
    pub(super) fn give_up(&self) {
        let mut contents = self.lock();
        if matches!(contents.stage, Stage::Unsent) {
            let code =
                explained("a request is sent when its body is finished: nothing can come before");
            contents.head = None;
            contents.fail_body(code.clone());
            contents.stage = Stage::Answered(Err(code));
        }
    }

    /// What the future has.
    pub(super) fn take(&self) -> Taken {
        let readiness = self.poll(&mut Context::from_waker(Waker::noop()));
        if readiness != Readiness::Ready {
            return Taken::NotYet;
        }
        let mut contents = self.lock();
        match std::mem::replace(&mut contents.stage, Stage::Gone) {
            Stage::Answered(Ok(response)) => {
                let status = response.status;
                contents.stage = Stage::Read {
                    response,
                    position: 0,
                };
                Taken::Response { status }
            }
            Stage::Answered(Err(code)) => Taken::Failed(code),
            Stage::Over => {
                contents.stage = Stage::Over;
                Taken::Failed(over())
            }
            stage => {
                contents.stage = stage;
                Taken::Before
            }
        }
    }

    /// Headers of the response.
    pub(super) fn response_headers(&self) -> Vec<(String, Vec<u8>)> {
        let contents = self.lock();
        let Stage::Read { response, .. } = &contents.stage else {
            return Vec::new();
        };
        let headers = response.headers.iter();
        headers
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect()
    }

    /// Up to so many bytes more of the response's body.
    pub(super) fn read(&self, length: u64) -> Result<Vec<u8>, Ended> {
        let mut contents = self.lock();
        match &mut contents.stage {
            Stage::Read { response, position } => {
                let rest = response.body.get(*position..).unwrap_or_default();
                if rest.is_empty() {
                    return Err(Ended::Closed);
                }
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let bytes = rest.get(..length).unwrap_or(rest).to_vec();
                *position += bytes.len();
                Ok(bytes)
            }
            Stage::Over => Err(Ended::Failed(over())),
            _ => Err(Ended::Closed),
        }
    }

    /// The hook that asked is over.
    pub(super) fn end(&self) {
        *self.lock() = Contents {
            writing: Writing::Failed(over()),
            stage: Stage::Over,
            ..Contents::default()
        };
    }
}

impl Contents {
    fn writable(&self) -> Result<(), Ended> {
        match &self.writing {
            Writing::Open | Writing::TooLarge => Ok(()),
            Writing::Finished => Err(Ended::Closed),
            Writing::Failed(code) => Err(Ended::Failed(code.clone())),
        }
    }

    fn fail_body(&mut self, code: ErrorCode) {
        self.body = Vec::new();
        self.writing = Writing::Failed(code);
    }
}

fn over() -> ErrorCode {
    explained("the hook that asked is over")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::held::Holder;
    use super::*;
    use crate::host::HostError;

    fn head() -> HttpRequest {
        HttpRequest::default()
    }

    fn held() -> Held {
        Holder::default().held()
    }

    fn readiness(exchange: &Exchange) -> Readiness {
        exchange.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn answered(answer: Result<HttpResponse, HostError>) -> Exchange {
        let exchange = Exchange::default();
        exchange.handle(head(), held());
        assert!(exchange.take_request().is_some());
        exchange.asked(Ok(Box::pin(std::future::ready(answer))));
        assert_eq!(readiness(&exchange), Readiness::Ready);
        exchange
    }

    #[test]
    fn a_request_without_body_is_sent_at_once_and_once() {
        let exchange = Exchange::default();
        exchange.handle(head(), held());
        assert!(exchange.take_request().is_some());
        assert!(exchange.take_request().is_none());
    }

    #[test]
    fn a_request_with_body_is_sent_when_that_is_finished() {
        for handled_first in [true, false] {
            let exchange = Exchange::default();
            exchange.open_body(Some(5));
            if handled_first {
                exchange.handle(head(), held());
            }
            exchange.write(b"he").unwrap();
            exchange.write(b"llo").unwrap();
            assert!(exchange.take_request().is_none());
            assert_eq!(readiness(&exchange), Readiness::Stuck);
            exchange.finish_body().unwrap();
            if !handled_first {
                exchange.handle(head(), held());
            }
            assert_eq!(exchange.take_request().unwrap().body, b"hello");
            assert!(matches!(exchange.write(b"x"), Err(Ended::Closed)));
        }
    }

    #[test]
    fn a_body_that_is_dropped_or_of_another_length_is_not_sent() {
        let dropped = Exchange::default();
        dropped.open_body(None);
        dropped.drop_body();
        let short = Exchange::default();
        short.open_body(Some(5));
        short.write(b"hi").unwrap();
        assert!(matches!(
            short.finish_body(),
            Err(ErrorCode::HttpRequestBodySize(Some(2)))
        ));
        for exchange in [dropped, short] {
            exchange.handle(head(), held());
            assert!(exchange.take_request().is_none());
            assert!(matches!(exchange.take(), Taken::Failed(_)));
        }
    }

    #[test]
    fn a_body_that_is_too_large_is_not_kept_and_the_response_says_so() {
        let exchange = Exchange::default();
        exchange.open_body(None);
        exchange.handle(head(), held());
        let most = vec![0; HttpRequest::MAX_BODY_BYTES];
        exchange.write(&most).unwrap();
        for _ in 0..2 {
            exchange.write(b"x").unwrap();
            assert!(exchange.lock().body.is_empty());
        }
        exchange.finish_body().unwrap();
        assert!(exchange.take_request().is_none());
        assert!(matches!(
            exchange.take(),
            Taken::Failed(ErrorCode::HttpRequestBodySize(Some(1_048_576)))
        ));
    }

    #[test]
    fn a_response_is_read_piece_by_piece() {
        let exchange = answered(Ok(HttpResponse {
            status: 200,
            headers: vec![("a".into(), "b".into())],
            body: b"hello".to_vec(),
        }));
        assert!(matches!(exchange.take(), Taken::Response { status: 200 }));
        assert!(matches!(exchange.take(), Taken::Before));
        assert_eq!(
            exchange.response_headers(),
            [("a".to_owned(), b"b".to_vec())]
        );
        assert_eq!(exchange.read(2).unwrap(), b"he");
        assert_eq!(exchange.read(u64::MAX).unwrap(), b"llo");
        assert!(matches!(exchange.read(1), Err(Ended::Closed)));
    }

    #[test]
    fn an_error_is_got_once() {
        let exchange = answered(Err(HostError::late(Duration::ZERO)));
        assert!(matches!(
            exchange.take(),
            Taken::Failed(ErrorCode::HttpResponseTimeout)
        ));
        assert!(matches!(exchange.take(), Taken::Before));
    }

    #[test]
    fn who_waits_for_what_can_not_come_gets_an_error() {
        let exchange = Exchange::default();
        exchange.open_body(None);
        exchange.handle(head(), held());
        exchange.give_up();
        assert_eq!(readiness(&exchange), Readiness::Ready);
        assert!(matches!(exchange.take(), Taken::Failed(_)));
        assert!(exchange.finish_body().is_err());
        assert!(exchange.take_request().is_none());
    }

    #[test]
    fn nothing_is_left_when_the_hook_is_over() {
        let exchange = answered(Ok(HttpResponse {
            body: b"hello".to_vec(),
            ..HttpResponse::default()
        }));
        exchange.end();
        assert!(matches!(exchange.read(1), Err(Ended::Failed(_))));
        assert!(matches!(exchange.take(), Taken::Failed(_)));
        assert!(exchange.write(b"x").is_err());
    }
}
