//! The lines of a batch job, each handled like a request of its own.

use super::{Engine, pipeline::MatchedRoute, scope::ScopeState};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        panics::catch,
        request::Request,
        response::{Body, Response},
    },
    fixtures::Target,
};

impl Engine {
    /// Handles one line and returns a full response without delays. The key, the limits and the concurrency limit do
    /// not apply: they were checked for the batch. Of the faults only errors can happen. A panic is the error of this
    /// line alone.
    pub(super) fn execute_batch_item(&self, request: &Request<'_>, scope: &ScopeState) -> Response {
        catch(|| self.respond_to_line(request, scope)).unwrap_or_else(|panic| self.respond_to_panic(request, panic))
    }

    fn respond_to_line(&self, request: &Request<'_>, scope: &ScopeState) -> Response {
        let mut context = self.context(request, None);
        let Target { provider, endpoint, .. } = self.fixtures.find(request.method, request.path);
        let (endpoint, result) = match endpoint {
            Err(error) => (None, Err(error)),
            Ok((endpoint, params)) => {
                context.set_params(params);
                (Some(endpoint), self.respond_to_item(MatchedRoute { provider, endpoint }, &mut context, scope))
            }
        };
        result.unwrap_or_else(|error| provider.error_response(endpoint, &context, &error))
    }

    fn respond_to_item(
        &self,
        route: MatchedRoute<'_>,
        context: &mut RequestContext<'_>,
        scope: &ScopeState,
    ) -> Result<Response, ApiError> {
        self.check_model(route.endpoint, context)?;
        let requested = self.requested(Some(route.endpoint), context)?;
        let plan = self.plan(route.endpoint, context, scope, &requested.faults);
        self.check(route, context, &plan)?;
        let response = self.generate(route.endpoint, context, scope, &plan)?;
        match response.body {
            Body::Full(_) => Ok(response),
            _ => Err(ApiError::BrokenRule {
                problem: "A line of a batch is answered whole: leave `stream` out.".to_owned(),
            }),
        }
    }
}
