//! The non-INVITE server transaction: RFC 3261 §17.2.2, Figure 8, with RFC 4320.
//!
//! | state      | event               | next       | outputs                                      |
//! | ---------- | ------------------- | ---------- | -------------------------------------------- |
//! | -          | new                 | Trying     | - ; the delay of RFC 4320 to the 100         |
//! | Trying     | request             | Trying     | -                                            |
//! | Trying     | delay over          | Trying     | MakeTrying                                   |
//! | Trying     | 100 from user       | Proceeding | Send response (unreliable: not before delay) |
//! | Trying     | 101-199 from user   | Trying     | -                                            |
//! | Trying     | final from user     | Completed  | Send response; Timer J                       |
//! | Trying     | 408 from user       | Completed  | - ; Timer J                                  |
//! | Trying     | abandoned by user   | Completed  | - ; Timer J                                  |
//! | Proceeding | request             | Proceeding | Send the 100                                 |
//! | Proceeding | 100 from user       | Proceeding | Send response                                |
//! | Proceeding | 101-199 from user   | Proceeding | -                                            |
//! | Proceeding | final from user     | Completed  | Send response; Timer J                       |
//! | Proceeding | 408 from user       | Completed  | - ; Timer J                                  |
//! | Proceeding | abandoned by user   | Completed  | - ; Timer J                                  |
//! | Proceeding | transport error     | Terminated | TransportFailed, Terminated                  |
//! | Completed  | request             | Completed  | Send response, when there is one             |
//! | Completed  | any from user       | Completed  | -                                            |
//! | Completed  | transport error     | Terminated | TransportFailed, Terminated                  |
//! | Completed  | Timer J             | Terminated | Terminated                                   |
//! | Terminated | any                 | Terminated | -                                            |
//!
//! Where the waiting time of Completed is zero (Timer J on reliable transports), Terminated follows at once.

use super::{ServerAction, ServerRest, Timing};
use crate::door::Packet;
use crate::time::Instant;

/// One request other than INVITE and ACK that we received, until its retransmissions are over.
#[derive(Debug)]
pub struct NonInviteServerTransaction {
    timing: Timing,
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Trying {
        trying: Trying,
    },
    Proceeding {
        response: Packet,
    },
    /// `response` is `None` when the request is never answered (RFC 4320 §4.2).
    Completed {
        response: Option<Packet>,
        timer_j: Instant,
    },
    Terminated,
}

/// RFC 4320 §4.1: the 100 that tells a slow server from a dead one.
#[derive(Clone, Copy, Debug)]
enum Trying {
    /// The request came then. When the 100 is due is computed when somebody asks: most requests have their answer before.
    Since(Instant),
    Asked,
}

impl NonInviteServerTransaction {
    /// A request that matches no transaction came.
    pub fn new(now: Instant, timing: Timing, reliable: bool) -> Self {
        let trying = Trying::Since(now);
        NonInviteServerTransaction {
            timing,
            reliable,
            state: State::Trying { trying },
        }
    }

    /// The same request came again.
    pub fn on_request_retransmission(&mut self, out: &mut Vec<ServerAction>) {
        match &self.state {
            State::Proceeding { response }
            | State::Completed {
                response: Some(response),
                ..
            } => {
                out.push(ServerAction::Send(response.clone()));
            }
            State::Trying { .. } | State::Completed { response: None, .. } | State::Terminated => {}
        }
    }

    /// The user sends a provisional response. RFC 4320 §4.1: only a 100, and over an unreliable transport not before the client's
    /// Timer E has grown to T2; all others are discarded.
    pub fn send_provisional(
        &mut self,
        now: Instant,
        status: u16,
        response: Packet,
        out: &mut Vec<ServerAction>,
    ) {
        if status != 100 {
            return;
        }
        match &self.state {
            State::Trying { trying } if !self.reliable && trying.is_early(now, &self.timing) => {}
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state = State::Proceeding {
                    response: response.clone(),
                };
                out.push(ServerAction::Send(response));
            }
            State::Completed { .. } | State::Terminated => {}
        }
    }

    /// The user sends the final response. RFC 4320 §4.2: a 408 is not sent.
    pub fn send_final(
        &mut self,
        now: Instant,
        status: u16,
        response: Packet,
        out: &mut Vec<ServerAction>,
    ) {
        if status == 408 {
            return self.abandon(now, out);
        }
        match self.state {
            State::Trying { .. } | State::Proceeding { .. } => {
                out.push(ServerAction::Send(response.clone()));
                self.complete(now, Some(response), out);
            }
            State::Completed { .. } | State::Terminated => {}
        }
    }

    /// The user never answers this request: its retransmissions are absorbed while the client may send them.
    pub fn abandon(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        match self.state {
            State::Trying { .. } | State::Proceeding { .. } => self.complete(now, None, out),
            State::Completed { .. } | State::Terminated => {}
        }
    }

    fn complete(&mut self, now: Instant, response: Option<Packet>, out: &mut Vec<ServerAction>) {
        self.state = State::Completed {
            response,
            timer_j: now + self.timing.timer_j(self.reliable),
        };
        self.on_timeout(now, out);
    }

    /// A response could not be sent. RFC 6026 changes this for INVITE only.
    pub fn on_transport_error(&mut self, out: &mut Vec<ServerAction>) {
        match self.state {
            State::Proceeding { .. } | State::Completed { .. } => {
                self.state = State::Terminated;
                out.extend([ServerAction::TransportFailed, ServerAction::Terminated]);
            }
            // Nothing was sent yet.
            State::Trying { .. } | State::Terminated => {}
        }
    }

    /// Time has passed; does nothing before [`deadline`](Self::deadline).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        match &mut self.state {
            State::Trying {
                trying: trying @ Trying::Since(_),
            } if !trying.is_early(now, &self.timing) => {
                *trying = Trying::Asked;
                out.push(ServerAction::MakeTrying);
            }
            State::Completed { timer_j, .. } if *timer_j <= now => {
                self.state = State::Terminated;
                out.push(ServerAction::Terminated);
            }
            State::Trying { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Terminated => {}
        }
    }

    /// When to call [`on_timeout`](Self::on_timeout); `None`: no timer runs.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Trying { trying } => trying.due(&self.timing),
            State::Completed { timer_j, .. } => Some(timer_j),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether no final response was sent yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Trying { .. } | State::Proceeding { .. })
    }

    /// What is left when all there is to do is to absorb; `None`: there is more to do. `copy` finds memory for what is kept.
    pub fn rest(&self, copy: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<ServerRest> {
        let (response, timer_j) = self.completed()?;
        let response = response.map(|response| copy(response));
        Some(ServerRest::Completed(response, timer_j))
    }

    /// In Completed: what retransmissions get, and until when. The response is `None` when there is none.
    pub fn completed(&self) -> Option<(Option<&Packet>, Instant)> {
        match &self.state {
            State::Completed { response, timer_j } => Some((response.as_ref(), *timer_j)),
            State::Trying { .. } | State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Until when a final response that is sent now has Completed last (RFC 3261 §17.2.2); `None`: it is not sent (RFC 4320 §4.2: no 408), or
    /// nothing has to be absorbed after it.
    pub fn would_complete(&self, now: Instant, status: u16) -> Option<Instant> {
        let end = now + self.timing.timer_j(self.reliable);
        (self.is_pending() && status != 408 && end > now).then_some(end)
    }

    /// Whether the transaction is to be destroyed.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

impl Trying {
    /// When the 100 is due; `None`: it was asked for.
    fn due(self, timing: &Timing) -> Option<Instant> {
        match self {
            Trying::Since(start) => Some(start + timing.non_invite_trying_delay()),
            Trying::Asked => None,
        }
    }

    fn is_early(self, now: Instant, timing: &Timing) -> bool {
        self.due(timing).is_some_and(|due| now < due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::ServerAction::*;
    use crate::transaction::table::{at, packet};

    const UNRELIABLE: bool = false;
    const RELIABLE: bool = true;

    fn new(reliable: bool) -> NonInviteServerTransaction {
        NonInviteServerTransaction::new(at(0), Timing::default(), reliable)
    }

    fn outputs(act: impl FnOnce(&mut Vec<ServerAction>)) -> Vec<ServerAction> {
        let mut out = Vec::new();
        act(&mut out);
        out
    }

    fn provisional(
        machine: &mut NonInviteServerTransaction,
        millis: u64,
        status: u16,
    ) -> Vec<ServerAction> {
        outputs(|out| machine.send_provisional(at(millis), status, packet("1xx"), out))
    }

    fn finally(
        machine: &mut NonInviteServerTransaction,
        millis: u64,
        status: u16,
    ) -> Vec<ServerAction> {
        outputs(|out| machine.send_final(at(millis), status, packet("final"), out))
    }

    fn abandon(machine: &mut NonInviteServerTransaction, millis: u64) -> Vec<ServerAction> {
        outputs(|out| machine.abandon(at(millis), out))
    }

    fn request(machine: &mut NonInviteServerTransaction) -> Vec<ServerAction> {
        outputs(|out| machine.on_request_retransmission(out))
    }

    fn transport_error(machine: &mut NonInviteServerTransaction) -> Vec<ServerAction> {
        outputs(|out| machine.on_transport_error(out))
    }

    fn timeout(machine: &mut NonInviteServerTransaction, millis: u64) -> Vec<ServerAction> {
        outputs(|out| machine.on_timeout(at(millis), out))
    }

    fn proceeding() -> NonInviteServerTransaction {
        let mut machine = new(UNRELIABLE);
        assert_eq!(timeout(&mut machine, 3_500), [MakeTrying]);
        assert_eq!(provisional(&mut machine, 3_500, 100), [Send(packet("1xx"))]);
        machine
    }

    #[test]
    fn trying_absorbs_retransmissions_and_errors() {
        let mut machine = new(UNRELIABLE);
        assert_eq!(request(&mut machine), []);
        assert_eq!(transport_error(&mut machine), []);
        assert!(machine.is_pending());
    }

    #[test]
    fn trying_asks_for_a_100_when_timer_e_has_grown_to_t2() {
        for reliable in [UNRELIABLE, RELIABLE] {
            let mut machine = new(reliable);
            assert_eq!(machine.deadline(), Some(at(3_500)));
            assert_eq!(timeout(&mut machine, 3_499), []);
            assert_eq!(timeout(&mut machine, 3_500), [MakeTrying]);
            assert_eq!(machine.deadline(), None);
            assert_eq!(timeout(&mut machine, 3_600), []);
        }
    }

    #[test]
    fn early_100_is_sent_over_reliable_transports_only() {
        assert_eq!(provisional(&mut new(UNRELIABLE), 3_499, 100), []);
        assert_eq!(
            provisional(&mut new(UNRELIABLE), 3_500, 100),
            [Send(packet("1xx"))]
        );
        assert_eq!(
            provisional(&mut new(RELIABLE), 0, 100),
            [Send(packet("1xx"))]
        );
    }

    #[test]
    fn provisionals_but_100_are_never_sent() {
        for mut machine in [new(UNRELIABLE), new(RELIABLE), proceeding()] {
            assert_eq!(provisional(&mut machine, 10_000, 180), []);
        }
    }

    #[test]
    fn proceeding_repeats_the_100() {
        let mut machine = proceeding();
        assert_eq!(request(&mut machine), [Send(packet("1xx"))]);
        assert_eq!(provisional(&mut machine, 4_000, 100), [Send(packet("1xx"))]);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn trying_and_proceeding_send_the_final_response_and_wait_for_timer_j() {
        for status in [200, 302, 404, 503, 603] {
            for mut machine in [new(UNRELIABLE), proceeding()] {
                assert_eq!(
                    finally(&mut machine, 4_000, status),
                    [Send(packet("final"))]
                );
                assert_eq!(machine.deadline(), Some(at(36_000)));
                assert_eq!(request(&mut machine), [Send(packet("final"))]);
                assert_eq!(timeout(&mut machine, 35_999), []);
                assert_eq!(timeout(&mut machine, 36_000), [Terminated]);
            }
        }
    }

    #[test]
    fn final_response_over_a_reliable_transport_ends_at_once() {
        assert_eq!(
            finally(&mut new(RELIABLE), 0, 200),
            [Send(packet("final")), Terminated]
        );
    }

    #[test]
    fn request_timeout_is_not_sent_and_retransmissions_get_nothing() {
        for mut machine in [new(UNRELIABLE), proceeding()] {
            assert_eq!(finally(&mut machine, 4_000, 408), []);
            assert_eq!(request(&mut machine), []);
            assert_eq!(timeout(&mut machine, 36_000), [Terminated]);
        }
    }

    #[test]
    fn abandoned_request_absorbs_retransmissions_until_timer_j() {
        for mut machine in [new(UNRELIABLE), proceeding()] {
            assert_eq!(abandon(&mut machine, 4_000), []);
            assert_eq!(request(&mut machine), []);
            assert_eq!(timeout(&mut machine, 36_000), [Terminated]);
        }
        assert_eq!(abandon(&mut new(RELIABLE), 0), [Terminated]);
    }

    #[test]
    fn proceeding_and_completed_end_with_a_transport_error() {
        let mut completed = new(UNRELIABLE);
        finally(&mut completed, 0, 200);
        for mut machine in [proceeding(), completed] {
            assert_eq!(transport_error(&mut machine), [TransportFailed, Terminated]);
            assert!(machine.is_terminated());
        }
    }

    #[test]
    fn what_would_complete_does() {
        for (mut machine, status) in [
            (new(UNRELIABLE), 200),
            (proceeding(), 401),
            (new(UNRELIABLE), 408),
            (new(RELIABLE), 200),
        ] {
            let end = machine.would_complete(at(5_000), status);
            assert_eq!(
                end.is_some(),
                machine.reliable == UNRELIABLE && status != 408
            );
            let sent = finally(&mut machine, 5_000, status);
            if end.is_some() {
                assert_eq!(sent, [Send(packet("final"))]);
                assert_eq!(machine.completed().map(|(_, end)| end), end);
            }
            assert_eq!(machine.would_complete(at(5_000), 200), None);
        }
    }

    #[test]
    fn completed_discards_what_the_user_sends() {
        let mut machine = new(UNRELIABLE);
        finally(&mut machine, 0, 200);
        assert_eq!(finally(&mut machine, 1, 500), []);
        assert_eq!(provisional(&mut machine, 4_000, 100), []);
        assert_eq!(abandon(&mut machine, 1), []);
        assert_eq!(request(&mut machine), [Send(packet("final"))]);
        assert_eq!(machine.deadline(), Some(at(32_000)));
    }

    #[test]
    fn terminated_does_nothing_more() {
        let mut machine = new(RELIABLE);
        finally(&mut machine, 0, 200);
        assert_eq!(request(&mut machine), []);
        assert_eq!(finally(&mut machine, 1, 200), []);
        assert_eq!(provisional(&mut machine, 1, 100), []);
        assert_eq!(abandon(&mut machine, 1), []);
        assert_eq!(transport_error(&mut machine), []);
        assert_eq!(timeout(&mut machine, 100_000), []);
        assert_eq!(machine.deadline(), None);
    }
}
