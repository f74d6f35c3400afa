//! PutObject: the body is sealed while it streams, or at once when it is small.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;

use super::policy::BucketRule;
use super::{Call, Resources, answer, stored, upstream_answer};
use crate::body::{BoxBody, BoxError, IngestBody, SealBody, Verdict};
use crate::envelope::native::{
    CHUNK, Entropy, Envelope, ObjectName, PutSealer, SealRequest, Sealed, ciphertext_length,
};
use crate::error::Error;
use crate::keyring::{EncryptionContext, KeyId, WriteKey};
use crate::s3::headers::{self, SseRequest};
use crate::s3::{BucketName, Checksum, DeclaredIntegrity, ErrorCode, ObjectKey, S3Error};
use crate::upstream::UpstreamBody;

/// S3 stores at most 5 GiB by one PUT, and what it stores is the ciphertext.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>
const MAX_STORED: u64 = 5 * 1024 * 1024 * 1024;

/// A body of one chunk is verified before anything is sent, so a request that turns out wrong costs the storage
/// nothing, and one that the storage can't serve right now can be sent again.
const BUFFERED: u64 = CHUNK as u64;

pub(super) async fn put_object(resources: &Resources, mut call: Call) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let (bucket, object_key) = (bucket.clone(), object_key.clone());
    let rule = resources.policies.of_object(&bucket, &object_key)?;
    let key_id = selected_key(resources, rule, &call.headers)?;
    let storable = headers::put_headers(&call.headers)?;
    let length = promised_length(&call)?;
    let declared = DeclaredIntegrity::from_headers(&call.headers)?.header;
    let context = EncryptionContext::native(rule.realm(&bucket));

    let mut request = call.upstream_request(Method::PUT);
    request.headers = storable;
    let (body, verdict) = call.ingest(resources, length)?;
    let target = Target { rule, bucket: &bucket, object_key: &object_key };
    let (key_id, checksums) = if length <= BUFFERED {
        let (plaintext, checksums) = read_whole(body, &verdict).await?;
        let write_key = resources.keyring.for_write(key_id.as_ref(), &context, length).await?;
        let sealed = target.seal(&write_key, &checksums, &mut request.headers);
        request.body = UpstreamBody::Content(seal_whole(&sealed, plaintext));
        (write_key.key_id, checksums)
    } else {
        let write_key = resources.keyring.for_write(key_id.as_ref(), &context, length).await?;
        let checksums: Vec<Checksum> = declared.into_iter().collect();
        let sealed = target.seal(&write_key, &checksums, &mut request.headers);
        let sealing = SealBody::new(body, length, PutSealer::new(&sealed.content_key));
        let stored_length = ciphertext_length(length).expect("it was compared with 5 GiB");
        let body = sealing.map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync();
        request.body = UpstreamBody::StreamedContent { body, length: stored_length };
        (write_key.key_id, checksums)
    };
    let mut response = upstream_answer::pass(resources.upstream.send(request).await?).await?;
    if response.status().is_success() {
        answer::tell_encrypted(response.headers_mut(), Some(&key_id));
        let verified = verdict.checksums().unwrap_or(checksums);
        answer::tell_checksums(response.headers_mut(), &verified);
    }
    Ok(response)
}

/// The plaintext's length, which S3 demands before the body.
fn promised_length(call: &Call) -> Result<u64, Error> {
    let Some(length) = call.content_length()? else {
        return Err(
            S3Error::new(ErrorCode::MissingContentLength, ErrorCode::MissingContentLength.message()).into()
        );
    };
    match ciphertext_length(length) {
        Some(stored) if stored <= MAX_STORED => Ok(length),
        _ => {
            let message = "Your proposed upload exceeds the maximum size of a single PUT after encryption \
                           (5 GiB less 16 bytes for every 64 KiB). Use a multipart upload.";
            let error = S3Error::new(ErrorCode::EntityTooLarge, message);
            Err(error.with("ProposedSize", length.to_string()).into())
        }
    }
}

/// The key that the request's SSE headers ask for, if the bucket's rule allows it.
pub(super) fn selected_key(
    resources: &Resources,
    rule: &BucketRule,
    request: &HeaderMap,
) -> Result<Option<KeyId>, Error> {
    let asked = match headers::sse_request(request)? {
        SseRequest::Kms { key_id: Some(asked) } => asked,
        SseRequest::Kms { key_id: None } | SseRequest::S3Managed | SseRequest::None => {
            return Ok(rule.key_id.clone());
        }
    };
    let allowed = rule.allowed_keys(resources.keyring.default_allowed());
    match allowed.into_iter().find(|key_id| key_id.as_str() == asked) {
        Some(key_id) => Ok(Some(key_id)),
        None => {
            let message = "The KMS key of the request is not among key_id and allowed_key_ids of the bucket's rule \
                           in the proxy's configuration.";
            Err(S3Error::new(ErrorCode::AccessDenied, message).into())
        }
    }
}

/// Reads a small body to its end; what comes out was verified.
async fn read_whole(body: IngestBody, verdict: &Verdict) -> Result<(BytesMut, Vec<Checksum>), Error> {
    let mut plaintext = BytesMut::from(&body.collect().await?.to_bytes()[..]);
    plaintext.reserve(crate::envelope::native::TAG);
    Ok((plaintext, verdict.checksums().unwrap_or_default()))
}

fn seal_whole(sealed: &Sealed, mut plaintext: BytesMut) -> Bytes {
    PutSealer::new(&sealed.content_key).seal_last(&mut plaintext);
    plaintext.freeze()
}

struct Target<'a> {
    rule: &'a BucketRule,
    bucket: &'a BucketName,
    object_key: &'a ObjectKey,
}

impl Target<'_> {
    /// Makes the envelope and puts both metadata entries into the request.
    fn seal(&self, write_key: &WriteKey, checksums: &[Checksum], request: &mut HeaderMap) -> Sealed {
        let attributes = answer::to_attributes(checksums);
        let seal_request = SealRequest {
            data_key: &write_key.data_key,
            binding: self.rule.binding,
            multipart: false,
            name: ObjectName { realm: self.rule.realm(self.bucket), object_key: self.object_key.as_bytes() },
            attributes: &attributes,
        };
        let sealed = Envelope::seal(&seal_request, Entropy::fresh());
        stored::write_keys(&write_key.wrapped, &sealed.envelope, request);
        sealed
    }
}
