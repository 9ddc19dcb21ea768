//! What a registration has changed.

use patchbay_core::registrar::{Bindings, Changes, Overwritten};

/// What came of a registration that was not refused.
pub(super) enum Outcome {
    /// These are the bindings, as before.
    Unchanged(Bindings),
    /// They are others.
    Changed(Changed),
}

/// A change of the bindings of an address-of-record.
pub(super) struct Changed {
    /// How to get back.
    pub way_back: WayBack,
    /// The bindings as they are now.
    pub after: Bindings,
    /// What changed, if somebody wants to know.
    pub changes: Changes,
}

/// How to get back to the bindings as they were.
pub(super) enum WayBack {
    /// These were they.
    Replace(Bindings),
    /// A refresh has overwritten this.
    Overwrite(Overwritten),
}

impl Changed {
    /// The bindings as they were.
    pub(super) fn before(&self) -> Bindings {
        match &self.way_back {
            WayBack::Replace(before) => before.clone(),
            WayBack::Overwrite(overwritten) => overwritten.before(&self.after),
        }
    }
}
