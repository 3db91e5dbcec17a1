//! Bodies that come in, read to their end.

use std::{future::poll_fn, pin::Pin};

use actix_http::{Payload, error::PayloadError};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;

use crate::request::Body;

/// How much more than the limit is read and thrown away before the connection is given up: a client that is still
/// sending reads no answer.
const PATIENCE: u64 = 16;

/// Room that is made for a body because its head promises so much: a client that promises may send nothing.
const PROMISED: u64 = 1024 * 1024;

/// Reads a body to its end; of one that is larger than `limit` bytes nothing is kept. `promised` tells the length
/// that its head does, and is asked only of a body that comes in pieces.
pub(super) async fn read(
    mut payload: Payload,
    limit: u64,
    promised: impl Fn() -> Option<u64>,
) -> Result<Body, PayloadError> {
    let mut next = async || poll_fn(|context| Pin::new(&mut payload).poll_next(context)).await.transpose();
    let Some(first) = next().await? else { return Ok(Body::Whole(Bytes::new())) };
    let mut size = first.len() as u64;
    let Some(second) = next().await? else {
        // The usual case: all of it in one piece, which is not copied.
        return Ok(if size > limit { Body::TooLarge { limit } } else { Body::Whole(first) });
    };
    // At once, so that what has come need not be moved when there is more.
    let room = promised().unwrap_or(0).min(limit).min(PROMISED).max(size);
    let mut whole = BytesMut::with_capacity(usize::try_from(room).unwrap_or(0));
    whole.extend_from_slice(&first);
    let mut chunk = Some(second);
    while let Some(bytes) = chunk {
        size += bytes.len() as u64;
        if size <= limit {
            whole.extend_from_slice(&bytes);
        } else if size > limit.saturating_mul(PATIENCE) {
            break;
        } else {
            whole = BytesMut::new();
        }
        chunk = next().await?;
    }
    Ok(if size > limit { Body::TooLarge { limit } } else { Body::Whole(whole.freeze()) })
}
