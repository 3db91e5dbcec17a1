//! The protocols by their names in fixtures.

use serde_json::{Map, Value};

use super::{
    ComputedReply, Protocol, anthropic, bedrock, cohere, gemini, generic, llama, ollama, openai, sglang, vllm, wrap,
};

/// Constructor of a computed protocol. `envelope` is the `head` of an endpoint's fixture.
///
/// # Errors
/// The field that is wrong and why.
pub type MakeComputedReply = fn(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String>;

/// Returns every computed protocol with its name in fixtures.
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
        ("llama-apply-template", llama::make_apply_template),
        ("llama-detokenize", llama::make_detokenize),
        ("llama-slots", llama::make_slots),
        ("llama-tokenize", llama::make_tokenize),
        ("tokenize", generic::tokenize::make),
        ("detokenize", generic::tokenize::make_back),
        ("vllm-render", vllm::render::make),
    ]
}

/// Constructor of a protocol. `envelope` is the `head` of an endpoint's fixture: the members of a response around the
/// reply.
///
/// # Errors
/// The field that is wrong and why.
pub type Make = fn(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String>;

/// Returns every protocol for generated replies with its name in fixtures.
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
        ("llama-chat", llama::make_chat),
        ("llama-completion", llama::make_completion),
        ("llama-completions", llama::make_completions),
        ("llama-messages", llama::make_messages),
        ("llama-responses", llama::make_responses),
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
        ("sglang-chat", sglang::make_chat),
        ("sglang-completions", sglang::make_completions),
        ("sglang-generate", sglang::make_generate),
        ("vllm-chat", vllm::chat::make),
        ("vllm-completions", vllm::completions::make),
        ("vllm-messages", vllm::messages::make),
        ("vllm-responses", vllm::responses::make),
        ("openai-responses-compact", openai::responses::make_compact),
    ]
}
