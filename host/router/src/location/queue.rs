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
    /// How many were ever put in.
    pushed: u64,
    /// The reader sleeps until so many wait.
    reader_sleeps_until: Option<usize>,
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
                pushed: 0,
                reader_sleeps_until: None,
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
        state.pushed += 1;
        let waiting = state.waiting.len();
        let wakes = state
            .reader_sleeps_until
            .take_if(|enough| waiting >= *enough);
        drop(state);
        if wakes.is_some() {
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
            state.reader_sleeps_until = Some(1);
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Lets more come in for so long, until so many wait, or until the queue is closed.
    pub(super) fn pause(&self, pause: Duration, enough: usize) {
        let mut state = self.lock();
        if pause.is_zero() {
            return;
        }
        state.reader_sleeps_until = Some(enough);
        let waits = |state: &mut State<T>| !state.is_closed && state.waiting.len() < enough;
        let slept = self.0.changed.wait_timeout_while(state, pause, waits);
        let (mut state, _) = slept.unwrap_or_else(PoisonError::into_inner);
        state.reader_sleeps_until = None;
    }

    /// How many elements were ever put in.
    pub(super) fn pushed(&self) -> u64 {
        self.lock().pushed
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
        queue.pause(Duration::from_secs(60), 10);
        assert!(queue.wait());
        queue.take(&mut Vec::new());
        assert!(!queue.wait());
    }

    #[test]
    fn a_pause_ends_when_enough_wait() {
        let queue = Queue::new(10);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| queue.pause(Duration::from_secs(60), 3));
            for element in 0..3 {
                assert_eq!(queue.push(element), Ok(()));
            }
            reader.join().unwrap();
        });
        assert_eq!(queue.pushed(), 3);
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
