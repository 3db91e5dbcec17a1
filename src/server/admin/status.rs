//! The status: one snapshot, or one each second as server-sent events.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_http::{Method, StatusCode};
use bytes::Bytes;
use futures_core::Stream;

use super::{Call, Problem, Reply, no_page};
use crate::server::{
    http::{Broken, Edge},
    status::MAX_EVENT_STREAMS,
};

/// Responds to `GET /__admin/status` and `GET /__admin/events`.
pub(super) fn respond(call: &Call<'_>) -> Result<Reply, Problem> {
    call.check_parameters(&["scope"])?;
    let (edge, scope) = (call.edge, call.scope());
    match (call.method, call.segments.as_slice()) {
        (&Method::GET, ["status"]) => {
            let snapshot = edge.status.snapshot(edge, scope.as_deref());
            Ok(Reply::Json(StatusCode::OK, snapshot.value.clone()))
        }
        (&Method::GET, ["events"]) => {
            let stream = EventStream::open(edge, scope.map(|scope| scope.into_owned())).ok_or_else(|| {
                let message = format!(
                    "There are {MAX_EVENT_STREAMS} open event streams, the most; close a page, or poll GET /__admin/status."
                );
                Problem(StatusCode::SERVICE_UNAVAILABLE, message)
            })?;
            Ok(Reply::Events(stream))
        }
        _ => Err(no_page(call)),
    }
}

/// An open stream of events. It goes on until the client leaves or the server stops.
pub(super) struct EventStream {
    edge: Arc<Edge>,
    scope: Option<String>,
    /// The wait for the next sample; `None` before the first event. It returns false if the server stops.
    wait: Option<Pin<Box<dyn Future<Output = bool>>>>,
}

impl EventStream {
    /// Opens a stream. Returns `None` if there are too many.
    fn open(edge: &Arc<Edge>, scope: Option<String>) -> Option<Self> {
        edge.status.open_event_stream().then(|| EventStream { edge: Arc::clone(edge), scope, wait: None })
    }

    fn next_sample(&self) -> Pin<Box<dyn Future<Output = bool>>> {
        let (edge, mut samples) = (Arc::clone(&self.edge), self.edge.status.next_sample());
        Box::pin(async move {
            tokio::select! {
                biased;
                () = edge.stopping.wait() => false,
                sampled = samples.changed() => sampled.is_ok(),
            }
        })
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(wait) = &mut self.wait
            && !ready!(wait.as_mut().poll(context))
        {
            return Poll::Ready(None);
        }
        self.wait = Some(self.next_sample());
        let snapshot = self.edge.status.snapshot(&self.edge, self.scope.as_deref());
        Poll::Ready(Some(Ok(snapshot.event.clone())))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.edge.status.close_event_stream();
    }
}
