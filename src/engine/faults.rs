//! What is to go wrong with a request, and how long its answer takes: gathered from everywhere it can be asked for.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::HeaderName;
use memchr::memmem;
use percent_encoding::percent_decode_str;

use super::Engine;
use crate::{
    config::Config,
    core::{
        context::RequestContext,
        error::ApiError,
        limit_status::{LimitExceeded, LimitStatus, Reason, Unit},
        prompt::Prompt,
        request::RequestBody,
        response::{Body, Response},
        template::query,
    },
    fixtures::{Endpoint, Fixtures},
    traffic::{
        access,
        capacity::ConcurrencyLimit,
        fault::{FaultContext, FaultSpec, Plan},
        latency::{Distribution, Latency, Pace},
        matcher::MatchInput,
        rule::{LiveRules, RuleSet},
    },
};

/// The header that asks for faults.
static HEADER: HeaderName = HeaderName::from_static("x-fake-openai");
/// The parameter of a query that does.
const QUERY: &str = "fake";
/// What stands before the faults in a message, and behind them.
const MARKER: (&str, &str) = ("[[fake:", "]]");
/// How long a client that is told nothing else waits after an error which tells it to.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is to go wrong, and how long answers take, for all requests.
pub(super) struct FaultConfig {
    /// Whether requests may ask for faults themselves.
    pub(super) by_request: bool,
    /// Rules put while the server runs.
    pub(super) live: Arc<LiveRules>,
    rules: RuleSet,
    always: Vec<FaultSpec>,
    pub(super) latency: Latency,
    itl: Arc<Distribution>,
    speed: f64,
    pub(super) capacity: Option<Arc<ConcurrencyLimit>>,
}

impl FaultConfig {
    pub(super) fn new(fixtures: &Fixtures, latency: Latency, config: &Config) -> Self {
        let rules = config.rules.iter().chain(fixtures.rules()).cloned();
        FaultConfig {
            by_request: config.request_faults,
            live: Arc::default(),
            rules: RuleSet::new(rules),
            always: config.faults.clone(),
            itl: Arc::new(latency.itl.clone()),
            latency,
            speed: config.speed,
            capacity: config.capacity.map(|spec| Arc::new(ConcurrencyLimit::new(spec))),
        }
    }

    /// Faults and latency after a reload, with the same live rules and permits.
    pub(super) fn reloaded(&self, fixtures: &Fixtures, latency: Latency, config: &Config) -> Self {
        let (live, capacity) = (Arc::clone(&self.live), self.capacity.clone());
        FaultConfig { live, capacity, ..FaultConfig::new(fixtures, latency, config) }
    }

    /// A path without the faults at its front, and these: `/~hang/v1/models`.
    pub(super) fn in_path<'a>(&self, path: &'a str) -> (&'a str, Option<&'a str>) {
        match path.strip_prefix("/~") {
            Some(rest) if self.by_request => {
                let (faults, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (if path.is_empty() { "/" } else { path }, Some(faults))
            }
            _ => (path, None),
        }
    }
}

/// How long an answer takes.
#[derive(Default)]
pub(super) struct Time {
    /// Until its head is sent.
    pub(super) before_head: Duration,
    /// From token to token, if it is a stream.
    pub(super) pace: Option<Pace>,
}

impl Time {
    /// Whether it takes any.
    pub(super) fn is_any(&self) -> bool {
        !self.before_head.is_zero() || self.pace.is_some()
    }
}

impl Engine {
    /// Plans what goes wrong with a request. What stands nearer to it counts for more: its header, query, path, model, key
    /// and message, then the rules put while the server runs, those of the configuration and of the fixtures, then
    /// what holds for all.
    pub(super) fn plan(&self, endpoint: &Endpoint, context: &RequestContext<'_>) -> Result<Plan, ApiError> {
        let mut plan = Plan::default();
        if self.troubles.by_request && may_ask(context) {
            // What a sink is sent tells of others' models and messages.
            let places = if endpoint.keyed { PLACES } else { PLACES_OUTSIDE };
            for (source, text) in asked_for(endpoint, context).into_iter().take(places).flatten() {
                let chain = text.parse::<FaultSpec>().map_err(|problem| ApiError::BadFault { problem })?;
                self.fixtures.check_fault(&chain).map_err(|problem| ApiError::BadFault { problem })?;
                self.add(&chain, source, context, &mut plan);
            }
        }
        if !endpoint.keyed {
            // A page of the fake's own, such as that of its health, or a sink: what goes wrong with models is not theirs.
            return Ok(plan);
        }
        let model = context.model();
        if !self.troubles.live.is_empty() || !self.troubles.rules.is_empty_for(&model) {
            let body = context.members().unwrap_or_default();
            let read = || endpoint.prompt(context).unwrap_or_default();
            let asked = MatchInput::new(body, model.clone(), context.request.path, &read);
            for (id, chain) in self.troubles.live.faults_for(&asked) {
                self.add(&chain, &id, context, &mut plan);
            }
            for chain in self.troubles.rules.faults_for(&model, &asked) {
                self.add(chain, "rules", context, &mut plan);
            }
        }
        for chain in &self.troubles.always {
            self.add(chain, "all", context, &mut plan);
        }
        Ok(plan)
    }

    fn add(&self, chain: &FaultSpec, source: &str, context: &RequestContext<'_>, plan: &mut Plan) {
        let progress = &self.memory.progress;
        let caller = access::caller(context);
        let mut count =
            |number: usize, first: u64| progress.next((source, &**chain.text(), number, caller), first).is_some();
        let random = &mut context.random.borrow_mut();
        chain.add_to(plan, &mut FaultContext { elapsed: self.clock.elapsed(), random, count: &mut count });
    }

    /// How long an answer takes; without one, the error in its place.
    pub(super) fn time(
        &self,
        endpoint: Option<&Endpoint>,
        plan: &Plan,
        context: &RequestContext<'_>,
        response: Option<&Response>,
    ) -> Time {
        let FaultConfig { latency, itl, speed, capacity, .. } = &self.troubles;
        // Only what the model says takes time of itself.
        let cost = response.and_then(|response| response.cost).filter(|_| endpoint.is_some_and(Endpoint::is_generated));
        let (planned_ttft, planned_itl) = (plan.ttft(), plan.itl());
        if planned_ttft.is_none() && (cost.is_none() || planned_itl.is_none() && latency.is_zero()) {
            return Time::default();
        }
        let mut random = context.random.borrow_mut().fork();
        let factor = {
            let (speed, capacity) = (*speed, capacity.clone());
            move || capacity.as_ref().map_or(1.0, |capacity| capacity.slowdown()) / speed
        };
        let ttft = match (planned_ttft, cost) {
            (Some((time, progress)), _) => time.sample_at(&mut random, progress),
            (None, Some(cost)) => {
                let prompt = u32::try_from(cost.input).unwrap_or(u32::MAX);
                latency.ttft.sample_at(&mut random, 1.0).saturating_add(latency.prefill.saturating_mul(prompt))
            }
            (None, None) => Duration::ZERO,
        };
        let before_head = if factor() == 1.0 { ttft } else { ttft.mul_f64(factor()) };
        let Some(cost) = cost else { return Time { before_head, pace: None } };
        let (itl, progress) = match planned_itl {
            Some((time, progress)) => (Arc::new(time.clone()), progress),
            None => (Arc::clone(itl), 1.0),
        };
        let mut pace = Pace::new(before_head, itl, progress, Box::new(factor), random);
        match response.map(|response| &response.body) {
            Some(Body::Stream(_)) => Time { before_head, pace: Some(pace) },
            _ => Time { before_head: pace.total(cost.output), pace: None },
        }
    }
}

/// The error that is planned in place of an answer: the one that a provider has with that status, as told by
/// `status_of`, or else any. One that refuses for a limit says so as if there were one.
pub(super) fn planned_error(
    plan: &Plan,
    context: &mut RequestContext<'_>,
    status_of: impl Fn(&ApiError) -> Option<u16>,
) -> Option<ApiError> {
    let (status, name) = plan.error()?;
    let window = context.model_facts().and_then(|facts| facts.context_window).unwrap_or(128_000);
    let injected = || ApiError::Injected { status: status.into(), name: name.to_owned() };
    let error = match (status, name) {
        (401, "") => ApiError::WrongKey { key: context.credential().key.map(access::mask).unwrap_or_default() },
        (404, "") => ApiError::ModelNotFound { model: context.model().into_owned() },
        (413, "") => ApiError::BodyTooLarge { limit: context.request.body.len() / 2 },
        (400, "context_length_exceeded") => {
            ApiError::ContextLengthExceeded { window, requested: window.saturating_add(window / 4) }
        }
        (429, "insufficient_quota") => ApiError::InsufficientQuota {},
        (429, "" | "requests" | "tokens") => {
            let unit = if name == "tokens" { Unit::Tokens } else { Unit::Requests };
            let wait = plan.retry_after().flatten().unwrap_or(RETRY_AFTER);
            let minute = Duration::from_secs(60);
            let known = context.limit_statuses.get(unit).copied();
            let known =
                known.unwrap_or(LimitStatus { limit: 60, remaining: 0, until_full: minute, wait, period: minute });
            let limit_status = LimitStatus { remaining: 0, wait, ..known };
            let refusal = LimitExceeded { limit_status, unit, requested: 1, reason: Reason::RanOut };
            context.limit_statuses.exceed(refusal);
            context.limit_statuses.close();
            refusal.into()
        }
        _ => injected(),
    };
    Some(if status_of(&error) == Some(status) { error } else { injected() })
}

/// The error that is planned within a stream, for an answer that is none.
pub(super) fn planned_instead(plan: &Plan, response: &Response) -> Option<ApiError> {
    let name = plan.stream_error().filter(|_| matches!(response.body, Body::Full(_)))?;
    Some(ApiError::Injected { status: 0, name: name.to_owned() })
}

/// Whether an error is planned within an answer, which is then the one in scope.
pub(super) fn planned_in_band(plan: &Plan, response: &Response, context: &mut RequestContext<'_>) -> bool {
    match plan.stream_error() {
        Some(name) if matches!(response.body, Body::Stream(_)) => {
            // Without a name it is the error that the provider breaks off streams with.
            let named = (!name.is_empty()).then(|| ApiError::Injected { status: 0, name: name.to_owned() });
            context.error = named;
            true
        }
        _ => false,
    }
}

/// Whether a request may ask for faults. Most do not, and are told apart by one look.
fn may_ask(context: &RequestContext<'_>) -> bool {
    let request = context.request;
    context.path_faults.is_some()
        || !request.query.is_empty()
        || request.headers.get(&HEADER).is_some()
        || context.credential().faults.is_some()
        || context.model_faults().is_some()
        || is_marked(&request.body)
}

/// Places where a request may ask for faults.
const PLACES: usize = 6;
/// Of these the ones that come before whose model, key and message it is.
const PLACES_OUTSIDE: usize = 3;

/// The faults that a request asks for, and where.
fn asked_for<'a>(
    endpoint: &Endpoint,
    context: &'a RequestContext<'_>,
) -> [Option<(&'static str, Cow<'a, str>)>; PLACES] {
    let request = context.request;
    let in_query = if request.query.is_empty() { None } else { query(request.query, QUERY) };
    let in_path = context.path_faults.map(|text| percent_decode_str(text).decode_utf8_lossy());
    [
        request.headers.get(&HEADER).map(|text| ("header", Cow::Borrowed(text))),
        in_query.map(|text| ("query", text)),
        in_path.map(|text| ("path", text)),
        context.model_faults().map(|text| ("model", text)),
        context.credential().faults.map(|text| ("key", Cow::Borrowed(text))),
        marked(endpoint, context).map(|text| ("message", Cow::Owned(text))),
    ]
}

/// Finds the marker: made once, since that takes longer than most searches.
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(MARKER.0));

/// Of a body that is longer than this only the end is searched for the marker.
const LONG: usize = 64 * 1024;
/// The length of that end.
const END: usize = 4 * 1024;

/// Whether a marker stands in a body.
fn is_marked(body: &RequestBody) -> bool {
    match body {
        RequestBody::Whole(body) if body.len() <= LONG => FINDER.find(body).is_some(),
        RequestBody::Whole(body) => FINDER.find(&body[body.len() - END..]).is_some(),
        RequestBody::TooLarge { .. } => false,
    }
}

/// The faults that the user's last message asks for.
fn marked(endpoint: &Endpoint, context: &RequestContext<'_>) -> Option<String> {
    let (before, behind) = MARKER;
    // The message is read only if there is something to be found.
    if !is_marked(&context.request.body) {
        return None;
    }
    let prompt: Prompt = endpoint.prompt(context)?;
    let (_, rest) = prompt.last_user().rsplit_once(before)?;
    rest.split_once(behind).map(|(text, _)| text.trim().to_owned())
}
