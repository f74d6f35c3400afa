//! How large a listed object is to its readers: arithmetic on what the listing says, else one question to the storage.
//!
//! A listing is no place to refuse: what is not ours, or damaged, keeps the size it has in the storage. What could not
//! be learned because the storage is in trouble fails, so that no wrong size is taken for a right one.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, Method, StatusCode};
use moka::future::Cache;

use super::policy::Policies;
use super::stored::StoredKeys;
use super::stored_object::{part_count, unquoted};
use crate::body::{BoxError, ListedSize};
use crate::envelope::native;
use crate::error::Error;
use crate::s3::xml::ListedEntry;
use crate::s3::{BucketName, ObjectKey};
use crate::upstream::{Upstream, UpstreamBody, UpstreamRequest};

/// How many learned sizes are remembered, of about 150 bytes each: sixty pages that hold nothing else.
const MAX_KNOWN: u64 = 60_000;
/// How long. An ETag's size does not change, but its object can be replaced by one of equal bytes and other metadata.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// What a listing alone says of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// So many bytes of plaintext.
    Size(u64),
    /// Not enough: the object's metadata must be asked.
    TooLittle,
}

/// The plaintext's length, from the ETag and the stored length that a listing gives.
fn told(etag: Option<&str>, stored: u64) -> Told {
    // Shorter than any object of ours: a folder's marker, mostly.
    if stored < native::TAG as u64 {
        return Told::Size(stored);
    }
    match etag.and_then(part_count) {
        None => native::plaintext_length(stored).map_or(Told::TooLittle, Told::Size),
        Some(_) => Told::TooLittle,
    }
}

/// The plaintext's length, from the metadata of an object; `None` if it is not ours, or not one that can be opened.
fn told_by_metadata(metadata: &HeaderMap, stored: u64) -> Option<u64> {
    let keys = StoredKeys::from_headers(metadata).ok()?;
    if keys.envelope().is_multipart() {
        return None;
    }
    native::plaintext_length(stored).ok()
}

/// Sizes that the storage was asked for. Cloning shares them.
#[derive(Clone)]
pub struct LearnedSizes(Cache<[u8; 32], u64>);

impl Default for LearnedSizes {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_KNOWN).time_to_live(MAX_AGE).build())
    }
}

/// Why no size was learned.
#[derive(Debug, thiserror::Error)]
enum Unlearned {
    /// Deleted or overwritten since it was listed, or not ours to look at.
    #[error("the object is not the listed one any more")]
    Gone,
    /// The storage did not answer as it should.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Sizes for one listing of one bucket.
pub(super) struct SizeReader {
    pub(super) upstream: Upstream,
    pub(super) policies: Policies,
    pub(super) learned: LearnedSizes,
    pub(super) bucket: BucketName,
    /// What the client sent for the storage to check: expected owner, who pays.
    pub(super) headers: HeaderMap,
}

/// What a listing says about one object.
struct Listed {
    object: ObjectKey,
    version_id: Option<String>,
    etag: Option<String>,
    stored: u64,
}

impl SizeReader {
    /// The size of one entry.
    pub(super) fn size_of(self: &Arc<Self>, entry: &ListedEntry) -> ListedSize {
        if self.policies.of_object(&self.bucket, &entry.object).is_err() {
            return ListedSize::Known(entry.size);
        }
        match told(entry.etag.as_deref(), entry.size) {
            Told::Size(size) => ListedSize::Known(size),
            Told::TooLittle => {
                let listed = Listed {
                    object: entry.object.clone(),
                    version_id: entry.version_id.clone(),
                    etag: entry.etag.clone(),
                    stored: entry.size,
                };
                ListedSize::Asked(Box::pin(Arc::clone(self).learn(listed)))
            }
        }
    }

    /// From memory, else from the storage; who asks for the same object meanwhile waits for the same answer.
    async fn learn(self: Arc<Self>, listed: Listed) -> Result<u64, BoxError> {
        let fingerprint = listed.fingerprint(&self.bucket);
        let outcome = self.learned.0.try_get_with(fingerprint, self.ask(&listed)).await;
        match outcome {
            Ok(size) => Ok(size),
            Err(unlearned) => match &*unlearned {
                Unlearned::Gone => Ok(listed.stored),
                Unlearned::Failed(_) => Err(unlearned.into()),
            },
        }
    }

    async fn ask(&self, listed: &Listed) -> Result<u64, Unlearned> {
        metrics::counter!("s3veil_listing_extra_reads_total").increment(1);
        let version = listed.version_id.as_ref().filter(|version| !version.is_empty());
        let request = UpstreamRequest {
            method: Method::HEAD,
            bucket: Some(self.bucket.clone()),
            object: Some(listed.object.clone()),
            query: version
                .map(|version| ("versionId".to_owned(), Some(version.clone())))
                .into_iter()
                .collect(),
            headers: self.headers.clone(),
            body: UpstreamBody::Empty,
        };
        let response = self.upstream.send(request).await.map_err(Error::from)?;
        let metadata = response.headers();
        match response.status() {
            StatusCode::OK if listed.is(metadata) => {
                Ok(told_by_metadata(metadata, listed.stored).unwrap_or(listed.stored))
            }
            StatusCode::OK
            | StatusCode::BAD_REQUEST
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED => Err(Unlearned::Gone),
            status => {
                tracing::debug!(%status, object_key = ?listed.object, "no metadata of a listed object");
                Err(Error::UnexpectedAnswer("a question for a listed object's metadata with an error").into())
            }
        }
    }
}

impl Listed {
    /// What a size is remembered by: SHA-256 over all that identifies the bytes, each behind its length. Of one size,
    /// so that the longest key takes no more memory than any other.
    fn fingerprint(&self, bucket: &BucketName) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        let version = self.version_id.as_deref().unwrap_or_default();
        let etag = self.etag.as_deref().unwrap_or_default();
        for part in [bucket.as_str(), self.object.as_str(), version, etag] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(&self.stored.to_be_bytes());
        hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Whether metadata speak of the object that was listed.
    fn is(&self, metadata: &HeaderMap) -> bool {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let length = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let etags = text(ETAG).zip(self.etag.as_deref());
        length == Some(self.stored) && etags.is_none_or(|(one, other)| unquoted(one) == unquoted(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_one_put_are_sized_by_arithmetic() {
        let etag = Some("\"d41d8cd98f00b204e9800998ecf8427e\"");
        for (stored, size) in [(16, 0), (17, 1), (65_552, 65_536), (65_569, 65_537), (131_104, 131_072)] {
            assert_eq!(told(etag, stored), Told::Size(size));
            assert_eq!(told(None, stored), Told::Size(size));
        }
    }

    #[test]
    fn what_no_object_of_ours_can_be_keeps_its_size() {
        for stored in [0, 1, 15] {
            assert_eq!(told(None, stored), Told::Size(stored));
        }
    }

    #[test]
    fn impossible_lengths_and_multipart_etags_need_a_question() {
        for stored in [65_553, 65_568] {
            assert_eq!(told(None, stored), Told::TooLittle);
        }
        assert_eq!(told(Some("\"d41d8cd98f00b204e9800998ecf8427e-3\""), 1000), Told::TooLittle);
    }
}
