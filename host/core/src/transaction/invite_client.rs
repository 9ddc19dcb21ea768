//! The INVITE client transaction: RFC 3261 §17.1.1, Figure 5 as replaced by RFC 6026 §8.4.
//!
//! | state      | event              | next       | outputs                                  |
//! | ---------- | ------------------ | ---------- | ---------------------------------------- |
//! | -          | start              | Calling    | Send INVITE; Timer A (unreliable), B     |
//! | Calling    | Timer A            | Calling    | Send INVITE; Timer A doubled             |
//! | Calling    | Timer B            | Terminated | TimedOut, Terminated                     |
//! | Calling    | 1xx                | Proceeding | Response                                 |
//! | Calling    | 2xx                | Accepted   | Response; Timer M                        |
//! | Calling    | 300-699            | Completed  | Send ACK, Response; Timer D              |
//! | Calling    | transport error    | Terminated | TransportFailed, Terminated              |
//! | Proceeding | 1xx                | Proceeding | Response                                 |
//! | Proceeding | 2xx                | Accepted   | Response; Timer M                        |
//! | Proceeding | 300-699            | Completed  | Send ACK, Response; Timer D              |
//! | Proceeding | transport error    | Terminated | TransportFailed, Terminated              |
//! | Completed  | 300-699            | Completed  | Send ACK                                 |
//! | Completed  | 1xx, 2xx           | Completed  | -                                        |
//! | Completed  | Timer D            | Terminated | Terminated                               |
//! | Completed  | transport error    | Terminated | TransportFailed, Terminated              |
//! | Accepted   | 2xx                | Accepted   | Response                                 |
//! | Accepted   | 1xx, 300-699       | Accepted   | -                                        |
//! | Accepted   | transport error    | Accepted   | -                                        |
//! | Accepted   | Timer M            | Terminated | Terminated                               |
//! | Terminated | any                | Terminated | -                                        |
//!
//! Where the waiting time of Completed is zero (Timer D on reliable transports), Terminated follows at once.
//! A transport error in Proceeding is not in the figure; §17.1.4 demands it for every state in which we may still be sending: the
//! connection that would have brought the response is gone.

use super::timing::{Retransmission, earlier, is_due};
use super::{ClientAction, ClientRest, Timing};
use crate::door::Packet;
use crate::time::Instant;

/// One INVITE that we sent, until its last response has been seen.
#[derive(Debug)]
pub struct InviteClientTransaction {
    timing: Timing,
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Calling {
        request: Packet,
        timer_a: Option<Retransmission>,
        timer_b: Instant,
    },
    Proceeding {
        request: Packet,
    },
    Completed {
        ack: Packet,
        timer_d: Instant,
    },
    Accepted {
        timer_m: Instant,
    },
    Terminated,
}

impl InviteClientTransaction {
    /// Sends the INVITE and waits.
    pub fn start(
        now: Instant,
        timing: Timing,
        reliable: bool,
        request: Packet,
        out: &mut Vec<ClientAction>,
    ) -> Self {
        out.push(ClientAction::Send(request.clone()));
        let timer_a = Retransmission::unless_reliable(reliable, now, timing.timer_a());
        let state = State::Calling {
            request,
            timer_a,
            timer_b: now + timing.timer_b(),
        };
        InviteClientTransaction {
            timing,
            reliable,
            state,
        }
    }

    /// A response with the key of this transaction came. `make_ack` is called with the INVITE as sent when the response is the
    /// first 300-699: `|request| Arc::new(build_ack(request, &response))`.
    pub fn on_response(
        &mut self,
        now: Instant,
        status: u16,
        make_ack: impl FnOnce(&[u8]) -> Packet,
        out: &mut Vec<ClientAction>,
    ) {
        match (&mut self.state, status) {
            (State::Calling { request, .. }, 100..=199) => {
                self.state = State::Proceeding {
                    request: request.clone(),
                };
                out.push(ClientAction::Response);
            }
            (State::Proceeding { .. }, 100..=199) => out.push(ClientAction::Response),
            (State::Calling { .. } | State::Proceeding { .. }, 200..=299) => {
                self.state = State::Accepted {
                    timer_m: now + self.timing.timer_m(),
                };
                out.push(ClientAction::Response);
            }
            (State::Calling { request, .. } | State::Proceeding { request }, 300..=699) => {
                let ack = make_ack(request);
                self.complete(now, ack, out);
            }
            (State::Completed { ack, .. }, 300..=699) => out.push(ClientAction::Send(ack.clone())),
            (State::Accepted { .. }, 200..=299) => out.push(ClientAction::Response),
            (State::Completed { .. } | State::Accepted { .. } | State::Terminated, _) => {}
            // No such status exists.
            (State::Calling { .. } | State::Proceeding { .. }, _) => {}
        }
    }

    fn complete(&mut self, now: Instant, ack: Packet, out: &mut Vec<ClientAction>) {
        out.push(ClientAction::Send(ack.clone()));
        out.push(ClientAction::Response);
        let timer_d = now + self.timing.timer_d(self.reliable);
        self.state = State::Completed { ack, timer_d };
        self.on_timeout(now, out);
    }

    /// A send of this transaction failed for good.
    pub fn on_transport_error(&mut self, out: &mut Vec<ClientAction>) {
        match self.state {
            // RFC 3261 §17.1.4.
            State::Calling { .. } | State::Proceeding { .. } | State::Completed { .. } => {
                self.state = State::Terminated;
                out.extend([ClientAction::TransportFailed, ClientAction::Terminated]);
            }
            // Nothing is sent in Accepted: the failure is an old one's.
            State::Accepted { .. } | State::Terminated => {}
        }
    }

    /// Time has passed; does nothing before [`deadline`](Self::deadline).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<ClientAction>) {
        match &mut self.state {
            State::Calling { timer_b, .. } if *timer_b <= now => {
                self.state = State::Terminated;
                out.extend([ClientAction::TimedOut, ClientAction::Terminated]);
            }
            State::Calling {
                request, timer_a, ..
            } if is_due(*timer_a, now) => {
                // RFC 3261 §17.1.1.2: Timer A doubles without a bound.
                *timer_a = timer_a.map(|timer| Retransmission::start(now, timer.interval * 2));
                out.push(ClientAction::Send(request.clone()));
            }
            State::Completed { timer_d: end, .. } | State::Accepted { timer_m: end }
                if *end <= now =>
            {
                self.state = State::Terminated;
                out.push(ClientAction::Terminated);
            }
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// When to call [`on_timeout`](Self::on_timeout); `None`: no timer runs (Proceeding is bounded by the user's Timer C).
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Calling {
                timer_a, timer_b, ..
            } => Some(earlier(timer_a, timer_b)),
            State::Completed { timer_d, .. } => Some(timer_d),
            State::Accepted { timer_m } => Some(timer_m),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether a provisional but no final response has come: RFC 3261 §9.1 lets a CANCEL be sent only then.
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Whether no final response has come yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding { .. })
    }

    /// What is left when all there is to do is to absorb; `None`: there is more to do. `copy` finds memory for what is kept.
    pub fn rest(&self, copy: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<ClientRest> {
        match &self.state {
            State::Accepted { timer_m } => Some(ClientRest::Accepted(*timer_m)),
            State::Completed { ack, timer_d } => {
                Some(ClientRest::Acknowledged(copy(ack), *timer_d))
            }
            State::Calling { .. } | State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether the transaction is to be destroyed.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// The INVITE as sent, while no final response has come: what a CANCEL is built from.
    pub fn request(&self) -> Option<&Packet> {
        match &self.state {
            State::Calling { request, .. } | State::Proceeding { request } => Some(request),
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => None,
        }
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
    use std::time::Duration;

    use super::*;
    use crate::transaction::ClientAction::*;
    use crate::transaction::table::{at, packet};

    const UNRELIABLE: bool = false;
    const RELIABLE: bool = true;

    fn start(reliable: bool) -> InviteClientTransaction {
        let mut out = Vec::new();
        let machine = InviteClientTransaction::start(
            at(0),
            Timing::default(),
            reliable,
            packet("INVITE"),
            &mut out,
        );
        assert_eq!(out, [Send(packet("INVITE"))]);
        machine
    }

    fn respond(
        machine: &mut InviteClientTransaction,
        millis: u64,
        status: u16,
    ) -> Vec<ClientAction> {
        let mut out = Vec::new();
        let make_ack = |request: &[u8]| {
            assert_eq!(request, b"INVITE");
            packet("ACK")
        };
        machine.on_response(at(millis), status, make_ack, &mut out);
        out
    }

    fn timeout(machine: &mut InviteClientTransaction, millis: u64) -> Vec<ClientAction> {
        let mut out = Vec::new();
        machine.on_timeout(at(millis), &mut out);
        out
    }

    fn transport_error(machine: &mut InviteClientTransaction) -> Vec<ClientAction> {
        let mut out = Vec::new();
        machine.on_transport_error(&mut out);
        out
    }

    /// A machine that has got a response of this status at time 0.
    fn after(status: u16) -> InviteClientTransaction {
        let mut machine = start(UNRELIABLE);
        respond(&mut machine, 0, status);
        machine
    }

    #[test]
    fn calling_sends_again_at_doubling_intervals_until_timer_b() {
        let mut machine = start(UNRELIABLE);
        for millis in [500, 1_500, 3_500, 7_500, 15_500, 31_500] {
            assert_eq!(machine.deadline(), Some(at(millis)));
            assert_eq!(timeout(&mut machine, millis - 1), []);
            assert_eq!(timeout(&mut machine, millis), [Send(packet("INVITE"))]);
        }
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(timeout(&mut machine, 32_000), [TimedOut, Terminated]);
        assert!(machine.is_terminated());
    }

    #[test]
    fn calling_on_a_reliable_transport_sends_once_and_waits_for_timer_b() {
        let mut machine = start(RELIABLE);
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(timeout(&mut machine, 31_999), []);
        assert_eq!(timeout(&mut machine, 32_000), [TimedOut, Terminated]);
    }

    #[test]
    fn calling_goes_to_proceeding_with_a_1xx_and_stops_all_timers() {
        let mut machine = start(UNRELIABLE);
        assert_eq!(respond(&mut machine, 100, 180), [Response]);
        assert!(machine.is_proceeding());
        assert_eq!(machine.deadline(), None);
        assert_eq!(timeout(&mut machine, 100_000), []);
    }

    #[test]
    fn calling_and_proceeding_go_to_accepted_with_a_2xx_for_timer_m() {
        for mut machine in [start(UNRELIABLE), after(180), start(RELIABLE)] {
            assert_eq!(respond(&mut machine, 1_000, 200), [Response]);
            assert!(!machine.is_pending());
            assert_eq!(machine.deadline(), Some(at(33_000)));
            assert_eq!(timeout(&mut machine, 32_999), []);
            assert_eq!(timeout(&mut machine, 33_000), [Terminated]);
        }
    }

    #[test]
    fn calling_and_proceeding_ack_a_failure_and_go_to_completed_for_timer_d() {
        for (mut machine, status) in [
            (start(UNRELIABLE), 300),
            (after(180), 486),
            (after(100), 699),
        ] {
            assert_eq!(
                respond(&mut machine, 1_000, status),
                [Send(packet("ACK")), Response]
            );
            assert_eq!(machine.deadline(), Some(at(33_000)));
            assert_eq!(timeout(&mut machine, 32_999), []);
            assert_eq!(timeout(&mut machine, 33_000), [Terminated]);
        }
    }

    #[test]
    fn failure_over_a_reliable_transport_is_acked_and_ends_at_once() {
        let mut machine = start(RELIABLE);
        assert_eq!(
            respond(&mut machine, 1_000, 486),
            [Send(packet("ACK")), Response, Terminated]
        );
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn calling_proceeding_and_completed_end_with_a_transport_error() {
        for mut machine in [start(UNRELIABLE), after(180), after(486)] {
            assert_eq!(transport_error(&mut machine), [TransportFailed, Terminated]);
            assert!(machine.is_terminated());
        }
    }

    #[test]
    fn proceeding_passes_on_every_1xx() {
        let mut machine = after(100);
        assert_eq!(respond(&mut machine, 1, 180), [Response]);
        assert_eq!(respond(&mut machine, 2, 199), [Response]);
    }

    #[test]
    fn completed_acks_retransmissions_and_keeps_them_from_the_user() {
        let mut machine = after(486);
        assert_eq!(respond(&mut machine, 500, 486), [Send(packet("ACK"))]);
        assert_eq!(respond(&mut machine, 600, 180), []);
        assert_eq!(respond(&mut machine, 700, 200), []);
        assert_eq!(machine.deadline(), Some(at(32_000)));
    }

    #[test]
    fn accepted_passes_on_every_2xx_and_nothing_else() {
        let mut machine = after(200);
        assert_eq!(respond(&mut machine, 500, 200), [Response]);
        assert_eq!(respond(&mut machine, 600, 202), [Response]);
        assert_eq!(respond(&mut machine, 700, 180), []);
        assert_eq!(respond(&mut machine, 800, 486), []);
        assert_eq!(transport_error(&mut machine), []);
        assert_eq!(machine.deadline(), Some(at(32_000)));
    }

    #[test]
    fn terminated_does_nothing_more() {
        let mut machine = start(RELIABLE);
        respond(&mut machine, 0, 486);
        for status in [180, 200, 486] {
            assert_eq!(respond(&mut machine, 1, status), []);
        }
        assert_eq!(transport_error(&mut machine), []);
        assert_eq!(timeout(&mut machine, 100_000), []);
    }

    #[test]
    fn timer_a_starts_at_t1() {
        let timing = Timing {
            t1: Duration::from_millis(100),
            ..Timing::default()
        };
        let machine = InviteClientTransaction::start(
            at(0),
            timing,
            UNRELIABLE,
            packet("INVITE"),
            &mut Vec::new(),
        );
        assert_eq!(machine.deadline(), Some(at(100)));
    }

    #[test]
    fn request_is_kept_until_the_final_response() {
        assert_eq!(after(180).request(), Some(&packet("INVITE")));
        assert_eq!(after(200).request(), None);
    }
}
