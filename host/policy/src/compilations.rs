//! How many components are compiled at the same time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Each compilation takes a thread per core and much memory: more of them wait for their turn. There is one for each of a component that is
/// pushed, a changed file and the policies of a reload, and one for whoever activates a version that was freed meanwhile.
const MAX: usize = 4;

/// The compilations that are under way.
#[derive(Default)]
pub(crate) struct Compilations {
    under_way: Mutex<usize>,
    ended: Condvar,
}

struct Place<'c>(&'c Compilations);

impl Compilations {
    /// Compiles on threads of its own: those that all compilations share begin no other one before a large one is done.
    pub(crate) fn alone<T: Send>(&self, compile: impl FnOnce() -> T + Send) -> T {
        let _place = self.place();
        let threads = rayon::ThreadPoolBuilder::new()
            .thread_name(|number| format!("compile-{number}"))
            .build();
        match threads {
            Ok(threads) => threads.install(compile),
            // There are no more threads: the shared ones take longer, and come to the same.
            Err(_) => compile(),
        }
    }

    /// Waits until there is room for one more. Who has a place waits for nobody who may be waiting for one.
    fn place(&self) -> Place<'_> {
        let full = |under_way: &mut usize| *under_way >= MAX;
        let under_way = self.ended.wait_while(self.lock(), full);
        *under_way.unwrap_or_else(PoisonError::into_inner) += 1;
        Place(self)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let compilations = self.0;
        let mut under_way = compilations.lock();
        *under_way = under_way.saturating_sub(1);
        compilations.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn so_many_are_compiled_at_the_same_time_and_no_more() {
        let compilations = Compilations::default();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // It opens when so many are inside.
        let inside = Barrier::new(MAX);
        std::thread::scope(|scope| {
            for _ in 0..8 * MAX {
                scope.spawn(|| {
                    compilations.alone(|| {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.wait();
                        now.fetch_sub(1, Ordering::SeqCst);
                    });
                });
            }
        });
        assert_eq!(most.into_inner(), MAX);
        assert_eq!(*compilations.lock(), 0);
    }

    #[test]
    fn one_that_panics_gives_its_place_back() {
        let compilations = Compilations::default();
        let panics = || compilations.alone(|| panic!("a bug of the compiler"));
        for _ in 0..=MAX {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
            assert!(caught.is_err());
        }
        assert_eq!(compilations.alone(|| 1), 1);
    }
}
