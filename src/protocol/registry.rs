//! Every protocol by the name that fixtures use.

use serde_json::{Map, Value};

use super::{ComputedReply, Protocol, anthropic, bedrock, cohere, gemini, generic, ollama, openai, wrap};

/// Makes a protocol that computes with the `head` of an endpoint's fixture.
///
/// The error says which field is wrong, and how.
pub type MakeComputedReply = fn(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String>;

/// Every protocol that computes its answers, by the name that fixtures use.
pub fn computed() -> &'static [(&'static str, MakeComputedReply)] {
    &[
        ("openai-embeddings", openai::embeddings::make),
        ("openai-moderations", openai::moderations::make),
        ("openai-images", openai::images::make),
        ("openai-image-file", openai::images::make_file),
        ("openai-response", openai::responses::make_retrieve),
        ("openai-speech", openai::speech::make),
        ("bedrock-invoke-computed", wrap::bedrock_invoke::make_computed),
        ("classify", generic::classify::make),
        ("embeddings", generic::embeddings::make),
        ("filtered-images", wrap::azure_filter::make_images),
        ("lines", generic::lines::make),
        ("tokenize", generic::tokenize::make),
        ("detokenize", generic::tokenize::make_back),
    ]
}

/// Makes a dialect with the `head` of an endpoint's fixture: the fields that precede or follow what the model says.
///
/// The error says which field is wrong, and how.
pub type Make = fn(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String>;

/// Every dialect by the name that fixtures use.
pub fn all() -> &'static [(&'static str, Make)] {
    &[
        ("openai-chat", openai::chat::make),
        ("text", generic::text::make),
        ("anthropic-messages", anthropic::make),
        ("bedrock-converse", bedrock::make_converse),
        ("bedrock-count-tokens", bedrock::make_count),
        ("bedrock-invoke", wrap::bedrock_invoke::make),
        ("cohere-chat", cohere::make),
        ("count-tokens", wrap::count_tokens::make),
        ("either", wrap::select::make),
        ("filtered", wrap::azure_filter::make),
        ("ollama-chat", ollama::make_chat),
        ("ollama-generate", ollama::make_generate),
        ("payload-parts", wrap::sagemaker::make),
        ("rerank", generic::rerank::make),
        ("gemini-generate", gemini::make),
        ("openai-completions", openai::completions::make),
        ("openai-responses", openai::responses::make),
        ("openai-runs", openai::assistants::make),
        ("openai-transcriptions", openai::transcriptions::make),
        ("openai-realtime", openai::realtime::make),
        ("openai-responses-compact", openai::responses::make_compact),
    ]
}
