//! Which worker a message belongs to, decided from its raw bytes.
//!
//! In this order: the worker in our own Via branch (responses), in the token of our Route (requests inside a dialog), else a keyed hash of
//! the Call-ID. So an INVITE, its CANCEL, its ACK, their retransmissions and the rest of the dialog meet in one worker.

use std::hash::Hasher;

use memchr::{memchr, memchr_iter, memchr2};

use crate::base32;
use crate::door::CoreConfig;
use crate::keyed::{Keyed, Purpose};
use crate::proxy::branch::Branch;
use crate::proxy::record_route;

/// What a Call-ID that we made begins with; four characters of the worker follow.
const CALL_ID_PREFIX: &[u8] = b"pb-";

/// What stands before the worker in a response, as it is usually written: our branch in the first Via.
pub const IN_BRANCH: &[u8] = b";branch=z9hG4bKpb";
/// What stands before the worker in a request inside a dialog, as it is usually written: our token in the first Route.
///
/// Behind either come the 16 bits of the worker in base 32 (digits, then `a` to `v`): three characters, and the highest bit of a fourth.
pub const IN_ROUTE: &[u8] = b"\nRoute: <sip:pb";

/// A branch of ours of this worker, to try with what reads [`IN_BRANCH`].
pub fn example_branch(worker: u16) -> String {
    let branch = Branch {
        worker,
        slot: 0x8765_4321,
        generation: 7,
        random: u64::MAX,
        loop_hash: 1,
    };
    String::from_utf8_lossy(branch.text().as_bytes()).into_owned()
}

/// The user part of a Route of ours of this worker, to try with what reads [`IN_ROUTE`].
pub fn example_route_user(worker: u16) -> String {
    String::from_utf8_lossy(&record_route::example(worker)).into_owned()
}

/// The rule that spreads messages over workers.
#[derive(Clone)]
pub struct Affinity {
    keyed: Keyed,
    workers: u16,
}

impl Affinity {
    /// The rule for that many workers of the configured node.
    pub fn new(config: &CoreConfig, workers: u16) -> Affinity {
        Affinity {
            keyed: Keyed::new(config),
            workers: workers.max(1),
        }
    }

    /// The worker for these bytes; `None`: drop them (a response that is not for us, or nothing to tell by).
    pub fn worker_of(&self, bytes: &[u8]) -> Option<u16> {
        let bytes = skip_empty_lines(bytes);
        if bytes.starts_with(b"SIP/") {
            return self.worker_of_response(bytes);
        }
        if self.workers == 1 {
            return Some(0);
        }
        self.worker_of_request(bytes)
    }

    fn worker_of_response(&self, bytes: &[u8]) -> Option<u16> {
        let via = Lines::of(bytes).find_map(|line| value_of(line, b"via", b'v'))?;
        let worker = Branch::worker_in(parameter(via, b"branch")?)?;
        (worker < self.workers).then_some(worker)
    }

    fn worker_of_request(&self, bytes: &[u8]) -> Option<u16> {
        let mut lines = Lines::of(bytes);
        let mut told = lines.next().and_then(worker_in_first_line);
        let mut has_route = told.is_some();
        let mut call_id = None;
        // The lines are not looked at when the first one has told.
        while self.existing(told).is_none()
            && let Some(line) = lines.next()
        {
            // Few headers begin with one of these letters, and no other is looked at.
            match line.first().map(|first| first | 0x20) {
                Some(b'c' | b'i') if call_id.is_none() => {
                    call_id = value_of(line, b"call-id", b'i');
                }
                Some(b'r') if !has_route => {
                    let user = value_of(line, b"route", 0).and_then(uri_user);
                    has_route = user.is_some();
                    told = user.and_then(record_route::worker_in);
                }
                _ => {}
            }
        }
        let of_call_id = || self.existing(call_id.and_then(worker_of_own_call_id));
        self.existing(told)
            .or_else(of_call_id)
            .or_else(|| call_id.map(|call_id| self.hashed(call_id)))
    }

    fn existing(&self, worker: Option<u16>) -> Option<u16> {
        worker.filter(|worker| *worker < self.workers)
    }

    /// Whoever wants calls to meet in one worker finds out by trying which Call-IDs do, whatever the hash: a fast one gives nothing away.
    fn hashed(&self, call_id: &[u8]) -> u16 {
        let mut hash = self.keyed.quick();
        hash.write_u8(Purpose::Worker as u8);
        hash.write(call_id);
        let hash = hash.finish();
        ((u128::from(hash) * u128::from(self.workers)) >> 64) as u16
    }
}

/// Appends a Call-ID that tells its worker.
pub(crate) fn write_call_id(out: &mut Vec<u8>, worker: u16, random: u128) {
    let mut text = [0; base32::text_len(2) + base32::text_len(16)];
    let (of_worker, of_random) = text.split_at_mut(base32::text_len(2));
    base32::encode(&worker.to_be_bytes(), of_worker);
    base32::encode(&random.to_be_bytes(), of_random);
    out.extend_from_slice(CALL_ID_PREFIX);
    out.extend_from_slice(&text);
}

fn worker_of_own_call_id(call_id: &[u8]) -> Option<u16> {
    let text = call_id.strip_prefix(CALL_ID_PREFIX)?;
    if text.len() != base32::text_len(2) + base32::text_len(16) {
        return None;
    }
    let mut worker = [0; 2];
    base32::decode(text.get(..base32::text_len(2))?, &mut worker)
        .then(|| u16::from_be_bytes(worker))
}

fn skip_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// The lines of the head, without their ends, up to the empty one.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    start: usize,
    ends: memchr::Memchr<'a>,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Lines<'a> {
        Lines {
            bytes,
            start: 0,
            ends: memchr_iter(b'\n', bytes),
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.ends.next().unwrap_or(self.bytes.len());
        let line = self.bytes.get(self.start..end)?;
        self.start = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some(line)
    }
}

/// The trimmed value when the line is a header of that name (`compact` 0: there is no compact form).
fn value_of<'a>(line: &'a [u8], name: &[u8], compact: u8) -> Option<&'a [u8]> {
    let first = line.first()?.to_ascii_lowercase();
    if Some(&first) != name.first() && first != compact {
        return None;
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (found, value) = line.split_at_checked(colon)?;
    let found = found.trim_ascii();
    let is_compact =
        compact != 0 && matches!(found, [letter] if letter.eq_ignore_ascii_case(&compact));
    (is_compact || found.eq_ignore_ascii_case(name))
        .then(|| value.get(1..).unwrap_or(&[]).trim_ascii())
}

/// The value of a parameter in the first of the comma-joined values.
fn parameter<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = value;
    loop {
        let end = memchr2(b';', b',', rest);
        let (text, behind) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        // What is before the first semicolon is no parameter, but does not look like one of these either.
        if let Some(value) = named(text, name) {
            return Some(value);
        }
        rest = behind.strip_prefix(b";")?;
    }
}

/// The trimmed value of `text`, `name=value` with any space around both.
fn named<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let text = text.trim_ascii_start();
    let (found, rest) = text.split_at_checked(name.len())?;
    let value = rest.trim_ascii_start().strip_prefix(b"=")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// The user part of the first URI in a Route value.
fn uri_user(value: &[u8]) -> Option<&[u8]> {
    let start = memchr(b'<', value).map_or(0, |at| at + 1);
    let uri = value.get(start..)?;
    let uri = uri.get(..memchr(b'>', uri).unwrap_or(uri.len()))?;
    let scheme = memchr(b':', uri)?;
    let rest = uri.get(scheme + 1..)?;
    rest.get(..memchr(b'@', rest)?)
}

/// RFC 3261 §16.4: a strict router puts our Record-Route value into the Request-URI.
fn worker_in_first_line(line: &[u8]) -> Option<u16> {
    // No method has a colon, so that the first one is that of the URI's scheme.
    let user = line.get(memchr(b':', line)? + 1..)?;
    if !record_route::may_begin(user) {
        return None;
    }
    record_route::worker_in(user.get(..memchr(b'@', user)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_worker_begins_as_it_is_said_to() {
        for worker in [0u16, 1, 33, 63, u16::MAX] {
            let route = format!("\nRoute: <sip:{}", example_route_user(worker));
            let branch = format!(";branch={}", example_branch(worker));
            for (text, mark) in [(route, IN_ROUTE), (branch, IN_BRANCH)] {
                let rest = text.as_bytes().strip_prefix(mark).unwrap();
                let value =
                    |byte: u8| u16::from_str_radix(&char::from(byte).to_string(), 32).unwrap();
                let high = rest[..3]
                    .iter()
                    .fold(0, |all, byte| all << 5 | value(*byte));
                assert_eq!(high << 1 | value(rest[3]) >> 4, worker);
            }
            assert_eq!(
                record_route::worker_in(example_route_user(worker).as_bytes()),
                Some(worker)
            );
            assert_eq!(
                Branch::worker_in(example_branch(worker).as_bytes()),
                Some(worker)
            );
        }
    }
    use crate::door::{ListenerId, PolicyVersion};
    use crate::proxy::record_route::{DialogIdentity, TokenFacts, write_token};

    fn config() -> CoreConfig {
        CoreConfig {
            node: "test".into(),
            worker: 0,
            domains: Vec::new(),
            listeners: Vec::new(),
            tenant_domains: Default::default(),
            token_key: [1; 32],
            registration_required: false,
            realm: String::new(),
            pin_dialog: false,
            t1: std::time::Duration::from_millis(500),
            t2: std::time::Duration::from_secs(4),
            t4: std::time::Duration::from_secs(5),
            timer_c: std::time::Duration::from_secs(181),
            max_transactions: 1,
            max_branches: 1,
            max_failure_rounds: 1,
            max_breadth: 60,
            retry_after_secs: 1,
        }
    }

    fn worker_of(text: &str) -> Option<u16> {
        Affinity::new(&config(), 4).worker_of(text.as_bytes())
    }

    fn response(worker: u16) -> String {
        let branch = Branch {
            worker,
            slot: 1,
            generation: 2,
            random: 3,
            loop_hash: 4,
        }
        .text();
        let branch = String::from_utf8_lossy(branch.as_bytes()).into_owned();
        format!(
            "SIP/2.0 200 OK\r\nFrom: <sip:a@b>\r\nv: SIP/2.0/UDP h:5060;branch={branch};rport, SIP/2.0/UDP x\r\n\r\n"
        )
    }

    fn token(worker: u16) -> String {
        let facts = TokenFacts {
            route: crate::door::RouteId::NONE,
            worker,
            listener: ListenerId(0),
            version: PolicyVersion(0),
        };
        let mut out = Vec::new();
        let dialog = DialogIdentity {
            call_id: b"c",
            tag: b"t",
        };
        write_token(
            &mut out,
            &Keyed::new(&config()),
            facts,
            dialog,
            std::iter::empty(),
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_response_goes_to_the_worker_in_its_branch() {
        assert_eq!(worker_of(&response(2)), Some(2));
    }

    #[test]
    fn a_response_for_no_worker_of_ours_is_dropped() {
        assert_eq!(worker_of(&response(4)), None);
        assert_eq!(
            worker_of("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKother\r\n\r\n"),
            None
        );
    }

    #[test]
    fn a_request_in_a_dialog_goes_to_the_worker_in_its_token() {
        for (worker, user) in (0..4).map(|worker| (worker, token(worker))) {
            let route =
                format!("BYE sip:b@h SIP/2.0\r\nCall-ID: x\r\nRoute: <sip:{user}@h;lr>\r\n\r\n");
            assert_eq!(worker_of(&route), Some(worker));
            let strict = format!("BYE sip:{user}@h;lr SIP/2.0\r\nCall-ID: x\r\n\r\n");
            assert_eq!(worker_of(&strict), Some(worker));
        }
    }

    #[test]
    fn a_branch_is_found_among_other_parameters() {
        let text = response(3);
        for (from, to) in [
            (";branch=", ";x=1;BRANCH = "),
            (";branch=", ";x=\"branch=\" ;branch="),
        ] {
            assert_eq!(worker_of(&text.replacen(from, to, 1)), Some(3), "{to}");
        }
        // Not ours: the Via is that of somebody before us.
        assert_eq!(
            worker_of(&text.replacen(";branch=", ", x;branch=", 1)),
            None
        );
        assert_eq!(worker_of(&text.replacen(";branch=", ";xbranch=", 1)), None);
    }

    #[test]
    fn a_token_of_no_worker_is_hashed_by_call_id() {
        let plain = worker_of("BYE sip:b@h SIP/2.0\r\nCall-ID: x\r\n\r\n");
        let route = format!(
            "BYE sip:b@h SIP/2.0\r\nRoute: <sip:{}@h;lr>\r\nCall-ID: x\r\n\r\n",
            token(9)
        );
        assert!(plain.is_some());
        assert_eq!(worker_of(&route), plain);
    }

    #[test]
    fn all_of_a_call_meets() {
        let first = worker_of("INVITE sip:b@h SIP/2.0\r\nCall-ID: abc@h\r\n\r\n");
        for text in [
            "\r\nCANCEL sip:b@h SIP/2.0\r\nI:abc@h\r\n\r\n",
            "ACK sip:b@h SIP/2.0\r\ncall-id : abc@h\r\n\r\n",
        ] {
            assert_eq!(worker_of(text), first);
        }
    }

    #[test]
    fn call_ids_spread_over_the_workers() {
        let mut counts = [0; 4];
        for number in 0..400 {
            let worker = worker_of(&format!(
                "INVITE sip:b@h SIP/2.0\r\nCall-ID: {number}\r\n\r\n"
            ));
            counts[usize::from(worker.unwrap())] += 1;
        }
        assert!(
            counts.iter().all(|count| (50..150).contains(count)),
            "{counts:?}"
        );
    }
}
