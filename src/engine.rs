//! The engine: from a request to an answer, in one function that reads from top to bottom.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::{
    answer::{Answer, Content},
    clock::{Clock, FIXED_EPOCH},
    error::ApiError,
    fixtures::{Endpoint, Fixtures, Target},
    limit::Limit,
    random::Seeds,
    request::{Body, Request},
    template::scope::Scope,
};

/// All that answers requests. Nothing is global: one process can have many.
pub struct Engine {
    fixtures: Fixtures,
    limit: Option<Limit>,
    seeds: Seeds,
    clock: Clock,
    /// With a seed, answers bear a fixed date: with it every byte repeats.
    seeded: bool,
    tally: Arc<Tally>,
}

impl Engine {
    /// An engine that answers with these fixtures, under this limit if there is one.
    pub fn new(fixtures: Fixtures, limit: Option<Limit>, seed: Option<u64>, clock: Clock) -> Self {
        let (seeded, seeds) = (seed.is_some(), Seeds::new(seed));
        Engine { fixtures, limit, seeds, clock, seeded, tally: Arc::default() }
    }

    /// Answers one request: route it, admit it, choose what to say, say it, shape the answer.
    pub async fn handle(&self, request: &Request<'_>) -> Answer {
        let receipt = Receipt::open(&self.tally);
        let now = if self.seeded { FIXED_EPOCH } else { self.clock.unix() };
        let mut scope = Scope::new(request, self.seeds.next(), now);

        let Target { provider, endpoint } = self.fixtures.find(request.method, request.path);
        let said = match endpoint {
            Ok((endpoint, params)) => {
                scope.params = params;
                self.admit(endpoint, &mut scope).await.and_then(|()| say(endpoint, &scope))
            }
            Err(error) => Err(error),
        };
        let mut answer = said.unwrap_or_else(|error| {
            scope.error = Some(error);
            provider.refuse(&scope)
        });
        provider.shape(&scope, &mut answer);
        receipt.travel_with(answer)
    }

    /// Asks the limit, where there is one for this endpoint. It is the pipeline's one awaited step: a limit may come to
    /// live in a store that machines share.
    async fn admit(&self, endpoint: &Endpoint, scope: &mut Scope<'_>) -> Result<(), ApiError> {
        if let Body::TooLarge { limit } = scope.request.body {
            return Err(ApiError::BodyTooLarge { limit });
        }
        let Some(limit) = self.limit.as_ref().filter(|_| endpoint.limited) else { return Ok(()) };
        let standing = limit.admit(scope.request.client);
        scope.standing = Some(standing);
        if standing.admitted { Ok(()) } else { Err(ApiError::RateLimited) }
    }

    /// The fixtures it answers with.
    pub fn fixtures(&self) -> &Fixtures {
        &self.fixtures
    }

    /// Lets go of what is remembered of clients that have long been idle. To be called now and then.
    pub fn forget_idle(&self) {
        if let Some(limit) = &self.limit {
            limit.forget_idle();
        }
    }

    /// How many requests have been taken, and how many of them are still being answered.
    pub fn tally(&self) -> (u64, u64) {
        // In this order, so that a request can't be seen ended before it is seen taken.
        let ended = self.tally.ended.load(Ordering::Acquire);
        let taken = self.tally.taken.load(Ordering::Acquire);
        (taken, taken - ended)
    }
}

/// Says what the endpoint has to say, if the request is what it requires.
fn say(endpoint: &Endpoint, scope: &Scope<'_>) -> Result<Answer, ApiError> {
    if let Some(require) = &endpoint.require {
        let body = scope.members().map_err(|_| ApiError::NotJson)?;
        require.check(body)?;
    }
    Ok(endpoint.answer(scope))
}

#[derive(Debug, Default)]
struct Tally {
    taken: AtomicU64,
    ended: AtomicU64,
}

/// One request's entry in the tally: made when it is taken, closed when its answer has been handed out to the end, is
/// cut, or the client has left.
struct Receipt(Arc<Tally>);

impl Receipt {
    fn open(tally: &Arc<Tally>) -> Self {
        tally.taken.fetch_add(1, Ordering::AcqRel);
        Receipt(Arc::clone(tally))
    }

    /// Stays open until the last frame of the answer is out, or the answer is dropped.
    fn travel_with(self, answer: Answer) -> Answer {
        let content = match answer.content {
            Content::Whole(bytes) => Content::Whole(bytes),
            Content::Frames(frames) => Content::Frames(Box::new(Receipted { frames, receipt: Some(self) })),
        };
        Answer { content, ..answer }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

struct Receipted {
    frames: crate::answer::Frames,
    receipt: Option<Receipt>,
}

impl Iterator for Receipted {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let frame = self.frames.next();
        if frame.is_none() {
            self.receipt = None;
        }
        frame
    }
}
