//! The copy of a multipart object: each stored segment becomes a part of the copy, whose ETag then has the
//! source's number of parts.
//!
//! It must not read content. If a copy fails or is cancelled, its upload is aborted.

use std::collections::BTreeMap;
use std::ops::Range;

use http::header::HeaderValue;
use http::{HeaderMap, Method, StatusCode};
use tokio::task::JoinSet;

use super::{DocumentResponse, ObjectCopy, response_checksums};
use crate::envelope::native::multipart::{Layout, PartNumber};
use crate::error::{Error, Result};
use crate::object::lost_response::Expected;
use crate::object::native::OpenedNative;
use crate::object::{layout, response_headers, upstream_response};
use crate::operation::request::copy_source::NativeSource;
use crate::s3::headers::{COPY_SOURCE_RANGE, Directive};
use crate::s3::{Checksum, Hashed, S3Error, xml};
use crate::upload::session::take_conditions;
use crate::upload::storage::{CompletedUpload, StorageUpload};
use crate::wire::header::{COPY_SOURCE_VERSION_ID, TAGGING};
use crate::wire::limits::MAX_COPY;

/// The number of parts that are copied concurrently.
const CONCURRENCY: usize = 8;

/// The part number of each segment, and the range of its bytes in the stored source.
type Segments = Vec<(PartNumber, Range<u64>)>;

/// A part that was copied.
struct CopiedPart {
    number: u16,
    /// The ETag without quotes.
    etag: String,
    source_version: Option<HeaderValue>,
}

impl ObjectCopy {
    /// Copies the source's segments as the parts of an upload, under a new envelope.
    ///
    /// # Errors
    /// `InvalidRequest` for a source of more than [`MAX_COPY`] bytes, and the errors of [`StorageUpload`].
    pub(crate) async fn copy_parts(
        &self,
        found: &NativeSource,
        unlocked: &OpenedNative,
        own: Option<Checksum>,
    ) -> Result<DocumentResponse> {
        let at = self.source.at();
        let content_key = &unlocked.opened.content_key;
        let known = layout::layout_of(&self.resources, &at, &found.identity, content_key).await?;
        let length = known.layout.plaintext_total();
        if length > MAX_COPY {
            let message = format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_COPY}"
            );
            return Err(S3Error::invalid_request(message).into());
        }
        let (mut request, write_key) = self.request(found, unlocked, own, length).await?;
        self.carry_tags(&mut request.headers).await?;
        let conditions = take_conditions(&mut request.headers);
        let expected = Expected::from_request(&request).expect("a native copy has an envelope");
        let (upload, _) = StorageUpload::create(&self.resources.upstreams, request).await?;
        let abort = upload.abort_on_drop();
        let mut source = HeaderMap::new();
        self.name_source(found, &mut source);
        let made = async {
            let copied = copy_all(&upload, &segments(&known.layout), &source).await?;
            let parts = copied.iter().map(|part| (part.number, part.etag.as_str()));
            let completed = upload.complete(parts, &conditions, &expected).await?;
            Ok::<_, Error>((copied, completed))
        };
        let (copied, completed) = abort.settle(made.await).await?;
        let (mut headers, mut result) = self.result(completed, &copied, &expected).await;
        response_headers::set_sse(&mut headers, self.sse, Some(&write_key.key_id));
        result.etag = self.rule.etag.to_client(&result.etag, Hashed::Ciphertext);
        let told = response_checksums(unlocked, own, Some(&known))?;
        Ok(DocumentResponse { headers, document: result.to_object_xml(&told) })
    }

    /// The headers and the result of the response to the copy.
    async fn result(
        &self,
        completed: CompletedUpload,
        copied: &[CopiedPart],
        expected: &Expected,
    ) -> (HeaderMap, xml::CopyResult) {
        let CompletedUpload { mut headers, result, found } = completed;
        response_headers::retain_s3(&mut headers);
        // The response to a completion does not have the time of the object.
        let found = match found {
            Some(found) => Some(found),
            None => expected.find(&self.resources.upstreams).await.ok().flatten(),
        };
        let found = found.and_then(|written| written.copy_result().ok());
        let last_modified = found.map(|found| found.last_modified).unwrap_or_default();
        if let Some(version) = copied.first().and_then(|part| part.source_version.clone()) {
            headers.insert(COPY_SOURCE_VERSION_ID, version);
        }
        (headers, xml::CopyResult { etag: result.etag().to_owned(), last_modified })
    }

    /// Sets the source's tags in the headers of the copy, unless the client replaces them.
    pub(crate) async fn carry_tags(&self, headers: &mut HeaderMap) -> Result<()> {
        if self.tagging == Directive::Replace {
            return Ok(());
        }
        let tags = self.source_tags().await?;
        if tags.is_empty() {
            headers.remove(TAGGING);
        } else {
            headers.insert(TAGGING, HeaderValue::try_from(tags).expect("it is percent-encoded"));
        }
        Ok(())
    }

    /// The source's tags as the value of `x-amz-tagging`. An upload takes tags from its first request only.
    async fn source_tags(&self) -> Result<String> {
        let mut request = self.source.at().request(Method::GET);
        request.query.push(("tagging".to_owned(), None));
        let response = self.resources.upstreams.fetch(request).await?;
        match response.status() {
            StatusCode::OK => (),
            // The storage does not implement tags, or the object has none.
            StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND => return Ok(String::new()),
            _ => return Err(upstream_response::refusal(response).await),
        }
        let (body, limit) = (response.into_body(), xml::MAX_COPY_RESPONSE);
        upstream_response::parse_body(body, limit, "Tagging", xml::tagging_to_query).await
    }
}

/// Parts keep their numbers, and a terminator has [`PartNumber::TERMINATOR`].
fn segments(layout: &Layout) -> Segments {
    let numbers = layout.parts().iter().map(|part| part.number);
    let terminator = layout.is_terminated().then_some(PartNumber::TERMINATOR);
    numbers.chain(terminator).zip(layout.segment_extents()).collect()
}

/// Copies all segments of the source that `source` names as parts of `upload`, in the order of their numbers.
/// After a failure no further copy begins. When this returns, no copy is in flight: a part that is stored
/// after the upload was aborted would stay.
///
/// # Errors
/// The error of the first copy that failed.
async fn copy_all(
    upload: &StorageUpload,
    segments: &Segments,
    source: &HeaderMap,
) -> Result<Vec<CopiedPart>> {
    // A source of less than 5 MiB can't be copied by range, and has one segment.
    let is_whole = segments.len() == 1;
    let mut waiting = segments.iter();
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

#[cfg(test)]
mod tests;
