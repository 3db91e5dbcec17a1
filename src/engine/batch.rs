//! The lines that an object runs: each is answered as if it had come by itself.

use super::{Engine, Origin};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        request::Request,
        response::{Body, Response},
    },
    fixtures::Target,
    traffic::fault::Plan,
};

impl Engine {
    /// Answers a line, whole and in no time. It was let in with what it came in: no key is asked for, no limit, and no
    /// place. What goes wrong is an answer too, if it is an error; there is nothing else of a line that could.
    pub(super) fn execute_batch_item(&self, request: &Request<'_>) -> Response {
        let mut context = self.context(request, None);
        let Target { provider, endpoint } = self.fixtures.find(request.method, request.path);
        let (endpoint, said) = match endpoint {
            Err(error) => (None, Err(error)),
            Ok((endpoint, params)) => {
                context.set_params(params);
                (Some(endpoint), self.answer_line(Origin { provider, endpoint }, &mut context))
            }
        };
        said.unwrap_or_else(|error| {
            context.error = Some(error);
            provider.error_response(endpoint, &context)
        })
    }

    fn answer_line(&self, origin: Origin<'_>, context: &mut RequestContext<'_>) -> Result<Response, ApiError> {
        self.find_model(origin.endpoint, context)?;
        let mut plan = Plan::default();
        self.check(origin, context, &mut plan)?;
        let response = self.say(origin.endpoint, context, &plan)?;
        match response.body {
            Body::Full(_) => Ok(response),
            _ => Err(ApiError::BrokenRule {
                problem: "A line of a batch is answered whole: leave `stream` out.".to_owned(),
            }),
        }
    }
}
