//! Tenants: what a route of the configuration asks of the transactions that it takes, and the places of its policies.
//!
//! Which route takes a request is the driver's to say. The core keeps the answer with the transaction, obeys it, and writes its number
//! into the Record-Route token, so that the requests inside of the dialog find their way back to it.

use std::any::Any;
use std::sync::Arc;

/// The number of a route of the configuration, the same after a reload and a restart; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

impl RouteId {
    /// No route: the requests that the active policy routes.
    pub const NONE: RouteId = RouteId(0);
}

/// What a route asks of the transactions that it takes. One that is under way keeps the one that it began with.
#[derive(Debug)]
pub struct Tenant {
    /// The route.
    pub route: RouteId,
    /// The realm that credentials for a registration have to be of.
    pub realm: String,
    /// The domains whose addresses-of-record it may register, lower case; empty: those that belong to no tenant.
    pub domains: Vec<String>,
    /// Branches per transaction, over all rounds.
    pub max_branches: usize,
    /// Rounds of `failure_route`.
    pub max_failure_rounds: u32,
    /// Contacts per address-of-record.
    pub max_contacts: usize,
    /// What the driver keeps with each transaction. The core does not look at it.
    pub kept: Arc<dyn Any + Send + Sync>,
}

/// Which hooks are armed, each by which policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed {
    /// Before each branch.
    pub branch_route: ChainPlaces,
    /// For each response.
    pub onreply_route: ChainPlaces,
    /// When all failed.
    pub failure_route: ChainPlaces,
}

/// Some of the policies of a chain, by their place in it. A request without a route has one policy, at place 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainPlaces(u8);

impl ChainPlaces {
    /// None of them.
    pub const NONE: ChainPlaces = ChainPlaces(0);
    /// The first one, which is the only one without a chain.
    pub const FIRST: ChainPlaces = ChainPlaces(1);
    /// How many a chain can have.
    pub const MAX: usize = u8::BITS as usize;

    /// The one at this place.
    pub fn at(place: u8) -> ChainPlaces {
        ChainPlaces(1u8.checked_shl(place.into()).unwrap_or(0))
    }

    /// Whether there is any.
    #[inline]
    pub fn is_any(self) -> bool {
        self.0 != 0
    }

    /// These and those.
    pub fn and(self, others: ChainPlaces) -> ChainPlaces {
        ChainPlaces(self.0 | others.0)
    }

    /// These without those.
    pub fn without(self, others: ChainPlaces) -> ChainPlaces {
        ChainPlaces(self.0 & !others.0)
    }

    /// The first of them.
    pub fn first(self) -> Option<u8> {
        self.is_any().then(|| self.0.trailing_zeros() as u8)
    }
}

impl Armed {
    /// What these and those have armed.
    pub fn and(self, others: Armed) -> Armed {
        Armed {
            branch_route: self.branch_route.and(others.branch_route),
            onreply_route: self.onreply_route.and(others.onreply_route),
            failure_route: self.failure_route.and(others.failure_route),
        }
    }

    /// What is armed by others than these policies.
    pub fn without(self, policies: ChainPlaces) -> Armed {
        Armed {
            branch_route: self.branch_route.without(policies),
            onreply_route: self.onreply_route.without(policies),
            failure_route: self.failure_route.without(policies),
        }
    }
}

impl From<bool> for ChainPlaces {
    /// The only policy, or nobody.
    fn from(is_armed: bool) -> ChainPlaces {
        ChainPlaces(u8::from(is_armed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_out_in_their_order() {
        let mut places = ChainPlaces::at(2).and(ChainPlaces::FIRST);
        let mut taken = Vec::new();
        while let Some(place) = places.first() {
            taken.push(place);
            places = places.without(ChainPlaces::at(place));
        }
        assert_eq!(taken, [0, 2]);
        assert!(!ChainPlaces::at(200).is_any());
    }
}
