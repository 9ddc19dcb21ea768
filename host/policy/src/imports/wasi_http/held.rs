//! How much the host holds for a guest outside of the guest's own memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that an instance may have in headers and URLs; bodies are bounded by themselves.
const MAX_HELD_BYTES: usize = 8 << 20;

/// Counts what one instance holds.
#[derive(Default)]
pub(super) struct Holder(Arc<AtomicUsize>);

/// A part of it, which is given back when it is dropped.
pub(super) struct Held {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Holder {
    pub(super) fn held(&self) -> Held {
        Held {
            bytes: 0,
            total: Arc::clone(&self.0),
        }
    }

    /// How much it is in all.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Held {
    /// How much it is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Both in one.
    pub(super) fn join(mut self, mut other: Held) -> Held {
        self.bytes += std::mem::take(&mut other.bytes);
        self
    }

    /// Holds so much instead; false when it is too much, and nothing has changed.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let others = self
            .total
            .load(Ordering::Relaxed)
            .saturating_sub(self.bytes);
        let total = others.saturating_add(bytes);
        if bytes > self.bytes && total > MAX_HELD_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.total.store(total, Ordering::Relaxed);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Less is always held.
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_makes_room() {
        let holder = Holder::default();
        let (mut one, mut other) = (holder.held(), holder.held());
        assert!(one.set(MAX_HELD_BYTES));
        assert!(!other.set(1));
        assert!(one.set(MAX_HELD_BYTES - 1) && other.set(1));
        drop(one);
        assert!(other.set(MAX_HELD_BYTES));
        assert_eq!(other.bytes(), MAX_HELD_BYTES);
    }

    #[test]
    fn what_is_joined_is_given_back_in_one() {
        let holder = Holder::default();
        let (mut one, mut other) = (holder.held(), holder.held());
        assert!(one.set(2) && other.set(3));
        let both = one.join(other);
        assert_eq!((both.bytes(), holder.bytes()), (5, 5));
        drop(both);
        assert_eq!(holder.bytes(), 0);
    }
}
