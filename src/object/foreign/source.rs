//! Further requests about a foreign object: for its stored bytes, its instruction file and the padding at its
//! end.
//!
//! It must not know data keys or what the client requested. It promises that stored bytes come from the
//! object whose ETag and length were seen first, even if the storage ignores If-Match.

use bytes::Bytes;
use http::header::{HeaderValue, IF_MATCH, RANGE};
use http::{Method, StatusCode};

use crate::body::{BoxBody, read_bounded};
use crate::envelope::article_cbc::{CbcBody, Unreadable};
use crate::envelope::s3ec::{Entries, INSTRUCTION_SUFFIX, MAX_INSTRUCTION_FILE};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::Resources;
use crate::object::layout::read_run;
use crate::object::location::{ObjectLocation, ReceivedRange, etag_of, unreadable};
use crate::object::range::stored_range;
use crate::object::rule::BucketRule;
use crate::s3::{ByteRange, ObjectKey, headers};

/// A foreign object's location, with what further requests about the object need.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) rule: &'a BucketRule,
    pub(crate) at: &'a ObjectLocation<'a>,
}

impl Source<'_> {
    /// The entries of the object's instruction file; `None` if there is none, or if the object of that name
    /// is not an instruction file.
    pub(crate) async fn instruction_file(&self) -> Result<Option<Entries>> {
        let name = format!("{}{INSTRUCTION_SUFFIX}", self.at.object_key.as_str());
        let Ok(object_key) = ObjectKey::parse(name) else { return Ok(None) };
        let mut request = self.at.request(Method::GET);
        request.object = Some(object_key);
        request.query.clear();
        let response = self.resources.upstreams.send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            // S3 responds 403 instead of 404 to a caller that may not list the bucket.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            status if status.is_server_error() => {
                return Err(Error::UpstreamFailed { status: status.as_u16() });
            }
            _ => return Err(Error::UnexpectedResponse(UnexpectedResponse::Refusal("GetObject"))),
        }
        let is_encrypted = response.headers().contains_key(headers::ENCRYPTION_KEY);
        let run = ReceivedRange::from_response(response.status(), response.headers(), response.body())?;
        if is_encrypted || run.total > MAX_INSTRUCTION_FILE as u64 {
            return Ok(None);
        }
        let content = read_bounded(response.into_body(), MAX_INSTRUCTION_FILE).await;
        let content = content.map_err(Error::UpstreamBody)?;
        Ok(Entries::parse_instruction_file(&content).ok())
    }

    /// Whether the object's name ends as an instruction file's does, and its length is at most that of one.
    pub(crate) fn is_named_instruction_file(&self, stored: u64) -> bool {
        self.at.object_key.as_str().ends_with(INSTRUCTION_SUFFIX) && stored <= MAX_INSTRUCTION_FILE as u64
    }

    /// Fetches the stored bytes in `range`, or more of them, of the object with this ETag and length; without
    /// a range, all of them.
    ///
    /// # Errors
    /// [`Error::Replaced`] when the object has been replaced since it was seen.
    pub(crate) async fn fetch(
        &self,
        etag: &str,
        stored: u64,
        range: Option<ByteRange>,
    ) -> Result<(ReceivedRange, BoxBody)> {
        let mut request = self.at.request(Method::GET);
        let pin = HeaderValue::try_from(format!("\"{etag}\"")).expect("the ETag came in a header");
        request.headers.insert(IF_MATCH, pin);
        if let Some(range) = range {
            request.headers.insert(RANGE, stored_range(range.first(), range.last()));
        }
        let response = self.resources.upstreams.send(request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(Error::Replaced);
            }
            StatusCode::FORBIDDEN => return Err(unreadable(response).await),
            _ => return Err(Error::UnexpectedResponse(UnexpectedResponse::Refusal("GetObject"))),
        }
        let run = ReceivedRange::from_response(response.status(), response.headers(), response.body())?;
        // Not every storage supports If-Match.
        if etag_of(response.headers()) != Some(etag) || run.total != stored {
            return Err(Error::Replaced);
        }
        Ok((run, response.into_body()))
    }

    /// The plaintext length of an AES-CBC chain, from the padding at its end.
    pub(crate) async fn chain_length(&self, chain: &CbcBody, etag: &str, stored: u64) -> Result<u64> {
        let range = chain.tail(stored)?;
        let (run, body) = self.fetch(etag, stored, Some(range)).await?;
        let tail: Bytes = read_run(body, run, range.first(), range.len()).await?;
        chain.length_by_tail(stored, &tail).map_err(|Unreadable| Unreadable.into())
    }

    pub(crate) fn log(&self, what: &'static str) {
        let (bucket, object_key) = (self.at.bucket.as_str(), self.at.object_key.as_str());
        tracing::info!(bucket, object_key, "{what}");
    }
}
