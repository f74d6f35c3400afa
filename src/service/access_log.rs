//! The access log and the request metrics: one line per request, when its response has ended, failed or was
//! dropped. It must not know secrets or the content of a body. It promises exactly one line for each request,
//! with a request id that the response carries too.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Instant;

use http::header::HeaderValue;
use http::{Method, Response};
use http_body_util::BodyExt;
use uuid::Uuid;

use crate::admission::RequestPermit;
use crate::body::{BodyEnd, BoxBody, ObservedBody, boxed};
use crate::error::{Blame, Error, with_causes};
use crate::operation::request::document::NamedKeys;
use crate::s3::xml::parse_error_document;
use crate::s3::{ErrorCode, Operation, S3Path};
use crate::sigv4::AuthError;
use crate::upstream::REQUEST_ID;

/// 16 hexadecimal digits, unique in this process. The start is random, so that the ids of two processes
/// differ.
///
/// A counter, since the system's random generator would cost a system call for each request. The counter
/// passes a bijection (the finalizer of SplitMix64), so that consecutive ids do not look alike in a log.
fn next_request_id() -> String {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(Uuid::new_v4().as_u64_pair().1));
    let mut mixed = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016X}", mixed ^ (mixed >> 31))
}

/// The log line of a request, filled while the request is handled. Contains no secret and no content of a
/// body.
pub(super) struct RequestRecord {
    request_id: String,
    started: Instant,
    peer: SocketAddr,
    method: Method,
    operation: Option<Operation>,
    access_key_id: String,
    /// The access key id named by a request that was not authenticated.
    claimed: Option<String>,
    claimed_operation: Option<Operation>,
    bucket: String,
    object_key: String,
    request_bytes: u64,
    error: Option<Error>,
    /// The request id in the storage's latest response.
    storage_id: String,
    permit: Option<RequestPermit>,
}

impl RequestRecord {
    pub(super) fn begin(parts: &http::request::Parts, peer: SocketAddr) -> Self {
        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        Self {
            request_id: next_request_id(),
            started: Instant::now(),
            peer,
            method: parts.method.clone(),
            operation: None,
            access_key_id: String::new(),
            claimed: None,
            claimed_operation: None,
            bucket: String::new(),
            object_key: String::new(),
            request_bytes: length.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0),
            error: None,
            storage_id: String::new(),
            permit: None,
        }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(super) fn set_target(&mut self, path: &S3Path) {
        self.bucket = path.bucket().map(|bucket| bucket.as_str().to_owned()).unwrap_or_default();
        self.object_key = path.object().map(|object_key| object_key.as_str().to_owned()).unwrap_or_default();
    }

    pub(super) fn authenticated(&mut self, access_key_id: &str, operation: Operation) {
        self.access_key_id = access_key_id.to_owned();
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
    pub(super) fn is_authenticated(&self) -> bool {
        self.operation.is_some()
    }

    pub(super) fn failed(&mut self, error: Error) {
        self.error = Some(error);
    }

    /// Keeps the request id of the storage's latest response, which is logged when the response itself has
    /// none.
    pub(super) fn set_storage_id(&mut self, storage_id: String) {
        self.storage_id = storage_id;
    }

    /// Adds `x-amz-request-id` unless the upstream sent one, and logs when the body ends. Holds the request
    /// permit until then.
    pub(super) fn finish(mut self, mut response: Response<BoxBody>) -> Response<BoxBody> {
        let permit = self.permit.take();
        let storage_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let storage_id = storage_id.map_or_else(|| std::mem::take(&mut self.storage_id), str::to_owned);
        let keys = response.extensions_mut().remove::<NamedKeys>();
        let request_id = HeaderValue::from_str(&self.request_id).expect("it is hexadecimal");
        response.headers_mut().entry(REQUEST_ID).or_insert(request_id);
        let (parts, body) = response.into_parts();
        let (body, storage_code) = match &self.error {
            // A response of the storage, passed on.
            None if parts.status.is_client_error() || parts.status.is_server_error() => {
                observe_error_code(body)
            }
            None | Some(_) => (body, Arc::default()),
        };
        let mut response_record =
            ResponseRecord { status: parts.status.as_u16(), storage_id, storage_code, keys, is_cut: false };
        let report = move |bytes: u64, end: BodyEnd| {
            response_record.is_cut = permit.as_ref().is_some_and(RequestPermit::is_cut);
            drop(permit);
            self.write(&response_record, bytes, end);
        };
        Response::from_parts(parts, boxed(ObservedBody::new(body, report)))
    }

    fn write(&self, response_record: &ResponseRecord, response_bytes: u64, end: BodyEnd) {
        let status = response_record.status;
        let operation = self.operation.map_or("-", Operation::name);
        let elapsed = self.started.elapsed();
        metrics::counter!("s3veil_requests_total", "operation" => operation, "status" => status.to_string())
            .increment(1);
        metrics::histogram!("s3veil_request_seconds", "operation" => operation).record(elapsed.as_secs_f64());
        metrics::counter!("s3veil_response_bytes_total").increment(response_bytes);
        metrics::counter!("s3veil_request_bytes_total").increment(self.request_bytes);
        let (end, cut) = match end {
            BodyEnd::Complete => ("complete", None),
            BodyEnd::Failed(cause) => ("cut", Some(cause)),
            BodyEnd::Dropped if response_record.is_cut => ("cut: the client was too slow", None),
            BodyEnd::Dropped => ("dropped by client", None),
        };
        let storage_code = match &self.error {
            Some(Error::UpstreamCredentials { code }) => code.as_str(),
            Some(Error::UpstreamDenied { .. }) => ErrorCode::AccessDenied.code(),
            Some(_) | None => response_record.storage_code.get().map_or("", String::as_str),
        };
        let code = self.error.as_ref().map_or(storage_code, |error| error.to_s3().code.code());
        let is_our_side =
            cut.is_some() || self.error.as_ref().is_some_and(|error| error.blame() != Blame::Downstream);
        let cause = cut.or_else(|| self.error.as_ref().map(|error| with_causes(error))).unwrap_or_default();
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = self.request_id,
                    peer = %self.peer,
                    client = self.access_key_id,
                    claimed_client = self.claimed,
                    method = self.method.as_str(),
                    operation = self.operation.map(Operation::name),
                    asked_operation = self.claimed_operation.map(Operation::name),
                    bucket = self.bucket,
                    object_key = self.object_key,
                    keys = response_record.keys.as_ref().map(tracing::field::display),
                    status,
                    code,
                    storage_code,
                    cause,
                    request_bytes = self.request_bytes,
                    response_bytes,
                    duration_ms,
                    storage_request_id = response_record.storage_id,
                    end,
                    "request"
                )
            };
        }
        if is_our_side { line!(warn) } else { line!(info) }
    }
}

/// The logged properties of a response: known with its head, except for the error code, which its body holds.
struct ResponseRecord {
    status: u16,
    storage_id: String,
    storage_code: Arc<OnceLock<String>>,
    keys: Option<NamedKeys>,
    /// Whether the client was cut off.
    is_cut: bool,
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
        let names: HashSet<String> = (0..10_000).map(|_| next_request_id()).collect();
        assert_eq!(names.len(), 10_000);
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        assert!(names.iter().all(|name| name.len() == 16 && name.bytes().all(is_digit)));
    }
}
