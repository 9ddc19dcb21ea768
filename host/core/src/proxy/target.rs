//! RFC 3261 §16.5: the target set, in the order it is tried.

use smallvec::SmallVec;

use crate::door::Target;

/// Targets in any order; mostly there is one.
pub(crate) type Targets = SmallVec<[Target; 1]>;

/// Targets that are not tried yet: groups one after the other, in a group the highest q first, equal ones in parallel.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetSet {
    /// The next one last.
    waiting: Targets,
}

impl TargetSet {
    /// The set of these targets. The same URI over the same flow counts once (RFC 3261 §16.5).
    pub(crate) fn new(targets: impl Into<Targets>) -> TargetSet {
        let mut waiting: Targets = targets.into();
        let is_same = |left: &Target, right: &Target| {
            left.uri == right.uri
                && left.flow == right.flow
                && left.next_hop == right.next_hop
                && left.group == right.group
        };
        let mut at = 1;
        while let Some((known, [target, ..])) = waiting.split_at_checked(at) {
            if known.iter().any(|known| is_same(known, target)) {
                waiting.remove(at);
            } else {
                at += 1;
            }
        }
        waiting.sort_by_key(|target| (target.group, std::cmp::Reverse(target.q)));
        waiting.reverse();
        TargetSet { waiting }
    }

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many are tried in parallel next.
    pub(crate) fn parallel(&self) -> usize {
        let Some(first) = self.waiting.last() else {
            return 0;
        };
        let together = |target: &&Target| target.group == first.group && target.q == first.q;
        self.waiting.iter().rev().take_while(together).count()
    }

    /// Takes the next target.
    pub(crate) fn take(&mut self) -> Option<Target> {
        self.waiting.pop()
    }

    /// Forgets the rest.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl Target {
    /// A target that is nothing but a URI.
    pub fn of_uri(uri: Vec<u8>) -> Target {
        Target {
            uri,
            q: 1000,
            group: 0,
            path: Vec::new(),
            flow: None,
            next_hop: None,
            listener: None,
            no_answer: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, group: u16, q: u16) -> Target {
        Target {
            q,
            group,
            ..Target::of_uri(uri.as_bytes().to_vec())
        }
    }

    #[test]
    fn groups_come_in_order_and_q_falls_inside_a_group() {
        let mut set = TargetSet::new(vec![
            target("d", 1, 1000),
            target("b", 0, 500),
            target("a", 0, 1000),
            target("c", 0, 500),
        ]);
        let mut rounds = Vec::new();
        while !set.is_empty() {
            let round: Vec<_> = (0..set.parallel())
                .filter_map(|_| set.take())
                .map(|target| target.uri)
                .collect();
            rounds.push(round);
        }
        assert_eq!(
            rounds,
            [
                vec![b"a".to_vec()],
                vec![b"b".to_vec(), b"c".to_vec()],
                vec![b"d".to_vec()]
            ]
        );
    }

    #[test]
    fn the_same_target_counts_once() {
        assert_eq!(
            TargetSet::new(vec![target("a", 0, 1), target("a", 0, 1)]).parallel(),
            1
        );
    }
}
