//! Messages on their way from the worker that received them to the one they belong to.

use patchbay_core::door::Flow;

/// More memory than this is given back when the messages are gone.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// Messages in the order they came, in one piece of memory that is used again.
#[derive(Default)]
pub(crate) struct HandedOver {
    /// The way each came, and where it ends in `bytes`.
    messages: Vec<(Flow, usize)>,
    bytes: Vec<u8>,
}

impl HandedOver {
    /// Adds a message.
    pub(super) fn push(&mut self, flow: &Flow, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.messages.push((*flow, self.bytes.len()));
    }

    /// Takes over the messages of `other` until there are `limit`, and returns how many were too many. `other` is empty then.
    pub(super) fn append(&mut self, other: &mut HandedOver, limit: usize) -> usize {
        if self.is_empty() && other.len() <= limit {
            std::mem::swap(self, other);
            return 0;
        }
        let room = limit.saturating_sub(self.len());
        let refused = other.len().saturating_sub(room);
        for (flow, bytes) in other.iter().take(room) {
            self.push(flow, bytes);
        }
        other.clear();
        refused
    }

    /// The messages.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Flow, &[u8])> {
        let mut start = 0;
        self.messages.iter().map(move |(flow, end)| {
            let bytes = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (flow, bytes)
        })
    }

    /// Forgets the messages and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.bytes.clear();
        self.bytes.shrink_to(MAX_KEPT_BYTES);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use patchbay_core::door::{ListenerId, Transport};

    use super::*;

    fn from(texts: &[&str]) -> HandedOver {
        let address: SocketAddr = "127.0.0.1:5060".parse().unwrap();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: address,
            remote: address,
            connection: None,
        };
        let mut messages = HandedOver::default();
        for text in texts {
            messages.push(&flow, text.as_bytes());
        }
        messages
    }

    fn texts(messages: &HandedOver) -> Vec<&[u8]> {
        messages.iter().map(|(_, bytes)| bytes).collect()
    }

    #[test]
    fn messages_are_appended_in_order_until_the_limit() {
        let (mut all, mut more) = (from(&["a", "bc"]), from(&["", "def", "g"]));
        assert_eq!(all.append(&mut more, 4), 1);
        assert!(more.is_empty());
        assert_eq!(texts(&all), [&b"a"[..], b"bc", b"", b"def"]);
    }

    #[test]
    fn the_limit_holds_for_an_empty_one_too() {
        let mut all = HandedOver::default();
        assert_eq!(all.append(&mut from(&["a", "b", "c"]), 2), 1);
        assert_eq!(texts(&all), [b"a", b"b"]);
        all.clear();
        assert_eq!((all.len(), texts(&all).len()), (0, 0));
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut all = from(&["x".repeat(2 * MAX_KEPT_BYTES).as_str()]);
        all.clear();
        assert!(all.bytes.capacity() <= MAX_KEPT_BYTES);
    }
}
