//! The access log and the request metrics: one line per request, when its response has ended, failed or was
//! dropped. It must not know secrets or the content of a body. It promises exactly one line for each request,
//! with a request id that the response carries too.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::header::{Entry, HeaderValue};
use http::{Method, Response};
use http_body_util::BodyExt;
use metrics::{Counter, Histogram};
use tracing::Level;
use uuid::Uuid;

use super::audited::{AuditedRequest, EndedRequest};
use crate::access::{ANONYMOUS, REQUIRED_RIGHT};
use crate::admission::RequestPermit;
use crate::audit::{Audit, KeyUses};
use crate::body::{BodyEnd, BoxBody, ObservedBody, boxed};
use crate::clock;
use crate::error::{Blame, Error, with_causes};
use crate::log;
use crate::metric::{LabelledHandles, MetricHandle};
use crate::operation::request::document::NamedKeys;
use crate::s3::headers::name::REQUEST_ID;
use crate::s3::xml::parse_error_document;
use crate::s3::{BucketName, CopySource, ErrorCode, ObjectKey, Operation, Query, S3Error, S3Path};
use crate::sigv4::{AccessKeyId, AuthError};

/// The target of the log lines, for filters.
const TARGET: &str = module_path!();

static REQUEST_BYTES: MetricHandle<Counter> =
    MetricHandle::new(|| metrics::counter!("s3veil_request_bytes_total"));
static RESPONSE_BYTES: MetricHandle<Counter> =
    MetricHandle::new(|| metrics::counter!("s3veil_response_bytes_total"));

thread_local! {
    /// Handles by operation and status.
    static REQUESTS: LabelledHandles<(Option<Operation>, u16), Counter> = const { LabelledHandles::new() };
    /// Handles by operation.
    static SECONDS: LabelledHandles<Option<Operation>, Histogram> = const { LabelledHandles::new() };
}

/// 16 hexadecimal digits, unique in this process. The start is random, so that the ids of two processes
/// differ.
///
/// A counter, since the system's random generator would cost a system call for each request. The counter
/// passes a bijection (the finalizer of SplitMix64), so that consecutive ids do not look alike in a log.
fn next_request_id() -> [u8; 16] {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(Uuid::new_v4().as_u64_pair().1));
    let mut mixed = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    std::array::from_fn(|index| b"0123456789ABCDEF"[((mixed >> (60 - 4 * index)) & 0xf) as usize])
}

/// The log line of a request, filled while the request is handled. Contains no secret and no content of a
/// body.
pub(super) struct RequestRecord {
    /// Hexadecimal digits.
    request_id: [u8; 16],
    started: Instant,
    started_at: SystemTime,
    peer: SocketAddr,
    method: Method,
    operation: Option<Operation>,
    access_key_id: Option<AccessKeyId>,
    /// The access key id named by a request that was not authenticated.
    claimed: Option<String>,
    claimed_operation: Option<Operation>,
    bucket: Option<BucketName>,
    object_key: Option<ObjectKey>,
    request_bytes: u64,
    error: Option<Error>,
    /// The request id in the storage's latest response.
    storage_id: Option<HeaderValue>,
    permit: Option<RequestPermit>,
    /// `None` without an audit log, and for a request that it can't record.
    audited: Option<Box<AuditedRequest>>,
}

impl RequestRecord {
    pub(super) fn begin(parts: &http::request::Parts, peer: SocketAddr, audit: Option<&Audit>) -> Self {
        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        Self {
            request_id: next_request_id(),
            started: clock::now(),
            started_at: clock::time_of_day(),
            peer,
            method: parts.method.clone(),
            operation: None,
            access_key_id: None,
            claimed: None,
            claimed_operation: None,
            bucket: None,
            object_key: None,
            request_bytes: length.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0),
            error: None,
            storage_id: None,
            permit: None,
            audited: audit.map(|audit| Box::new(AuditedRequest::new(audit))),
        }
    }

    /// The collection of the keys that the request uses, if there is an audit log.
    pub(super) fn key_uses(&self) -> Option<KeyUses> {
        self.audited.as_ref().map(|audited| audited.uses())
    }

    /// Keeps what the audit log says of the object.
    pub(super) fn set_audited(&mut self, query: &Query, source: Option<&CopySource>) {
        if let Some(audited) = &mut self.audited {
            audited.set_target(query, source);
        }
    }

    /// Refuses an operation that uses keys while the audit log can't be written.
    ///
    /// # Errors
    /// `ServiceUnavailable`.
    pub(super) fn admit_to_audit(&mut self, operation: Operation) -> Result<(), S3Error> {
        let Some(audited) = &mut self.audited else { return Ok(()) };
        audited.admit(operation).inspect_err(|_| self.audited = None)
    }

    pub(super) fn request_id(&self) -> &str {
        std::str::from_utf8(&self.request_id).expect("it is hexadecimal")
    }

    /// When the request began.
    pub(super) fn started_at(&self) -> SystemTime {
        self.started_at
    }

    pub(super) fn set_target(&mut self, path: &S3Path) {
        (self.bucket, self.object_key) = (path.bucket().cloned(), path.object().cloned());
    }

    pub(super) fn authenticated(&mut self, access_key_id: &AccessKeyId, operation: Operation) {
        self.access_key_id = Some(access_key_id.clone());
        self.operation = Some(operation);
    }

    /// Counts a failed authentication by its reason, and keeps the claimed access key id and operation.
    pub(super) fn refused_login(
        &mut self,
        error: &AuthError,
        claimed: Option<String>,
        operation: Option<Operation>,
    ) {
        metrics::counter!("s3veil_logins_refused_total", "reason" => reason(error)).increment(1);
        (self.claimed, self.claimed_operation) = (claimed, operation);
    }

    /// Holds the permit until the response has ended. The returned clone is for work that continues after it.
    pub(super) fn admitted(&mut self, permit: RequestPermit) -> RequestPermit {
        self.permit = Some(permit.clone());
        permit
    }

    /// Whether the request had a valid signature.
    pub(super) fn is_signed(&self) -> bool {
        self.operation.is_some() && self.client() != ANONYMOUS
    }

    /// The access key id of an authenticated request; empty before.
    fn client(&self) -> &str {
        self.access_key_id.as_ref().map_or("", AccessKeyId::as_str)
    }

    pub(super) fn failed(&mut self, error: Error) {
        self.error = Some(error);
    }

    /// Keeps the request id of the storage's latest response, which is logged when the response itself has
    /// none.
    pub(super) fn set_storage_id(&mut self, storage_id: Option<HeaderValue>) {
        self.storage_id = storage_id;
    }

    /// Adds `x-amz-request-id` unless the upstream sent one, and logs when the body ends. Holds the request
    /// permit until then.
    pub(super) fn finish(mut self, mut response: Response<BoxBody>) -> Response<BoxBody> {
        let permit = self.permit.take();
        let keys = response.extensions_mut().remove::<NamedKeys>();
        let storage_id = match response.headers_mut().entry(&REQUEST_ID) {
            Entry::Occupied(id) => Some(id.get().clone()).filter(|id| id.to_str().is_ok()),
            Entry::Vacant(entry) => {
                entry.insert(HeaderValue::from_bytes(&self.request_id).expect("it is hexadecimal"));
                None
            }
        };
        let storage_id = storage_id.or_else(|| self.storage_id.take());
        if let Some(audited) = &mut self.audited {
            audited.responded(response.headers());
        }
        let (parts, body) = response.into_parts();
        let (body, storage_code) = match &self.error {
            // A response of the storage, passed on.
            None if parts.status.is_client_error() || parts.status.is_server_error() => {
                let (body, code) = observe_error_code(body);
                (body, Some(code))
            }
            None | Some(_) => (body, None),
        };
        let mut response_record =
            ResponseRecord { status: parts.status.as_u16(), storage_id, storage_code, keys, is_cut: false };
        let report = move |bytes: u64, end: BodyEnd| {
            response_record.is_cut = permit.as_ref().is_some_and(RequestPermit::is_cut);
            drop(permit);
            let end_text = response_record.end_text(&end);
            self.write(&response_record, bytes, (end_text, end));
            if let Some(audited) = self.audited.take() {
                audited.end(self.into_ended(&response_record, bytes, end_text));
            }
        };
        Response::from_parts(parts, boxed(ObservedBody::new(body, report)))
    }

    /// The request and its outcome, for the audit log.
    fn into_ended(self, response: &ResponseRecord, response_bytes: u64, end: &'static str) -> EndedRequest {
        let error = self.error.as_ref();
        let code = error.map_or_else(
            || response.storage_code(None).to_owned(),
            |error| error.to_s3().code.code().to_owned(),
        );
        EndedRequest {
            request_id: self.request_id,
            peer: self.peer,
            client: self.client().to_owned(),
            claimed: self.claimed,
            operation: self.operation.or(self.claimed_operation),
            bucket: self.bucket,
            object_key: self.object_key,
            request_bytes: self.request_bytes,
            response_bytes,
            status: response.status,
            code,
            end,
        }
    }

    fn count(&self, status: u16, response_bytes: u64, elapsed: Duration) {
        let operation = self.operation;
        let name = operation.map_or("-", Operation::name);
        let register = || metrics::counter!("s3veil_requests_total", "operation" => name, "status" => status.to_string());
        REQUESTS.with(|requests| {
            requests.with((operation, status), register, |counter| counter.increment(1));
        });
        let register = || metrics::histogram!("s3veil_request_duration_seconds", "operation" => name);
        SECONDS.with(|seconds| {
            seconds.with(operation, register, |histogram| histogram.record(elapsed.as_secs_f64()));
        });
        RESPONSE_BYTES.with(|counter| counter.increment(response_bytes));
        REQUEST_BYTES.with(|counter| counter.increment(self.request_bytes));
    }

    /// Counts a failed request by its code and by whose side failed. Codes that S3 does not document are one.
    fn count_error(&self, response: &ResponseRecord) {
        let (code, side) = match &self.error {
            Some(error) => (error.to_s3().code, error.blame().side()),
            None => match ErrorCode::parse(response.storage_code(None)) {
                Some(code) => (code, "storage"),
                None => {
                    metrics::counter!("s3veil_errors_total", "code" => "other", "side" => "storage")
                        .increment(1);
                    return;
                }
            },
        };
        if code == ErrorCode::IntegrityCheckFailed {
            metrics::counter!("s3veil_integrity_failures_total").increment(1);
        }
        metrics::counter!("s3veil_errors_total", "code" => code.code(), "side" => side).increment(1);
    }

    fn write(&self, response: &ResponseRecord, response_bytes: u64, (end, how): (&'static str, BodyEnd)) {
        let elapsed = clock::since(self.started);
        self.count(response.status, response_bytes, elapsed);
        let cut = match how {
            BodyEnd::Failed(cause) => Some(cause),
            BodyEnd::Complete | BodyEnd::Dropped => None,
        };
        let error = self.error.as_ref();
        if cut.is_some() {
            metrics::counter!("s3veil_responses_cut_total").increment(1);
        }
        if response.status >= 400 {
            self.count_error(response);
        }
        let is_our_side = cut.is_some() || error.is_some_and(|error| error.blame() != Blame::Downstream);
        let (level, is_enabled) = if is_our_side {
            (Level::WARN, tracing::enabled!(target: TARGET, Level::WARN))
        } else {
            (Level::INFO, tracing::enabled!(target: TARGET, Level::INFO))
        };
        if !is_enabled {
            return;
        }
        let storage_code = response.storage_code(error);
        let storage_id = response.storage_id.as_ref().and_then(|id| id.to_str().ok());
        let cause = cut.or_else(|| error.map(|error| with_causes(error))).unwrap_or_default();
        let refused = error.map(Error::to_s3);
        let right = refused.as_ref().and_then(|error| error.field(REQUIRED_RIGHT));
        log::write_line(clock::time_of_day(), level, TARGET, |line| {
            line.text("msg", "request");
            line.text("request_id", self.request_id());
            line.address("peer", self.peer);
            line.text("client", self.client());
            line.optional_text("claimed_client", self.claimed.as_deref());
            line.text("method", self.method.as_str());
            line.optional_text("operation", self.operation.map(Operation::name));
            line.optional_text("asked_operation", self.claimed_operation.map(Operation::name));
            line.text("bucket", self.bucket.as_ref().map_or("", BucketName::as_str));
            line.text("object_key", self.object_key.as_ref().map_or("", ObjectKey::as_str));
            if let Some(keys) = &response.keys {
                line.display("keys", keys);
                line.optional_text("refused_keys", keys.refused());
            }
            line.number("status", response.status.into());
            line.text("code", refused.as_ref().map_or(storage_code, |error| error.code.code()));
            line.optional_text("right", right);
            line.text("storage_code", storage_code);
            line.text("cause", &cause);
            line.number("request_bytes", self.request_bytes);
            line.number("response_bytes", response_bytes);
            line.number("duration_ms", u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            line.text("storage_request_id", storage_id.unwrap_or_default());
            line.text("end", end);
        });
    }
}

/// The logged properties of a response: known with its head, except for the error code, which its body holds.
struct ResponseRecord {
    status: u16,
    storage_id: Option<HeaderValue>,
    /// For an error response of the storage.
    storage_code: Option<Arc<OnceLock<String>>>,
    keys: Option<NamedKeys>,
    /// Whether the client was cut off.
    is_cut: bool,
}

impl ResponseRecord {
    /// How the response ended, in words.
    fn end_text(&self, end: &BodyEnd) -> &'static str {
        match end {
            BodyEnd::Complete => "complete",
            BodyEnd::Failed(_) => "cut",
            BodyEnd::Dropped if self.is_cut => "cut: the client was too slow",
            BodyEnd::Dropped => "dropped by client",
        }
    }

    /// The error code of the storage; empty if there is none.
    fn storage_code<'a>(&'a self, error: Option<&'a Error>) -> &'a str {
        match error {
            Some(Error::UpstreamCredentials { code }) => code.as_str(),
            Some(Error::UpstreamDenied { .. }) => ErrorCode::AccessDenied.code(),
            Some(_) | None => {
                self.storage_code.as_ref().and_then(|code| code.get()).map_or("", String::as_str)
            }
        }
    }
}

/// A body of the storage, and the error code that it contains if it is an error document.
fn observe_error_code(body: BoxBody) -> (BoxBody, Arc<OnceLock<String>>) {
    let code = Arc::new(OnceLock::new());
    let found = Arc::clone(&code);
    let watched = body.map_frame(move |frame| {
        let document = frame.data_ref().filter(|_| found.get().is_none());
        if let Some(error) = document.and_then(|document| parse_error_document(document).ok()) {
            // Only the first code is kept.
            drop(found.set(error.code));
        }
        frame
    });
    (boxed(watched), code)
}

/// The reason of a failed authentication, as a label of the metric.
fn reason(error: &AuthError) -> &'static str {
    if matches!(error, AuthError::Anonymous) {
        "no_signature"
    } else if matches!(error, AuthError::UnknownAccessKeyId(_)) {
        "unknown_key"
    } else if matches!(error, AuthError::SignatureDoesNotMatch(_)) {
        "bad_signature"
    } else if matches!(error, AuthError::Expired { .. }) {
        "expired"
    } else if matches!(error, AuthError::RequestTimeTooSkewed { .. } | AuthError::NotYetValid { .. }) {
        "skew"
    } else {
        "malformed"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_are_unique() {
        let names: HashSet<_> = (0..10_000).map(|_| next_request_id()).collect();
        assert_eq!(names.len(), 10_000);
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        assert!(names.iter().all(|name| name.iter().copied().all(is_digit)));
    }
}
