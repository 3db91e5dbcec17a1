//! The parts of an engine that the admin pages and the server itself read and change.

use std::{sync::Arc, time::Duration};

use super::{Engine, Journal, MetricsSnapshot, VllmCounters, scope::ScopeState};
use crate::{
    config::AccessLog,
    core::{body_memory::BodyMemory, model_catalog::ServedModels, open_connections::OpenConnections},
    fixtures::{Fixtures, LiveReplies, LiveReply, NewReply, ReplyError},
    model::ContextWindow,
    traffic::{
        capacity::Load,
        fault::check_scope,
        latency::Latency,
        limit::Limits,
        rule::{LiveRule, RuleError, Taken},
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

    /// Returns the replies put at run time, each with its scope: of one scope, or of all.
    pub fn replies(&self, scope: Option<&str>) -> Vec<(String, Arc<LiveReply>)> {
        let of_scope = |scope: Arc<ScopeState>| {
            let replies = scope.replies.list();
            replies.iter().map(|reply| (scope.name().to_owned(), Arc::clone(reply))).collect::<Vec<_>>()
        };
        self.scopes.meant(scope).into_iter().flat_map(of_scope).collect()
    }

    /// Puts replies at run time, all or none: adds them, or replaces those with their ids. A reply belongs to the scope
    /// that it names, or else to `scope`; without both, to the default one. `id` is that of a single reply. Returns the
    /// names of the scopes too.
    ///
    /// # Errors
    /// A reply is invalid, or there are too many.
    pub fn put_replies(
        &self,
        scope: Option<&str>,
        id: Option<&str>,
        replies: Vec<NewReply>,
    ) -> Result<Vec<(String, Arc<LiveReply>)>, ReplyError> {
        check_scope(scope.unwrap_or_default()).map_err(ReplyError::Invalid)?;
        let mut taken: Taken = self.scopes.all().iter().map(|scope| scope.replies.taken()).sum();
        if let Some(replaced) = id.and_then(|id| self.replies(scope).into_iter().find(|(_, reply)| reply.id() == id)) {
            taken.rules -= 1;
            taken.memory = taken.memory.saturating_sub(replaced.1.memory());
        }
        LiveReplies::check_room(&replies, taken)?;
        let mut by_scope: Vec<(String, Vec<NewReply>)> = Vec::new();
        for reply in replies {
            let name = reply.scope().or(scope).unwrap_or_default().to_owned();
            match by_scope.iter_mut().find(|(known, _)| *known == name) {
                Some((_, list)) => list.push(reply),
                None => by_scope.push((name, vec![reply])),
            }
        }
        let put = by_scope.into_iter().flat_map(|(name, list)| {
            let put = self.scopes.get_or_create(Some(&name)).replies.put(list, id);
            put.into_iter().map(move |reply| (name.clone(), reply))
        });
        Ok(put.collect())
    }

    /// Deletes the reply with this id, in one scope or in any. Returns false if there is none.
    pub fn delete_reply(&self, scope: Option<&str>, id: &str) -> bool {
        self.scopes.meant(scope).iter().filter(|scope| scope.replies.delete(id)).count() > 0
    }

    /// Deletes all replies put at run time of one scope, or of all.
    pub fn clear_replies(&self, scope: Option<&str>) {
        self.scopes.meant(scope).iter().for_each(|scope| scope.replies.clear());
    }

    /// Sets whether a request that no reply of the scope fits is an error. The scope is created if there is none.
    ///
    /// # Errors
    /// The name is not one of a scope.
    pub fn set_strict(&self, scope: &str, strict: bool) -> Result<(), String> {
        check_scope(scope)?;
        self.scopes.get_or_create(Some(scope)).replies.set_strict(strict);
        Ok(())
    }

    /// Returns true if a request that no reply of the scope fits is an error.
    pub fn is_strict(&self, scope: &str) -> bool {
        self.scopes.get(scope).is_some_and(|scope| scope.replies.is_strict())
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

    /// Returns the name of each scope besides the default one, with the number of its requests, and true if it is strict.
    pub fn scopes(&self) -> impl Iterator<Item = (Arc<str>, u64, bool)> {
        self.scopes.list().into_iter().map(|(name, (requests, is_strict))| (name, requests, is_strict))
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
