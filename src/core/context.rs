//! The context of one request: what was sent, and what has been decided about it so far. Templates read from it.

use std::{
    borrow::Cow,
    cell::{OnceCell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use memchr::memchr;
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use super::{
    body_memory::BodyMemory,
    json::{self, Malformed},
    limit_status::LimitStatuses,
    model_catalog::{ANY_MODEL, ModelFacts, ServedModels},
    random::{Alphabet, Random},
    reply::{ReplyChanges, ReplyId, ReplyOverride},
    request::{Credential, Request},
    server_numbers::{ServerNumber, ServerNumbers},
    template::query,
};

/// The parameters of a route, by name, percent-encoded as in the path.
pub type Params<'a> = SmallVec<[(&'a str, &'a str); 3]>;

/// The model name in a response when [`Decisions::returns_wrong_model`] is set.
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
    /// The known models. The first entry that matches a name applies.
    pub model_catalog: &'a [ModelFacts],
    /// The models that the server accepts, and the settings that responses report.
    pub served: &'a ServedModels,
    /// True if the server accepts configured keys alone.
    pub needs_key: bool,
    /// True if responses use the dated names of models.
    pub snapshots: bool,
    /// The decisions about the request. Only the pipeline sets them.
    pub decisions: Decisions,
    /// The numbers about the server, if it has any.
    pub server: Option<&'a dyn ServerNumbers>,
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
    body: Result<json::Object<'a>, Malformed>,
}

/// The decisions about a request that its response and its record depend on.
#[derive(Default)]
pub struct Decisions {
    /// The state of the limits that apply to the request, once they have been checked.
    pub limit_statuses: LimitStatuses,
    /// Time that the response head is delayed by on purpose.
    pub intended: Duration,
    /// Time to the first token of a delayed reply, without the time in the queue.
    pub first_token: Duration,
    /// Time that the request has waited for a concurrency permit.
    pub queued: Duration,
    /// A reply that replaces the one the model would give.
    pub reply_override: Option<ReplyOverride>,
    /// Changes of the model's reply.
    pub reply_changes: Option<Box<ReplyChanges>>,
    /// True if the response names another model than the requested one.
    pub returns_wrong_model: bool,
    /// The number of the attempt of its call, from 1; `None` for a line of a batch.
    pub attempt: Option<u64>,
    /// The scripted reply, if it was chosen before the response is generated.
    pub reply: Option<ReplyId>,
    /// True if no reply of a strict scope fits.
    pub is_unmatched: bool,
}

impl<'a> RequestContext<'a> {
    /// Creates the context of a request about which nothing is decided yet. `document` is its parsed body.
    pub fn new(
        request: &'a Request<'a>,
        document: &'a Result<json::Document<'a>, Malformed>,
        random: Random,
        now: Duration,
    ) -> Self {
        RequestContext {
            request,
            params: Params::new(),
            random: RefCell::new(random),
            now,
            model_catalog: &[],
            served: &ANY_MODEL,
            needs_key: false,
            snapshots: false,
            decisions: Decisions::default(),
            server: None,
            body_memory: None,
            names_carry_faults: false,
            path_faults: None,
            model_faults: None,
            started: Instant::now(),
            id: OnceCell::new(),
            credential: OnceCell::new(),
            model_and_end: OnceCell::new(),
            model_facts: OnceCell::new(),
            body: document.as_ref().map(json::Document::members).map_err(|malformed| *malformed),
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

    /// Returns the members of the JSON body.
    ///
    /// # Errors
    /// [`Malformed`] if the body is not a JSON object.
    pub fn members(&self) -> Result<json::Object<'a>, Malformed> {
        self.body
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
            let in_body = || self.body.ok()?.get("model")?.as_str();
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
        *self.model_facts.get_or_init(|| self.facts_about(&self.model()))
    }

    /// Returns the catalog entry of a model.
    pub fn facts_about(&self, model: &str) -> Option<&'a ModelFacts> {
        self.model_catalog.iter().find(|facts| facts.model.matches(model))
    }

    /// Returns the model name for the response.
    pub fn model_name(&self) -> Cow<'_, str> {
        if self.decisions.returns_wrong_model {
            return Cow::Borrowed(ANOTHER_MODEL);
        }
        let facts = if self.snapshots { self.model_facts() } else { None };
        facts.and_then(|facts| facts.snapshot.as_deref()).map_or_else(|| self.model(), Cow::Borrowed)
    }

    /// Returns the name of the only model of a server that has one, whichever was requested.
    pub fn only_model(&self) -> Cow<'_, str> {
        match self.decisions.returns_wrong_model {
            true => Cow::Borrowed(ANOTHER_MODEL),
            false => Cow::Borrowed(self.served.first()),
        }
    }

    /// Returns a number about the server; 0 if it is not known.
    pub fn server_number(&self, number: ServerNumber) -> f64 {
        self.server.map_or(0.0, |server| server.number(number))
    }

    /// Returns the model name for the response of a server that has one model: a request may leave it out.
    pub fn served_model(&self) -> Cow<'_, str> {
        let name = self.model_name();
        if name.is_empty() { Cow::Borrowed(self.served.first()) } else { name }
    }

    /// Returns the context window of the requested model, in tokens; `None` if it is not limited.
    pub fn context_window(&self) -> Option<u64> {
        self.served.context_window.tokens(self.model_facts())
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
        request::{ConnectionInfo, Headers, RequestBody},
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
        let document = request.document();
        let mut context = RequestContext::new(&request, &document, Seeds::new(Some(1)).next(), FIXED_EPOCH);
        context.params.push(("id", "x%2Fy"));
        test(&mut context)
    }
}
