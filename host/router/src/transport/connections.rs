//! The connections of all workers: who owns which, and how to reach it.
//!
//! One table serves the process, so that there is one outgoing connection per destination and any worker can send over any connection.
//! It is touched for stream transports only, for the time of a look-up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use patchbay_core::door::{FlowId, ListenerId, Packet, SendId, Transport};
use tokio::sync::mpsc;

use crate::worker::{Answer, Mailbox, unpredictable};

/// Packets that wait in one connection. A send that finds the queue full fails.
const MAX_WAITING: usize = 1024;

/// What an outgoing connection is reused by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    /// The transport.
    pub(crate) transport: Transport,
    /// The peer.
    pub(crate) remote: SocketAddr,
    /// The listener it stands for.
    pub(crate) listener: ListenerId,
}

/// A packet for a connection.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// What.
    pub(crate) packet: Packet,
    /// Who is told when it fails; `None`: nobody.
    pub(crate) sender: Option<Sender>,
}

/// The worker that sends, and its name for what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The worker.
    pub(crate) worker: u16,
    /// Its id.
    pub(crate) id: SendId,
}

/// Why a connection did not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// There is no such connection any more.
    Gone,
    /// Its queue is full.
    Full,
}

/// A way to a destination.
pub(crate) enum Reservation {
    /// There is a connection, or one is being opened.
    Existing(FlowId),
    /// It is the caller's to open; packets sent meanwhile wait in the receiver.
    New(FlowId, mpsc::Receiver<Outgoing>),
    /// `max_connections` are open.
    Full,
}

/// The connections of all workers.
pub(crate) struct Connections {
    owners: Box<[RwLock<Owner>]>,
    by_key: Mutex<HashMap<ConnectionKey, FlowId, foldhash::fast::RandomState>>,
    mailboxes: Box<[Mailbox]>,
    open: AtomicUsize,
    max: AtomicUsize,
}

struct Owner {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// Starts anywhere, so that a flow that was stored by an earlier process is not taken for one of ours.
    generation: u32,
}

struct Connection {
    generation: u32,
    key: ConnectionKey,
    queue: mpsc::Sender<Outgoing>,
}

impl Connections {
    /// Room for `max` connections, owned by the workers of these mailboxes.
    pub(crate) fn new(mailboxes: &[Mailbox], max: usize) -> Connections {
        let owner = || {
            RwLock::new(Owner {
                slots: Vec::new(),
                free: Vec::new(),
                generation: unpredictable(),
            })
        };
        Connections {
            owners: mailboxes.iter().map(|_| owner()).collect(),
            by_key: Mutex::default(),
            mailboxes: mailboxes.into(),
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    /// Changes `max_connections`; those that are open stay.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Enters a connection that was accepted; `None` when `max_connections` are open.
    ///
    /// RFC 3261 §18.1.1: a request to the very address and port of its peer may use it.
    pub(crate) fn accepted(
        &self,
        owner: u16,
        key: ConnectionKey,
    ) -> Option<(FlowId, mpsc::Receiver<Outgoing>)> {
        let entered = self.enter(owner, key)?;
        self.keys().entry(key).or_insert(entered.0);
        Some(entered)
    }

    /// The connection to a destination, or the right to open it.
    pub(crate) fn reserve(&self, owner: u16, key: ConnectionKey) -> Reservation {
        let mut keys = self.keys();
        if let Some(flow) = keys.get(&key).copied().filter(|flow| self.is_alive(*flow)) {
            return Reservation::Existing(flow);
        }
        let Some((flow, receiver)) = self.enter(owner, key) else {
            return Reservation::Full;
        };
        keys.insert(key, flow);
        Reservation::New(flow, receiver)
    }

    /// Whether the connection is open (or being opened).
    pub(crate) fn is_alive(&self, flow: FlowId) -> bool {
        self.with(flow, |_| ()).is_some()
    }

    /// Puts a packet into the connection's queue.
    pub(crate) fn send(&self, flow: FlowId, outgoing: Outgoing) -> Result<(), (Unsent, Outgoing)> {
        let owner = self.owner(flow);
        let Some(connection) = owner.as_ref().and_then(|owner| owner.connection(flow)) else {
            return Err((Unsent::Gone, outgoing));
        };
        connection
            .queue
            .try_send(outgoing)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(outgoing) => (Unsent::Full, outgoing),
                mpsc::error::TrySendError::Closed(outgoing) => (Unsent::Gone, outgoing),
            })
    }

    /// No new request takes this connection, but responses on its flow still do.
    pub(crate) fn retire(&self, flow: FlowId, key: ConnectionKey) {
        let mut keys = self.keys();
        if keys.get(&key) == Some(&flow) {
            keys.remove(&key);
        }
    }

    /// The connection is over.
    pub(crate) fn remove(&self, flow: FlowId) {
        let Some(key) = self.with(flow, |connection| connection.key) else {
            return;
        };
        self.retire(flow, key);
        let Some(owner) = self.owners.get(usize::from(flow.owner)) else {
            return;
        };
        let mut owner = owner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = owner.slots.get_mut(flow.slot as usize) {
            *slot = None;
            owner.free.push(flow.slot);
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Tells the sender of a packet that it failed.
    pub(crate) fn failed(&self, sender: Option<Sender>) {
        let Some(sender) = sender else { return };
        if let Some(mailbox) = self.mailboxes.get(usize::from(sender.worker)) {
            mailbox.answer(Answer::SendFailed(sender.id));
        }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(
        &self,
        owner_index: u16,
        key: ConnectionKey,
    ) -> Option<(FlowId, mpsc::Receiver<Outgoing>)> {
        let owner = self.owners.get(usize::from(owner_index))?;
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.max.load(Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (queue, receiver) = mpsc::channel(MAX_WAITING);
        let mut owner = owner.write().unwrap_or_else(PoisonError::into_inner);
        owner.generation = owner.generation.wrapping_add(1);
        let connection = Connection {
            generation: owner.generation,
            key,
            queue,
        };
        let generation = connection.generation;
        let slot = owner.place(connection);
        Some((
            FlowId {
                owner: owner_index,
                slot,
                generation,
            },
            receiver,
        ))
    }

    fn with<T>(&self, flow: FlowId, read: impl FnOnce(&Connection) -> T) -> Option<T> {
        self.owner(flow)?.connection(flow).map(read)
    }

    fn owner(&self, flow: FlowId) -> Option<RwLockReadGuard<'_, Owner>> {
        let owner = self.owners.get(usize::from(flow.owner))?;
        Some(owner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<ConnectionKey, FlowId, foldhash::fast::RandomState>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    fn connection(&self, flow: FlowId) -> Option<&Connection> {
        let connection = self.slots.get(flow.slot as usize)?.as_ref()?;
        (connection.generation == flow.generation).then_some(connection)
    }

    fn place(&mut self, connection: Connection) -> u32 {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            *place = Some(connection);
            return slot;
        }
        self.slots.push(Some(connection));
        // `max_connections` is far below 2^32.
        (self.slots.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::worker::Mail;

    fn key(port: u16) -> ConnectionKey {
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        ConnectionKey {
            transport: Transport::Tcp,
            remote,
            listener: ListenerId(0),
        }
    }

    fn outgoing(id: u64) -> Outgoing {
        Outgoing {
            packet: Vec::new().into(),
            sender: Some(Sender {
                worker: 0,
                id: SendId(id),
            }),
        }
    }

    #[test]
    fn a_destination_has_one_connection_in_the_process() {
        let connections = Connections::new(&[Mailbox::new(), Mailbox::new()], 10);
        let Reservation::New(flow, _receiver) = connections.reserve(0, key(1)) else {
            panic!("not new")
        };
        let Reservation::Existing(existing) = connections.reserve(1, key(1)) else {
            panic!("not existing")
        };
        assert_eq!((existing, existing.owner), (flow, 0));
    }

    #[test]
    fn an_accepted_connection_is_reused_for_its_peer() {
        let connections = Connections::new(&[Mailbox::new()], 10);
        let (flow, _receiver) = connections.accepted(0, key(1)).unwrap();
        assert!(
            matches!(connections.reserve(0, key(1)), Reservation::Existing(found) if found == flow)
        );
    }

    #[test]
    fn a_later_connection_in_the_slot_is_another_flow() {
        let connections = Connections::new(&[Mailbox::new()], 10);
        let (first, _receiver) = connections.accepted(0, key(1)).unwrap();
        connections.remove(first);
        let (second, _second_receiver) = connections.accepted(0, key(1)).unwrap();
        assert_eq!(first.slot, second.slot);
        assert!(!connections.is_alive(first) && connections.is_alive(second));
        assert_eq!(
            connections.send(first, outgoing(1)).unwrap_err().0,
            Unsent::Gone
        );
    }

    #[test]
    fn a_retired_connection_takes_no_new_destination_but_serves_its_flow() {
        let connections = Connections::new(&[Mailbox::new()], 10);
        let (flow, _receiver) = connections.accepted(0, key(1)).unwrap();
        connections.retire(flow, key(1));
        assert!(connections.send(flow, outgoing(1)).is_ok());
        assert!(matches!(
            connections.reserve(0, key(1)),
            Reservation::New(..)
        ));
    }

    #[test]
    fn the_limit_counts_open_connections() {
        let connections = Connections::new(&[Mailbox::new()], 1);
        let (flow, _receiver) = connections.accepted(0, key(1)).unwrap();
        assert!(connections.accepted(0, key(2)).is_none());
        assert!(matches!(connections.reserve(0, key(3)), Reservation::Full));
        connections.remove(flow);
        connections.remove(flow);
        assert_eq!(connections.count(), 0);
        assert!(connections.accepted(0, key(2)).is_some());
    }

    #[test]
    fn a_full_queue_refuses() {
        let connections = Connections::new(&[Mailbox::new()], 1);
        let (flow, _receiver) = connections.accepted(0, key(1)).unwrap();
        for id in 0..MAX_WAITING as u64 {
            assert!(connections.send(flow, outgoing(id)).is_ok());
        }
        assert_eq!(
            connections.send(flow, outgoing(0)).unwrap_err().0,
            Unsent::Full
        );
    }

    #[test]
    fn a_failure_reaches_the_worker_that_sent() {
        let mailboxes = [Mailbox::new(), Mailbox::new()];
        let connections = Connections::new(&mailboxes, 1);
        connections.failed(Some(Sender {
            worker: 1,
            id: SendId(7),
        }));
        let mut mail = Mail::default();
        mailboxes[1].take(&mut mail);
        assert!(matches!(
            mail.answers.pop_front(),
            Some(Answer::SendFailed(SendId(7)))
        ));
    }
}
