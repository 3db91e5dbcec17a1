//! Dialects: how a protocol spells what the model says. One file each; what is said, and where, is data.

mod openai_chat;

use serde_json::{Map, Value};

use crate::{answer::Answer, reply::Reply, template::scope::Scope};

/// A protocol, with the head that one endpoint's fixture gives its answers.
pub trait Dialect: Send + Sync {
    /// Spells a reply as far as that can be done before there is a request.
    fn spell(&self, reply: &Reply) -> Box<dyn Spelling>;
}

/// A reply, spelled but for what each request fills in.
pub trait Spelling: Send + Sync {
    /// The answer to one request: whole or event by event, as it asked.
    fn answer(&self, scope: &Scope<'_>) -> Answer;
}

/// Makes a dialect with the `head` of an endpoint's fixture: the fields that precede or follow what the model says.
///
/// The error says which field is wrong, and how.
pub type Make = fn(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String>;

/// Every dialect by the name that fixtures use.
pub fn all() -> &'static [(&'static str, Make)] {
    &[("openai-chat", openai_chat::make)]
}
