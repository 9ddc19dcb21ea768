//! Reuse of messages.

use std::sync::Arc;

use crate::message::Message;

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

    /// A message that nobody else holds: `Arc::get_mut` gives it to write to.
    pub fn take(&mut self) -> Arc<Message> {
        self.free.pop().unwrap_or_default()
    }

    /// Gives a message back. One that others still hold, or that is beyond the capacity, is let go.
    pub fn put(&mut self, mut message: Arc<Message>) {
        if self.free.len() < self.capacity && Arc::get_mut(&mut message).is_some() {
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
    fn it_keeps_no_more_than_its_capacity() {
        let mut pool = MessagePool::new(1);
        pool.put(Arc::default());
        pool.put(Arc::default());
        assert_eq!(pool.free.len(), 1);
    }
}
