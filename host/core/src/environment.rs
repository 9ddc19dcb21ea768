//! What every part of the core shares: configuration, secrets, randomness, outputs, pools.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::door::{
    CoreConfig, DropReason, Event, Flow, ListenerId, Output, Packet, SendId, SendTo,
};
use crate::keyed::Keyed;
use crate::local::LocalNames;

/// How many packets wait for reuse at most.
const POOLED_PACKETS: usize = 1024;

/// The shared part of a core.
pub(crate) struct Environment {
    pub(crate) config: Arc<CoreConfig>,
    pub(crate) local: LocalNames,
    pub(crate) keyed: Keyed,
    pub(crate) random: StdRng,
    pub(crate) outputs: VecDeque<Output>,
    /// Packets whose last user may be gone.
    packets: VecDeque<Packet>,
    last_hook: u32,
}

impl Environment {
    pub(crate) fn new(config: Arc<CoreConfig>, seed: [u8; 32]) -> Environment {
        Environment {
            local: LocalNames::new(&config),
            keyed: Keyed::new(&config),
            random: StdRng::from_seed(seed),
            outputs: VecDeque::new(),
            packets: VecDeque::new(),
            last_hook: 0,
            config,
        }
    }

    /// Replaces the configuration.
    pub(crate) fn reconfigure(&mut self, config: Arc<CoreConfig>) {
        self.local = LocalNames::new(&config);
        self.keyed = Keyed::new(&config);
        self.config = config;
    }

    /// Puts an event out.
    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Counts a dropped message.
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.event(Event::Dropped(reason));
    }

    /// Puts a packet out.
    pub(crate) fn send(&mut self, id: SendId, to: &SendTo, packet: &Packet) {
        self.outputs.push_back(Output::Send {
            id,
            to: to.clone(),
            packet: packet.clone(),
        });
    }

    /// A packet that `write` fills; its memory was another packet's where possible.
    pub(crate) fn packet(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Packet {
        let mut packet = self.packets.pop_front().unwrap_or_default();
        if let Some(bytes) = Arc::get_mut(&mut packet) {
            bytes.clear();
            write(bytes);
            return packet;
        }
        // Somebody still sends it: it goes to the end of the queue.
        self.recycle(packet);
        let mut bytes = Vec::with_capacity(1024);
        write(&mut bytes);
        Arc::new(bytes)
    }

    /// Takes a packet back; whoever still sends it keeps it alive.
    pub(crate) fn recycle(&mut self, packet: Packet) {
        if self.packets.len() < POOLED_PACKETS {
            self.packets.push_back(packet);
        }
    }

    /// A number that names one hook run; never 0.
    pub(crate) fn next_hook(&mut self) -> u32 {
        self.last_hook = self.last_hook.wrapping_add(1).max(1);
        self.last_hook
    }

    /// 64 random bits.
    pub(crate) fn random64(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// The address that stands for a listener in Via and Record-Route: the bound one, or for a wildcard `hint`, else the one that `flow` came to.
    pub(crate) fn listener_address(
        &self,
        listener: ListenerId,
        hint: Option<IpAddr>,
        flow: &Flow,
    ) -> SocketAddr {
        let Some(found) = self.config.listeners.get(usize::from(listener.0)) else {
            return flow.local;
        };
        if !found.address.ip().is_unspecified() {
            return found.address;
        }
        SocketAddr::new(hint.unwrap_or(flow.local.ip()), found.address.port())
    }
}
