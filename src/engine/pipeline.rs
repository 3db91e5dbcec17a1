//! The pipeline: from a request to a response, in one function that reads from top to bottom.

use std::{borrow::Cow, sync::Arc};

use super::{
    faults::{FaultConfig, planned_error, planned_error_for_full_body, set_stream_error},
    metrics::{Metrics, MetricsSnapshot, Receipt},
    panics::is_request_id,
    timing::server_timing,
};
use crate::{
    config::Config,
    core::{
        body_memory::BodyMemory,
        clock::{Clock, FIXED_EPOCH},
        context::RequestContext,
        error::ApiError,
        limit_status::{Cost, LimitStatuses},
        random::Seeds,
        request::{Request, RequestBody},
        response::{Body, Response},
    },
    fixtures::{Endpoint, Fixtures, Provider, Target},
    resources::{state::EngineState, store::ResourceStore},
    traffic::{
        access::Access,
        capacity::{Load, QueueFull},
        fault::Plan,
        latency::Latency,
        limit::{LimitRequest, LimitSpec, Limits, Reservation, StoreUnreachable},
        rule::{LiveRule, LiveRules, RuleError},
    },
};

/// The state and settings that requests are handled with. Nothing is global: one process can run many engines.
pub struct Engine {
    pub(super) fixtures: Fixtures,
    access: Access,
    limits: Arc<Limits>,
    pub(super) faults: FaultConfig,
    pub(super) state: EngineState,
    /// True if requests are not validated beyond being JSON.
    pub(super) lenient: bool,
    /// True if responses name models with their date.
    snapshots: bool,
    /// True if responses have a `Server-Timing` header.
    server_timing: bool,
    seeds: Arc<Seeds>,
    pub(super) clock: Clock,
    /// True if there is a seed. Responses then have a fixed date, so that every byte repeats.
    seeded: bool,
    pub(super) metrics: Arc<Metrics>,
    body_memory: Arc<BodyMemory>,
}

/// The route of a request: its endpoint and the provider whose errors it returns.
#[derive(Clone, Copy)]
pub(super) struct MatchedRoute<'a> {
    pub(super) provider: &'a Provider,
    pub(super) endpoint: &'a Endpoint,
}

impl Engine {
    /// Creates an engine with these fixtures, limits and latency; `config` holds the rest.
    pub fn new(fixtures: Fixtures, limits: Limits, latency: Latency, config: &Config) -> Self {
        Engine {
            faults: FaultConfig::new(&fixtures, latency, config),
            fixtures,
            access: config.access.clone(),
            limits: Arc::new(limits),
            state: EngineState {
                behavior: config.behavior.clone(),
                resources: Arc::new(ResourceStore::new(config.strict_ids)),
                ..EngineState::default()
            },
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            seeds: Arc::new(Seeds::new(config.seed)),
            clock: config.clock.clone(),
            seeded: config.seed.is_some(),
            metrics: Arc::default(),
            body_memory: Arc::new(BodyMemory::new(config.max_body_memory)),
        }
    }

    /// Creates the engine after a reload: other fixtures, limits, latency and settings, but the same counters, stored
    /// objects, live rules, permits, buckets and sequence of random numbers.
    pub fn reloaded(&self, fixtures: Fixtures, limits: Vec<LimitSpec>, latency: Latency, config: &Config) -> Self {
        Engine {
            faults: self.faults.reloaded(&fixtures, latency, config),
            fixtures,
            access: config.access.clone(),
            limits: Arc::new(self.limits.reloaded(limits, config.settle)),
            state: EngineState {
                behavior: config.behavior.clone(),
                sequence_counters: Arc::clone(&self.state.sequence_counters),
                resources: Arc::clone(&self.state.resources),
            },
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            seeds: Arc::clone(&self.seeds),
            clock: self.clock.clone(),
            seeded: self.seeded,
            metrics: Arc::clone(&self.metrics),
            body_memory: Arc::clone(&self.body_memory),
        }
    }

    /// Handles one request: routes, authenticates, admits, validates, generates the response, and adds headers,
    /// faults and delays. The caller keeps the receipt until the response has ended.
    pub async fn handle(&self, request: &Request<'_>) -> (Response, Receipt) {
        let mut receipt = Receipt::open(&self.metrics);
        let (path, faults) = self.faults.split_path(request.path);
        let header_route = self.fixtures.header_route(path, request.headers);
        let rewritten;
        let request = match (&header_route, faults) {
            (None, None) => request,
            _ => {
                rewritten = Request { path: header_route.as_deref().unwrap_or(path), ..request.clone() };
                &rewritten
            }
        };
        let mut context = self.context(request, faults);
        let mut plan = Plan::default();

        let Target { provider, endpoint } = self.fixtures.find(request.method, request.path);
        let (endpoint, result) = match endpoint {
            Err(error) => (None, Err(error)),
            Ok((endpoint, params)) => {
                context.set_params(params);
                let route = MatchedRoute { provider, endpoint };
                (Some(endpoint), self.respond(route, &mut context, &mut receipt, &mut plan).await)
            }
        };
        let timing = self.response_timing(endpoint, &plan, &context, result.as_ref().ok());
        context.intended = timing.before_head;
        let mut response = match (result, endpoint) {
            (Ok(mut response), Some(endpoint)) => {
                provider.add_headers(endpoint, &context, &mut response);
                response
            }
            (Ok(response), None) => response,
            (Err(error), _) => {
                context.error = Some(error);
                provider.error_response(endpoint, &context)
            }
        };
        if self.server_timing {
            response.headers.push(server_timing(&context));
        }
        receipt.reconcile(response.cost);
        if !plan.is_empty() || timing.has_delay() {
            let error = set_stream_error(&plan, &response, &mut context).then(|| provider.in_band(endpoint, &context));
            response = plan.apply(response, timing.before_head, timing.pace, error);
        }
        if !matches!(response.body, Body::Full(_)) {
            let id = response.headers.iter().find(|(name, _)| is_request_id(name));
            receipt.request_id = id.map(|(_, value)| value.clone());
        }
        (response, receipt)
    }

    pub(super) fn context<'a>(&'a self, request: &'a Request<'a>, path_faults: Option<&'a str>) -> RequestContext<'a> {
        let now = if self.seeded { FIXED_EPOCH } else { self.clock.unix() };
        let mut context = RequestContext::new(request, self.seeds.next(), now);
        context.model_catalog = self.fixtures.model_catalog();
        context.models = &self.access.models;
        context.needs_key = !self.access.keys.is_empty();
        context.snapshots = self.snapshots;
        context.body_memory = Some(&self.body_memory);
        context.names_carry_faults = self.faults.by_request;
        context.path_faults = path_faults;
        context
    }

    /// Returns the response to a request, or the first error on the way.
    async fn respond(
        &self,
        route: MatchedRoute<'_>,
        context: &mut RequestContext<'_>,
        receipt: &mut Receipt,
        plan: &mut Plan,
    ) -> Result<Response, ApiError> {
        let MatchedRoute { endpoint, .. } = route;
        match context.request.body {
            RequestBody::Whole(_) => {}
            RequestBody::Discarded(discarded) => return Err(discarded.into()),
        }
        if endpoint.keyed {
            self.access.check_key(context.credential().key)?;
        }
        self.check_model(endpoint, context)?;
        receipt.hold_reservation(self.admit(endpoint, context).await?);
        self.plan_and_check(route, context, plan)?;
        if let Some(capacity) = self.faults.capacity.as_ref().filter(|_| endpoint.is_generated()) {
            let before = context.elapsed();
            receipt.hold_permit(capacity.acquire().await.map_err(|QueueFull| ApiError::Saturated {})?);
            context.queued = context.elapsed().saturating_sub(before);
        }
        self.generate(endpoint, context, plan)
    }

    /// Plans the faults of a request and validates it.
    pub(super) fn plan_and_check(
        &self,
        MatchedRoute { provider, endpoint }: MatchedRoute<'_>,
        context: &mut RequestContext<'_>,
        plan: &mut Plan,
    ) -> Result<(), ApiError> {
        *plan = self.plan(endpoint, context)?;
        (context.reply_override, context.returns_wrong_model) = (plan.replacement(), plan.has_wrong_model());
        if let Some(error) = planned_error(plan, context, |error| provider.status(endpoint, error)) {
            return Err(error);
        }
        if !self.lenient {
            endpoint.check(context)?;
        }
        Ok(())
    }

    /// Returns the response to a valid request.
    pub(super) fn generate(
        &self,
        endpoint: &Endpoint,
        context: &RequestContext<'_>,
        plan: &Plan,
    ) -> Result<Response, ApiError> {
        endpoint.run(context, &self.state, &|item| self.execute_batch_item(item));
        let response = endpoint.respond(context, &self.state)?;
        planned_error_for_full_body(plan, &response).map_or(Ok(response), Err)
    }

    /// Checks that the requested model exists, if the list of models is closed.
    pub(super) fn check_model(&self, endpoint: &Endpoint, context: &RequestContext<'_>) -> Result<(), ApiError> {
        if self.access.models.is_empty() {
            return Ok(());
        }
        match (context.param("model").or(context.param("deployment")), endpoint.is_generated()) {
            (Some(model), _) => self.access.check_model(model),
            // A body without a model is rejected later, by validation.
            (None, true) => match context.model() {
                model if model.is_empty() => Ok(()),
                model => self.access.check_model(&model),
            },
            (None, false) => Ok(()),
        }
    }

    /// Checks the limits of an endpoint. This is awaited, because the limits can be in a store that servers share.
    async fn admit(
        &self,
        endpoint: &Endpoint,
        context: &mut RequestContext<'_>,
    ) -> Result<Option<Reservation>, ApiError> {
        if self.limits.is_empty() || !endpoint.limited {
            return Ok(None);
        }
        let deployment = context.param("deployment");
        let model = if self.limits.needs_model() { context.model() } else { Cow::Borrowed("") };
        let limit_request = LimitRequest {
            at: context.started,
            ip: context.request.client,
            key: if self.limits.needs_key() { context.credential().key } else { None },
            model: context.param("model").or(deployment).unwrap_or(&model),
            deployment,
            path: context.request.path,
            cost: if self.limits.needs_cost() { endpoint.cost(context) } else { Cost::default() },
        };
        let mut limit_statuses = LimitStatuses::default();
        let reservation = self.limits.admit(&limit_request, &mut limit_statuses).await;
        let reservation = reservation.map_err(|StoreUnreachable| ApiError::LimitUnknown {})?;
        context.limit_statuses = limit_statuses;
        match limit_statuses.refusal {
            None => Ok(reservation),
            Some(exceeded) => Err(exceeded.into()),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The latency of the model.
    pub fn latency(&self) -> &Latency {
        &self.faults.latency
    }

    /// The rules added at run time.
    pub fn rules(&self) -> &LiveRules {
        &self.faults.live
    }

    /// Adds a rule at run time, or replaces the one with this id.
    ///
    /// # Errors
    /// The rule is invalid, or there are too many.
    pub fn put_rule(&self, id: Option<&str>, rule: &serde_json::Value) -> Result<LiveRule, RuleError> {
        self.faults.live.put(id, rule, |fault| self.fixtures.check_fault(fault))
    }

    /// Resets the callers' sequences of replies and their counted faults.
    pub fn reset_sequences(&self) {
        self.state.sequence_counters.clear();
    }

    /// The fixtures.
    pub fn fixtures(&self) -> &Fixtures {
        &self.fixtures
    }

    /// Removes the limit state of clients that have long been idle. The server calls it at intervals.
    pub fn forget_idle(&self) {
        self.limits.forget_idle();
    }

    /// The current load, if concurrency is limited.
    pub fn load(&self) -> Option<Load> {
        self.faults.capacity.as_ref().map(|capacity| capacity.load())
    }

    /// The memory of request bodies.
    pub fn body_memory(&self) -> &Arc<BodyMemory> {
        &self.body_memory
    }

    /// The metrics since the start.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.metrics.snapshot()
    }
}
