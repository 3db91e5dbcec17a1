//! What was taken away, so that it is not there again. Bounded: of too much, the oldest is forgotten.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// How much is remembered.
const MOST: usize = 10_000;

/// The marks of what was taken away. A mark stands for an id, which may be as long as a client likes.
#[derive(Default)]
pub(super) struct Gone {
    marks: HashSet<u64>,
    in_order: VecDeque<u64>,
}

fn mark(collection: &str, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (collection, id).hash(&mut hasher);
    hasher.finish()
}

impl Gone {
    pub(super) fn insert(&mut self, collection: &str, id: &str) {
        let mark = mark(collection, id);
        if self.marks.insert(mark) {
            self.in_order.push_back(mark);
        }
        while self.in_order.len() > MOST {
            let oldest = self.in_order.pop_front();
            oldest.map(|mark| self.marks.remove(&mark));
        }
    }

    pub(super) fn remove(&mut self, collection: &str, id: &str) {
        let mark = mark(collection, id);
        if self.marks.remove(&mark) {
            self.in_order.retain(|known| *known != mark);
        }
    }

    pub(super) fn contains(&self, collection: &str, id: &str) -> bool {
        self.marks.contains(&mark(collection, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut gone = Gone::default();
        for n in 0..MOST + 2 {
            gone.insert("things", &n.to_string());
        }
        gone.remove("things", "5");
        let is = |id: &str| gone.contains("things", id);
        assert_eq!(
            [is("0"), is("1"), is("2"), is("5"), gone.contains("others", "2")],
            [false, false, true, false, false]
        );
        assert_eq!((gone.marks.len(), gone.in_order.len()), (MOST - 1, MOST - 1));
    }
}
