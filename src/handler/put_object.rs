//! PutObject: the body is sealed while it streams, or at once when it is small.

use bytes::BytesMut;
use http::Response;
use http_body_util::BodyExt;

use super::new_object::{NewObject, Plaintext};
use super::{Call, Resources, answer};
use crate::body::{BoxBody, IngestBody, Verdict, boxed};
use crate::envelope::native::{CHUNK, TAG, ciphertext_length};
use crate::error::Error;
use crate::s3::{Checksum, ChecksumAlgorithm, DeclaredIntegrity, ErrorCode, S3Error};

/// S3 stores at most 5 GiB by one PUT, and what it stores is the ciphertext.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>
pub(super) const MAX_STORED: u64 = 5 * 1024 * 1024 * 1024;

/// A body of one chunk is verified before anything is sent, so a request that turns out wrong costs the storage
/// nothing, and one that the storage can't serve right now can be sent again.
pub(super) const BUFFERED: u64 = CHUNK as u64;

pub(super) async fn put_object(resources: &Resources, mut call: Call) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let (bucket, object_key) = (bucket.clone(), object_key.clone());
    let object = NewObject::new(resources, &bucket, &object_key, &call.headers).await?;
    let length = promised_length(&call)?;
    let promised = DeclaredIntegrity::from_headers(&call.headers)?;
    let declared = promised.header;
    let (body, verdict) = call.ingest(resources, length)?;
    let plaintext = if length <= BUFFERED {
        read_whole(or_default(body, &promised), &verdict).await?
    } else {
        Plaintext::Streaming(boxed(body), length, declared.into_iter().collect())
    };
    let mut response = object.put(resources, plaintext).await?;
    if response.status().is_success() {
        let verified = verdict.checksums().unwrap_or_else(|| declared.into_iter().collect());
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

/// Computes the checksum that S3 gives to what comes without one.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
pub(super) fn or_default(body: IngestBody, promised: &DeclaredIntegrity) -> IngestBody {
    match promised.algorithm() {
        Some(_) => body,
        None => body.computing(ChecksumAlgorithm::DEFAULT),
    }
}

/// Reads a small body to its end; what comes out was verified.
async fn read_whole(body: IngestBody, verdict: &Verdict) -> Result<Plaintext, Error> {
    let mut plaintext = BytesMut::from(&body.collect().await?.to_bytes()[..]);
    plaintext.reserve(TAG);
    let checksums: Vec<Checksum> = verdict.checksums().unwrap_or_default();
    Ok(Plaintext::Whole(plaintext, checksums))
}
