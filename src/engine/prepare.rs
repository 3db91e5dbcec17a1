//! The first steps for HTTP requests, lines of batches and messages of sessions alike: the context and the route.

use std::{borrow::Cow, cell::OnceCell};

use super::Engine;
use crate::{
    core::{
        clock::FIXED_EPOCH,
        context::RequestContext,
        error::ApiError,
        json::{Document, Malformed},
        limit_status::Cost,
        random::Random,
        request::Request,
    },
    fixtures::{Chosen, Endpoint, Provider, Target},
    protocol::Parsed,
};

/// A request with its context and its route.
pub(super) struct Prepared<'a> {
    pub(super) context: RequestContext<'a>,
    /// The provider whose errors the request returns.
    pub(super) provider: &'a Provider,
    /// The fixture of the endpoint; empty if there is none.
    pub(super) file: &'a str,
    pub(super) route: Result<MatchedRoute<'a>, ApiError>,
}

/// The route of a request: its endpoint, and the request as the endpoint's protocol understands it.
pub(super) struct MatchedRoute<'a> {
    pub(super) provider: &'a Provider,
    pub(super) endpoint: &'a Endpoint,
    parsed: OnceCell<Option<Parsed<'a>>>,
    /// The reply, if it was chosen before the faults were planned.
    pub(super) chosen: Option<Box<Chosen<'a>>>,
}

impl<'a> MatchedRoute<'a> {
    /// Returns the parsed request, which is parsed at the first call; `None` if the endpoint has no protocol.
    pub(super) fn parsed(&self, context: &RequestContext<'a>) -> Option<&Parsed<'a>> {
        self.parsed.get_or_init(|| self.endpoint.parse(context)).as_ref()
    }

    /// Returns the tokens that limits reserve for the request before its reply is known.
    pub(super) fn cost(&self, context: &RequestContext<'a>) -> Cost {
        self.parsed(context).map_or_else(Cost::default, |parsed| parsed.cost(context))
    }

    /// Returns the parsed request, to load what it continues.
    pub(super) fn parsed_mut(&mut self, context: &RequestContext<'a>) -> Option<&mut Parsed<'a>> {
        self.parsed(context);
        self.parsed.get_mut()?.as_mut()
    }
}

impl Engine {
    /// Returns the path that the route of a request is found by, and the faults in front of the sent path.
    pub(super) fn route_path<'r>(&self, request: &Request<'r>) -> (Cow<'r, str>, Option<&'r str>) {
        let (path, faults) = self.faults.split_path(request.path);
        let path = self.fixtures.header_route(path, request.headers).map_or(Cow::Borrowed(path), Cow::Owned);
        (path, faults)
    }

    /// Prepares a request whose path is that of its route. `document` is its parsed body. A request that no response
    /// follows from must not draw `random` from the seeds.
    pub(super) fn prepare<'a>(
        &'a self,
        request: &'a Request<'a>,
        document: &'a Result<Document<'a>, Malformed>,
        path_faults: Option<&'a str>,
        random: Random,
    ) -> Prepared<'a> {
        let now = if self.seeded { FIXED_EPOCH } else { self.clock.unix() };
        let mut context = RequestContext::new(request, document, random, now);
        context.model_catalog = self.fixtures.model_catalog();
        context.served = &self.served;
        context.needs_key = !self.access.keys.is_empty();
        context.snapshots = self.snapshots;
        context.server = Some(self);
        context.body_memory = Some(&self.body_memory);
        context.names_carry_faults = self.faults.by_request;
        context.path_faults = path_faults;
        let Target { provider, file, endpoint } = self.fixtures.find(request.method, request.path);
        let route = endpoint.map(|(endpoint, params)| {
            context.set_params(params);
            MatchedRoute { provider, endpoint, parsed: OnceCell::new(), chosen: None }
        });
        Prepared { context, provider, file, route }
    }
}
