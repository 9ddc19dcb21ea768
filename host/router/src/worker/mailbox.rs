//! What reaches a worker from other threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;

use patchbay_core::TransactionSnapshot;
use patchbay_core::door::{Originate, Reject, SendId, UpdateId};
use patchbay_core::registrar::Bindings;
use patchbay_message::Message;
use tokio::sync::oneshot;

use super::hand_over::HandedOver;
use super::notices::Notice;
use crate::location::{self, Recipient};

/// Messages of other workers' sockets that wait. A message that finds the mailbox full is dropped and counted: over UDP it comes again.
const MAX_MESSAGES: usize = 8192;
/// Events for `event-route` that wait. One that finds the mailbox full is dropped and counted: policies are told that events are a hint.
const MAX_EVENTS: usize = 4096;

/// A worker's mailbox: cheap to clone, filled from any thread.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queues: Mutex<Mail>,
    /// Whether there may be something in `queues`, so that looking at an empty mailbox takes no lock.
    filled: AtomicBool,
    /// Wakes the worker when it sleeps; set once it is there.
    waker: OnceLock<Waker>,
}

/// What has come, by kind.
#[derive(Default)]
pub(crate) struct Mail {
    /// Messages that another worker received and this one handles, as they came.
    pub(crate) messages: HandedOver,
    /// Answers to this worker's own questions: there is at most one per question, and the core bounds those.
    pub(crate) answers: VecDeque<Answer>,
    /// For `event-route`.
    pub(crate) events: VecDeque<Notice>,
    /// From the operator: few.
    pub(crate) orders: VecDeque<Order>,
    /// The worker has read that it is to end.
    pub(crate) stop: bool,
}

/// An answer to a question of the core.
pub(crate) enum Answer {
    /// A connection failed.
    SendFailed(SendId),
    /// A hook that waited can go on.
    HookWoken(u64),
    /// The location service is done.
    BindingsUpdated {
        /// The question.
        id: UpdateId,
        /// Its result.
        result: Result<Bindings, Reject>,
    },
}

/// What the operator wants.
pub(crate) enum Order {
    /// Refuse new dialogs, finish what runs.
    Drain,
    /// End at once.
    Stop,
    /// Take over the configuration in `Shared`.
    Reload,
    /// Make instances anew, because what policies read as their settings has changed.
    Renew {
        /// The numbers of the versions that would not start.
        except: Arc<[u64]>,
    },
    /// Throw away idle instances of versions that are gone.
    Sweep,
    /// Report live transactions.
    Transactions {
        /// At most so many.
        limit: usize,
        /// Where to report.
        answer: oneshot::Sender<Vec<TransactionSnapshot>>,
    },
    /// Send a request and report its final response.
    Originate {
        /// The request.
        request: Box<Originate>,
        /// Where to report.
        answer: oneshot::Sender<Option<Arc<Message>>>,
    },
}

impl Mailbox {
    /// An empty mailbox.
    pub(crate) fn new() -> Mailbox {
        Mailbox(Arc::default())
    }

    /// Hands messages over and empties `messages`; returns how many had no room.
    pub(crate) fn hand_over(&self, messages: &mut HandedOver) -> usize {
        let mut refused = 0;
        self.put(|mail| refused = mail.messages.append(messages, MAX_MESSAGES));
        refused
    }

    /// Puts in an answer.
    pub(crate) fn answer(&self, answer: Answer) {
        self.put(|mail| mail.answers.push_back(answer));
    }

    /// Whom the location service tells about the updates of this worker's core.
    pub(crate) fn recipient(&self) -> Arc<dyn Recipient> {
        Arc::new(self.clone())
    }

    /// Puts in an event; `false` when there is no room.
    pub(crate) fn event(&self, event: Notice) -> bool {
        let mut taken = false;
        self.put(|mail| {
            taken = mail.events.len() < MAX_EVENTS;
            if taken {
                mail.events.push_back(event);
            }
        });
        taken
    }

    /// Puts in an order.
    pub(crate) fn order(&self, order: Order) {
        self.put(|mail| mail.orders.push_back(order));
    }

    /// Swaps what has come with the (empty) `mail`.
    pub(crate) fn take(&self, mail: &mut Mail) {
        if !self.has_mail() {
            return;
        }
        let mut queues = self.lock();
        self.0.filled.store(false, Ordering::Relaxed);
        std::mem::swap(&mut *queues, mail);
    }

    /// Whether something may have come.
    pub(crate) fn has_mail(&self) -> bool {
        self.0.filled.load(Ordering::Acquire)
    }

    /// The worker is there, and is woken from now on. What came before it finds when it looks first.
    pub(crate) fn wake_for_mail(&self, waker: Waker) {
        // There is one worker.
        let _ = self.0.waker.set(waker);
    }

    /// Wakes the worker. Only the one who fills an empty mailbox does: the worker takes everything at once.
    fn put(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        put(&mut mail);
        let was_filled = self.0.filled.swap(true, Ordering::AcqRel);
        drop(mail);
        if !was_filled && let Some(waker) = self.0.waker.get() {
            waker.wake_by_ref();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Mail> {
        // A panic while the lock was held leaves queues that are still queues.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recipient for Mailbox {
    fn tell(&self, answers: &mut Vec<(u64, location::Answer)>) {
        let updated = |(id, result)| Answer::BindingsUpdated {
            id: UpdateId(id),
            result,
        };
        self.put(|mail| mail.answers.extend(answers.drain(..).map(updated)));
    }
}

impl Mail {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.answers.is_empty()
            && self.events.is_empty()
            && self.orders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use patchbay_core::door::{Flow, ListenerId, Transport};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn messages(count: usize) -> HandedOver {
        let address: SocketAddr = "127.0.0.1:5060".parse().unwrap();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: address,
            remote: address,
            connection: None,
        };
        let mut messages = HandedOver::default();
        for n in 0..count {
            messages.push(&flow, n.to_string().as_bytes());
        }
        messages
    }

    #[test]
    fn messages_keep_their_order_and_wake_once() {
        let (mailbox, count) = (Mailbox::new(), Arc::new(Count::default()));
        let mut mail = Mail::default();
        mailbox.wake_for_mail(Arc::clone(&count).into());
        assert!(!mailbox.has_mail());
        assert_eq!(mailbox.hand_over(&mut messages(2)), 0);
        assert_eq!(mailbox.hand_over(&mut messages(1)), 0);
        mailbox.take(&mut mail);
        let texts: Vec<_> = mail
            .messages
            .iter()
            .map(|(_, bytes)| bytes.to_vec())
            .collect();
        assert_eq!(texts, [b"0", b"1", b"0"]);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        mailbox.answer(Answer::SendFailed(SendId(1)));
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_came_before_the_worker_is_there() {
        let mailbox = Mailbox::new();
        mailbox.answer(Answer::SendFailed(SendId(1)));
        mailbox.wake_for_mail(Waker::noop().clone());
        assert!(mailbox.has_mail());
    }

    #[test]
    fn a_full_mailbox_refuses_messages_but_no_answers() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.hand_over(&mut messages(MAX_MESSAGES + 5)), 5);
        mailbox.answer(Answer::SendFailed(SendId(1)));
        let mut mail = Mail::default();
        mailbox.take(&mut mail);
        assert_eq!((mail.messages.len(), mail.answers.len()), (MAX_MESSAGES, 1));
    }

    #[test]
    fn events_are_bounded() {
        let mailbox = Mailbox::new();
        for _ in 0..MAX_EVENTS {
            assert!(mailbox.event(Notice::timer(None, "t".to_owned())));
        }
        assert!(!mailbox.event(Notice::timer(None, "t".to_owned())));
    }
}
