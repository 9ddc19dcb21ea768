//! RFC 3261 §10.3 steps 6 and 7: how a registration changes the bindings of its address-of-record.

use patchbay_message::{Uri, uri_eq};
use smallvec::SmallVec;

use super::{
    BindingParts, Bindings, ContactBinding, ContactChange, Contacts, OutboundSupport,
    RegistrarConfig, Registration,
};
use crate::door::Reject;
use crate::time::UnixTime;

/// A registration that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// All live bindings, the oldest first.
    pub bindings: Bindings,
    /// What changed, in the order it did.
    pub changes: Changes,
}

/// What a registration changed: seldom more than one binding.
pub type Changes = SmallVec<[Change; 1]>;

/// One change of one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The binding as it is now; of one that is gone, as it was.
    pub binding: ContactBinding,
}

/// What happened to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was there and holds longer, or says something else.
    Refreshed,
    /// It was removed on request.
    Removed,
    /// Its time was over.
    Expired,
}

/// Applies `registration` to the bindings of its address-of-record: all of it, or nothing.
///
/// Refusals: 500 for a request that is out of order, 423 for an interval that is too brief, 403 for more contacts than
/// the configuration allows (no RFC names a status for that; 403 tells the UA not to try again unchanged), 513 for a
/// contact of more than 64 KiB.
pub fn apply(
    existing: &[ContactBinding],
    registration: &Registration,
    config: &RegistrarConfig,
    now: UnixTime,
) -> Result<Applied, Reject> {
    let mut update = Update {
        asked: Asked {
            registration,
            config,
            now,
        },
        bindings: SmallVec::new(),
        changes: Changes::new(),
    };
    update.take_live(existing);
    match &registration.contacts {
        Contacts::Fetch => {}
        Contacts::RemoveAll => update.remove_all()?,
        Contacts::Change(changes) => changes
            .iter()
            .try_for_each(|change| update.change(change))?,
    }
    update.finish()
}

/// The tentative state (RFC 3261 §10.3 step 7: committed only if everything succeeds).
struct Update<'a> {
    asked: Asked<'a>,
    bindings: SmallVec<[Tentative; 2]>,
    changes: Changes,
}

struct Tentative {
    binding: ContactBinding,
    /// This registration made it, so its CSeq is no reason to refuse a second value of the same request.
    is_ours: bool,
}

impl Tentative {
    fn check_order(&self, asked: &Asked<'_>) -> Result<(), Reject> {
        if self.is_ours {
            return Ok(());
        }
        asked.check_order(&self.binding)
    }
}

impl Update<'_> {
    fn take_live(&mut self, existing: &[ContactBinding]) {
        for binding in existing {
            if binding.is_live(self.asked.now) {
                self.bindings.push(Tentative {
                    binding: binding.clone(),
                    is_ours: false,
                });
            } else {
                self.note(ChangeKind::Expired, binding.clone());
            }
        }
    }

    /// RFC 3261 §10.3 step 6.
    fn remove_all(&mut self) -> Result<(), Reject> {
        for tentative in std::mem::take(&mut self.bindings) {
            tentative.check_order(&self.asked)?;
            self.note(ChangeKind::Removed, tentative.binding);
        }
        Ok(())
    }

    /// RFC 3261 §10.3 step 7, for one address.
    fn change(&mut self, change: &ContactChange) -> Result<(), Reject> {
        let expires_secs = self.asked.granted_secs(change)?;
        let found = self
            .bindings
            .iter()
            .position(|tentative| self.asked.is_same(&tentative.binding, change));
        if let Some(tentative) = found.and_then(|at| self.bindings.get(at)) {
            tentative.check_order(&self.asked)?;
        }
        match (found, expires_secs) {
            (Some(at), 0) => {
                let removed = self.bindings.remove(at).binding;
                self.note(ChangeKind::Removed, removed);
            }
            (None, 0) => {}
            (found, secs) => {
                self.check_room(found)?;
                let binding = ContactBinding::new(&self.asked.parts(change, secs));
                self.put(found, binding.ok_or(Reject::new(513, ""))?);
            }
        }
        Ok(())
    }

    /// One request replaces every old contact at most; without this bound each of thousands would be compared with all before it.
    fn check_room(&self, found: Option<usize>) -> Result<(), Reject> {
        let ours = self.bindings.iter().filter(|tentative| tentative.is_ours);
        if found.is_none() && ours.count() >= self.asked.max_contacts() {
            return Err(too_many());
        }
        Ok(())
    }

    fn put(&mut self, found: Option<usize>, binding: ContactBinding) {
        let kind = if found.is_some() {
            ChangeKind::Refreshed
        } else {
            ChangeKind::Added
        };
        let tentative = Tentative {
            binding: binding.clone(),
            is_ours: true,
        };
        match found.and_then(|at| self.bindings.get_mut(at)) {
            Some(place) => *place = tentative,
            None => self.bindings.push(tentative),
        }
        self.note(kind, binding);
    }

    fn note(&mut self, kind: ChangeKind, binding: ContactBinding) {
        self.changes.push(Change { kind, binding });
    }

    fn finish(self) -> Result<Applied, Reject> {
        let added = self.bindings.iter().any(|tentative| tentative.is_ours);
        if added && self.bindings.len() > self.asked.max_contacts() {
            return Err(too_many());
        }
        let bindings = self.bindings.into_iter();
        Ok(Applied {
            bindings: bindings.map(|tentative| tentative.binding).collect(),
            changes: self.changes,
        })
    }
}

/// What is asked for, and what applies to it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub registration: &'a Registration,
    pub config: &'a RegistrarConfig,
    pub now: UnixTime,
}

impl<'a> Asked<'a> {
    /// Contacts that the address-of-record may have.
    pub(super) fn max_contacts(&self) -> usize {
        let own = self.registration.max_contacts;
        own.unwrap_or(self.config.max_contacts)
    }

    /// RFC 3261 §10.3 step 7: with the same Call-ID only a higher CSeq may change a binding.
    pub(super) fn check_order(&self, binding: &ContactBinding) -> Result<(), Reject> {
        let same_call =
            !self.registration.call_id.is_empty() && binding.call_id() == self.registration.call_id;
        if same_call && self.registration.cseq <= binding.cseq() {
            return Err(Reject::new(500, "Out of Order"));
        }
        Ok(())
    }

    /// RFC 3261 §10.3 step 7: 423 only for less than an hour; RFC 3261 §20.23 wants Min-Expires in it.
    pub(super) fn granted_secs(&self, change: &ContactChange) -> Result<u32, Reject> {
        let asked = change
            .expires_secs
            .unwrap_or(self.config.default_expires_secs);
        let is_brief = asked > 0 && asked < 3600 && asked < self.config.min_expires_secs;
        // A policy decides for itself what it saves.
        if is_brief && change.expires_secs.is_some() && !self.registration.call_id.is_empty() {
            let headers = vec![("Min-Expires", self.config.min_expires_secs.to_string())];
            return Err(Reject {
                headers,
                ..Reject::new(423, "")
            });
        }
        Ok(asked.min(self.config.max_expires_secs))
    }

    /// RFC 5626 §6: a flow is known by instance and reg-id; everything else by its URI (RFC 3261 §19.1.4).
    pub(super) fn is_same(&self, binding: &ContactBinding, change: &ContactChange) -> bool {
        if let Some((instance, reg_id)) = self.flow_key(change) {
            return binding.reg_id() == Some(reg_id) && binding.instance() == Some(instance);
        }
        if binding.uri() == change.uri {
            return true;
        }
        match (Uri::parse(binding.uri()), Uri::parse(&change.uri)) {
            (Ok(ours), Ok(theirs)) => uri_eq(&ours, &theirs),
            _ => false,
        }
    }

    fn flow_key<'c>(&self, change: &'c ContactChange) -> Option<(&'c [u8], u32)> {
        if self.registration.outbound == OutboundSupport::None {
            return None;
        }
        Some((change.instance.as_deref()?, change.reg_id?))
    }

    /// What the binding of a contact is made of.
    pub(super) fn parts(&self, change: &'a ContactChange, expires_secs: u32) -> BindingParts<'a> {
        let registration = self.registration;
        BindingParts {
            display: &change.display,
            uri: &change.uri,
            parameters: &change.parameters,
            instance: change.instance.as_deref(),
            reg_id: self.flow_key(change).map(|(_, reg_id)| reg_id),
            q: change.q,
            expires: UnixTime(self.now.0.saturating_add(u64::from(expires_secs))),
            updated: self.now,
            call_id: &registration.call_id,
            cseq: registration.cseq,
            user_agent: &registration.user_agent,
            path: &registration.path,
            flow: registration.flow,
        }
    }
}

fn too_many() -> Reject {
    Reject::new(403, "Too Many Contacts")
}
