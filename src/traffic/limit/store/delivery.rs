//! The delivery of changes: a batch is sent until the store confirms it, and then the next.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::{Script, ScriptInvocation};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{
    StoreSpec,
    outbox::{Action, Change, LEASE, Outbox, Reconciliation},
    pool::Connections,
};
use crate::core::clock::Clock;

/// Interval at which leases to renew are looked for.
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
/// Time after which a connection that does not confirm a batch is replaced.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two attempts to send a batch.
const PAUSE: Duration = Duration::from_millis(100);

static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("settle.lua")));

/// The sender of one server's changes.
pub(super) struct Delivery {
    pub(super) outbox: Arc<Outbox>,
    pub(super) connections: Arc<Connections>,
    pub(super) clock: Clock,
    /// The part of lease names that differs from server to server.
    pub(super) server: u64,
}

impl Delivery {
    pub(super) fn new(spec: &StoreSpec, connections: &Arc<Connections>, clock: &Clock, server: u64) -> Self {
        Delivery {
            outbox: Arc::new(Outbox::new(spec.address())),
            connections: Arc::clone(connections),
            clock: clock.clone(),
            server,
        }
    }

    /// Delivers changes for ever.
    pub(super) async fn run(self) {
        let mut renew = interval(RENEW_INTERVAL);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            tokio::select! {
                () = self.outbox.added() => {}
                _ = renew.tick() => self.outbox.select_due(self.clock.elapsed()),
            }
            while let Some(batch) = self.outbox.next_batch(self.clock.elapsed()) {
                number += 1;
                self.deliver(&batch, number).await;
                self.outbox.confirm();
            }
        }
    }

    /// Sends one batch until it is confirmed. All copies have the same number, so the store applies only one
    /// of them.
    async fn deliver(&self, batch: &[Change], number: u64) {
        loop {
            if let Some((id, mut connection)) = self.connections.get() {
                // Made for each attempt, because it contains the time.
                let script = self.script(batch, number);
                match timeout(TIMEOUT, script.invoke_async::<()>(&mut connection)).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => self.connections.replace_if_broken(id, &error),
                    Err(_) => self.connections.replace(id),
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn script(&self, batch: &[Change], number: u64) -> ScriptInvocation<'static> {
        let mut call = SETTLE.prepare_invoke();
        call.key(format!("fake-openai:server:{:016x}", self.server));
        call.arg(manual_micros(&self.clock)).arg(LEASE.as_micros() as u64);
        // A batch that only ends leases needs no number, and costs less without one.
        let ends_leases = |change: &Change| matches!(change.action, Action::Release(_) | Action::Cancel(_));
        let needs_number = !batch.iter().all(ends_leases);
        call.arg(if needs_number { number.to_string() } else { String::new() });
        for Change { key, action } in batch {
            call.key(&**key);
            let mut lease = |action: &str, id| {
                call.arg(action).arg(lease_name(self.server, id)).arg(0).arg(0).arg(0);
            };
            match *action {
                Action::Release(id) => lease("release", id),
                Action::Cancel(id) => lease("cancel", id),
                Action::Renew(id) => lease("renew", id),
                Action::Reconcile(Reconciliation { algorithm, window, reserved, spent, period }) => {
                    call.arg(algorithm).arg(window).arg(reserved).arg(spent).arg(period);
                }
            }
        }
        call
    }
}

/// Returns the name of a lease, which no lease of another server has.
pub(super) fn lease_name(server: u64, id: u64) -> String {
    format!("{server:016x}{id:x}")
}

/// Returns the time of a manual clock in microseconds, or an empty text for the clock of the store.
pub(super) fn manual_micros(clock: &Clock) -> String {
    clock.manual_elapsed().map_or_else(String::new, |elapsed| elapsed.as_micros().to_string())
}
