//! RFC 3261 §16.5: the target set, in the order it is tried.

use crate::door::Target;

/// Targets that are not tried yet: groups one after the other, in a group the highest q first, equal ones in parallel.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetSet {
    /// The next one last.
    waiting: Vec<Target>,
}

impl TargetSet {
    /// Takes these targets in place of those that are left. The giver gets the memory for them back, for others.
    pub(crate) fn replace(&mut self, targets: &mut Vec<Target>) {
        std::mem::swap(&mut self.waiting, targets);
        targets.clear();
        if self.waiting.len() > 1 {
            self.order();
        }
    }

    /// The one target there is.
    pub(crate) fn put(&mut self, target: Target) {
        self.waiting.clear();
        self.waiting.push(target);
    }

    /// The same URI over the same flow counts once (RFC 3261 §16.5).
    fn order(&mut self) {
        let waiting = &mut self.waiting;
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
    }

    /// Leaves only the one that is tried first.
    pub(crate) fn keep_first(&mut self) {
        let first = self.waiting.pop();
        self.waiting.clear();
        self.waiting.extend(first);
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

    /// Forgets the rest, and the memory for many.
    pub(crate) fn let_go(&mut self) {
        empty(&mut self.waiting);
    }
}

/// Room for so many targets is kept for others.
const KEPT: usize = 8;

/// Empties the list, and keeps its memory where it is not much.
pub(crate) fn empty(targets: &mut Vec<Target>) {
    targets.clear();
    if targets.capacity() > KEPT {
        *targets = Vec::new();
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

    fn set(mut targets: Vec<Target>) -> TargetSet {
        let mut set = TargetSet::default();
        set.put(Target::of_uri(b"one of before".to_vec()));
        set.replace(&mut targets);
        assert!(targets.is_empty());
        set
    }

    fn target(uri: &str, group: u16, q: u16) -> Target {
        Target {
            q,
            group,
            ..Target::of_uri(uri.as_bytes().to_vec())
        }
    }

    #[test]
    fn groups_come_in_order_and_q_falls_inside_a_group() {
        let mut set = set(vec![
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
        let set = set(vec![target("a", 0, 1), target("a", 0, 1)]);
        assert_eq!(set.parallel(), 1);
    }

    #[test]
    fn the_first_is_the_one_that_is_tried_first() {
        let mut set = set(vec![
            target("b", 0, 500),
            target("a", 0, 1000),
            target("c", 1, 1000),
        ]);
        set.keep_first();
        assert_eq!(set.take().map(|target| target.uri), Some(b"a".to_vec()));
        assert!(set.is_empty());
    }
}
