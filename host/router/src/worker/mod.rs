//! A worker: one thread that drives one core.
//!
//! A worker has its own sockets, its own [`patchbay_core::Core`], its own timers and its own policy instances. Nothing in it is
//! locked or shared on the path of a message, unless `requests_per_source` counts over all workers. Other threads reach it through its mailbox.

mod chain_runs;
mod clock;
mod driver;
mod event_loop;
mod hand_over;
mod hook_runs;
mod mailbox;
mod notices;
mod random;
mod sending;
mod serving;
mod setup;
mod source_limit;
mod spin;
mod virtual_worker;
mod wait_loop;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use patchbay_core::TransactionSnapshot;
use patchbay_core::door::Originate;
use patchbay_message::Message;
use tokio::sync::oneshot;

use crate::config;
use crate::server::Shared;
use crate::transport::{BoundListener, Connections, Ring};

pub(crate) use clock::{Clock, VirtualTime};
pub(crate) use mailbox::{Answer, Mail, Mailbox, Order};
pub(crate) use notices::{Addressee, Notice};
pub(crate) use random::{generator, unpredictable};
use setup::Setup;
use source_limit::SourceLimit;
pub(crate) use virtual_worker::{Effect, VirtualWorker};

/// Policies run on the worker's stack, under wasmtime's own limit of half a megabyte.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// How much is going on, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live server transactions.
    pub transactions: u64,
    /// Hooks that run or wait.
    pub hooks: u64,
    /// Open connections.
    pub connections: u64,
}

/// The workers of the router.
pub struct Workers {
    workers: Vec<Worker>,
    connections: Arc<Connections>,
}

struct Worker {
    mailbox: Mailbox,
    status: Arc<Status>,
    thread: JoinHandle<io::Result<()>>,
}

/// What a worker says about itself.
#[derive(Debug, Default)]
struct Status {
    transactions: AtomicU64,
    hooks: AtomicU64,
}

/// Starts one worker per list of listeners, as [`crate::transport::bind`] makes them.
pub fn start(shared: &Arc<Shared>, listeners: Vec<Vec<BoundListener>>) -> io::Result<Workers> {
    if shared.config.load().node.io == config::Io::Uring {
        Ring::is_available().map_err(|error| {
            io::Error::new(error.kind(), format!("node.io: no io_uring here: {error}"))
        })?;
    }
    let mailboxes: Vec<Mailbox> = listeners.iter().map(|_| Mailbox::new()).collect();
    let max_connections = shared.config.load().limits.max_connections;
    let connections = Arc::new(Connections::new(&mailboxes, max_connections));
    let clock = Clock::start();
    let source_limit = SourceLimit::off();
    let mut workers = Workers {
        workers: Vec::with_capacity(listeners.len()),
        connections: Arc::clone(&connections),
    };
    for (index, (listeners, mailbox)) in listeners.into_iter().zip(&mailboxes).enumerate() {
        let status = Arc::new(Status::default());
        let setup = Setup {
            worker: u16::try_from(index)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            shared: Arc::clone(shared),
            listeners,
            mailboxes: mailboxes.clone(),
            connections: Arc::clone(&connections),
            clock: clock.clone(),
            status: Arc::clone(&status),
            source_limit: source_limit.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                setup::run(setup)
                    .inspect_err(|error| tracing::error!(%error, "a worker could not start"))
            })?;
        workers.workers.push(Worker {
            mailbox: mailbox.clone(),
            status,
            thread,
        });
    }
    Ok(workers)
}

impl Workers {
    /// From now on new requests outside of dialogs get 503. Ends nothing by itself: ask [`Workers::counts`] until all is done.
    pub fn drain(&self) {
        self.order_all(|| Order::Drain);
    }

    /// Takes over the configuration that was put into [`Shared::config`].
    pub fn reload(&self) {
        self.order_all(|| Order::Reload);
    }

    /// Has policies read their settings again: hooks that no route gives a scope to run in instances that are made anew, except those of the
    /// versions of these numbers.
    pub fn renew_instances(&self, except: &[u64]) {
        let except: Arc<[u64]> = except.into();
        self.order_all(|| Order::Renew {
            except: Arc::clone(&except),
        });
    }

    /// Throws away idle instances of versions that are gone.
    pub fn sweep(&self) {
        self.order_all(|| Order::Sweep);
    }

    /// Ends all workers at once.
    pub fn stop(&self) {
        self.order_all(|| Order::Stop);
    }

    /// How much is going on.
    pub fn counts(&self) -> Counts {
        let sum = |read: fn(&Status) -> &AtomicU64| {
            self.workers
                .iter()
                .map(|worker| read(&worker.status).load(Ordering::Relaxed))
                .sum()
        };
        Counts {
            transactions: sum(|status| &status.transactions),
            hooks: sum(|status| &status.hooks),
            connections: self.connections.count() as u64,
        }
    }

    /// At most `limit` of the live transactions.
    pub async fn transactions(&self, limit: usize) -> Vec<TransactionSnapshot> {
        let mut all = Vec::new();
        for worker in &self.workers {
            let (answer, receiver) = oneshot::channel();
            worker.mailbox.order(Order::Transactions {
                limit: limit.saturating_sub(all.len()),
                answer,
            });
            // A worker that has ended has no transactions.
            all.extend(receiver.await.unwrap_or_default());
        }
        all
    }

    /// Sends a request of our own; the answer is its final response, `None` when there was none.
    pub fn originate(&self, request: Originate) -> oneshot::Receiver<Option<Arc<Message>>> {
        let (answer, receiver) = oneshot::channel();
        if let Some(worker) = self.workers.first() {
            worker.mailbox.order(Order::Originate {
                request: Box::new(request),
                answer,
            });
        }
        receiver
    }

    /// Runs `event-route` for this event. One that finds too many waiting is dropped and counted.
    pub(crate) fn post_event(&self, event: Notice) -> bool {
        self.workers
            .first()
            .is_some_and(|worker| worker.mailbox.event(event))
    }

    /// Whether every worker is at work.
    pub fn are_alive(&self) -> bool {
        self.workers
            .iter()
            .all(|worker| !worker.thread.is_finished())
    }

    /// Waits until all workers have ended.
    pub fn join(self) -> io::Result<()> {
        for worker in self.workers {
            worker
                .thread
                .join()
                .map_err(|_| io::Error::other("a worker panicked"))??;
        }
        Ok(())
    }

    fn order_all(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.mailbox.order(order());
        }
    }
}
