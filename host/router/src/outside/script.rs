//! The servers of a scenario: they answer as it is written, in virtual time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use patchbay_core::time::Instant;
use patchbay_policy::{ErrorKind, HostError, HttpAnswer, HttpRequest, HttpResponse, Sleep};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::request::{error, refusal};
use crate::config::scenario::{HttpReply, HttpServer};

/// The longest delay that is drawn, in milliseconds: longer than `hook_timeout` often is.
const MAX_DRAWN_MS: u64 = 8_000;

/// Who answers, and what was asked.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Those of the first level that has one for a request answer it.
    servers: Vec<Vec<HttpServer>>,
    state: Mutex<State>,
}

/// Servers that do not do what is written now and then.
#[derive(Debug)]
struct Whims(StdRng);

#[derive(Debug, Default)]
struct State {
    /// Which of the servers have answered, by level and number.
    used: Vec<(usize, usize)>,
    waiting: Vec<Waiting>,
    /// Timers of policies, and when they end.
    sleeping: Vec<(Instant, oneshot::Sender<()>)>,
    asked: Vec<Asked>,
    /// What happened since somebody looked, in words.
    notes: Vec<String>,
    /// The first request that nobody answers.
    unanswered: Option<String>,
    /// In property mode.
    whims: Option<Whims>,
}

/// An answer that comes later.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    question: String,
    result: Result<HttpResponse, HostError>,
    answer: oneshot::Sender<Result<HttpResponse, HostError>>,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `METHOD URL`.
    pub(crate) question: String,
    /// Its body.
    pub(crate) body: String,
}

impl Script {
    /// Of these servers.
    pub(crate) fn new(servers: Vec<Vec<HttpServer>>) -> Script {
        Script {
            servers,
            state: Mutex::default(),
        }
    }

    /// Of these servers, with delays, errors and silence drawn from a seed.
    pub(crate) fn at_random(servers: Vec<Vec<HttpServer>>, seed: u64) -> Script {
        let script = Script::new(servers);
        script.state().whims = Some(Whims(StdRng::seed_from_u64(seed)));
        script
    }

    /// Answers a request that is made now and may wait for so long.
    pub(crate) fn ask(
        &self,
        request: &HttpRequest,
        grants: &[String],
        left: Duration,
        now: Instant,
    ) -> HttpAnswer {
        let limit = match request.timeout_ms {
            Some(ms) => left.min(Duration::from_millis(ms.into())),
            None => left,
        };
        let question = format!("{} {}", request.method, request.url);
        if let Some(refused) = refusal(request, grants) {
            self.state()
                .notes
                .push(format!("http: {question}: {}", refused.message));
            return at_once(Err(refused));
        }
        if limit.is_zero() {
            return at_once(Err(HostError::late(limit)));
        }
        let mut state = self.state();
        state.asked.push(Asked {
            question: question.clone(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        });
        let Some(server) = self.server(request, &mut state) else {
            state
                .notes
                .push(format!("http: {question}: no [[http]] has it"));
            state.unanswered.get_or_insert(question);
            return at_once(Err(unavailable(
                "no [[http]] of the scenario has this request",
            )));
        };
        let drawn = state.whims.as_mut().and_then(|whims| whims.draw(server));
        let (after, result) = outcome(drawn.as_ref().unwrap_or(server), limit);
        if after.is_zero() {
            state.answered(&question, &result);
            return at_once(result);
        }
        state.notes.push(format!("http: {question}"));
        let (answer, receiver) = oneshot::channel();
        state.waiting.push(Waiting {
            due: now + after,
            question,
            result,
            answer,
        });
        Box::pin(async move {
            receiver
                .await
                .unwrap_or_else(|_| Err(unavailable("the scenario is over")))
        })
    }

    /// The next server for a request that has not answered, or the last one again.
    fn server(&self, request: &HttpRequest, state: &mut State) -> Option<&HttpServer> {
        let fits = |server: &HttpServer| {
            let method = server.method.as_ref();
            method.is_none_or(|method| *method == request.method) && server.url.fits(&request.url)
        };
        let (level, servers) = self
            .servers
            .iter()
            .enumerate()
            .find(|(_, servers)| servers.iter().any(fits))?;
        let fitting = servers
            .iter()
            .enumerate()
            .filter(|(_, server)| fits(server));
        let mut last = None;
        for (number, server) in fitting {
            if !state.used.contains(&(level, number)) {
                state.used.push((level, number));
                return Some(server);
            }
            last = Some(server);
        }
        last
    }

    /// Waits for so long from now on.
    pub(crate) fn sleep(&self, time: Duration, now: Instant) -> Sleep {
        if time.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (sender, receiver) = oneshot::channel();
        self.state().sleeping.push((now + time, sender));
        // That the scenario is over is an end, too.
        Box::pin(async move { receiver.await.unwrap_or(()) })
    }

    /// When the next answer comes, or the next timer ends that somebody waits for.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let mut state = self.state();
        state.sleeping.retain(|(_, sender)| !sender.is_closed());
        let answers = state.waiting.iter().map(|one| one.due);
        let timers = state.sleeping.iter().map(|(due, _)| *due);
        answers.chain(timers).min()
    }

    /// Gives the answers that are due.
    pub(crate) fn answer_due(&self, now: Instant) {
        let mut due = {
            let mut state = self.state();
            let is_due = |one: &mut Waiting| one.due <= now;
            let mut due: Vec<Waiting> = state.waiting.extract_if(.., is_due).collect();
            due.sort_by_key(|one| one.due);
            for one in &due {
                state.answered(&one.question, &one.result);
            }
            due
        };
        for one in due.drain(..) {
            // The hook may be gone: then nobody needs the answer.
            let _ = one.answer.send(one.result);
        }
        let is_over = |(due, _): &mut (Instant, _)| *due <= now;
        let over: Vec<_> = self.state().sleeping.extract_if(.., is_over).collect();
        for (_, sender) in over {
            // Nor does anybody need to know then.
            let _ = sender.send(());
        }
    }

    /// What happened since the last time, in words.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().notes)
    }

    /// The requests since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// The first request that nobody answers.
    pub(crate) fn unanswered(&self) -> Option<String> {
        self.state().unanswered.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves lists that are still lists.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answered(&mut self, question: &str, result: &Result<HttpResponse, HostError>) {
        self.notes.push(match result {
            Ok(response) => format!("http: {} to {question}", response.status),
            Err(error) => format!("http: no response to {question}: {}", error.message),
        });
    }
}

impl Whims {
    /// What this server does instead of what is written; `None`: just that.
    fn draw(&mut self, server: &HttpServer) -> Option<HttpServer> {
        let random = &mut self.0;
        let reply = match random.random_range(0..10) {
            0 => HttpReply::Error("connection refused".to_owned()),
            1 => HttpReply::Nothing,
            2 => HttpReply::Response {
                status: 503,
                headers: Vec::new(),
                body: String::new(),
            },
            3..6 => server.reply.clone(),
            _ => return None,
        };
        let delay = Duration::from_millis(random.random_range(0..MAX_DRAWN_MS));
        Some(HttpServer {
            after: server.after + delay,
            reply,
            ..server.clone()
        })
    }
}

/// What comes of a request to this server that may wait for so long, and when.
fn outcome(server: &HttpServer, limit: Duration) -> (Duration, Result<HttpResponse, HostError>) {
    let result = match &server.reply {
        _ if server.after > limit => return (limit, Err(HostError::late(limit))),
        HttpReply::Nothing => return (limit, Err(HostError::late(limit))),
        HttpReply::Error(text) => Err(unavailable(text)),
        HttpReply::Response {
            status,
            headers,
            body,
        } => Ok(HttpResponse {
            status: *status,
            headers: headers.clone(),
            body: body.clone().into_bytes(),
        }),
    };
    (server.after, result)
}

fn at_once(result: Result<HttpResponse, HostError>) -> HttpAnswer {
    Box::pin(std::future::ready(result))
}

fn unavailable(message: &str) -> HostError {
    error(ErrorKind::Unavailable, message.to_owned())
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::config::scenario::Pattern;

    const LIMIT: Duration = Duration::from_secs(5);

    fn server(url: &str, after: Duration, reply: HttpReply) -> HttpServer {
        HttpServer {
            method: None,
            url: Pattern(url.to_owned()),
            after,
            reply,
        }
    }

    fn body(text: &str) -> HttpReply {
        HttpReply::Response {
            status: 200,
            headers: Vec::new(),
            body: text.to_owned(),
        }
    }

    fn ask(script: &Script, url: &str) -> HttpAnswer {
        let request = HttpRequest {
            method: "GET".to_owned(),
            url: url.to_owned(),
            ..HttpRequest::default()
        };
        script.ask(&request, &["http://h/".to_owned()], LIMIT, Instant(0))
    }

    /// The body or the message; `None`: it is not there yet.
    fn now(answer: &mut HttpAnswer) -> Option<String> {
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(Ok(response)) => String::from_utf8(response.body).ok(),
            Poll::Ready(Err(error)) => Some(error.message),
            Poll::Pending => None,
        }
    }

    fn told(script: &Script, url: &str) -> String {
        now(&mut ask(script, url)).expect("at once")
    }

    #[test]
    fn answers_come_in_the_order_of_the_file_and_the_last_one_again() {
        let own = vec![server("http://h/own", Duration::ZERO, body("own"))];
        let common = vec![
            server("http://h/*", Duration::ZERO, body("one")),
            server(
                "http://h/*",
                Duration::ZERO,
                HttpReply::Error("two".to_owned()),
            ),
        ];
        let script = Script::new(vec![own, common]);
        for (url, expected) in [
            ("http://h/a", "one"),
            ("http://h/own", "own"),
            ("http://h/own", "own"),
            ("http://h/a", "two"),
            ("http://h/a", "two"),
        ] {
            assert_eq!(told(&script, url), expected, "{url}");
        }
        assert_eq!(script.unanswered(), None);
        assert_eq!(script.take_asked().len(), 5);
    }

    #[test]
    fn what_nobody_answers_is_told_and_what_is_not_granted_is_refused() {
        let script = Script::new(vec![vec![server("http://h/a", Duration::ZERO, body(""))]]);
        assert!(told(&script, "http://other/").contains("policy.grants.http"));
        assert_eq!(script.unanswered(), None);
        assert!(told(&script, "http://h/b").contains("[[http]]"));
        assert_eq!(script.unanswered().as_deref(), Some("GET http://h/b"));
    }

    #[test]
    fn what_is_drawn_is_the_same_for_a_seed() {
        let servers = || vec![vec![server("*", Duration::ZERO, body("written"))]];
        let drawn = |seed| {
            let script = Script::at_random(servers(), seed);
            for _ in 0..20 {
                drop(ask(&script, "http://h/a"));
            }
            script.answer_due(Instant(u64::MAX));
            script.take_notes()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let notes = drawn(1).join("\n");
        for part in ["http: 200 to", "http: no response to", "ms"] {
            assert!(notes.contains(part), "{part} is not in {notes}");
        }
    }

    #[test]
    fn a_timer_ends_in_virtual_time_unless_nobody_waits() {
        let script = Script::default();
        let is_over = |sleep: &mut Sleep| {
            sleep
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        };
        assert!(is_over(&mut script.sleep(Duration::ZERO, Instant(0))));
        drop(script.sleep(Duration::from_millis(1), Instant(0)));
        let mut sleep = script.sleep(Duration::from_millis(20), Instant(0));
        assert_eq!(script.next_due(), Some(Instant(20_000)));
        script.answer_due(Instant(19_999));
        assert!(!is_over(&mut sleep));
        script.answer_due(Instant(20_000));
        assert!(is_over(&mut sleep));
        assert_eq!(script.next_due(), None);
    }

    #[test]
    fn an_answer_comes_when_its_time_is_there_and_not_after_the_limit() {
        let late = Duration::from_secs(60);
        let script = Script::new(vec![vec![
            server("http://h/a", Duration::from_millis(20), body("soon")),
            server("http://h/b", late, body("late")),
            server("http://h/c", Duration::ZERO, HttpReply::Nothing),
        ]]);
        let mut answers = ["http://h/a", "http://h/b", "http://h/c"].map(|url| ask(&script, url));
        assert_eq!(script.next_due(), Some(Instant(20_000)));
        script.answer_due(Instant(19_999));
        assert_eq!(now(&mut answers[0]), None);
        script.answer_due(Instant(20_000));
        assert_eq!(now(&mut answers[0]).as_deref(), Some("soon"));
        assert_eq!(script.next_due(), Some(Instant(5_000_000)));
        script.answer_due(Instant(5_000_000));
        for answer in &mut answers[1..] {
            let message = now(answer).expect("it is there");
            assert!(message.contains("5000 ms"), "{message}");
        }
        assert_eq!(script.next_due(), None);
    }
}
