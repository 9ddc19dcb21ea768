//! Property mode: valid requests, answers and times drawn from a seed, and what must hold for each of them.
//!
//! The properties are those of [`super::invariants`] and of [`World::rest`]: one final response, Max-Forwards falls by one, no loop, a
//! verdict within the deadline, only messages that are whole, an answer to every INVITE that the policy does not drop, nothing left in the tables at the end.

use patchbay_message::{HeaderName, Message, Method};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::ladder;
use super::phone::{Outgoing, Peer};
use super::play::Failure;
use super::world::{Planned, Progress, World};
use crate::config::scenario::{AnswerWith, HeaderEdit, Send, Setting};

const SECOND: u64 = 1_000_000;
/// Longer than anything here takes; requests of the phones end before.
const LIMIT: u64 = 3600 * SECOND;
/// Requests that phones send by themselves; more would be a conversation without end.
const MAX_DEEDS: usize = 200;

/// What a phone is going to do.
enum Deed {
    /// Send a request.
    Send { phone: usize, send: Box<Send> },
    /// Send the same packet once more, as UDP may.
    Repeat { phone: usize, bytes: Vec<u8> },
}

/// A random scenario while it is played.
struct Draw<'a> {
    world: World,
    setting: &'a Setting,
    random: StdRng,
    deeds: Vec<Deed>,
    /// How many of the messages that each phone has seen it has reacted to.
    looked: Vec<usize>,
}

/// Plays the scenario of a seed.
pub(super) fn play(setting: &Setting, world: World, seed: u64) -> Result<(), Failure> {
    let mut draw = Draw {
        world,
        setting,
        random: StdRng::seed_from_u64(seed),
        deeds: Vec::new(),
        looked: Vec::new(),
    };
    draw.begin();
    draw.run();
    draw.world.rest();
    let world = &mut draw.world;
    let violation = world.violation.take().or_else(|| world.fault.take());
    match violation.or_else(|| world.looped()) {
        None => Ok(()),
        Some(seen) => Err(Failure {
            line: 0,
            expected: "what holds for every policy".to_owned(),
            seen,
            message: None,
            ladder: ladder::draw(world),
        }),
    }
}

impl Draw<'_> {
    fn begin(&mut self) {
        for _ in 0..self.random.random_range(1..=3) {
            let phone = self
                .random
                .random_range(0..self.setting.phones.len().max(1));
            let send = Box::new(self.request(phone));
            let after = self.random.random_range(0..2 * SECOND);
            self.plan(after, Deed::Send { phone, send });
        }
    }

    fn plan(&mut self, after: u64, deed: Deed) {
        if self.deeds.len() < MAX_DEEDS {
            self.deeds.push(deed);
            self.world.plan(after, Planned::Deed(self.deeds.len() - 1));
        }
    }

    fn run(&mut self) {
        while self.world.violation.is_none() {
            match self.world.step(LIMIT) {
                Progress::Moved => self.react(),
                Progress::Deed(number) => self.perform(number),
                Progress::Still => return,
            }
            if self.world.is_at_rest() {
                return;
            }
        }
    }

    fn perform(&mut self, number: usize) {
        match self.deeds.get(number) {
            Some(Deed::Repeat { phone, bytes }) => {
                let again = Outgoing {
                    to: Peer::Router,
                    bytes: bytes.clone(),
                };
                self.world.post(*phone, again);
            }
            Some(Deed::Send { phone, send }) => {
                let phone = *phone;
                let Some(sender) = self.world.phones.get_mut(phone) else {
                    return;
                };
                // The call may have ended meanwhile: then there is nothing to send.
                let Ok((outgoing, _)) = sender.send(send, send.to.as_deref(), None) else {
                    return;
                };
                let is_udp = !sender.setup.transport.is_reliable();
                if is_udp && outgoing.to == Peer::Router && self.random.random_bool(0.1) {
                    let bytes = outgoing.bytes.clone();
                    let after = self.random.random_range(0..SECOND);
                    self.plan(after, Deed::Repeat { phone, bytes });
                }
                self.world.post(phone, outgoing);
            }
            None => {}
        }
    }

    /// What phones do about what they have seen since the last time.
    fn react(&mut self) {
        self.looked.resize(self.world.phones.len(), 0);
        for phone in 0..self.world.phones.len() {
            loop {
                let at = self.looked.get(phone).copied().unwrap_or_default();
                let seen = self
                    .world
                    .phones
                    .get(phone)
                    .and_then(|phone| phone.seen.get(at));
                let Some(seen) = seen else { break };
                let (message, request) = (std::sync::Arc::clone(&seen.message), seen.request);
                let is_copy = seen.is_copy;
                if let Some(looked) = self.looked.get_mut(phone) {
                    *looked += 1;
                }
                match request {
                    Some(request) => self.answer(phone, request, &message),
                    None if is_copy => {}
                    None => self.go_on(phone, &message),
                }
            }
        }
    }

    fn answer(&mut self, phone: usize, request: usize, message: &Message) {
        let random = &mut self.random;
        let (is_invite, in_dialog) = (
            message.method() == Method::Invite,
            message.to_tag().is_some(),
        );
        if message.method() == Method::Cancel {
            return;
        }
        let answers: &[u16] = match (is_invite, in_dialog) {
            (true, true) => &[200, 200, 200, 488],
            (true, false) => &[
                200, 200, 200, 200, 486, 486, 480, 404, 603, 600, 302, 500, 503, 408,
            ],
            (false, true) => &[200],
            (false, false) => &[200, 200, 202, 404, 480, 500, 503],
        };
        let patience = if is_invite && !in_dialog {
            12 * SECOND
        } else {
            SECOND
        };
        let mut plan = |after: u64, status: u16| {
            let mut with = AnswerWith::status(status);
            if status == 302 {
                with.headers
                    .push(edit("Contact", "<sip:elsewhere@192.0.2.250>"));
            }
            self.world.plan(
                after,
                Planned::Answer {
                    phone,
                    request,
                    with,
                },
            );
        };
        if is_invite && random.random_bool(0.7) {
            plan(
                random.random_range(0..SECOND),
                *[180, 183, 100].choose(random).unwrap_or(&180),
            );
        }
        // Some never answer.
        if random.random_bool(0.9) {
            plan(
                random.random_range(0..patience),
                answers.choose(random).copied().unwrap_or(200),
            );
        }
    }

    fn go_on(&mut self, phone: usize, response: &Message) {
        let Some(status) = response.status() else {
            return;
        };
        if response.method() != Method::Invite {
            return;
        }
        if status < 200 && self.random.random_bool(0.1) {
            self.plan_send(phone, "CANCEL", 3 * SECOND);
        }
        if (200..300).contains(&status) && response.header(HeaderName::Contact).is_some() {
            for (method, share) in [("INVITE", 0.1), ("INFO", 0.1), ("BYE", 0.9)] {
                if self.random.random_bool(share) {
                    self.plan_send(phone, method, 4 * SECOND);
                }
            }
        }
    }

    fn plan_send(&mut self, phone: usize, method: &str, within: u64) {
        let send = Box::new(plain(phone_name(self.setting, phone), method));
        let after = self.random.random_range(0..within);
        self.plan(after, Deed::Send { phone, send });
    }

    /// A valid request outside of dialogs.
    fn request(&mut self, phone: usize) -> Send {
        let methods = [
            "INVITE",
            "INVITE",
            "INVITE",
            "INVITE",
            "REGISTER",
            "MESSAGE",
            "OPTIONS",
            "SUBSCRIBE",
            "PUBLISH",
            "BOOK",
        ];
        let method = methods
            .choose(&mut self.random)
            .copied()
            .unwrap_or("INVITE");
        let mut send = plain(phone_name(self.setting, phone), method);
        if method != "REGISTER" {
            send.to = Some(self.callee());
        }
        self.decorate(&mut send);
        send
    }

    /// Somebody to call: a phone, somebody nobody knows, somebody elsewhere, the router.
    fn callee(&mut self) -> String {
        let domain = self
            .setting
            .config
            .node
            .domains
            .first()
            .map_or("example.com", String::as_str);
        let random = &mut self.random;
        match random.random_range(0..20) {
            0 => format!("sip:nobody@{domain}"),
            1 => "sip:somebody@elsewhere.example".to_owned(),
            2 => format!("sip:{domain}"),
            3 => "tel:+49301234567".to_owned(),
            4 => format!("sips:{}@{domain}", random.random_range(0..1000)),
            5 => format!(
                "sip:+4930{}@{domain};user=phone",
                random.random_range(0..100_000)
            ),
            6 => format!("sip:{domain}:5060;transport=udp"),
            _ => match self.setting.phones.choose(random) {
                Some(phone) => phone.aor.clone(),
                None => format!("sip:bob@{domain}"),
            },
        }
    }

    /// Headers that a request may have, in forms that are seldom seen and right all the same.
    fn decorate(&mut self, send: &mut Send) {
        let random = &mut self.random;
        let choices: [(&str, &[&str]); 8] = [
            (
                "User-Agent",
                &["phone/1.0", "friendly-scanner", "\u{fc}ber (x; y)"],
            ),
            ("Max-Forwards", &["0", "1", "2", "69", "255"]),
            (
                "P-Asserted-Identity",
                &["<sip:ceo@example.com>", "\"A, B\" <sip:+1@x>, <tel:+1>"],
            ),
            ("X-Class", &["gold", "", "a;b=c;d=\"e f\""]),
            (
                "Subject",
                &["hello", "\u{4f60}\u{597d}", "a\r\n folded line"],
            ),
            ("Expires", &["0", "60", "3600", "4294967295"]),
            ("Priority", &["emergency", "normal"]),
            ("Supported", &["100rel, timer", "path"]),
        ];
        for (name, values) in choices {
            if random.random_bool(0.15)
                && let Some(value) = values.choose(random)
            {
                send.headers.push(edit(name, value));
            }
        }
        if random.random_bool(0.2) {
            let length = random.random_range(0..3000);
            send.body = Some("x".repeat(length));
        }
    }
}

fn phone_name(setting: &Setting, phone: usize) -> &str {
    setting
        .phones
        .get(phone)
        .map_or("", |phone| phone.name.as_str())
}

fn edit(name: &str, value: &str) -> HeaderEdit {
    HeaderEdit {
        name: name.to_owned(),
        values: vec![value.to_owned()],
    }
}

fn plain(from: &str, method: &str) -> Send {
    Send {
        from: from.to_owned(),
        method: method.to_owned(),
        to: None,
        uri: None,
        headers: Vec::new(),
        body: None,
        text: None,
        call: None,
    }
}
