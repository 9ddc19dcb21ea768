//! What reaches a worker from other threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use patchbay_core::TransactionSnapshot;
use patchbay_core::door::{Flow, Originate, Reject, SendId, UpdateId};
use patchbay_core::registrar::ContactBinding;
use patchbay_message::Message;
use patchbay_policy::Event;
use tokio::sync::oneshot;

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
    waker: AtomicWaker,
}

/// What has come, by kind.
#[derive(Default)]
pub(crate) struct Mail {
    /// Messages that another worker received and this one handles, as they came.
    pub(crate) messages: VecDeque<HandedOver>,
    /// Answers to this worker's own questions: there is at most one per question, and the core bounds those.
    pub(crate) answers: VecDeque<Answer>,
    /// For `event-route`.
    pub(crate) events: VecDeque<Event>,
    /// From the operator: few.
    pub(crate) orders: VecDeque<Order>,
    /// The worker has read that it is to end.
    pub(crate) stop: bool,
}

/// A message received by another worker.
pub(crate) struct HandedOver {
    /// The way it came.
    pub(crate) flow: Flow,
    /// The message.
    pub(crate) bytes: Vec<u8>,
}

/// An answer to a question of the core.
pub(crate) enum Answer {
    /// A connection failed.
    SendFailed(SendId),
    /// The location service is done.
    BindingsUpdated {
        /// The question.
        id: UpdateId,
        /// Its result.
        result: Result<Vec<ContactBinding>, Reject>,
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
    pub(crate) fn hand_over(&self, messages: &mut Vec<HandedOver>) -> usize {
        let mut refused = 0;
        self.put(|mail| {
            let room = MAX_MESSAGES.saturating_sub(mail.messages.len());
            refused = messages.len().saturating_sub(room);
            mail.messages.extend(messages.drain(..).take(room));
        });
        refused
    }

    /// Puts in an answer.
    pub(crate) fn answer(&self, answer: Answer) {
        self.put(|mail| mail.answers.push_back(answer));
    }

    /// Puts in an event; `false` when there is no room.
    pub(crate) fn event(&self, event: Event) -> bool {
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

    /// Swaps what has come with the (empty) `mail`. The waker is told about everything that comes later.
    pub(crate) fn take(&self, mail: &mut Mail, waker: &Waker) {
        self.0.waker.register(waker);
        let mut queues = self.lock();
        if !queues.is_empty() {
            std::mem::swap(&mut *queues, mail);
        }
    }

    /// Only the one who fills an empty mailbox wakes the worker: it takes everything at once.
    fn put(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        let was_empty = mail.is_empty();
        put(&mut mail);
        drop(mail);
        if was_empty {
            self.0.waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Mail> {
        // A panic while the lock was held leaves queues that are still queues.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use patchbay_core::door::{ListenerId, Transport};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn messages(count: usize) -> Vec<HandedOver> {
        let address: SocketAddr = "127.0.0.1:5060".parse().unwrap();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: address,
            remote: address,
            connection: None,
        };
        (0..count)
            .map(|n| HandedOver {
                flow,
                bytes: n.to_string().into_bytes(),
            })
            .collect()
    }

    #[test]
    fn messages_keep_their_order_and_wake_once() {
        let (mailbox, count) = (Mailbox::new(), Arc::new(Count::default()));
        let mut mail = Mail::default();
        mailbox.take(&mut mail, &Arc::clone(&count).into());
        assert_eq!(mailbox.hand_over(&mut messages(2)), 0);
        assert_eq!(mailbox.hand_over(&mut messages(1)), 0);
        mailbox.take(&mut mail, &Arc::clone(&count).into());
        let texts: Vec<_> = mail
            .messages
            .iter()
            .map(|message| message.bytes.clone())
            .collect();
        assert_eq!(texts, [b"0", b"1", b"0"]);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_full_mailbox_refuses_messages_but_no_answers() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.hand_over(&mut messages(MAX_MESSAGES + 5)), 5);
        mailbox.answer(Answer::SendFailed(SendId(1)));
        let mut mail = Mail::default();
        mailbox.take(&mut mail, Waker::noop());
        assert_eq!((mail.messages.len(), mail.answers.len()), (MAX_MESSAGES, 1));
    }

    #[test]
    fn events_are_bounded() {
        let mailbox = Mailbox::new();
        for _ in 0..MAX_EVENTS {
            assert!(mailbox.event(Event::Timer("t".to_owned())));
        }
        assert!(!mailbox.event(Event::Timer("t".to_owned())));
    }
}
