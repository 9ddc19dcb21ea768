//! Reuse of messages.

use std::sync::Arc;

use crate::message::Message;

/// Larger ones are rare, unless a stranger sends them to fill the memory.
const KEPT_BYTES: usize = 16 * 1024;

/// Keeps messages that nobody reads any more, so that the next one needs no memory.
#[derive(Debug)]
pub struct MessagePool {
    free: Vec<Arc<Message>>,
    capacity: usize,
}

impl Default for MessagePool {
    fn default() -> Self {
        MessagePool::new(1024)
    }
}

impl MessagePool {
    /// A pool that keeps at most so many.
    pub fn new(capacity: usize) -> MessagePool {
        MessagePool {
            free: Vec::new(),
            capacity,
        }
    }

    /// Whether the next message needs new memory.
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// A message that nobody else holds: `Arc::get_mut` gives it to write to.
    pub fn take(&mut self) -> Arc<Message> {
        self.free.pop().unwrap_or_default()
    }

    /// Gives a message back. One that others still hold, that is beyond the capacity, or that is large, is let go.
    pub fn put(&mut self, message: Arc<Message>) {
        let has_room = self.free.len() < self.capacity && message.memory() <= KEPT_BYTES;
        // Nobody has weak references to messages.
        if has_room && Arc::strong_count(&message) == 1 {
            self.free.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_unique() {
        let mut pool = MessagePool::default();
        let held = pool.take();
        pool.put(Arc::clone(&held));
        assert!(Arc::get_mut(&mut pool.take()).is_some());
        let address = Arc::as_ptr(&held);
        pool.put(held);
        assert_eq!(Arc::as_ptr(&pool.take()), address);
    }

    #[test]
    fn a_large_message_is_not_kept() {
        let mut pool = MessagePool::default();
        let text = format!(
            "OPTIONS sip:a SIP/2.0\r\nSubject: a\r\n\r\n{}",
            "x".repeat(60_000)
        );
        for (length, kept) in [(1000, 1), (text.len(), 0)] {
            let message = Message::parse(&text.as_bytes()[..length], &crate::Limits::default());
            pool.put(Arc::new(message.unwrap()));
            assert_eq!(pool.free.drain(..).count(), kept);
        }
    }

    #[test]
    fn it_keeps_no_more_than_its_capacity() {
        let mut pool = MessagePool::new(1);
        pool.put(Arc::default());
        pool.put(Arc::default());
        assert_eq!(pool.free.len(), 1);
    }
}
