//! The non-INVITE client transaction: RFC 3261 §17.1.2, Figure 6.
//!
//! | state      | event              | next       | outputs                                  |
//! | ---------- | ------------------ | ---------- | ---------------------------------------- |
//! | -          | start              | Trying     | Send request; Timer E (unreliable), F    |
//! | Trying     | Timer E            | Trying     | Send request; Timer E = MIN(2·E, T2)     |
//! | Trying     | Timer F            | Terminated | TimedOut, Terminated                     |
//! | Trying     | 1xx                | Proceeding | Response                                 |
//! | Trying     | 200-699            | Completed  | Response; Timer K                        |
//! | Trying     | transport error    | Terminated | TransportFailed, Terminated              |
//! | Proceeding | Timer E            | Proceeding | Send request; Timer E = T2               |
//! | Proceeding | Timer F            | Terminated | TimedOut, Terminated                     |
//! | Proceeding | 1xx                | Proceeding | Response                                 |
//! | Proceeding | 200-699            | Completed  | Response; Timer K                        |
//! | Proceeding | transport error    | Terminated | TransportFailed, Terminated              |
//! | Completed  | any response       | Completed  | -                                        |
//! | Completed  | Timer K            | Terminated | Terminated                               |
//! | Completed  | transport error    | Completed  | -                                        |
//! | Terminated | any                | Terminated | -                                        |
//!
//! Where the waiting time of Completed is zero (Timer K on reliable transports), Terminated follows at once.

use super::timing::{Retransmission, earlier, is_due};
use super::{ClientAction, ClientRest, Timing};
use crate::door::Packet;
use crate::time::Instant;

/// One request other than INVITE and ACK that we sent, until its last response has been seen.
#[derive(Debug)]
pub struct NonInviteClientTransaction {
    timing: Timing,
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Trying {
        request: Packet,
        timer_e: Option<Retransmission>,
        timer_f: Instant,
    },
    Proceeding {
        request: Packet,
        timer_e: Option<Retransmission>,
        timer_f: Instant,
    },
    Completed {
        timer_k: Instant,
    },
    Terminated,
}

impl NonInviteClientTransaction {
    /// Sends the request and waits.
    pub fn start(
        now: Instant,
        timing: Timing,
        reliable: bool,
        request: Packet,
        out: &mut Vec<ClientAction>,
    ) -> Self {
        out.push(ClientAction::Send(request.clone()));
        let timer_e = Retransmission::unless_reliable(reliable, now, timing.timer_e());
        let state = State::Trying {
            request,
            timer_e,
            timer_f: now + timing.timer_f(),
        };
        NonInviteClientTransaction {
            timing,
            reliable,
            state,
        }
    }

    /// A response with the key of this transaction came.
    pub fn on_response(&mut self, now: Instant, status: u16, out: &mut Vec<ClientAction>) {
        match (&mut self.state, status) {
            (
                State::Trying {
                    request,
                    timer_e,
                    timer_f,
                },
                100..=199,
            ) => {
                // Timer E keeps running; from its next firing on it is reset to T2.
                self.state = State::Proceeding {
                    request: request.clone(),
                    timer_e: *timer_e,
                    timer_f: *timer_f,
                };
                out.push(ClientAction::Response);
            }
            (State::Proceeding { .. }, 100..=199) => out.push(ClientAction::Response),
            (State::Trying { .. } | State::Proceeding { .. }, 200..=699) => {
                self.state = State::Completed {
                    timer_k: now + self.timing.timer_k(self.reliable),
                };
                out.push(ClientAction::Response);
                self.on_timeout(now, out);
            }
            (State::Completed { .. } | State::Terminated, _) => {}
            // No such status exists.
            (State::Trying { .. } | State::Proceeding { .. }, _) => {}
        }
    }

    /// A send of this transaction failed for good.
    pub fn on_transport_error(&mut self, out: &mut Vec<ClientAction>) {
        match self.state {
            // RFC 3261 §17.1.4.
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state = State::Terminated;
                out.extend([ClientAction::TransportFailed, ClientAction::Terminated]);
            }
            // Nothing is sent in Completed: the failure is an old one's.
            State::Completed { .. } | State::Terminated => {}
        }
    }

    /// Time has passed; does nothing before [`deadline`](Self::deadline).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<ClientAction>) {
        match &mut self.state {
            State::Trying { timer_f, .. } | State::Proceeding { timer_f, .. }
                if *timer_f <= now =>
            {
                self.state = State::Terminated;
                out.extend([ClientAction::TimedOut, ClientAction::Terminated]);
            }
            State::Trying {
                request, timer_e, ..
            } if is_due(*timer_e, now) => {
                *timer_e = timer_e
                    .map(|timer| Retransmission::start(now, self.timing.doubled(timer.interval)));
                out.push(ClientAction::Send(request.clone()));
            }
            State::Proceeding {
                request, timer_e, ..
            } if is_due(*timer_e, now) => {
                *timer_e = Some(Retransmission::start(now, self.timing.t2));
                out.push(ClientAction::Send(request.clone()));
            }
            State::Completed { timer_k } if *timer_k <= now => {
                self.state = State::Terminated;
                out.push(ClientAction::Terminated);
            }
            State::Trying { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Terminated => {}
        }
    }

    /// When to call [`on_timeout`](Self::on_timeout); `None` only when terminated.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Trying {
                timer_e, timer_f, ..
            }
            | State::Proceeding {
                timer_e, timer_f, ..
            } => Some(earlier(timer_e, timer_f)),
            State::Completed { timer_k } => Some(timer_k),
            State::Terminated => None,
        }
    }

    /// Whether no final response has come yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Trying { .. } | State::Proceeding { .. })
    }

    /// What is left when all there is to do is to absorb; `None`: there is more to do.
    pub fn rest(&self) -> Option<ClientRest> {
        match self.state {
            State::Completed { timer_k } => Some(ClientRest::Completed(timer_k)),
            State::Trying { .. } | State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether the transaction is to be destroyed.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// Ends the transaction without a word, because its user has gone.
    pub fn terminate(&mut self, out: &mut Vec<ClientAction>) {
        if !self.is_terminated() {
            self.state = State::Terminated;
            out.push(ClientAction::Terminated);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::ClientAction::*;
    use crate::transaction::table::{at, packet};

    const UNRELIABLE: bool = false;
    const RELIABLE: bool = true;

    fn start(reliable: bool) -> NonInviteClientTransaction {
        let mut out = Vec::new();
        let machine = NonInviteClientTransaction::start(
            at(0),
            Timing::default(),
            reliable,
            packet("OPTIONS"),
            &mut out,
        );
        assert_eq!(out, [Send(packet("OPTIONS"))]);
        machine
    }

    fn respond(
        machine: &mut NonInviteClientTransaction,
        millis: u64,
        status: u16,
    ) -> Vec<ClientAction> {
        let mut out = Vec::new();
        machine.on_response(at(millis), status, &mut out);
        out
    }

    fn timeout(machine: &mut NonInviteClientTransaction, millis: u64) -> Vec<ClientAction> {
        let mut out = Vec::new();
        machine.on_timeout(at(millis), &mut out);
        out
    }

    fn transport_error(machine: &mut NonInviteClientTransaction) -> Vec<ClientAction> {
        let mut out = Vec::new();
        machine.on_transport_error(&mut out);
        out
    }

    /// A machine that has got a response of this status at time 0.
    fn after(status: u16) -> NonInviteClientTransaction {
        let mut machine = start(UNRELIABLE);
        respond(&mut machine, 0, status);
        machine
    }

    #[test]
    fn trying_sends_again_at_intervals_up_to_t2_until_timer_f() {
        let mut machine = start(UNRELIABLE);
        for millis in [
            500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
        ] {
            assert_eq!(machine.deadline(), Some(at(millis)));
            assert_eq!(timeout(&mut machine, millis - 1), []);
            assert_eq!(timeout(&mut machine, millis), [Send(packet("OPTIONS"))]);
        }
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(timeout(&mut machine, 32_000), [TimedOut, Terminated]);
    }

    #[test]
    fn reliable_transport_sends_once_and_waits_for_timer_f() {
        let mut machine = start(RELIABLE);
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(respond(&mut machine, 10, 100), [Response]);
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(timeout(&mut machine, 32_000), [TimedOut, Terminated]);
    }

    #[test]
    fn proceeding_sends_again_each_t2_until_timer_f() {
        let mut machine = start(UNRELIABLE);
        assert_eq!(respond(&mut machine, 100, 100), [Response]);
        assert_eq!(respond(&mut machine, 200, 183), [Response]);
        for millis in [500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500] {
            assert_eq!(machine.deadline(), Some(at(millis)));
            assert_eq!(timeout(&mut machine, millis), [Send(packet("OPTIONS"))]);
        }
        assert_eq!(timeout(&mut machine, 32_000), [TimedOut, Terminated]);
    }

    #[test]
    fn trying_and_proceeding_pass_on_the_final_response_and_wait_for_timer_k() {
        for status in [200, 302, 404, 503, 603] {
            for mut machine in [start(UNRELIABLE), after(100)] {
                assert_eq!(respond(&mut machine, 1_000, status), [Response]);
                assert!(!machine.is_pending());
                assert_eq!(machine.deadline(), Some(at(6_000)));
                assert_eq!(timeout(&mut machine, 5_999), []);
                assert_eq!(timeout(&mut machine, 6_000), [Terminated]);
            }
        }
    }

    #[test]
    fn final_response_over_a_reliable_transport_ends_at_once() {
        let mut machine = start(RELIABLE);
        assert_eq!(respond(&mut machine, 1_000, 200), [Response, Terminated]);
    }

    #[test]
    fn trying_and_proceeding_end_with_a_transport_error() {
        for mut machine in [start(UNRELIABLE), after(100)] {
            assert_eq!(transport_error(&mut machine), [TransportFailed, Terminated]);
            assert!(machine.is_terminated());
        }
    }

    #[test]
    fn completed_absorbs_everything() {
        let mut machine = after(200);
        for status in [100, 200, 486] {
            assert_eq!(respond(&mut machine, 1, status), []);
        }
        assert_eq!(transport_error(&mut machine), []);
        assert_eq!(machine.deadline(), Some(at(5_000)));
    }

    #[test]
    fn terminated_does_nothing_more() {
        let mut machine = start(RELIABLE);
        respond(&mut machine, 0, 200);
        assert_eq!(respond(&mut machine, 1, 200), []);
        assert_eq!(transport_error(&mut machine), []);
        assert_eq!(timeout(&mut machine, 100_000), []);
        assert_eq!(machine.deadline(), None);
    }
}
