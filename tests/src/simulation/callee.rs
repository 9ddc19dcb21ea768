//! A callee: answers requests as it pleases, hangs up or asks again when it likes.

use std::net::SocketAddr;

use rand::Rng;
use rand::rngs::StdRng;

use super::user_agent::UserAgent;
use super::{Alarm, SECOND, Wishes, branch};
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

/// A phone.
#[derive(Debug)]
pub(crate) struct Callee {
    pub(crate) agent: UserAgent,
    /// For each INVITE: what it does, and whether its 180 is reliable.
    moods: Vec<(Mood, bool)>,
    /// Other requests outside of dialogs, and their answers.
    others: Vec<(Text, Option<String>)>,
    /// Of a dialog that was made by the INVITE with this number: what it will do.
    plans: Vec<(usize, Alarm)>,
}

impl Callee {
    pub(crate) fn new(number: usize, address: SocketAddr, reliable: bool) -> Callee {
        let agent = UserAgent::new(format!("phone{number}"), address, reliable);
        Callee {
            agent,
            moods: Vec::new(),
            others: Vec::new(),
            plans: Vec::new(),
        }
    }

    pub(crate) fn on_request(&mut self, request: &Text, random: &mut StdRng, wishes: &mut Wishes) {
        match request.method() {
            "INVITE" => self.on_invite(request, random, wishes),
            "MESSAGE" | "OPTIONS" => self.on_other(request, random, wishes),
            "ACK" => {
                if let Some(at) = self.agent.on_request(request, wishes) {
                    self.on_established(at, random, wishes);
                }
            }
            _ => {
                self.agent.on_request(request, wishes);
            }
        }
    }

    fn on_invite(&mut self, invite: &Text, random: &mut StdRng, wishes: &mut Wishes) {
        let Some(at) = self.agent.on_invite(invite, wishes) else {
            return;
        };
        let mood = match random.random_range(0..100) {
            0..50 => Mood::Answers,
            50..65 => Mood::IsBusy,
            65..72 => Mood::Declines,
            72..80 => Mood::IsUnavailable,
            80..85 => Mood::Redirects,
            85..95 => Mood::NeverAnswers,
            _ => Mood::SaysNothing,
        };
        self.moods.push((mood, random.random_bool(0.25)));
        if invite.parameter("To", "tag").is_some() {
            return self.agent.finish(at, 200, wishes);
        }
        if mood == Mood::SaysNothing {
            return;
        }
        if random.random_bool(0.8) || mood == Mood::NeverAnswers {
            wishes
                .timers
                .push((random.random_range(0..600_000), Alarm::Ring(at)));
        }
        if mood != Mood::NeverAnswers {
            wishes
                .timers
                .push((random.random_range(0..8 * SECOND), Alarm::Answer(at)));
        }
    }

    /// OPTIONS and MESSAGE: at once, late, or never (RFC 4320).
    fn on_other(&mut self, request: &Text, random: &mut StdRng, wishes: &mut Wishes) {
        if let Some((_, answer)) = self
            .others
            .iter()
            .find(|(known, _)| branch(known) == branch(request))
        {
            wishes.send.extend(answer.clone());
            return;
        }
        self.others.push((request.clone(), None));
        let at = self.others.len() - 1;
        match random.random_range(0..10) {
            0..6 => self.answer_other(at, 200, wishes),
            6 => self.answer_other(at, 404, wishes),
            7..9 => wishes
                .timers
                .push((random.random_range(0..40 * SECOND), Alarm::AnswerLate(at))),
            _ => {}
        }
    }

    fn answer_other(&mut self, at: usize, status: u16, wishes: &mut Wishes) {
        let text = self.agent.response(&self.others[at].0, status, "");
        self.others[at].1 = Some(text.clone());
        wishes.send.push(text);
    }

    /// The ACK to a 2xx came: sometimes it is the callee who goes on.
    fn on_established(&mut self, at: usize, random: &mut StdRng, wishes: &mut Wishes) {
        let is_first = self.agent.answers[at]
            .invite
            .parameter("To", "tag")
            .is_none();
        if !is_first {
            return;
        }
        if random.random_bool(0.3) {
            self.plan(at, Alarm::HangUp, random, wishes);
        }
        if random.random_bool(0.3) {
            self.plan(at, Alarm::Reinvite, random, wishes);
        }
    }

    fn plan(&mut self, at: usize, alarm: Alarm, random: &mut StdRng, wishes: &mut Wishes) {
        self.plans.push((at, alarm.clone()));
        wishes
            .timers
            .push((random.random_range(0..4 * SECOND), alarm));
    }

    pub(crate) fn on_alarm(&mut self, alarm: &Alarm, wishes: &mut Wishes) {
        match alarm {
            Alarm::Ring(at) => self.agent.ring(*at, self.moods[*at].1, wishes),
            Alarm::Answer(at) => self.answer(*at, wishes),
            Alarm::AnswerLate(at) => self.answer_other(*at, 200, wishes),
            Alarm::HangUp | Alarm::Reinvite => self.go_on(alarm, wishes),
            _ => self.agent.on_alarm(alarm, wishes),
        }
    }

    fn answer(&mut self, at: usize, wishes: &mut Wishes) {
        if self.agent.answers[at].status != 0 {
            return;
        }
        if self.agent.awaits_prack(at) {
            return wishes.timers.push((SECOND, Alarm::Answer(at)));
        }
        let status = match self.moods[at].0 {
            Mood::Answers => 200,
            Mood::IsBusy => 486,
            Mood::Declines => 603,
            Mood::IsUnavailable => 503,
            _ => 302,
        };
        self.agent.finish(at, status, wishes);
    }

    fn go_on(&mut self, alarm: &Alarm, wishes: &mut Wishes) {
        let Some(planned) = self.plans.iter().position(|(_, planned)| planned == alarm) else {
            return;
        };
        let key = self.agent.dialog_of(self.plans.remove(planned).0);
        if self
            .agent
            .dialogs
            .get(&key)
            .is_none_or(|dialog| dialog.left)
        {
            return;
        }
        match alarm {
            Alarm::HangUp => self.agent.leave(&key, wishes),
            _ => self.agent.send_in_dialog(&key, "INVITE", "", wishes),
        }
    }

    pub(crate) fn on_response(&mut self, response: &Text, wishes: &mut Wishes) {
        self.agent.on_response(response, wishes);
        if response.status() >= 300 {
            self.agent.complain(response, "refused in a dialog");
        }
    }
}
