//! Reload: a new engine in place of the old one, while the server runs.

use std::{
    cell::RefCell,
    fmt::{self, Debug},
    ops::Deref,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{StartError, http::Edge, latency_of, limits_of};
use crate::{config::Config, engine::Engine, fixtures::Fixtures};

/// The engine for new requests. A reload replaces it as a whole; requests under way keep the one they began with.
pub(crate) struct CurrentEngine {
    engine: Mutex<Arc<Engine>>,
    generation: AtomicU64,
}

impl CurrentEngine {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        CurrentEngine { engine: Mutex::new(engine), generation: AtomicU64::new(0) }
    }

    /// Returns the engine as of now.
    pub(crate) fn get(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, engine: Engine) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(engine);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// One worker's view of the server. The worker keeps its own reference to the engine, so that workers do not contend for
/// a reference count at each request.
pub(crate) struct Worker {
    pub(crate) edge: Arc<Edge>,
    cached: RefCell<(u64, Rc<EngineRef>)>,
}

/// A reference to an engine that one thread shares without atomic counts.
pub(crate) struct EngineRef(Arc<Engine>);

impl Deref for EngineRef {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

impl Worker {
    pub(super) fn new(edge: Arc<Edge>) -> Self {
        let generation = edge.engine.generation.load(Ordering::Acquire);
        let engine = Rc::new(EngineRef(edge.engine.get()));
        Worker { edge, cached: RefCell::new((generation, engine)) }
    }

    /// Returns the engine for a new request.
    pub(crate) fn engine(&self) -> Rc<EngineRef> {
        let generation = self.edge.engine.generation.load(Ordering::Acquire);
        let mut cached = self.cached.borrow_mut();
        if cached.0 != generation {
            *cached = (generation, Rc::new(EngineRef(self.edge.engine.get())));
        }
        Rc::clone(&cached.1)
    }
}

/// Replaces the configuration of a running server.
#[derive(Clone)]
pub struct Reloader {
    pub(super) edge: Arc<Edge>,
    pub(super) config: Arc<Mutex<Config>>,
}

/// Result of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The settings and fixture files that changed and are in effect, such as `limits` or `replies.json`.
    pub changed: Vec<String>,
    /// The settings that differ but need a restart, such as `port`.
    pub needs_restart: Vec<&'static str>,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed.as_slice() {
            [] => f.write_str("reloaded, nothing changed")?,
            changed => write!(f, "reloaded, changed: {}", changed.join(", "))?,
        }
        match self.needs_restart.as_slice() {
            [] => Ok(()),
            names => write!(f, "; restart the server to change {}", names.join(", ")),
        }
    }
}

impl Reloader {
    /// Loads the fixtures again and puts this configuration into effect for new requests. Limits whose kind did not
    /// change keep their buckets; live rules, stored objects and counters stay; `times` and `sequence` of replies and
    /// faults start again if a fixture changed.
    ///
    /// # Errors
    /// [`StartError`] if a fixture or a name in the configuration is wrong. The server then goes on as before.
    pub fn reload(&self, config: Config) -> Result<Reloaded, StartError> {
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let fixtures =
            Fixtures::load_as(config.fixtures.as_deref(), config.serve_as.as_deref()).map_err(StartError::Fixtures)?;
        let (limits, latency) = (limits_of(&config, &fixtures)?, latency_of(&config, &fixtures)?);
        let old = self.edge.engine.get();
        let changed_files = fixtures.changed_files(old.fixtures());
        let changed_limits = !limits.iter().eq(old.limits().specs());
        let mut reloaded = compare(&current, &config);
        reloaded.changed.extend(changed_limits.then(|| "limits".to_owned()));
        if !changed_files.is_empty() {
            old.restart_sequences();
        }
        reloaded.changed.extend(changed_files);
        self.edge.engine.replace(old.reloaded(fixtures, limits, latency, &config));
        *current = config;
        Ok(reloaded)
    }
}

/// The settings that differ, by name. What limits come to is compared by itself.
fn compare(old: &Config, new: &Config) -> Reloaded {
    fn differ(one: &dyn Debug, other: &dyn Debug) -> bool {
        format!("{one:?}") != format!("{other:?}")
    }
    macro_rules! names {
        ($($field:ident),* $(,)?) => {
            [$((stringify!($field), differ(&old.$field, &new.$field))),*]
        };
    }
    let live = names![
        settle,
        behavior,
        snapshots,
        access,
        lenient,
        profile,
        latency,
        speed,
        server_timing,
        explain,
        faults,
        rules,
        request_faults,
        fixtures,
        serve_as,
        checks,
    ];
    let fixed = names![
        host,
        port,
        strict_port,
        limit_store,
        trusted_proxies,
        seed,
        objects,
        workers,
        max_body,
        max_body_memory,
        drain,
        access_log,
        status_line,
        port_file,
        journal,
        journal_file,
        report,
        capacity,
        admin_token,
        admin_hosts,
    ];
    Reloaded {
        changed: live.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect(),
        needs_restart: fixed.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect(),
    }
}
