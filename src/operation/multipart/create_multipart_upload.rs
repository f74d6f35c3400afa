//! CreateMultipartUpload: makes the object's content key and envelope, and an upload id that contains both.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;

use crate::body::BoxBody;
use crate::envelope::native::multipart::fits_header;
use crate::envelope::native::{Attributes, BodyKind, UploadChecksum, UploadTarget, UploadToken};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::response_headers;
use crate::object::upstream_response::buffered;
use crate::object::write::NewObject;
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::checksum::ChecksumType;
use crate::s3::{ChecksumAlgorithm, DeclaredIntegrity, S3Error, headers, xml};
use crate::upload::session::take_conditions;
use crate::upload::storage::{StorageUpload, announce_checksum};

/// Bytes that an upload counts against the limit of a shared data key, since the length is not known yet. The
/// data key encrypts none of them (F-01).
const NOMINAL_LENGTH: u64 = 1 << 30;

pub(crate) async fn create_multipart_upload(
    resources: &Resources,
    mut call: Box<Call>,
) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    let (bucket, object_key) = (bucket.clone(), object_key.clone());
    let object = NewObject::new(resources, &bucket, &object_key, call.settings()).await?;
    object.admit_parts()?;
    let checksum = declared_checksum(&call.headers)?;
    let length = call.content_length()?.unwrap_or(0);
    let (body, _) = call.ingest_declared(resources, length, &DeclaredIntegrity::default());
    if !http_body_util::Limited::new(body, 1024).collect().await.is_ok_and(|body| body.to_bytes().is_empty())
    {
        return Err(S3Error::invalid_request("This operation takes no body.").into());
    }

    let write_key = object.write_key(resources, NOMINAL_LENGTH).await?;
    let mut request = object.request(Method::POST);
    request.headers = object.headers.clone();
    // The client sends these conditions again to CompleteMultipartUpload.
    take_conditions(&mut request.headers);
    announce_checksum(&resources.upstreams, &bucket, &mut request.headers);
    let sealed = object.seal(&write_key, BodyKind::Multipart, &announcing(checksum), &mut request.headers)?;
    let (storage, mut headers) = StorageUpload::create(&resources.upstreams, request).await?;
    let target = UploadTarget { bucket: bucket.as_str(), object_key: object_key.as_bytes() };
    let id = storage.id().to_owned();
    let wrappings = (write_key.wrapped.to_vec(), write_key.further.as_ref().map(|further| further.to_vec()));
    let token = UploadToken::new(&sealed.content_key, target, checksum, id, wrappings, sealed.envelope);
    let token = token.map_err(|_| UnexpectedResponse::Invalid("UploadId"))?;
    resources.upload_cache.remember(&bucket, &token).await;

    let document = xml::write_initiated(bucket.as_str(), object_key.as_str(), &token.to_text());
    headers.remove(http::header::CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response_headers::set_sse(&mut headers, object.sse, Some(&write_key.key_id));
    set_declared_checksum(&mut headers, checksum);
    let mut response = Response::new(buffered(document));
    *response.headers_mut() = headers;
    Ok(response)
}

/// Announces what the object's last segment is to carry, if there is room for it (F-54).
fn announcing(checksum: UploadChecksum) -> Attributes {
    match checksum.algorithm() {
        Some(algorithm) if fits_header(algorithm) => Attributes::default().announcing(checksum),
        Some(_) | None => Attributes::default(),
    }
}

/// The checksum of the object that the client declares.
///
/// # Errors
/// `InvalidRequest` for a type that S3 does not give to the algorithm.
fn declared_checksum(request: &HeaderMap) -> Result<UploadChecksum> {
    let declared = DeclaredIntegrity::from_headers(request)?;
    let Some(algorithm) = declared.requested else {
        if declared.checksum_type.is_some() {
            let message =
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            return Err(S3Error::invalid_request(message).into());
        }
        return Ok(UploadChecksum::Undeclared);
    };
    let is_nvme = algorithm == ChecksumAlgorithm::Crc64Nvme;
    match declared.checksum_type {
        Some(kind @ ChecksumType::FullObject) if !algorithm.is_combinable() => Err(unusable(kind, algorithm)),
        Some(kind @ ChecksumType::Composite) if is_nvme => Err(unusable(kind, algorithm)),
        Some(ChecksumType::FullObject) => Ok(UploadChecksum::FullObject(algorithm)),
        None if is_nvme => Ok(UploadChecksum::FullObject(algorithm)),
        Some(ChecksumType::Composite) | None => Ok(UploadChecksum::Composite(algorithm)),
    }
}

fn unusable(kind: ChecksumType, algorithm: ChecksumAlgorithm) -> Error {
    let message =
        format!("The {} checksum type cannot be used with the {algorithm} checksum algorithm.", kind.token());
    S3Error::invalid_request(message).into()
}

fn set_declared_checksum(response: &mut HeaderMap, checksum: UploadChecksum) {
    let kind = match checksum {
        UploadChecksum::Undeclared => return,
        UploadChecksum::Composite(_) => ChecksumType::Composite,
        UploadChecksum::FullObject(_) => ChecksumType::FullObject,
    };
    if let Some(algorithm) = checksum.algorithm() {
        let name = HeaderName::from_static(headers::CHECKSUM_ALGORITHM);
        response.insert(name, HeaderValue::from_static(algorithm.token()));
    }
    response.insert(headers::CHECKSUM_TYPE, HeaderValue::from_static(kind.token()));
}
