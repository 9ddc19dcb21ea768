//! What a tape has of requests over HTTP, of the key-value store, and of the log.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};

use patchbay_policy::{
    HostError, HttpAnswer, HttpRequest, HttpResponse, KeyValueAnswer, KeyValueRequest, Level,
};

use super::super::HookHost;
use super::values::Values;
use super::{Played, Recorded, Tape, unavailable};
use crate::trace::{
    Answer, ErrorTrace, HttpExchange, KeyValueCall, KeyValueExchange, KeyValueTold, RequestTrace,
    ResponseTrace,
};

/// Bytes of requests, responses, keys and values that are kept of one run; what is more is counted.
const MAX_BYTES: usize = 256 << 10;
/// The same of log lines, of which no verdict depends.
const MAX_LOG_BYTES: usize = 32 << 10;
/// What each of them takes besides its texts.
const ENTRY_BYTES: usize = 256;

/// What a run has noted of the outside and the log, besides the answers themselves.
pub(super) struct Noted {
    /// Requests over HTTP whose answers may still come, by their places among the answers.
    asked: RefCell<Vec<(usize, Arc<Asked>)>>,
    answers: Room,
    log_lines: Room,
}

/// Room for what is kept of one kind.
struct Room {
    bytes: Cell<usize>,
    left_out: Cell<u64>,
}

/// A request over HTTP on its way.
type Asked = OnceLock<Result<HttpResponse, HostError>>;

impl Default for Noted {
    fn default() -> Noted {
        Noted {
            asked: RefCell::default(),
            answers: Room::new(MAX_BYTES),
            log_lines: Room::new(MAX_LOG_BYTES),
        }
    }
}

impl Room {
    fn new(bytes: usize) -> Room {
        Room {
            bytes: Cell::new(bytes),
            left_out: Cell::new(0),
        }
    }

    /// Whether there is room for so many bytes; what there is none for is counted.
    fn takes(&self, bytes: usize) -> bool {
        let left = self.bytes.get().checked_sub(bytes);
        match left {
            Some(left) => self.bytes.set(left),
            None => self.left_out.set(self.left_out.get() + 1),
        }
        left.is_some()
    }
}

impl Noted {
    /// The answers of the run, with those that came later in their places.
    pub(super) fn completed(self, mut answers: Vec<Answer>) -> Vec<Answer> {
        let mut too_large = Vec::new();
        for (place, asked) in self.asked.take() {
            let Some(Answer::Http(exchange)) = answers.get_mut(place) else {
                continue;
            };
            match asked.get() {
                Some(Ok(response)) => {
                    let response = ResponseTrace::from(response);
                    if self.answers.takes(response.bytes()) {
                        exchange.response = Some(response);
                    } else {
                        too_large.push(place);
                    }
                }
                Some(Err(error)) => exchange.error = Some(ErrorTrace::from(error)),
                None => {}
            }
        }
        // From the last one, so that the places before stay.
        for place in too_large.into_iter().rev() {
            answers.remove(place);
        }
        let left_out = (self.answers.left_out.get(), self.log_lines.left_out.get());
        if left_out != (0, 0) {
            answers.push(Answer::LeftOut {
                answers: left_out.0,
                log_lines: left_out.1,
            });
        }
        answers
    }
}

impl Recorded {
    /// Notes an answer that may be large.
    fn note_large(&self, answer: Answer) -> bool {
        let room = match answer {
            Answer::Log { .. } => &self.noted.log_lines,
            _ => &self.noted.answers,
        };
        let is_taken = room.takes(answer.bytes() + ENTRY_BYTES);
        if is_taken {
            self.answers.borrow_mut().push(answer);
        }
        is_taken
    }

    /// Notes a request, and gives back where its answer is to be put.
    fn note_request(&self, request: &HttpRequest) -> Option<Arc<Asked>> {
        let exchange = HttpExchange {
            request: RequestTrace::from(request),
            response: None,
            error: None,
        };
        if !self.note_large(Answer::Http(Box::new(exchange))) {
            return None;
        }
        let place = self.answers.borrow().len().saturating_sub(1);
        let asked = Arc::new(Asked::new());
        let mut all = self.noted.asked.borrow_mut();
        all.push((place, Arc::clone(&asked)));
        Some(asked)
    }
}

impl HookHost {
    fn recorded(&self) -> Option<&Recorded> {
        match &self.rare.as_ref()?.tape {
            Some(Tape::Records(recorded)) => Some(recorded),
            _ => None,
        }
    }

    /// Sends a request, and notes it when somebody wants to know.
    pub(in crate::hooks) fn note_request(
        &self,
        request: HttpRequest,
        send: impl FnOnce(HttpRequest) -> HttpAnswer,
    ) -> HttpAnswer {
        let asked = self
            .recorded()
            .and_then(|recorded| recorded.note_request(&request));
        let answer = send(request);
        let Some(asked) = asked else {
            return answer;
        };
        Box::pin(async move {
            let answer = answer.await;
            // Nobody else sets it.
            let _ = asked.set(answer.clone());
            answer
        })
    }

    /// Notes a call of the store.
    #[inline]
    pub(in crate::hooks) fn note_key_value(
        &self,
        request: &KeyValueRequest<'_>,
        answer: &Result<KeyValueAnswer, HostError>,
    ) {
        if let Some(recorded) = self.recorded() {
            let exchange = key_value_exchange(KeyValueCall::from(request), answer);
            recorded.note_large(Answer::Keyvalue(Box::new(exchange)));
        }
    }

    /// Notes a line of the log.
    #[inline]
    pub(in crate::hooks) fn note_log(&self, level: Level, message: &str) {
        if let Some(recorded) = self.recorded() {
            recorded.note_large(Answer::Log {
                level: level_name(level).to_owned(),
                message: message.to_owned(),
            });
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn key_value_exchange(
    request: KeyValueCall,
    answer: &Result<KeyValueAnswer, HostError>,
) -> KeyValueExchange {
    KeyValueExchange {
        request,
        told: answer.as_ref().ok().map(KeyValueTold::from),
        error: answer.as_ref().err().map(ErrorTrace::from),
    }
}

impl Played {
    /// `http.fetch`: nothing is sent. `refused` says what is wrong with the request, when it was not asked before.
    pub(in crate::hooks) fn fetch(
        &self,
        request: &HttpRequest,
        refused: impl FnOnce() -> Option<HostError>,
    ) -> Result<HttpResponse, HostError> {
        let request = RequestTrace::from(request);
        self.admit(request.bytes())?;
        let recorded = self.recorded_exchange(&request);
        // What redaction has hidden in it is hidden in what this run has asked as well.
        let request = recorded
            .as_ref()
            .map_or(request, |recorded| recorded.request.clone());
        let recorded = recorded.map(|recorded| (recorded.response, recorded.error));
        let (response, error) = match recorded {
            Some((None, None)) => (None, Some(unavailable("the run ended before the answer"))),
            Some(recorded) => recorded,
            None => {
                let error = refused().as_ref().map(ErrorTrace::from);
                let error = error.unwrap_or_else(|| {
                    self.not_recorded(format!("http.fetch {}", request.question()));
                    unavailable("this request is not recorded")
                });
                (None, Some(error))
            }
        };
        let exchange = HttpExchange {
            request,
            response: response.clone(),
            error: error.clone(),
        };
        self.asked
            .borrow_mut()
            .push(Answer::Http(Box::new(exchange)));
        match (response, error) {
            (Some(response), _) => Ok(response.into()),
            (None, Some(error)) => Err((&error).into()),
            (None, None) => unreachable!("there is an answer or an error"),
        }
    }

    /// The exchange of the recorded run for this request. Credentials are those of this run: they are in no recording.
    fn recorded_exchange(&self, request: &RequestTrace) -> Option<HttpExchange> {
        let same = self.recorded(|answer| match answer {
            Answer::Http(exchange) if exchange.request.is_same(request) => Some(HttpExchange {
                request: request.clone(),
                response: exchange.response.clone(),
                error: exchange.error.clone(),
            }),
            _ => None,
        });
        if same.is_some() || !self.world.redacted {
            return same;
        }
        self.recorded(|answer| match answer {
            Answer::Http(exchange) if exchange.request.may_hide(request) => {
                Some(HttpExchange::clone(exchange))
            }
            _ => None,
        })
    }

    /// `keyvalue`: nothing is written. `refused` says what is wrong with the call, when it was not made before.
    pub(in crate::hooks) fn key_value(
        &self,
        request: &KeyValueRequest<'_>,
        refused: impl FnOnce() -> Option<HostError>,
    ) -> Result<KeyValueAnswer, HostError> {
        let mut call = KeyValueCall::from(request);
        self.admit(call.bytes())?;
        let answer = self.key_value_answer(&mut call, request, refused);
        let exchange = key_value_exchange(call, &answer);
        self.asked
            .borrow_mut()
            .push(Answer::Keyvalue(Box::new(exchange)));
        answer
    }

    /// The call becomes the one of the recorded run, where redaction has hidden something in that one.
    fn key_value_answer(
        &self,
        call: &mut KeyValueCall,
        request: &KeyValueRequest<'_>,
        refused: impl FnOnce() -> Option<HostError>,
    ) -> Result<KeyValueAnswer, HostError> {
        let values: &mut Values = &mut self.values.borrow_mut();
        if let Some(answer) = values.answer_of_own(request) {
            return answer;
        }
        let recorded = self.recorded_call(call, request);
        let recorded = recorded.map(|recorded| {
            *call = recorded.request;
            (recorded.told, recorded.error)
        });
        match recorded {
            Some((Some(told), _)) => {
                let answer = KeyValueAnswer::from(told);
                values.learn(request, &answer);
                return Ok(answer);
            }
            Some((None, Some(error))) => return Err((&error).into()),
            Some((None, None)) | None => {}
        }
        if let Some(error) = refused() {
            return Err(error);
        }
        values.answer(request).unwrap_or_else(|| {
            self.not_recorded(call.question());
            Err((&unavailable("this call of the store is not recorded")).into())
        })
    }

    /// The call of the recorded run that is this one.
    fn recorded_call(
        &self,
        call: &KeyValueCall,
        request: &KeyValueRequest<'_>,
    ) -> Option<KeyValueExchange> {
        let find = |is_it: &dyn Fn(&KeyValueCall) -> bool| {
            let kind = |answer: &Answer| match answer {
                Answer::Keyvalue(exchange) if is_it(&exchange.request) => {
                    Some(KeyValueExchange::clone(exchange))
                }
                _ => None,
            };
            // What is done more often than then is not done with the answer of then.
            match request {
                KeyValueRequest::Set { .. }
                | KeyValueRequest::Delete { .. }
                | KeyValueRequest::Increment { .. } => self.unused(&kind),
                _ => self.recorded(kind),
            }
        };
        find(&|recorded| recorded == call).or_else(|| {
            let hides = |recorded: &KeyValueCall| recorded.may_hide(call);
            self.world.redacted.then(|| find(&hides)).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use patchbay_core::door::Transport;
    use patchbay_policy::{ErrorKind, Host, Verdict};

    use super::super::super::tests::{flow, services};
    use super::super::super::traced::tests::{GRANTS, playing, traced_host};
    use super::*;
    use crate::trace::HookTrace;

    const LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
    const ADD: KeyValueRequest<'_> = KeyValueRequest::Increment {
        key: "calls/total",
        delta: 1,
        ttl_secs: None,
    };
    const GET: KeyValueRequest<'_> = KeyValueRequest::Get { key: "calls/total" };

    fn request(url: &str, header: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: vec![("Authorization".to_owned(), header.to_owned())],
            ..HttpRequest::default()
        }
    }

    fn response(body: &str) -> Result<HttpResponse, HostError> {
        Ok(HttpResponse {
            status: 200,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        })
    }

    fn now<T>(mut answer: std::pin::Pin<Box<dyn Future<Output = T> + Send>>) -> T {
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("it is not there"),
        }
    }

    fn traced(run: impl FnOnce(&mut HookHost)) -> HookTrace {
        let mut host = traced_host(&services(GRANTS), flow(Transport::Udp, None));
        run(&mut host);
        let captured = host.end_trace(&Ok(Verdict::Relay), 7);
        captured.expect("it is traced").trace
    }

    fn unknown(host: HookHost, trace: &HookTrace) -> Vec<String> {
        let (_, heard) = host
            .end_replay(&trace.input, &Ok(Verdict::Relay))
            .expect("it is played");
        heard.unknown
    }

    #[test]
    fn a_response_is_played_to_the_same_request_whatever_its_credentials() {
        let url = "http://lcr.example/a";
        let trace = traced(|host| {
            let send = |_| -> HttpAnswer { Box::pin(std::future::ready(response("route"))) };
            let first = host.note_request(request(url, "one"), send);
            let never = host.note_request(request("http://lcr.example/b", "one"), |_| {
                Box::pin(std::future::pending())
            });
            assert_eq!(now(first), response("route"));
            drop(never);
        });
        let mut host = playing(&trace);
        assert_eq!(
            now(host.fetch(request(url, "two"), LIMIT)),
            response("route")
        );
        let kind = |host: &mut HookHost, url| {
            let answer = now(host.fetch(request(url, ""), LIMIT));
            answer.expect_err("no response").kind
        };
        assert_eq!(
            kind(&mut host, "http://lcr.example/b"),
            ErrorKind::Unavailable
        );
        assert_eq!(
            kind(&mut host, "http://lcr.example/c"),
            ErrorKind::Unavailable
        );
        assert_eq!(kind(&mut host, "http://other.example/"), ErrorKind::Denied);
        assert_eq!(
            unknown(host, &trace),
            ["http.fetch GET http://lcr.example/c"]
        );
    }

    #[test]
    fn numbers_are_those_of_the_recorded_run_and_nothing_is_written() {
        let services = services(GRANTS);
        let mut host = traced_host(&services, flow(Transport::Udp, None));
        for _ in 0..2 {
            host.key_value(ADD).expect("it is granted");
        }
        host.key_value(GET).expect("it is granted");
        let denied = KeyValueRequest::Get { key: "other" };
        host.key_value(denied).expect_err("it is not granted");
        let captured = host.end_trace(&Ok(Verdict::Relay), 7).expect("traced");
        let trace = captured.trace;
        assert_eq!(trace.answers.len(), 4);

        let mut host = playing(&trace);
        let number = |host: &mut HookHost| match host.key_value(ADD) {
            Ok(KeyValueAnswer::Number(number)) => number,
            other => panic!("{other:?}"),
        };
        assert_eq!(number(&mut host), 1);
        assert_eq!(number(&mut host), 2);
        let kind = |request, host: &mut HookHost| host.key_value(request).map_err(|e| e.kind);
        assert_eq!(kind(denied, &mut host), Err(ErrorKind::Denied));
        let value = |text: &[u8]| Ok(KeyValueAnswer::Value(Some(text.to_vec())));
        assert_eq!(kind(GET, &mut host), value(b"2"));
        assert_eq!(number(&mut host), 3, "once more than then");
        assert_eq!(kind(GET, &mut host), value(b"3"));
        let new = KeyValueRequest::Exists { key: "calls/new" };
        assert_eq!(kind(new, &mut host), Err(ErrorKind::Unavailable));
        assert_eq!(unknown(host, &trace), ["keyvalue.exists calls/new"]);
        assert_eq!(services.shared.keyvalue.statistics().keys, 1);
    }

    #[test]
    fn what_is_too_much_is_counted_and_not_kept() {
        let value = vec![0; 60_000];
        let set = KeyValueRequest::Set {
            key: "calls/large",
            value: &value,
            ttl_secs: None,
        };
        let trace = traced(|host| {
            for _ in 0..6 {
                host.key_value(set).expect("it is granted");
            }
            let send = |_| -> HttpAnswer {
                let body = "x".repeat(MAX_BYTES);
                Box::pin(std::future::ready(response(&body)))
            };
            drop(now(
                host.note_request(request("http://lcr.example/", ""), send)
            ));
        });
        assert_eq!(trace.answers.len(), 5, "four values and what was left out");
        let left_out = Answer::LeftOut {
            answers: 3,
            log_lines: 0,
        };
        assert_eq!(trace.answers.last(), Some(&left_out));
        assert!(!trace.has_answers());
        assert!(trace.weight() < 2 * MAX_BYTES);
    }

    #[test]
    fn lines_of_the_log_are_kept() {
        let trace = traced(|host| host.note_log(Level::Warn, "a line"));
        let line = Answer::Log {
            level: "warn".to_owned(),
            message: "a line".to_owned(),
        };
        assert_eq!(trace.answers, [line]);
        let trace = traced(|host| {
            for _ in 0..200 {
                host.note_log(Level::Warn, "a line");
            }
            host.key_value(ADD).expect("it is granted");
        });
        let [.., last, left_out] = &trace.answers[..] else {
            panic!("many lines")
        };
        assert!(matches!(last, Answer::Keyvalue(_)), "{last:?}");
        let lines = Answer::LeftOut {
            answers: 0,
            log_lines: 75,
        };
        assert_eq!(left_out, &lines);
        assert!(trace.has_answers(), "no verdict depends on the lines");
    }
}
