//! The metrics of requests, and the latest failed ones.
//! It must not know log lines, nor the content of a body.
//! It promises that each request counts once, and that counting searches no registry.

use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::metric::{LabelledHandles, MetricHandle};
use crate::s3::{ErrorCode, Operation};
use crate::sigv4::AuthError;

static REQUEST_BYTES: MetricHandle<Counter> =
    MetricHandle::new(|| metrics::counter!("s3veil_request_bytes_total"));
static RESPONSE_BYTES: MetricHandle<Counter> =
    MetricHandle::new(|| metrics::counter!("s3veil_response_bytes_total"));

thread_local! {
    /// Handles by operation and status.
    static REQUESTS: LabelledHandles<(Option<Operation>, u16), Counter> = const { LabelledHandles::new() };
    /// Handles by operation.
    static SECONDS: LabelledHandles<Option<Operation>, Histogram> = const { LabelledHandles::new() };
    static FIRST_BYTE: LabelledHandles<Option<Operation>, Histogram> = const { LabelledHandles::new() };
}

/// The operation as metrics and the status page name it.
pub(super) fn name(operation: Option<Operation>) -> &'static str {
    operation.map_or("-", Operation::name)
}

/// Counts a response whose head is complete after this time.
pub(super) fn count_head(operation: Option<Operation>, elapsed: Duration) {
    let register =
        || metrics::histogram!("s3veil_request_time_to_first_byte_seconds", "operation" => name(operation));
    FIRST_BYTE.with(|seconds| {
        seconds.with(operation, register, |histogram| histogram.record(elapsed.as_secs_f64()));
    });
}

/// Counts a request whose response has ended after this time, with the bytes of its body and of the
/// response's.
pub(super) fn count_request(
    operation: Option<Operation>,
    status: u16,
    (received, sent): (u64, u64),
    elapsed: Duration,
) {
    let name = name(operation);
    let register =
        || metrics::counter!("s3veil_requests_total", "operation" => name, "status" => status.to_string());
    REQUESTS.with(|requests| {
        requests.with((operation, status), register, |counter| counter.increment(1));
    });
    let register = || metrics::histogram!("s3veil_request_duration_seconds", "operation" => name);
    SECONDS.with(|seconds| {
        seconds.with(operation, register, |histogram| histogram.record(elapsed.as_secs_f64()));
    });
    RESPONSE_BYTES.with(|counter| counter.increment(sent));
    REQUEST_BYTES.with(|counter| counter.increment(received));
}

/// Counts a failed request by its code and by whose side failed. Codes that S3 does not document, `None`, are
/// one.
pub(super) fn count_error(code: Option<ErrorCode>, side: &'static str) {
    if code == Some(ErrorCode::IntegrityCheckFailed) {
        count_integrity_failure("refused");
    }
    let code = code.map_or("other", ErrorCode::code);
    metrics::counter!("s3veil_errors_total", "code" => code, "side" => side).increment(1);
}

/// Counts a response that broke off after its head.
pub(super) fn count_cut(is_integrity_failure: bool) {
    metrics::counter!("s3veil_responses_cut_total").increment(1);
    if is_integrity_failure {
        count_integrity_failure("cut");
    }
}

fn count_integrity_failure(kind: &'static str) {
    metrics::counter!("s3veil_integrity_failures_total", "kind" => kind).increment(1);
}

/// Why an authentication failed, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NoSignature,
    UnknownKey,
    BadSignature,
    Expired,
    Skew,
    Malformed,
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::NoSignature, Self::UnknownKey, Self::BadSignature, Self::Expired, Self::Skew, Self::Malformed];

    fn new(error: &AuthError) -> Self {
        if matches!(error, AuthError::Anonymous) {
            Self::NoSignature
        } else if matches!(error, AuthError::UnknownAccessKeyId(_)) {
            Self::UnknownKey
        } else if matches!(error, AuthError::SignatureDoesNotMatch(_)) {
            Self::BadSignature
        } else if matches!(error, AuthError::Expired { .. }) {
            Self::Expired
        } else if matches!(error, AuthError::RequestTimeTooSkewed { .. } | AuthError::NotYetValid { .. }) {
            Self::Skew
        } else {
            Self::Malformed
        }
    }

    /// The label of the metric.
    fn name(self) -> &'static str {
        match self {
            Self::NoSignature => "no_signature",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::Skew => "skew",
            Self::Malformed => "malformed",
        }
    }
}

/// The reasons for which an authentication fails, as they are counted.
pub fn login_refusal_reasons() -> impl Iterator<Item = &'static str> {
    Refusal::ALL.iter().map(|refusal| refusal.name())
}

/// Counts a failed authentication by its reason.
pub(super) fn count_refused_login(error: &AuthError) {
    metrics::counter!("s3veil_logins_refused_total", "reason" => Refusal::new(error).name()).increment(1);
}
