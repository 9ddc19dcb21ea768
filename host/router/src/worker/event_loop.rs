//! The loop of a worker: takes what has happened, in turns, until it is told to stop.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use patchbay_core::door::Input;
use patchbay_core::time::Instant;
use tokio::sync::mpsc;

use super::driver::Driver;
use super::notices::Notice;
use super::setup;
use super::{Mail, Mailbox, Order, Status};
use crate::transport::{Arrival, UdpReceivers};

/// Turns before the runtime may look for new events of the system.
const TURNS: usize = 8;
/// Messages taken from connections in one turn.
const ARRIVALS_PER_TURN: usize = 64;
/// A socket whose device is full is tried again after this time.
const RETRY: Duration = Duration::from_millis(1);
/// A sleeping worker wakes up for timers of the core at multiples of this only, so that one wake-up serves many of them. The
/// shortest timer of a transaction is fifty times as long (RFC 3261 §17.1.1.1: T1).
const TIMER_GRAIN: Duration = Duration::from_millis(10);
/// The wall clock is looked at this often.
const WALL_GRAIN: Duration = Duration::from_millis(5);

/// A worker at work. It is a future that ends when the worker is told to stop.
pub(super) struct EventLoop {
    pub(super) driver: Driver,
    pub(super) receivers: UdpReceivers,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    /// Tasks of this thread's runtime have had a turn since there were none the last time. Nobody else sends any.
    pub(super) may_have_arrivals: bool,
    pub(super) mailbox: Mailbox,
    pub(super) mail: Mail,
    /// Events for `event-route` that wait for their turn.
    pub(super) events: VecDeque<Notice>,
    pub(super) status: std::sync::Arc<Status>,
    /// When it has to wake up by itself.
    pub(super) wakes_at: Option<Instant>,
    /// When it has woken up, if the clock was looked at then.
    pub(super) woke: Option<Instant>,
    /// When the wall clock was looked at.
    pub(super) wall_read: Instant,
}

impl EventLoop {
    /// A few turns. [`Poll::Pending`]: there is nothing to do until something happens, or the worker is woken already; [`Poll::Ready`]: it is
    /// told to stop.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            self.look_at_clocks();
            let mut progress = self.take_mail(context);
            if self.mail.stop {
                return Poll::Ready(());
            }
            progress |= self.take_datagrams(context);
            progress |= self.may_have_arrivals && self.take_arrivals(context);
            progress |= self.driver.poll_waiting(context);
            progress |= self.take_timers(context);
            progress |= self.start_events();
            self.driver.flush_hand_over();
            if progress
                && let Some(ring) = self.receivers.ring()
                && ring.has_unsubmitted()
            {
                // Of the turn before: the worker is not about to sleep, when they would leave anyway.
                ring.submit();
            }
            let (retry, failed) = self.flush(context);
            progress |= failed;
            if (!progress || self.is_done(failed)) && self.is_asleep(retry) {
                self.report();
                return Poll::Pending;
            }
        }
        self.report();
        // There is more to do: the runtime looks at the sockets and comes back.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The wall clock tells seconds: it need not be looked at for every message.
    fn look_at_clocks(&mut self) {
        let clock = &self.driver.services.clock;
        let now = self.woke.take().unwrap_or_else(|| clock.instant());
        self.driver.now.instant = now;
        if now.since(self.wall_read) >= WALL_GRAIN {
            self.driver.now.unix = clock.unix();
            self.wall_read = now;
        }
    }

    fn take_datagrams(&mut self, context: &mut Context<'_>) -> bool {
        let driver = &mut self.driver;
        let received = self
            .receivers
            .poll_receive(context, |flow, bytes, context| {
                driver.arrived(flow, bytes, context)
            });
        received > 0
    }

    fn take_arrivals(&mut self, context: &mut Context<'_>) -> bool {
        for taken in 0..ARRIVALS_PER_TURN {
            let Ok(arrival) = self.arrivals.try_recv() else {
                self.may_have_arrivals = false;
                return taken > 0;
            };
            // Its task may wait for room.
            self.driver.sending.concerns_runtime = true;
            self.driver.arrived(&arrival.flow, &arrival.bytes, context);
        }
        true
    }

    fn take_mail(&mut self, context: &mut Context<'_>) -> bool {
        self.mailbox.take(&mut self.mail);
        if self.mail.is_empty() {
            return false;
        }
        while let Some(order) = self.mail.orders.pop_front() {
            self.obey(order, context);
        }
        while let Some(answer) = self.mail.answers.pop_front() {
            self.driver.answered(answer, context);
        }
        for (flow, bytes) in self.mail.messages.iter() {
            self.driver.received(flow, bytes, context);
        }
        self.mail.messages.clear();
        self.events.append(&mut self.mail.events);
        true
    }

    fn obey(&mut self, order: Order, context: &mut Context<'_>) {
        match order {
            Order::Drain => self.driver.input(Input::Drain, context),
            Order::Stop => self.mail.stop = true,
            Order::Reload => setup::reload(&mut self.driver),
            Order::Renew { except } => self.driver.hooks.instances.renew(&except),
            Order::Sweep => self.driver.hooks.sweep(),
            // Whoever asked may have gone: then nobody needs the answer.
            Order::Transactions { limit, answer } => {
                drop(answer.send(self.driver.core.snapshot(limit)))
            }
            Order::Originate { request, answer } => {
                self.driver.originate(*request, answer, context)
            }
        }
    }

    /// Timers of the core and of policies that have ended.
    fn take_timers(&mut self, context: &mut Context<'_>) -> bool {
        let now = self.driver.now.instant;
        let mut progress = false;
        if self
            .driver
            .core
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.driver.timeout(context);
            progress = true;
        }
        let services = &self.driver.services;
        if services
            .next_timer()
            .is_some_and(|deadline| deadline <= now)
        {
            let events = &mut self.events;
            services.take_due_timers(now, |owner, name| {
                events.push_back(Notice::timer(owner, name))
            });
            progress = true;
        }
        progress
    }

    /// Begins hooks for events; they are polled in the next turn.
    fn start_events(&mut self) -> bool {
        let mut started = false;
        while self.driver.hooks.takes_event()
            && let Some(event) = self.events.pop_front()
        {
            self.driver.run_event(event);
            started = true;
        }
        started
    }

    /// Sends the datagrams of this turn; whether they have to be tried again soon, and whether any failed.
    fn flush(&mut self, context: &mut Context<'_>) -> (bool, bool) {
        let mut failed = Vec::new();
        let ring = self.receivers.ring();
        let retry = self.driver.sending.udp.flush(ring, |id, error| {
            tracing::debug!(%error, "sending failed");
            failed.push(id);
        });
        let any_failed = !failed.is_empty();
        for id in failed {
            self.driver.udp_failed(id, context);
        }
        (retry, any_failed)
    }

    /// Whether another turn would find nothing, but for what [`EventLoop::is_asleep`] looks at.
    fn is_done(&mut self, failed: bool) -> bool {
        !failed
            && self.events.is_empty()
            && !self.may_have_arrivals
            && !self.driver.is_waiting()
            && !self.receivers.may_have_datagrams()
    }

    /// Whether there is nothing to do until something wakes the task.
    fn is_asleep(&mut self, retry: bool) -> bool {
        self.wakes_at = self.deadline(retry);
        let now = self.driver.now.instant;
        !self.mailbox.has_mail() && self.wakes_at.is_none_or(|moment| moment > now)
    }

    fn deadline(&self, retry: bool) -> Option<Instant> {
        let timers = self.driver.services.next_timer();
        let retry = retry.then_some(self.driver.now.instant + RETRY);
        let core = self.driver.core.poll_timeout().map(next_grain);
        [core, timers, retry].into_iter().flatten().min()
    }

    fn report(&self) {
        let (transactions, hooks) = (
            self.driver.core.transactions() as u64,
            self.driver.hooks.count() as u64,
        );
        self.status
            .transactions
            .store(transactions, Ordering::Relaxed);
        self.status.hooks.store(hooks, Ordering::Relaxed);
        let calls = self.receivers.calls() + self.driver.sending.udp.calls();
        self.driver.metrics().udp_calls.set(calls);
        self.driver.metrics().transactions.set(transactions);
        self.driver.metrics().hooks.set(hooks);
    }
}

/// The first multiple of [`TIMER_GRAIN`] that is not before this moment.
fn next_grain(moment: Instant) -> Instant {
    let grain = TIMER_GRAIN.as_micros() as u64;
    Instant(moment.0.div_ceil(grain).saturating_mul(grain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_never_rings_too_early() {
        for (moment, wake) in [(0, 0), (1, 10_000), (10_000, 10_000), (10_001, 20_000)] {
            assert_eq!(next_grain(Instant(moment)), Instant(wake));
        }
        assert_eq!(next_grain(Instant(u64::MAX)), Instant(u64::MAX));
    }
}
