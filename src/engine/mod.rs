//! The engine: from a request to an answer, in one function that reads from top to bottom.

mod batch;
mod faults;
mod metrics;
mod realtime;

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

pub use self::metrics::{Counted, Receipt};
use self::{
    faults::{Troubles, planned_error, planned_in_band, planned_instead},
    metrics::Tally,
};
use crate::{
    config::Config,
    core::{
        clock::{Clock, FIXED_EPOCH},
        context::Scope,
        error::ApiError,
        limit_status::{Cost, Standings},
        random::Seeds,
        request::{Body, Request},
        response::Answer,
    },
    fixtures::{Endpoint, Fixtures, Provider, Target},
    resources::{state::Memory, store::Resources},
    traffic::{
        access::Access,
        capacity::{Load, Saturated},
        fault::Plan,
        latency::Latency,
        limit::{Ask, Hold, Limits, Unreachable},
        rule::LiveRules,
    },
};

/// All that answers requests. Nothing is global: one process can have many.
pub struct Engine {
    fixtures: Fixtures,
    access: Access,
    limits: Arc<Limits>,
    troubles: Troubles,
    memory: Memory,
    /// Whether requests are taken as they come, once they are JSON.
    lenient: bool,
    /// Whether answers bear the dated names of models.
    snapshots: bool,
    /// Whether answers say how long they took.
    server_timing: bool,
    seeds: Seeds,
    clock: Clock,
    /// With a seed, answers bear a fixed date: with it every byte repeats.
    seeded: bool,
    tally: Arc<Tally>,
}

/// What an answer took and was meant to take, in milliseconds: by itself, waiting for a place, and until its head.
fn timing(scope: &Scope<'_>) -> (HeaderName, HeaderValue) {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let own = millis(scope.elapsed().saturating_sub(scope.queued));
    let (queued, intended) = (millis(scope.queued), millis(scope.intended));
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
            troubles: Troubles::new(&fixtures, latency, config),
            fixtures,
            access: config.access.clone(),
            limits: Arc::new(limits),
            memory: Memory {
                manner: config.manner.clone(),
                resources: Resources::new(config.strict_ids),
                ..Memory::default()
            },
            lenient: config.lenient,
            snapshots: config.snapshots,
            server_timing: config.server_timing,
            seeds: Seeds::new(config.seed),
            clock: config.clock.clone(),
            seeded: config.seed.is_some(),
            tally: Arc::default(),
        }
    }

    /// Answers one request: route it, let it in, admit it, check it, say what there is to say, dress the answer. The
    /// receipt is to be kept until the answer has ended.
    pub async fn handle(&self, request: &Request<'_>) -> (Answer, Receipt) {
        let mut receipt = Receipt::open(&self.tally);
        let (path, faults) = self.troubles.in_path(request.path);
        let claimed = self.fixtures.claimed(path, request.headers);
        let readdressed;
        let request = match (&claimed, faults) {
            (None, None) => request,
            _ => {
                readdressed = Request { path: claimed.as_deref().unwrap_or(path), ..request.clone() };
                &readdressed
            }
        };
        let mut scope = self.scope(request, faults);
        let mut plan = Plan::default();

        let Target { provider, endpoint } = self.fixtures.find(request.method, request.path);
        let (endpoint, said) = match endpoint {
            Err(error) => (None, Err(error)),
            Ok((endpoint, params)) => {
                scope.set_params(params);
                let origin = Origin { provider, endpoint };
                (Some(endpoint), self.answer(origin, &mut scope, &mut receipt, &mut plan).await)
            }
        };
        let time = self.time(endpoint, &plan, &scope, said.as_ref().ok());
        scope.intended = time.before_head;
        let mut answer = match (said, endpoint) {
            (Ok(mut answer), Some(endpoint)) => {
                provider.dress(endpoint, &scope, &mut answer);
                answer
            }
            (Ok(answer), None) => answer,
            (Err(error), _) => {
                scope.error = Some(error);
                provider.refuse(endpoint, &scope)
            }
        };
        if self.server_timing {
            answer.headers.push(timing(&scope));
        }
        receipt.settle(answer.cost);
        if !plan.is_empty() || time.is_any() {
            let error = planned_in_band(&plan, &answer, &mut scope).then(|| provider.in_band(endpoint, &scope));
            answer = plan.apply(answer, time.before_head, time.pace, error);
        }
        (answer, receipt)
    }

    fn scope<'a>(&'a self, request: &'a Request<'a>, path_faults: Option<&'a str>) -> Scope<'a> {
        let now = if self.seeded { FIXED_EPOCH } else { self.clock.unix() };
        let mut scope = Scope::new(request, self.seeds.next(), now);
        scope.facts = self.fixtures.facts();
        scope.models = &self.access.models;
        scope.snapshots = self.snapshots;
        scope.names_carry_faults = self.troubles.by_request;
        scope.path_faults = path_faults;
        scope
    }

    /// What there is to say to a request; a refusal by whatever stands before that comes first.
    async fn answer(
        &self,
        origin: Origin<'_>,
        scope: &mut Scope<'_>,
        receipt: &mut Receipt,
        plan: &mut Plan,
    ) -> Result<Answer, ApiError> {
        let Origin { endpoint, .. } = origin;
        if let Body::TooLarge { limit } = scope.request.body {
            return Err(ApiError::BodyTooLarge { limit });
        }
        if endpoint.keyed {
            self.access.admit(scope.credential().key)?;
        }
        self.find_model(endpoint, scope)?;
        receipt.keep(self.admit(endpoint, scope).await?);
        self.check(origin, scope, plan)?;
        if let Some(capacity) = self.troubles.capacity.as_ref().filter(|_| endpoint.is_generated()) {
            let before = scope.elapsed();
            receipt.sit(capacity.enter().await.map_err(|Saturated| ApiError::Saturated {})?);
            scope.queued = scope.elapsed().saturating_sub(before);
        }
        self.say(endpoint, scope, plan)
    }

    /// Plans what goes wrong with a request, and checks what it asks.
    fn check(
        &self,
        Origin { provider, endpoint }: Origin<'_>,
        scope: &mut Scope<'_>,
        plan: &mut Plan,
    ) -> Result<(), ApiError> {
        *plan = self.plan(endpoint, scope)?;
        (scope.says, scope.misnames) = (plan.says(), plan.names_another_model());
        if let Some(error) = planned_error(plan, scope, |error| provider.status(endpoint, error)) {
            return Err(error);
        }
        if !self.lenient {
            endpoint.check(scope)?;
        }
        Ok(())
    }

    /// What there is to say to a request that has passed.
    fn say(&self, endpoint: &Endpoint, scope: &Scope<'_>, plan: &Plan) -> Result<Answer, ApiError> {
        endpoint.run(scope, &self.memory, &|line| self.line(line));
        let answer = endpoint.answer(scope, &self.memory)?;
        planned_instead(plan, &answer).map_or(Ok(answer), Err)
    }

    /// Looks up the model that is asked for, where the list of them is closed.
    fn find_model(&self, endpoint: &Endpoint, scope: &Scope<'_>) -> Result<(), ApiError> {
        if self.access.models.is_empty() {
            return Ok(());
        }
        match (scope.param("model").or(scope.param("deployment")), endpoint.is_generated()) {
            (Some(model), _) => self.access.model(model),
            // A body that names no model is refused for that, in its turn.
            (None, true) => match scope.model() {
                model if model.is_empty() => Ok(()),
                model => self.access.model(&model),
            },
            (None, false) => Ok(()),
        }
    }

    /// Asks the limits, where there are some for this endpoint. It is the pipeline's one awaited step: they may live in a
    /// store that machines share.
    async fn admit(&self, endpoint: &Endpoint, scope: &mut Scope<'_>) -> Result<Option<Hold>, ApiError> {
        if self.limits.is_empty() || !endpoint.limited {
            return Ok(None);
        }
        let deployment = scope.param("deployment");
        let model = if self.limits.ask_model() { scope.model() } else { Cow::Borrowed("") };
        let ask = Ask {
            at: scope.started,
            ip: scope.request.client,
            key: if self.limits.ask_key() { scope.credential().key } else { None },
            model: scope.param("model").or(deployment).unwrap_or(&model),
            deployment,
            path: scope.request.path,
            cost: if self.limits.ask_cost() { endpoint.cost(scope) } else { Cost::default() },
        };
        let mut standings = Standings::default();
        let hold = self.limits.admit(&ask, &mut standings).await;
        let hold = hold.map_err(|Unreachable| ApiError::LimitUnknown {})?;
        scope.standings = standings;
        match standings.refusal {
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
    pub fn count(&self) -> Counted {
        self.tally.read()
    }
}
