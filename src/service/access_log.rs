//! One line per request, written when its answer has ended, failed, or was dropped by the client.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Instant;

use http::header::HeaderValue;
use http::{Method, Response};
use http_body_util::BodyExt;
use uuid::Uuid;

use super::admission::Admitted;
use crate::body::{BodyEnd, BoxBody, ObservedBody, boxed};
use crate::error::{Blame, Error, with_causes};
use crate::operation::request::UnderWay;
use crate::operation::request::document::NamedKeys;
use crate::s3::xml::parse_error_document;
use crate::s3::{ErrorCode, Operation, S3Path};
use crate::sigv4::AuthError;
use crate::upstream::REQUEST_ID;

/// 16 hexadecimal digits that no other request of this process has, and of another process hardly one.
///
/// The process draws its start by lot; asking the system's generator for each request would be a system call each. The
/// counter goes through a bijection (the finalizer of SplitMix64), so that neighbours do not look alike in a log.
fn next_request_id() -> String {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(Uuid::new_v4().as_u64_pair().1));
    let mut mixed = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016X}", mixed ^ (mixed >> 31))
}

/// What is known of a request so far. Holds no secret and nothing of a body.
pub(super) struct Record {
    request_id: String,
    started: Instant,
    peer: SocketAddr,
    method: Method,
    operation: Option<Operation>,
    access_key_id: String,
    /// What a request names that was not authenticated.
    claimed: Option<String>,
    asked_operation: Option<Operation>,
    bucket: String,
    object_key: String,
    request_bytes: u64,
    error: Option<Error>,
    /// Of the storage's latest response.
    storage_id: String,
    admitted: Option<Arc<Admitted>>,
}

impl Record {
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
            asked_operation: None,
            bucket: String::new(),
            object_key: String::new(),
            request_bytes: length.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0),
            error: None,
            storage_id: String::new(),
            admitted: None,
        }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(super) fn asked_for(&mut self, path: &S3Path) {
        self.bucket = path.bucket().map(|bucket| bucket.as_str().to_owned()).unwrap_or_default();
        self.object_key = path.object().map(|object_key| object_key.as_str().to_owned()).unwrap_or_default();
    }

    pub(super) fn authenticated(&mut self, access_key_id: &str, operation: Operation) {
        self.access_key_id = access_key_id.to_owned();
        self.operation = Some(operation);
    }

    /// The request was not authenticated: counts why, and keeps who is claimed to ask for what.
    pub(super) fn refused_login(
        &mut self,
        error: &AuthError,
        claimed: Option<String>,
        operation: Option<Operation>,
    ) {
        metrics::counter!("s3veil_logins_refused_total", "reason" => reason(error)).increment(1);
        (self.claimed, self.asked_operation) = (claimed, operation);
    }

    /// The request has a place until its answer has ended, or longer if work goes on after it.
    pub(super) fn admitted(&mut self, admitted: Admitted) -> UnderWay {
        let admitted = Arc::new(admitted);
        self.admitted = Some(Arc::clone(&admitted));
        UnderWay::counted_by(admitted)
    }

    /// Whether the request had a valid signature.
    pub(super) fn is_authenticated(&self) -> bool {
        self.operation.is_some()
    }

    pub(super) fn failed(&mut self, error: Error) {
        self.error = Some(error);
    }

    /// Keeps the request id in the storage's latest response, which is logged when the answer itself has none.
    pub(super) fn heard(&mut self, storage_id: String) {
        self.storage_id = storage_id;
    }

    /// Returns the response with a request id, and observes its body to the end; the request counts as in
    /// flight until then. A request id that the storage gave is kept.
    pub(super) fn finish(mut self, mut response: Response<BoxBody>) -> Response<BoxBody> {
        let admitted = self.admitted.take();
        let storage_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let storage_id = storage_id.map_or_else(|| std::mem::take(&mut self.storage_id), str::to_owned);
        let keys = response.extensions_mut().remove::<NamedKeys>();
        let request_id = HeaderValue::from_str(&self.request_id).expect("it is hexadecimal");
        response.headers_mut().entry(REQUEST_ID).or_insert(request_id);
        let (parts, body) = response.into_parts();
        let (body, storage_code) = match &self.error {
            // What is passed on of the storage's.
            None if parts.status.is_client_error() || parts.status.is_server_error() => {
                watched_for_code(body)
            }
            None | Some(_) => (body, Arc::default()),
        };
        let mut answer =
            Answer { status: parts.status.as_u16(), storage_id, storage_code, keys, is_cut: false };
        let report = move |bytes: u64, end: BodyEnd| {
            answer.is_cut = admitted.as_ref().is_some_and(|admitted| admitted.is_cut());
            drop(admitted);
            self.write(&answer, bytes, end);
        };
        Response::from_parts(parts, boxed(ObservedBody::new(body, report)))
    }

    fn write(&self, answer: &Answer, response_bytes: u64, end: BodyEnd) {
        let status = answer.status;
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
            BodyEnd::Dropped if answer.is_cut => ("cut: the client was too slow", None),
            BodyEnd::Dropped => ("dropped by client", None),
        };
        let storage_code = match &self.error {
            Some(Error::UpstreamCredentials { code }) => code.as_str(),
            Some(Error::UpstreamDenied { .. }) => ErrorCode::AccessDenied.code(),
            Some(_) | None => answer.storage_code.get().map_or("", String::as_str),
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
                    asked_operation = self.asked_operation.map(Operation::name),
                    bucket = self.bucket,
                    object_key = self.object_key,
                    keys = answer.keys.as_ref().map(tracing::field::display),
                    status,
                    code,
                    storage_code,
                    cause,
                    request_bytes = self.request_bytes,
                    response_bytes,
                    duration_ms,
                    storage_request_id = answer.storage_id,
                    end,
                    "request"
                )
            };
        }
        if is_our_side { line!(warn) } else { line!(info) }
    }
}

/// What is known of the answer when its head goes out, and of its code when its body has.
struct Answer {
    status: u16,
    storage_id: String,
    storage_code: Arc<OnceLock<String>>,
    keys: Option<NamedKeys>,
    /// Whether the client was cut off.
    is_cut: bool,
}

/// A body of the storage's, and the code in it if it is an error document.
fn watched_for_code(body: BoxBody) -> (BoxBody, Arc<OnceLock<String>>) {
    let code = Arc::new(OnceLock::new());
    let found = Arc::clone(&code);
    let watched = body.map_frame(move |frame| {
        let document = frame.data_ref().filter(|_| found.get().is_none());
        if let Some(error) = document.and_then(|document| parse_error_document(document).ok()) {
            // Only one frame is looked at.
            drop(found.set(error.code));
        }
        frame
    });
    (boxed(watched), code)
}

/// Why a request was not authenticated, in a word.
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
    fn every_request_has_a_name_of_its_own() {
        let names: HashSet<String> = (0..10_000).map(|_| next_request_id()).collect();
        assert_eq!(names.len(), 10_000);
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        assert!(names.iter().all(|name| name.len() == 16 && name.bytes().all(is_digit)));
    }
}
