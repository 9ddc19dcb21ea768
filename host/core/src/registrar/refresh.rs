//! The registration that phones send again and again, without making a new binding for it.

use super::rule::Asked;
use super::{
    Bindings, Change, ChangeKind, ContactBinding, Contacts, RegistrarConfig, Registration,
};
use crate::time::UnixTime;

/// What of a binding every refresh changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub expires: UnixTime,
    pub updated: UnixTime,
    pub cseq: u32,
}

/// What a refresh in place has overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overwritten {
    at: usize,
    stamp: Stamp,
}

/// Refreshes one contact where it stands, when the registration says nothing new but how long the contact holds and its CSeq. Then
/// the bindings are what [`apply`](super::apply) would have made.
///
/// `None`: nothing was done, because more would change, the registration is refused, or somebody shares the bindings; ask
/// [`apply`](super::apply).
pub fn refresh(
    existing: &mut Bindings,
    registration: &Registration,
    config: &RegistrarConfig,
    now: UnixTime,
) -> Option<Overwritten> {
    let Contacts::Change(changes) = &registration.contacts else {
        return None;
    };
    let [change] = changes.as_slice() else {
        return None;
    };
    let asked = Asked {
        registration,
        config,
        now,
    };
    let is_whole = existing.iter().all(|binding| binding.is_live(now));
    if !is_whole || existing.len() > asked.max_contacts() {
        return None;
    }
    let at = existing
        .iter()
        .position(|binding| asked.is_same(binding, change))?;
    let binding = existing.get(at)?;
    let secs = asked.granted_secs(change).ok().filter(|secs| *secs > 0)?;
    asked.check_order(binding).ok()?;
    let parts = asked.parts(change, secs);
    if !binding.says(&parts) {
        return None;
    }
    let stamp = binding.stamp();
    let after = Stamp {
        expires: parts.expires,
        updated: parts.updated,
        cseq: parts.cseq,
    };
    let is_done = existing.get_mut(at)?.set_stamp(after);
    is_done.then_some(Overwritten { at, stamp })
}

impl Overwritten {
    /// The bindings as they were, when these are what the refresh has left.
    pub fn before(&self, after: &Bindings) -> Bindings {
        let was = |(at, binding): (usize, &ContactBinding)| {
            if at == self.at {
                binding.with_stamp(self.stamp)
            } else {
                binding.clone()
            }
        };
        after.iter().enumerate().map(was).collect()
    }

    /// What has changed.
    pub fn change(&self, after: &Bindings) -> Option<Change> {
        Some(Change {
            kind: ChangeKind::Refreshed,
            binding: after.get(self.at)?.clone(),
        })
    }
}
