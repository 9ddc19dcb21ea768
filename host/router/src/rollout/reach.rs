//! Whose new dialogs a canary can have: where versions of its policy run.

use serde::{Deserialize, Serialize};

/// Which requests outside of dialogs the versions of a policy run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Those that a route of the configuration takes and gives to the policy.
    pub routes: bool,
    /// Those that no route takes.
    pub elsewhere: bool,
}

impl Reach {
    /// Why a canary that began with this reach is not to go on with another one: it would have the dialogs of others than it was begun for.
    pub fn lost_in(self, now: Reach) -> Option<&'static str> {
        if self.routes && now.routes || self.elsewhere && now.elsewhere {
            return None;
        }
        Some(match now.routes {
            true => "a route names its policy now, which was for requests that no route takes",
            false => "no route names its policy any more",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_lost_where_nothing_is_left_of_its_reach() {
        let reach = |routes, elsewhere| Reach { routes, elsewhere };
        let (routed, shared, both) = (reach(true, false), reach(false, true), reach(true, true));
        for (began, now, goes_on) in [
            (routed, routed, true),
            (routed, both, true),
            (routed, shared, false),
            (shared, shared, true),
            (shared, both, true),
            (shared, routed, false),
            (both, routed, true),
            (both, shared, true),
        ] {
            assert_eq!(began.lost_in(now).is_none(), goes_on, "{began:?} {now:?}");
        }
    }
}
