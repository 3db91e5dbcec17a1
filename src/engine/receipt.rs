//! Receipts: the open record of one request. It is closed once, with the reason.

mod parts;
mod permit;
mod stream_body;

use std::{
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use http::{HeaderValue, StatusCode};

use self::{
    parts::{Returned, Sent},
    stream_body::StreamBody,
};
use super::{
    attempts::{Arrived, Attempt, AttemptEnd, CallName, Continued, Failure, is_about_call},
    journal::{End, Head, Opened, PackedEntry},
    metrics::{ClosedRequest, Labels, Name, Tokens},
    outcome::{Outcome, Phase},
    scope::ScopeState,
    vllm_metrics::{RequestEnd, VllmRequest},
};
use crate::{
    config::AccessLog,
    core::{
        context::RequestContext,
        error::ApiError,
        limit_status::LimitStatuses,
        response::{Body, Delivered, EventStream, HeadTiming, Response},
        secret,
    },
    traffic::{capacity::Admission, fault::Plan, limit::Reservation},
};

/// The open record of one request. The edge reports to it what was sent, and closes it with [`end`](Receipt::end).
/// Dropped before that, it records that the client has left, or that the server stopped.
pub struct Receipt {
    scope: Arc<ScopeState>,
    labels: Labels,
    /// The caller's key, by its number.
    key: Name,
    attempt: Attempt,
    /// The number of the attempt, as far as it is known at its start.
    number: u64,
    started: Instant,
    entry: Option<Arc<PackedEntry>>,
    stream: StreamBody,
    /// The id that the client got in the head. It is set while the body can still fail.
    pub(super) request_id: Option<HeaderValue>,
    /// The request's reservation in its limits.
    reservation: Option<Reservation>,
    /// The request's permit of the concurrency limit, or its place in the queue.
    permit: Option<Admission>,
    response: Option<Returned>,
    /// The request among those of vLLM's metrics, if it is one.
    vllm: Option<Box<VllmRequest>>,
    sent: Sent,
    outcome: Option<Outcome>,
}

impl Receipt {
    /// Opens the record of a request. `path` is its path as it was sent, `route` the fixture file of its endpoint, and
    /// `call` the name that it asks for.
    pub(super) fn open(
        scope: &Arc<ScopeState>,
        context: &RequestContext<'_>,
        path: &str,
        route: &str,
        call: Option<&str>,
    ) -> Box<Self> {
        let deployment = context.param("deployment").unwrap_or_default();
        let sent_key = context.credential().key.unwrap_or_default();
        let model = context.model();
        let (model, deployment) = (secret::without(&model, sent_key), secret::without(deployment, sent_key));
        let (labels, key) = scope.metrics.add_received(route, &model, &deployment, sent_key);
        let journal = &scope.records.journal;
        let is_recorded = journal.is_on() || scope.records.access_log != AccessLog::Off;
        let recording = is_recorded.then(|| {
            let route_number = labels.route();
            journal.open(&Opened { context, path, route, route_number, scope: scope.name.as_ref() })
        });
        let (entry, names_call) = recording.unzip();
        let number = entry.as_ref().map(|entry| entry.number());
        let names_call = names_call.unwrap_or_else(|| context.request.headers.any_name(is_about_call));
        let (attempt, arrived) = scope.attempts.open(context, route, call, names_call, number);
        let number_of_attempt = arrived.as_ref().map_or(1, |arrived| arrived.continued.number.into());
        if let Some(Arrived { name, continued, is_sent }) = arrived {
            if is_sent {
                scope.conduct.continued(&continued, number);
            }
            if is_sent && continued.is_obeyed == Some(false) {
                scope.metrics.add_early_retries(continued.unit, 1);
            }
            if let Some(entry) = &entry {
                entry.set_attempt(name, continued);
            }
        }
        // Boxed, because it is passed on from one future to the next.
        Box::new(Receipt {
            scope: Arc::clone(scope),
            labels,
            key,
            attempt,
            number: number_of_attempt,
            started: context.started,
            entry,
            stream: StreamBody::default(),
            request_id: None,
            reservation: None,
            permit: None,
            response: None,
            vllm: None,
            sent: Sent::default(),
            outcome: None,
        })
    }

    /// Returns the number of the attempt of its call, from 1.
    pub(super) fn attempt_number(&self) -> Option<u64> {
        Some(self.number)
    }

    /// Records the response to the request. Without a cost the reservation is returned in full. `error` is the error that
    /// it reports or ends with.
    pub(super) fn respond(
        &mut self,
        response: &Response,
        error: Option<&ApiError>,
        is_stream: bool,
        context: &RequestContext<'_>,
        plan: &Plan,
        route: &str,
    ) {
        self.note_failure(response, error, context, plan, route);
        if let Some(reservation) = &mut self.reservation {
            reservation.reconcile(response.cost.unwrap_or_default());
        }
        if !plan.is_empty() {
            self.scope.metrics.add_faults(plan.labels(response.status));
        }
        if is_stream {
            self.scope.metrics.add_stream();
        }
        self.vllm = self.scope.records.vllm.open(response, error, context, route);
        let elapsed = self.entry.is_some().then(|| context.elapsed());
        let is_at_once = matches!(response.body, Body::Full(_))
            && matches!(response.head_timing, HeadTiming::After(Duration::ZERO))
            && plan.is_empty();
        self.response = Some(Returned {
            status: response.status,
            sends_head: matches!(response.head_timing, HeadTiming::After(_)),
            is_stream,
            intended: context.decisions.intended,
            at_once: elapsed.filter(|_| is_at_once),
            cost: response.cost,
            cached: response.reply.cached,
            reasoning: response.reply.reasoning,
        });
        let Some(entry) = &self.entry else { return };
        let journal = &self.scope.records.journal;
        let head = Head {
            status: response.status,
            full_length: match &response.body {
                Body::Full(body) => Some(body.len() as u64),
                _ => None,
            },
            faults: plan.texts(response.status).map(Box::from).collect(),
            reply: response.reply.clone(),
            cost: response.cost,
            limits: (context.decisions.limit_statuses != LimitStatuses::default())
                .then(|| Box::new(context.decisions.limit_statuses)),
            queued: context.decisions.queued,
            intended: context.decisions.intended,
            own: elapsed.unwrap_or_default().saturating_sub(context.decisions.queued),
            is_stream,
            is_unmatched: context.decisions.is_unmatched,
        };
        journal.respond(entry, head, response, self.labels.route());
    }

    /// Records what the response announces about its failure, or that it may yet fail.
    fn note_failure(
        &mut self,
        response: &Response,
        error: Option<&ApiError>,
        context: &RequestContext<'_>,
        plan: &Plan,
        route: &str,
    ) {
        let ScopeState { attempts, conduct, .. } = &*self.scope;
        let is_failure = response.status.as_u16() >= 400 || plan.stream_error().is_some();
        let mut failure = Failure::default();
        if is_failure {
            let request = context.request;
            failure = Failure::of(response.status.as_u16(), request.method, &response.headers, context.now);
            failure.unit = context.decisions.limit_statuses.refusal.map(|refusal| refusal.unit);
            failure.is_final |= error.is_some_and(ApiError::is_spent_quota);
        }
        let may_fail = !matches!(response.body, Body::Full(_) | Body::Session(_)) || !plan.is_empty();
        attempts.respond(&mut self.attempt, failure, may_fail, context, route);
        // The limit of a planned error is made up.
        let is_limited = plan.error().is_none();
        conduct.respond(context, &failure, is_limited, || attempts.caller(context), || attempts.now());
    }

    /// Records that the head is sent.
    pub fn head_sent(&mut self) {
        self.sent.head = true;
        if let Some(entry) = &self.entry {
            entry.set_progress(0, 0, 0);
        }
    }

    /// Records that bytes of the body are sent, with this part of the reply. `due` is the time since the start of the
    /// response at which they were to be sent, if they had one.
    pub fn body_sent(&mut self, bytes: usize, delivered: Delivered, due: Option<Duration>) {
        let sent = &mut self.sent;
        sent.bytes += bytes as u64;
        sent.events += u64::from(delivered.events);
        sent.tokens += u64::from(delivered.tokens);
        if let Some(entry) = &self.entry {
            entry.set_progress(sent.events, sent.tokens, sent.bytes);
        }
        if due.is_some() {
            sent.intended_end = due;
        }
        if delivered.tokens == 0 {
            return;
        }
        if sent.first_token.is_some() && due.is_none() {
            return;
        }
        let now = self.started.elapsed();
        sent.first_token.get_or_insert(now);
        let Some(due) = due else { return };
        if let Some((last_due, last)) = sent.last_token.replace((due, now)) {
            self.scope.metrics.add_between_tokens(due.saturating_sub(last_due), now.saturating_sub(last));
        }
    }

    /// Keeps the events of a stream, which are sent as they are, for the journal.
    pub(super) fn keep_events(&mut self, stream: &EventStream) {
        if let Some(entry) = &self.entry {
            self.stream.has_events = self.scope.records.journal.keep_events(entry, stream);
        }
    }

    /// Keeps the start of a stream's body for the journal, unless the stream's events are kept.
    pub fn keep(&mut self, bytes: &[u8]) {
        if self.entry.is_some() {
            self.stream.add(bytes, self.scope.records.journal.spec().body);
        }
    }

    /// Keeps the start of a stream's body that is framed in HTTP chunks.
    pub fn keep_chunks(&mut self, chunks: &[u8]) {
        self.stream.is_framed |= !chunks.is_empty() && !self.stream.has_events;
        self.keep(chunks);
    }

    /// Closes the record.
    pub fn end(mut self: Box<Self>, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    fn close(&mut self) {
        let sent = mem::take(&mut self.sent);
        // To read the clock once more would cost more than the time that has passed.
        let at_once = self.response.as_ref().and_then(|response| response.at_once);
        let at_once = at_once.filter(|_| self.outcome == Some(Outcome::Complete));
        let now = at_once.unwrap_or_else(|| self.started.elapsed());
        let is_complete = |outcome: &Outcome| *outcome == Outcome::Complete;
        // While a panic unwinds, the edge responds with status 500 in place of the response.
        let panicked = thread::panicking();
        let outcome = match self.outcome {
            Some(outcome) => outcome,
            None if panicked => Outcome::Complete,
            None if self.scope.records.is_stopped() => Outcome::Drained,
            None => Outcome::ClientLeft,
        };
        let is_stream = self.response.as_ref().is_some_and(|response| response.is_stream);
        let phase = match outcome {
            Outcome::Complete => Phase::Done,
            _ => Phase::reached(sent.head, is_stream, sent.tokens, sent.bytes),
        };
        let response = self.response.as_ref();
        let sent_head = response.is_some_and(|response| response.sends_head) && phase != Phase::BeforeHead;
        let status = match response {
            _ if panicked => Some(StatusCode::INTERNAL_SERVER_ERROR),
            Some(response) if sent_head => Some(response.status),
            _ => None,
        };
        let tokens = response.and_then(|response| {
            let cost = response.cost?;
            let delivered = if is_complete(&outcome) { cost.output } else { sent.tokens.min(cost.output) };
            let reasoning = response.reasoning.min(delivered);
            let undelivered = cost.output - delivered;
            Some(Tokens { input: cost.input, cached: response.cached, output: delivered, reasoning, undelivered })
        });
        let intended_end = response.map(|response| sent.intended_end.unwrap_or(response.intended));
        let closed = self.scope.attempts.close(
            &self.attempt,
            &AttemptEnd {
                status: status.map_or(0, |status| status.as_u16()),
                is_complete: is_complete(&outcome),
                is_drained: outcome == Outcome::Drained,
            },
        );
        let is_abandoned = outcome == Outcome::ClientLeft && is_stream;
        let undelivered = tokens.filter(|_| is_abandoned).map_or(0, |tokens| tokens.undelivered);
        self.scope.conduct.closed(&closed, undelivered, self.entry.as_ref().map(|entry| entry.number()));
        self.scope.add_finished(&closed.finished);
        self.scope.metrics.add_closed(&ClosedRequest {
            labels: self.labels,
            key: self.key,
            is_stream,
            is_single: closed.is_single,
            status,
            outcome,
            phase,
            tokens,
            first_token: response.and_then(|response| Some((response.intended, sent.first_token?))),
            duration: intended_end.filter(|_| is_complete(&outcome)).map(|intended| (intended, now)),
        });
        if let Some(vllm) = self.vllm.take() {
            let end = RequestEnd {
                is_complete: is_complete(&outcome),
                status: status.map(|status| status.as_u16()),
                tokens: tokens.map_or(0, |tokens| tokens.output),
                bytes: sent.bytes,
                first_token: sent.first_token,
                time: now,
            };
            self.scope.records.vllm.close(&vllm, &end);
        }
        self.scope.count_memory();
        let Some(entry) = self.entry.take() else { return };
        if let Some(number) = closed.first {
            entry.set_attempt(CallName::Number(number), Continued { number: 1, ..Continued::default() });
        }
        let end = End {
            outcome,
            phase,
            status,
            events: sent.events,
            bytes: sent.bytes,
            undelivered: tokens.map_or(0, |tokens| tokens.undelivered),
            first_token: sent.first_token,
            intended_end: sent.intended_end,
            end: now,
            is_framed: self.stream.is_framed,
        };
        self.scope.records.journal.close(&entry, end, &self.stream.bytes, self.labels.route());
        match self.scope.records.access_log {
            AccessLog::Off => {}
            format => entry.read().line().write(format),
        }
    }

    /// Counts a panic in the middle of the response, which is then cut, and closes the record.
    pub(super) fn end_with_panic(self: Box<Self>) {
        self.scope.metrics.add_panic();
        self.end(Outcome::Fault);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.close();
    }
}
