//! The faults of a request, collected from every source: the request, rules and the configuration.

use std::{borrow::Cow, sync::LazyLock, time::Duration};

use http::HeaderName;
use memchr::memmem;
use percent_encoding::percent_decode_str;

use super::{Engine, prepare::MatchedRoute, scope::ScopeState};
use crate::{
    config::Config,
    core::{
        context::RequestContext,
        error::{ApiError, InjectedStatus},
        limit_status::{LimitExceeded, LimitStatus, Reason, Unit},
        prompt::Prompt,
        request::RequestBody,
        response::{Body, Response},
        secret,
        template::query,
    },
    fixtures::{Endpoint, Fixtures},
    protocol::ReplySource,
    traffic::{
        access,
        fault::{FaultContext, FaultSpec, Plan, RequestTerms, RetryAfter},
        matcher::MatchInput,
        rule::RuleSet,
    },
};

/// The header that requests faults.
static FAULT_HEADER: HeaderName = HeaderName::from_static("x-fake-openai");
/// The query parameter that requests faults.
const FAULT_PARAMETER: &str = "fake";
/// The text before and after the faults in a message.
const MARKER: (&str, &str) = ("[[fake:", "]]");
/// Wait that a planned 429 announces, unless a limit or the fault sets another.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The faults for all requests.
pub(super) struct FaultConfig {
    /// True if requests can ask for faults themselves.
    pub(super) by_request: bool,
    rules: RuleSet,
    always: Vec<FaultSpec>,
}

impl FaultConfig {
    pub(super) fn new(fixtures: &Fixtures, config: &Config) -> Self {
        let rules = config.rules.iter().chain(fixtures.rules()).cloned();
        FaultConfig { by_request: config.request_faults, rules: RuleSet::new(rules), always: config.faults.clone() }
    }

    /// Splits a path into the path proper and the faults at its start: `/~hang/v1/models`.
    pub(super) fn split_path<'a>(&self, path: &'a str) -> (&'a str, Option<&'a str>) {
        match path.strip_prefix("/~") {
            Some(rest) if self.by_request => {
                let (faults, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (if path.is_empty() { "/" } else { path }, Some(faults))
            }
            _ => (path, None),
        }
    }
}

impl Engine {
    /// Reads what a request asks for besides its response: in its header, query, path, model, key and message. Of two
    /// names for the same thing the first one counts.
    ///
    /// # Errors
    /// A text is wrong. The faults before it are lost with it.
    pub(super) fn requested<'a>(
        &self,
        route: Option<&MatchedRoute<'a>>,
        context: &RequestContext<'a>,
    ) -> Result<Requested, ApiError> {
        let mut requested = Requested::default();
        if !self.faults.by_request || !may_request_faults(context) {
            return Ok(requested);
        }
        // The body of a sink contains other requests' models and messages.
        let sources = if route.is_some_and(|route| route.endpoint.keyed) { SOURCES } else { UNKEYED_SOURCES };
        for (source, text) in requested_faults(route, context).into_iter().take(sources).flatten() {
            let bad = |problem: String| {
                // What follows the `~` may be the rest of a real key.
                let problem = if source == KEY { BAD_KEY_FAULT.to_owned() } else { problem };
                ApiError::BadFault { problem }
            };
            let RequestTerms { faults, scope, call } = text.parse().map_err(bad)?;
            if let Some(spec) = faults {
                self.fixtures.check_fault(&spec).map_err(bad)?;
                requested.faults.push((source, spec));
            }
            requested.scope = requested.scope.or(scope);
            requested.call = requested.call.or(call);
        }
        Ok(requested)
    }

    /// Plans the faults of a request. Sources in order of priority: those that it asks for; rules added at run time,
    /// of the configuration, and of the fixtures; and the faults for all requests.
    pub(super) fn plan<'a>(
        &self,
        route: &MatchedRoute<'a>,
        context: &RequestContext<'a>,
        scope: &ScopeState,
        requested: &[(&'static str, FaultSpec)],
    ) -> Plan {
        let mut plan = Plan::default();
        for (source, spec) in requested {
            self.add_faults(spec, source, context, scope, &mut plan);
        }
        let Endpoint { keyed, faults, .. } = route.endpoint;
        if !keyed && faults.is_empty() {
            // Rules and general faults are for models, not for the fake's own pages and sinks.
            return plan;
        }
        let is_meant = |spec: &FaultSpec| {
            *keyed || spec.error_names().any(|(_, name)| faults.iter().any(|known| **known == *name))
        };
        let model = context.model();
        if !scope.live.is_empty() || !self.faults.rules.is_empty_for(&model) {
            let body = context.members().unwrap_or_default();
            let no_prompt = Prompt::default();
            let read = || route.parsed(context).map_or(&no_prompt, |parsed| parsed.prompt(context));
            let input = MatchInput::new(body, model.clone(), context.request, &read);
            let input = input.at_attempt(context.decisions.attempt);
            for (id, spec) in scope.live.faults_for(&input).into_iter().filter(|(_, spec)| is_meant(spec)) {
                self.add_faults(&spec, &id, context, scope, &mut plan);
            }
            let rules = self.faults.rules.faults_for(&model, scope.name(), &input);
            for spec in rules.into_iter().filter(|spec| is_meant(spec)) {
                self.add_faults(spec, "rules", context, scope, &mut plan);
            }
        }
        for spec in self.faults.always.iter().filter(|spec| is_meant(spec)) {
            self.add_faults(spec, "all", context, scope, &mut plan);
        }
        plan
    }

    /// Chooses the scripted reply, and adds its faults to those that are planned.
    ///
    /// # Errors
    /// No reply fits, or the reply is an error.
    pub(super) fn choose<'a>(
        &self,
        plan: &mut Plan,
        route: &mut MatchedRoute<'a>,
        context: &mut RequestContext<'a>,
        scope: &ScopeState,
    ) -> Result<(), ApiError> {
        let endpoint = route.endpoint;
        let is_script_usage =
            route.parsed(context).is_some_and(|parsed| matches!(parsed.source, ReplySource::ScriptUsage));
        let chosen = endpoint.choose(route.parsed_mut(context), context, &scope.state, &scope.replies);
        if let Err(ApiError::NoReply { .. }) = &chosen {
            context.decisions.is_unmatched = scope.replies.is_strict();
        }
        let Some(chosen) = chosen? else { return Ok(()) };
        context.decisions.reply = chosen.id().cloned();
        // A count of tokens is not the reply.
        if let Some((spec, source)) = chosen.fault().filter(|_| !is_script_usage) {
            self.add_faults(spec, &source, context, scope, plan);
            self.decide(plan, route, context)?;
        }
        route.chosen = Some(Box::new(chosen));
        Ok(())
    }

    fn add_faults(
        &self,
        spec: &FaultSpec,
        source: &str,
        context: &RequestContext<'_>,
        scope: &ScopeState,
        plan: &mut Plan,
    ) {
        let counters = &scope.state.sequence_counters;
        let caller = access::caller(context);
        let mut count =
            |number: usize, first: u64| counters.next((source, &**spec.text(), number, caller), first).is_some();
        let random = &mut context.random.borrow_mut();
        spec.add_to(plan, &mut FaultContext { elapsed: self.clock.elapsed(), random, count: &mut count });
    }
}

/// Returns true if the scripted reply is chosen before the faults are planned: at run time replies were put, or a reply
/// of the endpoint has faults.
pub(super) fn chooses_first(route: &MatchedRoute<'_>, scope: &ScopeState) -> bool {
    scope.replies.is_active() || route.endpoint.has_faulty_replies()
}

/// An error in place of the response.
pub(super) struct PlannedError {
    pub(super) error: ApiError,
    /// The limit that a 429 reports.
    pub(super) exceeded: Option<LimitExceeded>,
}

/// Returns the planned error. It is the provider's error for that status, by `status_of`, or else a generic one. A
/// planned 429 reports the request's limits, or a made-up limit if there are none.
pub(super) fn planned_error(
    plan: &Plan,
    context: &RequestContext<'_>,
    status_of: impl Fn(&ApiError) -> Option<u16>,
) -> Option<PlannedError> {
    let (status, name) = plan.error()?;
    let window = context.model_facts().and_then(|facts| facts.context_window).unwrap_or(128_000);
    let injected = || ApiError::Injected { status: InjectedStatus::Given(status), name: name.to_owned() };
    let mut made_up = None;
    let error = match (status, name) {
        (401, "") => ApiError::WrongKey { key: context.credential().key.map(secret::mask).unwrap_or_default() },
        (404, "") => ApiError::ModelNotFound { model: context.model().into_owned(), aliases: context.served.aliases() },
        (413, "") => ApiError::BodyTooLarge { limit: context.request.body.len() / 2 },
        (400, "context_length_exceeded") => {
            ApiError::ContextLengthExceeded { window, requested: window.saturating_add(window / 4) }
        }
        (429, "insufficient_quota") => ApiError::InsufficientQuota {},
        (429, "" | "requests" | "tokens") => {
            let unit = if name == "tokens" { Unit::Tokens } else { Unit::Requests };
            let wait = plan.retry_after().and_then(RetryAfter::time).unwrap_or(DEFAULT_RETRY_AFTER);
            let minute = Duration::from_secs(60);
            let known = context.decisions.limit_statuses.get(unit).copied();
            let known =
                known.unwrap_or(LimitStatus { limit: 60, remaining: 0, until_full: minute, wait, period: minute });
            let limit_status = LimitStatus { remaining: 0, wait, ..known };
            let exceeded = LimitExceeded { limit_status, unit, requested: 1, reason: Reason::RanOut };
            made_up = Some(exceeded);
            exceeded.into()
        }
        _ => injected(),
    };
    let error = if status_of(&error) == Some(status) { error } else { injected() };
    Some(PlannedError { error, exceeded: made_up })
}

/// Returns the error that was planned inside a stream, if the response is not a stream.
pub(super) fn planned_error_for_full_body(plan: &Plan, response: &Response) -> Option<ApiError> {
    let (_, name) = plan.stream_error().filter(|_| matches!(response.body, Body::Full(_)))?;
    Some(ApiError::Injected { status: InjectedStatus::OfFixture, name: name.to_owned() })
}

/// The error that is planned inside a stream.
pub(super) enum StreamError {
    /// The provider's usual error in a stream.
    Usual,
    Named(ApiError),
}

impl StreamError {
    /// Returns the error that is planned for a response; `None` if there is none, or the response is no stream.
    pub(super) fn of(plan: &Plan, response: &Response) -> Option<Self> {
        let (_, name) = plan.stream_error().filter(|_| matches!(response.body, Body::Stream(_)))?;
        Some(match name {
            "" => StreamError::Usual,
            name => StreamError::Named(ApiError::Injected { status: InjectedStatus::OfFixture, name: name.to_owned() }),
        })
    }

    /// Returns the error, unless it is the provider's usual one.
    pub(super) fn named(&self) -> Option<&ApiError> {
        match self {
            StreamError::Usual => None,
            StreamError::Named(error) => Some(error),
        }
    }
}

/// The faults and the names that a request asks for.
#[derive(Default)]
pub(super) struct Requested {
    /// The faults, each with its source, in order of priority.
    pub(super) faults: Vec<(&'static str, FaultSpec)>,
    pub(super) scope: Option<Box<str>>,
    pub(super) call: Option<Box<str>>,
}

/// Returns true if a request may ask for faults. Most do not, and skip the details.
fn may_request_faults(context: &RequestContext<'_>) -> bool {
    let request = context.request;
    context.path_faults.is_some()
        || !request.query.is_empty()
        || request.headers.get(&FAULT_HEADER).is_some()
        || context.credential().faults.is_some()
        || context.model_faults().is_some()
        || contains_marker(&request.body)
}

/// The source of the faults after a key.
const KEY: &str = "key";
/// The problem of faults after a key, which are not shown.
const BAD_KEY_FAULT: &str = "the text after `~` in the key is no list of faults; send it in the header x-fake-openai \
                             to see its mistake";

/// Number of sources within a request.
const SOURCES: usize = 6;
/// Number of sources for endpoints without a key: header, query and path.
const UNKEYED_SOURCES: usize = 3;

/// The faults that a request asks for, by source.
fn requested_faults<'c, 'a>(
    route: Option<&MatchedRoute<'a>>,
    context: &'c RequestContext<'a>,
) -> [Option<(&'static str, Cow<'c, str>)>; SOURCES] {
    let request = context.request;
    let in_query = if request.query.is_empty() { None } else { query(request.query, FAULT_PARAMETER) };
    let in_path = context.path_faults.map(|text| percent_decode_str(text).decode_utf8_lossy());
    [
        request.headers.get(&FAULT_HEADER).map(|text| ("header", Cow::Borrowed(text))),
        in_query.map(|text| ("query", text)),
        in_path.map(|text| ("path", text)),
        context.model_faults().map(|text| ("model", text)),
        context.credential().faults.map(|text| (KEY, Cow::Borrowed(text))),
        message_faults(route, context).map(|text| ("message", Cow::Owned(text))),
    ]
}

/// Finds the marker. Built once, because that costs more than most searches.
static MARKER_FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(MARKER.0));

/// Maximum size of a body that is searched as a whole, in bytes.
const SEARCH_WHOLE: usize = 64 * 1024;
/// Number of bytes searched at the end of a longer body.
const SEARCH_END: usize = 4 * 1024;

/// Returns true if a body may contain the marker.
fn contains_marker(body: &RequestBody) -> bool {
    match body {
        RequestBody::Whole(body) if body.len() <= SEARCH_WHOLE => MARKER_FINDER.find(body).is_some(),
        RequestBody::Whole(body) => MARKER_FINDER.find(&body[body.len() - SEARCH_END..]).is_some(),
        RequestBody::MalformedForm | RequestBody::Discarded(_) => false,
    }
}

/// The faults in the user's last message.
fn message_faults<'a>(route: Option<&MatchedRoute<'a>>, context: &RequestContext<'a>) -> Option<String> {
    let (before, after) = MARKER;
    // Reading the message costs more than searching the body.
    if !contains_marker(&context.request.body) {
        return None;
    }
    let prompt = route?.parsed(context)?.prompt(context);
    let (_, rest) = prompt.last_user().rsplit_once(before)?;
    rest.split_once(after).map(|(text, _)| text.trim().to_owned())
}
