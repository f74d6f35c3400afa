//! PutObject: the body is sealed while it streams, or buffered and verified first if it is small.

use crate::object::response_headers;
use crate::object::write::{BUFFERED, NewObject, or_default, room_to_seal};
use crate::wire::limits::MAX_PUT;
use bytes::BytesMut;
use http::Response;
use http_body_util::BodyExt;

use super::Resources;
use super::request::Call;
use crate::body::{BoxBody, IngestBody, Verdict, boxed};
use crate::envelope::native::ciphertext_length;
use crate::error::Error;
use crate::object::plaintext::Plaintext;
use crate::s3::{DeclaredIntegrity, ErrorCode, S3Error};

pub(crate) async fn put_object(
    resources: &Resources,
    mut call: Box<Call>,
) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let (bucket, object_key) = (bucket.clone(), object_key.clone());
    let object = NewObject::new(resources, &bucket, &object_key, call.settings()).await?;
    let length = promised_length(&call)?;
    let promised = DeclaredIntegrity::from_headers(&call.headers)?;
    let declared = promised.header;
    let (body, verdict) = call.ingest_declared(resources, length, &promised);
    let plaintext = if length <= BUFFERED {
        read_whole(or_default(body, &promised), &verdict, length).await?
    } else {
        Plaintext::Streaming(boxed(body), length, declared.into_iter().collect())
    };
    let mut response = object.put(resources, plaintext).await?;
    if response.status().is_success() {
        let verified = verdict.checksums().unwrap_or(declared.as_slice());
        response_headers::set_checksums(response.headers_mut(), verified);
    }
    Ok(response)
}

/// The plaintext's length in bytes, which S3 requires before the body.
///
/// # Errors
/// `MissingContentLength`; `EntityTooLarge` when the ciphertext exceeds one PUT.
fn promised_length(call: &Call) -> Result<u64, Error> {
    let Some(length) = call.content_length()? else {
        return Err(
            S3Error::new(ErrorCode::MissingContentLength, ErrorCode::MissingContentLength.message()).into()
        );
    };
    match ciphertext_length(length) {
        Some(stored) if stored <= MAX_PUT => Ok(length),
        _ => {
            let message = "Your proposed upload exceeds the maximum size of a single PUT after encryption \
                           (5 GiB less 16 bytes for every 64 KiB). Use a multipart upload.";
            let error = S3Error::new(ErrorCode::EntityTooLarge, message);
            Err(error.with("ProposedSize", length.to_string()).into())
        }
    }
}

/// Reads a body of at most [`BUFFERED`] bytes to its end, and verifies it.
async fn read_whole(mut body: IngestBody, verdict: &Verdict, length: u64) -> Result<Plaintext, Error> {
    let length = usize::try_from(length).expect("it is at most BUFFERED");
    let mut plaintext = BytesMut::with_capacity(room_to_seal(0, length));
    while let Some(frame) = body.frame().await {
        plaintext.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    Ok(Plaintext::Whole(plaintext, verdict.checksums().unwrap_or_default().to_vec()))
}
