//! Everything that is tested from outside: over real sockets, through the very server or program that users start.

mod anthropic;
mod bedrock;
mod bench;
mod chat;
mod cli;
mod client;
mod cohere;
mod edge;
mod faults;
mod gemini;
mod golden;
mod hosts;
mod limits;
mod ollama;
mod overlay;
mod ports;
mod program;
mod responses;
mod rules;
mod schema;
mod stopping;
mod store;
mod streaming;
mod tidy;
mod time;
