//! UploadPartCopy: the source is opened and sealed again as a segment of the upload, while it streams.
//!
//! A part begins and ends where no chunk of the source does, and the upload has a content key of its own.
//! What fails authentication on its way cuts the request to the storage short, so that no part comes of it.

use std::sync::{Arc, Mutex};

use http::header::{CONTENT_LENGTH, ETAG, HeaderName};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use time::OffsetDateTime;

use crate::access::Right;
use crate::body::{BoxBody, boxed};
use crate::envelope::native::multipart::PartNumber;
use crate::error::{Error, Result};
use crate::object::location::account_headers;
use crate::object::opened::OpenedObject;
use crate::object::range::{RequestedRange, Selection};
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::operation::request::copy_source::{open_source, refuse_body};
use crate::operation::response::deferred::{DocumentResponse, respond_or_defer};
use crate::s3::headers::{self, COPY_SOURCE_RANGE};
use crate::s3::{
    BucketName, ByteRange, ChecksumAlgorithm, CopySource, CustomerKey, DeclaredIntegrity, ErrorCode,
    ObjectKey, S3Error, Verifier, iso_time, range, xml,
};
use crate::upload::part::{NewPart, check_length};
use crate::upload::session::Upload;
use crate::wire::header::{COPY_SOURCE_VERSION_ID, VERSION_ID};

pub(crate) async fn upload_part_copy(
    resources: &Resources,
    mut call: Box<Call>,
) -> Result<Response<BoxBody>> {
    call.check_listed_upload(Right::Write)?;
    let copy = PartCopy::from_call(resources, &call)?;
    let resource = format!("/{}/{}", copy.bucket, copy.object_key);
    refuse_body(resources, &mut call).await?;
    let name = (&copy.bucket, &copy.object_key);
    let customer_key = call.customer_keys.object.as_ref();
    let upload = Upload::for_part(resources, name, call.upload_id(), customer_key).await?;
    let sse = upload.envelope.sse();
    respond_or_defer(copy.run(upload), call.permit, resource, sse).await
}

/// A copy, with all that it needs to continue when the client has disconnected.
struct PartCopy {
    resources: Resources,
    bucket: BucketName,
    object_key: ObjectKey,
    number: PartNumber,
    source: CopySource,
    /// First and last byte of the source's plaintext; `None`: all of it.
    range: Option<ByteRange>,
    /// The customer key that the request has for the source.
    source_key: Option<CustomerKey>,
    /// Headers of the requests that read the source: the client's conditions, expected owner, request payer.
    source_headers: HeaderMap,
    /// Headers of the requests that write the part.
    part_headers: HeaderMap,
}

impl PartCopy {
    fn from_call(resources: &Resources, call: &Call) -> Result<Self> {
        let (bucket, object_key) = call.object()?;
        let number = call.part_number()?;
        // Refuses headers that no copy can have.
        headers::copy_headers(&call.headers)?;
        Ok(Self {
            resources: resources.clone(),
            bucket: bucket.clone(),
            object_key: object_key.clone(),
            number,
            source: call.source()?.clone(),
            range: source_range(&call.headers)?,
            source_key: call.customer_keys.source.clone(),
            source_headers: headers::source_read_headers(&call.headers),
            part_headers: account_headers(&call.headers),
        })
    }

    async fn run(self, upload: Upload) -> Result<DocumentResponse> {
        let Self { resources, bucket, object_key, number, .. } = &self;
        let number = *number;
        let opened = *self.open().await.map_err(|error| self.range_error(error))?;
        self.check_range(&opened)?;
        let OpenedObject { head, length, body, .. } = opened;
        let source_version = head.headers.get(VERSION_ID).cloned();
        check_length(number, length)?;
        let (plaintext, verifier) = computing(body, upload.checksum_algorithm());
        let headers = self.part_headers.clone();
        let part = NewPart { resources, bucket, object_key, upload: &upload, number, length, headers };
        let checksums = || match verifier.lock().expect("it is held only to feed it").take() {
            Some(verifier) => Ok(verifier.finish(&HeaderMap::new())?),
            None => Ok(Vec::new()),
        };
        let mut uploaded = part.store(plaintext, checksums).await?;
        let etag = uploaded.etag_with_receipt(resources, &upload, number).await;
        let checksums = uploaded.checksums;
        let (mut head, _) = uploaded.response.into_parts();
        head.headers.remove(ETAG);
        head.headers.remove(CONTENT_LENGTH);
        head.headers
            .extend(source_version.map(|version| (HeaderName::from_static(COPY_SOURCE_VERSION_ID), version)));
        let last_modified = iso_time(OffsetDateTime::now_utc());
        let result = xml::CopyResult { etag: format!("\"{etag}\""), last_modified };
        Ok(DocumentResponse { headers: head.headers, document: result.to_part_xml(&checksums) })
    }

    async fn open(&self) -> Result<Box<OpenedObject>> {
        let wanted = self.range.map_or(RequestedRange::Whole, |range| RequestedRange::Range(range.into()));
        let headers = self.source_headers.clone();
        open_source(&self.resources, &self.source, (wanted, false), headers, self.source_key.clone()).await
    }

    /// # Errors
    /// `InvalidArgument` when the source ends before the range does: a GET has what there is, a part would be
    /// shorter than it was ordered.
    fn check_range(&self, opened: &OpenedObject) -> Result<(), S3Error> {
        match (self.range, opened.selection) {
            (Some(range), Selection::Span(span)) if range != span => {
                Err(beyond(range, &opened.plaintext_total.to_string()))
            }
            (_, Selection::Whole | Selection::Span(_) | Selection::EmptyPart) => Ok(()),
        }
    }

    /// Converts the error of GET for an unsatisfiable range to the one of a copy, `InvalidArgument`.
    fn range_error(&self, error: Error) -> Error {
        match (self.range, error) {
            (Some(range), Error::Refused(refused)) if refused.code == ErrorCode::InvalidRange => {
                let size = refused.extra.iter().find(|(name, _)| *name == "ActualObjectSize");
                beyond(range, size.map_or("unknown", |(_, size)| size)).into()
            }
            (_, error) => error,
        }
    }
}

fn beyond(range: ByteRange, size: &str) -> S3Error {
    let message = format!("Range specified is not valid for source object of size: {size}");
    S3Error::invalid_argument(COPY_SOURCE_RANGE, range.range_header(), message)
}

/// Reads the one value of `x-amz-copy-source-range`: `bytes=first-last` and nothing else.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
///
/// # Errors
/// `InvalidArgument`.
fn source_range(headers: &HeaderMap) -> Result<Option<ByteRange>, S3Error> {
    let mut values = headers.get_all(COPY_SOURCE_RANGE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = String::from_utf8_lossy(value.as_bytes());
    match values.next() {
        None => range::parse_copy_source(&value).map(Some),
        Some(_) => Err(range::invalid_copy_source(&value)),
    }
}

/// Wraps a body so that its checksum is computed while it streams. The verifier is complete when the body has
/// ended, and `None` without an algorithm.
fn computing(body: BoxBody, algorithm: Option<ChecksumAlgorithm>) -> (BoxBody, Arc<Mutex<Option<Verifier>>>) {
    let Some(algorithm) = algorithm else { return (body, Arc::default()) };
    let verifier = Verifier::new(&DeclaredIntegrity::default()).computing(algorithm);
    let verifier = Arc::new(Mutex::new(Some(verifier)));
    let fed = Arc::clone(&verifier);
    let observed = body.map_frame(move |frame| {
        if let (Some(data), Some(verifier)) =
            (frame.data_ref(), fed.lock().expect("no holder panics").as_mut())
        {
            verifier.update(data);
        }
        frame
    });
    (boxed(observed), verifier)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::s3::Checksum;

    fn ranges(values: &[&str]) -> Result<Option<(u64, u64)>, ErrorCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(COPY_SOURCE_RANGE, HeaderValue::from_str(value).unwrap());
        }
        let range = source_range(&headers).map_err(|error| error.code)?;
        Ok(range.map(|range| (range.first(), range.last())))
    }

    #[test]
    fn a_source_range_has_both_ends() {
        assert_eq!(ranges(&[]), Ok(None));
        assert_eq!(ranges(&["bytes=0-0"]), Ok(Some((0, 0))));
        assert_eq!(ranges(&["bytes=5-18446744073709551614"]), Ok(Some((5, u64::MAX - 1))));
        for value in [
            "",
            "bytes=",
            "bytes=0",
            "bytes=0-",
            "bytes=-5",
            "0-5",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes=+0-5",
            "bytes= 0-5",
            "bytes=a-b",
            "items=0-5",
            "bytes=0-18446744073709551615",
            "bytes=0-99999999999999999999",
        ] {
            assert_eq!(ranges(&[value]), Err(ErrorCode::InvalidArgument), "{value}");
        }
        assert_eq!(ranges(&["bytes=0-1", "bytes=0-1"]), Err(ErrorCode::InvalidArgument));
    }

    #[tokio::test]
    async fn the_checksum_is_that_of_what_passed() {
        for (algorithm, expected) in [
            (Some(ChecksumAlgorithm::Crc32), "NSRBwg=="),
            (Some(ChecksumAlgorithm::Sha1), "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
        ] {
            let (body, verifier) = computing(boxed(http_body_util::Full::from("abc")), algorithm);
            assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
            let verifier = verifier.lock().unwrap().take().unwrap();
            let checksums: Vec<Checksum> = verifier.finish(&HeaderMap::new()).unwrap();
            assert_eq!(checksums.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
        let (body, verifier) = computing(boxed(http_body_util::Full::from("abc")), None);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(verifier.lock().unwrap().is_none());
    }
}
