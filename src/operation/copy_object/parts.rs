//! The copy of a multipart object: each stored segment becomes a part of the copy, whose ETag then has the
//! source's number of parts.
//!
//! It must not read content. If a copy fails or is cancelled, its upload is aborted.

use http::HeaderMap;
use http::header::HeaderValue;

use super::{DocumentResponse, ObjectCopy, response_checksums};
use crate::error::{Error, Result};
use crate::object::lost_response::Expected;
use crate::object::native::OpenedNative;
use crate::object::{layout, response_headers};
use crate::operation::request::copy_source::NativeSource;
use crate::s3::headers::Directive;
use crate::s3::{Checksum, Hashed, S3Error, xml};
use crate::upload::part_copies::{CopiedPart, copy_parts, segments};
use crate::upload::session::take_conditions;
use crate::upload::storage::{CompletedUpload, StorageUpload};
use crate::upload::tags::object_tags;
use crate::wire::header::{COPY_SOURCE_VERSION_ID, TAGGING};
use crate::wire::limits::MAX_COPY;

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
            let copied = copy_parts(&upload, &segments(&known.layout), &source).await?;
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
        let tags = object_tags(&self.resources.upstreams, &self.source.at()).await?;
        if tags.is_empty() {
            headers.remove(TAGGING);
        } else {
            headers.insert(TAGGING, HeaderValue::try_from(tags).expect("it is percent-encoded"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
