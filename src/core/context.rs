//! What a template can see: one request, and what has been decided about it so far.

use std::{
    borrow::Cow,
    cell::{OnceCell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use memchr::memchr;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use smallvec::SmallVec;

use super::{
    error::ApiError,
    json::{self, Malformed},
    limit_status::LimitStatuses,
    model_catalog::ModelFacts,
    random::{Alphabet, Random},
    reply::Instead,
    request::{Credential, Request, RequestBody},
    template::query,
};

/// The parameters of a route, by name, as they stand in the path.
pub type Params<'a> = SmallVec<[(&'a str, &'a str); 3]>;

/// The model that answers when it is to be another than was asked for.
const ANOTHER_MODEL: &str = "another-model";

/// Everything that a slot may stand for while one request is answered.
pub struct RequestContext<'a> {
    /// The request.
    pub request: &'a Request<'a>,
    /// What the route's `{name}` segments matched.
    pub params: Params<'a>,
    /// This request's randomness.
    pub random: RefCell<Random>,
    /// The time, since 1970.
    pub now: Duration,
    /// Where the client stands with its limits, once that is decided.
    pub limit_statuses: LimitStatuses,
    /// The error being told.
    pub error: Option<ApiError>,
    /// What is known of models, the first that fits one holds.
    pub facts: &'a [ModelFacts],
    /// The object, or the page of objects, that was found for the request.
    pub resource: Found,
    /// What was kept of the answers that the request goes on from, the oldest first.
    pub earlier: RefCell<Vec<Arc<Value>>>,
    /// The bytes of a file that was found for the request: they are the body.
    pub file: RefCell<Option<Bytes>>,
    /// The models that there are; none if there is any.
    pub models: &'a [String],
    /// True if the server accepts configured keys alone.
    pub needs_key: bool,
    /// Whether answers bear the dated names of models.
    pub snapshots: bool,
    /// How long the answer is meant to take: until its head.
    pub intended: Duration,
    /// How long the request has waited for a place.
    pub queued: Duration,
    /// What the model says in place of what it would say.
    pub says: Option<Instead>,
    /// Whether the answer names another model than was asked for.
    pub misnames: bool,
    /// Whether `~` and faults may follow the name of a model.
    pub names_carry_faults: bool,
    /// Faults that stood before the path.
    pub path_faults: Option<&'a str>,
    /// Faults that stood behind the model or the deployment in the path.
    model_faults: Option<&'a str>,
    /// When work on it began.
    pub started: Instant,
    id: OnceCell<String>,
    credential: OnceCell<Credential<'a>>,
    named: OnceCell<(Cow<'a, str>, usize)>,
    known: OnceCell<Option<&'a ModelFacts>>,
    document: OnceCell<Result<json::Document<'a>, Malformed>>,
}

/// What was found in a collection for a request. Most ask for nothing there, and then it takes no memory.
#[derive(Default)]
pub struct Found(RefCell<Option<Arc<Value>>>);

impl Found {
    /// Puts this in place of what was found before.
    pub fn replace(&self, found: Arc<Value>) {
        self.0.replace(Some(found));
    }

    /// What was found; `null` if nothing was.
    pub fn borrow(&self) -> Arc<Value> {
        self.0.borrow().clone().unwrap_or_default()
    }
}

impl<'a> RequestContext<'a> {
    /// The scope of a request about which nothing is decided yet.
    pub fn new(request: &'a Request<'a>, random: Random, now: Duration) -> Self {
        RequestContext {
            request,
            params: Params::new(),
            random: RefCell::new(random),
            now,
            limit_statuses: LimitStatuses::default(),
            error: None,
            resource: Found::default(),
            earlier: RefCell::default(),
            file: RefCell::default(),
            facts: &[],
            models: &[],
            needs_key: false,
            snapshots: false,
            intended: Duration::ZERO,
            queued: Duration::ZERO,
            says: None,
            misnames: false,
            names_carry_faults: false,
            path_faults: None,
            model_faults: None,
            started: Instant::now(),
            id: OnceCell::new(),
            credential: OnceCell::new(),
            named: OnceCell::new(),
            known: OnceCell::new(),
            document: OnceCell::new(),
        }
    }

    /// How long the request has been worked on.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What this request is called: 22 symbols of base58, drawn at the first call.
    pub fn request_id(&self) -> &str {
        self.id.get_or_init(|| {
            let mut id = Vec::with_capacity(22);
            self.random.borrow_mut().put(Alphabet::Base58, 22, &mut id);
            String::from_utf8(id).unwrap_or_default()
        })
    }

    /// The members of the JSON body, read at the first call.
    ///
    /// # Errors
    /// [`Malformed`] where the body is not a JSON object.
    pub fn members(&self) -> Result<json::Object<'_>, Malformed> {
        self.document().as_ref().map(json::Document::members).map_err(|malformed| *malformed)
    }

    fn document(&self) -> &Result<json::Document<'a>, Malformed> {
        self.document.get_or_init(|| match &self.request.body {
            RequestBody::Whole(bytes) => json::Document::read(bytes),
            RequestBody::TooLarge { .. } => Ok(json::Document::default()),
        })
    }

    /// Takes what the route's `{name}` segments matched. Faults behind the name of a model are no part of it.
    pub fn set_params(&mut self, mut params: Params<'a>) {
        if self.names_carry_faults {
            for (_, value) in params.iter_mut().filter(|(name, _)| ["model", "deployment"].contains(name)) {
                if let Some((name, faults)) = value.split_once('~') {
                    (*value, self.model_faults) = (name, Some(faults));
                }
            }
        }
        self.params = params;
    }

    /// The model that the path names as `{model}`, or else the body, or else the path as `{deployment}`, or else the query
    /// as either, without the faults behind it; empty if none of them names one.
    pub fn model(&self) -> Cow<'_, str> {
        let (name, end) = self.named();
        Cow::Borrowed(&name[..end])
    }

    /// The key that the request carries; looked up at the first call.
    pub fn credential(&self) -> Credential<'a> {
        *self.credential.get_or_init(|| Credential::of(self.request))
    }

    /// The faults behind the name of the model.
    pub fn model_faults(&self) -> Option<Cow<'_, str>> {
        if let Some(faults) = self.model_faults {
            return Some(percent_decode_str(faults).decode_utf8_lossy());
        }
        let (name, end) = self.named();
        name.get(end + 1..).map(Cow::Borrowed)
    }

    /// The model that is named, and where its name ends; looked up at the first call.
    fn named(&self) -> (&str, usize) {
        let (name, end) = self.named.get_or_init(|| {
            let in_path = self.param("model").map(|model| percent_decode_str(model).decode_utf8_lossy());
            let carries_faults = in_path.is_none() && self.names_carry_faults;
            let in_body = || self.document().as_ref().ok()?.string("model");
            let deployed = || self.param("deployment").map(|name| percent_decode_str(name).decode_utf8_lossy());
            let in_query = || ["model", "deployment"].iter().find_map(|name| query(self.request.query, name));
            let name = in_path.or_else(in_body).or_else(deployed).or_else(in_query).unwrap_or_default();
            let end = memchr(b'~', name.as_bytes()).filter(|_| carries_faults).unwrap_or(name.len());
            (name, end)
        });
        (name, *end)
    }

    /// What is known of the model that is asked for; looked up at the first call.
    pub fn model_facts(&self) -> Option<&'a ModelFacts> {
        *self.known.get_or_init(|| {
            let model = self.model();
            self.facts.iter().find(|facts| facts.model.fits(&model))
        })
    }

    /// The name under which the model answers.
    pub fn model_name(&self) -> Cow<'_, str> {
        if self.misnames {
            return Cow::Borrowed(ANOTHER_MODEL);
        }
        let facts = if self.snapshots { self.model_facts() } else { None };
        facts.and_then(|facts| facts.snapshot.as_deref()).map_or_else(|| self.model(), Cow::Borrowed)
    }

    /// A parameter of the route, percent-encoded as it was sent.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http::{HeaderName, Method};

    use super::*;
    use crate::core::{clock::FIXED_EPOCH, random::Seeds, request::Headers};

    struct NoHeaders;

    impl Headers for NoHeaders {
        fn get(&self, _: &HeaderName) -> Option<&str> {
            None
        }
    }

    const BODY: &str = r#"{"model":"a\"b","n":7,"deep":{"key":[1,null]}}"#;

    /// Runs `test` in the scope of a request with a few members in its body and one path parameter.
    pub(crate) fn with_context<T>(test: impl FnOnce(&RequestContext<'_>) -> T) -> T {
        with_context_of(BODY, test)
    }

    /// Runs `test` in the scope of a request with this body.
    pub(crate) fn with_context_of<T>(body: &str, test: impl FnOnce(&RequestContext<'_>) -> T) -> T {
        with(body, |context| test(context))
    }

    /// Runs `test` in the scope of a request that is told this error.
    pub(crate) fn with_error<T>(error: Option<ApiError>, test: impl FnOnce(&RequestContext<'_>) -> T) -> T {
        with(BODY, |context| {
            context.error = error;
            test(context)
        })
    }

    fn with<T>(body: &str, test: impl FnOnce(&mut RequestContext<'_>) -> T) -> T {
        let request = Request {
            method: &Method::POST,
            path: "/things/x%2Fy",
            query: "",
            headers: &NoHeaders,
            client: [127, 0, 0, 1].into(),
            body: RequestBody::Whole(body.to_owned().into()),
            files: &[],
        };
        let mut context = RequestContext::new(&request, Seeds::new(Some(1)).next(), FIXED_EPOCH);
        context.params.push(("id", "x%2Fy"));
        test(&mut context)
    }
}
