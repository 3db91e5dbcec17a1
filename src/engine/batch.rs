//! The lines that an object runs: each is answered as if it had come by itself.

use super::{Engine, Origin};
use crate::{
    core::{
        context::Scope,
        error::ApiError,
        request::Request,
        response::{Answer, Content},
    },
    fixtures::Target,
    traffic::fault::Plan,
};

impl Engine {
    /// Answers a line, whole and in no time. It was let in with what it came in: no key is asked for, no limit, and no
    /// place. What goes wrong is an answer too, if it is an error; there is nothing else of a line that could.
    pub(super) fn line(&self, request: &Request<'_>) -> Answer {
        let mut scope = self.scope(request, None);
        let Target { provider, endpoint } = self.fixtures.find(request.method, request.path);
        let (endpoint, said) = match endpoint {
            Err(error) => (None, Err(error)),
            Ok((endpoint, params)) => {
                scope.set_params(params);
                (Some(endpoint), self.answer_line(Origin { provider, endpoint }, &mut scope))
            }
        };
        said.unwrap_or_else(|error| {
            scope.error = Some(error);
            provider.refuse(endpoint, &scope)
        })
    }

    fn answer_line(&self, origin: Origin<'_>, scope: &mut Scope<'_>) -> Result<Answer, ApiError> {
        self.find_model(origin.endpoint, scope)?;
        let mut plan = Plan::default();
        self.check(origin, scope, &mut plan)?;
        let answer = self.say(origin.endpoint, scope, &plan)?;
        match answer.content {
            Content::Whole(_) => Ok(answer),
            _ => Err(ApiError::BrokenRule {
                problem: "A line of a batch is answered whole: leave `stream` out.".to_owned(),
            }),
        }
    }
}
