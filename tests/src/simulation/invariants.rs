//! What must hold after each step, whatever the network and the phones do.

use std::collections::{BTreeMap, BTreeSet};

use patchbay_core::door::{Hook, HookContext, HookId, Verdict};
use patchbay_message::{Limits, Message, Method};

use super::services::transaction;
use super::{T1, branch};
use crate::text::Text;

/// RFC 4320 §4.1: how long it takes Timer E to be reset to T2.
const TIMER_E_AT_T2: u64 = 3_500_000;
/// RFC 3261 §17.2.1: an INVITE is answered within 200 ms, give or take the tick of the router's timers.
const TRYING: u64 = 201_000;

/// A request of an agent, by its branch.
#[derive(Debug, Default)]
struct Server {
    call_id: String,
    is_invite: bool,
    is_reliable: bool,
    first_at: u64,
    answered: bool,
    /// Status and To tag of what the router answered.
    finals: Vec<(u16, String)>,
    /// The router said 200 to a CANCEL of it.
    cancelled: bool,
    /// A 2xx came.
    accepted: bool,
    /// A 6xx came, and `failure_route` has not asked for more since.
    declined: bool,
    failure_route: bool,
}

/// A branch of the router.
#[derive(Debug, Default)]
struct Client {
    server: String,
    invited_at: u64,
    rang: bool,
    /// It was answered, cancelled, or its connection broke.
    closed: bool,
}

/// What the checks remember.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    servers: BTreeMap<String, Server>,
    clients: BTreeMap<String, Client>,
    /// INVITEs that were not answered yet, with the time until which they have to be.
    untried: BTreeSet<(u64, String)>,
    /// For each 2xx to an INVITE (Call-ID, CSeq, To tag) how often it came and how often it went on.
    successes: BTreeMap<(String, String, String), (u32, u32)>,
    hooks: BTreeMap<HookId, (String, Hook)>,
}

impl Invariants {
    /// A message that came to the router.
    pub(crate) fn on_input(&mut self, now: u64, message: &Text, is_reliable: bool) {
        if message.status() != 0 {
            return self.on_phone(now, message);
        }
        if matches!(message.method(), "ACK" | "CANCEL")
            || self.servers.contains_key(&branch(message))
        {
            return;
        }
        let is_invite = message.method() == "INVITE";
        let server = Server {
            call_id: message.header("Call-ID").to_owned(),
            is_invite,
            is_reliable,
            first_at: now,
            ..Server::default()
        };
        self.servers.insert(branch(message), server);
        if is_invite {
            self.untried.insert((now + TRYING, branch(message)));
        }
    }

    fn on_phone(&mut self, now: u64, response: &Text) {
        let Some(client) = self.clients.get_mut(&branch(response)) else {
            return;
        };
        if response.method() == "CANCEL" {
            return;
        }
        client.rang = true;
        let status = response.status();
        let was_open = !client.closed;
        client.closed |= status >= 200;
        let Some(server) = self.servers.get_mut(&client.server) else {
            return;
        };
        server.declined |= status >= 600 && was_open && server.is_invite;
        // Later its client transaction may be over (Timer F).
        let is_heard = server.is_invite || now < client.invited_at + 64 * T1;
        server.accepted |= is_heard && (200..300).contains(&status);
        if server.is_invite && (200..300).contains(&status) {
            self.successes.entry(success(response)).or_default().0 += 1;
        }
    }

    /// A packet of the router could not be sent.
    pub(crate) fn on_failed(&mut self, branch: &str) {
        if let Some(client) = self.clients.get_mut(branch) {
            client.closed = true;
        }
    }

    /// The router asked for a hook: one at a time in each transaction, but for those of several branches.
    pub(crate) fn on_hook(&mut self, id: HookId, hook: Hook, context: &HookContext) {
        if context.request.method() == Method::Ack {
            return;
        }
        let key = transaction(context);
        let others = self.hooks.values().filter(|(other, _)| *other == key);
        let clash = others
            .map(|(_, other)| *other)
            .find(|other| hook != Hook::BranchRoute || *other != Hook::BranchRoute);
        assert!(
            clash.is_none(),
            "{hook:?} is to run while {clash:?} runs for {key}"
        );
        if let (Hook::FailureRoute, Some(server)) = (hook, self.servers.get(&key)) {
            assert!(!server.cancelled, "failure_route after a CANCEL: {key}");
        }
        self.hooks.insert(id, (key, hook));
    }

    /// A hook returned.
    pub(crate) fn on_hook_end(&mut self, id: HookId, verdict: Option<&Verdict>) {
        let Some((key, hook)) = self.hooks.remove(&id) else {
            return;
        };
        let Some(server) = self.servers.get_mut(&key) else {
            return;
        };
        if hook == Hook::FailureRoute {
            server.failure_route = true;
            server.declined &= verdict != Some(&Verdict::Relay);
        }
        if verdict == Some(&Verdict::Drop) && hook == Hook::RequestRoute {
            self.untried.retain(|(_, other)| *other != key);
        }
    }

    /// Time has passed.
    pub(crate) fn on_time(&self, now: u64) {
        if let Some((until, key)) = self.untried.first() {
            assert!(
                *until >= now,
                "RFC 3261 §17.2.1: no response within 200 ms to {key}"
            );
        }
    }

    /// A message that the router sends; `excused`: its call may fail; `timed`: the policy ends branches by time.
    pub(crate) fn on_output(
        &mut self,
        now: u64,
        bytes: &[u8],
        excused: bool,
        timed: &BTreeSet<String>,
    ) {
        let message = Message::parse(bytes, &Limits::default())
            .unwrap_or_else(|error| panic!("the router sends no SIP: {error}"));
        message.validate().unwrap_or_else(|error| {
            panic!(
                "the router sends a broken message: {error}\n{}",
                String::from_utf8_lossy(bytes)
            )
        });
        let text = Text::parse(bytes);
        match text.status() {
            0 => self.on_request(now, &text, timed),
            _ => self.on_response(now, &text, excused, timed),
        }
    }

    fn on_request(&mut self, now: u64, request: &Text, timed: &BTreeSet<String>) {
        let vias: Vec<&str> = request.headers("Via").collect();
        assert_eq!(
            request.header("Max-Forwards"),
            if vias.len() == 1 { "70" } else { "69" },
            "{request:?}"
        );
        match (request.method(), vias.len()) {
            ("CANCEL", count) => {
                assert_eq!(count, 1, "{request:?}");
                self.on_cancel(request);
            }
            // A probe, or the ACK to a failure.
            (_, 1) | ("ACK", _) => {}
            _ => {
                assert_eq!(vias.len(), 2, "{request:?}");
                let server = vias[1]
                    .split("branch=")
                    .nth(1)
                    .and_then(|rest| rest.split(';').next())
                    .unwrap_or_default();
                self.on_branch(now, request, server, timed);
            }
        }
    }

    fn on_cancel(&mut self, cancel: &Text) {
        let client = self
            .clients
            .get_mut(&branch(cancel))
            .unwrap_or_else(|| panic!("a CANCEL of an INVITE that was never sent: {cancel:?}"));
        assert!(
            client.rang,
            "RFC 3261 §9.1: a CANCEL before any provisional response: {cancel:?}"
        );
        client.closed = true;
    }

    fn on_branch(&mut self, now: u64, request: &Text, key: &str, timed: &BTreeSet<String>) {
        let server = self
            .servers
            .get(key)
            .unwrap_or_else(|| panic!("a branch of no request: {request:?}"));
        assert_eq!(server.call_id, request.header("Call-ID"));
        if self.clients.contains_key(&branch(request)) {
            return;
        }
        assert!(
            server.finals.is_empty(),
            "a new branch after the final response: {request:?}"
        );
        assert!(!server.accepted, "a new branch after a 2xx: {request:?}");
        assert!(
            !server.cancelled,
            "a new branch after the CANCEL: {request:?}"
        );
        assert!(
            !server.declined || timed.contains(key),
            "RFC 3261 §16.7 step 5: a new branch after a 6xx: {request:?}"
        );
        let client = Client {
            server: key.to_owned(),
            invited_at: now,
            ..Client::default()
        };
        self.clients.insert(branch(request), client);
    }

    fn on_response(&mut self, now: u64, response: &Text, excused: bool, timed: &BTreeSet<String>) {
        assert_eq!(
            response.headers("Via").count(),
            1,
            "one Via is left for the client: {response:?}"
        );
        let key = branch(response);
        let Some(server) = self.servers.get_mut(&key) else {
            return;
        };
        if response.method() == "CANCEL" {
            server.cancelled |= response.status() == 200 && server.finals.is_empty();
            return;
        }
        server.answered = true;
        self.untried.retain(|(_, other)| *other != key);
        let this = (
            response.status(),
            response.parameter("To", "tag").unwrap_or_default(),
        );
        if server.is_invite && (200..300).contains(&this.0) {
            self.successes.entry(success(response)).or_default().1 += 1;
        }
        if !server.is_invite {
            check_other(server, now, response);
        }
        if this.0 < 200 {
            assert!(
                server.finals.is_empty(),
                "a provisional after a final response: {response:?}"
            );
            return;
        }
        if server.finals.contains(&this) {
            return;
        }
        // Several 2xx, one per dialog, are what forking an INVITE may give. A 2xx may also overtake a failure.
        let may_follow = server.is_invite && this.0 < 300;
        assert!(
            server.finals.is_empty() || may_follow,
            "two final responses, {:?} and then {response:?}",
            server.finals
        );
        server.finals.push(this.clone());
        if server.is_invite && this.0 >= 300 && !excused && !timed.contains(&key) {
            self.check_failure(now, &key, response);
        }
    }

    /// RFC 3261 §16.7 steps 5 and 6: a failure waits for every branch, and a 6xx comes before all others.
    fn check_failure(&self, now: u64, key: &str, response: &Text) {
        let gives_up = |client: &Client| !client.rang && now >= client.invited_at + 64 * T1;
        let open = self
            .clients
            .iter()
            .find(|(_, client)| client.server == key && !client.closed && !gives_up(client));
        assert!(
            open.is_none(),
            "a failure while {open:?} is open: {response:?}"
        );
        let server = &self.servers[key];
        let is_final = !server.declined
            || server.failure_route
            || server.cancelled
            || response.status() >= 600;
        assert!(
            is_final,
            "RFC 3261 §16.7 step 6: there is a 6xx, but the client gets {response:?}"
        );
    }

    /// At the end of a run.
    pub(crate) fn check_end(&self, excused: &BTreeSet<String>) {
        for ((call_id, cseq, tag), (came, went)) in &self.successes {
            let is_excused = excused.contains(call_id);
            assert!(
                is_excused || came == went,
                "RFC 3261 §16.7 step 5: of {came} copies of a 2xx {went} were forwarded: {call_id} {cseq} {tag}"
            );
        }
        assert!(
            self.hooks.is_empty(),
            "hooks that never returned: {:?}",
            self.hooks
        );
    }
}

/// RFC 4320: no 408, nothing provisional but a late 100.
fn check_other(server: &Server, now: u64, response: &Text) {
    let status = response.status();
    assert!(
        status == 100 || status >= 200,
        "RFC 4320 §4.1: {response:?}"
    );
    assert!(status != 408, "RFC 4320 §4.2: {response:?}");
    let is_early = !server.is_reliable && now < server.first_at + TIMER_E_AT_T2;
    assert!(
        status != 100 || !is_early,
        "RFC 4320 §4.1: a 100 after {} µs: {response:?}",
        now - server.first_at
    );
}

fn success(response: &Text) -> (String, String, String) {
    (
        response.header("Call-ID").to_owned(),
        response.header("CSeq").to_owned(),
        response.parameter("To", "tag").unwrap_or_default(),
    )
}
