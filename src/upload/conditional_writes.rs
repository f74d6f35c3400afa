//! Whether the storage honours `If-None-Match: *` on writes, found out with an object of the proxy's own.
//!
//! It must not know clients. No write is called conditional before the storage refused one like it in the
//! same bucket, because its object existed.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{Method, Response, StatusCode};
use moka::future::Cache;
use uuid::Uuid;

use super::Resources;
use super::storage::StorageUpload;
use crate::body::BoxBody;
use crate::envelope::native::multipart::PartNumber;
use crate::error::{Error, Result};
use crate::object::location::account_headers;
use crate::object::lost_response::Expected;
use crate::object::upstream_response::{pass, refusal};
use crate::s3::headers::{COPY_SOURCE, METADATA_DIRECTIVE};
use crate::s3::{BucketName, CopySource, ErrorCode, ObjectKey, Operation, S3Error};
use crate::upstream::{UpstreamBody, UpstreamRequest, Upstreams};
use crate::wire::header::VERSION_ID;
use crate::wire::limits::MAX_OBJECT_KEY;

/// The key of the object that is written, without the prefix and a random end.
const NAME: &str = "s3veil-append-probe-";

/// Whether a key is that of an object by which a storage is tried: of another process at this moment, or of
/// one that was killed before it removed the object.
pub(crate) fn is_probe(object_key: &str) -> bool {
    let is_random = |end: &str| end.len() == 32 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    object_key.rsplit_once(NAME).is_some_and(|(_, end)| is_random(end))
}

/// Max buckets that are remembered, of about 100 bytes each.
const MAX_BUCKETS: u64 = 10_000;

/// The writes on which a storage honours `If-None-Match: *`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionalWrites {
    /// PutObject.
    pub put: bool,
    /// CompleteMultipartUpload.
    pub complete: bool,
    /// CopyObject.
    pub copy: bool,
}

/// What is known of each bucket. Clones share it.
#[derive(Clone)]
pub struct KnownConditionalWrites(Cache<BucketName, ConditionalWrites>);

impl Default for KnownConditionalWrites {
    fn default() -> Self {
        Self(Cache::new(MAX_BUCKETS))
    }
}

impl Resources {
    /// The conditional writes that the storage honours in a bucket: as remembered, else tried with an object
    /// whose key has this prefix, which is removed afterwards.
    ///
    /// # Errors
    /// The storage's, where it refuses or fails; it is tried again by the next call.
    pub async fn find_conditional_writes(
        &self,
        bucket: &BucketName,
        prefix: &str,
        account: HeaderMap,
    ) -> Result<ConditionalWrites> {
        let KnownConditionalWrites(known) = &self.conditional_writes;
        let trial = async {
            let probe = Probe::new(&self.object.upstreams, bucket, prefix, account)?;
            // A task of its own: a client that leaves would leave the object behind.
            tokio::spawn(probe.run()).await.unwrap_or(Err(Error::Panicked))
        };
        known.try_get_with_by_ref(bucket, Box::pin(trial)).await.map_err(Error::Shared)
    }

    /// Refuses an operation that stores an object where its condition `If-None-Match: *` would not be
    /// honoured.
    ///
    /// # Errors
    /// `NotImplemented`, and as [`Self::find_conditional_writes`].
    pub(crate) async fn require_conditional_writes(
        &self,
        operation: Operation,
        bucket: &BucketName,
        prefix: &str,
        request: &HeaderMap,
    ) -> Result<()> {
        let found = self.find_conditional_writes(bucket, prefix, account_headers(request)).await?;
        let ConditionalWrites { put, complete, copy } = found;
        let is_upload =
            matches!(operation, Operation::CreateMultipartUpload | Operation::CompleteMultipartUpload);
        // A form of a large file becomes an upload. By its source, a copy is one of the storage's, an upload,
        // or read and written by the proxy.
        let is_honoured = (put || is_upload)
            && (complete || operation == Operation::PutObject)
            && (copy || operation != Operation::CopyObject);
        if is_honoured {
            return Ok(());
        }
        let message = format!(
            "The storage ignores If-None-Match on {operation}, so it would overwrite an existing object, for which this \
             client does not have the right."
        );
        Err(S3Error::not_implemented(message).into())
    }
}

/// An object of the proxy's own that must not be overwritten.
struct Probe {
    upstreams: Upstreams,
    bucket: BucketName,
    object_key: ObjectKey,
    account: HeaderMap,
    /// The versions that the writes made; `None` for a bucket without versions.
    versions: Vec<Option<HeaderValue>>,
}

impl Probe {
    fn new(upstreams: &Upstreams, bucket: &BucketName, prefix: &str, account: HeaderMap) -> Result<Self> {
        let name = format!("{NAME}{}", Uuid::new_v4().simple());
        let room = prefix.floor_char_boundary(MAX_OBJECT_KEY - name.len());
        let object_key = ObjectKey::parse(format!("{}{name}", &prefix[..room]))?;
        let (upstreams, bucket) = (upstreams.clone(), bucket.clone());
        Ok(Self { upstreams, bucket, object_key, account, versions: Vec::new() })
    }

    async fn run(mut self) -> Result<ConditionalWrites> {
        let found = self.find_out().await;
        self.remove().await;
        found
    }

    /// Writes the object, then tries to overwrite it in each way.
    async fn find_out(&mut self) -> Result<ConditionalWrites> {
        let none = ConditionalWrites { put: false, complete: false, copy: false };
        match self.put(HeaderMap::new()).await? {
            Outcome::Written => {}
            Outcome::Refused => return Err(S3Error::from(ErrorCode::PreconditionFailed).into()),
            Outcome::NotImplemented => return Ok(none),
        }
        if self.put(HeaderMap::new()).await? != Outcome::Refused {
            return Ok(none);
        }
        let source =
            CopySource { bucket: self.bucket.clone(), object: self.object_key.clone(), version_id: None };
        let source = HeaderValue::try_from(source.to_header()).expect("it is percent-encoded");
        let onto_itself = HeaderMap::from_iter([
            (HeaderName::from_static(COPY_SOURCE), source),
            (HeaderName::from_static(METADATA_DIRECTIVE), HeaderValue::from_static("REPLACE")),
        ]);
        let copy = self.put(onto_itself).await? == Outcome::Refused;
        Ok(ConditionalWrites { put: true, complete: self.complete().await?, copy })
    }

    fn request(&self, method: Method) -> UpstreamRequest {
        let mut request = UpstreamRequest::new(method, &self.bucket, &self.object_key);
        request.headers = self.account.clone();
        request
    }

    /// A PUT of an empty object, or of a copy, on the condition that the object does not exist.
    async fn put(&mut self, headers: HeaderMap) -> Result<Outcome> {
        let mut request = self.request(Method::PUT);
        if headers.is_empty() {
            request.body = UpstreamBody::Content(Bytes::new());
        }
        request.headers.extend(headers);
        request.headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let response = match self.upstreams.send(request).await {
            Ok(response) => response,
            Err(error) => {
                self.versions.push(None);
                return Err(error.into());
            }
        };
        if response.status().is_success() {
            self.versions.push(response.headers().get(VERSION_ID).cloned());
        }
        Outcome::from_response(response).await
    }

    /// Whether an upload of one part that is completed on the condition is refused.
    async fn complete(&mut self) -> Result<bool> {
        let (upload, _) = StorageUpload::create(&self.upstreams, self.request(Method::POST)).await?;
        let completed = async {
            let number = PartNumber::new(1).expect("parts begin with 1");
            let content = UpstreamBody::Content(Bytes::from_static(b"\0"));
            let (etag, _) = upload.put_part(number, content).await?;
            let condition = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))]);
            let parts = [(number.value(), etag.as_str())];
            // No object has this envelope.
            let envelope = HeaderValue::from_static(NAME);
            let expected = Expected::new(&self.bucket, &self.object_key, envelope, self.account.clone());
            upload.complete(parts, &condition, &expected).await
        };
        let outcome = completed.await;
        if outcome.is_err() {
            upload.abort().await;
        }
        match outcome {
            Ok(completed) => {
                self.versions.push(completed.headers.get(VERSION_ID).cloned());
                Ok(false)
            }
            Err(error) if is_unmet(&error) => Ok(true),
            Err(error) if error.refusal_status() == Some(StatusCode::NOT_IMPLEMENTED) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the object, each version of it by its id. A failure is logged, not returned.
    async fn remove(self) {
        for version in &self.versions {
            let mut request = self.request(Method::DELETE);
            let version = version.as_ref().and_then(|version| version.to_str().ok());
            request.query.extend(version.map(|id| ("versionId".to_owned(), Some(id.to_owned()))));
            let outcome = match self.upstreams.send(request).await {
                Ok(response) => pass(response).await.map(drop),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = outcome {
                let Self { bucket, object_key, .. } = &self;
                tracing::warn!(%error, %bucket, %object_key, "the object that tried conditional writes was not removed");
            }
        }
    }
}

/// The outcome of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    Refused,
    NotImplemented,
}

impl Outcome {
    /// # Errors
    /// The storage's refusal or failure for another reason.
    async fn from_response(response: Response<BoxBody>) -> Result<Self> {
        match response.status() {
            StatusCode::PRECONDITION_FAILED => Ok(Self::Refused),
            StatusCode::NOT_IMPLEMENTED => Ok(Self::NotImplemented),
            status if status.is_success() => Ok(Self::Written),
            _ => Err(refusal(response).await),
        }
    }
}

/// Whether the storage refused because of the condition, also behind a status of 200.
fn is_unmet(error: &Error) -> bool {
    let is_code = matches!(error, Error::Refused(refused) if refused.code == ErrorCode::PreconditionFailed);
    is_code || error.refusal_status() == Some(StatusCode::PRECONDITION_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_of_a_probe_is_one() {
        let random = Uuid::new_v4().simple();
        assert!(is_probe(&format!("{NAME}{random}")) && is_probe(&format!("db1/{NAME}{random}")));
        for key in [NAME.to_owned(), format!("{NAME}{random}0"), format!("{NAME}{}", "x".repeat(32))] {
            assert!(!is_probe(&key), "{key}");
        }
    }
}
