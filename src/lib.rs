//! A fake LLM server for load tests and CI: it responds like OpenAI and the providers a gateway calls, without a model.
//!
//! # For tests
//! [`Server`] is a value. It listens on a free port, and stops when it is dropped:
//!
//! ```
//! use fake_openai::{Config, LimitSpec, Server, clock::ManualClock};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::new();
//! let config = Config {
//!     limits: vec![LimitSpec::rpm(1)],
//!     faults: vec!["503%5".parse()?],
//!     clock: clock.clone().into(),
//!     ..Config::for_test()
//! };
//! let fake = Server::bind(config)?.spawn()?;
//! // The base URL of the code under test. The limit refills when the test moves the clock.
//! assert!(fake.url().starts_with("http://127.0.0.1:"));
//! clock.advance(std::time::Duration::from_secs(60));
//! # Ok(())
//! # }
//! ```
//!
//! A test reads what its code has sent, and verifies it. The error shows the nearest request:
//!
//! ```
//! use std::io::{Read, Write};
//!
//! use fake_openai::{Config, Matcher, Server, Times};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fake = Server::bind(Config::for_test())?.spawn()?;
//! // The code under test, with `fake.url()` as its base URL.
//! # let send = |body: &str| -> std::io::Result<()> {
//! #     let mut client = std::net::TcpStream::connect(fake.address())?;
//! #     let length = body.len();
//! #     let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: fake\r\nconnection: close\r\ncontent-length: {length}");
//! #     write!(client, "{head}\r\n\r\n{body}")?;
//! #     client.read_to_end(&mut Vec::new()).map(|_| ())
//! # };
//! send(r#"{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}"#)?;
//!
//! fake.verify(Matcher::new().model("gpt-4o-mini").user("Hi"), Times::exactly(1))?;
//! let error = fake.verify(Matcher::new().model("gpt-4o"), Times::at_least(1)).unwrap_err();
//! assert!(error.to_string().contains(r#"model: expected "gpt-4o", got "gpt-4o-mini""#));
//!
//! let received = fake.requests();
//! assert_eq!(received[0].body().unwrap_or_default()["messages"][0]["content"], "Hi");
//! # Ok(())
//! # }
//! ```
//!
//! Tests that share one server use a [`Scope`] each: `fake.scope("t7").url()`.
//!
//! [`Settings`] are the same options as on the command line: `Config::try_from(Settings { .. })`. Replies, routes and error
//! texts are JSON files in [`Config::fixtures`]. What is not exported here is internal and may change.
//!
//! # For contributors
//! **Protocols in code, content in data.** A protocol encodes a response: chat chunks, Anthropic events, Bedrock frames. What
//! is returned at which path is data under `fixtures/`: routes, bodies, replies, error texts, header names. It is embedded in
//! the binary and overridden file by file. Between them stands a neutral [`core::reply::Reply`], so one scripted reply, fault,
//! limit or latency works for every provider. One request runs through one pipeline, [`engine::Engine::handle`]. Its protocol
//! parses it once, to a [`protocol::Parsed`]: a wrapper changes that value, and cannot drop a part of it. A response
//! is plain data; faults and latency transform it; only the edge (`server`) sleeps, flushes, stalls, cuts and resets.
//!
//! ## Layers: a folder each; imports go down this list only
//! ```text
//! cli        arguments, tables, verify, report, bench         the process: printing, signals
//! server     listening, HTTP, WebSocket, admin, metrics       the only code that names actix
//! engine     pipeline, scopes, journal, attempts, report      from a request to a response, and its record
//! config     settings, limits, latency                        command line, environment, file
//! fixtures   sources, endpoints, errors, router, scripts      content as data
//! resources  store, collections, typed handlers, jobs         objects that clients create
//! protocol   OpenAI, Anthropic, Gemini, …; generic, wrap      wire formats
//! model      the fake model: replies, tokens, schemas, embeddings
//! traffic    limits, faults, latency, concurrency, rules      what may happen to a request
//! media      placeholder audio and images
//! core       request, response, error, json, template, prompt, reply, clock, random
//! ```
//! Modules of one layer may import each other; `server/http/response` and `websocket` form no cycle. A test holds the
//! layers, and which of them may name `actix_web`, `governor`, `clap` and `sleep`.
//!
//! ## Invariants
//! 1. The engine answers every request, malformed ones included, with the error texts of the provider that owns the path.
//! 2. Below the edge nothing sleeps, and nothing does I/O after start-up but the thread of `--journal-file`. Two awaits:
//!    admission, because limits may live in a shared store (at most 50 ms), and a concurrency permit.
//! 3. A request is recorded once, and its receipt is closed once: complete, client left, fault, or drained.
//! 4. A route exists because a fixture declares it. No provider is named outside protocols, fixtures and vLLM's metrics.
//! 5. A fixture or setting that loads can be served. Mistakes are reported at start with file, place and remedy. Built-in
//!    files are compiled on first use, and a test finds their mistakes.
//! 6. Same seed, same requests in order: same bodies and ids, except for real times; headers in any order.
//! 7. Locks guard a push or a few sums, never a render. Everything that grows is bounded.
//! 8. Nothing is global except constant vocabularies and header texts: one process can run many engines.
//! 9. What can be changed at run time is under `/__admin`. It is closed to other machines without a token, and to web
//!    pages of other origins always.
//! 10. No output shows a secret whole. [`core::secret`] decides what is one.
//! 11. A panic ends one request ([`core::panics`]): its response is an error or is cut, and `Drop` gives back what it
//!     held.
//!
//! ## Where to add
//! | to add | touch |
//! |---|---|
//! | an endpoint, or a collection with its actions | one JSON file under `fixtures/<provider>/` |
//! | an object with states | one file under `src/resources/handlers/`, one variant of `Handler` in `src/resources/handlers.rs` |
//! | a provider with a known protocol | one directory under `fixtures/`; `like` inherits from another provider |
//! | a protocol | one file under `src/protocol/`, one line in [`protocol::all`] or [`protocol::computed`] |
//! | a template slot | one variant and its arms in `src/core/template/slot.rs`, its name in `slot/display.rs` |
//! | a limit dimension, unit or window | `src/core/limit_status.rs`, `src/traffic/limit/{spec.rs,window/,store/admit.lua}` |
//! | a kind of error | one variant in `src/core/error.rs`; a test then asks every provider for its text |
//! | a fault | one variant and one table row in `src/traffic/fault.rs`, its syntax in `fault/parse.rs`, its effect in `fault/plan/apply.rs`, or on the writes in `fault/writes.rs` |
//! | a check of the report | one line in `src/config/checks.rs`, one function in `src/engine/report/checks.rs` |
//! | a condition on requests | one field in `src/traffic/matcher.rs`, its method in `matcher/build.rs`, `admin/openapi.json` |
//! | a key of scripted replies | one field in `src/fixtures/file.rs`, its effect under `src/fixtures/scripts/`, `admin/openapi.json`, `docs/replies.md` |
//! | an admin page | one arm and one row of `PAGES` in `src/server/admin.rs`, `admin/openapi.json`, `docs/admin.md` |
//! | a setting | one field in `src/config/settings.rs`: flag, environment, file and help follow |
//!
//! ## Absent on purpose
//! No actix routes (sixty of them cost more than the rest of a request), no middleware that changes a response, no template
//! logic (a body that needs any is a protocol), no trait where an enum is enough, no TLS.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod core;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod fixtures;
#[doc(hidden)]
pub mod media;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod resources;
#[doc(hidden)]
pub mod server;
#[doc(hidden)]
pub mod traffic;

pub use config::{AccessLog, Checks, Config, ConfigError, JournalSpec, LatencySpec, ModelNames, Preset, Settings};
pub use core::{clock, limit_status::Unit};
pub use engine::{Nearest, Outcome, Phase, Report, Times, VerifyError};
pub use fixtures::Problem;
pub use model::{ContentSource, ContextWindow, Counting, ModelBehavior};
pub use resources::store::StoreMode;
pub use server::{
    Activity, ActivitySource, Class, Received, Reloaded, Reloader, ReplyBuilder, Reporter, Running, Scope, Server,
    StartError, Stopped,
};
pub use traffic::{
    access::Access,
    capacity::{ConcurrencySpec, QueuedHead},
    fault::FaultSpec,
    limit::{Dimension, LimitSpec, StoreSpec, Window},
    matcher::{Matcher, TextPattern},
    rule::Rule,
};

/// Compiles the Rust examples of the documentation.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/clients.md")]
    mod clients {}
    #[doc = include_str!("../docs/replies.md")]
    mod replies {}
    #[doc = include_str!("../docs/verify.md")]
    mod verify {}
}
