//! Batch jobs: objects that run lines, each of them a request that is handled as if it had been sent by itself. The
//! work per poll is bounded, so that other requests do not wait for it. The next poll continues where it ended.

mod job;
mod lines;
mod usage;

use http::Method;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use self::{job::OUTPUTS, lines::next_line};
pub(crate) use self::{
    job::{Job, JobLocation, OpenJob},
    lines::{LineFormat, Problem, ProblemKind, write_compact},
    usage::BatchUsage,
};
use crate::core::{
    context::RequestContext,
    request::{Request, RequestBody},
    response::{Body, Response},
    template::{AllowedSlots, Layout, Template},
};

/// Minimum number of lines that one poll runs, if a twentieth of all is less.
const MIN_LINES_PER_POLL: usize = 100;
/// Maximum bytes of requests and responses in one poll, except for the last line.
const MAX_BYTES_PER_POLL: usize = 1 << 20;
/// Maximum bytes of all lines, and of all responses: half of what the store holds in total.
pub(crate) const MAX_BYTES: usize = 32 << 20;

/// Handles the request of one line.
pub type ExecuteItem<'a> = dyn Fn(&Request<'_>) -> Response + 'a;

/// Result of a part of a job: true if it is complete, false if the next poll continues it, or the problems found.
pub(crate) type Outcome = Result<bool, Vec<Problem>>;

/// The output for one line, with `{{resource.custom_id}}`, `{{resource.status}}`, and `{{part.body}}` for the response.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct ResultLine(Vec<Template>);

impl TryFrom<Value> for ResultLine {
    type Error = String;

    fn try_from(line: Value) -> Result<Self, String> {
        Ok(ResultLine(Template::json(&line, Layout::default(), AllowedSlots::Part)?.split()))
    }
}

impl ResultLine {
    /// Renders the line. A response that is no JSON is embedded as a string.
    fn render(&self, seen: Value, body: &[u8], context: &RequestContext<'_>) -> Vec<u8> {
        let is_json = !body.is_empty() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let quoted = (!is_json).then(|| json!(String::from_utf8_lossy(body)).to_string());
        let mut written = Vec::with_capacity(body.len() + 256);
        for (n, piece) in self.0.iter().enumerate() {
            if n > 0 {
                written.extend_from_slice(quoted.as_ref().map_or(body, String::as_bytes));
            }
            piece.render_with_into(context, (&seen).into(), &mut written);
        }
        written
    }
}

/// The rules by which the lines of a job run.
pub(crate) struct LineRules<'a> {
    pub(crate) format: LineFormat,
    pub(crate) succeeded: &'a ResultLine,
    pub(crate) failed: &'a ResultLine,
    /// The output for failed lines; that for the others is 0.
    pub(crate) failures: usize,
    /// True if the output has a space after each colon and comma.
    pub(crate) spaced: bool,
}

impl OpenJob<'_> {
    /// Checks all lines. `url` is the path that they must name.
    pub(crate) fn check(&mut self, format: LineFormat, url: &str, max_lines: usize) -> Outcome {
        let input = self.input().ok_or_else(|| vec![ProblemKind::Lost.into()])?;
        if !self.job.is_whole {
            return Err(vec![ProblemKind::TooLarge.into()]);
        }
        self.job.total = format.check(&input, url, max_lines)?;
        Ok(true)
    }

    /// Sends some of the lines to `path`.
    pub(crate) fn run(
        &mut self,
        rules: &LineRules<'_>,
        path: &str,
        context: &RequestContext<'_>,
        execute_item: &ExecuteItem<'_>,
    ) -> Outcome {
        if self.job.remaining() == 0 {
            return Ok(true);
        }
        let input = self.input().ok_or_else(|| vec![ProblemKind::Lost.into()])?;
        let (mut outputs, mut work) = ([const { Vec::new() }; OUTPUTS], 0);
        for _ in 0..self.job.total.div_ceil(20).max(MIN_LINES_PER_POLL) {
            let Some((line, next)) = next_line(&input, self.job.offset).filter(|_| work < MAX_BYTES_PER_POLL) else {
                break;
            };
            self.job.offset = next;
            let (id, body) = rules.format.read(&line);
            let sent = body.clone();
            let response = execute_item(&Request {
                method: &Method::POST,
                path,
                query: "",
                headers: context.request.headers,
                client: context.request.client,
                connection: context.request.connection,
                body: RequestBody::Whole(body),
                files: &[],
            });
            let Body::Full(body) = response.body else { continue };
            let is_success = response.status.as_u16() < 400;
            if let Some(usage) = &mut self.job.usage {
                // If all lines fail, the request bodies are the only ones that name a model.
                if is_success { usage.add(&body) } else { usage.add_model(&sent) }
            }
            let (count, line_rule, output) = if is_success {
                (&mut self.job.succeeded, rules.succeeded, 0)
            } else {
                (&mut self.job.failed, rules.failed, rules.failures)
            };
            *count += 1;
            let seen = json!({"custom_id": id, "status": response.status.as_u16()});
            write_compact(&line_rule.render(seen, &body, context), rules.spaced, &mut outputs[output]);
            outputs[output].push(b'\n');
            work += line.len() + body.len();
        }
        for (output, more) in outputs.into_iter().enumerate() {
            self.append(output, more);
        }
        if self.job.bytes.iter().sum::<usize>() > MAX_BYTES {
            return Err(vec![ProblemKind::TooMuch.into()]);
        }
        Ok(next_line(&input, self.job.offset).is_none())
    }

    /// Skips the lines that did not run.
    pub(crate) fn skip_rest(
        &mut self,
        format: LineFormat,
        skipped: &ResultLine,
        context: &RequestContext<'_>,
    ) -> Outcome {
        let (input, mut output) = (self.input().unwrap_or_default(), Vec::new());
        while let Some((line, next)) = next_line(&input, self.job.offset) {
            (self.job.offset, self.job.skipped) = (next, self.job.skipped + 1);
            let seen = json!({"custom_id": format.read(&line).0});
            write_compact(&skipped.render(seen, b"null", context), false, &mut output);
            output.push(b'\n');
        }
        self.append(0, output);
        Ok(true)
    }
}
