//! The engine: from a request to an answer, in one function that reads from top to bottom.

mod batch;
mod faults;
mod metrics;
mod realtime;

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

pub use self::metrics::{MetricsSnapshot, Receipt};
use self::{
    faults::{FaultConfig, planned_error, planned_in_band, planned_instead},
    metrics::Metrics,
};
use crate::{
    config::Config,
    core::{
        clock::{Clock, FIXED_EPOCH},
        context::RequestContext,
        error::ApiError,
        limit_status::{Cost, LimitStatuses},
        random::Seeds,
        request::{Request, RequestBody},
        response::Response,
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

/// All that answers requests. Nothing is global: one process can have many.
pub struct Engine {
    fixtures: Fixtures,
    access: Access,
    limits: Arc<Limits>,
    troubles: FaultConfig,
    memory: EngineState,
    /// Whether requests are taken as they come, once they are JSON.
    lenient: bool,
    /// Whether answers bear the dated names of models.
    snapshots: bool,
    /// Whether answers say how long they took.
    server_timing: bool,
    seeds: Arc<Seeds>,
    clock: Clock,
    /// With a seed, answers bear a fixed date: with it every byte repeats.
    seeded: bool,
    tally: Arc<Metrics>,
}

/// What an answer took and was meant to take, in milliseconds: by itself, waiting for a place, and until its head.
fn timing(context: &RequestContext<'_>) -> (HeaderName, HeaderValue) {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let own = millis(context.elapsed().saturating_sub(context.queued));
    let (queued, intended) = (millis(context.queued), millis(context.intended));
    let text = format!("fake;dur={own:.3}, queue;dur={queued:.3}, intended;dur={intended:.3}");
    let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    (HeaderName::from_static("server-timing"), value)
}

/// Whose words an answer is told in.
#[derive(Clone, Copy)]
struct Origin<'a> {
    provider: &'a Provider,
    endpoint: &'a Endpoint,
}

impl Engine {
    /// An engine that answers with these fixtures, within these limits, in this time, and for the rest as the configuration
    /// says.
    pub fn new(fixtures: Fixtures, limits: Limits, latency: Latency, config: &Config) -> Self {
        Engine {
            troubles: FaultConfig::new(&fixtures, latency, config),
            fixtures,
            access: config.access.clone(),
            limits: Arc::new(limits),
            memory: EngineState {
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
            tally: Arc::default(),
        }
    }

    /// An engine with other fixtures, limits, latency and settings, which goes on from this one: with its counters, stored
    /// objects, live rules, permits and buckets, and in its sequence of random numbers.
    pub fn reloaded(&self, fixtures: Fixtures, limits: Vec<LimitSpec>, latency: Latency, config: &Config) -> Self {
        Engine {
            troubles: self.troubles.reloaded(&fixtures, latency, config),
            fixtures,
            access: config.access.clone(),
            limits: Arc::new(self.limits.reloaded(limits, config.settle)),
            memory: EngineState {
                behavior: config.behavior.clone(),
                progress: Arc::clone(&self.memory.progress),
                resources: Arc::clone(&self.memory.resources),
            },
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            seeds: Arc::clone(&self.seeds),
            clock: self.clock.clone(),
            seeded: self.seeded,
            tally: Arc::clone(&self.tally),
        }
    }

    /// Answers one request: route it, let it in, admit it, check it, say what there is to say, dress the answer. The
    /// receipt is to be kept until the answer has ended.
    pub async fn handle(&self, request: &Request<'_>) -> (Response, Receipt) {
        let mut receipt = Receipt::open(&self.tally);
        let (path, faults) = self.troubles.in_path(request.path);
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
        let (endpoint, said) = match endpoint {
            Err(error) => (None, Err(error)),
            Ok((endpoint, params)) => {
                context.set_params(params);
                let origin = Origin { provider, endpoint };
                (Some(endpoint), self.respond(origin, &mut context, &mut receipt, &mut plan).await)
            }
        };
        let time = self.time(endpoint, &plan, &context, said.as_ref().ok());
        context.intended = time.before_head;
        let mut response = match (said, endpoint) {
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
            response.headers.push(timing(&context));
        }
        receipt.reconcile(response.cost);
        if !plan.is_empty() || time.is_any() {
            let error = planned_in_band(&plan, &response, &mut context).then(|| provider.in_band(endpoint, &context));
            response = plan.apply(response, time.before_head, time.pace, error);
        }
        (response, receipt)
    }

    fn context<'a>(&'a self, request: &'a Request<'a>, path_faults: Option<&'a str>) -> RequestContext<'a> {
        let now = if self.seeded { FIXED_EPOCH } else { self.clock.unix() };
        let mut context = RequestContext::new(request, self.seeds.next(), now);
        context.model_catalog = self.fixtures.facts();
        context.models = &self.access.models;
        context.needs_key = !self.access.keys.is_empty();
        context.snapshots = self.snapshots;
        context.names_carry_faults = self.troubles.by_request;
        context.path_faults = path_faults;
        context
    }

    /// What there is to say to a request; a refusal by whatever stands before that comes first.
    async fn respond(
        &self,
        origin: Origin<'_>,
        context: &mut RequestContext<'_>,
        receipt: &mut Receipt,
        plan: &mut Plan,
    ) -> Result<Response, ApiError> {
        let Origin { endpoint, .. } = origin;
        if let RequestBody::TooLarge { limit } = context.request.body {
            return Err(ApiError::BodyTooLarge { limit });
        }
        if endpoint.keyed {
            self.access.check_key(context.credential().key)?;
        }
        self.find_model(endpoint, context)?;
        receipt.hold_reservation(self.admit(endpoint, context).await?);
        self.check(origin, context, plan)?;
        if let Some(capacity) = self.troubles.capacity.as_ref().filter(|_| endpoint.is_generated()) {
            let before = context.elapsed();
            receipt.hold_permit(capacity.acquire().await.map_err(|QueueFull| ApiError::Saturated {})?);
            context.queued = context.elapsed().saturating_sub(before);
        }
        self.say(endpoint, context, plan)
    }

    /// Plans what goes wrong with a request, and checks what it asks.
    fn check(
        &self,
        Origin { provider, endpoint }: Origin<'_>,
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

    /// What there is to say to a request that has passed.
    fn say(&self, endpoint: &Endpoint, context: &RequestContext<'_>, plan: &Plan) -> Result<Response, ApiError> {
        endpoint.run(context, &self.memory, &|line| self.execute_batch_item(line));
        let response = endpoint.respond(context, &self.memory)?;
        planned_instead(plan, &response).map_or(Ok(response), Err)
    }

    /// Looks up the model that is asked for, where the list of them is closed.
    fn find_model(&self, endpoint: &Endpoint, context: &RequestContext<'_>) -> Result<(), ApiError> {
        if self.access.models.is_empty() {
            return Ok(());
        }
        match (context.param("model").or(context.param("deployment")), endpoint.is_generated()) {
            (Some(model), _) => self.access.check_model(model),
            // A body that names no model is refused for that, in its turn.
            (None, true) => match context.model() {
                model if model.is_empty() => Ok(()),
                model => self.access.check_model(&model),
            },
            (None, false) => Ok(()),
        }
    }

    /// Asks the limits, where there are some for this endpoint. It is the pipeline's one awaited step: they may live in a
    /// store that machines share.
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
        let ask = LimitRequest {
            at: context.started,
            ip: context.request.client,
            key: if self.limits.needs_key() { context.credential().key } else { None },
            model: context.param("model").or(deployment).unwrap_or(&model),
            deployment,
            path: context.request.path,
            cost: if self.limits.needs_cost() { endpoint.cost(context) } else { Cost::default() },
        };
        let mut limit_statuses = LimitStatuses::default();
        let hold = self.limits.admit(&ask, &mut limit_statuses).await;
        let hold = hold.map_err(|StoreUnreachable| ApiError::LimitUnknown {})?;
        context.limit_statuses = limit_statuses;
        match limit_statuses.refusal {
            None => Ok(hold),
            Some(refusal) => Err(refusal.into()),
        }
    }

    /// The limits that it keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How long the model takes.
    pub fn latency(&self) -> &Latency {
        &self.troubles.latency
    }

    /// The rules that come and go while it runs.
    pub fn rules(&self) -> &LiveRules {
        &self.troubles.live
    }

    /// Puts a rule while the engine runs: a new one, or in place of the one with this id.
    ///
    /// # Errors
    /// The rule is invalid, or one too many.
    pub fn put_rule(&self, id: Option<&str>, rule: &serde_json::Value) -> Result<LiveRule, RuleError> {
        self.troubles.live.put(id, rule, |fault| self.fixtures.check_fault(fault))
    }

    /// Begins anew with what is counted for each caller: replies in a sequence, and faults that happen so many times.
    pub fn forget_progress(&self) {
        self.memory.progress.clear();
    }

    /// The fixtures it answers with.
    pub fn fixtures(&self) -> &Fixtures {
        &self.fixtures
    }

    /// Lets go of what is remembered of clients that have long been idle. To be called now and then.
    pub fn forget_idle(&self) {
        self.limits.forget_idle();
    }

    /// How full it is, where there are only so many places.
    pub fn load(&self) -> Option<Load> {
        self.troubles.capacity.as_ref().map(|capacity| capacity.load())
    }

    /// What it has counted since the start.
    pub fn count(&self) -> MetricsSnapshot {
        self.tally.read()
    }
}
