//! Random inputs: whatever comes in whatever order, the invariants hold after each step and in the end nothing is left.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::stage::*;
use crate::door::*;

const SEEDS: u64 = 300;
const STEPS: usize = 120;
const STATUSES: [u16; 14] = [
    100, 180, 183, 200, 200, 302, 401, 404, 407, 408, 486, 487, 503, 603,
];
const URIS: [&str; 5] = [
    "sip:a@192.0.2.2",
    "sip:b@192.0.2.3",
    "sip:c@192.0.2.4;transport=tcp",
    "sip:d@pbx.example.net",
    "tel:+1",
];

struct Storm {
    stage: StageCore,
    random: StdRng,
    requests: Vec<String>,
    sent: Vec<Sent>,
}

impl Storm {
    fn step(&mut self) {
        match self.random.random_range(0..10) {
            0 => self.send_request(),
            1 => self.repeat_request(),
            2 => self.cancel(),
            3 | 4 => self.answer_hook(),
            5 => self.answer_resolver(),
            6 | 7 => self.respond(),
            8 => self.fail(),
            _ => self.stage.wait(Duration::from_millis(
                [1, 250, 600, 5_000, 33_000][self.random.random_range(0..5)],
            )),
        }
        self.sent.extend(self.stage.sent.drain(..));
    }

    fn send_request(&mut self) {
        let method = *["INVITE", "INVITE", "MESSAGE", "REGISTER", "ACK"]
            .choose(&mut self.random)
            .unwrap();
        let branch = format!("n{}", self.requests.len());
        let text = request(method, "sip:bob@example.com", &branch, "");
        self.stage.receive(ALICE, &text);
        self.requests.push(text);
    }

    fn repeat_request(&mut self) {
        if let Some(text) = self.requests.choose(&mut self.random) {
            let text = if self.random.random_bool(0.3) {
                text.replace("INVITE", "ACK")
            } else {
                text.clone()
            };
            self.stage.receive(ALICE, &text);
        }
    }

    fn cancel(&mut self) {
        if let Some(text) = self.requests.choose(&mut self.random) {
            self.stage.receive(
                ALICE,
                &text
                    .replace("INVITE", "CANCEL")
                    .replace("MESSAGE", "CANCEL"),
            );
        }
    }

    fn answer_hook(&mut self) {
        if self.stage.hooks.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.stage.hooks.len());
        let mut hook = self.stage.hooks.remove(index).unwrap();
        let verdict = match self.random.random_range(0..10) {
            0 => Verdict::Drop,
            1 => Verdict::Reply(Reply {
                status: 480,
                ..Reply::default()
            }),
            2 => Verdict::Save,
            3 | 4 => Verdict::Pass,
            _ => Verdict::Relay,
        };
        for _ in 0..self.random.random_range(0..4) {
            let mut target =
                Target::of_uri(URIS.choose(&mut self.random).unwrap().as_bytes().to_vec());
            target.group = self.random.random_range(0..2);
            target.no_answer = self
                .random
                .random_bool(0.3)
                .then_some(Duration::from_secs(10));
            target.flow = self
                .random
                .random_bool(0.2)
                .then(|| flow(Transport::Tcp, "198.51.100.7:4000"));
            hook.context.routing.targets.push(target);
        }
        hook.context.routing.armed = Armed {
            branch_route: self.random.random_bool(0.3).into(),
            onreply_route: self.random.random_bool(0.3).into(),
            failure_route: self.random.random_bool(0.5).into(),
        };
        let result = if self.random.random_bool(0.1) {
            Err(HookFault::Trap)
        } else {
            Ok(verdict)
        };
        self.stage.return_hook(hook, result);
    }

    fn answer_resolver(&mut self) {
        let Some((id, _)) = self.stage.resolves.pop_front() else {
            return;
        };
        let to = |address: &str, transport| Destination {
            transport,
            address: address.parse().unwrap(),
            host: None,
            listener: None,
            local: None,
        };
        let all = vec![
            to(BOB, Transport::Udp),
            to(CAROL, Transport::Tcp),
            to(BOB, Transport::Tls),
        ];
        let count = self.random.random_range(0..=all.len());
        self.stage.input(Input::Resolved {
            id,
            destinations: all.into_iter().take(count).collect(),
        });
    }

    fn respond(&mut self) {
        let requests: Vec<&Sent> = self
            .sent
            .iter()
            .filter(|sent| sent.message.is_request())
            .collect();
        let Some(request) = requests
            .choose(&mut self.random)
            .map(|sent| (*sent).clone())
        else {
            return;
        };
        if request.method() == "ACK" {
            return;
        }
        let status = *STATUSES.choose(&mut self.random).unwrap();
        let tag = *["x", "y"].choose(&mut self.random).unwrap();
        self.stage.answer(&request, status, tag);
    }

    fn fail(&mut self) {
        if let Some(sent) = self.sent.choose(&mut self.random) {
            self.stage.input(Input::SendFailed { id: sent.id });
        }
    }

    /// Answers what is still asked, and lets all time pass.
    fn settle(&mut self) {
        for _ in 0..100 {
            while let Some(hook) = self.stage.hooks.pop_front() {
                self.stage.return_hook(hook, Err(HookFault::Timeout));
            }
            while let Some((id, _)) = self.stage.resolves.pop_front() {
                self.stage.input(Input::Resolved {
                    id,
                    destinations: Vec::new(),
                });
            }
            while let Some((id, _)) = self.stage.updates.pop_front() {
                self.stage.input(Input::BindingsUpdated {
                    id,
                    result: Err(Reject::new(500, "")),
                });
            }
            if self.stage.core.counts().is_empty() {
                return;
            }
            self.stage.wait(Duration::from_secs(33));
        }
        panic!(
            "{:?} {:#?}",
            self.stage.core.counts(),
            self.stage.core.snapshot(5)
        );
    }
}

#[test]
fn whatever_happens_everything_ends() {
    for seed in 0..SEEDS {
        let config = CoreConfig {
            registration_required: false,
            ..config()
        };
        let mut storm = Storm {
            stage: stage_with(config),
            random: StdRng::seed_from_u64(seed),
            requests: Vec::new(),
            sent: Vec::new(),
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..STEPS).for_each(|_| storm.step());
            storm.settle();
        }));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
