//! The pipeline: from a request to a response, in one function that reads from top to bottom.

use std::{borrow::Cow, sync::Arc};

use super::{
    faults::{FaultConfig, Requested, StreamError, planned_error, planned_error_for_full_body},
    journal::Journal,
    panics::is_request_id,
    receipt::Receipt,
    scope::{ScopeState, Scopes},
    timing::{ModelTiming, server_timing},
};
use crate::{
    config::{Checks, Config},
    core::{
        body_memory::BodyMemory,
        clock::{Clock, FIXED_EPOCH},
        context::RequestContext,
        error::ApiError,
        limit_status::Cost,
        random::{Random, Seeds},
        request::{Request, RequestBody},
        response::{Body, Response},
    },
    fixtures::{Endpoint, Fixtures, Provider, Target},
    traffic::{
        access::Access,
        capacity::{Load, QueueFull},
        fault::Plan,
        latency::Latency,
        limit::{LimitRequest, LimitSpec, Limits, Reservation, StoreUnreachable},
    },
};

/// The state and settings that requests are handled with. Nothing is global: one process can run many engines.
pub struct Engine {
    pub(super) fixtures: Fixtures,
    access: Access,
    limits: Arc<Limits>,
    pub(super) faults: FaultConfig,
    pub(super) timing: ModelTiming,
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
    pub(super) scopes: Scopes,
    body_memory: Arc<BodyMemory>,
    /// The checks of the report.
    pub(super) checks: Checks,
}

/// The route of a request: its endpoint and the provider whose errors it returns.
#[derive(Clone, Copy)]
pub(super) struct MatchedRoute<'a> {
    pub(super) provider: &'a Provider,
    pub(super) endpoint: &'a Endpoint,
}

impl Engine {
    /// Creates an engine with these fixtures, limits, latency and journal; `config` holds the rest.
    pub fn new(fixtures: Fixtures, limits: Limits, latency: Latency, journal: Journal, config: &Config) -> Self {
        let (behavior, shards) = (&config.behavior, config.workers.get());
        Engine {
            faults: FaultConfig::new(&fixtures, config),
            timing: ModelTiming::new(latency, config),
            fixtures,
            access: config.access.clone(),
            limits: Arc::new(limits),
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            seeds: Arc::new(Seeds::new(config.seed)),
            clock: config.clock.clone(),
            seeded: config.seed.is_some(),
            scopes: Scopes::new(behavior, config.strict_ids, shards, journal, config.access_log, config.clock.clone()),
            body_memory: Arc::new(BodyMemory::new(config.max_body_memory)),
            checks: config.checks.clone(),
        }
    }

    /// Creates the engine after a reload: other fixtures, limits, latency and settings, but the same counters, stored
    /// objects, live rules, permits, buckets and sequence of random numbers.
    pub fn reloaded(&self, fixtures: Fixtures, limits: Vec<LimitSpec>, latency: Latency, config: &Config) -> Self {
        Engine {
            faults: FaultConfig::new(&fixtures, config),
            timing: self.timing.reloaded(latency, config),
            fixtures,
            access: config.access.clone(),
            limits: Arc::new(self.limits.reloaded(limits, config.settle)),
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            seeds: Arc::clone(&self.seeds),
            clock: self.clock.clone(),
            seeded: self.seeded,
            scopes: self.scopes.reloaded(&config.behavior),
            body_memory: Arc::clone(&self.body_memory),
            checks: config.checks.clone(),
        }
    }

    /// Handles one request: routes, authenticates, admits, validates, generates the response, and adds headers,
    /// faults and delays. The caller keeps the receipt until the response has ended.
    pub async fn handle(&self, request: &Request<'_>) -> (Response, Box<Receipt>) {
        let (path, faults) = self.faults.split_path(request.path);
        let (sent_path, header_route) = (request.path, self.fixtures.header_route(path, request.headers));
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

        let Target { provider, file, endpoint } = self.fixtures.find(request.method, request.path);
        let endpoint = endpoint.map(|(endpoint, params)| {
            context.set_params(params);
            endpoint
        });
        let requested = self.requested(endpoint.as_ref().ok().copied(), &context);
        let scope_name = requested.as_ref().ok().and_then(|requested| requested.scope.as_deref());
        let scope = self.scopes.get_or_create(scope_name);
        let shown_path = match &endpoint {
            Ok(_) => Cow::Borrowed(sent_path),
            // The segments of the path have no names then.
            Err(_) => self.fixtures.path_without_secrets(sent_path),
        };
        let call = requested.as_ref().ok().and_then(|requested| requested.call.as_deref());
        let mut receipt = Receipt::open(&scope, &context, &shown_path, file, call);
        let (endpoint, result) = match endpoint {
            Err(error) => (None, Err(error)),
            Ok(endpoint) => {
                let route = MatchedRoute { provider, endpoint };
                (Some(endpoint), self.respond(route, requested, &scope, &mut context, &mut receipt, &mut plan).await)
            }
        };
        let timing = self.response_timing(endpoint, &plan, &context, result.as_ref().ok());
        context.intended = timing.before_head;
        let (mut response, error) = match (result, endpoint) {
            (Ok(mut response), Some(endpoint)) => {
                provider.add_headers(endpoint, &context, &mut response);
                (response, None)
            }
            (Ok(response), None) => (response, None),
            (Err(error), _) => (provider.error_response(endpoint, &context, &error), Some(error)),
        };
        if self.server_timing {
            response.headers.push(server_timing(&context));
        }
        let is_stream = matches!(response.body, Body::Stream(_));
        let mut stream_error = None;
        if !plan.is_empty() || timing.has_delay() {
            stream_error = StreamError::of(&plan, &response);
            let error = stream_error.as_ref().map(|error| provider.in_band(endpoint, &context, error.named()));
            response = plan.disrupt(timing.apply(plan.corrupt(response, error)));
        }
        if !matches!(response.body, Body::Full(_)) {
            let id = response.headers.iter().find(|(name, _)| is_request_id(name.as_str()));
            receipt.request_id = id.map(|(_, value)| value.clone());
        }
        let error = error.as_ref().or_else(|| stream_error.as_ref()?.named());
        receipt.respond(&response, error, is_stream, &context, &plan, file);
        (response, receipt)
    }

    pub(super) fn context<'a>(&'a self, request: &'a Request<'a>, path_faults: Option<&'a str>) -> RequestContext<'a> {
        self.context_with(request, path_faults, self.seeds.next())
    }

    /// Creates a context with these random numbers. One that no response follows from must not draw from the seeds.
    pub(super) fn context_with<'a>(
        &'a self,
        request: &'a Request<'a>,
        path_faults: Option<&'a str>,
        random: Random,
    ) -> RequestContext<'a> {
        let now = if self.seeded { FIXED_EPOCH } else { self.clock.unix() };
        let mut context = RequestContext::new(request, random, now);
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
        requested: Result<Requested, ApiError>,
        scope: &Arc<ScopeState>,
        context: &mut RequestContext<'_>,
        receipt: &mut Receipt,
        plan: &mut Plan,
    ) -> Result<Response, ApiError> {
        let MatchedRoute { endpoint, .. } = route;
        match context.request.body {
            RequestBody::Whole(_) | RequestBody::MalformedForm => {}
            RequestBody::Discarded(discarded) => return Err(discarded.into()),
        }
        if endpoint.keyed {
            self.access.check_key(context.credential().key)?;
        }
        self.check_model(endpoint, context)?;
        receipt.hold_reservation(self.admit(endpoint, scope, context).await?);
        *plan = self.plan(endpoint, context, scope, &requested?.faults);
        self.check(route, context, plan)?;
        if let Some(capacity) = self.timing.capacity.as_ref().filter(|_| endpoint.is_generated()) {
            let before = context.elapsed();
            receipt.hold_permit(capacity.acquire().await.map_err(|QueueFull| ApiError::Saturated {})?);
            context.queued = context.elapsed().saturating_sub(before);
        }
        self.generate(endpoint, context, scope, plan)
    }

    /// Checks that no error is planned for a request, and validates it.
    pub(super) fn check(
        &self,
        MatchedRoute { provider, endpoint }: MatchedRoute<'_>,
        context: &mut RequestContext<'_>,
        plan: &Plan,
    ) -> Result<(), ApiError> {
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
        scope: &ScopeState,
        plan: &Plan,
    ) -> Result<Response, ApiError> {
        endpoint.run(context, &scope.state, &|item| self.execute_batch_item(item, scope));
        let response = endpoint.respond(context, &scope.state)?;
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
        scope: &ScopeState,
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
            scope: scope.limit_key(),
            decisions: scope.name.as_ref().map(|_| scope.conduct.decisions()),
            cost: if self.limits.needs_cost() { endpoint.cost(context) } else { Cost::default() },
        };
        let decision = self.limits.admit(&limit_request).await;
        let decision = decision.map_err(|StoreUnreachable| ApiError::LimitUnknown {})?;
        context.limit_statuses = decision.limit_statuses;
        match decision.limit_statuses.refusal {
            None => Ok(decision.reservation),
            Some(exceeded) => Err(exceeded.into()),
        }
    }

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
}
