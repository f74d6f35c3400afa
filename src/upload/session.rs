//! A multipart upload that is not complete: its id holds the sealed upload token, which is opened and
//! verified first (F-49 to F-52).

use std::sync::Arc;

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};

use crate::envelope::native::multipart::{
    Layout, SegmentEnd, SegmentEntropy, seal_terminator, seal_terminator_for_end_key,
};
use crate::envelope::native::{Envelope, FormatError, UploadChecksum, UploadTarget, UploadToken};
use crate::envelope::{ContentKey, EndKey};
use crate::error::{Error, Result};
use crate::object::native::NativeMetadata;
use crate::s3::headers::SSE;
use crate::s3::{BucketName, Checksum, ChecksumAlgorithm, CustomerKey, ErrorCode, ObjectKey, S3Error};
use crate::upload::Resources;
use crate::upstream::UpstreamRequest;

/// Takes the client's conditions on the object out of the headers that create an upload. They apply when the
/// upload is completed.
pub(crate) fn take_conditions(request: &mut HeaderMap) -> HeaderMap {
    let names = [IF_MATCH, IF_NONE_MATCH];
    names.into_iter().filter_map(|name| Some((name.clone(), request.remove(name)?))).collect()
}

/// An upload whose token was verified for this bucket and object.
pub(crate) struct Upload {
    /// The storage's id of the upload.
    pub(crate) upstream_id: String,
    secret: UploadSecret,
    /// The id of the key that wrapped the data key.
    pub(crate) key_id: Arc<str>,
    /// The envelope of the object.
    pub(crate) envelope: Envelope,
    checksum: UploadChecksum,
    /// The checksum that the object's last segment must carry, as the envelope announces it (F-54).
    announced: UploadChecksum,
}

/// The key of the object that an upload makes.
enum UploadSecret {
    /// All of it can be sealed.
    Content(Arc<ContentKey>),
    /// The object has a customer key, which the request does not have: the upload can be completed.
    End(EndKey),
}

/// S3's sentence for a part whose request has no customer key, of an upload that has one, or the reverse.
const NEEDS_SAME_KEY: &str = "The multipart upload initiate requested encryption. Subsequent part requests must include \
                              the appropriate encryption parameters.";
/// S3's sentence for a request without a customer key that needs one.
const NEEDS_KEY: &str = "Requests specifying Server Side Encryption with Customer provided keys must provide an \
                         appropriate secret key.";
/// S3's sentence for a part whose request has another customer key than its upload.
const OTHER_KEY: &str = "The provided encryption parameters did not match the ones used originally.";

impl Upload {
    /// The upload that a request names, with the keys to seal its parts.
    ///
    /// # Errors
    /// `NoSuchUpload` for an id that is not this upload's, or a storage's own id that is not in the cache;
    /// `InvalidRequest` for another customer key than that of the upload; the keyring's error when the key
    /// service refuses or is unavailable.
    pub(crate) async fn for_part(
        resources: &Resources,
        name: (&BucketName, &ObjectKey),
        id: &str,
        customer_key: Option<&CustomerKey>,
    ) -> Result<Self> {
        let token = Self::token(resources, name.0, id).await?;
        Self::open(resources, name, token, customer_key).await
    }

    /// The upload that a request names, to be listed, completed or aborted, which takes no customer key. If
    /// there is one, it must be the upload's.
    ///
    /// # Errors
    /// The errors of [`Self::for_part`].
    pub(crate) async fn to_end(
        resources: &Resources,
        name: (&BucketName, &ObjectKey),
        id: &str,
        customer_key: Option<&CustomerKey>,
    ) -> Result<Self> {
        let token = Self::token(resources, name.0, id).await?;
        if customer_key.is_none() && token.envelope().has_customer_key() {
            return Self::open_end(resources, name, token).await;
        }
        Self::open(resources, name, token, customer_key).await
    }

    /// The token that an upload id is, or that is known for it.
    async fn token(resources: &Resources, bucket: &BucketName, id: &str) -> Result<UploadToken> {
        if let Ok(token) = UploadToken::parse(id) {
            return Ok(token);
        }
        let text = resources.upload_cache.token(bucket, id).await;
        text.and_then(|text| UploadToken::parse(&text).ok()).ok_or_else(no_such_upload)
    }

    async fn open(
        resources: &Resources,
        name: (&BucketName, &ObjectKey),
        token: UploadToken,
        customer_key: Option<&CustomerKey>,
    ) -> Result<Self> {
        let rule = resources.policies.for_object(name.0, name.1)?;
        let metadata = NativeMetadata::from_token(&token);
        let unlocked = metadata.unlock(&resources.keyring, rule, name, customer_key).await;
        let unlocked = unlocked.map_err(into_error_of_upload)?;
        let content_key = Arc::new(unlocked.opened.content_key);
        token.verify(&content_key, target(name)).map_err(|_| no_such_upload())?;
        resources.upload_cache.remember(name.0, &token).await;
        let announced = unlocked.opened.attributes.upload_checksum();
        Ok(Self::new(&token, UploadSecret::Content(content_key), unlocked.key_id, announced))
    }

    async fn open_end(
        resources: &Resources,
        name: (&BucketName, &ObjectKey),
        token: UploadToken,
    ) -> Result<Self> {
        let rule = resources.policies.for_object(name.0, name.1)?;
        let metadata = NativeMetadata::from_token(&token);
        let unlocked = metadata.unlock_end(&resources.keyring, rule, name).await;
        let (end_key, key_id) = unlocked.map_err(into_error_of_upload)?;
        token.verify(&end_key, target(name)).map_err(|_| no_such_upload())?;
        resources.upload_cache.remember(name.0, &token).await;
        // No object that was to have a checksum is completed without the content key.
        Ok(Self::new(&token, UploadSecret::End(end_key), key_id, UploadChecksum::Undeclared))
    }

    fn new(token: &UploadToken, secret: UploadSecret, key_id: Arc<str>, announced: UploadChecksum) -> Self {
        Self {
            upstream_id: token.upstream_id().to_owned(),
            secret,
            key_id,
            envelope: token.envelope().clone(),
            checksum: token.checksum(),
            announced,
        }
    }

    /// The content key of the object.
    ///
    /// # Errors
    /// `InvalidRequest` without the upload's customer key.
    pub(crate) fn content_key(&self) -> Result<&Arc<ContentKey>> {
        match &self.secret {
            UploadSecret::Content(content_key) => Ok(content_key),
            UploadSecret::End(_) => Err(S3Error::invalid_request(NEEDS_SAME_KEY).into()),
        }
    }

    /// Checks that a request can complete the upload. It needs the customer key if CreateMultipartUpload
    /// declared a checksum, as on S3: the object's checksum is stored under that key.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
    ///
    /// # Errors
    /// `InvalidArgument` without that key.
    pub(crate) fn check_completable(&self) -> Result<()> {
        match &self.secret {
            UploadSecret::End(_) if self.checksum_algorithm().is_some() => {
                Err(S3Error::invalid_argument(SSE, "null", NEEDS_KEY).into())
            }
            UploadSecret::End(_) | UploadSecret::Content(_) => Ok(()),
        }
    }

    /// How a last part ends the object: with this layout if it has to carry one.
    pub(crate) fn end_of_last_part<'l>(&self, layout: Option<&'l Layout>) -> SegmentEnd<'l> {
        match layout {
            None => SegmentEnd::Last,
            Some(layout) if self.envelope.has_customer_key() => SegmentEnd::LastCarryingForEndKey(layout),
            Some(layout) => SegmentEnd::LastCarrying(layout),
        }
    }

    /// Seals the terminator of this layout, which carries the object's checksum if it is known and the
    /// content key too: the end key hides none (F-74).
    ///
    /// # Errors
    /// The errors of [`seal_terminator`].
    pub(crate) fn seal_terminator(
        &self,
        layout: &Layout,
        checksum: Option<&Checksum>,
    ) -> Result<Vec<u8>, FormatError> {
        let entropy = SegmentEntropy::fresh();
        match &self.secret {
            UploadSecret::Content(content_key) if !self.envelope.has_customer_key() => {
                seal_terminator(content_key, layout, checksum, entropy)
            }
            UploadSecret::Content(content_key) => {
                seal_terminator_for_end_key(content_key, layout, checksum, entropy)
            }
            UploadSecret::End(end_key) => seal_terminator_for_end_key(end_key, layout, None, entropy),
        }
    }

    /// Whether the storage completes an upload only with all parts that the upload has. True for radosgw,
    /// whose upload ids begin with `2~` (`MULTIPART_UPLOAD_ID_PREFIX` in Ceph's `rgw_multi.h`).
    pub(crate) fn needs_all_parts(&self) -> bool {
        self.upstream_id.starts_with("2~")
    }

    /// The algorithm that the client declared for the object.
    pub(crate) fn checksum_algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.checksum.algorithm()
    }

    /// Whether the object's last segment must carry a checksum of the object.
    pub(crate) fn must_carry_checksum(&self) -> bool {
        self.announced != UploadChecksum::Undeclared
    }

    /// The checksum that the object's last segment must carry, from the checksums and lengths in bytes of
    /// all parts; `None` if it is to carry none, or if a part's checksum is not of the declared algorithm.
    pub(crate) fn carried_checksum(&self, parts: &[(Checksum, u64)]) -> Option<Checksum> {
        let algorithm = self.announced.algorithm()?;
        if parts.iter().any(|(checksum, _)| checksum.algorithm() != algorithm) {
            return None;
        }
        match self.announced {
            UploadChecksum::Undeclared => None,
            UploadChecksum::FullObject(_) => Checksum::combine(algorithm, parts),
            UploadChecksum::Composite(_) => {
                let values: Vec<_> = parts.iter().map(|(checksum, _)| *checksum).collect();
                Some(Checksum::composite(algorithm, &values))
            }
        }
    }

    /// Whether the checksum that was declared is one of all bytes.
    pub(crate) fn is_full_object(&self) -> bool {
        matches!(self.checksum, UploadChecksum::FullObject(_))
    }
}

fn target<'a>((bucket, object_key): (&'a BucketName, &'a ObjectKey)) -> UploadTarget<'a> {
    UploadTarget { bucket: bucket.as_str(), object_key: object_key.as_bytes() }
}

/// The error of a request whose upload id does not open. A token of another object, bucket or deployment, or
/// none at all, is the client's mistake, not the storage's.
fn into_error_of_upload(error: Error) -> Error {
    if let Error::Keyring(keyring) = &error
        && keyring.is_of_another_key()
    {
        return no_such_upload();
    }
    let Error::Format(format) = error else { return error };
    if matches!(format, FormatError::CustomerKeyMissing | FormatError::CustomerKeySurplus) {
        return S3Error::invalid_request(NEEDS_SAME_KEY).into();
    }
    if format == FormatError::CustomerKeyWrong {
        return S3Error::invalid_request(OTHER_KEY).into();
    }
    no_such_upload()
}

/// What the storage calls the upload that a request names. An id of the storage's own is taken as it is: it
/// opens nothing.
///
/// # Errors
/// As [`Upload::to_end`], for a token.
pub(crate) async fn upstream_id(
    resources: &Resources,
    bucket: &BucketName,
    object_key: &ObjectKey,
    id: &str,
) -> Result<String> {
    match UploadToken::parse(id) {
        Ok(_) => Ok(Upload::to_end(resources, (bucket, object_key), id, None).await?.upstream_id),
        Err(_) => Ok(id.to_owned()),
    }
}

/// Adds the query parameter that names an upload.
pub(crate) fn name_upload(request: &mut UpstreamRequest, upstream_id: &str) {
    request.query.push(("uploadId".to_owned(), Some(upstream_id.to_owned())));
}

pub(crate) fn no_such_upload() -> Error {
    S3Error::from(ErrorCode::NoSuchUpload).into()
}
