//! Describes a stored object without its content: metadata, the plaintext's length, and where its parts lie.
//!
//! It must not know operations or client requests. A length that was not authenticated is the one that the
//! storage claims; a layout and a checksum are returned only if they were authenticated. The length of the
//! body of one PUT is authenticated where that takes no call of the key service.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, response};

use super::checksums::{kept_checksums, may_carry_checksum};
use super::foreign::{self, DetectedFormat, ForeignEnvelope, Source};
use super::location::{ObjectIdentity, ObjectLocation, ReceivedRange, etag_of};
use super::native::{NativeMetadata, OpenedNative};
use super::rule::BucketRule;
use super::{layout, upstream_response};
use crate::envelope::native::multipart::Layout;
use crate::envelope::native::{FormatError, SseAlgorithm};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::Resources;
use crate::s3::checksum::ObjectChecksum;
use crate::s3::{BucketName, CustomerKey, Hashed, ObjectKey};

/// How often an object may be replaced while its layout is read before the reader gets an error to retry.
const MAX_ATTEMPTS: usize = 3;

/// The object to describe, and how much of it has to be known.
pub(crate) struct DescribeRequest<'a> {
    pub(crate) bucket: &'a BucketName,
    pub(crate) object_key: &'a ObjectKey,
    /// Query parameters for the storage: `versionId`, `response-…`.
    pub(crate) query: Vec<(String, Option<String>)>,
    /// Headers for the storage, conditions among them.
    pub(crate) headers: HeaderMap,
    /// Whether the layout of a multipart upload has to be known, and not only its length.
    pub(crate) needs_layout: bool,
    /// Whether the object's checksum has to be known, for which the envelope is opened.
    pub(crate) needs_checksum: bool,
    /// The customer key that the client's request has for this object.
    pub(crate) customer_key: Option<CustomerKey>,
}

/// A stored object as a HEAD describes it.
pub(crate) struct DescribedObject {
    /// The head of the storage's response, unchanged.
    pub(crate) head: response::Parts,
    /// The keys that its metadata hold.
    pub(crate) keys: ObjectKeys,
    /// Plaintext length in bytes. Authentic for the body of one PUT if `key_id` is here, and for a multipart
    /// upload if `layout` is; else as the storage claims. For an archived object whose length only its
    /// content could show: the length recorded when the upload was completed, else the stored bytes, as in
    /// listings.
    pub(crate) plaintext_total: u64,
    /// The layout of a multipart upload, if it was needed for the length, the checksum or the caller.
    pub(crate) layout: Option<Arc<Layout>>,
    /// The checksums, if they were requested and the object is native.
    pub(crate) checksums: Option<Vec<ObjectChecksum>>,
    /// The name of the key that wrapped the data key, if the envelope was authenticated.
    pub(crate) key_id: Option<Arc<str>>,
}

/// The keys of a described object.
pub(crate) enum ObjectKeys {
    /// The wrapped key and the envelope of a native object.
    Native(NativeMetadata),
    /// The envelope of an object in another format, or in plaintext.
    Foreign(ForeignEnvelope),
}

impl ObjectKeys {
    /// The name of the key that probably wrapped the data key, as far as it is known without a call of the
    /// key service. `None` for an object that is not encrypted.
    pub(crate) async fn likely_key_id(
        &self,
        resources: &Resources,
        rule: &BucketRule,
        bucket: &BucketName,
    ) -> Option<Arc<str>> {
        match self {
            Self::Native(stored) => stored.likely_key_id(&resources.keyring, rule, bucket).await,
            Self::Foreign(foreign) if foreign.is_encrypted() => {
                resources.keyring.allowed_keys(&rule.keys).next().map(|key_id| key_id.as_str().into())
            }
            Self::Foreign(_) => None,
        }
    }

    /// The bytes whose hash the object's ETag is, where the ETag is a hash.
    pub(crate) fn hashed(&self) -> Hashed {
        if self.is_encrypted() { Hashed::Ciphertext } else { Hashed::Plaintext }
    }

    /// The algorithm that response headers report, for an encrypted object.
    pub(crate) fn sse(&self) -> SseAlgorithm {
        match self {
            Self::Native(stored) => stored.envelope().sse(),
            Self::Foreign(_) => SseAlgorithm::AwsKms,
        }
    }

    /// Whether the object is encrypted, in whichever format.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Self::Native(_) => true,
            Self::Foreign(foreign) => foreign.is_encrypted(),
        }
    }
}

/// Describes an object by one HEAD, and by small reads of its layout where the layout is needed and not
/// cached. A rule must serve the object's name.
///
/// # Errors
/// [`Error::NotReadable`] when the object is of a format that the bucket does not read, a format error when
/// it can't be what was sealed.
pub(crate) async fn describe_object(
    resources: &Resources,
    description: DescribeRequest<'_>,
) -> Result<Box<DescribedObject>> {
    let rule = resources.policies.for_object(description.bucket, description.object_key)?;
    for _ in 0..MAX_ATTEMPTS {
        match attempt(resources, rule, &description).await {
            Err(error) if error.is_replaced() || error.is_broken_off() => {}
            outcome => return outcome,
        }
    }
    Err(Error::Replaced)
}

/// The proven layout of a multipart object, as `s3veil inspect` prints it.
///
/// # Errors
/// [`Error::NotReadable`] for a format that the bucket's rule does not read, a format error for an object
/// that is not as it was sealed, and [`Error::UnexpectedResponse`] when there is no such object, or it was
/// written by one PUT.
pub async fn object_layout(
    resources: &Resources,
    bucket: &BucketName,
    object_key: &ObjectKey,
) -> Result<Arc<Layout>> {
    let description = DescribeRequest {
        bucket,
        object_key,
        query: Vec::new(),
        headers: HeaderMap::new(),
        needs_layout: true,
        needs_checksum: false,
        customer_key: None,
    };
    let described = describe_object(resources, description).await?;
    described.layout.ok_or(Error::UnexpectedResponse(UnexpectedResponse::NotMultipart))
}

async fn attempt(
    resources: &Resources,
    rule: &BucketRule,
    description: &DescribeRequest<'_>,
) -> Result<Box<DescribedObject>> {
    let DescribeRequest { bucket, object_key, query, headers, .. } = description;
    let at = ObjectLocation::from_request(bucket, object_key, query, headers);
    let mut request = at.request(Method::HEAD);
    request.query.clone_from(query);
    request.headers.clone_from(headers);
    let response = resources.upstreams.send(request).await?;
    if response.status() != StatusCode::OK {
        return Err(upstream_response::refusal(response).await);
    }
    let (mut head, _) = response.into_parts();
    let stored_total = ReceivedRange::from_head(&head.headers)?.total;
    let stored = match foreign::detect(rule, &head.headers)? {
        DetectedFormat::Native(stored) => stored,
        DetectedFormat::Foreign(_) if description.customer_key.is_some() => {
            return Err(FormatError::CustomerKeySurplus.into());
        }
        DetectedFormat::Foreign(metadata) => {
            let source = Source { resources, rule, at: &at };
            let foreign = Box::pin(ForeignEnvelope::resolve(&source, metadata, stored_total)).await?;
            let etag = etag_of(&head.headers).ok_or(UnexpectedResponse::Missing("ETag"))?;
            let plaintext_total = match Box::pin(foreign.length(&source, etag, stored_total)).await {
                // A foreign object is no multipart upload, so no completed upload recorded its length.
                Err(error) if error.is_archived() => stored_total,
                length => length?,
            };
            foreign::hide(&foreign, &mut head.headers);
            let keys = ObjectKeys::Foreign(foreign);
            let (layout, checksums, key_id) = (None, None, None);
            let described = DescribedObject { head, keys, plaintext_total, layout, checksums, key_id };
            return Ok(Box::new(described));
        }
    };
    native_object(resources, rule, &at, description, Native { head, stored, stored_total }).await
}

/// A native object as the response to HEAD describes it.
struct Native {
    head: response::Parts,
    stored: NativeMetadata,
    stored_total: u64,
}

async fn native_object(
    resources: &Resources,
    rule: &BucketRule,
    at: &ObjectLocation<'_>,
    description: &DescribeRequest<'_>,
    object: Native,
) -> Result<Box<DescribedObject>> {
    let Native { head, stored, stored_total } = object;
    let DescribeRequest { bucket, object_key, needs_layout, needs_checksum, customer_key, .. } = description;
    let unlock = || stored.unlock(&resources.keyring, rule, (bucket, object_key), customer_key.as_ref());
    // Only the opened envelope shows whether the customer key is the object's.
    let is_unlocked = *needs_checksum || customer_key.is_some() || stored.envelope().has_customer_key();
    let unlocked = if is_unlocked { Some(unlock().await?) } else { None };
    let is_carried = *needs_checksum
        && unlocked.as_ref().is_some_and(|found| may_carry_checksum(&found.opened.attributes));
    let (plaintext_total, known) = if let Some(total) = stored.envelope().body().put_length(stored_total)? {
        (total, None)
    } else {
        let identity = ObjectIdentity::from_headers(&head.headers, &stored, stored_total)?;
        match identity.plaintext_total()? {
            Some(total) if !needs_layout && !is_carried => (total, None),
            Some(_) | None => {
                let known = match (resources.layout_cache.known(at, &identity).await, &unlocked) {
                    (Some(known), _) => Ok(known),
                    (None, Some(OpenedNative { opened, .. })) => {
                        layout::layout_of(resources, at, &identity, &opened.content_key).await
                    }
                    (None, None) => {
                        let OpenedNative { opened, .. } = unlock().await?;
                        layout::layout_of(resources, at, &identity, &opened.content_key).await
                    }
                };
                match (known, identity.plaintext_total()?) {
                    // The last segment of an archived object, and so its checksum, can't be read.
                    (Err(error), Some(total)) if error.is_archived() && !needs_layout => (total, None),
                    (Err(error), None) if error.is_archived() && !needs_layout => {
                        let etag = etag_of(&head.headers).unwrap_or_default();
                        let size = resources.size_cache.completed_size(bucket, object_key, etag).await;
                        (size.unwrap_or(stored_total), None)
                    }
                    (Err(error), _) => return Err(error),
                    (Ok(known), _) => (known.layout.plaintext_total(), Some(known)),
                }
            }
        }
    };
    let (checksums, key_id) = match unlocked {
        Some(OpenedNative { opened, key_id }) if *needs_checksum => {
            (Some(kept_checksums(&opened.attributes, known.as_deref())?), Some(key_id))
        }
        Some(OpenedNative { key_id, .. }) => (None, Some(key_id)),
        None if stored.envelope().is_multipart() => (None, None),
        None => (None, stored.authenticate_cached(&resources.keyring, rule, (bucket, object_key)).await?),
    };
    let (keys, layout) = (ObjectKeys::Native(stored), known.map(|known| known.layout.clone()));
    let described = DescribedObject { head, keys, plaintext_total, layout, checksums, key_id };
    Ok(Box::new(described))
}
