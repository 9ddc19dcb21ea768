//! A worker that waits for itself instead of in the runtime.
//!
//! The runtime stays for what is not in the hot path: connections, name queries, their timers. It calls [`serve`] when none of its tasks
//! can go on, and there the worker works and sleeps until the runtime has something to do. Then the runtime looks for its events without
//! waiting, and lets its tasks go on until it calls again. What the runtime does not know it need not look at: for a datagram it is not
//! involved at all.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use patchbay_core::time::Instant;
use tokio::runtime::{Handle, RuntimeMetrics};

use super::event_loop::EventLoop;
use super::spin::Spin;
use crate::transport::Doorbell;

/// The runtime's own timers are those of connections and name queries, which take seconds. While there are some, it looks at them this often.
const RUNTIME_TIMERS: Duration = Duration::from_millis(100);
/// So often it looks while there may be others.
const OTHER_TIMERS: Duration = Duration::from_secs(1);

thread_local! {
    /// The runtime calls a plain function.
    static WORKER: RefCell<Option<WaitLoop>> = const { RefCell::new(None) };
}

/// See the module.
struct WaitLoop {
    event_loop: EventLoop,
    doorbell: Arc<Doorbell>,
    waker: Waker,
    spin: Spin,
    runtime: RuntimeMetrics,
    has_ended: bool,
    /// Wakes what [`run`] waits for.
    root: Option<Waker>,
    /// When the runtime looked last.
    looked: Instant,
}

/// Runs the worker until it is told to stop. The runtime must have been built with [`serve`] as what it calls before it sleeps.
pub(super) async fn run(event_loop: EventLoop, doorbell: Arc<Doorbell>, spin: Spin) {
    let looked = event_loop.driver.now.instant;
    event_loop
        .mailbox
        .wake_for_mail(Arc::clone(&doorbell).into());
    WORKER.set(Some(WaitLoop {
        event_loop,
        waker: Arc::clone(&doorbell).into(),
        doorbell,
        spin,
        runtime: Handle::current().metrics(),
        has_ended: false,
        root: None,
        looked,
    }));
    poll_fn(|context| {
        WORKER.with_borrow_mut(|worker| match worker {
            Some(worker) if !worker.has_ended => {
                worker.root = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
    })
    .await;
    drop(WORKER.take());
}

/// To be called by the runtime when it has nothing to do.
pub(super) fn serve() {
    WORKER.with_borrow_mut(|worker| {
        if let Some(worker) = worker {
            worker.serve();
        }
    });
}

impl WaitLoop {
    /// Works until the runtime has something to do.
    fn serve(&mut self) {
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        if let Some(ring) = self.event_loop.receivers.ring() {
            ring.watch_others();
        }
        self.event_loop.may_have_arrivals = true;
        while !self.has_ended {
            // What has woken the worker may be a name query, which goes on when it is polled.
            let queries = !self.event_loop.driver.resolving.is_empty();
            let may_go_on = self.doorbell.take() && queries;
            self.has_ended = self.event_loop.poll(&mut context).is_ready();
            if self.concerns_runtime() || may_go_on {
                break;
            }
            if !self.doorbell.is_woken() {
                self.wait();
            }
        }
        self.looked = self.event_loop.driver.now.instant;
        // So that the runtime does not sleep.
        if let Some(root) = &self.root {
            root.wake_by_ref();
        }
    }

    /// Whether the runtime has to be given a turn.
    fn concerns_runtime(&mut self) -> bool {
        let sending = &mut self.event_loop.driver.sending;
        let has_woken_task = std::mem::take(&mut sending.concerns_runtime);
        let has_event = self.event_loop.receivers.take_runtime_ready();
        let now = self.event_loop.driver.now.instant;
        has_woken_task || has_event || self.next_look().is_some_and(|look| look <= now)
    }

    /// When the runtime has to look at its timers.
    fn next_look(&self) -> Option<Instant> {
        let driver = &self.event_loop.driver;
        let pace = if driver.services.connections.count() > 0 || !driver.resolving.is_empty() {
            RUNTIME_TIMERS
        } else if self.runtime.num_alive_tasks() > 0 {
            OTHER_TIMERS
        } else {
            return None;
        };
        Some(self.looked + pace)
    }

    /// Sleeps until something happens.
    fn wait(&mut self) {
        let clock = self.event_loop.driver.services.clock.clone();
        let until = [self.event_loop.wakes_at, self.next_look()]
            .into_iter()
            .flatten()
            .min();
        let receivers = &mut self.event_loop.receivers;
        let Some(ring) = receivers.ring() else {
            // Who polls has nothing to look at without a system call. A timer rings late by what this turn took, as it may in any case.
            let now = self.event_loop.driver.now.instant;
            return receivers.wait(until.map(|until| until.since(now)));
        };
        let last = self.event_loop.driver.last;
        let mut now = clock.instant();
        if !self
            .spin
            .watch(last, ring, &self.doorbell, &clock, until, &mut now)
        {
            receivers.wait(until.map(|until| until.since(now)));
            now = clock.instant();
            self.spin.slept(now);
        }
        self.event_loop.woke = Some(now);
    }
}
