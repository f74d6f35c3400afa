//! An authenticated request of a client, and what operations read from it.
//!
//! It must not know how a request was authenticated or routed. The body is verified while it is read.

pub mod append;
pub mod copy_source;
pub mod customer_key;
pub mod document;
pub mod listed_upload;

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, Method};

use super::Resources;
use crate::access::Grants;
use crate::admission::RequestPermit;
use crate::body::{BoxBody, IngestBody, Verdict};
use crate::envelope::native::multipart::PartNumber;
use crate::error::Result;
use crate::s3::headers::CustomerKeys;
use crate::s3::{
    BucketName, CopySource, DeclaredIntegrity, ErrorCode, ObjectKey, Operation, Query, S3Error, S3Path,
    encode_path,
};
use crate::sigv4::Payload;
use crate::upstream::UpstreamRequest;
use crate::wire::header::DECODED_CONTENT_LENGTH;

/// An S3 request whose signature was verified.
pub struct Call {
    /// The operation that the request calls.
    pub operation: Operation,
    /// The HTTP method of the request.
    pub method: Method,
    /// The bucket and object of the request.
    pub path: S3Path,
    /// The kind of address that the client used.
    pub addressing: Addressing,
    /// The decoded query, without the signature's own parameters.
    pub query: Query,
    /// The headers as the client sent them.
    pub headers: HeaderMap,
    /// How the signature covers the body.
    pub payload: Payload,
    /// The body as it comes off the wire.
    pub body: BoxBody,
    /// The grants of the client.
    pub grants: Grants,
    /// Whether the client may store the object only if there is none of its name.
    pub is_append: bool,
    /// The source of a copy, which the client may read; `None` for every other operation.
    pub copy_source: Option<CopySource>,
    /// The customer keys of the object and of the source of a copy.
    pub customer_keys: CustomerKeys,
    /// Held by work that outlives its client; `None` for a request that no limit counts.
    pub permit: Option<RequestPermit>,
}

/// The kind of address that a client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addressing {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether the host names the bucket.
    pub virtual_host: bool,
    /// Whether no network can read the request: the connection is encrypted, or of this machine.
    pub is_private: bool,
}

impl Call {
    /// The object of the call.
    ///
    /// # Errors
    /// `MethodNotAllowed` for a path without an object.
    pub(crate) fn object(&self) -> Result<(&BucketName, &ObjectKey)> {
        match &self.path {
            S3Path::Object(bucket, object_key) => Ok((bucket, object_key)),
            S3Path::Bucket(_) | S3Path::Root => {
                Err(S3Error::new(ErrorCode::MethodNotAllowed, "This operation needs an object key.").into())
            }
        }
    }

    /// What a request that stores an object says of it: its headers and its customer keys.
    pub(crate) fn settings(&self) -> (&HeaderMap, &CustomerKeys) {
        (&self.headers, &self.customer_keys)
    }

    /// The address that the client used, without query.
    pub(crate) fn location(&self) -> String {
        let Addressing { tls, virtual_host, .. } = self.addressing;
        let scheme = if tls { "https" } else { "http" };
        let host = self.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let bucket = self.path.bucket().filter(|_| !virtual_host);
        format!("{scheme}://{host}{}", encode_path(bucket, self.path.object()))
    }

    /// The source of a copy.
    pub(crate) fn source(&self) -> Result<&CopySource> {
        self.copy_source
            .as_ref()
            .ok_or_else(|| S3Error::invalid_request("A copy needs a copy source.").into())
    }

    /// A request to the storage on the same bucket and object, without headers, query or body.
    pub(crate) fn upstream_request(&self, method: Method) -> UpstreamRequest {
        UpstreamRequest::new(method, self.path.bucket(), self.path.object())
    }

    /// Query parameters to send to the storage: those that the operation takes and whose name `keep` accepts.
    /// Other parameters are ignored here, as in S3.
    pub(crate) fn upstream_query(&self, keep: impl Fn(&str) -> bool) -> Vec<(String, Option<String>)> {
        self.query
            .iter()
            .filter(|(name, _)| self.operation.takes_parameter(name) && keep(name))
            .map(|(name, value)| (name.to_owned(), (!value.is_empty()).then(|| value.to_owned())))
            .collect()
    }

    /// Plaintext length of the body in bytes, as declared by the request; `None` if the request does not
    /// declare it.
    ///
    /// # Errors
    /// `InvalidArgument` when Content-Length is not a number, `InvalidRequest` for a body that is aws-chunked
    /// without declaring it.
    pub(crate) fn content_length(&self) -> Result<Option<u64>> {
        if let Payload::Chunked(chunked) = &self.payload {
            return Ok(chunked.decoded_length());
        }
        let length = declared_length(&self.headers)?;
        if let Some(length) = length {
            self.refuse_framing(length)?;
        }
        Ok(length)
    }

    /// Refuses a body that is aws-chunked although x-amz-content-sha256 does not say so. A body under
    /// UNSIGNED-PAYLOAD or a SHA-256 is stored as received, so the chunk framing would be stored with the
    /// content. A Content-Length that differs from x-amz-decoded-content-length shows the framing.
    fn refuse_framing(&self, length: u64) -> Result<(), S3Error> {
        let Some(decoded) = self.headers.get(DECODED_CONTENT_LENGTH) else { return Ok(()) };
        if decoded.to_str().ok().and_then(|decoded| decoded.parse().ok()) == Some(length) {
            return Ok(());
        }
        Err(S3Error::invalid_request(
            "x-amz-decoded-content-length differs from Content-Length, and x-amz-content-sha256 does not say that the \
             body is aws-chunked.",
        ))
    }

    /// The query parameter that names a part.
    ///
    /// # Errors
    /// `InvalidArgument` for a number that no part has.
    pub(crate) fn part_number(&self) -> Result<PartNumber> {
        let text = self.query.first("partNumber").unwrap_or_default();
        let number = text.parse().ok().and_then(PartNumber::new);
        number.ok_or_else(|| {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            S3Error::invalid_argument("partNumber", text, message).into()
        })
    }

    /// The upload id, as the client sent it.
    pub(crate) fn upload_id(&self) -> &str {
        self.query.first("uploadId").unwrap_or_default()
    }

    /// The plaintext body, verified while it streams, and the handle to its verdict. Takes the body out of
    /// the call.
    pub(crate) fn ingest(&mut self, resources: &Resources, length: u64) -> Result<(IngestBody, Verdict)> {
        let declared = DeclaredIntegrity::from_headers(&self.headers)?;
        Ok(self.ingest_declared(resources, length, &declared))
    }

    /// The plaintext body, verified against `declared` and no header, and the handle to its verdict. Takes
    /// the body out of the call.
    pub(crate) fn ingest_declared(
        &mut self,
        resources: &Resources,
        length: u64,
        declared: &DeclaredIntegrity,
    ) -> (IngestBody, Verdict) {
        let body = std::mem::take(&mut self.body);
        let payload = std::mem::replace(&mut self.payload, Payload::Unsigned);
        IngestBody::new(body, payload, declared, length, resources.client_idle_timeout)
    }

    /// The query parameters of GET and HEAD that the storage handles itself.
    ///
    /// # Errors
    /// `InvalidArgument` for a `response-` parameter that is not a valid header value: it has control
    /// characters, or characters beyond Latin-1.
    pub(crate) fn read_parameters(&self) -> Result<Vec<(String, Option<String>)>> {
        for (name, value) in self.query.iter().filter(|(name, _)| name.starts_with("response-")) {
            if !value.chars().all(is_header_char) {
                let message = "Header value cannot be represented using ISO-8859-1.";
                return Err(S3Error::invalid_argument(name, value, message).into());
            }
        }
        Ok(self.upstream_query(|name| name == "versionId" || name.starts_with("response-")))
    }
}

/// The length of a request's body, as its headers declare it.
///
/// # Errors
/// `InvalidArgument` when Content-Length is not a number.
pub(crate) fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, S3Error> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    let message = "Content-Length must be a number.";
    length.map(Some).ok_or_else(|| S3Error::invalid_argument("Content-Length", "", message))
}

fn is_header_char(letter: char) -> bool {
    letter == '\t' || (u32::from(letter) <= 0xff && !letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_header() {
        assert!("attachment; filename=\"gro\u{df}.txt\"\t".chars().all(is_header_char));
        for letter in ['\r', '\n', '\0', '\u{7f}', '\u{85}', '\u{2013}', '\u{4e2d}'] {
            assert!(!is_header_char(letter), "{letter:?}");
        }
    }
}
