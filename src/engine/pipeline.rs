//! The pipeline: from a request to a response, in one function that reads from top to bottom.

use std::{borrow::Cow, sync::Arc};

use super::{
    faults::{
        FaultConfig, PlannedError, Requested, StreamError, chooses_first, planned_error, planned_error_for_full_body,
    },
    journal::Journal,
    panics::is_request_id,
    prepare::{MatchedRoute, Prepared},
    receipt::Receipt,
    scope::{ScopeState, Scopes},
    timing::{ModelTiming, explanation, server_timing},
};
use crate::{
    config::{Checks, Config},
    core::{
        body_memory::BodyMemory,
        clock::Clock,
        context::RequestContext,
        error::ApiError,
        model_catalog::ServedModels,
        random::Seeds,
        request::Request,
        response::{Body, Response},
    },
    fixtures::{EndpointResponse, Fixtures},
    traffic::{
        access::Access,
        capacity::{Admission, QueueFull, QueuedHead},
        fault::Plan,
        latency::Latency,
        limit::{LimitDecision, LimitSpec, Limits},
    },
};

/// The state and settings that requests are handled with. Nothing is global: one process can run many engines.
pub struct Engine {
    pub(super) fixtures: Fixtures,
    pub(super) access: Access,
    /// The models that requests may name, and the settings that responses report.
    pub(super) served: ServedModels,
    pub(super) limits: Arc<Limits>,
    pub(super) faults: FaultConfig,
    pub(super) timing: ModelTiming,
    /// True if requests are not validated beyond being JSON.
    pub(super) lenient: bool,
    /// True if responses name models with their date.
    pub(super) snapshots: bool,
    /// True if responses have a `Server-Timing` header.
    server_timing: bool,
    /// True if responses name the reply and the faults that they come from.
    explain: bool,
    pub(super) seeds: Arc<Seeds>,
    pub(super) clock: Clock,
    /// True if there is a seed. Responses then have a fixed date, so that every byte repeats.
    pub(super) seeded: bool,
    pub(super) scopes: Scopes,
    pub(super) body_memory: Arc<BodyMemory>,
    /// The checks of the report.
    pub(super) checks: Checks,
}

/// Returns the models of a configuration. The fingerprint depends on them and on the behavior of the model.
fn served_models(config: &Config) -> ServedModels {
    let settings = format!("{:?} {:?} {}", config.access.models, config.behavior, config.snapshots);
    ServedModels::new(config.access.models.clone(), config.behavior.context, &settings)
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
            served: served_models(config),
            limits: Arc::new(limits),
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            explain: config.explain,
            seeds: Arc::new(Seeds::new(config.seed)),
            clock: config.clock.clone(),
            seeded: config.seed.is_some(),
            scopes: Scopes::new(behavior, config.objects, shards, journal, config.access_log, config.clock.clone()),
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
            served: served_models(config),
            limits: Arc::new(self.limits.reloaded(limits, config.settle)),
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            explain: config.explain,
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
        let sent_path = request.path;
        let (path, path_faults) = self.route_path(request);
        let rewritten;
        let request = if path == sent_path {
            request
        } else {
            rewritten = Request { path: &path, ..request.clone() };
            &rewritten
        };
        let document = request.document();
        // Used in place: to move it would copy a kilobyte.
        let mut prepared = self.prepare(request, &document, path_faults, self.seeds.next());
        let Prepared { context, provider, file, route } = &mut prepared;

        let requested = self.requested(route.as_ref().ok(), context);
        let scope_name = requested.as_ref().ok().and_then(|requested| requested.scope.as_deref());
        let scope = self.scopes.get_or_create(scope_name);
        let shown_path = match &route {
            Ok(_) => Cow::Borrowed(sent_path),
            // The segments of the path have no names then.
            Err(_) => self.fixtures.path_without_secrets(sent_path),
        };
        let call = requested.as_ref().ok().and_then(|requested| requested.call.as_deref());
        let mut receipt = Receipt::open(&scope, context, &shown_path, file, call);
        context.decisions.attempt = receipt.attempt_number();
        let (endpoint, plan, result) = match route {
            Err(error) => {
                let keyed = self.check_key(provider, None, context);
                (None, Plan::default(), Err(keyed.err().unwrap_or_else(|| error.clone())))
            }
            Ok(route) => {
                let (plan, result) = self.respond(route, requested, &scope, context, &mut receipt).await;
                (Some(route.endpoint), plan, result)
            }
        };
        let response = result.as_ref().ok().map(|responded| &responded.response);
        let timing = self.response_timing(endpoint, &plan, context, response);
        context.decisions.intended = timing.before_head;
        let (mut response, error) = match (result, endpoint) {
            (Ok(EndpointResponse { mut response, object }), Some(endpoint)) => {
                provider.add_headers(endpoint, context, object.as_ref(), &mut response);
                (response, None)
            }
            (Ok(EndpointResponse { response, .. }), None) => (response, None),
            (Err(error), _) => {
                let mut response = provider.error_response(endpoint, context, &error);
                response.reply.source = context.decisions.reply.take();
                (response, Some(error))
            }
        };
        if self.server_timing {
            response.headers.push(server_timing(context));
        }
        if self.explain {
            response.headers.extend(explanation(&response, &plan));
        }
        let is_stream = matches!(response.body, Body::Stream(_));
        if let (Body::Stream(stream), true) = (&response.body, plan.is_empty()) {
            receipt.keep_events(stream);
        }
        let mut stream_error = None;
        if !plan.is_empty() || timing.has_delay() {
            context.decisions.first_token = timing.first_token;
            stream_error = StreamError::of(&plan, &response);
            let error = stream_error.as_ref().map(|error| provider.in_band(endpoint, context, error.named()));
            response = plan.disrupt(timing.apply(plan.corrupt(response, error, context.now)));
        }
        if !matches!(response.body, Body::Full(_)) {
            let id = response.headers.iter().find(|(name, _)| is_request_id(name.as_str()));
            receipt.request_id = id.map(|(_, value)| value.clone());
        }
        let error = error.as_ref().or_else(|| stream_error.as_ref()?.named());
        receipt.respond(&response, error, is_stream, context, &plan, file);
        (response, receipt)
    }

    /// Returns the planned faults, and the response to a request or the first error on the way.
    async fn respond<'a>(
        &self,
        route: &mut MatchedRoute<'a>,
        requested: Result<Requested, ApiError>,
        scope: &Arc<ScopeState>,
        context: &mut RequestContext<'a>,
        receipt: &mut Receipt,
    ) -> (Plan, Result<EndpointResponse, ApiError>) {
        let requested =
            self.admit(route, scope, context).await.and_then(|LimitDecision { limit_statuses, reservation }| {
                context.decisions.limit_statuses = limit_statuses;
                receipt.hold_reservation(reservation);
                limit_statuses.refusal.map_or(requested, |exceeded| Err(exceeded.into()))
            });
        match requested {
            Err(error) => (Plan::default(), Err(error)),
            Ok(requested) => {
                let mut plan = self.plan(route, context, scope, &requested.faults);
                let result = self.respond_with(&mut plan, route, scope, context, receipt).await;
                (plan, result)
            }
        }
    }

    /// Returns the response to an admitted request with these faults.
    async fn respond_with<'a>(
        &self,
        plan: &mut Plan,
        route: &mut MatchedRoute<'a>,
        scope: &Arc<ScopeState>,
        context: &mut RequestContext<'a>,
        receipt: &mut Receipt,
    ) -> Result<EndpointResponse, ApiError> {
        self.decide(plan, route, context)?;
        self.validate(route, context)?;
        if chooses_first(route, scope) {
            self.choose(plan, route, context, scope)?;
        }
        if plan.is_not_streamed()
            && let Some(parsed) = route.parsed_mut(context)
        {
            parsed.options.stream = false;
        }
        if let Some(capacity) = self.timing.capacity.as_ref().filter(|_| route.endpoint.is_generated()) {
            let (style, full) = (route.provider.queue, |QueueFull| ApiError::Saturated {});
            let streams = || route.parsed(context).is_some_and(|parsed| parsed.options.stream);
            if capacity.head(style) == QueuedHead::AtOnce && streams() {
                let admission = capacity.admit(style).map_err(full)?;
                // Boxed, so that the future of other requests stays small.
                return Box::pin(self.generate_queued(admission, plan, route, scope, context, receipt)).await;
            }
            let before = context.elapsed();
            receipt.hold_permit(capacity.acquire(style).await.map_err(full)?);
            context.decisions.queued = context.elapsed().saturating_sub(before);
        }
        self.generate(route, context, scope, plan)
    }

    /// Returns the response to a request that may be in the queue still. A stream's head need not wait for the permit;
    /// its receipt then keeps the place in the queue.
    async fn generate_queued<'a>(
        &self,
        admission: Admission,
        plan: &Plan,
        route: &mut MatchedRoute<'a>,
        scope: &Arc<ScopeState>,
        context: &mut RequestContext<'a>,
        receipt: &mut Receipt,
    ) -> Result<EndpointResponse, ApiError> {
        let waiting = match admission {
            Admission::Granted(permit) => {
                receipt.hold_permit(permit);
                None
            }
            Admission::Queued(waiting) => Some(waiting),
        };
        let responded = self.generate(route, context, scope, plan)?;
        match (waiting, &responded.response.body) {
            (None, _) => {}
            (Some(waiting), Body::Stream(_)) => receipt.keep_waiting(waiting),
            (Some(waiting), _) => receipt.hold_permit(waiting.await.ok_or(ApiError::Saturated {})?),
        }
        Ok(responded)
    }

    /// Records what the faults change about a response.
    ///
    /// # Errors
    /// The planned error.
    pub(super) fn decide<'a>(
        &self,
        plan: &Plan,
        route: &MatchedRoute<'a>,
        context: &mut RequestContext<'a>,
    ) -> Result<(), ApiError> {
        let decisions = &mut context.decisions;
        (decisions.reply_override, decisions.returns_wrong_model) = (plan.replacement(), plan.has_wrong_model());
        decisions.reply_changes = plan.reply_changes();
        let status_of = |error: &ApiError| route.provider.status(route.endpoint, error);
        let Some(PlannedError { error, exceeded }) = planned_error(plan, context, status_of) else { return Ok(()) };
        if let Some(exceeded) = exceeded {
            context.decisions.limit_statuses.exceed(exceeded);
            context.decisions.limit_statuses.close();
        }
        Err(error)
    }

    /// Validates a request, unless the server is lenient.
    pub(super) fn validate<'a>(&self, route: &MatchedRoute<'a>, context: &RequestContext<'a>) -> Result<(), ApiError> {
        if self.lenient { Ok(()) } else { route.endpoint.check(route.parsed(context), context) }
    }

    /// Returns the response to a valid request.
    pub(super) fn generate<'a>(
        &self,
        route: &mut MatchedRoute<'a>,
        context: &RequestContext<'a>,
        scope: &ScopeState,
        plan: &Plan,
    ) -> Result<EndpointResponse, ApiError> {
        let (endpoint, chosen) = (route.endpoint, route.chosen.take());
        endpoint.run(context, &scope.state, &|item| self.execute_batch_item(item, scope));
        let responded = endpoint.respond(route.parsed_mut(context), chosen.as_deref(), context, &scope.state)?;
        planned_error_for_full_body(plan, &responded.response).map_or(Ok(responded), Err)
    }
}
