//! Messages of a realtime session. They are not requests of their own.

use super::{Engine, prepare::Prepared};
use crate::core::{
    error::ApiError,
    request::Request,
    response::{
        Body,
        session::{MessageOutcome, Session},
    },
};

impl Engine {
    /// Validates a message like a request body and passes it to the session that `request` opened; the body of
    /// `request` is the message. A response that the session then wants from the model is a request for
    /// [`Engine::handle`].
    pub fn on_message(&self, request: &Request<'_>, session: &mut dyn Session) -> MessageOutcome {
        let (path, faults) = self.route_path(request);
        let request = Request { path: &path, ..request.clone() };
        let document = request.document();
        let Prepared { context, provider, route, .. } = self.prepare(&request, &document, faults, self.seeds.next());
        // The route was found when the session was opened.
        let Ok(route) = route else { return MessageOutcome::default() };
        let checked = match context.members() {
            Err(_) => Err(ApiError::NotJson {}),
            Ok(_) => self.validate(&route, &context),
        };
        let Err(error) = checked else { return session.on_message(context.members().unwrap_or_default()) };
        let rejection = match provider.error_response(Some(route.endpoint), &context, &error).body {
            Body::Full(body) => body,
            _ => bytes::Bytes::new(),
        };
        MessageOutcome {
            events: session.on_rejected(context.members().unwrap_or_default(), &rejection),
            interrupts: false,
        }
    }
}
