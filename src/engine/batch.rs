//! The lines of a batch job, each handled like a request of its own.

use super::{
    Engine,
    faults::chooses_first,
    prepare::{MatchedRoute, Prepared},
    scope::ScopeState,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    panics::catch,
    request::Request,
    response::{Body, Response},
};

impl Engine {
    /// Handles one line and returns a full response without delays. The key, the limits and the concurrency limit do
    /// not apply: they were checked for the batch. Of the faults only errors can happen. A panic is the error of this
    /// line alone.
    pub(super) fn execute_batch_item(&self, request: &Request<'_>, scope: &ScopeState) -> Response {
        catch(|| self.respond_to_line(request, scope)).unwrap_or_else(|panic| self.respond_to_panic(request, panic))
    }

    fn respond_to_line(&self, request: &Request<'_>, scope: &ScopeState) -> Response {
        let document = request.document();
        let prepared = self.prepare(request, &document, None, self.seeds.next());
        let Prepared { mut context, provider, route, .. } = prepared;
        let (endpoint, result) = match route {
            Err(error) => (None, Err(error)),
            Ok(mut route) => {
                let result = self.respond_to_item(&mut route, &mut context, scope);
                (Some(route.endpoint), result)
            }
        };
        result.unwrap_or_else(|error| provider.error_response(endpoint, &context, &error))
    }

    fn respond_to_item<'a>(
        &self,
        route: &mut MatchedRoute<'a>,
        context: &mut RequestContext<'a>,
        scope: &ScopeState,
    ) -> Result<Response, ApiError> {
        self.check_model(route.endpoint, context)?;
        let requested = self.requested(Some(route), context)?;
        let mut plan = self.plan(route, context, scope, &requested.faults);
        self.decide(&plan, route, context)?;
        self.validate(route, context)?;
        if chooses_first(route, scope) {
            self.choose(&mut plan, route, context, scope)?;
        }
        let response = self.generate(route, context, scope, &plan)?.response;
        match response.body {
            Body::Full(_) => Ok(response),
            _ => Err(ApiError::BrokenRule {
                problem: "A line of a batch is answered whole: leave `stream` out.".to_owned(),
            }),
        }
    }
}
