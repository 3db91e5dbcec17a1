//! The load-grade fake LLM endpoint: it answers like OpenAI, without a model. For tests it is a library: see [`Server`].
//!
//! ## The idea
//! **Protocols in code, content in data.** How a provider spells an answer is a protocol: one file, a [`protocol`]. What is
//! said, and where, is data under `fixtures/`: routes, bodies, replies, the words of errors, the names of headers. It is
//! built into the binary and overridden file by file. Between the two stands a neutral [`Reply`](crate::core::reply::Reply).
//! **One request, one function**, [`engine::Engine::handle`]: it routes, admits, plans what goes wrong, checks, says and
//! dresses. **A response is plain data**, an [`Response`](crate::core::response::Answer), which latency and faults change; the edge delivers it.
//!
//! ## Layers: a folder each, imports go down this list only
//! ```text
//! cli        arguments, tables, healthcheck, bench          the process: printing, signals
//! server     listening, HTTP, WebSocket, admin, metrics     the only code that names actix
//! engine     pipeline, faults, batch, realtime, metrics     from a request to a response
//! config     settings, limits, latency                      command line, environment, file
//! fixtures   sources, endpoints, errors, router, scripts    content as data
//! resources  store, collections, operations, jobs           what clients create
//! protocol   OpenAI, Anthropic, Gemini, … generic, wrap     wire formats
//! model      the fake model, tokens, schema, embedding
//! traffic    limits, faults, latency, concurrency, rules    what may happen to a request
//! media      placeholder audio and images
//! core       request, response, error, json, template, …
//! ```
//! A test holds the layers, and who may name `actix_web`, `governor`, `clap` and `sleep`.
//!
//! ## Invariants
//! 1. The engine answers every request, malformed ones included, in the words of the provider whose path was asked.
//! 2. Below the edge nothing sleeps, and nothing does I/O after start-up. Two things are awaited: admission, since limits
//!    may live in a store that servers share (50 ms at the most), and a place where only so many answers are said at once.
//! 3. A request is counted once, and its count is closed once: when the answer ends, is cut, or the client leaves.
//! 4. A route exists because a fixture says so. No provider is named outside dialects, fixtures and vLLM's metrics.
//! 5. A fixture or setting that loads can be served: every mistake is found at start-up, with file, place and remedy, but
//!    for those of the built-in files, which a test finds: they are compiled when they are first asked for.
//! 6. Same seed, same requests in order: same bodies and ids, but for what tells the real time; headers in any order.
//! 7. Locks guard a push or a few sums, never a render. All that grows is bounded.
//! 8. Nothing is global but vocabularies and texts of headers, which never change: one process can run many engines.
//!
//! ## Where to add
//! | to add | touch |
//! |---|---|
//! | an endpoint, or a collection with all its actions | one JSON file under `fixtures/<provider>/` |
//! | a provider with a known protocol | one directory under `fixtures/`; `like` takes over what is the same |
//! | a protocol | one file `src/protocol/<name>.rs`, and its line in [`protocol::all`], or in [`protocol::computed`] |
//! | a slot | one variant and its arms in `src/core/template/slot.rs` |
//! | what a limit counts, for whom, and how | `src/core/limit_status.rs`; `src/traffic/limit/{spec.rs,window/}`, `admit.lua` |
//! | a kind of error | one variant in `src/core/error.rs`; then every provider is asked for its words |
//! | a fault | one variant and one row in `src/traffic/fault.rs`, its text form in `fault/parse.rs`, its effect in `fault/plan.rs` |
//! | a setting | one field in `src/config/settings.rs`, for flag, environment, file and help at once |
//!
//! ## Absent on purpose
//! No actix routes (sixty of them cost more than the rest of a request), no middleware with a say in the answer, no
//! template logic (a body that needs any is a protocol), no trait where an enum will do, no TLS.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod config;
pub mod core;
pub mod engine;
pub mod fixtures;
pub mod media;
pub mod model;
pub mod protocol;
pub mod resources;
pub mod server;
pub mod traffic;

pub use config::{Config, ConfigError, Settings};
pub use server::{Running, Server, StartError, Stopped};
pub use traffic::limit::LimitSpec;
