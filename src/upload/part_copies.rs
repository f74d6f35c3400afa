//! Parts that the storage copies from an object it has: how a multipart object is copied, so that it stays
//! one.
//!
//! It must not know keys or envelopes, and reads no content. It promises that no copy is in flight when it
//! returns: a part that is stored after its upload was aborted would stay.

use std::collections::BTreeMap;
use std::ops::Range;

use http::header::{HeaderMap, HeaderValue};
use tokio::task::JoinSet;

use super::storage::StorageUpload;
use crate::envelope::native::multipart::{Layout, PartNumber};
use crate::error::{Error, Result};
use crate::s3::headers::COPY_SOURCE_RANGE;
use crate::wire::header::COPY_SOURCE_VERSION_ID;

/// The number of parts that are copied concurrently.
const CONCURRENCY: usize = 8;

/// The number of each part, and the range of its bytes in the stored source.
pub(crate) type PartRanges = Vec<(PartNumber, Range<u64>)>;

/// A part that was copied.
pub(crate) struct CopiedPart {
    pub(crate) number: u16,
    /// The ETag without quotes.
    pub(crate) etag: String,
    pub(crate) source_version: Option<HeaderValue>,
}

/// The parts of a native object: they keep their numbers, and a terminator has [`PartNumber::TERMINATOR`].
pub(crate) fn segments(layout: &Layout) -> PartRanges {
    let numbers = layout.parts().iter().map(|part| part.number);
    let terminator = layout.is_terminated().then_some(PartNumber::TERMINATOR);
    numbers.chain(terminator).zip(layout.segment_extents()).collect()
}

/// Copies the ranges of the source that the headers `source` name as parts of `upload`, in the order of their
/// numbers. After a failure no further copy begins.
///
/// # Errors
/// The error of the first copy that failed.
pub(crate) async fn copy_parts(
    upload: &StorageUpload,
    parts: &PartRanges,
    source: &HeaderMap,
) -> Result<Vec<CopiedPart>> {
    // A source of less than 5 MiB can't be copied by range, and has one part.
    let is_whole = parts.len() == 1;
    let mut waiting = parts.iter();
    let mut running = JoinSet::new();
    let (mut copied, mut failure) = (BTreeMap::new(), None);
    loop {
        while failure.is_none() && running.len() < CONCURRENCY {
            let Some((number, stored)) = waiting.next() else { break };
            let mut headers = source.clone();
            if !is_whole {
                let range = format!("bytes={}-{}", stored.start, stored.end - 1);
                let range = HeaderValue::try_from(range).expect("digits are a header value");
                headers.insert(COPY_SOURCE_RANGE, range);
            }
            let (upload, number) = (upload.clone(), *number);
            running.spawn(async move {
                let (etag, mut headers) = upload.copy_part(number, headers).await?;
                let source_version = headers.remove(COPY_SOURCE_VERSION_ID);
                Ok(CopiedPart { number: number.value(), etag, source_version })
            });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(Ok(part))) => _ = copied.insert(part.number, part),
            Some(Ok(Err(error))) => failure = failure.or(Some(error)),
            Some(Err(_)) => failure = failure.or(Some(Error::Panicked)),
        }
    }
    failure.map_or_else(|| Ok(copied.into_values().collect()), Err)
}
