//! What every part of the core shares: configuration, secrets, randomness, outputs, pools.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use patchbay_message::{Draft, Message};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::door::{
    CoreConfig, DropReason, Event, Flow, Listener, ListenerId, Output, Packet, SendId, SendTo,
};
use crate::keyed::Keyed;
use crate::local::{self, LocalNames};

/// What is larger is not kept for reuse: a stranger's large messages must not stay in memory.
const POOLED_BYTES: usize = 4096;

/// Room for the usual edits of one draft: a Via with `received`, a Request-URI.
const DRAFT_BYTES: usize = 192;

/// How many copies for retransmissions wait for reuse at most, and the step in which their memory grows.
const POOLED_STORED: usize = 4096;
const STORED_STEP: usize = 64;

/// How many drafts wait for reuse at most.
const POOLED_DRAFTS: usize = 4096;

/// The shared part of a core.
pub(crate) struct Environment {
    pub(crate) config: Arc<CoreConfig>,
    pub(crate) local: LocalNames,
    /// The bound address of each listener, as text.
    bound: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) keyed: Keyed,
    pub(crate) random: StdRng,
    pub(crate) outputs: VecDeque<Output>,
    /// Drafts whose memory for edits can be used again; they hold no message.
    drafts: Vec<Draft>,
    /// The memory of copies that are no longer needed.
    stored: Vec<Vec<u8>>,
    /// A buffer for texts that are made and copied at once.
    pub(crate) scratch: Vec<u8>,
    last_hook: u32,
}

impl Environment {
    pub(crate) fn new(config: Arc<CoreConfig>, seed: [u8; 32]) -> Environment {
        Environment {
            local: LocalNames::new(&config),
            bound: bound_addresses(&config),
            keyed: Keyed::new(&config),
            random: StdRng::from_seed(seed),
            outputs: VecDeque::new(),
            drafts: Vec::new(),
            stored: Vec::new(),
            scratch: Vec::new(),
            last_hook: 0,
            config,
        }
    }

    /// Replaces the configuration.
    pub(crate) fn reconfigure(&mut self, config: Arc<CoreConfig>) {
        self.local = LocalNames::new(&config);
        self.bound = bound_addresses(&config);
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
    pub(crate) fn send(&mut self, id: SendId, to: &SendTo, packet: Packet) {
        self.outputs.push_back(Output::Send {
            id,
            to: to.clone(),
            packet,
        });
    }

    /// A copy of these bytes for a transaction that is over but for its retransmissions; its memory was another's where possible.
    pub(crate) fn stored(&mut self, bytes: &[u8]) -> Vec<u8> {
        let room = bytes.len().next_multiple_of(STORED_STEP);
        let mut stored = self.stored.pop().unwrap_or_default();
        stored.clear();
        stored.reserve_exact(room);
        stored.extend_from_slice(bytes);
        stored
    }

    /// Takes the memory of such a copy back.
    pub(crate) fn take_back(&mut self, bytes: Vec<u8>) {
        if self.stored.len() < POOLED_STORED && bytes.capacity() <= POOLED_BYTES {
            self.stored.push(bytes);
        }
    }

    /// A draft of this message; its memory was another draft's where possible.
    pub(crate) fn draft(&mut self, message: Arc<Message>) -> Draft {
        match self.drafts.pop() {
            Some(mut draft) => {
                draft.reset(message);
                draft
            }
            None => Draft::with_capacity(message, DRAFT_BYTES),
        }
    }

    /// A copy of a draft; its memory was another draft's where possible.
    pub(crate) fn copy(&mut self, source: &Draft) -> Draft {
        match self.drafts.pop() {
            Some(mut draft) => {
                draft.clone_from(source);
                draft
            }
            None => {
                let mut draft = Draft::with_capacity(source.base().clone(), DRAFT_BYTES);
                draft.clone_from(source);
                draft
            }
        }
    }

    /// Takes a draft back.
    pub(crate) fn give_back(&mut self, mut draft: Draft) {
        let has_memory = (1..=POOLED_BYTES).contains(&draft.capacity());
        if self.drafts.len() < POOLED_DRAFTS && has_memory {
            draft.clear();
            self.drafts.push(draft);
        }
    }

    /// The memory in the pools.
    #[cfg(test)]
    pub(crate) fn pooled_bytes(&self) -> usize {
        let drafts = self.drafts.iter().map(Draft::capacity);
        let stored = self.stored.iter().map(Vec::capacity);
        Packet::pooled_bytes() + drafts.sum::<usize>() + stored.sum::<usize>()
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

    /// Appends the `host[:port]` that stands for a listener in Via and Record-Route: what it advertises, else `local`.
    pub(crate) fn write_sent_by(&self, out: &mut Vec<u8>, listener: ListenerId, local: SocketAddr) {
        match self.bound.get(usize::from(listener.0)) {
            // Nearly always; it was written when the configuration came.
            Some((address, text)) if *address == local => out.extend_from_slice(text),
            _ => local::write_sent_by(out, &self.config, listener, local),
        }
    }
}

/// What [`local::write_sent_by`] writes for each listener where it is bound.
fn bound_addresses(config: &CoreConfig) -> Vec<(SocketAddr, Vec<u8>)> {
    let write = |(index, listener): (usize, &Listener)| {
        let mut text = Vec::new();
        let id = ListenerId(index as u16);
        local::write_sent_by(&mut text, config, id, listener.address);
        (listener.address, text)
    };
    config.listeners.iter().enumerate().map(write).collect()
}
