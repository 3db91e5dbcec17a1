//! Locks on objects. Nobody waits for one, and there are at most as many as requests under way.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// The locked objects.
#[derive(Default)]
pub(super) struct Locks(Mutex<HashSet<(String, String)>>);

/// A lock on an object, released on drop.
pub struct ObjectLock<'a> {
    locks: &'a Locks,
    object: (String, String),
}

impl Locks {
    pub(super) fn try_lock(&self, collection: &str, id: &str) -> Option<ObjectLock<'_>> {
        let object = (collection.to_owned(), id.to_owned());
        let is_free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(object.clone());
        is_free.then_some(ObjectLock { locks: self, object })
    }
}

impl Drop for ObjectLock<'_> {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_locked_once_at_a_time() {
        let locks = Locks::default();
        let lock = locks.try_lock("things", "a");
        assert!(lock.is_some() && locks.try_lock("things", "a").is_none() && locks.try_lock("things", "b").is_some());
        drop(lock);
        assert!(locks.try_lock("things", "a").is_some());
    }
}
