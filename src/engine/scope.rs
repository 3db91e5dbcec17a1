//! Scopes: isolated spaces of one server, for tests that run side by side. What a request changes, and what is counted
//! about it, belongs to its scope.

mod records;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) use self::records::Records;
use super::{
    attempts::Attempts,
    journal::Journal,
    metrics::{Metrics, MetricsSnapshot},
    report::Conduct,
};
use crate::{
    config::AccessLog,
    core::clock::Clock,
    fixtures::LiveReplies,
    model::ModelBehavior,
    resources::{
        state::EngineState,
        store::{ResourceStore, StoreMode},
    },
    traffic::rule::LiveRules,
};

/// Maximum number of scopes besides the default one. The one that was idle longest is dropped for a new one.
const MAX_SCOPES: usize = 1000;
/// Maximum memory of the objects of all scopes besides the default one, in bytes. Beyond it, idle scopes are dropped.
const MAX_MEMORY: usize = 64 << 20;

/// The state of one scope.
pub(super) struct ScopeState {
    /// The name; `None` for the default scope.
    pub(super) name: Option<Arc<str>>,
    /// Number of resets. It is a part of the keys of limits, so that a reset begins new buckets.
    resets: Arc<AtomicU64>,
    /// Rules added at run time.
    pub(super) live: Arc<LiveRules>,
    /// Replies put at run time.
    pub(super) replies: Arc<LiveReplies>,
    pub(super) state: EngineState,
    /// The memory of the objects that is counted for all scopes together, in bytes; `None` once the scope is dropped.
    counted_memory: Arc<Mutex<Option<usize>>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) conduct: Arc<Conduct>,
    pub(super) records: Arc<Records>,
}

impl ScopeState {
    fn new(
        name: Option<Arc<str>>,
        metrics: Metrics,
        conduct: Conduct,
        behavior: &ModelBehavior,
        mode: StoreMode,
        records: &Arc<Records>,
    ) -> Self {
        let resources = Arc::new(ResourceStore::new(mode));
        let state = EngineState {
            behavior: behavior.clone(),
            scope: name.clone(),
            sequence_counters: Arc::new(records.sequences.in_new_space()),
            resources,
        };
        let attempts = Attempts::new(records.clock.clone(), Arc::clone(&records.attempts), name.is_none());
        ScopeState {
            name,
            resets: Arc::default(),
            live: Arc::default(),
            replies: Arc::default(),
            state,
            counted_memory: Arc::new(Mutex::new(Some(0))),
            metrics: Arc::new(metrics),
            attempts: Arc::new(attempts),
            conduct: Arc::new(conduct),
            records: Arc::clone(records),
        }
    }

    /// The same scope after a reload, with another behavior of the model.
    fn reloaded(&self, behavior: &ModelBehavior) -> Self {
        ScopeState {
            name: self.name.clone(),
            resets: Arc::clone(&self.resets),
            live: Arc::clone(&self.live),
            replies: Arc::clone(&self.replies),
            state: EngineState {
                behavior: behavior.clone(),
                scope: self.name.clone(),
                sequence_counters: Arc::clone(&self.state.sequence_counters),
                resources: Arc::clone(&self.state.resources),
            },
            counted_memory: Arc::clone(&self.counted_memory),
            metrics: Arc::clone(&self.metrics),
            attempts: Arc::clone(&self.attempts),
            conduct: Arc::clone(&self.conduct),
            records: Arc::clone(&self.records),
        }
    }

    fn counted_memory(&self) -> MutexGuard<'_, Option<usize>> {
        self.counted_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the memory of the objects for all scopes together. The default scope has a bound of its own.
    pub(super) fn count_memory(&self) {
        if self.name.is_none() {
            return;
        }
        if let Some(counted) = &mut *self.counted_memory() {
            let before = std::mem::replace(counted, self.state.resources.memory());
            self.records.objects_memory.fetch_add(*counted, Ordering::Relaxed);
            self.records.objects_memory.fetch_sub(before, Ordering::Relaxed);
        }
    }

    /// The name; empty for the default scope.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Returns what separates the buckets of its limits from those of other scopes; `None` for the usual ones.
    pub(super) fn limit_key(&self) -> Option<(&str, u64)> {
        match (&self.name, self.resets.load(Ordering::Relaxed)) {
            (None, 0) => None,
            (_, resets) => Some((self.name(), resets)),
        }
    }

    /// Forgets everything: rules, replies, sequences, limits, objects, entries of the journal and counters.
    fn reset(&self) {
        self.live.clear();
        self.replies.reset();
        self.state.sequence_counters.clear();
        self.state.resources.clear();
        self.count_memory();
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.records.journal.clear(Some(self.name()));
        self.attempts.clear();
        self.conduct.clear();
        self.metrics.reset();
    }
}

/// All scopes of an engine.
pub(super) struct Scopes {
    default: Arc<ScopeState>,
    named: Mutex<NamedScopes>,
    mode: StoreMode,
}

#[derive(Default)]
struct NamedScopes {
    list: HashMap<Arc<str>, UsedScope>,
    /// Number of look-ups so far.
    uses: u64,
}

/// A scope, and the number of the look-up that last found it.
struct UsedScope {
    scope: Arc<ScopeState>,
    last_use: u64,
}

impl Scopes {
    /// Returns the behavior of the model, which is the same in all scopes.
    pub(super) fn behavior(&self) -> &ModelBehavior {
        &self.default.state.behavior
    }

    /// Creates the default scope, whose counters are in so many shards.
    pub(super) fn new(
        behavior: &ModelBehavior,
        mode: StoreMode,
        shards: usize,
        journal: Journal,
        access_log: AccessLog,
        clock: Clock,
    ) -> Self {
        let records = Arc::new(Records::new(journal, access_log, clock));
        let metrics = Metrics::new(Arc::clone(&records.names), shards);
        let default = ScopeState::new(None, metrics, Conduct::new(true), behavior, mode, &records);
        let default = Arc::new(default);
        Scopes { default, named: Mutex::default(), mode }
    }

    /// The same scopes after a reload.
    pub(super) fn reloaded(&self, behavior: &ModelBehavior) -> Self {
        let NamedScopes { list, uses } = &*self.named();
        let reloaded = |scope: &ScopeState| Arc::new(scope.reloaded(behavior));
        let list = list
            .iter()
            .map(|(name, used)| (Arc::clone(name), UsedScope { scope: reloaded(&used.scope), last_use: used.last_use }))
            .collect();
        let named = Mutex::new(NamedScopes { list, uses: *uses });
        Scopes { default: reloaded(&self.default), named, mode: self.mode }
    }

    fn named(&self) -> MutexGuard<'_, NamedScopes> {
        // Every step leaves the map valid.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn default(&self) -> &Arc<ScopeState> {
        &self.default
    }

    pub(super) fn records(&self) -> &Arc<Records> {
        &self.default.records
    }

    /// Returns a scope, which is created on first use.
    pub(super) fn get_or_create(&self, name: Option<&str>) -> Arc<ScopeState> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Arc::clone(&self.default) };
        let mut named = self.named();
        named.uses += 1;
        let last_use = named.uses;
        let known = named.list.get_mut(name).map(|used| {
            used.last_use = last_use;
            Arc::clone(&used.scope)
        });
        let records = self.records();
        let is_full = |named: &NamedScopes| {
            known.is_none() && named.list.len() >= MAX_SCOPES
                || records.objects_memory.load(Ordering::Relaxed) > MAX_MEMORY
        };
        while is_full(&named) && named.drop_idle(name, records) {}
        if let Some(known) = known {
            return known;
        }
        let name: Arc<str> = name.into();
        let (metrics, conduct) = (Metrics::of_scope(Arc::clone(&records.names)), Conduct::new(false));
        let behavior = &self.default.state.behavior;
        let scope = ScopeState::new(Some(Arc::clone(&name)), metrics, conduct, behavior, self.mode, records);
        let scope = Arc::new(scope);
        named.list.insert(name, UsedScope { scope: Arc::clone(&scope), last_use });
        scope
    }

    /// Returns a scope if it is in use; the default one for an empty name.
    pub(super) fn get(&self, name: &str) -> Option<Arc<ScopeState>> {
        if name.is_empty() {
            return Some(Arc::clone(&self.default));
        }
        self.named().list.get(name).map(|used| Arc::clone(&used.scope))
    }

    /// Returns the scope with a name; without one, all.
    pub(super) fn meant(&self, name: Option<&str>) -> Vec<Arc<ScopeState>> {
        match name {
            Some(name) => self.get(name).into_iter().collect(),
            None => self.all(),
        }
    }

    /// Returns all scopes, the default one first.
    pub(super) fn all(&self) -> Vec<Arc<ScopeState>> {
        self.sorted(&self.named())
    }

    fn sorted(&self, named: &NamedScopes) -> Vec<Arc<ScopeState>> {
        let mut scopes: Vec<_> = named.list.values().map(|used| Arc::clone(&used.scope)).collect();
        scopes.sort_by(|one, other| one.name.cmp(&other.name));
        scopes.insert(0, Arc::clone(&self.default));
        scopes
    }

    /// Returns all scopes, and the counters of dropped ones. No scope can be dropped between the two, or a sum would
    /// miss it or count it twice, and counters would run backwards.
    fn all_and_leaving(&self) -> (Vec<Arc<ScopeState>>, MutexGuard<'_, Vec<Arc<Metrics>>>) {
        let named = self.named();
        let leaving = self.records().leaving();
        (self.sorted(&named), leaving)
    }

    /// Drops a scope with everything in it. Returns false if there is none.
    pub(super) fn remove(&self, name: &str) -> bool {
        let mut named = self.named();
        let removed = named.list.remove(name);
        if let Some(UsedScope { scope, .. }) = &removed {
            scope.records.drop_scope(scope);
        }
        drop(named);
        removed.is_some()
    }

    /// Forgets everything in one scope; without a name, in all of them.
    pub(super) fn reset(&self, name: Option<&str>) {
        match name {
            Some(name) => _ = self.get(name).map(|scope| scope.reset()),
            None => {
                self.all().iter().for_each(|scope| scope.reset());
                let records = self.records();
                records.journal.clear(None);
                records.leaving().iter().for_each(|metrics| metrics.reset());
                records.dropped.reset();
                records.vllm.reset();
                records.dropped_conduct.clear();
            }
        }
    }

    /// Returns the counters of one scope; without a name, of all scopes that there have been.
    pub(super) fn snapshot(&self, name: Option<&str>) -> MetricsSnapshot {
        let mut snapshot = MetricsSnapshot::default();
        match name {
            Some(name) => _ = self.get(name).map(|scope| scope.metrics.add_to(&mut snapshot)),
            None => {
                let (scopes, leaving) = self.all_and_leaving();
                leaving.iter().for_each(|metrics| metrics.add_to(&mut snapshot));
                self.records().dropped.add_to(&mut snapshot);
                drop(leaving);
                scopes.iter().for_each(|scope| scope.metrics.add_to(&mut snapshot));
            }
        }
        snapshot
    }

    /// Removes the calls that have expired.
    pub(super) fn forget_idle(&self) {
        self.all()
            .iter()
            .for_each(|scope| scope.attempts.expire().iter().for_each(|finished| scope.add_finished(finished)));
    }

    /// Returns the numbers of requests received and in flight, in all scopes.
    pub(super) fn totals(&self) -> (u64, u64) {
        let (scopes, leaving) = self.all_and_leaving();
        let dropped = leaving.iter().map(|metrics| metrics.totals()).chain([self.records().dropped.totals()]);
        let dropped = sum(dropped);
        drop(leaving);
        sum(scopes.iter().map(|scope| scope.metrics.totals()).chain([dropped]))
    }

    /// Returns each scope besides the default one, by name: the number of its requests, and true if it is strict.
    pub(super) fn list(&self) -> BTreeMap<Arc<str>, (u64, bool)> {
        let named = self.named();
        let scopes = named.list.iter().map(|(name, used)| (name, &used.scope));
        scopes.map(|(name, scope)| (Arc::clone(name), (scope.metrics.totals().0, scope.replies.is_strict()))).collect()
    }
}

/// Returns the sums of pairs of numbers.
fn sum(pairs: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    pairs.fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1))
}

impl NamedScopes {
    /// Drops the scope that was idle longest, except for the wanted one. Returns false if all have open requests.
    fn drop_idle(&mut self, wanted: &str, records: &Records) -> bool {
        let others = self.list.values().filter(|used| used.scope.name() != wanted);
        let idle = others.filter(|used| used.scope.metrics.totals().1 == 0);
        let Some(oldest) = idle.min_by_key(|used| used.last_use) else { return false };
        let scope = Arc::clone(&oldest.scope);
        self.list.remove(scope.name());
        records.drop_scope(&scope);
        true
    }
}

#[cfg(test)]
mod tests;
