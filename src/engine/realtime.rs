//! Messages of a realtime session. They are not requests of their own.

use super::Engine;
use crate::{
    core::{
        error::ApiError,
        request::Request,
        response::{
            Body,
            session::{MessageOutcome, Session},
        },
    },
    fixtures::Target,
};

impl Engine {
    /// Validates a message like a request body and passes it to the session that `request` opened; the body of
    /// `request` is the message. A response that the session then wants from the model is a request for
    /// [`Engine::handle`].
    pub fn on_message(&self, request: &Request<'_>, session: &mut dyn Session) -> MessageOutcome {
        let (path, faults) = self.faults.split_path(request.path);
        let request = Request { path, ..request.clone() };
        let mut context = self.context(&request, faults);
        let Target { provider, endpoint, .. } = self.fixtures.find(request.method, request.path);
        // The route was found when the session was opened.
        let Ok((endpoint, params)) = endpoint else { return MessageOutcome::default() };
        context.set_params(params);
        let checked = match context.members() {
            Err(_) => Err(ApiError::NotJson {}),
            Ok(_) if self.lenient => Ok(()),
            Ok(_) => endpoint.check(&context),
        };
        let Err(error) = checked else { return session.on_message(context.members().unwrap_or_default()) };
        let rejection = match provider.error_response(Some(endpoint), &context, &error).body {
            Body::Full(body) => body,
            _ => bytes::Bytes::new(),
        };
        MessageOutcome {
            events: session.on_rejected(context.members().unwrap_or_default(), &rejection),
            interrupts: false,
        }
    }
}
