//! A multipart upload that is not complete: its id holds the sealed upload token, which is opened and
//! verified first (F-49 to F-52).

use std::sync::Arc;

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};

use crate::envelope::ContentKey;
use crate::envelope::native::{Envelope, UploadChecksum, UploadTarget, UploadToken};
use crate::error::{Error, Result};
use crate::object::native::NativeMetadata;
use crate::s3::{BucketName, Checksum, ChecksumAlgorithm, ErrorCode, ObjectKey, S3Error};
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
    /// The content key of the object.
    pub(crate) content_key: Arc<ContentKey>,
    /// The id of the key that wrapped the data key.
    pub(crate) key_id: String,
    /// The envelope of the object.
    pub(crate) envelope: Envelope,
    checksum: UploadChecksum,
    /// The checksum that the object's last segment must carry, as the envelope announces it (F-54).
    announced: UploadChecksum,
}

impl Upload {
    /// The upload that a request names, with the keys to seal its parts.
    ///
    /// # Errors
    /// `NoSuchUpload` for an id that is not this upload's, or a storage's own id that is not in the cache;
    /// the keyring's error when the key service refuses or is unavailable.
    pub(crate) async fn from_id(
        resources: &Resources,
        bucket: &BucketName,
        object_key: &ObjectKey,
        id: &str,
    ) -> Result<Self> {
        let rule = resources.policies.for_object(bucket, object_key)?;
        let token = match UploadToken::parse(id) {
            Ok(token) => token,
            Err(_) => {
                let text = resources.upload_cache.token(bucket, id).await;
                text.and_then(|text| UploadToken::parse(&text).ok()).ok_or_else(no_such_upload)?
            }
        };
        let unlocked =
            NativeMetadata::from_token(&token).unlock(&resources.keyring, rule, bucket, object_key).await;
        let unlocked = unlocked.map_err(|error| {
            // A token of another object, bucket or deployment, or none at all: the client's mistake, not the
            // storage's.
            let is_of_another_key = matches!(&error, Error::Keyring(keyring) if keyring.is_of_another_key());
            if is_of_another_key || matches!(error, Error::Format(_)) { no_such_upload() } else { error }
        })?;
        let target = UploadTarget { bucket: bucket.as_str(), object_key: object_key.as_bytes() };
        token.verify(&unlocked.opened.content_key, target).map_err(|_| no_such_upload())?;
        resources.upload_cache.remember(bucket, &token).await;
        Ok(Self {
            upstream_id: token.upstream_id().to_owned(),
            key_id: unlocked.key_id,
            envelope: token.envelope().clone(),
            checksum: token.checksum(),
            announced: unlocked.opened.attributes.upload_checksum(),
            content_key: Arc::new(unlocked.opened.content_key),
        })
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

/// What the storage calls the upload that a request names. An id of the storage's own is taken as it is: it
/// opens nothing.
///
/// # Errors
/// As [`Upload::from_id`], for a token.
pub(crate) async fn upstream_id(
    resources: &Resources,
    bucket: &BucketName,
    object_key: &ObjectKey,
    id: &str,
) -> Result<String> {
    match UploadToken::parse(id) {
        Ok(_) => Ok(Upload::from_id(resources, bucket, object_key, id).await?.upstream_id),
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
