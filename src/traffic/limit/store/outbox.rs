//! Changes that the store has not confirmed yet, and the leases that this server holds.
//!
//! A response that ends does not wait for the store. Its change waits here until [`Delivery`](super::delivery::Delivery)
//! has the store's reply, on whatever connection that arrives.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::unpoisoned;

/// Time after which a lease ends that is neither released nor renewed.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// Age at which a lease is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(3);
/// Maximum number of changes that wait, about 20 MB. The oldest are dropped: a lease among them ends by itself, and
/// reserved tokens stay charged until they refill.
const MAX_WAITING: usize = 100_000;
/// Maximum number of changes in a batch. The store answers nobody else while it applies them.
const MAX_BATCH: usize = 500;

/// The number of a lease among those of this server.
pub(in crate::traffic::limit) type LeaseId = u64;

/// A change of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Arc<str>,
    pub(super) action: Action,
}

/// The kind of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Reconcile(Reconciliation),
    /// Ends a lease.
    Release(LeaseId),
    /// Ends a lease that the store may have given, or may yet give.
    Cancel(LeaseId),
    /// Prolongs a lease.
    Renew(LeaseId),
}

/// Replaces the charge of a window by the amount spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reconciliation {
    pub(super) algorithm: &'static str,
    /// The name of the window.
    pub(super) window: u64,
    pub(super) reserved: u32,
    pub(super) spent: u32,
    /// Length in microseconds; 0 never ends.
    pub(super) period: u64,
}

/// The changes and leases of one server.
#[derive(Default)]
pub(super) struct Outbox {
    /// The address of the store, for the log.
    address: String,
    state: Mutex<State>,
    added: Notify,
    emptied: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Change>,
    held: HashMap<LeaseId, Held, RandomState>,
    /// Leases to renew after the changes that wait.
    due: Vec<LeaseId>,
    /// A batch was taken, and the store has not confirmed it.
    is_sending: bool,
    /// Number of changes that were dropped since the last confirmed batch.
    dropped: usize,
}

/// A lease that this server holds.
struct Held {
    key: Arc<str>,
    /// Time at which it was given or last renewed, on the clock of the limits.
    renewed: Duration,
}

impl Outbox {
    pub(super) fn new(address: String) -> Self {
        Outbox { address, ..Outbox::default() }
    }

    /// Adds a change.
    pub(super) fn push(&self, change: Change) {
        let is_first_loss = unpoisoned(self.state.lock()).push(change);
        self.added.notify_one();
        if is_first_loss {
            log::warn!("the limit store {}: {MAX_WAITING} changes wait for it; the oldest are dropped", self.address);
        }
    }

    /// Holds a lease that the store has given.
    pub(super) fn hold(&self, id: LeaseId, key: Arc<str>, now: Duration) {
        unpoisoned(self.state.lock()).held.insert(id, Held { key, renewed: now });
    }

    /// Releases a lease. Without effect if it is not held.
    pub(super) fn release(&self, id: LeaseId) {
        let held = unpoisoned(self.state.lock()).held.remove(&id);
        if let Some(Held { key, .. }) = held {
            self.push(Change { key, action: Action::Release(id) });
        }
    }

    /// Releases all leases.
    pub(super) fn release_all(&self) {
        let held = std::mem::take(&mut unpoisoned(self.state.lock()).held);
        for (id, Held { key, .. }) in held {
            self.push(Change { key, action: Action::Release(id) });
        }
    }

    /// Selects the leases to renew at this time.
    pub(super) fn select_due(&self, now: Duration) {
        let mut state = unpoisoned(self.state.lock());
        let State { held, due, .. } = &mut *state;
        // A clock that went back is as good a reason as an old lease.
        let is_due = |held: &Held| now.checked_sub(held.renewed).is_none_or(|age| age >= RENEW_AFTER);
        due.clear();
        due.extend(held.iter().filter(|(_, held)| is_due(held)).map(|(id, _)| *id));
    }

    /// Takes the next changes: first those that wait, then renewals. `None` if there are none. The batch must be
    /// [confirmed](Outbox::confirm) before the next is taken.
    pub(super) fn next_batch(&self, now: Duration) -> Option<Vec<Change>> {
        let mut state = unpoisoned(self.state.lock());
        let State { waiting, held, due, is_sending, .. } = &mut *state;
        let mut batch: Vec<_> = waiting.drain(..waiting.len().min(MAX_BATCH)).collect();
        while batch.len() < MAX_BATCH {
            let Some(id) = due.pop() else { break };
            if let Some(held) = held.get_mut(&id) {
                held.renewed = now;
                batch.push(Change { key: Arc::clone(&held.key), action: Action::Renew(id) });
            }
        }
        *is_sending = !batch.is_empty();
        if batch.is_empty() {
            drop(state);
            self.emptied.notify_waiters();
            return None;
        }
        Some(batch)
    }

    /// Records that the store has applied the last batch.
    pub(super) fn confirm(&self) {
        let mut state = unpoisoned(self.state.lock());
        state.is_sending = false;
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        if dropped > 0 {
            log::warn!("the limit store {}: {dropped} changes were dropped", self.address);
        }
    }

    /// Waits for the next change.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Waits until the store has confirmed all changes.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            let mut emptied = std::pin::pin!(emptied);
            // Enabled before the look at the state, so that no notification is missed.
            emptied.as_mut().enable();
            if unpoisoned(self.state.lock()).is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

impl State {
    /// Adds a change. Returns true if it is the first since the last confirmed batch that takes the place of another.
    fn push(&mut self, change: Change) -> bool {
        let is_full = self.waiting.len() >= MAX_WAITING;
        if is_full {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(change);
        is_full && self.dropped == 1
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_sending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<str> {
        "bucket".into()
    }

    fn actions(outbox: &Outbox, now: u64) -> Vec<Action> {
        let batch = outbox.next_batch(Duration::from_secs(now)).unwrap_or_default();
        batch.into_iter().map(|change| change.action).collect()
    }

    #[test]
    fn a_lease_is_renewed_while_it_is_held() {
        let outbox = Outbox::default();
        let select = |now| outbox.select_due(Duration::from_secs(now));
        outbox.hold(1, key(), Duration::from_secs(100));
        select(102);
        assert_eq!(actions(&outbox, 102), []);
        select(103);
        assert_eq!(actions(&outbox, 103), [Action::Renew(1)]);
        select(105);
        assert_eq!(actions(&outbox, 105), []);
        select(50);
        assert_eq!(actions(&outbox, 50), [Action::Renew(1)], "the clock went back");
        select(60);
        outbox.release(1);
        assert_eq!(actions(&outbox, 60), [Action::Release(1)], "it was due when it was released");
        outbox.release(1);
        select(1000);
        assert_eq!(actions(&outbox, 1000), []);
    }

    #[test]
    fn ten_thousand_leases_are_renewed_in_batches() {
        let outbox = Outbox::default();
        (0..10_000).for_each(|id| outbox.hold(id, key(), Duration::ZERO));
        outbox.select_due(Duration::from_secs(3));
        outbox.release(10_000 - 1);
        let mut renewed = Vec::new();
        for batch in 0..10_000 / MAX_BATCH {
            let actions = actions(&outbox, 3);
            assert!(actions.len() <= MAX_BATCH);
            assert_eq!(actions[0] == Action::Release(9_999), batch == 0, "what waits goes first");
            renewed.extend(actions.into_iter().filter(|action| matches!(action, Action::Renew(_))));
        }
        assert_eq!(renewed.len(), 9_999);
        assert_eq!(actions(&outbox, 3), []);
    }

    #[test]
    fn the_oldest_changes_are_dropped_at_the_bound() {
        let outbox = Outbox::default();
        for id in 0..MAX_WAITING as u64 + 2 {
            outbox.push(Change { key: key(), action: Action::Cancel(id) });
        }
        let dropped = || unpoisoned(outbox.state.lock()).dropped;
        assert_eq!((actions(&outbox, 0)[0].clone(), dropped()), (Action::Cancel(2), 2));
        outbox.confirm();
        assert_eq!(dropped(), 0);
        let mut kept = MAX_BATCH;
        while let Some(batch) = outbox.next_batch(Duration::ZERO) {
            kept += batch.len();
        }
        assert_eq!(kept, MAX_WAITING);
    }
}
