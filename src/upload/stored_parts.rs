//! The parts of an upload, as the storage lists them.

use http::header::ETAG;
use http::{HeaderMap, Method, Response};

use super::session::name_upload;
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::multipart::{MAX_PARTS, PartNumber, StoredPart};
use crate::error::Error;
use crate::object::upstream_response::{buffered, pass};
use crate::s3::xml::{self, ListedPart};
use crate::s3::{BucketName, ErrorCode, ObjectKey, S3Error};
use crate::upload::Resources;
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// Where an upload is.
pub(crate) struct UploadAt<'a> {
    pub(crate) bucket: &'a BucketName,
    pub(crate) object_key: &'a ObjectKey,
    pub(crate) upstream_id: &'a str,
    /// What goes along with every request.
    pub(crate) headers: &'a HeaderMap,
}

impl UploadAt<'_> {
    /// A request to the storage on this upload.
    pub(crate) fn request(&self, method: Method) -> UpstreamRequest {
        let mut request = UpstreamRequest {
            method,
            bucket: Some(self.bucket.clone()),
            object: Some(self.object_key.clone()),
            query: Vec::new(),
            headers: self.headers.clone(),
            body: UpstreamBody::Empty,
        };
        name_upload(&mut request, self.upstream_id);
        request
    }

    /// A request that stores a part; its body is the caller's.
    pub(crate) fn part_request(&self, number: PartNumber) -> UpstreamRequest {
        let mut request = self.request(Method::PUT);
        request.query.insert(0, ("partNumber".to_owned(), Some(number.value().to_string())));
        request
    }
}

/// The ETag of a part that was stored, without quotes.
///
/// # Errors
/// [`Error::UnexpectedAnswer`] when the storage names none.
pub(crate) fn etag_of_part(answer: &HeaderMap) -> Result<&str, Error> {
    let etag = answer.get(ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.map(|etag| etag.trim_matches('"')).filter(|etag| !etag.is_empty());
    etag.ok_or(Error::UnexpectedAnswer("without the ETag of a part"))
}

/// All parts of an upload, by ascending number.
pub(crate) struct AllParts {
    parts: Vec<ListedPart>,
    /// When they were stored, ascending. Times are compared only, so their rank is as good as they are.
    times: Vec<String>,
}

/// Lists all parts, page by page.
///
/// # Errors
/// `NoSuchUpload` when there is no such upload; else [`Error::UnexpectedAnswer`] for what is no list of parts.
pub(crate) async fn list_parts(resources: &Resources, at: &UploadAt<'_>) -> Result<AllParts, Error> {
    let mut all = Vec::new();
    let mut marker: Option<String> = None;
    // A storage that repeats itself is not listened to for ever.
    while all.len() <= usize::from(MAX_PARTS) {
        let mut request = at.request(Method::GET);
        let marker_of_page = marker.into_iter().map(|marker| ("part-number-marker".to_owned(), Some(marker)));
        request.query.splice(..0, marker_of_page);
        let response = pass(resources.upstream.fetch(request).await?).await?;
        let document = document(response).await?;
        let page = xml::parse_uploaded_parts(&document).map_err(|_| no_list())?;
        marker = page.next.clone();
        let is_empty = page.parts.is_empty();
        all.extend(page.parts);
        if marker.is_none() || is_empty {
            return Ok(AllParts::of(all));
        }
    }
    Err(no_list())
}

fn no_list() -> Error {
    Error::UnexpectedAnswer("what is no list of an upload's parts")
}

/// The document of an answer, if it is one.
async fn document(response: Response<BoxBody>) -> Result<bytes::Bytes, Error> {
    let (head, body) = response.into_parts();
    let document = read_bounded(body, xml::MAX_UPLOAD_DOCUMENT).await.map_err(Error::upstream_body)?;
    if head.status.is_success() {
        return Ok(document);
    }
    if head.status.is_server_error() {
        return Err(Error::UpstreamFailed { status: head.status.as_u16() });
    }
    let told = xml::parse_error_document(&document).ok();
    let known = told.and_then(|told| {
        if is_no_such_upload(&told) {
            return Some(S3Error::from(ErrorCode::NoSuchUpload));
        }
        let code = ErrorCode::ALL.iter().copied().find(|known| known.code() == told.code)?;
        Some(S3Error::new(code, told.message))
    });
    Err(known.map_or(Error::UnexpectedAnswer("an error where parts were to be listed"), Error::from))
}

/// Whether an error of the storage says that the upload does not exist. radosgw reports an upload as a key:
/// NoSuchKey when the upload is finished, or never existed.
pub(crate) fn is_no_such_upload(told: &xml::ErrorDocument) -> bool {
    told.code == ErrorCode::NoSuchUpload.code() || told.code == ErrorCode::NoSuchKey.code()
}

impl AllParts {
    fn of(mut parts: Vec<ListedPart>) -> Self {
        parts.sort_by_key(|part| part.number);
        let mut times: Vec<_> = parts.iter().map(|part| part.last_modified.clone()).collect();
        times.sort_unstable();
        Self { parts, times }
    }

    /// The part of this number.
    pub(crate) fn of_number(&self, number: u16) -> Option<&ListedPart> {
        let index = self.parts.binary_search_by_key(&number, |part| part.number).ok()?;
        self.parts.get(index)
    }

    /// The parts as the format's decisions take them, without marks.
    pub(crate) fn stored(&self) -> Vec<StoredPart> {
        self.parts.iter().filter_map(|part| self.stored_part(part)).collect()
    }

    /// One part as the format's decisions take it.
    pub(crate) fn stored_part(&self, part: &ListedPart) -> Option<StoredPart> {
        let number = PartNumber::new(part.number)?;
        let modified = self.times.partition_point(|time| *time < part.last_modified) as u64;
        Some(StoredPart { number, stored_length: part.size, modified, receipt: None })
    }
}

/// An answer with another document.
pub(crate) fn with_document(mut head: http::response::Parts, document: String) -> Response<BoxBody> {
    head.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(head, buffered(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the format's decisions need it: who is younger than whom, whatever order the storage lists them in.
    #[test]
    fn parts_are_ranked_by_their_times() {
        let listed = |number, second: &str| ListedPart {
            number,
            etag: "e".to_owned(),
            size: 80,
            last_modified: second.to_owned(),
        };
        let all = AllParts::of(vec![listed(3, "09"), listed(1, "10"), listed(2, "09"), listed(4, "")]);
        let ranks: Vec<_> = all.stored().iter().map(|part| (part.number.value(), part.modified)).collect();
        assert_eq!(ranks, [(1, 3), (2, 1), (3, 1), (4, 0)]);
        assert_eq!(all.of_number(3).map(|part| part.number), Some(3));
        assert!(all.of_number(5).is_none());
    }
}
