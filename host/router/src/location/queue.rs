//! The queue from the workers to the thread that writes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A bounded queue whose reader takes everything at once. The reader is woken only when it waits for a first element.
pub(super) struct Queue<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    limit: usize,
}

struct State<T> {
    waiting: Vec<T>,
    /// The reader sleeps until there is something.
    reader_sleeps: bool,
    is_closed: bool,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue(Arc::clone(&self.0))
    }
}

impl<T> Queue<T> {
    /// A queue for `limit` elements.
    pub(super) fn new(limit: usize) -> Queue<T> {
        Queue(Arc::new(Shared {
            state: Mutex::new(State {
                waiting: Vec::new(),
                reader_sleeps: false,
                is_closed: false,
            }),
            changed: Condvar::new(),
            limit,
        }))
    }

    /// Puts an element in; gives it back when there is no room or nobody reads any more.
    pub(super) fn push(&self, element: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.is_closed || state.waiting.len() >= self.0.limit {
            return Err(element);
        }
        state.waiting.push(element);
        let wakes = std::mem::take(&mut state.reader_sleeps);
        drop(state);
        if wakes {
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something; `false` when the queue is closed and empty.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.is_closed {
                return false;
            }
            state.reader_sleeps = true;
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Lets more come in for so long; returns at once when the queue is closed.
    pub(super) fn pause(&self, pause: Duration) {
        let state = self.lock();
        if !pause.is_zero() {
            let is_open = |state: &mut State<T>| !state.is_closed;
            drop(self.0.changed.wait_timeout_while(state, pause, is_open));
        }
    }

    /// Swaps everything with the (empty) `taken`.
    pub(super) fn take(&self, taken: &mut Vec<T>) {
        std::mem::swap(&mut self.lock().waiting, taken);
    }

    /// Nothing more goes in; what is there can still be taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every change is one step.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_in_order_up_to_the_limit() {
        let queue = Queue::new(2);
        assert_eq!(
            (queue.push(1), queue.push(2), queue.push(3)),
            (Ok(()), Ok(()), Err(3))
        );
        let mut taken = Vec::new();
        assert!(queue.wait());
        queue.take(&mut taken);
        assert_eq!(taken, [1, 2]);
        assert_eq!(queue.push(4), Ok(()));
    }

    #[test]
    fn closed_queue_gives_what_it_has() {
        let queue = Queue::new(2);
        assert_eq!(queue.push(1), Ok(()));
        queue.close();
        assert_eq!(queue.push(2), Err(2));
        queue.pause(Duration::from_secs(60));
        assert!(queue.wait());
        queue.take(&mut Vec::new());
        assert!(!queue.wait());
    }

    #[test]
    fn a_reader_that_sleeps_is_woken() {
        let queue = Queue::new(2);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| queue.wait());
            assert_eq!(queue.push(1), Ok(()));
            assert!(reader.join().unwrap());
        });
    }
}
