//! A few connections to the store, each of them pipelined, on a thread of their own.

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

/// Requests wait on one connection only for those that were sent before them; with a second, less.
const CONNECTIONS: usize = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A server that starts waits so long for its store, and then starts without it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How long is waited before the next attempt to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that heal by themselves.
pub(super) struct Pool {
    slots: [Arc<Slot>; CONNECTIONS],
    runtime: Handle,
    next: AtomicUsize,
    names: AtomicU64,
    /// What tells this server's names from those of the others.
    server: u64,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

#[derive(Default)]
struct Slot {
    connection: Mutex<Option<MultiplexedConnection>>,
    broken: Notify,
}

impl Pool {
    /// Begins to connect, and waits a moment until it has: the first request is not to be refused for coming early. Tells
    /// whether it has.
    pub(super) fn open(client: Client) -> io::Result<(Self, bool)> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let slots: [Arc<Slot>; CONNECTIONS] = Default::default();
        let (ready, first) = mpsc::channel();
        for slot in &slots {
            runtime.spawn(keep(client.clone(), Arc::clone(slot), ready.clone()));
        }
        thread::Builder::new().name("limit-store".to_owned()).spawn(move || runtime.block_on(ended))?;
        let connected = first.recv_timeout(FIRST_WAIT).is_ok();
        let server = RandomState::new().hash_one(std::process::id());
        let pool =
            Pool { slots, runtime: handle, next: AtomicUsize::new(0), names: AtomicU64::new(0), server, _end: end };
        Ok((pool, connected))
    }

    /// One of the connections, and its number; none if none is open.
    pub(super) fn connection(&self) -> Option<(usize, MultiplexedConnection)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let numbers = (0..CONNECTIONS).map(|n| (first + n) % CONNECTIONS);
        numbers.into_iter().find_map(|n| Some((n, unpoisoned(self.slots[n].connection.lock()).clone()?)))
    }

    /// All connections that are open.
    pub(super) fn connections(&self) -> impl Iterator<Item = MultiplexedConnection> {
        self.slots.iter().filter_map(|slot| unpoisoned(slot.connection.lock()).clone())
    }

    /// Makes a connection anew.
    pub(super) fn is_broken(&self, number: usize) {
        let slot = &self.slots[number];
        if unpoisoned(slot.connection.lock()).take().is_some() {
            slot.broken.notify_one();
        }
    }

    /// A name that no other request has, on any server.
    pub(super) fn name(&self) -> String {
        format!("{:016x}{:x}", self.server, self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs a task beside the connections.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

/// Keeps one connection open.
async fn keep(client: Client, slot: Arc<Slot>, ready: mpsc::Sender<()>) {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
    let mut pause = interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        if let Ok(connection) = client.get_multiplexed_async_connection_with_config(&config).await {
            *unpoisoned(slot.connection.lock()) = Some(connection);
            // Only the first is waited for.
            let _ = ready.send(());
            slot.broken.notified().await;
        }
    }
}
