//! A page that is rendered while it is sent.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;

use super::{BodySource, Broken, SentBody};

/// The pieces of a page. None is empty.
pub(crate) struct Pieces(Box<dyn Iterator<Item = Bytes>>);

impl Pieces {
    pub(in crate::server) fn new(pieces: impl Iterator<Item = Bytes> + 'static) -> Self {
        Pieces(Box::new(pieces))
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

impl From<Pieces> for SentBody {
    fn from(pieces: Pieces) -> Self {
        BodySource::Socket(Box::pin(pieces)).into()
    }
}
