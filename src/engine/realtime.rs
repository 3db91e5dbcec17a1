//! Messages of a conversation over a socket, which are no requests of their own.

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
    /// Hands a message to the session that `request` opened, once it has been checked as the body of a request is; the
    /// `request` has the message for its body. What the model is then asked is a request, for [`Engine::handle`].
    pub fn on_message(&self, request: &Request<'_>, session: &mut dyn Session) -> MessageOutcome {
        let (path, faults) = self.troubles.in_path(request.path);
        let request = Request { path, ..request.clone() };
        let mut context = self.context(&request, faults);
        let Target { provider, endpoint } = self.fixtures.find(request.method, request.path);
        // It has been found before.
        let Ok((endpoint, params)) = endpoint else { return MessageOutcome::default() };
        context.set_params(params);
        let checked = match context.members() {
            Err(_) => Err(ApiError::NotJson {}),
            Ok(_) if self.lenient => Ok(()),
            Ok(_) => endpoint.check(&context),
        };
        let Err(error) = checked else { return session.on_message(context.members().unwrap_or_default()) };
        context.error = Some(error);
        let refusal = match provider.error_response(Some(endpoint), &context).body {
            Body::Full(body) => body,
            _ => bytes::Bytes::new(),
        };
        MessageOutcome {
            events: session.on_rejected(context.members().unwrap_or_default(), &refusal),
            interrupts: false,
        }
    }
}
