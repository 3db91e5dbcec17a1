//! The rules of requests beyond types and bounds of single members. The first broken rule is reported.

use super::{
    has_signatures,
    read::{get, nested_request, tools, value},
    schema_rules, turns,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json::{self, Kind},
    prompt::ToolChoice,
};

/// The roles of a turn, as JSON. A turn without a role is the user's.
const ROLES: [&[u8]; 4] = [br#""user""#, br#""model""#, br#""function""#, br#""""#];

/// See [`crate::protocol::Reader::check`].
pub(super) fn check(body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let inner = nested_request(body);
    let body = inner.unwrap_or(body);
    let Some(contents) = body.get("contents").filter(|contents| contents.kind() != Kind::Null) else {
        return Err(ApiError::MissingParameter { param: "contents".to_owned() });
    };
    let mut wrong = None;
    contents.each(|turn| {
        let role = turn.members().and_then(|turn| turn.get("role")).filter(|role| role.kind() != Kind::Null);
        if let Some(role) = role.filter(|role| wrong.is_none() && !ROLES.contains(&role.text())) {
            wrong = Some(role);
        }
    });
    if let Some(role) = wrong {
        let got = role.as_str().unwrap_or_default().into_owned();
        let (supported, either) = ("user, model".to_owned(), "user or model".to_owned());
        return Err(ApiError::InvalidValue { param: "role".to_owned(), got, supported, either });
    }
    if get(body, "toolConfig").is_some()
        && let (tools, ToolChoice::Required) = tools(body)
        && tools.is_empty()
    {
        return Err(ApiError::NeedsOther { param: "toolConfig", other: "functionDeclarations" });
    }
    let config = get(body, "generationConfig").and_then(json::Value::members).unwrap_or_default();
    schema_rules::check(&value(body, "tools"), &value(config, "responseSchema"))?;
    turns::check(contents, has_signatures(&context.model()))
}
