//! The bytes of a message to send.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// How many packets wait for reuse at most, in each thread.
const POOLED: usize = 16_384;
/// What is larger is not kept for reuse: a stranger's large messages must not stay in memory.
const POOLED_BYTES: usize = 4096;
/// Room for a usual message.
const ROOM: usize = 1024;

thread_local! {
    /// Memory that can be used again. The last to come is the first to go: the processor still has it near.
    static FREE: RefCell<Vec<Arc<Vec<u8>>>> = const { RefCell::new(Vec::new()) };
}

/// The bytes of one message to send, shared with the state that may send them again. The last holder gives the memory back to its thread.
#[derive(Clone, Default)]
pub struct Packet(
    /// Always there, but in an empty one.
    Option<Arc<Vec<u8>>>,
);

impl Packet {
    /// A packet that `write` fills; its memory was another packet's where possible.
    pub fn write(write: impl FnOnce(&mut Vec<u8>)) -> Packet {
        let free = FREE.try_with(|free| free.try_borrow_mut().ok()?.pop());
        let mut shared = free.ok().flatten().unwrap_or_else(empty);
        // Nobody else holds it: only then it was put there.
        let bytes = Arc::make_mut(&mut shared);
        bytes.clear();
        write(bytes);
        Packet(Some(shared))
    }

    /// The memory that it takes.
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.capacity())
    }

    /// The memory of packets that waits for reuse in this thread.
    #[cfg(test)]
    pub(crate) fn pooled_bytes() -> usize {
        FREE.with_borrow(|free| free.iter().map(|bytes| bytes.capacity()).sum())
    }
}

fn empty() -> Arc<Vec<u8>> {
    Arc::new(Vec::with_capacity(ROOM))
}

impl Drop for Packet {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else {
            return;
        };
        if Arc::strong_count(&shared) > 1 || shared.capacity() > POOLED_BYTES {
            return;
        }
        // When the thread ends the pool may be gone already.
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free.len() < POOLED
            {
                free.push(shared);
            }
        });
    }
}

impl Deref for Packet {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| bytes)
    }
}

impl From<Vec<u8>> for Packet {
    fn from(bytes: Vec<u8>) -> Packet {
        Packet(Some(Arc::new(bytes)))
    }
}

impl From<&[u8]> for Packet {
    fn from(bytes: &[u8]) -> Packet {
        Packet::write(|packet| packet.extend_from_slice(bytes))
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Packet) -> bool {
        **self == **other
    }
}

impl Eq for Packet {}

impl fmt::Debug for Packet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Packet({})", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_when_the_last_holder_is_gone() {
        let packet = Packet::from(&b"one"[..]);
        let place = packet.as_ptr();
        let other = packet.clone();
        drop(packet);
        let second = Packet::from(&b"two"[..]);
        assert_ne!(second.as_ptr(), place);
        assert_eq!((&*other, &*second), (&b"one"[..], &b"two"[..]));
        drop(other);
        let third = Packet::from(&b"three"[..]);
        assert_eq!((third.as_ptr(), &*third), (place, &b"three"[..]));
        assert_eq!(&*second, b"two");
    }

    #[test]
    fn large_memory_is_not_kept() {
        let before = Packet::pooled_bytes();
        drop(Packet::from(vec![0; POOLED_BYTES + 1]));
        assert_eq!(Packet::pooled_bytes(), before);
        drop(Packet::from(vec![0; 100]));
        assert_eq!(Packet::pooled_bytes(), before + 100);
    }

    #[test]
    fn the_pool_has_an_end() {
        drop(vec![Packet::from(&b"x"[..]); POOLED + 10]);
        let packets: Vec<Packet> = (0..POOLED + 10).map(|_| Packet::from(vec![1])).collect();
        drop(packets);
        assert!(FREE.with_borrow(Vec::len) <= POOLED);
    }
}
