//! Plays a scenario step by step.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use patchbay_message::{AddressOfRecord, Message, Method, Uri};

use super::ladder;
use super::matching::{self, Difference};
use super::outside;
use super::phone::{Phone, Seen};
use super::world::{Planned, Progress, World};
use crate::config::scenario::{Act, AnswerWith, Expect, Pattern, Scenario, Send, Step, address};

/// How long an expected message may take that names no time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why a scenario failed, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The line of the step.
    pub(crate) line: usize,
    /// What was expected.
    pub(crate) expected: String,
    /// What was seen.
    pub(crate) seen: String,
    /// The message that was not as expected.
    pub(crate) message: Option<String>,
    /// All messages up to there.
    pub(crate) ladder: String,
}

/// What a step found wrong.
pub(super) struct Wrong {
    expected: String,
    seen: String,
    message: Option<String>,
}

impl Wrong {
    pub(super) fn new(expected: impl Into<String>, seen: impl Into<String>) -> Wrong {
        Wrong {
            expected: expected.into(),
            seen: seen.into(),
            message: None,
        }
    }

    fn of(difference: Difference, message: &Message) -> Wrong {
        Wrong {
            expected: difference.expected,
            seen: difference.seen,
            message: Some(String::from_utf8_lossy(message.as_bytes()).into_owned()),
        }
    }
}

/// A scenario while it is played.
struct Play<'a> {
    world: World,
    scenario: &'a Scenario,
    policy: &'a str,
    /// When the last step was done, in microseconds.
    done: u64,
    /// The Call-IDs of calls with a name.
    calls: HashMap<String, String>,
    /// The request that each phone was last expected to see, by phone.
    expected: BTreeMap<usize, Vec<(usize, String)>>,
}

/// Plays all steps of a scenario; `policy` is the name that its counters are under.
pub(super) fn play(scenario: &Scenario, world: World, policy: &str) -> Result<(), Failure> {
    let mut play = Play {
        world,
        scenario,
        policy,
        done: 0,
        calls: HashMap::new(),
        expected: BTreeMap::new(),
    };
    for step in &scenario.steps {
        let result = play.step(step).and_then(|()| play.check());
        result.map_err(|wrong| play.failure(step.line, wrong))?;
    }
    let last = scenario
        .steps
        .last()
        .map_or(scenario.line, |step| step.line);
    let result = play.check_all_was_expected();
    result.map_err(|wrong| play.failure(last, wrong))?;
    play.world.rest();
    let result = play.check();
    result.map_err(|wrong| play.failure(last, wrong))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Play<'_> {
    fn failure(&self, line: usize, wrong: Wrong) -> Failure {
        Failure {
            line,
            expected: wrong.expected,
            seen: wrong.seen,
            message: wrong.message,
            ladder: ladder::draw(&self.world),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        let start = self.done.saturating_add(micros(step.after));
        match &step.act {
            Act::Expect(expect) => self.expect(step, expect),
            Act::Silence { at, within } => self.silence(at, micros(*within)),
            act => {
                self.world.run_until(start);
                self.done = start;
                match act {
                    Act::Send(send) => self.send(send),
                    Act::Answer { at, call, answers } => self.answer(at, call.as_deref(), answers),
                    Act::Registered(wanted) => self.registered(wanted),
                    Act::Counted(wanted) => self.counted(wanted),
                    Act::Asked { requests, body } => {
                        outside::asked(&self.world, requests, body.as_ref())
                    }
                    Act::Stored(wanted) => outside::stored(&self.world, wanted),
                    Act::Wait | Act::Expect(_) | Act::Silence { .. } => Ok(()),
                }
            }
        }
    }

    fn phone(&mut self, name: &str) -> Result<usize, Wrong> {
        if let Some(known) = self.world.phone(name) {
            return Ok(known);
        }
        let place = address(name).ok();
        let found = place.and_then(|(transport, address)| self.world.phone_at(transport, address));
        found.ok_or_else(|| {
            Wrong::new(
                format!("a phone {name}"),
                "an address that the router has no listener for",
            )
        })
    }

    fn send(&mut self, send: &Send) -> Result<(), Wrong> {
        let from = self.phone(&send.from)?;
        let to = match &send.to {
            Some(uri) if uri.contains(':') => Some(uri.clone()),
            Some(name) => {
                let phone = self.phone(name)?;
                self.world
                    .phones
                    .get(phone)
                    .map(|phone| phone.setup.aor.clone())
            }
            None => None,
        };
        let call_id = send
            .call
            .as_ref()
            .and_then(|call| self.calls.get(call))
            .cloned();
        let Some(phone) = self.world.phones.get_mut(from) else {
            unreachable!("it was found")
        };
        let what = || format!("{} to be sent", send.method);
        let sent = phone.send(send, to.as_deref(), call_id.as_deref());
        let (outgoing, call_id) = sent.map_err(|problem| Wrong::new(what(), problem))?;
        if let Some(call) = &send.call {
            self.calls.insert(call.clone(), call_id);
        }
        self.world.post(from, outgoing);
        Ok(())
    }

    fn answer(
        &mut self,
        at: &str,
        call: Option<&str>,
        answers: &[AnswerWith],
    ) -> Result<(), Wrong> {
        let phone = self.phone(at)?;
        let call_id = self.call_id(call)?;
        let requests = self
            .expected
            .get(&phone)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let open = requests.iter().rev().find(|(request, of)| {
            let is_wanted = call_id.as_ref().is_none_or(|wanted| wanted == of);
            is_wanted
                && self
                    .world
                    .phones
                    .get(phone)
                    .is_some_and(|phone| phone.is_open(*request))
        });
        let Some(request) = open.map(|(request, _)| *request) else {
            return Err(Wrong::new(
                format!("{at} to answer"),
                "no request that it was expected to see and that waits for its final response",
            ));
        };
        self.give(phone, request, answers);
        Ok(())
    }

    /// Has a phone answer: what comes at once is sent before anything else happens.
    fn give(&mut self, phone: usize, request: usize, answers: &[AnswerWith]) {
        let mut after = 0_u64;
        for with in answers {
            after = after.saturating_add(micros(with.after));
            let with = with.clone();
            if after > 0 {
                self.world.plan(
                    after,
                    Planned::Answer {
                        phone,
                        request,
                        with,
                    },
                );
                continue;
            }
            let answer = self
                .world
                .phones
                .get_mut(phone)
                .and_then(|phone| phone.respond(request, &with));
            if let Some(answer) = answer {
                self.world.post(phone, answer);
            }
        }
    }

    fn call_id(&self, call: Option<&str>) -> Result<Option<String>, Wrong> {
        let Some(call) = call else {
            return Ok(None);
        };
        match self.calls.get(call) {
            Some(call_id) => Ok(Some(call_id.clone())),
            None => Err(Wrong::new(
                format!("a call {call:?}"),
                "none: no step before has sent a request with this call",
            )),
        }
    }

    fn expect(&mut self, step: &Step, expect: &Expect) -> Result<(), Wrong> {
        let phone = self.phone(&expect.at)?;
        let call_id = self.call_id(expect.call.as_deref())?;
        let earliest = self.done.saturating_add(micros(step.after));
        let limit = self
            .done
            .saturating_add(micros(expect.within.unwrap_or(PATIENCE + step.after)));
        let what = format!("{} at {}", matching::kind(&expect.what), expect.at);
        let call_id = call_id.as_deref();
        let stand_in = |play: &Play<'_>| play.stand_in(phone, expect, call_id, earliest);
        let seen = loop {
            let found = self.next_at(phone, expect, call_id, &what);
            if let Ok(Some(at)) = found {
                break at;
            }
            let is_decided = found.is_err() || !self.awaits_response(phone);
            if let Some(at) = Some(&*self).filter(|_| is_decided).and_then(stand_in) {
                break at;
            }
            found?;
            if matches!(self.world.step(limit), Progress::Still) {
                match stand_in(self) {
                    Some(at) => break at,
                    None => return Err(Wrong::new(what, self.nothing(limit, expect.within))),
                }
            }
        };
        let Some(Seen {
            message,
            at,
            request,
            ..
        }) = self.take(phone, seen)
        else {
            unreachable!("it was found")
        };
        if let Some(difference) = matching::difference(&message, expect) {
            return Err(Wrong::of(difference, &message));
        }
        if at < earliest || at > limit {
            let expected = format!("{what} at {} or later", seconds(earliest));
            return Err(Wrong::new(expected, format!("it came at {}", seconds(at))));
        }
        self.done = self.done.max(at);
        let Some(request) = request else {
            return Ok(());
        };
        let call_id = String::from_utf8_lossy(message.call_id()).into_owned();
        self.expected
            .entry(phone)
            .or_default()
            .push((request, call_id));
        match &expect.answers {
            Some(answers) => self.give(phone, request, answers),
            None if is_answered_by_itself(&message) => {
                self.give(phone, request, &[AnswerWith::status(200)]);
            }
            None => {}
        }
        Ok(())
    }

    /// The next message of a phone that a step has to expect, when it is of the kind that this step expects.
    fn next_at(
        &self,
        phone: usize,
        expect: &Expect,
        call_id: Option<&str>,
        what: &str,
    ) -> Result<Option<usize>, Wrong> {
        let seen = self
            .world
            .phones
            .get(phone)
            .map(|phone| phone.seen.as_slice())
            .unwrap_or_default();
        let waiting = seen.iter().enumerate().filter(|(_, seen)| {
            !seen.is_taken
                && call_id.is_none_or(|wanted| wanted.as_bytes() == seen.message.call_id())
        });
        for (at, seen) in waiting {
            if matching::is_of_kind(&seen.message, &expect.what) {
                return Ok(Some(at));
            }
            if !seen.is_optional {
                let difference = Difference {
                    expected: what.to_owned(),
                    seen: matching::name(&seen.message),
                };
                return Err(Wrong::of(difference, &seen.message));
            }
        }
        Ok(None)
    }

    fn awaits_response(&self, phone: usize) -> bool {
        let phone = self.world.phones.get(phone);
        phone.is_some_and(Phone::awaits_response)
    }

    /// A response of the wanted kind that a scenario may leave out: to a CANCEL, or one that came before. It is meant when nothing else can
    /// be.
    fn stand_in(
        &self,
        phone: usize,
        expect: &Expect,
        call_id: Option<&str>,
        earliest: u64,
    ) -> Option<usize> {
        let seen = &self.world.phones.get(phone)?.seen;
        seen.iter().position(|seen| {
            !seen.is_taken
                && seen.at >= earliest
                && call_id.is_none_or(|wanted| wanted.as_bytes() == seen.message.call_id())
                && matching::can_stand_in(seen, &expect.what)
        })
    }

    /// Takes a message of a phone; what it left out before that came to an end with it.
    fn take(&mut self, phone: usize, at: usize) -> Option<Seen> {
        let phone = self.world.phones.get_mut(phone)?;
        let call_id = phone.seen.get(at)?.message.call_id().to_vec();
        let before = phone.seen.get_mut(..=at)?;
        for seen in before
            .iter_mut()
            .filter(|seen| seen.message.call_id() == call_id)
        {
            seen.is_taken = true;
        }
        phone.seen.get(at).cloned()
    }

    fn nothing(&self, limit: u64, within: Option<Duration>) -> String {
        match within {
            Some(_) => format!("nothing until {}", seconds(limit)),
            None => format!(
                "nothing: after {} there was nothing left to do{}",
                seconds(self.world.now()),
                self.unanswered().unwrap_or_default()
            ),
        }
    }

    /// Who was expected to see a request and was never told to answer it.
    fn unanswered(&self) -> Option<String> {
        let (phone, method) = self.expected.iter().find_map(|(phone, requests)| {
            let phone = self.world.phones.get(*phone)?;
            let open = |(request, _): &(usize, String)| phone.open_method(*request);
            Some((phone, requests.iter().find_map(open)?))
        })?;
        Some(format!(
            "; {} never answered the {method}: the step that expects it can say answer = 200",
            phone.setup.name
        ))
    }

    fn silence(&mut self, at: &str, within: u64) -> Result<(), Wrong> {
        let phone = self.phone(at)?;
        let end = self.done.saturating_add(within);
        self.world.run_until(end);
        self.done = end;
        match self.unexpected(phone) {
            None => Ok(()),
            Some(seen) => {
                let difference = Difference {
                    expected: format!("nothing at {at} until {}", seconds(end)),
                    seen: format!("{} at {}", matching::name(&seen.message), seconds(seen.at)),
                };
                Err(Wrong::of(difference, &seen.message))
            }
        }
    }

    fn unexpected(&self, phone: usize) -> Option<&Seen> {
        let seen = &self.world.phones.get(phone)?.seen;
        seen.iter().find(|seen| !seen.is_taken && !seen.is_optional)
    }

    fn registered(&mut self, wanted: &[(String, Vec<Pattern>)]) -> Result<(), Wrong> {
        for (aor, patterns) in wanted {
            let parsed = Uri::parse(aor.as_bytes())
                .ok()
                .as_ref()
                .and_then(AddressOfRecord::from_uri);
            let Some(parsed) = parsed else {
                return Err(Wrong::new("an address-of-record", aor.clone()));
            };
            let now = self.world.worker.now().unix;
            let bindings = self.world.worker.shared().location.lookup(&parsed, now);
            let contacts: Vec<String> = bindings
                .iter()
                .map(|binding| super::compose::text(binding.uri()))
                .collect();
            let fits = patterns.len() == contacts.len()
                && patterns
                    .iter()
                    .all(|pattern| contacts.iter().any(|contact| pattern.fits(contact)));
            if !fits {
                let list: Vec<&str> = patterns.iter().map(|pattern| pattern.0.as_str()).collect();
                return Err(Wrong::new(
                    format!("{aor} registered with {}", list_of(&list)),
                    format!("{aor} registered with {}", list_of(&contacts)),
                ));
            }
        }
        Ok(())
    }

    fn counted(&mut self, wanted: &BTreeMap<String, u64>) -> Result<(), Wrong> {
        let counters = &self.world.worker.shared().metrics.policy_counters;
        for (name, number) in wanted {
            let value = counters.value(self.policy, name);
            if value != *number {
                return Err(Wrong::new(
                    format!("counter {name} = {number}"),
                    format!("counter {name} = {value}"),
                ));
            }
        }
        Ok(())
    }

    /// What must hold after every step.
    fn check(&mut self) -> Result<(), Wrong> {
        if let Some(violation) = self.world.violation.take() {
            return Err(Wrong::new("what every router keeps to", violation));
        }
        outside::all_were_answered(&self.world)?;
        match &self.world.fault {
            Some(fault) if !self.scenario.allow_faults => Err(Wrong::new(
                "hooks that do not fail (allow_faults = true allows it)",
                fault.clone(),
            )),
            _ => Ok(()),
        }
    }

    /// Every request and final response that a phone saw is named by a step.
    fn check_all_was_expected(&mut self) -> Result<(), Wrong> {
        self.world.run_until(self.done);
        self.check()?;
        for phone in 0..self.world.phones.len() {
            let Some(seen) = self.unexpected(phone) else {
                continue;
            };
            let name = self
                .world
                .phones
                .get(phone)
                .map(|phone| phone.setup.name.as_str())
                .unwrap_or_default();
            let difference = Difference {
                expected: "nothing more".to_owned(),
                seen: format!(
                    "{} at {name}, which no step expects",
                    matching::name(&seen.message)
                ),
            };
            return Err(Wrong::of(difference, &seen.message));
        }
        Ok(())
    }
}

/// What every phone answers in a dialog, unless the step says otherwise.
fn is_answered_by_itself(request: &Message) -> bool {
    let is_other = !matches!(
        request.method(),
        Method::Invite | Method::Ack | Method::Cancel
    );
    is_other && request.to_tag().is_some()
}

pub(super) fn list_of(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    if items.is_empty() {
        "nothing".to_owned()
    } else {
        items.join(", ")
    }
}

/// A time as the ladder writes it.
pub(super) fn seconds(micros: u64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros % 1_000_000 / 1000)
}
