//! The parts of an upload, as the storage lists them.

use http::{HeaderMap, Method, Response};

use super::Resources;
use super::upload::name_upload;
use super::upstream_answer::{buffered, pass};
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::multipart::{MAX_PARTS, PartNumber, StoredPart};
use crate::error::Error;
use crate::s3::xml::{self, ListedPart};
use crate::s3::{BucketName, ErrorCode, ObjectKey, S3Error};
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// Where an upload is.
pub(super) struct UploadAt<'a> {
    pub(super) bucket: &'a BucketName,
    pub(super) object_key: &'a ObjectKey,
    pub(super) upstream_id: &'a str,
    /// What goes along with every request.
    pub(super) headers: &'a HeaderMap,
}

/// All parts of an upload, by ascending number.
pub(super) struct AllParts(Vec<ListedPart>);

/// Lists all parts, page by page.
///
/// # Errors
/// `NoSuchUpload` when there is no such upload; else [`Error::UnexpectedAnswer`] for what is no list of parts.
pub(super) async fn list_parts(resources: &Resources, at: &UploadAt<'_>) -> Result<AllParts, Error> {
    let mut all = Vec::new();
    let mut marker: Option<String> = None;
    // A storage that repeats itself is not listened to for ever.
    while all.len() <= usize::from(MAX_PARTS) {
        let mut request = UpstreamRequest {
            method: Method::GET,
            bucket: Some(at.bucket.clone()),
            object: Some(at.object_key.clone()),
            query: marker.into_iter().map(|marker| ("part-number-marker".to_owned(), Some(marker))).collect(),
            headers: at.headers.clone(),
            body: UpstreamBody::Empty,
        };
        name_upload(&mut request, at.upstream_id);
        let response = pass(resources.upstream.send(request).await?).await?;
        let document = document(response).await?;
        let page = xml::parse_uploaded_parts(&document).map_err(|_| no_list())?;
        marker = page.next.clone();
        let is_empty = page.parts.is_empty();
        all.extend(page.parts);
        if marker.is_none() || is_empty {
            all.sort_by_key(|part: &ListedPart| part.number);
            return Ok(AllParts(all));
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
    let told = xml::parse_error_document(&document).ok();
    let known = told.and_then(|told| {
        let code = ErrorCode::ALL.iter().copied().find(|known| known.code() == told.code)?;
        Some(S3Error::new(code, told.message))
    });
    Err(known.map_or(Error::UnexpectedAnswer("an error where parts were to be listed"), Error::from))
}

impl AllParts {
    /// The part of this number.
    pub(super) fn of_number(&self, number: u16) -> Option<&ListedPart> {
        let index = self.0.binary_search_by_key(&number, |part| part.number).ok()?;
        self.0.get(index)
    }

    /// The parts as the format's decisions take them, without marks.
    pub(super) fn stored(&self) -> Vec<StoredPart> {
        self.0.iter().filter_map(|part| stored(part, &self.0)).collect()
    }

    /// One part as the format's decisions take it.
    pub(super) fn stored_part(&self, part: &ListedPart) -> Option<StoredPart> {
        stored(part, &self.0)
    }
}

/// Times are compared only: their rank among all is as good as they are.
fn stored(part: &ListedPart, all: &[ListedPart]) -> Option<StoredPart> {
    let number = PartNumber::new(part.number)?;
    let earlier = if part.last_modified.is_empty() { 0 } else { rank(part, all) };
    Some(StoredPart { number, stored_length: part.size, modified: earlier, mark: None })
}

fn rank(part: &ListedPart, all: &[ListedPart]) -> u64 {
    all.iter().filter(|other| other.last_modified < part.last_modified).count() as u64
}

/// An answer with another document.
pub(super) fn with_document(mut head: http::response::Parts, document: String) -> Response<BoxBody> {
    head.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(head, buffered(document))
}
