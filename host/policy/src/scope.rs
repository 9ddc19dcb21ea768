//! Whom instances serve. What a policy keeps in its memory from one hook to the next stays inside of a scope.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// For whom hooks run. Instances of the same version are never shared by two scopes; the compiled code is.
#[derive(Debug)]
pub struct Scope {
    number: u64,
}

/// The next scope's number; 0 is that of hooks without one.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Scope {
    /// A scope of its own. Its instances live as long as it does.
    #[allow(
        clippy::new_ret_no_self,
        reason = "its instances watch whether anybody holds it"
    )]
    pub fn new() -> Arc<Scope> {
        Arc::new(Scope {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}
