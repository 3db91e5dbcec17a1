//! The delays of a response, and the `Server-Timing` header.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

use super::Engine;
use crate::{
    config::Config,
    core::{
        context::RequestContext,
        response::{Body, HeadTiming, Response},
    },
    fixtures::Endpoint,
    traffic::{
        capacity::ConcurrencyLimit,
        fault::Plan,
        latency::{Distribution, Latency, Pace},
    },
};

/// The `Server-Timing` header, in milliseconds: the fake's own time, time in the queue, and the intended time to the
/// head.
pub(super) fn server_timing(context: &RequestContext<'_>) -> (HeaderName, HeaderValue) {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let own = millis(context.elapsed().saturating_sub(context.decisions.queued));
    let (queued, intended) = (millis(context.decisions.queued), millis(context.decisions.intended));
    let text = format!("fake;dur={own:.3}, queue;dur={queued:.3}, intended;dur={intended:.3}");
    let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    (HeaderName::from_static("server-timing"), value)
}

/// The `x-fake-openai-reply` header: the scripted reply and the faults that a response comes from; `None` if it comes from
/// neither.
pub(super) fn explanation(response: &Response, plan: &Plan) -> Option<(HeaderName, HeaderValue)> {
    let reply = response.reply.source.as_ref().map(ToString::to_string);
    let faults: Vec<_> = plan.texts(response.status).collect();
    let faults = (!faults.is_empty()).then(|| format!("fault={}", faults.join("~")));
    let parts: Vec<_> = reply.into_iter().chain(faults).collect();
    let text = (!parts.is_empty()).then(|| parts.join("; "))?;
    Some((HeaderName::from_static("x-fake-openai-reply"), HeaderValue::try_from(text).ok()?))
}

/// The speed of the model: its latency, and how many responses it generates at once.
pub(super) struct ModelTiming {
    pub(super) latency: Latency,
    itl: Arc<Distribution>,
    speed: f64,
    pub(super) capacity: Option<Arc<ConcurrencyLimit>>,
}

impl ModelTiming {
    pub(super) fn new(latency: Latency, config: &Config) -> Self {
        ModelTiming {
            itl: Arc::new(latency.itl.clone()),
            latency,
            speed: config.speed,
            capacity: config.capacity.map(|spec| Arc::new(ConcurrencyLimit::new(spec))),
        }
    }

    /// The speed after a reload, with the same permits.
    pub(super) fn reloaded(&self, latency: Latency, config: &Config) -> Self {
        ModelTiming { capacity: self.capacity.clone(), ..ModelTiming::new(latency, config) }
    }
}

/// The delays of a response.
#[derive(Default)]
pub(super) struct ResponseTiming {
    /// Time until the head is sent.
    pub(super) before_head: Duration,
    /// Time until the first token.
    pub(super) first_token: Duration,
    /// Delays between tokens, for a stream.
    pub(super) pace: Option<Pace>,
}

impl ResponseTiming {
    /// Returns true if there is any delay.
    pub(super) fn has_delay(&self) -> bool {
        !self.before_head.is_zero() || self.pace.is_some()
    }

    /// Applies the delays to a response. The events of a stream with a pace are due at their times, and its head with
    /// the first of them.
    pub(super) fn apply(self, response: Response) -> Response {
        let (body, head_timing) = match (response.body, self.pace) {
            (Body::Stream(stream), Some(pace)) => pace.apply(stream),
            (body, _) => (body, HeadTiming::After(self.before_head)),
        };
        Response { body, head_timing, ..response }
    }
}

impl Engine {
    /// Returns the delays of a response; `None` stands for an error.
    pub(super) fn response_timing(
        &self,
        endpoint: Option<&Endpoint>,
        plan: &Plan,
        context: &RequestContext<'_>,
        response: Option<&Response>,
    ) -> ResponseTiming {
        let ModelTiming { latency, itl, speed, capacity } = &self.timing;
        // Only generated responses have a latency of their own.
        let cost = response.and_then(|response| response.cost).filter(|_| endpoint.is_some_and(Endpoint::is_generated));
        let (planned_ttft, planned_itl) = (plan.ttft(), plan.itl());
        let has_times = planned_itl.is_some() || plan.usage_delay().is_some() || !latency.is_zero();
        if planned_ttft.is_none() && (cost.is_none() || !has_times) {
            return ResponseTiming::default();
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
        let Some(cost) = cost else { return ResponseTiming { before_head, first_token: before_head, pace: None } };
        let (itl, progress) = match planned_itl {
            Some((time, progress)) => (Arc::new(time.clone()), progress),
            None => (Arc::clone(itl), 1.0),
        };
        let mut pace = Pace::new(before_head, itl, progress, Box::new(factor), random);
        pace.set_exceptions(plan.sends_role_first(), plan.usage_delay().unwrap_or_default());
        match response.map(|response| &response.body) {
            Some(Body::Stream(_)) => ResponseTiming { before_head, first_token: before_head, pace: Some(pace) },
            _ => ResponseTiming { before_head: pace.total(cost.output), first_token: before_head, pace: None },
        }
    }
}
