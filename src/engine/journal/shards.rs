//! The texts that entries are packed against, for each worker and route.
//!
//! The requests of one client and the responses of one endpoint are nearly alike. Entries of a few hundred bytes keep a
//! journal of a thousand in a core's cache, where whole texts would push everything else out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{bodies::Known, heads::KnownShapes};
use crate::core::threads;

/// Number of parts, each for some threads.
const SHARDS: usize = 16;
/// Number of routes that a part has texts of. Routes with the same place replace each other's.
const MAX_ROUTES: usize = 8;
/// Number of lengths of bodies that a route has texts of.
const MAX_LENGTHS: usize = 4;

/// The parts of all workers.
pub(super) struct Shards(Box<[Padded]>);

/// One part, alone in its cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Padded(Mutex<[Route; MAX_ROUTES]>);

/// The texts of one route.
#[derive(Default)]
pub(super) struct Route {
    pub(super) requests: Messages,
    pub(super) responses: Messages,
}

/// The texts of requests, or of responses.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) heads: KnownShapes,
    bodies: [Known; MAX_LENGTHS],
}

/// The texts of one route, locked.
pub(super) struct Locked<'a> {
    routes: MutexGuard<'a, [Route; MAX_ROUTES]>,
    number: usize,
}

impl Shards {
    pub(super) fn new() -> Self {
        Shards((0..SHARDS).map(|_| Padded::default()).collect())
    }

    /// Returns the texts of a route that the calling thread uses.
    pub(super) fn route(&self, number: u16) -> Locked<'_> {
        let Padded(routes) = &self.0[threads::number() % SHARDS];
        // A text that a panic left is one like any other.
        let routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { routes, number: usize::from(number) % MAX_ROUTES }
    }
}

impl Locked<'_> {
    pub(super) fn texts(&mut self) -> &mut Route {
        &mut self.routes[self.number]
    }
}

impl Messages {
    /// Returns the known body for bodies of this length.
    pub(super) fn body(&mut self, length: usize) -> &mut Known {
        &mut self.bodies[length % MAX_LENGTHS]
    }
}
