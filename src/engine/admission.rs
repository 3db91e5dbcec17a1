//! Admission: the checks of a request's key, its model and its limits, before anything is generated.

use std::borrow::Cow;

use super::{Engine, prepare::MatchedRoute, scope::ScopeState};
use crate::{
    core::{context::RequestContext, error::ApiError, limit_status::Cost, request::RequestBody},
    fixtures::{Endpoint, Provider},
    traffic::limit::{LimitDecision, LimitRequest, StoreUnreachable},
};

impl Engine {
    /// Checks that the requested model exists, if the list of models is closed, and that the endpoint's API serves it.
    pub(super) fn check_model(&self, endpoint: &Endpoint, context: &RequestContext<'_>) -> Result<(), ApiError> {
        if !self.access.models.is_empty() {
            self.check_name(endpoint, context)?;
        }
        if self.lenient { Ok(()) } else { endpoint.check_api(context) }
    }

    fn check_name(&self, endpoint: &Endpoint, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match (context.param("model").or(context.param("deployment")), endpoint.needs_model()) {
            (Some(model), _) => self.access.check_model(model),
            // A body without a model is rejected later, by validation.
            (None, true) => match context.model() {
                model if model.is_empty() => Ok(()),
                model => self.access.check_model(&model),
            },
            (None, false) => Ok(()),
        }
    }

    /// Checks that a request may be handled: its body, its key, its model and its limits.
    ///
    /// # Errors
    /// Anything but a limit that is exceeded, which is part of the decision.
    pub(super) async fn admit<'a>(
        &self,
        route: &MatchedRoute<'a>,
        scope: &ScopeState,
        context: &RequestContext<'a>,
    ) -> Result<LimitDecision, ApiError> {
        self.check_access(route, context)?;
        if self.limits.is_empty() || !route.endpoint.limited {
            return Ok(LimitDecision::default());
        }
        self.check_limits(route, scope, context).await
    }

    /// Checks the body, the key and the model of a request.
    fn check_access(&self, route: &MatchedRoute<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match context.request.body {
            RequestBody::Whole(_) | RequestBody::MalformedForm => {}
            RequestBody::Discarded(discarded) => return Err(discarded.into()),
        }
        self.check_key(route.provider, Some(route.endpoint), context)?;
        if route.provider.one_model { Ok(()) } else { self.check_model(route.endpoint, context) }
    }

    /// Checks the key of a request, if its path needs one.
    pub(super) fn check_key(
        &self,
        provider: &Provider,
        endpoint: Option<&Endpoint>,
        context: &RequestContext<'_>,
    ) -> Result<(), ApiError> {
        if self.access.keys.is_empty() {
            return Ok(());
        }
        provider.needed_key(endpoint, context).map_or(Ok(()), |key| self.access.check_key(key))
    }

    /// Checks the limits of an endpoint. This is awaited, because the limits can be in a store that servers share.
    async fn check_limits<'a>(
        &self,
        route: &MatchedRoute<'a>,
        scope: &ScopeState,
        context: &RequestContext<'a>,
    ) -> Result<LimitDecision, ApiError> {
        let deployment = context.param("deployment");
        let model = if self.limits.needs_model() { context.model() } else { Cow::Borrowed("") };
        let limit_request = LimitRequest {
            at: context.started,
            ip: context.request.client,
            key: if self.limits.needs_key() { context.credential().key } else { None },
            model: context.param("model").or(deployment).unwrap_or(&model),
            deployment,
            path: context.request.path,
            scope: scope.limit_key(),
            decisions: scope.name.as_ref().map(|_| scope.conduct.decisions()),
            cost: if self.limits.needs_cost() { route.cost(context) } else { Cost::default() },
        };
        self.limits.admit(&limit_request).await.map_err(|StoreUnreachable| ApiError::LimitUnknown {})
    }
}
