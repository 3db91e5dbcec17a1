//! `verify`: checks the requests that a running server has received, for scripts and CI.

use std::time::Duration;

use fake_openai::Matcher;
use serde_json::{Map, Value, json};

use super::{Failure, client::Client};

/// Time for the response of a server that has not to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// The expected requests.
#[derive(clap::Args)]
pub struct Options {
    /// URL of the server, such as http://localhost:8080
    url: String,
    /// Conditions as JSON, as in the `when` of a rule [default: every request]
    #[arg(long, value_name = "JSON", value_parser = matcher)]
    when: Option<Value>,
    /// Exact number of requests [default: at least 1]
    #[arg(long, value_name = "N", conflicts_with_all = ["at_least", "at_most"])]
    count: Option<u64>,
    /// Minimum number of requests
    #[arg(long, value_name = "N")]
    at_least: Option<u64>,
    /// Maximum number of requests
    #[arg(long, value_name = "N")]
    at_most: Option<u64>,
    /// JSON list of conditions that requests meet one after the other
    #[arg(long, value_name = "JSON", value_parser = matchers, conflicts_with_all = ["when", "count", "at_least", "at_most"])]
    in_order: Option<Value>,
    /// Time to wait until it holds, such as 2s
    #[arg(long, value_name = "TIME", value_parser = time)]
    within: Option<Duration>,
    /// Scope of the requests [default: all]
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
}

fn matcher(text: &str) -> Result<Value, String> {
    text.parse::<Matcher>()?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn matchers(text: &str) -> Result<Value, String> {
    let list: Vec<Value> = serde_json::from_str(text).map_err(|error| format!("{error}; give a list of conditions"))?;
    list.iter().try_for_each(|matcher| Matcher::from_json(matcher).map(|_| ()))?;
    Ok(list.into())
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("`{text}` is not a time; give one such as 2s or 500ms"))
}

impl Options {
    /// Returns the body of the call.
    fn body(&self) -> Value {
        let mut body = Map::new();
        let bounds = [("at_least", self.at_least), ("at_most", self.at_most)];
        let bounds: Map<String, Value> =
            bounds.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), bound?.into()))).collect();
        let members = [
            ("scope", self.scope.as_deref().map(Value::from)),
            ("when", self.when.clone()),
            ("count", self.count.map(Value::from).or_else(|| (!bounds.is_empty()).then(|| json!(bounds)))),
            ("in_order", self.in_order.clone()),
            ("within", self.within.map(|within| humantime::format_duration(within).to_string().into())),
        ];
        body.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        body.into()
    }
}

/// Verifies, and returns the text of the result. `token` is that of the admin pages.
///
/// # Errors
/// [`Failure::Unmet`] if the requests are not those that are expected; [`Failure::User`] if the call is wrong.
pub(super) fn verify(options: &Options, token: Option<&str>) -> Result<String, Failure> {
    let client = Client::new(&options.url, token)?;
    let patience = options.within.unwrap_or_default() + PATIENCE;
    let (status, body) = client.post("/__admin/verify", &options.body().to_string(), patience)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let matched = body["matched"].as_u64().unwrap_or_default();
    let at = |message: &str| format!("{}: {message}", options.url);
    match (status, body["message"].as_str(), body["error"]["message"].as_str()) {
        (200, ..) if body["ok"] == true => {
            Ok(format!("ok: {matched} {}\n", if matched == 1 { "request matches" } else { "requests match" }))
        }
        (422, Some(message), _) => Err(Failure::Unmet(message.to_owned())),
        (409 | 503, _, Some(message)) => Err(Failure::Machine(at(message))),
        (_, _, Some(message)) => Err(Failure::User(at(message))),
        _ => Err(Failure::User(at(&format!(
            "the response has status {status} and is not that of a fake-openai; check the URL"
        )))),
    }
}
