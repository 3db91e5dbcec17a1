//! The report: as JSON, as a page, or as JUnit XML.

use actix_http::{
    HttpMessage, StatusCode,
    header::{ACCEPT, HeaderMap},
};

use super::{Call, Problem, Reply, no_scope};

/// The formats of the report.
enum Format {
    Json,
    Html,
    Junit,
}

pub(super) fn respond(call: &Call<'_>) -> Result<Reply, Problem> {
    call.check_parameters(&["scope", "format"])?;
    let format = match call.parameter("format").as_deref() {
        Some("json") => Format::Json,
        Some("html") => Format::Html,
        Some("junit") => Format::Junit,
        None if accepts_html(call.request.headers()) => Format::Html,
        None => Format::Json,
        Some(other) => {
            let message = format!("`format={other}` is unknown; give json, html or junit.");
            return Err(Problem(StatusCode::BAD_REQUEST, message));
        }
    };
    let scope = call.scope();
    if let Some(scope) = scope.as_deref().filter(|scope| !call.engine.has_scope(scope)) {
        return Err(no_scope(scope));
    }
    let report = call.engine.report(scope.as_deref(), &call.edge.facts());
    match format {
        Format::Html => Ok(Reply::Text("text/html; charset=utf-8", report.to_html())),
        Format::Junit => Ok(Reply::Text("application/xml; charset=utf-8", report.to_junit())),
        Format::Json => match serde_json::to_value(&report) {
            Ok(report) => Ok(Reply::Json(StatusCode::OK, report)),
            Err(error) => {
                let message = format!("The report cannot be rendered: {error}; ask for ?format=html.");
                Err(Problem(StatusCode::INTERNAL_SERVER_ERROR, message))
            }
        },
    }
}

/// Returns true if a client wants a page, as browsers do.
fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}
