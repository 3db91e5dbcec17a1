//! The context of one request: what was sent, and what has been decided about it so far. Templates read from it.

use std::{
    borrow::Cow,
    cell::{OnceCell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use memchr::memchr;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::{
    body_memory::BodyMemory,
    json::{self, Malformed},
    limit_status::LimitStatuses,
    model_catalog::ModelFacts,
    random::{Alphabet, Random},
    reply::ReplyOverride,
    request::{Credential, Request, RequestBody},
    template::query,
};

/// The parameters of a route, by name, percent-encoded as in the path.
pub type Params<'a> = SmallVec<[(&'a str, &'a str); 3]>;

/// The model name in a response when [`RequestContext::returns_wrong_model`] is set.
const ANOTHER_MODEL: &str = "another-model";

/// All the data of one request that a template slot, a protocol or a fault may read.
pub struct RequestContext<'a> {
    /// The request.
    pub request: &'a Request<'a>,
    /// The values of the route's `{name}` segments.
    pub params: Params<'a>,
    /// The random number generator of this request.
    pub random: RefCell<Random>,
    /// Time since 1970.
    pub now: Duration,
    /// The state of the limits that apply to the request, once they have been checked.
    pub limit_statuses: LimitStatuses,
    /// The known models. The first entry that matches a name applies.
    pub model_catalog: &'a [ModelFacts],
    /// The object, or the page of objects, that was found for the request.
    pub resource: FoundResource,
    /// The stored responses that the request continues, oldest first.
    pub history: RefCell<Vec<Arc<Value>>>,
    /// The bytes of the file that was found for the request. They become the response body.
    pub file: RefCell<Option<Bytes>>,
    /// The models that the server accepts. Empty: it accepts every model.
    pub models: &'a [String],
    /// True if the server accepts configured keys alone.
    pub needs_key: bool,
    /// True if responses use the dated names of models.
    pub snapshots: bool,
    /// Time that the response head is delayed by on purpose.
    pub intended: Duration,
    /// Time that the request has waited for a concurrency permit.
    pub queued: Duration,
    /// A reply that replaces the one the model would give.
    pub reply_override: Option<ReplyOverride>,
    /// True if the response names another model than the requested one.
    pub returns_wrong_model: bool,
    /// The memory of request bodies.
    pub body_memory: Option<&'a Arc<BodyMemory>>,
    /// True if `~` and faults may follow the name of a model.
    pub names_carry_faults: bool,
    /// The faults in front of the path.
    pub path_faults: Option<&'a str>,
    /// The faults after the model or the deployment in the path.
    model_faults: Option<&'a str>,
    /// Time at which work on the request began.
    pub started: Instant,
    id: OnceCell<String>,
    credential: OnceCell<Credential<'a>>,
    /// The model name with its faults, and the byte at which the name ends.
    model_and_end: OnceCell<(Cow<'a, str>, usize)>,
    model_facts: OnceCell<Option<&'a ModelFacts>>,
    document: OnceCell<Result<json::Document<'a>, Malformed>>,
}

/// The object that was found in a collection for a request. Without one, it allocates nothing.
#[derive(Default)]
pub struct FoundResource(RefCell<Option<Arc<Value>>>);

impl FoundResource {
    /// Replaces the object.
    pub fn replace(&self, found: Arc<Value>) {
        self.0.replace(Some(found));
    }

    /// Removes the object and returns one of its members, without a copy of it.
    pub fn take_member(&self, name: &str) -> Map<String, Value> {
        let found = self.0.take().map(Arc::unwrap_or_clone);
        match found.and_then(|mut found| Some(found.get_mut(name)?.take())) {
            Some(Value::Object(member)) => member,
            _ => Map::new(),
        }
    }

    /// Returns the object; `null` if there is none.
    pub fn borrow(&self) -> Arc<Value> {
        self.0.borrow().clone().unwrap_or_default()
    }
}

impl<'a> RequestContext<'a> {
    /// Creates the context of a request about which nothing is decided yet.
    pub fn new(request: &'a Request<'a>, random: Random, now: Duration) -> Self {
        RequestContext {
            request,
            params: Params::new(),
            random: RefCell::new(random),
            now,
            limit_statuses: LimitStatuses::default(),
            resource: FoundResource::default(),
            history: RefCell::default(),
            file: RefCell::default(),
            model_catalog: &[],
            models: &[],
            needs_key: false,
            snapshots: false,
            intended: Duration::ZERO,
            queued: Duration::ZERO,
            reply_override: None,
            returns_wrong_model: false,
            body_memory: None,
            names_carry_faults: false,
            path_faults: None,
            model_faults: None,
            started: Instant::now(),
            id: OnceCell::new(),
            credential: OnceCell::new(),
            model_and_end: OnceCell::new(),
            model_facts: OnceCell::new(),
            document: OnceCell::new(),
        }
    }

    /// Time since work on the request began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the id of this request: 22 symbols of base58, drawn at the first call.
    pub fn request_id(&self) -> &str {
        self.id.get_or_init(|| {
            let mut id = Vec::with_capacity(22);
            self.random.borrow_mut().put(Alphabet::Base58, 22, &mut id);
            String::from_utf8(id).unwrap_or_default()
        })
    }

    /// Returns the members of the JSON body. The body is parsed at the first call.
    ///
    /// # Errors
    /// [`Malformed`] if the body is not a JSON object.
    pub fn members(&self) -> Result<json::Object<'_>, Malformed> {
        self.document().as_ref().map(json::Document::members).map_err(|malformed| *malformed)
    }

    fn document(&self) -> &Result<json::Document<'a>, Malformed> {
        self.document.get_or_init(|| match &self.request.body {
            RequestBody::Whole(bytes) => json::Document::read(bytes),
            RequestBody::MalformedForm => Err(Malformed { at: 0 }),
            RequestBody::Discarded(_) => Ok(json::Document::default()),
        })
    }

    /// Sets the values of the route's `{name}` segments. Faults after the name of a model are split off.
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

    /// Returns the requested model, without the faults after it; empty if there is none. The first that is present
    /// applies: `{model}` in the path, `model` in the body, `{deployment}` in the path, either of them in the query.
    pub fn model(&self) -> Cow<'_, str> {
        let (name, end) = self.model_and_end();
        Cow::Borrowed(&name[..end])
    }

    /// Returns the API key of the request. It is looked up at the first call.
    pub fn credential(&self) -> Credential<'a> {
        *self.credential.get_or_init(|| Credential::of(self.request))
    }

    /// Returns the faults after the name of the model.
    pub fn model_faults(&self) -> Option<Cow<'_, str>> {
        if let Some(faults) = self.model_faults {
            return Some(percent_decode_str(faults).decode_utf8_lossy());
        }
        let (name, end) = self.model_and_end();
        name.get(end + 1..).map(Cow::Borrowed)
    }

    /// Returns the model name with its faults, and the byte at which the name ends. It is looked up at the first call.
    fn model_and_end(&self) -> (&str, usize) {
        let (name, end) = self.model_and_end.get_or_init(|| {
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

    /// Returns the catalog entry of the requested model. It is looked up at the first call.
    pub fn model_facts(&self) -> Option<&'a ModelFacts> {
        *self.model_facts.get_or_init(|| {
            let model = self.model();
            self.model_catalog.iter().find(|facts| facts.model.matches(&model))
        })
    }

    /// Returns the model name for the response.
    pub fn model_name(&self) -> Cow<'_, str> {
        if self.returns_wrong_model {
            return Cow::Borrowed(ANOTHER_MODEL);
        }
        let facts = if self.snapshots { self.model_facts() } else { None };
        facts.and_then(|facts| facts.snapshot.as_deref()).map_or_else(|| self.model(), Cow::Borrowed)
    }

    /// Returns a parameter of the route, percent-encoded as it was sent.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http::{HeaderName, Method};

    use super::*;
    use crate::core::{
        clock::FIXED_EPOCH,
        random::Seeds,
        request::{ConnectionInfo, Headers},
    };

    struct NoHeaders;

    impl Headers for NoHeaders {
        fn get(&self, _: &HeaderName) -> Option<&str> {
            None
        }

        fn for_each(&self, _: &mut dyn FnMut(&HeaderName, &[u8])) {}
    }

    const BODY: &str = r#"{"model":"a\"b","n":7,"deep":{"key":[1,null]}}"#;

    /// Runs `test` with the context of a request that has a few body members and one path parameter.
    pub(crate) fn with_context<T>(test: impl FnOnce(&RequestContext<'_>) -> T) -> T {
        with_context_of(BODY, test)
    }

    /// Runs `test` with the context of a request with this body.
    pub(crate) fn with_context_of<T>(body: &str, test: impl FnOnce(&RequestContext<'_>) -> T) -> T {
        with(body, |context| test(context))
    }

    fn with<T>(body: &str, test: impl FnOnce(&mut RequestContext<'_>) -> T) -> T {
        let request = Request {
            method: &Method::POST,
            path: "/things/x%2Fy",
            query: "",
            headers: &NoHeaders,
            client: [127, 0, 0, 1].into(),
            connection: ConnectionInfo::default(),
            body: RequestBody::Whole(body.to_owned().into()),
            files: &[],
        };
        let mut context = RequestContext::new(&request, Seeds::new(Some(1)).next(), FIXED_EPOCH);
        context.params.push(("id", "x%2Fy"));
        test(&mut context)
    }
}
