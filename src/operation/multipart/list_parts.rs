//! ListParts: the storage's page, with plaintext sizes and the id that the client used.

use std::collections::HashMap;

use http::{Method, Response, StatusCode};

use crate::body::BoxBody;
use crate::envelope::native::multipart::{
    MultipartLength, PartNumber, PartReceipt, SEGMENT_HEADER, multipart_plaintext_length,
};
use crate::error::{Error, Result};
use crate::object::upstream_response::{parse_body, pass, with_document};
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::xml::{self, ListedPart, PartEntry};
use crate::s3::{EtagStyle, Hashed, headers};
use crate::upload::part::with_receipt;
use crate::upload::session::{name_upload, no_such_upload, upstream_id};

pub(crate) async fn list_parts(resources: &Resources, call: Box<Call>) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    let style = resources.policies.for_object(bucket, object_key)?.etag;
    let upstream_id = upstream_id(resources, bucket, object_key, call.upload_id()).await?;
    let mut request = call.upstream_request(Method::GET);
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    request.query = call.upstream_query(|name| name != "uploadId");
    name_upload(&mut request, &upstream_id);
    let response = pass(resources.upstreams.fetch(request).await?).await.map_err(into_no_such_upload)?;
    let (head, body) = response.into_parts();
    let (limit, parse) = (xml::MAX_UPLOAD_DOCUMENT, xml::parse_uploaded_parts);
    let page = parse_body(body, limit, "ListPartsResult", parse).await?;
    let mut receipts = HashMap::new();
    for part in &page.parts {
        if let Some(receipt) = resources.upload_cache.receipt(&upstream_id, part.number, &part.etag).await {
            receipts.insert(part.number, receipt);
        }
    }
    let entry = |part: &ListedPart| part_entry(part, receipts.get(&part.number), style);
    let document = page.write(bucket.as_str(), call.upload_id(), entry);
    Ok(with_document(head, document))
}

/// Converts the storage's 404 to `NoSuchUpload`.
fn into_no_such_upload(error: Error) -> Error {
    if let Error::PassThrough(refusal) = &error
        && refusal.status == StatusCode::NOT_FOUND
        && refusal.is_no_such_upload()
    {
        return no_such_upload();
    }
    error
}

/// A part as it is listed to the client; `None` for what an earlier attempt to complete the upload left
/// behind as part 10,000 (F-36, F-47). A client's own part of that number, stored by another process, can't
/// be distinguished from it, and is left out too.
fn part_entry(part: &ListedPart, receipt: Option<&PartReceipt>, style: EtagStyle) -> Option<PartEntry> {
    if let Some(receipt) = receipt {
        let checksum = receipt.checksum().copied();
        return Some(PartEntry { etag: with_receipt(&part.etag, receipt), size: receipt.length(), checksum });
    }
    if part.number == PartNumber::TERMINATOR.value() {
        return None;
    }
    let size = match multipart_plaintext_length(part.size, 1) {
        Ok(MultipartLength::Exact(length)) => length,
        // A last part with its layout, or no segment at all: no more is known here than that it is no longer
        // than this.
        Ok(MultipartLength::NeedsLayout) | Err(_) => part.size.saturating_sub(SEGMENT_HEADER as u64),
    };
    Some(PartEntry { etag: style.to_client(&part.etag, Hashed::Ciphertext), size, checksum: None })
}
