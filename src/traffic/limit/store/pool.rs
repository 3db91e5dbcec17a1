//! Pipelined connections to the store, on their own thread.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, aio::MultiplexedConnection};
use tokio::{
    runtime::{self, Handle},
    sync::{Notify, oneshot},
    time::{MissedTickBehavior, interval},
};

use super::unpoisoned;

/// A request waits for those sent before it on the same connection; a second connection halves that wait.
const CONNECTIONS: usize = 2;
/// Time limit of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time that a starting server waits for its store before it starts without it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Time between attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections, and the thread that serves them.
pub(super) struct Pool {
    pub(super) connections: Arc<Connections>,
    /// A random number that differs from server to server.
    pub(super) server: u64,
    runtime: Handle,
    /// Ends the thread when dropped.
    _end: oneshot::Sender<()>,
}

/// Connections that are replaced when they break.
#[derive(Default)]
pub(super) struct Connections {
    slots: [Slot; CONNECTIONS],
    next: AtomicUsize,
}

#[derive(Default)]
struct Slot {
    open: Mutex<Open>,
    broken: Notify,
}

#[derive(Default)]
struct Open {
    /// Number of connections that were made before this one.
    generation: usize,
    connection: Option<MultiplexedConnection>,
}

/// The identity of one connection. A failure that is noticed late does not replace its successor.
#[derive(Clone, Copy)]
pub(super) struct ConnectionId {
    slot: usize,
    generation: usize,
}

impl Pool {
    /// Starts to connect, and waits up to [`FIRST_WAIT`], so that the first request is not refused. Also returns true
    /// if a connection was made in that time.
    pub(super) fn open(client: Client) -> io::Result<(Self, bool)> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let connections = Arc::<Connections>::default();
        let (ready, first) = mpsc::channel();
        for slot in 0..CONNECTIONS {
            runtime.spawn(maintain(client.clone(), Arc::clone(&connections), slot, ready.clone()));
        }
        thread::Builder::new().name("limit-store".to_owned()).spawn(move || runtime.block_on(ended))?;
        let connected = first.recv_timeout(FIRST_WAIT).is_ok();
        let server = RandomState::new().hash_one(std::process::id());
        Ok((Pool { connections, server, runtime: handle, _end: end }, connected))
    }

    /// Runs a task on the thread of the connections.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

impl Connections {
    /// Returns an open connection.
    pub(super) fn get(&self) -> Option<(ConnectionId, MultiplexedConnection)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..CONNECTIONS).find_map(|n| {
            let slot = first.wrapping_add(n) % CONNECTIONS;
            let open = unpoisoned(self.slots[slot].open.lock());
            Some((ConnectionId { slot, generation: open.generation }, open.connection.clone()?))
        })
    }

    /// Replaces a connection. Calls on it may still be answered.
    pub(super) fn replace(&self, ConnectionId { slot, generation }: ConnectionId) {
        let Slot { open, broken } = &self.slots[slot];
        let mut open = unpoisoned(open.lock());
        if open.generation == generation && open.connection.take().is_some() {
            broken.notify_one();
        }
    }

    /// Replaces a connection if no call on it can succeed after this error.
    pub(super) fn replace_if_broken(&self, id: ConnectionId, error: &RedisError) {
        // After a failover the address may belong to another server.
        let demoted = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading)
        );
        if demoted || error.is_unrecoverable_error() || error.is_connection_dropped() {
            self.replace(id);
        }
    }

    fn opened(&self, slot: usize, connection: MultiplexedConnection) {
        let mut open = unpoisoned(self.slots[slot].open.lock());
        *open = Open { generation: open.generation.wrapping_add(1), connection: Some(connection) };
    }
}

/// Keeps one connection open, and replaces it when it breaks.
async fn maintain(client: Client, connections: Arc<Connections>, slot: usize, ready: mpsc::Sender<()>) {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
    let mut pause = interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        if let Ok(connection) = client.get_multiplexed_async_connection_with_config(&config).await {
            connections.opened(slot, connection);
            // Only the first connection is waited for; later sends fail.
            let _ = ready.send(());
            connections.slots[slot].broken.notified().await;
        }
    }
}
