//! A callee: answers INVITEs as it pleases, and everything else as it must.

use std::net::SocketAddr;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Alarm, T1, T2, Wishes, branch};
use crate::text::Text;

/// What it does with one INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Answers,
    IsBusy,
    Declines,
    IsUnavailable,
    Redirects,
    NeverAnswers,
    SaysNothing,
}

/// One INVITE, as it came by one branch.
#[derive(Debug)]
struct Ringing {
    invite: Text,
    mood: Mood,
    provisional: Option<String>,
    last: Option<String>,
    status: u16,
    acknowledged: bool,
    gave_up: bool,
}

/// A phone.
#[derive(Debug)]
pub(crate) struct Callee {
    pub(crate) address: SocketAddr,
    pub(crate) reliable: bool,
    ringing: Vec<Ringing>,
}

impl Callee {
    pub(crate) fn new(address: SocketAddr, reliable: bool) -> Callee {
        Callee { address, reliable, ringing: Vec::new() }
    }

    /// The 2xx responses that were never acknowledged: for each the Call-ID.
    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = &str> {
        self.ringing.iter().filter(|r| r.status == 200 && !r.acknowledged).map(|r| r.invite.header("Call-ID"))
    }

    pub(crate) fn on_request(&mut self, request: &Text, random: &mut StdRng, wishes: &mut Wishes) {
        match request.method() {
            "INVITE" => self.on_invite(request, random, wishes),
            "ACK" => self.on_ack(request),
            "CANCEL" => self.on_cancel(request, wishes),
            _ => wishes.send.push(self.response(request, 200, "")),
        }
    }

    fn on_invite(&mut self, invite: &Text, random: &mut StdRng, wishes: &mut Wishes) {
        let known = self.ringing.iter().find(|r| branch(&r.invite) == branch(invite));
        if let Some(known) = known {
            wishes.send.extend(known.last.clone());
            return;
        }
        let mood = match random.random_range(0..100) {
            0..50 => Mood::Answers,
            50..65 => Mood::IsBusy,
            65..72 => Mood::Declines,
            72..80 => Mood::IsUnavailable,
            80..85 => Mood::Redirects,
            85..95 => Mood::NeverAnswers,
            _ => Mood::SaysNothing,
        };
        let number = self.ringing.len();
        self.ringing.push(Ringing { invite: invite.clone(), mood, provisional: None, last: None, status: 0, acknowledged: false, gave_up: false });
        if mood == Mood::SaysNothing {
            return;
        }
        let rings = random.random_bool(0.8) || mood == Mood::NeverAnswers;
        if rings {
            wishes.timers.push((random.random_range(0..600_000), Alarm::Ring(number)));
        }
        if mood != Mood::NeverAnswers {
            wishes.timers.push((random.random_range(0..8_000_000), Alarm::Answer(number)));
        }
    }

    fn on_ack(&mut self, ack: &Text) {
        let tag = ack.parameter("To", "tag").unwrap_or_default();
        for ringing in &mut self.ringing {
            let of_success = ringing.status == 200 && ack.header("Call-ID") == ringing.invite.header("Call-ID") && tag == to_tag(&ringing.invite);
            let of_failure = ringing.status >= 300 && branch(ack) == branch(&ringing.invite);
            ringing.acknowledged |= of_success || of_failure;
        }
    }

    fn on_cancel(&mut self, cancel: &Text, wishes: &mut Wishes) {
        wishes.send.push(self.response(cancel, 200, ""));
        if let Some(number) = self.ringing.iter().position(|r| branch(&r.invite) == branch(cancel) && r.status == 0) {
            self.finish(number, 487, wishes);
        }
    }

    pub(crate) fn on_alarm(&mut self, alarm: &Alarm, wishes: &mut Wishes) {
        match *alarm {
            Alarm::Ring(number) => self.ring(number, wishes),
            Alarm::Answer(number) if self.ringing[number].status == 0 => {
                let status = match self.ringing[number].mood {
                    Mood::Answers => 200,
                    Mood::IsBusy => 486,
                    Mood::Declines => 603,
                    Mood::IsUnavailable => 503,
                    _ => 302,
                };
                self.finish(number, status, wishes);
            }
            Alarm::RepeatFinal(number, waited) => self.repeat(number, waited, wishes),
            _ => {}
        }
    }

    fn ring(&mut self, number: usize, wishes: &mut Wishes) {
        if self.ringing[number].status == 0 {
            let text = self.response(&self.ringing[number].invite, 180, "");
            self.ringing[number].provisional = Some(text.clone());
            self.ringing[number].last = Some(text.clone());
            wishes.send.push(text);
        }
    }

    fn finish(&mut self, number: usize, status: u16, wishes: &mut Wishes) {
        let text = self.response(&self.ringing[number].invite, status, "");
        self.ringing[number].status = status;
        self.ringing[number].last = Some(text.clone());
        wishes.send.push(text);
        wishes.timers.push((T1, Alarm::RepeatFinal(number, T1)));
    }

    /// RFC 3261 §13.3.1.4 and §17.2.1: a final response is repeated until its ACK; a 2xx on every transport.
    fn repeat(&mut self, number: usize, waited: u64, wishes: &mut Wishes) {
        let reliable = self.reliable;
        let ringing = &mut self.ringing[number];
        if ringing.acknowledged || waited >= 64 * T1 {
            ringing.gave_up = !ringing.acknowledged;
            return;
        }
        if ringing.status == 200 || !reliable {
            wishes.send.extend(ringing.last.clone());
        }
        let step = waited.min(T2);
        wishes.timers.push((step, Alarm::RepeatFinal(number, waited + step)));
    }

    fn response(&self, request: &Text, status: u16, more: &str) -> String {
        let mut text = format!("SIP/2.0 {status} Sim\r\n");
        for (name, value) in &request.headers {
            match name.to_ascii_lowercase().as_str() {
                "via" | "from" | "call-id" | "cseq" | "record-route" => text.push_str(&format!("{name}: {value}\r\n")),
                "to" if value.contains(";tag=") => text.push_str(&format!("To: {value}\r\n")),
                "to" => text.push_str(&format!("To: {value};tag={}\r\n", to_tag(request))),
                _ => {}
            }
        }
        text.push_str(&format!("Contact: <sip:callee@{}>\r\n{more}Content-Length: 0\r\n\r\n", self.address));
        text
    }
}

/// One dialog per branch: the tag is the branch.
fn to_tag(request: &Text) -> String {
    format!("t{}", branch(request))
}
