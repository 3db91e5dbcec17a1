//! Pipelined connections to the store, on their own thread.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};
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

/// Connections that are replaced when they break.
pub(super) struct Pool {
    slots: [Arc<Slot>; CONNECTIONS],
    runtime: Handle,
    next: AtomicUsize,
    lease_count: AtomicU64,
    /// The part of lease names that differs from server to server.
    server: u64,
    /// Ends the thread when dropped.
    _end: oneshot::Sender<()>,
}

#[derive(Default)]
struct Slot {
    connection: Mutex<Option<MultiplexedConnection>>,
    broken: Notify,
}

impl Pool {
    /// Starts to connect, and waits up to [`FIRST_WAIT`], so that the first request is not refused. Also returns true
    /// if a connection was made in that time.
    pub(super) fn open(client: Client) -> io::Result<(Self, bool)> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let slots: [Arc<Slot>; CONNECTIONS] = Default::default();
        let (ready, first) = mpsc::channel();
        for slot in &slots {
            runtime.spawn(maintain(client.clone(), Arc::clone(slot), ready.clone()));
        }
        thread::Builder::new().name("limit-store".to_owned()).spawn(move || runtime.block_on(ended))?;
        let connected = first.recv_timeout(FIRST_WAIT).is_ok();
        let server = RandomState::new().hash_one(std::process::id());
        let pool = Pool {
            slots,
            runtime: handle,
            next: AtomicUsize::new(0),
            lease_count: AtomicU64::new(0),
            server,
            _end: end,
        };
        Ok((pool, connected))
    }

    /// Returns an open connection and its index.
    pub(super) fn connection(&self) -> Option<(usize, MultiplexedConnection)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let numbers = (0..CONNECTIONS).map(|n| (first + n) % CONNECTIONS);
        numbers.into_iter().find_map(|n| Some((n, unpoisoned(self.slots[n].connection.lock()).clone()?)))
    }

    /// Returns all open connections.
    pub(super) fn connections(&self) -> impl Iterator<Item = MultiplexedConnection> {
        self.slots.iter().filter_map(|slot| unpoisoned(slot.connection.lock()).clone())
    }

    /// Replaces a connection.
    pub(super) fn reconnect(&self, number: usize) {
        let slot = &self.slots[number];
        if unpoisoned(slot.connection.lock()).take().is_some() {
            slot.broken.notify_one();
        }
    }

    /// Returns a name that no other request has, on any server.
    pub(super) fn lease_name(&self) -> String {
        format!("{:016x}{:x}", self.server, self.lease_count.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs a task on the thread of the connections.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

/// Keeps one connection open, and replaces it when it breaks.
async fn maintain(client: Client, slot: Arc<Slot>, ready: mpsc::Sender<()>) {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
    let mut pause = interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        if let Ok(connection) = client.get_multiplexed_async_connection_with_config(&config).await {
            *unpoisoned(slot.connection.lock()) = Some(connection);
            // Only the first connection is waited for; later sends fail.
            let _ = ready.send(());
            slot.broken.notified().await;
        }
    }
}
