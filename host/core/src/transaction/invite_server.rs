//! The INVITE server transaction: RFC 3261 §17.2.1, Figure 7 as replaced by RFC 6026 §8.6.
//!
//! | state      | event               | next       | outputs                                      |
//! | ---------- | ------------------- | ---------- | -------------------------------------------- |
//! | -          | new                 | Proceeding | - ; 200 ms to the 100                        |
//! | Proceeding | 200 ms              | Proceeding | MakeTrying                                   |
//! | Proceeding | 1xx from user       | Proceeding | Send response; no 100 any more               |
//! | Proceeding | INVITE              | Proceeding | Send the last 1xx, MakeTrying before any     |
//! | Proceeding | 2xx from user       | Accepted   | Send response; Timer L                       |
//! | Proceeding | 300-699 from user   | Completed  | Send response; Timer G (unreliable), H       |
//! | Proceeding | abandoned by user   | Confirmed  | - ; 64·T1 (reliable: Terminated)             |
//! | Proceeding | transport error     | Proceeding | TransportFailed                              |
//! | Proceeding | ACK                 | Proceeding | -                                            |
//! | Completed  | Timer G             | Completed  | Send response; Timer G = MIN(2·G, T2)        |
//! | Completed  | INVITE              | Completed  | Send response                                |
//! | Completed  | any from user       | Completed  | -                                            |
//! | Completed  | ACK                 | Confirmed  | - ; Timer I                                  |
//! | Completed  | Timer H             | Terminated | NoAck, Terminated                            |
//! | Completed  | transport error     | Completed  | TransportFailed                              |
//! | Confirmed  | ACK, INVITE         | Confirmed  | -                                            |
//! | Confirmed  | any from user       | Confirmed  | -                                            |
//! | Confirmed  | transport error     | Confirmed  | -                                            |
//! | Confirmed  | Timer I             | Terminated | Terminated                                   |
//! | Accepted   | 2xx from user       | Accepted   | Send response                                |
//! | Accepted   | others from user    | Accepted   | -                                            |
//! | Accepted   | INVITE              | Accepted   | -                                            |
//! | Accepted   | ACK                 | Accepted   | AckToUser                                    |
//! | Accepted   | transport error     | Accepted   | TransportFailed                              |
//! | Accepted   | Timer L             | Terminated | Terminated                                   |
//! | Terminated | any                 | Terminated | -                                            |
//!
//! Where the waiting time of Confirmed is zero (Timer I on reliable transports), Terminated follows at once. RFC 6026 §8.6 draws
//! Timer H without an output where §17.2.1 says that the user MUST be told: the text decides.

use super::timing::{Retransmission, TRYING_DELAY, earlier, is_due};
use super::{ServerAction, ServerRest, Timing};
use crate::door::Packet;
use crate::time::Instant;

/// One INVITE that we received, until its retransmissions are over.
#[derive(Debug)]
pub struct InviteServerTransaction {
    timing: Timing,
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Proceeding {
        answer: Answer,
    },
    Completed {
        response: Packet,
        timer_g: Option<Retransmission>,
        timer_h: Instant,
    },
    Confirmed {
        timer_i: Instant,
    },
    Accepted {
        timer_l: Instant,
    },
    Terminated,
}

/// What a client that repeats its INVITE hears in Proceeding.
#[derive(Debug)]
enum Answer {
    /// Nothing was sent yet: a 100 is due at `trying`.
    None { trying: Instant },
    /// The user was asked for the 100 and has not given it yet.
    Asked,
    /// The most recent provisional response.
    Provisional(Packet),
}

impl InviteServerTransaction {
    /// An INVITE that matches no transaction came.
    pub fn new(now: Instant, timing: Timing, reliable: bool) -> Self {
        let answer = Answer::None {
            trying: now + TRYING_DELAY,
        };
        InviteServerTransaction {
            timing,
            reliable,
            state: State::Proceeding { answer },
        }
    }

    /// The same INVITE came again.
    pub fn on_request_retransmission(&mut self, out: &mut Vec<ServerAction>) {
        match &mut self.state {
            State::Proceeding {
                answer: Answer::Provisional(response),
            } => out.push(ServerAction::Send(response.clone())),
            // The client is impatient already: the 100 quenches it.
            State::Proceeding {
                answer: answer @ Answer::None { .. },
            } => {
                *answer = Answer::Asked;
                out.push(ServerAction::MakeTrying);
            }
            State::Completed { response, .. } => out.push(ServerAction::Send(response.clone())),
            State::Proceeding {
                answer: Answer::Asked,
            }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// The user sends a provisional response, the 100 that [`ServerAction::MakeTrying`] asked for included.
    pub fn send_provisional(&mut self, response: Packet, out: &mut Vec<ServerAction>) {
        match &mut self.state {
            State::Proceeding { answer } => {
                *answer = Answer::Provisional(response.clone());
                out.push(ServerAction::Send(response));
            }
            State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// The user sends a final response; each further 2xx of a forked call and each retransmitted 2xx likewise.
    pub fn send_final(
        &mut self,
        now: Instant,
        status: u16,
        response: Packet,
        out: &mut Vec<ServerAction>,
    ) {
        match (&self.state, status) {
            (State::Proceeding { .. }, 200..=299) => {
                out.push(ServerAction::Send(response));
                // RFC 6026 §8.7: for all transports.
                self.state = State::Accepted {
                    timer_l: now + self.timing.timer_l(),
                };
            }
            (State::Proceeding { .. }, _) => {
                out.push(ServerAction::Send(response.clone()));
                let timer_g =
                    Retransmission::unless_reliable(self.reliable, now, self.timing.timer_g());
                self.state = State::Completed {
                    response,
                    timer_g,
                    timer_h: now + self.timing.timer_h(),
                };
            }
            (State::Accepted { .. }, 200..=299) => out.push(ServerAction::Send(response)),
            (
                State::Accepted { .. }
                | State::Completed { .. }
                | State::Confirmed { .. }
                | State::Terminated,
                _,
            ) => {}
        }
    }

    /// The user never answers this request: its retransmissions are absorbed while the client may send them (Timer B).
    pub fn abandon(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        match self.state {
            State::Proceeding { .. } => {
                let wait = if self.reliable {
                    std::time::Duration::ZERO
                } else {
                    self.timing.timer_b()
                };
                self.state = State::Confirmed {
                    timer_i: now + wait,
                };
                self.on_timeout(now, out);
            }
            State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// An ACK with the key of this transaction came.
    pub fn on_ack(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        match self.state {
            State::Completed { .. } => {
                self.state = State::Confirmed {
                    timer_i: now + self.timing.timer_i(self.reliable),
                };
                self.on_timeout(now, out);
            }
            State::Accepted { .. } => out.push(ServerAction::AckToUser),
            State::Proceeding { .. } | State::Confirmed { .. } | State::Terminated => {}
        }
    }

    /// A response could not be sent. RFC 6026 §8.8: the state stays, so that retransmissions stay absorbed.
    pub fn on_transport_error(&mut self, out: &mut Vec<ServerAction>) {
        match self.state {
            State::Proceeding { .. } | State::Completed { .. } | State::Accepted { .. } => {
                out.push(ServerAction::TransportFailed);
            }
            State::Confirmed { .. } | State::Terminated => {}
        }
    }

    /// Time has passed; does nothing before [`deadline`](Self::deadline).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        match &mut self.state {
            State::Proceeding {
                answer: answer @ Answer::None { .. },
            } if answer.is_due(now) => {
                *answer = Answer::Asked;
                out.push(ServerAction::MakeTrying);
            }
            State::Completed { timer_h, .. } if *timer_h <= now => {
                self.state = State::Terminated;
                out.extend([ServerAction::NoAck, ServerAction::Terminated]);
            }
            State::Completed {
                response, timer_g, ..
            } if is_due(*timer_g, now) => {
                *timer_g = timer_g
                    .map(|timer| Retransmission::start(now, self.timing.doubled(timer.interval)));
                out.push(ServerAction::Send(response.clone()));
            }
            State::Confirmed { timer_i: end } | State::Accepted { timer_l: end } if *end <= now => {
                self.state = State::Terminated;
                out.push(ServerAction::Terminated);
            }
            State::Proceeding { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// When to call [`on_timeout`](Self::on_timeout); `None`: no timer runs.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Proceeding {
                answer: Answer::None { trying },
            } => Some(trying),
            State::Completed {
                timer_g, timer_h, ..
            } => Some(earlier(timer_g, timer_h)),
            State::Confirmed { timer_i } => Some(timer_i),
            State::Accepted { timer_l } => Some(timer_l),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether no final response was sent yet: RFC 3261 §9.2, a CANCEL has an effect only then.
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Whether a 2xx was sent, so that an ACK belongs to the user.
    pub fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted { .. })
    }

    /// What is left when all there is to do is to absorb; `None`: there is more to do.
    pub fn rest(&self) -> Option<ServerRest> {
        match self.state {
            State::Accepted { timer_l } => Some(ServerRest::Accepted(timer_l)),
            State::Confirmed { timer_i } => Some(ServerRest::Confirmed(timer_i)),
            State::Proceeding { .. } | State::Completed { .. } | State::Terminated => None,
        }
    }

    /// Whether the transaction is to be destroyed.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

impl Answer {
    fn is_due(&self, now: Instant) -> bool {
        matches!(self, Answer::None { trying } if *trying <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::ServerAction::*;
    use crate::transaction::table::{at, packet};

    const UNRELIABLE: bool = false;
    const RELIABLE: bool = true;

    fn new(reliable: bool) -> InviteServerTransaction {
        InviteServerTransaction::new(at(0), Timing::default(), reliable)
    }

    fn outputs(act: impl FnOnce(&mut Vec<ServerAction>)) -> Vec<ServerAction> {
        let mut out = Vec::new();
        act(&mut out);
        out
    }

    fn provisional(machine: &mut InviteServerTransaction, text: &str) -> Vec<ServerAction> {
        outputs(|out| machine.send_provisional(packet(text), out))
    }

    fn finally(
        machine: &mut InviteServerTransaction,
        millis: u64,
        status: u16,
    ) -> Vec<ServerAction> {
        outputs(|out| machine.send_final(at(millis), status, packet("final"), out))
    }

    fn request(machine: &mut InviteServerTransaction) -> Vec<ServerAction> {
        outputs(|out| machine.on_request_retransmission(out))
    }

    fn ack(machine: &mut InviteServerTransaction, millis: u64) -> Vec<ServerAction> {
        outputs(|out| machine.on_ack(at(millis), out))
    }

    fn transport_error(machine: &mut InviteServerTransaction) -> Vec<ServerAction> {
        outputs(|out| machine.on_transport_error(out))
    }

    fn timeout(machine: &mut InviteServerTransaction, millis: u64) -> Vec<ServerAction> {
        outputs(|out| machine.on_timeout(at(millis), out))
    }

    /// A machine that has sent a final response of this status at time 0.
    fn after(status: u16) -> InviteServerTransaction {
        let mut machine = new(UNRELIABLE);
        assert_eq!(finally(&mut machine, 0, status), [Send(packet("final"))]);
        machine
    }

    fn confirmed() -> InviteServerTransaction {
        let mut machine = after(486);
        assert_eq!(ack(&mut machine, 0), []);
        machine
    }

    #[test]
    fn proceeding_asks_for_a_100_after_200_milliseconds_once() {
        for reliable in [UNRELIABLE, RELIABLE] {
            let mut machine = new(reliable);
            assert_eq!(machine.deadline(), Some(at(200)));
            assert_eq!(timeout(&mut machine, 199), []);
            assert_eq!(timeout(&mut machine, 200), [MakeTrying]);
            assert_eq!(timeout(&mut machine, 300), []);
            assert_eq!(request(&mut machine), []);
            assert_eq!(provisional(&mut machine, "100"), [Send(packet("100"))]);
        }
    }

    #[test]
    fn proceeding_needs_no_100_after_another_provisional() {
        let mut machine = new(UNRELIABLE);
        assert_eq!(provisional(&mut machine, "180"), [Send(packet("180"))]);
        assert_eq!(machine.deadline(), None);
        assert_eq!(timeout(&mut machine, 200), []);
    }

    #[test]
    fn proceeding_repeats_the_last_provisional_for_a_retransmission() {
        let mut machine = new(UNRELIABLE);
        provisional(&mut machine, "180");
        provisional(&mut machine, "183");
        assert_eq!(request(&mut machine), [Send(packet("183"))]);
    }

    #[test]
    fn proceeding_answers_an_early_retransmission_with_a_100() {
        let mut machine = new(UNRELIABLE);
        assert_eq!(request(&mut machine), [MakeTrying]);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn proceeding_goes_to_accepted_with_a_2xx_for_timer_l() {
        for reliable in [UNRELIABLE, RELIABLE] {
            let mut machine = new(reliable);
            assert_eq!(finally(&mut machine, 1_000, 200), [Send(packet("final"))]);
            assert!(machine.is_accepted());
            assert_eq!(machine.deadline(), Some(at(33_000)));
            assert_eq!(timeout(&mut machine, 32_999), []);
            assert_eq!(timeout(&mut machine, 33_000), [Terminated]);
        }
    }

    #[test]
    fn proceeding_survives_transport_errors_and_ignores_acks() {
        let mut machine = new(UNRELIABLE);
        assert_eq!(transport_error(&mut machine), [TransportFailed]);
        assert_eq!(ack(&mut machine, 1), []);
        assert!(machine.is_proceeding());
    }

    #[test]
    fn completed_sends_again_at_intervals_up_to_t2_until_timer_h() {
        let mut machine = after(486);
        for millis in [
            500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
        ] {
            assert_eq!(machine.deadline(), Some(at(millis)));
            assert_eq!(timeout(&mut machine, millis - 1), []);
            assert_eq!(timeout(&mut machine, millis), [Send(packet("final"))]);
        }
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(timeout(&mut machine, 32_000), [NoAck, Terminated]);
    }

    #[test]
    fn completed_on_a_reliable_transport_waits_for_the_ack_until_timer_h() {
        let mut machine = new(RELIABLE);
        assert_eq!(finally(&mut machine, 0, 300), [Send(packet("final"))]);
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(timeout(&mut machine, 32_000), [NoAck, Terminated]);
    }

    #[test]
    fn completed_answers_retransmissions_and_ignores_the_user() {
        let mut machine = after(699);
        assert_eq!(request(&mut machine), [Send(packet("final"))]);
        assert_eq!(provisional(&mut machine, "180"), []);
        assert_eq!(finally(&mut machine, 1, 200), []);
        assert_eq!(finally(&mut machine, 1, 500), []);
        assert_eq!(transport_error(&mut machine), [TransportFailed]);
        assert_eq!(machine.deadline(), Some(at(500)));
    }

    #[test]
    fn completed_goes_to_confirmed_with_an_ack_for_timer_i() {
        let mut machine = after(486);
        assert_eq!(ack(&mut machine, 1_000), []);
        assert_eq!(machine.deadline(), Some(at(6_000)));
        assert_eq!(timeout(&mut machine, 5_999), []);
        assert_eq!(timeout(&mut machine, 6_000), [Terminated]);
    }

    #[test]
    fn ack_over_a_reliable_transport_ends_at_once() {
        let mut machine = new(RELIABLE);
        finally(&mut machine, 0, 486);
        assert_eq!(ack(&mut machine, 1), [Terminated]);
    }

    #[test]
    fn confirmed_absorbs_everything() {
        let mut machine = confirmed();
        assert_eq!(ack(&mut machine, 1), []);
        assert_eq!(request(&mut machine), []);
        assert_eq!(provisional(&mut machine, "180"), []);
        assert_eq!(finally(&mut machine, 1, 200), []);
        assert_eq!(transport_error(&mut machine), []);
        assert_eq!(machine.deadline(), Some(at(5_000)));
    }

    #[test]
    fn accepted_absorbs_the_invite_and_passes_acks_and_2xx() {
        let mut machine = after(200);
        assert_eq!(request(&mut machine), []);
        assert_eq!(ack(&mut machine, 1), [AckToUser]);
        assert_eq!(ack(&mut machine, 2), [AckToUser]);
        assert_eq!(finally(&mut machine, 3, 200), [Send(packet("final"))]);
        assert_eq!(finally(&mut machine, 3, 486), []);
        assert_eq!(provisional(&mut machine, "180"), []);
        assert_eq!(transport_error(&mut machine), [TransportFailed]);
        assert_eq!(machine.deadline(), Some(at(32_000)));
    }

    #[test]
    fn abandoned_invite_absorbs_retransmissions_as_long_as_the_client_may_send_them() {
        let mut machine = new(UNRELIABLE);
        assert_eq!(outputs(|out| machine.abandon(at(0), out)), []);
        assert_eq!(request(&mut machine), []);
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(timeout(&mut machine, 32_000), [Terminated]);
        let mut reliable = new(RELIABLE);
        assert_eq!(outputs(|out| reliable.abandon(at(0), out)), [Terminated]);
    }

    #[test]
    fn answered_invite_is_not_abandoned() {
        for mut machine in [after(200), after(486), confirmed()] {
            let deadline = machine.deadline();
            assert_eq!(outputs(|out| machine.abandon(at(1), out)), []);
            assert_eq!(machine.deadline(), deadline);
        }
    }

    #[test]
    fn terminated_does_nothing_more() {
        let mut machine = new(RELIABLE);
        outputs(|out| machine.abandon(at(0), out));
        assert_eq!(request(&mut machine), []);
        assert_eq!(ack(&mut machine, 1), []);
        assert_eq!(provisional(&mut machine, "180"), []);
        assert_eq!(finally(&mut machine, 1, 200), []);
        assert_eq!(transport_error(&mut machine), []);
        assert_eq!(timeout(&mut machine, 100_000), []);
        assert_eq!(machine.deadline(), None);
    }
}
