//! A request as its protocol understands it: parsed once, for all steps of the pipeline.

use std::{borrow::Cow, cell::OnceCell, ops::Deref, sync::Arc};

use serde_json::Value;

use super::{ComputedReply, StoredObjects, ready_made::ReadyMade};
use crate::{
    core::{
        context::RequestContext, error::ApiError, json, limit_status::Cost, prompt::Prompt, request,
        response::session::Session,
    },
    media::silence,
};

/// A parsed request: the answers to all questions that later steps ask about it.
///
/// A protocol that wraps another returns the value of the inner one, changed where it differs.
pub struct Parsed<'r> {
    /// The members that the protocol reads.
    pub body: json::Object<'r>,
    /// The parts that are read on demand, because most requests do not need them.
    pub reader: &'r dyn Reader,
    /// The source of the reply.
    pub source: ReplySource<'r>,
    /// The ready-made replies that the request can be answered with.
    pub ready_made: ReadyMade,
    /// The options of the response.
    pub options: ResponseOptions<'r>,
    /// The request's choice to store the response, for endpoints that store responses.
    ///
    /// `None`: the request did not set it. Nothing is stored and no tombstone is written, because most requests are
    /// like this.
    pub store: Option<bool>,
    /// The stored objects that the request continues.
    pub history: History<'r>,
    /// These objects, once they are loaded: the oldest first.
    pub(super) earlier: Vec<Arc<Value>>,
    /// The object that the endpoint's operation has found or created for the request.
    pub object: Option<Value>,
    /// Boxed: most requests do without it.
    pub(super) prompt: OnceCell<Box<Prompt>>,
}

/// The parts of a request that are read on demand.
///
/// The body is a JSON object, but members may have any type: the cost precedes all checks, and lenient servers skip
/// them.
pub trait Reader: Send + Sync {
    /// Checks the rules that [`requirements`](super::requirements) cannot express: everything beyond types and bounds
    /// of single members.
    ///
    /// # Errors
    /// The first broken rule.
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError>;

    /// Parses the neutral prompt for the model. `earlier` are the stored objects that the request continues.
    ///
    /// Ignores members with wrong types.
    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, earlier: &[Arc<Value>]) -> Prompt;

    /// Estimates the tokens that limits reserve before there is a reply: usually by the prompt.
    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.prompt(body, context, &[]).cost()
    }
}

/// The source of the reply to a request.
#[derive(Clone, Copy)]
pub enum ReplySource<'r> {
    /// A scripted reply, which then counts as used.
    Script,
    /// The usage of a scripted reply. Responses that report only numbers or scores, such as token counts, do not
    /// advance scripts.
    ScriptUsage,
    /// The request alone.
    Computed(&'r dyn ComputedReply),
    /// None: the request opens a realtime session.
    Session(&'r dyn OpenSession),
}

/// A protocol with realtime sessions.
pub trait OpenSession: Send + Sync {
    /// Opens a session for a request without a body.
    ///
    /// # Errors
    /// The request does not open one.
    fn open(&self, context: &RequestContext<'_>) -> Result<Box<dyn Session>, ApiError>;
}

/// The stored objects that a request continues.
#[derive(Clone)]
pub enum History<'r> {
    /// None.
    None,
    /// The response with this id and its predecessors, and then the objects of a loader.
    Response(Cow<'r, str>, &'r dyn LoadHistory),
    /// The objects of a loader, such as the items of a conversation.
    Objects(&'r dyn LoadHistory),
}

/// A protocol whose requests name stored objects.
pub trait LoadHistory: Send + Sync {
    /// Loads the objects that a request names; `None` if it names none.
    ///
    /// # Errors
    /// The request names an object that does not exist.
    fn load(&self, parsed: &Parsed<'_>, store: &dyn StoredObjects) -> Result<Option<Vec<Arc<Value>>>, ApiError>;
}

/// The options of a response. A protocol sets those that it has.
#[derive(Clone, Copy)]
pub struct ResponseOptions<'r> {
    /// True if the response is streamed.
    pub stream: bool,
    /// True if the stream ends with its usage.
    pub include_usage: bool,
    /// True if the events of the stream are padded, which hides the length of the text.
    pub include_obfuscation: bool,
    /// Number of alternatives to each token. `None`: no log probabilities.
    pub logprobs: Option<u64>,
    /// Format of audio output.
    pub audio_format: silence::Format,
    /// The requested service tier.
    pub service_tier: Option<json::Value<'r>>,
    /// True if the response is generated in the background, and polled.
    pub background: bool,
    /// True if the prompt precedes the completion.
    pub echo: bool,
    /// Number of choices returned for each prompt.
    pub n: usize,
    /// Number of choices generated for each prompt, at least `n`. All count as usage.
    pub best_of: usize,
    /// True if the response has no reply of the model: it announces a later one, as for a queued run, or only loads the
    /// model. It costs no tokens and takes no time.
    pub is_without_reply: bool,
}

impl Default for ResponseOptions<'_> {
    fn default() -> Self {
        ResponseOptions {
            stream: false,
            include_usage: false,
            include_obfuscation: true,
            logprobs: None,
            audio_format: silence::Format::Wav,
            service_tier: None,
            background: false,
            echo: false,
            n: 1,
            best_of: 1,
            is_without_reply: false,
        }
    }
}

impl<'r> Parsed<'r> {
    /// Returns the request with the usual options: `stream` and `store` of its body, and a stream by its path.
    pub fn new(
        reader: &'r dyn Reader,
        body: json::Object<'r>,
        context: &RequestContext<'_>,
        ready_made: ReadyMade,
    ) -> Self {
        let stream = request::wants_stream(context.request.path, body);
        Parsed::with_options(reader, body, ready_made, ResponseOptions { stream, ..ResponseOptions::default() })
    }

    /// Returns the request with these options, and the `store` of its body.
    pub fn with_options(
        reader: &'r dyn Reader,
        body: json::Object<'r>,
        ready_made: ReadyMade,
        options: ResponseOptions<'r>,
    ) -> Self {
        let store = body.get("store").and_then(json::Value::as_bool);
        let (source, history) = (ReplySource::Script, History::None);
        Parsed {
            body,
            reader,
            source,
            ready_made,
            options,
            store,
            history,
            object: None,
            earlier: Vec::new(),
            prompt: OnceCell::new(),
        }
    }

    /// Returns the request whose reply is computed from it alone.
    pub fn computed(computed: &'r dyn ComputedReply, body: json::Object<'r>) -> Self {
        let source = ReplySource::Computed(computed);
        let options = ResponseOptions::default();
        Parsed { source, ..Parsed::with_options(computed.reader(), body, ReadyMade::None, options) }
    }

    /// Checks the rules beyond types and bounds of single members.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&self, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.reader.check(self.body, context)
    }

    /// Returns the prompt, parsed at the first call.
    pub fn prompt(&self, context: &RequestContext<'_>) -> &Prompt {
        self.prompt.get_or_init(|| Box::new(self.reader.prompt(self.body, context, &self.earlier)))
    }

    /// Estimates the tokens that limits reserve before there is a reply.
    pub fn cost(&self, context: &RequestContext<'_>) -> Cost {
        self.reader.cost(self.body, context)
    }

    /// Returns the stored objects that the request continues, the oldest first.
    pub fn earlier(&self) -> &[Arc<Value>] {
        &self.earlier
    }

    /// Sets the stored objects that the request continues. They are part of the prompt.
    pub fn continue_from(&mut self, earlier: Vec<Arc<Value>>) {
        self.earlier = earlier;
        self.prompt.take();
    }
}

/// The request that a reply is rendered for.
#[derive(Clone, Copy)]
pub struct RenderContext<'c, 'a> {
    /// The parsed request.
    pub parsed: &'c Parsed<'c>,
    context: &'c RequestContext<'a>,
}

impl<'c, 'a> RenderContext<'c, 'a> {
    /// Combines a parsed request with what else is known about it.
    pub fn new(parsed: &'c Parsed<'c>, context: &'c RequestContext<'a>) -> Self {
        RenderContext { parsed, context }
    }
}

impl<'a> Deref for RenderContext<'_, 'a> {
    type Target = RequestContext<'a>;

    fn deref(&self) -> &RequestContext<'a> {
        self.context
    }
}
