//! The interface of a store in this process: it takes signed requests as a storage on the network does.
//! A transport knows HTTP alone, and must not know S3's operations, signatures, retries or time limits.
//! A request is sent at most once: the caller decides whether to repeat it.

use std::future::Future;
use std::pin::Pin;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::{BoxBody, UpstreamError};

/// The response that a [`Transport`] waits for, up to its head.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<BoxBody>, UpstreamError>> + Send + 'a>>;

/// Header fields as the client wrote them, each with all its values.
pub type OriginalHeaders = Vec<(HeaderName, Vec<HeaderValue>)>;

/// How many header fields a response may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadRoom {
    /// hyper's usual 100, for which it needs no extra memory.
    Usual,
    /// As many as an object's metadata can have. Memory for this number of fields takes longer to prepare
    /// than the rest of the work on a small response.
    Large,
}

/// A store in this process.
pub trait Transport: Send + Sync {
    /// Changes headers, before they are signed, to what the storage verifies. The fields that are returned
    /// replace their like after the request was signed.
    fn adapt(&self, headers: &mut HeaderMap) -> OriginalHeaders {
        _ = headers;
        OriginalHeaders::new()
    }

    /// Sends a request with an absolute URI. Dropping the future, or later the response's body, ends the
    /// exchange.
    ///
    /// # Errors
    /// `Connect` and `Timeout` when there is no connection to be had, `HeadTooLarge` when the response's head
    /// does not fit `head_room`, else `Protocol`.
    fn send(&self, request: Request<BoxBody>, head_room: HeadRoom) -> Sending<'_>;
}

/// Puts header fields back as the client wrote them.
pub(super) fn restore(headers: &mut HeaderMap, original: OriginalHeaders) {
    for (name, values) in original {
        headers.remove(&name);
        values.into_iter().for_each(|value| _ = headers.append(&name, value));
    }
}
