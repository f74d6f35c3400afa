//! PostObject: the file of a browser's form. Its length is known only at its end, so a small file is buffered
//! and stored by one PUT, and a longer one becomes a multipart upload, with one part in memory at a time.
//!
//! It must not know how a form is authenticated. A file whose length the policy refuses is never stored.

mod file;
mod in_parts;

use http::header::ETAG;
use http::{HeaderMap, Response};

use super::Resources;
use super::post_object::file::{FilePiece, FormFile, PART_LENGTH};
use super::request::{Addressing, append, customer_key};
use super::response::client_etags::map_form_conditions;
use super::response::pass_refusal;
use crate::access::Grants;
use crate::body::{BoxBody, IngestBody};
use crate::error::Result;
use crate::object::plaintext::Plaintext;
use crate::object::response_headers;
use crate::object::upstream_response::buffered;
use crate::object::write::{NewObject, or_default};
use crate::s3::form::{Stored, Success};
use crate::s3::headers::CustomerKeys;
use crate::s3::{BucketName, ContentLengthRange, DeclaredIntegrity, Form, ObjectKey, Operation};

/// A form whose signature is verified, whose fields match its policy, and whose signer may store this object.
pub struct FormUpload {
    /// The bucket that the form was sent to.
    pub bucket: BucketName,
    /// The key that the form names.
    pub object_key: ObjectKey,
    /// The form's fields.
    pub form: Form,
    /// The customer key among the fields.
    pub customer_keys: CustomerKeys,
    /// Properties of the connection.
    pub addressing: Addressing,
    /// The settings of the form for its object, as headers.
    pub headers: HeaderMap,
    /// The grants of the signer.
    pub grants: Grants,
    /// Whether the signer may store the object only if there is none of its name.
    pub is_append: bool,
    /// The lengths of the file that the policy allows.
    pub length: ContentLengthRange,
    /// The file as it comes off the wire.
    pub file: BoxBody,
    /// The length of the whole request in bytes, of which the file is a part.
    pub request_length: u64,
    /// The object as a URL of this server.
    pub location: String,
}

/// Stores the file of a form.
///
/// # Errors
/// As for PutObject, and when the file's length is not what the policy allows.
pub async fn post_object(resources: &Resources, upload: FormUpload) -> Result<Response<BoxBody>> {
    pass_refusal(store(resources, upload).await)
}

async fn store(resources: &Resources, upload: FormUpload) -> Result<Response<BoxBody>> {
    let FormUpload { bucket, object_key, form, mut headers, length, file, .. } = upload;
    let (operation, keys) = (Operation::PostObject, &upload.customer_keys);
    let name = (&bucket, &object_key);
    customer_key::admit(&resources.policies, (operation, upload.addressing), name, None, keys)?;
    if upload.is_append {
        let at = (&bucket, &object_key);
        let restricted =
            append::set_condition(resources, Operation::PostObject, &upload.grants, at, &mut headers);
        Box::pin(restricted).await?;
    }
    map_form_conditions(resources.policies.for_object(&bucket, &object_key)?, &mut headers);
    let declared = DeclaredIntegrity::from_headers(&headers)?;
    let object = NewObject::new(resources, &bucket, &object_key, (&headers, &upload.customer_keys)).await?;
    let (body, verdict) = IngestBody::delimited(file, &declared, resources.client_idle_timeout);
    let mut file = FormFile::new(resources, or_default(body, &declared), length)?;
    let expected = usize::try_from(upload.request_length).unwrap_or(PART_LENGTH).min(PART_LENGTH);
    let mut response = match file.read_piece(expected).await? {
        FilePiece::Last(plaintext) => {
            let checksums = verdict.checksums().unwrap_or_default().to_vec();
            object.put(resources, Plaintext::Whole(plaintext, checksums)).await?
        }
        FilePiece::Part(first) => {
            object.admit_parts()?;
            let promised: Vec<_> = declared.header.into_iter().collect();
            let known = (promised, verdict.clone());
            in_parts::upload(resources, object, known, first, file, upload.request_length).await?
        }
    };
    let verified = verdict.checksums().unwrap_or_default();
    response_headers::set_checksums(response.headers_mut(), verified);
    let mut headers = response.into_parts().0.headers;
    headers.extend(keys.echo(operation));
    let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
    let stored = Stored { location: &upload.location, bucket: &bucket, object_key: &object_key, etag: &etag };
    Ok(Success::from_form(&form).response(&stored, headers).map(buffered))
}
