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
use super::{ServerAction, Timing};
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
