//! Entries of the journal as the input of conditions.

use bytes::Bytes;
use http::HeaderName;

use crate::{
    core::{
        json,
        prompt::Prompt,
        random::Random,
        request::{Headers, Request, RequestBody},
        secret,
    },
    engine::{Engine, Entry, Outcome, prepare::Prepared},
    traffic::{
        matcher::{MatchInput, Matcher, RecordedEnd, RequestRecord},
        mismatch::Mismatch,
    },
};

/// The shortest key that is searched for in mismatches, in bytes. A shorter one may be a common word.
const SHORTEST_SEARCHED: usize = 8;

/// The headers of an entry.
struct EntryHeaders<'a>(&'a Entry);

impl Headers for EntryHeaders<'_> {
    fn get(&self, name: &HeaderName) -> Option<&str> {
        let (_, value) = self.0.header_list().iter().find(|(known, _)| name == known)?;
        std::str::from_utf8(value).ok()
    }

    fn for_each(&self, visit: &mut dyn FnMut(&HeaderName, &[u8])) {
        self.0.header_list().iter().for_each(|(name, value)| visit(name, value));
    }
}

impl Entry {
    /// Returns the status of the response; `None` if no head was sent, or not yet.
    pub fn status(&self) -> Option<u16> {
        let status = match self.end() {
            Some(end) => end.status,
            None => self.head().map(|head| head.status),
        };
        status.map(|status| status.as_u16())
    }

    /// Returns the outcome; `None` while the response is open.
    pub fn outcome(&self) -> Option<Outcome> {
        self.end().map(|end| end.outcome)
    }

    /// Returns true if the response is a stream.
    pub fn is_stream(&self) -> bool {
        self.head().is_some_and(|head| head.is_stream)
    }

    /// Returns the number of the attempt of its call, from 1; `None` if its call is not followed.
    pub fn attempt_number(&self) -> Option<u64> {
        self.attempt().map(|(_, continued)| continued.number.into())
    }

    /// Returns true if it belongs to the call with this name or id.
    pub fn is_of_call(&self, name: &str) -> bool {
        self.attempt().is_some_and(|(call, _)| *call.text() == *name)
    }

    /// Returns the number of kept bytes of a body that is not kept whole.
    fn kept_body(&self) -> Option<usize> {
        let kept = self.body().len();
        (kept as u64 != self.body_bytes()).then_some(kept)
    }
}

impl Engine {
    /// Returns true if an entry of the journal meets conditions.
    pub fn is_match(&self, entry: &Entry, matcher: &Matcher) -> bool {
        matcher.is_always() || self.with_input(entry, matcher, |input| matcher.is_match(input))
    }

    /// Returns the conditions that an entry of the journal does not meet, without secrets.
    pub(super) fn mismatches(&self, entry: &Entry, matcher: &Matcher) -> Vec<Mismatch> {
        let mut mismatches = self.with_input(entry, matcher, |input| matcher.mismatches(input));
        if let Some(key) = entry.key().filter(|key| key.len() >= SHORTEST_SEARCHED) {
            for mismatch in &mut mismatches {
                for text in [&mut mismatch.expected, &mut mismatch.actual] {
                    *text = text.replace(key, secret::HIDDEN);
                }
            }
        }
        mismatches
    }

    /// Passes an entry to `read` as the request that the pipeline saw.
    fn with_input<T>(&self, entry: &Entry, matcher: &Matcher, read: impl FnOnce(&MatchInput<'_, '_>) -> T) -> T {
        let headers = EntryHeaders(entry);
        // Most conditions are about the rest. The body is copied for those that are about it.
        let body = if matcher.reads_body() { Bytes::copy_from_slice(entry.body()) } else { Bytes::new() };
        let request = Request {
            method: entry.method(),
            path: entry.path(),
            query: entry.query(),
            headers: &headers,
            client: entry.client(),
            connection: entry.connection(),
            body: RequestBody::Whole(body),
            files: &[],
        };
        let (path, faults) = self.route_path(&request);
        let request = Request { path: &path, ..request.clone() };
        let document = request.document();
        let Prepared { context, route, .. } = self.prepare(&request, &document, faults, Random::seeded(0));
        let parsed = route.as_ref().ok().and_then(|route| route.parsed(&context));
        let no_prompt = Prompt::default();
        let read_prompt = || parsed.map_or(&no_prompt, |parsed| parsed.prompt(&context));
        let members: json::Object<'_> = context.members().unwrap_or_default();
        let record = RequestRecord {
            end: entry.end().map(|end| RecordedEnd {
                status: end.status.map(|status| status.as_u16()),
                outcome: end.outcome.name(),
            }),
            attempt: if matcher.reads_attempt() { entry.attempt_number() } else { None },
            is_stream: entry.is_stream(),
            kept_body: entry.kept_body(),
        };
        read(&MatchInput::new(members, entry.model().into(), &request, &read_prompt).recorded(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::matcher::OUTCOMES;

    #[test]
    fn conditions_know_all_outcomes() {
        assert_eq!(Outcome::ALL.map(Outcome::name), OUTCOMES);
    }
}
