//! HTTP bodies that seal, open, decode and observe other bodies.
//!
//! They connect frames with the pure modules; they must not decide anything about requests or objects. They
//! promise to keep at most one chunk in memory, and that a body that ends without an error was complete and
//! verified.

mod buffer_pool;
mod data;
mod form;
mod ingest;
mod keep_alive;
mod listing;
mod metered;
mod observed;
mod open;
mod reclaim;
mod seal;
mod stream;
#[cfg(test)]
pub(crate) mod test_support;

pub use data::{DataBody, PollData};
pub use form::FormBody;
pub use ingest::{IngestBody, IngestError, Verdict};
pub use keep_alive::KeepAliveBody;
pub use listing::{EntryView, ListingBody, ListingError};
pub use metered::MeteredBody;
pub use observed::{BodyEnd, ObservedBody};
pub use open::{BoxOpener, OpenBody, OpenError, PlaintextWindow};
pub use reclaim::{Leftover, ReclaimableBody};
pub use seal::SealBody;
pub use stream::{SealStreamBody, StreamBody};
#[cfg(test)]
pub(crate) use test_support::{new_object, open_all, pattern};

/// Any error a body can fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any type, as it is sent or received.
pub type BoxBody = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;

/// A body was longer than its reader may hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is longer than {0} bytes")]
pub struct TooLong(pub usize);

/// Reads a body into memory.
///
/// # Errors
/// The body's own error, or [`TooLong`] past `limit` bytes.
pub async fn read_bounded(mut body: BoxBody, limit: usize) -> Result<bytes::Bytes, BoxError> {
    let mut whole = bytes::BytesMut::new();
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > limit - whole.len() {
                return Err(TooLong(limit).into());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// Boxes a body and its error.
pub fn boxed(
    body: impl http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
) -> BoxBody {
    http_body_util::BodyExt::boxed_unsync(http_body_util::BodyExt::map_err(body, Into::into))
}
