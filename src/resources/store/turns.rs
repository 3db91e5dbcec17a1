//! Who works on an object: one at a time, and nobody waits. Bounded by how many can work at all.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// The objects that are worked on.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashSet<(String, String)>>);

/// The right to work on an object, until it is dropped.
pub struct Turn<'a> {
    turns: &'a Turns,
    object: (String, String),
}

impl Turns {
    pub(super) fn take(&self, collection: &str, id: &str) -> Option<Turn<'_>> {
        let object = (collection.to_owned(), id.to_owned());
        let is_free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(object.clone());
        is_free.then_some(Turn { turns: self, object })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_works_at_a_time() {
        let turns = Turns::default();
        let turn = turns.take("things", "a");
        assert!(turn.is_some() && turns.take("things", "a").is_none() && turns.take("things", "b").is_some());
        drop(turn);
        assert!(turns.take("things", "a").is_some());
    }
}
