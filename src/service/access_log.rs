//! The access log and the request metrics: one line per request, when its response has ended, failed or was
//! dropped. It must not know secrets or the content of a body. It promises at most one line for each request,
//! as the settings of the log say, with a request id that the response carries too.

mod line;
mod response;
mod span;

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::header::{Entry, HeaderName, HeaderValue};
use http::{Method, Response};
use http_body_util::BodyExt;
use tracing::Level;
use uuid::Uuid;

use self::response::{ResponseRecord, observe_error_code};
use super::audited::{AuditedRequest, EndedRequest};
use super::details::Details;
use super::tally::RequestTallies;
use super::{Arrival, measured};
use crate::access::ANONYMOUS;
use crate::admission::RequestPermit;
use crate::audit::{Audit, KeyUses};
use crate::body::{BodyEnd, BoxBody, ObservedBody};
use crate::clock;
use crate::error::{Blame, Error, with_causes};
use crate::log::{self, AccessLog, field};
use crate::meter::Meter;
use crate::operation::request::document::NamedKeys;
use crate::recent::{self, FailedRequest, Kind};
use crate::s3::headers::CustomerKeys;
use crate::s3::headers::name::REQUEST_ID;
use crate::s3::{BucketName, CopySource, ErrorCode, ObjectKey, Operation, Query, S3Error, S3Path};
use crate::sigv4::{AccessKeyId, AuthError};
use crate::trace::{Facts, InTrace, RequestTrace, Tracer};

/// The target of the log lines, for filters.
const TARGET: &str = module_path!();

const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

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
    meter: Meter,
    /// What the meter had counted when the request began.
    received_before: u64,
    tallies: RequestTallies,
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
    details: Details,
    /// What the request did until its response began.
    facts: Facts,
    permit: Option<RequestPermit>,
    /// `None` without an audit log, and for a request that it can't record.
    audited: Option<Box<AuditedRequest>>,
    trace: Option<RequestTrace>,
    access: AccessLog,
}

/// What records a request besides its log line, and which requests have one.
#[derive(Clone, Copy)]
pub(super) struct Recorders<'a> {
    pub(super) audit: Option<&'a Audit>,
    pub(super) tracer: Option<&'a Tracer>,
    pub(super) access: AccessLog,
}

impl RequestRecord {
    pub(super) fn begin(
        parts: &http::request::Parts,
        arrival: &Arrival,
        tallies: RequestTallies,
        recorders: Recorders<'_>,
    ) -> Box<Self> {
        let Recorders { audit, tracer, access } = recorders;
        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        // On the heap, since it goes from the request to the end of the response's body.
        Box::new(Self {
            request_id: next_request_id(),
            started: clock::now(),
            started_at: clock::time_of_day(),
            peer: arrival.peer,
            meter: arrival.meter.clone(),
            received_before: arrival.meter.received(),
            tallies,
            method: parts.method.clone(),
            operation: None,
            access_key_id: None,
            claimed: None,
            claimed_operation: None,
            bucket: None,
            object_key: None,
            request_bytes: length.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0),
            error: None,
            details: Details::new(&parts.headers, arrival.tls_version),
            facts: Facts::default(),
            permit: None,
            audited: audit.map(|audit| Box::new(AuditedRequest::new(audit))),
            trace: tracer.map(|tracer| RequestTrace::begin(tracer, &parts.headers)),
            access,
        })
    }

    /// The collection of the keys that the request uses, if there is an audit log.
    pub(super) fn key_uses(&self) -> Option<KeyUses> {
        self.audited.as_ref().map(|audited| audited.uses())
    }

    /// The trace of the request, if there are traces.
    pub(super) fn trace(&self) -> Option<RequestTrace> {
        self.trace.clone()
    }

    /// The properties of the request, to be completed.
    pub(super) fn details(&mut self) -> &mut Details {
        &mut self.details
    }

    /// Keeps what the logs say of the object.
    pub(super) fn set_object(&mut self, query: &Query, source: Option<&CopySource>, keys: &CustomerKeys) {
        self.details.set_query(query);
        if let Some(audited) = &mut self.audited {
            audited.set_target(query, source, keys.is_used());
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

    /// The metrics that the request counts in besides those of all requests.
    pub(super) fn tallies(&mut self) -> &mut RequestTallies {
        &mut self.tallies
    }

    /// Counts a failed authentication by its reason, and keeps the claimed access key id and operation.
    pub(super) fn refused_login(
        &mut self,
        error: &AuthError,
        claimed: Option<String>,
        operation: Option<Operation>,
    ) {
        measured::count_refused_login(error);
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

    /// Keeps what the request did. The request id of the storage's latest response is logged when the
    /// response itself has none.
    pub(super) fn set_facts(&mut self, facts: Facts) {
        self.facts = facts;
    }

    /// Adds `x-amz-request-id` unless the upstream sent one, and logs when the body ends. Holds the request
    /// permit until then.
    pub(super) fn finish(mut self: Box<Self>, mut response: Response<BoxBody>) -> Response<BoxBody> {
        let first_byte = clock::since(self.started);
        measured::count_head(self.operation, first_byte);
        let permit = self.permit.take();
        let keys = response.extensions_mut().remove::<NamedKeys>();
        let storage_id = match response.headers_mut().entry(&REQUEST_ID) {
            Entry::Occupied(id) => Some(id.get().clone()).filter(|id| id.to_str().is_ok()),
            Entry::Vacant(entry) => {
                entry.insert(HeaderValue::from_bytes(&self.request_id).expect("it is hexadecimal"));
                None
            }
        };
        let storage_id = storage_id.or_else(|| self.facts.storage_request_id.take());
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
        let mut response_record = ResponseRecord {
            status: parts.status.as_u16(),
            first_byte,
            version_id: parts.headers.get(VERSION_ID).cloned(),
            storage_id,
            storage_code,
            keys,
            is_cut: false,
        };
        let trace = self.trace.as_ref().filter(|trace| trace.is_sampled()).cloned();
        let report = move |bytes: u64, end: BodyEnd| {
            response_record.is_cut = permit.as_ref().is_some_and(RequestPermit::is_cut);
            drop(permit);
            let end_text = response_record.end_text(&end);
            self.end_span(&response_record, bytes, &end);
            self.write(&response_record, bytes, (end_text, end));
            if let Some(audited) = self.audited.take() {
                audited.end(self.into_ended(response_record, bytes, end_text));
            }
        };
        let body = ObservedBody::new(body, report);
        let body = match trace {
            Some(trace) => InTrace::new(body, trace).boxed_unsync(),
            None => body.boxed_unsync(),
        };
        Response::from_parts(parts, body)
    }

    /// The request and its outcome, for the audit log.
    fn into_ended(self, response: ResponseRecord, response_bytes: u64, end: &'static str) -> EndedRequest {
        let code = self.code(&response).to_owned();
        EndedRequest {
            request_id: self.request_id,
            peer: self.peer,
            client: self.access_key_id,
            claimed: self.claimed,
            operation: self.operation.or(self.claimed_operation),
            bucket: self.bucket,
            object_key: self.object_key,
            request_bytes: self.request_bytes,
            response_bytes,
            status: response.status,
            code,
            version: response.version_id,
            end,
        }
    }

    /// The error code of the response; empty if there is none.
    fn code<'a>(&self, response: &'a ResponseRecord) -> &'a str {
        let error = self.error.as_ref();
        error.map_or_else(|| response.storage_code(None), |error| error.to_s3().code.code())
    }

    /// Whose side failed, the S3 error code, and its text; `None` for a request that succeeded. Codes that S3
    /// does not document are text alone.
    fn failure<'a>(&'a self, response: &'a ResponseRecord) -> Option<Failure<'a>> {
        if response.status < 400 {
            return None;
        }
        Some(match &self.error {
            Some(error) => {
                let code = error.to_s3().code;
                Failure { side: error.blame().side(), code: Some(code), text: code.code() }
            }
            None => {
                let text = response.storage_code(None);
                Failure { side: "storage", code: ErrorCode::parse(text), text }
            }
        })
    }

    /// Counts a request that has ended, and keeps it for the status page if it failed.
    fn count(&self, response: &ResponseRecord, sent: u64, elapsed: Duration, cut: Option<&Cut>) {
        let received = self.meter.received().saturating_sub(self.received_before);
        measured::count_request(self.operation, response.status, (received, sent), elapsed);
        let failure = self.failure(response);
        let is_error = failure.is_some() || cut.is_some();
        self.tallies.count(is_error, (received, sent), clock::time_of_day());
        if let Some(cut) = cut {
            measured::count_cut(cut.is_integrity_failure);
        }
        if let Some(failure) = &failure {
            measured::count_error(failure.code, failure.side);
        }
        if is_error && recent::is_kept() {
            let is_refusal = cut.is_none() && response.status < 500;
            let kind = if is_refusal { Kind::Refusal } else { Kind::Failure };
            recent::record(kind, self.describe(response, failure.as_ref(), elapsed, cut));
        }
    }

    /// A failed request, for the status page.
    fn describe(
        &self,
        response: &ResponseRecord,
        failure: Option<&Failure<'_>>,
        duration: Duration,
        cut: Option<&Cut>,
    ) -> FailedRequest {
        let cause = cut.map(|cut| cut.cause.clone());
        let cause = cause.or_else(|| self.error.as_ref().map(|error| with_causes(error)));
        let integrity = failure.is_some_and(|failure| failure.code == Some(ErrorCode::IntegrityCheckFailed));
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        FailedRequest {
            at: clock::time_of_day(),
            request_id: self.request_id().to_owned(),
            client: self.claimed.clone().unwrap_or_else(|| self.client().to_owned()),
            is_authenticated: self.access_key_id.is_some(),
            operation: measured::name(self.operation.or(self.claimed_operation)),
            bucket: text(self.bucket.as_ref().map(BucketName::as_str)),
            object_key: text(self.object_key.as_ref().map(ObjectKey::as_str)),
            status: response.status,
            code: text(failure.map(|failure| failure.text)),
            side: failure.map_or("storage", |failure| failure.side),
            cause: cause.unwrap_or_default(),
            duration,
            storage_request_id: text(response.storage_id.as_ref().and_then(|id| id.to_str().ok())),
            is_integrity_failure: integrity || cut.is_some_and(|cut| cut.is_integrity_failure),
        }
    }

    fn write(&self, response: &ResponseRecord, response_bytes: u64, (end, how): (&'static str, BodyEnd)) {
        let elapsed = clock::since(self.started);
        let cut = match how {
            BodyEnd::Failed { cause, is_integrity_failure } => Some(Cut { cause, is_integrity_failure }),
            BodyEnd::Complete | BodyEnd::Dropped => None,
        };
        self.count(response, response_bytes, elapsed, cut.as_ref());
        let error = self.error.as_ref();
        let number = || u64::from_str_radix(self.request_id(), 16).unwrap_or_default();
        if !self.access.has_line(cut.is_some() || response.status >= 400, elapsed, number) {
            return;
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
        let cause =
            cut.map(|cut| cut.cause).or_else(|| error.map(|error| with_causes(error))).unwrap_or_default();
        log::write_line(clock::time_of_day(), level, TARGET, |line| {
            self.describe_request(line, response);
            self.describe_failure(line, response, &cause);
            self.describe_work(line, response, (response_bytes, elapsed));
            line.text(field!("end"), end);
        });
    }
}

/// What failed, for the metrics and the status page.
struct Failure<'a> {
    side: &'static str,
    /// `None` for a code that S3 does not document.
    code: Option<ErrorCode>,
    text: &'a str,
}

/// Why a response broke off after its head.
struct Cut {
    cause: String,
    is_integrity_failure: bool,
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
