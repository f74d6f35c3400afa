//! GetObject: one request to the storage, whole or a range, opened while it streams.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, IF_RANGE, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;

use super::head_object;
use super::stored::StoredKeys;
use super::{Call, Resources, answer, upstream_answer};
use crate::body::{BoxBody, BoxError, OpenBody};
use crate::envelope::native::{CiphertextRange, PlaintextRange, ReadWindow};
use crate::error::Error;
use crate::s3::{ByteRange, ErrorCode, RangeSpec, S3Error, headers, range};
use crate::upstream::{UpstreamBody, UpstreamRequest};

pub(super) async fn get_object(resources: &Resources, call: Call) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let rule = resources.policies.of_object(bucket, object_key)?;
    let asked = Asked::of(&call)?;
    let mut request = call.upstream_request(Method::GET);
    request.headers = headers::read_headers(&call.headers)?;
    request.query = call.upstream_query(head_object::is_read_parameter);
    if let Some(spec) = asked.range {
        let value = HeaderValue::try_from(range_header(spec)).expect("digits are a header value");
        request.headers.insert(RANGE, value);
        if let Some(condition) = call.headers.get(IF_RANGE) {
            request.headers.insert(IF_RANGE, condition.clone());
        }
    }
    let again = asked.range.map(|_| same_without_body(&request));
    let mut response = resources.upstream.send(request).await?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE
        && let Some(again) = again
    {
        response = explain_or_repeat(resources, &asked, again).await?;
    }
    if !matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return upstream_answer::pass(response).await;
    }

    let (mut parts, ciphertext) = response.into_parts();
    let stored = StoredKeys::from_headers(&parts.headers)?;
    let run = StoredRun::of(parts.status, &parts.headers, &ciphertext)?;
    let reading = asked.reading(&run, call.headers.contains_key(IF_RANGE))?;
    let unlocked = stored.unlock(&resources.keyring, rule, bucket, object_key).await?;
    let plaintext =
        OpenBody::new(ciphertext, &unlocked.opened.content_key, &reading.window)?.primed().await?;

    answer::clean(&mut parts.headers);
    answer::tell_encrypted(&mut parts.headers, Some(&unlocked.key_id));
    answer::tell_length(&mut parts.headers, reading.window.length);
    parts.headers.remove(CONTENT_RANGE);
    parts.status = StatusCode::OK;
    if let Some(range) = reading.partial {
        parts.status = StatusCode::PARTIAL_CONTENT;
        let value = range.content_range(reading.window.plaintext_total);
        parts.headers.insert(CONTENT_RANGE, HeaderValue::try_from(value).expect("digits are a header value"));
    }
    if answer::wants_checksums(&call.headers, parts.status) {
        answer::tell_checksums(&mut parts.headers, &unlocked.checksums());
    }
    let plaintext = plaintext.map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync();
    Ok(Response::from_parts(parts, plaintext))
}

/// Which part of the object the client wants.
pub(super) struct Asked {
    pub(super) range: Option<RangeSpec>,
    part: Option<u16>,
}

/// What is read out of the stored bytes, and whether the answer is a partial one.
pub(super) struct Reading {
    pub(super) window: ReadWindow,
    pub(super) partial: Option<ByteRange>,
}

impl Asked {
    /// # Errors
    /// As S3: `InvalidRequest` for both a range and a part, `InvalidArgument` for a part number out of 1..=10,000.
    pub(super) fn of(call: &Call) -> Result<Self, Error> {
        let range = call.headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(RangeSpec::parse);
        let Some(part) = call.query.first("partNumber") else { return Ok(Self { range, part: None }) };
        if call.headers.contains_key(RANGE) {
            let message = "Cannot specify both Range header and partNumber query parameter";
            return Err(S3Error::invalid_request(message).into());
        }
        match part.parse() {
            Ok(number @ 1..=10_000) => Ok(Self { range: None, part: Some(number) }),
            _ => {
                let message = "Part number must be an integer between 1 and 10000, inclusive";
                Err(S3Error::invalid_argument("partNumber", part, message).into())
            }
        }
    }

    /// Decides what to read out of a run of stored bytes. `conditional`: the client sent If-Range, so an answer
    /// with the whole object means that the object changed.
    pub(super) fn reading(&self, run: &StoredRun, conditional: bool) -> Result<Reading, Error> {
        let whole = ReadWindow::whole(run.total)?;
        let total = whole.plaintext_total;
        match (self.range, self.part) {
            (None, None) if !run.partial => Ok(Reading { window: whole, partial: None }),
            (None, None) => {
                Err(Error::UnexpectedAnswer("a part of the object where the whole was asked for"))
            }
            // An object written by one PUT has one part: all of it.
            (None, Some(1)) if !run.partial => Ok(Reading {
                window: whole,
                partial: total.checked_sub(1).and_then(|last| ByteRange::new(0, last)),
            }),
            (None, Some(_)) => {
                let error =
                    S3Error::new(ErrorCode::InvalidPartNumber, ErrorCode::InvalidPartNumber.message());
                Err(error.with("ActualPartCount", "1").into())
            }
            (Some(_), _) if conditional && !run.partial => Ok(Reading { window: whole, partial: None }),
            (Some(spec), _) => {
                let range =
                    spec.resolve(total).ok_or_else(|| range::unsatisfiable(&requested(spec), total))?;
                let window = ReadWindow::slice(run.total, run.first, range.first(), range.last())?;
                Ok(Reading { window, partial: Some(range) })
            }
        }
    }
}

/// The run of stored bytes that an answer holds.
pub(super) struct StoredRun {
    /// Stored bytes of the whole object.
    pub(super) total: u64,
    /// Offset of the first stored byte in the answer.
    pub(super) first: u64,
    /// Whether it is a part of the object.
    pub(super) partial: bool,
}

impl StoredRun {
    fn of(status: StatusCode, headers: &HeaderMap, body: &BoxBody) -> Result<Self, Error> {
        if status == StatusCode::PARTIAL_CONTENT {
            let (range, total) = headers
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .and_then(ByteRange::parse_content_range)
                .ok_or(Error::UnexpectedAnswer("206 without a usable Content-Range"))?;
            return Ok(Self { total, first: range.first(), partial: true });
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let total = length
            .or_else(|| body.size_hint().exact())
            .ok_or(Error::UnexpectedAnswer("an object without Content-Length"))?;
        Ok(Self { total, first: 0, partial: false })
    }

    /// The whole object, as a HEAD describes it.
    pub(super) fn of_head(headers: &HeaderMap) -> Result<Self, Error> {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let total = length.ok_or(Error::UnexpectedAnswer("an object without Content-Length"))?;
        Ok(Self { total, first: 0, partial: false })
    }
}

/// The stored bytes to ask for: whole chunks (F-27).
fn range_header(spec: RangeSpec) -> String {
    let plaintext = match spec {
        RangeSpec::Bounded { first, last } => PlaintextRange::Bounded { first, last },
        RangeSpec::From { first } => PlaintextRange::From { first },
        RangeSpec::Suffix { length } => PlaintextRange::Suffix { length },
    };
    match plaintext.ciphertext() {
        CiphertextRange::Bounded { first, last } => format!("bytes={first}-{last}"),
        CiphertextRange::From { first } => format!("bytes={first}-"),
        CiphertextRange::Suffix { length } => format!("bytes=-{length}"),
    }
}

fn same_without_body(request: &UpstreamRequest) -> UpstreamRequest {
    UpstreamRequest {
        method: request.method.clone(),
        bucket: request.bucket.clone(),
        object: request.object.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
        body: UpstreamBody::Empty,
    }
}

fn requested(spec: RangeSpec) -> String {
    match spec {
        RangeSpec::Bounded { first, last } => format!("bytes={first}-{last}"),
        RangeSpec::From { first } => format!("bytes={first}-"),
        RangeSpec::Suffix { length } => format!("bytes=-{length}"),
    }
}

/// The storage could not satisfy the range of stored bytes. The answer must speak of plaintext bytes, so the object's
/// length is asked for; a range that lies inside it after all (some storages refuse a suffix longer than the object)
/// is asked for again, with both ends.
///
/// # Errors
/// `InvalidRange` with the plaintext's length, mostly.
async fn explain_or_repeat(
    resources: &Resources,
    asked: &Asked,
    mut request: UpstreamRequest,
) -> Result<Response<BoxBody>, Error> {
    request.headers.remove(RANGE);
    request.headers.remove(IF_RANGE);
    let mut head_request = same_without_body(&request);
    head_request.method = Method::HEAD;
    let response = resources.upstream.send(head_request).await?;
    if response.status() != StatusCode::OK {
        return Err(Error::UnexpectedAnswer("416, and no answer to HEAD"));
    }
    StoredKeys::from_headers(response.headers())?;
    let reading = asked.reading(&StoredRun::of_head(response.headers())?, false)?;
    let first = reading.window.discard;
    let last = first + reading.window.ciphertext_needed() - 1;
    let value = HeaderValue::try_from(format!("bytes={first}-{last}")).expect("digits are a header value");
    request.headers.insert(RANGE, value);
    Ok(resources.upstream.send(request).await?)
}
