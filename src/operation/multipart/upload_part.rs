//! UploadPart: one segment, sealed while it streams; on any node, in any order, any number of times.

use http::Response;

use crate::access::Right;
use crate::body::{BoxBody, boxed};
use crate::error::Result;
use crate::object::location::account_headers;
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::{ChecksumAlgorithm, DeclaredIntegrity, ErrorCode, S3Error, headers};
use crate::upload::part::{NewPart, check_length, set_etag};
use crate::upload::session::Upload;

pub(crate) async fn upload_part(resources: &Resources, mut call: Box<Call>) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    let (bucket, object_key) = (&bucket.clone(), &object_key.clone());
    call.check_listed_upload(Right::Write)?;
    let number = call.part_number()?;
    // Refuses headers that no part can have.
    headers::put_headers(&call.headers)?;
    let length = call.content_length()?.ok_or(S3Error::from(ErrorCode::MissingContentLength))?;
    check_length(number, length)?;
    let declared = DeclaredIntegrity::from_headers(&call.headers)?;
    let customer_key = call.customer_keys.object.as_ref();
    let upload = Upload::for_part(resources, (bucket, object_key), call.upload_id(), customer_key).await?;
    let computed = wanted_checksum(&upload, &declared)?;

    let headers = account_headers(&call.headers);
    let (body, verdict) = call.ingest_declared(resources, length, &declared);
    let body = match computed {
        Some(algorithm) => body.computing(algorithm),
        None => body,
    };
    let part = NewPart { resources, bucket, object_key, upload: &upload, number, length, headers };
    let mut uploaded =
        part.store(boxed(body), || Ok(verdict.checksums().unwrap_or_default().to_vec())).await?;
    let etag = uploaded.etag_with_receipt(resources, &upload, number).await;
    let head = uploaded.response.headers_mut();
    set_etag(head, &etag)?;
    for checksum in &uploaded.checksums {
        head.insert(checksum.algorithm().header_name(), checksum.header_value());
    }
    Ok(uploaded.response)
}

/// The checksum to compute beside those of the part's own headers: the one that the upload declares.
///
/// # Errors
/// `InvalidRequest` for a part with a checksum of another algorithm.
fn wanted_checksum(upload: &Upload, declared: &DeclaredIntegrity) -> Result<Option<ChecksumAlgorithm>> {
    let wanted = upload.checksum_algorithm();
    match (wanted, declared.algorithm()) {
        (Some(wanted), Some(sent)) if wanted != sent => {
            let message = format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                wanted.token().to_lowercase(),
                sent.token().to_lowercase()
            );
            Err(S3Error::invalid_request(message).into())
        }
        (wanted, _) => Ok(wanted),
    }
}
