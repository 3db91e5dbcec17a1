//! Panics while a request is handled: the response in its place, the log line and the count.

use http::StatusCode;

use super::{Engine, Receipt, prepare::Prepared};
use crate::core::{
    error::{ApiError, InjectedStatus},
    panics::{Panic, catch},
    request::{Credential, Request},
    response::Response,
};

/// The ends of the names of headers that carry the id of a request.
const ID_HEADERS: [&str; 3] = ["request-id", "requestid", "correlation-id"];

/// Returns true if a header carries the id of a request.
pub(super) fn is_request_id(name: &str) -> bool {
    ID_HEADERS.iter().any(|end| name.ends_with(end))
}

impl Engine {
    /// Counts and logs a panic in the handling of a request. Returns the response in its place: the error of the
    /// provider for status 500.
    pub fn respond_to_panic(&self, request: &Request<'_>, panic: Panic) -> Response {
        self.scopes.default().metrics.add_panic();
        // Rendering the error may panic for the same reason.
        let response = catch(|| self.internal_error(request))
            .unwrap_or_else(|_| Response::empty(StatusCode::INTERNAL_SERVER_ERROR));
        let id = response.headers.iter().find(|(name, _)| is_request_id(name.as_str()));
        let id = id.and_then(|(_, value)| value.to_str().ok()).unwrap_or("no id");
        let panic = panic.without(Credential::of(request).key);
        log::error!("{} {} ({id}): answered with status 500: {panic}", request.method, request.path);
        response
    }

    fn internal_error(&self, request: &Request<'_>) -> Response {
        let (path, _) = self.route_path(request);
        let request = Request { path: &path, ..request.clone() };
        let document = request.document();
        let Prepared { context, provider, route, .. } = self.prepare(&request, &document, None, self.seeds.next());
        let endpoint = route.ok().map(|route| route.endpoint);
        let error = ApiError::Injected { status: InjectedStatus::Given(500), name: String::new() };
        provider.error_response(endpoint, &context, &error)
    }
}

impl Receipt {
    /// Counts and logs a panic in the middle of this request's response, which is then cut.
    pub fn record_panic(self: Box<Self>, panic: &Panic) {
        let id = self.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or("no id");
        log::error!("response {id}: cut: {panic}");
        self.end_with_panic();
    }
}
