//! Protocols that wrap another protocol: its requests pass through, its responses are changed.

pub(crate) mod azure_filter;
pub(crate) mod bedrock_invoke;
pub(crate) mod count_tokens;
pub(crate) mod inner;
pub(crate) mod sagemaker;
pub(crate) mod select;
