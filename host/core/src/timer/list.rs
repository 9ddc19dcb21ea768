//! Doubly linked lists that share one vector of nodes.

/// The place of a node.
pub(super) type NodeIndex = u32;

/// No node, no list.
const NONE: NodeIndex = NodeIndex::MAX;
const NO_LIST: u16 = u16::MAX;

#[derive(Debug)]
struct Node<V> {
    value: V,
    /// Counts the users of this place; odd while one is alive.
    generation: u32,
    previous: NodeIndex,
    /// For a free place the next free one.
    next: NodeIndex,
    list: u16,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: NodeIndex,
    last: NodeIndex,
}

/// A fixed number of lists over a growing store of values. A value is in no list or in one.
#[derive(Debug)]
pub(super) struct Lists<V> {
    nodes: Vec<Node<V>>,
    ends: Vec<Ends>,
    free: NodeIndex,
    len: usize,
}

impl<V: Copy> Lists<V> {
    /// `count` empty lists.
    pub(super) fn new(count: usize, capacity: usize) -> Lists<V> {
        let ends = vec![
            Ends {
                first: NONE,
                last: NONE
            };
            count
        ];
        Lists {
            nodes: Vec::with_capacity(capacity),
            ends,
            free: NONE,
            len: 0,
        }
    }

    /// The number of values.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many values there is room for without an allocation.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// Stores a value, in no list yet.
    pub(super) fn add(&mut self, value: V) -> NodeIndex {
        self.len += 1;
        if self.free == NONE {
            let index = self.nodes.len() as NodeIndex;
            self.nodes.push(Node {
                value,
                generation: 1,
                previous: NONE,
                next: NONE,
                list: NO_LIST,
            });
            return index;
        }
        let index = self.free;
        let node = self.node_mut(index);
        let next_free = node.next;
        *node = Node {
            value,
            generation: node.generation.wrapping_add(1),
            previous: NONE,
            next: NONE,
            list: NO_LIST,
        };
        self.free = next_free;
        index
    }

    /// Takes a value that is in no list out of the store.
    pub(super) fn remove(&mut self, index: NodeIndex) -> V {
        let free = self.free;
        let node = self.node_mut(index);
        node.generation = node.generation.wrapping_add(1);
        node.next = free;
        let value = node.value;
        self.free = index;
        self.len -= 1;
        value
    }

    /// The value at a place.
    pub(super) fn value(&self, index: NodeIndex) -> &V {
        &self.node(index).value
    }

    /// Which user of its place a value is.
    pub(super) fn generation(&self, index: NodeIndex) -> u32 {
        self.node(index).generation
    }

    /// Whether the value that got this generation is still stored.
    pub(super) fn is_live(&self, index: NodeIndex, generation: u32) -> bool {
        generation % 2 == 1
            && self
                .nodes
                .get(index as usize)
                .is_some_and(|node| node.generation == generation)
    }

    /// Whether the list has no values.
    pub(super) fn is_empty(&self, list: u16) -> bool {
        self.ends(list).first == NONE
    }

    /// The first value of a list.
    pub(super) fn first(&self, list: u16) -> Option<NodeIndex> {
        some(self.ends(list).first)
    }

    /// The last value of a list that fulfils the condition.
    pub(super) fn rfind(&self, list: u16, condition: impl Fn(&V) -> bool) -> Option<NodeIndex> {
        let mut candidate = some(self.ends(list).last);
        while let Some(index) = candidate {
            let node = self.node(index);
            if condition(&node.value) {
                return candidate;
            }
            candidate = some(node.previous);
        }
        None
    }

    /// Appends a value to a list.
    pub(super) fn push_back(&mut self, list: u16, index: NodeIndex) {
        let last = some(self.ends(list).last);
        self.insert_after(list, last, index);
    }

    /// Puts a value behind another of the list; `None`: before all.
    pub(super) fn insert_after(&mut self, list: u16, before: Option<NodeIndex>, index: NodeIndex) {
        let next = match before {
            Some(before) => std::mem::replace(&mut self.node_mut(before).next, index),
            None => std::mem::replace(&mut self.ends_mut(list).first, index),
        };
        match some(next) {
            Some(next) => self.node_mut(next).previous = index,
            None => self.ends_mut(list).last = index,
        }
        let node = self.node_mut(index);
        (node.previous, node.next, node.list) = (before.unwrap_or(NONE), next, list);
    }

    /// Takes a value out of its list, which is returned.
    pub(super) fn unlink(&mut self, index: NodeIndex) -> u16 {
        let node = self.node_mut(index);
        let (previous, next, list) = (node.previous, node.next, node.list);
        (node.previous, node.next, node.list) = (NONE, NONE, NO_LIST);
        match some(previous) {
            Some(previous) => self.node_mut(previous).next = next,
            None => self.ends_mut(list).first = next,
        }
        match some(next) {
            Some(next) => self.node_mut(next).previous = previous,
            None => self.ends_mut(list).last = previous,
        }
        list
    }

    fn node(&self, index: NodeIndex) -> &Node<V> {
        let Some(node) = self.nodes.get(index as usize) else {
            unreachable!("an index comes from add")
        };
        node
    }

    fn node_mut(&mut self, index: NodeIndex) -> &mut Node<V> {
        let Some(node) = self.nodes.get_mut(index as usize) else {
            unreachable!("an index comes from add")
        };
        node
    }

    fn ends(&self, list: u16) -> Ends {
        let Some(ends) = self.ends.get(usize::from(list)) else {
            unreachable!("the lists are as many as new made")
        };
        *ends
    }

    fn ends_mut(&mut self, list: u16) -> &mut Ends {
        let Some(ends) = self.ends.get_mut(usize::from(list)) else {
            unreachable!("the lists are as many as new made")
        };
        ends
    }
}

fn some(index: NodeIndex) -> Option<NodeIndex> {
    (index != NONE).then_some(index)
}
