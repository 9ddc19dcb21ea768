//! What a traced run notes of the answers it gets, and the answers of a run that is played again.
//!
//! Most of what a hook sees is in its context, and what it decides is there afterwards. Only what is asked beyond that goes through here:
//! look-ups, credentials, clocks, random numbers, and everything that reaches outside of the message. A run that nobody traces has no tape.

mod outside;
mod values;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;

use patchbay_core::door::{Listener, Target as CoreTarget};
use patchbay_message::{AddressOfRecord, HeaderName, Uri};
use patchbay_policy::{Binding, ErrorKind, HostError, LookupResult, Verification};

use super::lookups::{host_error, target};
use super::{HookHost, Rare};
use outside::Noted;
use values::Values;

use crate::trace::{
    Act, Answer, ContactTrace, ErrorTrace, FlowTrace, HookTrace, Input, World, verification_name,
    verification_named,
};

/// The tape of one run.
pub(super) enum Tape {
    /// The run is traced.
    Records(Box<Recorded>),
    /// The run is played from a trace.
    Plays(Box<Played>),
}

/// What a traced run has noted so far.
pub(super) struct Recorded {
    pub(super) input: Input,
    pub(super) at_unix_ms: u64,
    answers: RefCell<Vec<Answer>>,
    noted: Noted,
}

/// The answers of the run that is played.
pub(super) struct Played {
    world: Arc<World>,
    at_unix_ms: u64,
    recorded: Vec<Answer>,
    used: RefCell<Vec<bool>>,
    /// What is asked now.
    asked: RefCell<Vec<Answer>>,
    /// How many bytes of requests and values may still be asked with.
    left: Cell<usize>,
    /// What was not asked then.
    unknown: RefCell<Vec<String>>,
    lookups: Vec<Vec<ContactTrace>>,
    values: RefCell<Values>,
    /// Of random numbers that were not recorded.
    next_random: Cell<u64>,
}

/// What a run that was played has asked.
pub(crate) struct Heard {
    /// Every question with its answer.
    pub(crate) answers: Vec<Answer>,
    /// The questions that nobody had asked in the recorded run.
    pub(crate) unknown: Vec<String>,
}

impl Recorded {
    pub(super) fn new(input: Input, at_unix_ms: u64) -> Recorded {
        Recorded {
            input,
            at_unix_ms,
            answers: RefCell::default(),
            noted: Noted::default(),
        }
    }

    pub(super) fn into_parts(self) -> (Input, u64, Vec<Answer>) {
        let answers = self.noted.completed(self.answers.into_inner());
        (self.input, self.at_unix_ms, answers)
    }
}

impl Rare {
    #[cold]
    fn note(&self, answer: Answer) {
        match &self.tape {
            Some(Tape::Records(recorded)) => recorded.answers.borrow_mut().push(answer),
            Some(Tape::Plays(played)) => played.asked.borrow_mut().push(answer),
            None => {}
        }
    }
}

impl HookHost {
    /// Notes an answer, when somebody wants to know.
    #[inline]
    pub(super) fn note(&self, answer: impl FnOnce() -> Answer) {
        if let Some(rare) = &self.rare
            && rare.tape.is_some()
        {
            rare.note(answer());
        }
    }

    /// Notes what was done.
    #[inline]
    pub(super) fn note_act(&self, result: Result<u32, &HostError>, act: impl FnOnce() -> Act) {
        self.note(|| Answer::Act {
            act: act(),
            answer: result.unwrap_or_default(),
            error: result.err().map(ErrorTrace::from),
        });
    }

    /// Notes a look-up.
    #[inline]
    pub(super) fn note_lookup(
        &self,
        aor: &AddressOfRecord,
        found: &Result<LookupResult, HostError>,
    ) {
        self.note(|| Answer::Lookup {
            aor: aor.as_str().to_owned(),
            contacts: match found {
                Ok(found) => self.contacts(found.lookup),
                Err(_) => Vec::new(),
            },
            error: found.as_ref().err().map(ErrorTrace::from),
        });
    }

    /// The contacts of a look-up, with the ways to them.
    fn contacts(&self, lookup: u32) -> Vec<ContactTrace> {
        let (Some(services), Ok(bindings)) = (&self.services, self.lookups.bindings(lookup)) else {
            return Vec::new();
        };
        let contact = |(index, binding)| {
            let shown = self.lookups.binding(lookup, index, self.now.unix)?;
            let way = target(services, binding, 0);
            Some(ContactTrace {
                uri: shown.uri,
                q: shown.q,
                expires_secs: shown.expires_secs,
                received: shown.received,
                user_agent: shown.user_agent,
                instance: shown.instance,
                path: way.path.iter().map(|hop| hop.as_slice().into()).collect(),
                flow: way.flow.as_ref().map(FlowTrace::from),
            })
        };
        (0..).zip(bindings).filter_map(contact).collect()
    }

    /// The answers of the run that is played; `None` in a real one.
    pub(super) fn played(&self) -> Option<&Played> {
        match &self.rare.as_ref()?.tape {
            Some(Tape::Plays(played)) => Some(played),
            _ => None,
        }
    }

    pub(super) fn played_mut(&mut self) -> Option<&mut Played> {
        match &mut self.rare.as_mut()?.tape {
            Some(Tape::Plays(played)) => Some(played),
            _ => None,
        }
    }

    /// `auth.verify` in a run that is played: without a recorded answer a request without credentials has none, and of others nobody
    /// can tell.
    pub(super) fn played_verification(&mut self) -> Option<Verification> {
        let is_missing = self.context.as_ref().is_none_or(|context| {
            let request = &context.request;
            request.header(HeaderName::Authorization).is_none()
                && request.header(HeaderName::ProxyAuthorization).is_none()
        });
        let answer = self.played()?.verification(is_missing);
        let (verification, user) = answer;
        if let Some(context) = &mut self.context
            && let Some(user) = user
        {
            context.verified_user = Some(user);
        }
        Some(verification)
    }
}

/// Bytes of what a run that is played asks beyond the router: a multiple of what is recorded of one, so that a loop in a version that runs in
/// the shadow takes no more of the router's memory.
const MAX_PLAYED_BYTES: usize = 8 << 20;
/// What a question takes beside its texts.
const QUESTION_BYTES: usize = 256;

impl Played {
    /// Whether a question of so many bytes may be asked as well.
    fn admit(&self, bytes: usize) -> Result<(), HostError> {
        let left = self.left.get().checked_sub(bytes + QUESTION_BYTES);
        let Some(left) = left else {
            return Err(HostError {
                kind: ErrorKind::Limit,
                message: "a run that is played again asks no more than 8 MiB".into(),
            });
        };
        self.left.set(left);
        Ok(())
    }

    pub(super) fn new(world: Arc<World>, trace: &HookTrace) -> Played {
        Played {
            world,
            at_unix_ms: trace.at_unix_ms,
            used: RefCell::new(vec![false; trace.answers.len()]),
            recorded: trace.answers.clone(),
            asked: RefCell::default(),
            left: Cell::new(MAX_PLAYED_BYTES),
            unknown: RefCell::default(),
            lookups: Vec::new(),
            values: RefCell::default(),
            next_random: Cell::new(trace.at_unix_ms ^ trace.elapsed_us.rotate_left(32)),
        }
    }

    pub(super) fn into_heard(self) -> Heard {
        Heard {
            answers: self.asked.into_inner(),
            unknown: self.unknown.into_inner(),
        }
    }

    pub(super) fn listeners(&self) -> &[Listener] {
        &self.world.listeners
    }

    pub(super) fn is_local(&self, uri: &Uri<'_>, local: IpAddr) -> bool {
        self.world.names.is_local(uri, local)
    }

    /// The next recorded answer of a kind, or the last one again.
    fn recorded<T>(&self, kind: impl Fn(&Answer) -> Option<T>) -> Option<T> {
        let next = self.unused(&kind);
        next.or_else(|| self.recorded.iter().rev().find_map(kind))
    }

    /// The next recorded answer of a kind.
    fn unused<T>(&self, kind: &impl Fn(&Answer) -> Option<T>) -> Option<T> {
        let mut used = self.used.borrow_mut();
        let mut answers = self.recorded.iter().zip(used.iter_mut());
        answers.find_map(|(answer, used)| match *used {
            true => None,
            false => {
                let answer = kind(answer)?;
                *used = true;
                Some(answer)
            }
        })
    }

    fn not_recorded(&self, question: String) {
        let mut unknown = self.unknown.borrow_mut();
        if !unknown.contains(&question) {
            unknown.push(question);
        }
    }

    /// `location.lookup`.
    pub(super) fn lookup(&mut self, aor: &AddressOfRecord) -> Result<LookupResult, HostError> {
        let recorded = self.recorded(|answer| match answer {
            Answer::Lookup {
                aor: asked,
                contacts,
                error,
            } if asked == aor.as_str() => Some((contacts.clone(), error.clone())),
            _ => None,
        });
        let (contacts, error) = recorded.unwrap_or_else(|| {
            self.not_recorded(format!("location.lookup {}", aor.as_str()));
            (
                Vec::new(),
                Some(unavailable("this look-up is not recorded")),
            )
        });
        self.asked.borrow_mut().push(Answer::Lookup {
            aor: aor.as_str().to_owned(),
            contacts: contacts.clone(),
            error: error.clone(),
        });
        if let Some(error) = error {
            return Err((&error).into());
        }
        let number = |length| u32::try_from(length).unwrap_or(u32::MAX);
        let found = LookupResult {
            lookup: number(self.lookups.len()),
            count: number(contacts.len()),
        };
        self.lookups.push(contacts);
        Ok(found)
    }

    fn contacts(&self, lookup: u32) -> Option<&[ContactTrace]> {
        self.lookups.get(lookup as usize).map(Vec::as_slice)
    }

    /// `location.binding-at`.
    pub(super) fn binding(&self, lookup: u32, index: u32) -> Option<Binding> {
        let contact = self.contacts(lookup)?.get(index as usize)?.clone();
        Some(Binding {
            uri: contact.uri,
            q: contact.q,
            expires_secs: contact.expires_secs,
            received: contact.received,
            user_agent: contact.user_agent,
            instance: contact.instance,
        })
    }

    /// The targets that the contacts of a look-up make.
    pub(super) fn targets(&self, lookup: u32, group: u16) -> Result<Vec<CoreTarget>, HostError> {
        let contacts = self.contacts(lookup).ok_or_else(|| {
            host_error(
                ErrorKind::NotFound,
                "there is no lookup of this number in this hook",
            )
        })?;
        let target = |contact: &ContactTrace| CoreTarget {
            uri: contact.uri.clone().into_bytes(),
            q: contact.q,
            group,
            path: contact.path.iter().map(|hop| hop.0.clone()).collect(),
            flow: contact.flow.as_ref().map(FlowTrace::flow),
            next_hop: None,
            listener: None,
            no_answer: None,
        };
        Ok(contacts.iter().map(target).collect())
    }

    /// `location.is-registered-source`.
    pub(super) fn is_registered_source(&self, uri: &str) -> bool {
        let recorded = self.recorded(|recorded| match recorded {
            Answer::RegisteredSource { uri: asked, answer } if asked == uri => Some(*answer),
            _ => None,
        });
        let answer = recorded.unwrap_or_else(|| {
            self.not_recorded(format!("location.is-registered-source {uri}"));
            false
        });
        self.asked.borrow_mut().push(Answer::RegisteredSource {
            uri: uri.to_owned(),
            answer,
        });
        answer
    }

    fn verification(&self, is_missing: bool) -> (Verification, Option<String>) {
        let recorded = self.recorded(|recorded| match recorded {
            Answer::Verify { answer, user } => Some((verification_named(answer), user.clone())),
            _ => None,
        });
        let (verification, user) = match recorded {
            Some(recorded) => recorded,
            None if is_missing => (Verification::Missing, None),
            None => {
                self.not_recorded("auth.verify".to_owned());
                (Verification::Failed, None)
            }
        };
        self.asked.borrow_mut().push(Answer::Verify {
            answer: verification_name(verification).to_owned(),
            user: user.clone(),
        });
        (verification, user)
    }

    /// `clock.unix-ms`: when it was not asked, the run is as old as its trace.
    pub(super) fn unix_ms(&self) -> u64 {
        let recorded = self.recorded(|recorded| match recorded {
            Answer::UnixMs { answer } => Some(*answer),
            _ => None,
        });
        recorded.unwrap_or(self.at_unix_ms)
    }

    /// `clock.monotonic-us`.
    pub(super) fn monotonic_us(&self) -> u64 {
        let recorded = self.recorded(|recorded| match recorded {
            Answer::MonotonicUs { answer } => Some(*answer),
            _ => None,
        });
        recorded.unwrap_or(self.at_unix_ms.saturating_mul(1000))
    }

    /// `random.u64`: what was not recorded is made of the run, so that it is the same each time. Guests ask for numbers of which
    /// nothing depends, such as keys of hash maps, whenever they have a new instance: that is no new question.
    pub(super) fn random_u64(&self) -> u64 {
        let recorded = self.recorded(|recorded| match recorded {
            Answer::Random { answer } => Some(*answer),
            _ => None,
        });
        recorded.unwrap_or_else(|| split_mix(&self.next_random))
    }

    /// What came of an act in the recorded run; one that was not done there succeeds.
    pub(super) fn act(&self, act: Act) -> Result<u32, HostError> {
        let recorded = self.recorded(|recorded| match recorded {
            Answer::Act {
                act: done,
                answer,
                error,
            } if *done == act => Some((*answer, error.clone())),
            _ => None,
        });
        let (answer, error) = recorded.unwrap_or_default();
        self.asked.borrow_mut().push(Answer::Act {
            act,
            answer,
            error: error.clone(),
        });
        match error {
            Some(error) => Err((&error).into()),
            None => Ok(answer),
        }
    }
}

fn unavailable(message: &str) -> ErrorTrace {
    (&host_error(ErrorKind::Unavailable, message)).into()
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
fn split_mix(state: &Cell<u64>) -> u64 {
    let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    state.set(next);
    let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use patchbay_core::door::Transport;
    use patchbay_policy::{Host, KeyValueRequest, Verdict};

    use super::super::tests::{flow, services};
    use super::super::traced::tests::{GRANTS, playing, traced_host};
    use super::*;

    #[test]
    fn a_run_that_is_played_asks_no_more_than_its_bytes() {
        let mut host = traced_host(&services(GRANTS), flow(Transport::Udp, None));
        let captured = host.end_trace(&Ok(Verdict::Relay), 7).expect("traced");
        let mut host = playing(&captured.trace);
        let value = vec![0; 60_000];
        let set = KeyValueRequest::Set {
            key: "calls/large",
            value: &value,
            ttl_secs: None,
        };
        let is_limit = |error: HostError| error.kind == ErrorKind::Limit;
        let is_asked = |_: &u32| !host.key_value(set).is_err_and(is_limit);
        let asked = (0..1000).take_while(is_asked).count();
        assert_eq!(asked, MAX_PLAYED_BYTES / (60_000 + 11 + QUESTION_BYTES));
        // A small question has room, until there is none at all.
        let get = KeyValueRequest::Get { key: "calls/large" };
        let is_asked = |_: &u32| !host.key_value(get).is_err_and(is_limit);
        assert!((1..1000).contains(&(0..1000).take_while(is_asked).count()));
    }
}
