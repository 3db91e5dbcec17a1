//! The parts of an engine that the admin pages and the server itself read and change.

use std::{sync::Arc, time::Duration};

use super::{Engine, Journal, MetricsSnapshot, VllmCounters};
use crate::{
    config::AccessLog,
    core::{body_memory::BodyMemory, model_catalog::ServedModels, open_connections::OpenConnections},
    fixtures::Fixtures,
    model::ContextWindow,
    traffic::{
        capacity::Load,
        fault::check_scope,
        latency::Latency,
        limit::Limits,
        rule::{LiveRule, RuleError},
    },
};

impl Engine {
    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The latency of the model.
    pub fn latency(&self) -> &Latency {
        &self.timing.latency
    }

    /// The fixtures.
    pub fn fixtures(&self) -> &Fixtures {
        &self.fixtures
    }

    /// Removes the limit state of clients that have long been idle. The server calls it at intervals.
    pub fn forget_idle(&self) {
        self.limits.forget_idle();
        self.scopes.forget_idle();
    }

    /// The current load, if concurrency is limited.
    pub fn load(&self) -> Option<Load> {
        self.timing.capacity.as_ref().map(|capacity| capacity.load())
    }

    /// The memory of request bodies.
    pub fn body_memory(&self) -> &Arc<BodyMemory> {
        &self.body_memory
    }

    /// Returns the rules added at run time, each with its scope: of one scope, or of all.
    pub fn rules(&self, scope: Option<&str>) -> Vec<(String, LiveRule)> {
        let scopes = self.scopes.meant(scope).into_iter();
        scopes
            .flat_map(|scope| scope.live.list().into_iter().map(move |rule| (scope.name().to_owned(), rule)))
            .collect()
    }

    /// Adds a rule at run time, or replaces the one with this id. It belongs to the scope that it names, or else to
    /// `scope`; without both, to the default one. Returns the name of the scope too.
    ///
    /// # Errors
    /// The rule is invalid, or there are too many.
    pub fn put_rule(
        &self,
        scope: Option<&str>,
        id: Option<&str>,
        rule: &serde_json::Value,
    ) -> Result<(String, LiveRule), RuleError> {
        let scope = rule.get("scope").and_then(serde_json::Value::as_str).or(scope).unwrap_or_default();
        check_scope(scope).map_err(RuleError::Invalid)?;
        let own = self.scopes.get_or_create(Some(scope));
        let others = self.scopes.all().into_iter().filter(|other| !Arc::ptr_eq(other, &own));
        let taken = others.map(|other| other.live.taken()).sum();
        let put = own.live.put(id, rule, taken, |fault| self.fixtures.check_fault(fault));
        put.map(|rule| (scope.to_owned(), rule))
    }

    /// Deletes the rule with this id, in one scope or in any. Returns false if there is none.
    pub fn delete_rule(&self, scope: Option<&str>, id: &str) -> bool {
        self.scopes.meant(scope).iter().filter(|scope| scope.live.delete(id)).count() > 0
    }

    /// Deletes all rules of one scope, or of all.
    pub fn clear_rules(&self, scope: Option<&str>) {
        self.scopes.meant(scope).iter().for_each(|scope| scope.live.clear());
    }

    /// Starts the callers' sequences of replies and their counted faults again.
    pub fn restart_sequences(&self) {
        self.scopes.all().iter().for_each(|scope| scope.state.sequence_counters.clear());
    }

    /// Forgets everything in a scope: rules, sequences, limits, objects, entries of the journal and counters. Without a
    /// scope, in all of them.
    pub fn reset(&self, scope: Option<&str>) {
        self.scopes.reset(scope);
    }

    /// Drops a scope with everything in it. Returns false if there is none.
    pub fn remove_scope(&self, name: &str) -> bool {
        self.scopes.remove(name)
    }

    /// Returns the name of each scope besides the default one, with the number of its requests.
    pub fn scopes(&self) -> impl Iterator<Item = (Arc<str>, u64)> {
        self.scopes.list().into_iter()
    }

    /// Returns true if a scope is in use; the default one always is.
    pub fn has_scope(&self, name: &str) -> bool {
        self.scopes.get(name).is_some()
    }

    /// Returns the numbers of the open connections, which the server keeps.
    pub fn open_connections(&self) -> &Arc<OpenConnections> {
        &self.scopes.records().attempts.connections
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Journal {
        &self.scopes.records().journal
    }

    /// Returns the form of the access log.
    pub fn access_log(&self) -> AccessLog {
        self.scopes.records().access_log
    }

    /// Returns the counters of one scope; without a name, of all.
    pub fn metrics(&self, scope: Option<&str>) -> MetricsSnapshot {
        self.scopes.snapshot(scope)
    }

    /// Returns the context window of models.
    pub(super) fn context_window(&self) -> ContextWindow {
        self.scopes.behavior().context
    }

    /// Returns the counters of vLLM's metrics.
    pub fn vllm_metrics(&self) -> VllmCounters {
        self.scopes.records().vllm.snapshot()
    }

    /// Returns the time of the start, since 1970.
    pub fn started(&self) -> Duration {
        self.scopes.records().started
    }

    /// Returns the models that requests may name, and the settings that responses report.
    pub fn served(&self) -> &ServedModels {
        &self.served
    }

    /// Returns the numbers of requests received and in flight.
    pub fn totals(&self) -> (u64, u64) {
        self.scopes.totals()
    }

    /// Records that the time of the drain is over: responses that are open now are cut by the server itself.
    pub fn stop(&self) {
        self.scopes.records().stop();
        let drained = self.journal().drain();
        match self.access_log() {
            AccessLog::Off => {}
            format => drained.iter().for_each(|entry| entry.read().line().write(format)),
        }
    }
}
