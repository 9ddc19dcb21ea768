//! What a transaction of a route begins with and keeps: the versions of its policies, in their order.

use std::sync::Arc;

use patchbay_core::door::{PolicyVersion, Tenant};
use patchbay_policy::{Policies, Version};
use smallvec::SmallVec;

use super::table::{Entry, Route};
use crate::hooks::HookHost;

/// A version's number without the bit that says that a dialog is kept in it.
const NUMBER_BITS: u32 = 63;

/// The policies of a route, each in the version that the transaction runs in.
pub(crate) struct Chain {
    /// The route.
    pub(crate) route: Arc<Route>,
    /// Its policies, in their order.
    pub(crate) links: SmallVec<[Arc<Link>; 2]>,
    /// What the core is told, and what stands in the token of a dialog that is kept in these versions.
    pub(crate) version: PolicyVersion,
}

/// One policy of a chain.
pub(crate) struct Link {
    /// Its version.
    pub(crate) version: Arc<Version<HookHost>>,
    /// The route.
    pub(crate) route: Arc<Route>,
    /// Its place in the chain.
    pub(crate) place: u8,
}

/// A policy of a route has no version that can run: its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoVersion(pub(crate) String);

impl Chain {
    /// The chain that a transaction keeps.
    pub(crate) fn of(tenant: &Tenant) -> Option<&Chain> {
        tenant.kept.downcast_ref()
    }

    /// The policy at a place.
    pub(crate) fn link(&self, place: u8) -> Option<&Arc<Link>> {
        self.links.get(usize::from(place))
    }

    /// A transaction begins.
    pub(crate) fn begin(&self, policies: &Policies<HookHost>) {
        self.route.usage.begin();
        for link in &self.links {
            policies.pin_version(&link.version);
        }
    }

    /// It is over.
    pub(crate) fn end(&self, policies: &Policies<HookHost>) {
        self.route.usage.end();
        for link in &self.links {
            policies.unpin_version(&link.version);
        }
    }

    fn is_current(&self) -> bool {
        let mut pairs = self.links.iter().zip(&self.route.policies);
        pairs.all(|(link, active)| {
            active
                .as_ref()
                .is_some_and(|active| active.is(&link.version))
        })
    }
}

/// The version for a place in a chain and the name of its policy, and whether the dialog is to be kept in it; `None`: the active one.
type Choose<'a> = dyn Fn(usize, &str) -> Option<(Arc<Version<HookHost>>, bool)> + 'a;

impl Entry {
    /// What new transactions of the route begin with.
    pub(crate) fn tenant(&self) -> Result<Arc<Tenant>, NoVersion> {
        let current = self.current.load();
        if let Some(tenant) = current.as_ref()
            && Chain::of(tenant).is_some_and(Chain::is_current)
        {
            return Ok(Arc::clone(tenant));
        }
        let tenant = self.make(&|_, _| None)?;
        self.current.store(Some(Arc::clone(&tenant)));
        Ok(tenant)
    }

    /// Lets go of versions that new transactions do not begin with any more; whether there were any.
    pub(super) fn let_go_of_replaced(&self) -> bool {
        let current = self.current.load();
        let is_replaced = |tenant: &Arc<Tenant>| {
            let chain = Chain::of(tenant);
            chain.is_none_or(|chain| !chain.is_current())
        };
        if !current.as_ref().is_some_and(is_replaced) {
            return false;
        }
        // A request may have come meanwhile: what it made stays.
        self.current.compare_and_swap(&current, None);
        true
    }

    /// What a transaction begins with that has another version of one policy, for one dialog to be kept in it.
    pub(crate) fn tenant_with(
        &self,
        version: &Arc<Version<HookHost>>,
    ) -> Result<Arc<Tenant>, NoVersion> {
        let is_its = |name: &str| **version.name() == *name;
        self.make(&|_, name| is_its(name).then(|| (Arc::clone(version), true)))
    }

    /// What a dialog is kept in, as far as those versions are still there.
    pub(crate) fn tenant_of_dialog(
        &self,
        kept: PolicyVersion,
        policies: &Policies<HookHost>,
    ) -> Result<Arc<Tenant>, NoVersion> {
        let current = self.tenant()?;
        if Chain::of(&current).is_some_and(|chain| chain.version.number() == kept.number()) {
            return Ok(current);
        }
        let length = self.route.written.policies.len();
        self.make(&|place, name| {
            let is_it = |version: &Version<HookHost>| {
                **version.name() == *name
                    && part_of(version.number(), length) == part_at(kept.number(), length, place)
            };
            policies
                .find(is_it)
                .map(|version| (version, kept.keeps_dialog()))
        })
    }

    /// A chain of the versions that `choose` names, with whether the dialog is to be kept in them, else of the active ones.
    fn make(&self, choose: &Choose<'_>) -> Result<Arc<Tenant>, NoVersion> {
        let route = &self.route;
        let mut keeps_dialog = false;
        let mut links = SmallVec::new();
        let pairs = route.written.policies.iter().zip(&route.policies);
        for (place, (name, active)) in pairs.enumerate() {
            let version = match choose(place, name) {
                Some((version, keeps)) => {
                    keeps_dialog |= keeps;
                    Some(version)
                }
                None => active.as_ref().and_then(|active| active.load()),
            };
            links.push(Arc::new(Link {
                version: version.ok_or_else(|| NoVersion(name.clone()))?,
                route: Arc::clone(route),
                place: u8::try_from(place).unwrap_or(u8::MAX),
            }));
        }
        let number = number_of(&links);
        let chain = Chain {
            route: Arc::clone(route),
            links,
            version: match keeps_dialog {
                true => PolicyVersion(number).keeping_dialog(),
                false => PolicyVersion(number),
            },
        };
        Ok(Arc::new(Tenant {
            route: route.id,
            realm: route.written.realm.clone(),
            domains: route.written.domains.clone(),
            max_branches: route.written.limits.max_branches,
            max_failure_rounds: route.written.limits.max_failure_rounds,
            max_contacts: route.written.limits.max_contacts,
            kept: Arc::new(chain),
        }))
    }
}

/// The numbers of a chain's versions in one: of each as many bits as there is room for. Never 0.
fn number_of(links: &[Arc<Link>]) -> u64 {
    let bits = bits_of(links.len());
    let number = links.iter().fold(0u64, |number, link| {
        let part = part_of(link.version.number(), links.len());
        number.checked_shl(bits).unwrap_or(0) | part
    });
    number.max(1)
}

/// What stands of a version's number in that of a chain with so many policies.
fn part_of(number: u64, length: usize) -> u64 {
    number & (u64::MAX >> (u64::BITS - bits_of(length)))
}

/// What stands of the version at a place in the number of a chain.
fn part_at(number: u64, length: usize, place: usize) -> u64 {
    let behind = u32::try_from(length.saturating_sub(place + 1)).unwrap_or(0);
    let shifted = number.checked_shr(behind * bits_of(length)).unwrap_or(0);
    part_of(shifted, length)
}

fn bits_of(length: usize) -> u32 {
    NUMBER_BITS / u32::try_from(length.max(1)).unwrap_or(NUMBER_BITS)
}

/// Whether the number of some chain may have this version in it. Of a chain of one policy that is sure.
pub(crate) fn may_have(number: u64, version: u64) -> bool {
    (1..=crate::config::MAX_CHAIN).any(|length| {
        (0..length).any(|place| part_at(number, length, place) == part_of(version, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_number_are_those_of_its_versions() {
        let versions = [
            0x7234_5678_9abc_def0u64,
            0x0fed_cba9_8765_4321,
            3,
            u64::MAX >> 1,
        ];
        for length in 1..=versions.len() {
            let bits = bits_of(length);
            let number = versions[..length].iter().fold(0, |number, version| {
                number << (bits % 64) | part_of(*version, length)
            });
            assert!(number >> 63 == 0, "the top bit is free");
            for (place, version) in versions[..length].iter().enumerate() {
                assert_eq!(part_at(number, length, place), part_of(*version, length));
                assert!(may_have(number, *version));
            }
        }
        assert_eq!(part_of(versions[0], 1), versions[0]);
    }
}
