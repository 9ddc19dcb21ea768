//! The lettered timers of SIP transactions and their values.

use std::time::Duration;

use crate::time::Instant;

/// RFC 3261 §17.2.1: an INVITE without an answer for this long gets a 100 (Trying).
pub const TRYING_DELAY: Duration = Duration::from_millis(200);

/// RFC 6026 §8.4: the absolute minimum of Timer D on unreliable transports.
pub const TIMER_D_MINIMUM: Duration = Duration::from_secs(32);

/// The three base values; RFC 3261 §17 and RFC 6026 §8.11 derive every lettered timer from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// RFC 3261 §17.1.1.1: estimate of the round-trip time; 500 ms.
    pub t1: Duration,
    /// RFC 3261 §17.1.2.2: longest interval between retransmissions of non-INVITE requests and INVITE responses; 4 s.
    pub t2: Duration,
    /// RFC 3261 §17.1.2.2: how long a message stays in the network; 5 s.
    pub t4: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl Timing {
    /// When to send the INVITE again for the first time (unreliable transports); the interval doubles without a bound.
    pub fn timer_a(&self) -> Duration {
        self.t1
    }

    /// When to give up waiting for any response to an INVITE.
    pub fn timer_b(&self) -> Duration {
        self.t1 * 64
    }

    /// How long to answer retransmitted final responses to an INVITE with the ACK.
    pub fn timer_d(&self, reliable: bool) -> Duration {
        if reliable {
            Duration::ZERO
        } else {
            (self.t1 * 64).max(TIMER_D_MINIMUM)
        }
    }

    /// When to send a non-INVITE request again for the first time (unreliable transports); doubles up to T2.
    pub fn timer_e(&self) -> Duration {
        self.t1
    }

    /// When to give up waiting for the final response to a non-INVITE request.
    pub fn timer_f(&self) -> Duration {
        self.t1 * 64
    }

    /// When to send the final response to an INVITE again for the first time (unreliable transports); doubles up to T2.
    pub fn timer_g(&self) -> Duration {
        self.t1
    }

    /// When to give up waiting for the ACK to a 300-699.
    pub fn timer_h(&self) -> Duration {
        self.t1 * 64
    }

    /// How long to absorb retransmitted ACKs.
    pub fn timer_i(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.t4 }
    }

    /// How long to answer retransmitted non-INVITE requests with the final response.
    pub fn timer_j(&self, reliable: bool) -> Duration {
        if reliable {
            Duration::ZERO
        } else {
            self.t1 * 64
        }
    }

    /// How long to absorb retransmitted final responses to a non-INVITE request.
    pub fn timer_k(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.t4 }
    }

    /// How long a server transaction absorbs an accepted INVITE's retransmissions (RFC 6026 §8.7).
    pub fn timer_l(&self) -> Duration {
        self.t1 * 64
    }

    /// How long a client transaction passes on 2xx responses to an INVITE (RFC 6026 §8.4).
    pub fn timer_m(&self) -> Duration {
        self.t1 * 64
    }

    /// RFC 4320 §4.1: when a non-INVITE request without an answer gets a 100: the time after which a client's Timer E is reset
    /// to T2.
    pub fn non_invite_trying_delay(&self) -> Duration {
        let mut interval = self.t1;
        let mut elapsed = self.t1;
        while interval < self.t2 && !interval.is_zero() {
            interval = self.doubled(interval);
            if interval < self.t2 {
                elapsed += interval;
            }
        }
        elapsed
    }

    /// The interval after `interval` for Timers E and G: MIN(2 * interval, T2).
    pub fn doubled(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}

/// A timer that sends again at growing intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retransmission {
    /// When to send next.
    pub(super) at: Instant,
    /// The interval that ends then.
    pub(super) interval: Duration,
}

impl Retransmission {
    /// The first interval starts now.
    pub(super) fn start(now: Instant, interval: Duration) -> Retransmission {
        Retransmission {
            at: now + interval,
            interval,
        }
    }

    /// For unreliable transports only: `None` when `reliable`.
    pub(super) fn unless_reliable(
        reliable: bool,
        now: Instant,
        interval: Duration,
    ) -> Option<Retransmission> {
        (!reliable).then(|| Retransmission::start(now, interval))
    }
}

/// Whether the retransmission timer is running and due.
pub(super) fn is_due(timer: Option<Retransmission>, now: Instant) -> bool {
    timer.is_some_and(|timer| timer.at <= now)
}

/// The earlier of a retransmission, if any, and another deadline.
pub(super) fn earlier(timer: Option<Retransmission>, deadline: Instant) -> Instant {
    timer.map_or(deadline, |timer| timer.at.min(deadline))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNRELIABLE: bool = false;
    const RELIABLE: bool = true;

    #[test]
    fn defaults_give_the_values_of_rfc_3261_table_4() {
        let timing = Timing::default();
        assert_eq!(timing.timer_a(), Duration::from_millis(500));
        assert_eq!(timing.timer_b(), Duration::from_secs(32));
        assert_eq!(timing.timer_d(UNRELIABLE), Duration::from_secs(32));
        assert_eq!(timing.timer_e(), Duration::from_millis(500));
        assert_eq!(timing.timer_f(), Duration::from_secs(32));
        assert_eq!(timing.timer_g(), Duration::from_millis(500));
        assert_eq!(timing.timer_h(), Duration::from_secs(32));
        assert_eq!(timing.timer_i(UNRELIABLE), Duration::from_secs(5));
        assert_eq!(timing.timer_j(UNRELIABLE), Duration::from_secs(32));
        assert_eq!(timing.timer_k(UNRELIABLE), Duration::from_secs(5));
        assert_eq!(timing.timer_l(), Duration::from_secs(32));
        assert_eq!(timing.timer_m(), Duration::from_secs(32));
    }

    #[test]
    fn reliable_transports_do_not_wait_for_retransmissions() {
        let timing = Timing::default();
        for wait in [
            Timing::timer_d,
            Timing::timer_i,
            Timing::timer_j,
            Timing::timer_k,
        ] {
            assert_eq!(wait(&timing, RELIABLE), Duration::ZERO);
        }
    }

    #[test]
    fn timer_d_is_at_least_32_seconds_whatever_t1() {
        let timing = Timing {
            t1: Duration::from_millis(10),
            ..Timing::default()
        };
        assert_eq!(timing.timer_d(UNRELIABLE), Duration::from_secs(32));
    }

    #[test]
    fn late_100_comes_when_timer_e_reaches_t2() {
        assert_eq!(
            Timing::default().non_invite_trying_delay(),
            Duration::from_millis(500 + 1000 + 2000)
        );
        let slow = Timing {
            t1: Duration::from_secs(4),
            ..Timing::default()
        };
        assert_eq!(slow.non_invite_trying_delay(), Duration::from_secs(4));
    }
}
