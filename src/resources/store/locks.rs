//! Locks on objects. Nobody waits for one, and there are at most as many as requests under way.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::protocol::ResourceKey;

/// The locked objects.
#[derive(Default)]
pub(super) struct Locks(Mutex<HashSet<(ResourceKey, String)>>);

/// A lock on an object, released on drop.
pub struct ObjectLock<'a> {
    locks: &'a Locks,
    object: (ResourceKey, String),
}

impl Locks {
    pub(super) fn try_lock(&self, key: &ResourceKey, id: &str) -> Option<ObjectLock<'_>> {
        let object = (key.clone(), id.to_owned());
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
        let (locks, things) = (Locks::default(), ResourceKey::top("things"));
        let lock = locks.try_lock(&things, "a");
        assert!(lock.is_some() && locks.try_lock(&things, "a").is_none() && locks.try_lock(&things, "b").is_some());
        drop(lock);
        assert!(locks.try_lock(&things, "a").is_some());
    }
}
