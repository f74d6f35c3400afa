//! When a request may be repeated, and how long to wait before.
//!
//! The danger is not the second request but the second effect: a PUT with `If-None-Match: *` that was carried
//! out and whose response was lost would, when repeated, fail with 412 because of the client's own object; a
//! repeated CompleteMultipartUpload finds no upload; a repeated CreateMultipartUpload leaves one behind.

use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, header};

use super::error::{Phase, UpstreamError};
use super::{UpstreamBody, UpstreamRequest};
use crate::clock;
use crate::wire::header::name::COPY_SOURCE;

/// The first pause is drawn from 0 to this, and the range doubles from attempt to attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The maximum pause: with [`RETRY_WINDOW`], the response comes before a client's own timeout.
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// No attempt begins later than this after the first one did.
const RETRY_WINDOW: Duration = Duration::from_secs(20);

/// A retry ends at the latest this long after the first attempt began: SDKs give up on a silent server after
/// 50 or 60 s, and a client that has a response by then knows what it may do.
const RETRIES_END: Duration = Duration::from_secs(45);

/// Whether a request may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idempotency {
    /// A second execution has no further effect.
    Repeatable,
    /// Only when the storage certainly did nothing.
    IfUnprocessed,
    /// Never: the body was consumed.
    Never,
}

impl Idempotency {
    /// For a request whose body is in memory.
    pub(super) fn new(method: &Method, headers: &HeaderMap) -> Self {
        let is_read = *method == Method::GET || *method == Method::HEAD;
        let is_write = *method == Method::PUT || *method == Method::DELETE;
        let is_conditional = headers.contains_key(header::IF_MATCH)
            || headers.contains_key(header::IF_NONE_MATCH)
            || headers.keys().any(|name| name.as_str().starts_with("x-amz-if-match"));
        if is_read || (is_write && !is_conditional) { Self::Repeatable } else { Self::IfUnprocessed }
    }
}

/// What is known about the effect of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureClass {
    /// The request did not reach the storage, or only its head did.
    Unsent,
    /// The storage refused to act (429, SlowDown).
    Refused,
    /// The storage may have acted on the request.
    Unsettled,
}

impl FailureClass {
    /// The class of an error; `None` when repeating does not help.
    pub(super) fn from_error(error: &UpstreamError, upload_untouched: bool) -> Option<Self> {
        match error {
            UpstreamError::Connect(_) | UpstreamError::Timeout { phase: Phase::Connect, .. } => {
                Some(Self::Unsent)
            }
            UpstreamError::Protocol(_) | UpstreamError::Timeout { phase: Phase::Send | Phase::Head, .. } => {
                Some(if upload_untouched { Self::Unsent } else { Self::Unsettled })
            }
            UpstreamError::Timeout { phase: Phase::Idle, .. }
            | UpstreamError::HeadTooLarge
            | UpstreamError::Body(_)
            | UpstreamError::Length(_)
            | UpstreamError::Credentials(_)
            | UpstreamError::Sign(_)
            | UpstreamError::Address(_) => None,
        }
    }

    /// The class of a response; `None` when the response is final. 503 is unsettled unless its body says
    /// SlowDown.
    pub(super) fn from_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            429 => Some(Self::Refused),
            500 | 502 | 503 | 504 => Some(Self::Unsettled),
            _ => None,
        }
    }

    pub(super) fn allows(self, idempotency: Idempotency) -> bool {
        match (self, idempotency) {
            (_, Idempotency::Never) | (Self::Unsettled, Idempotency::IfUnprocessed) => false,
            (Self::Unsent | Self::Refused, Idempotency::IfUnprocessed) | (_, Idempotency::Repeatable) => true,
        }
    }
}

/// How long the storage may take for the head of its response, as a multiple of
/// [`Timeouts::head`](super::Timeouts).
///
/// S3 responds to most requests within a second. It may take longer over requests that touch many objects or
/// bytes, and minutes over copies and completed uploads. Other storages respond to these only when they are
/// done; their clients are kept waiting by other means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Reads of objects, and writes and deletions of one.
    Prompt,
    /// Listings, requests about many objects or whole buckets, and large bodies, whose end the storage may
    /// still have to write out.
    Slow,
    /// Copies and completions of uploads.
    Long,
}

impl Pace {
    pub(super) fn new(request: &UpstreamRequest) -> Self {
        let UpstreamRequest { method, object, query, headers, body, .. } = request;
        let completes = *method == Method::POST && query.iter().any(|(name, _)| name == "uploadId");
        let is_streamed = matches!(body, UpstreamBody::StreamedContent { .. });
        match object {
            Some(_) if completes || headers.contains_key(&COPY_SOURCE) => Self::Long,
            Some(_) if *method != Method::POST && !is_streamed => Self::Prompt,
            Some(_) | None => Self::Slow,
        }
    }

    pub(super) fn limit(self, head: Duration) -> Duration {
        match self {
            Self::Prompt => head,
            Self::Slow => head * 2,
            Self::Long => head * 30,
        }
    }
}

/// The retries and the time that are left for one request.
pub(super) struct Budget {
    begun: Instant,
    retries_left: u32,
    retries_done: u32,
}

impl Budget {
    pub(super) fn new(max_retries: u32) -> Self {
        Self { begun: clock::now(), retries_left: max_retries, retries_done: 0 }
    }

    /// The time limit of the attempt that begins now; `None` for the first, which has the usual limits alone.
    pub(super) fn time_left(&self) -> Option<Duration> {
        (self.retries_done > 0).then(|| RETRIES_END.saturating_sub(clock::since(self.begun)))
    }

    pub(super) fn is_spent(&self) -> bool {
        self.retries_left == 0 || clock::since(self.begun) >= RETRY_WINDOW
    }

    /// The pause before the next attempt, with full jitter, so that many proxies do not come back at once.
    pub(super) fn spend(&mut self) -> Option<Duration> {
        if self.is_spent() {
            return None;
        }
        let ceiling = FIRST_PAUSE.saturating_mul(1 << self.retries_done.min(16)).min(MAX_PAUSE);
        let pause = ceiling.mul_f64(unit_fraction());
        self.retries_left -= 1;
        self.retries_done += 1;
        (clock::since(self.begun) + pause < RETRY_WINDOW).then_some(pause)
    }
}

/// A random number, uniform in 0..1.
fn unit_fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the pause is only less well spread.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 1.0;
    }
    f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_may_be_repeated() {
        let plain = HeaderMap::new();
        let conditional = |name: &'static str| {
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static("*"))])
        };
        for (method, headers, expected) in [
            (Method::GET, plain.clone(), Idempotency::Repeatable),
            (Method::GET, conditional("if-match"), Idempotency::Repeatable),
            (Method::HEAD, plain.clone(), Idempotency::Repeatable),
            (Method::PUT, plain.clone(), Idempotency::Repeatable),
            (Method::PUT, conditional("if-none-match"), Idempotency::IfUnprocessed),
            (Method::PUT, conditional("if-match"), Idempotency::IfUnprocessed),
            (Method::PUT, conditional("x-amz-copy-source-if-match"), Idempotency::Repeatable),
            (Method::DELETE, plain.clone(), Idempotency::Repeatable),
            (Method::DELETE, conditional("if-match"), Idempotency::IfUnprocessed),
            (Method::DELETE, conditional("x-amz-if-match-size"), Idempotency::IfUnprocessed),
            (Method::POST, plain.clone(), Idempotency::IfUnprocessed),
            (Method::PATCH, plain, Idempotency::IfUnprocessed),
        ] {
            assert_eq!(Idempotency::new(&method, &headers), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn unsettled_requests_are_repeated_only_if_twice_is_as_good_as_once() {
        for (class, idempotency, allowed) in [
            (FailureClass::Unsent, Idempotency::Repeatable, true),
            (FailureClass::Unsent, Idempotency::IfUnprocessed, true),
            (FailureClass::Unsent, Idempotency::Never, false),
            (FailureClass::Refused, Idempotency::Repeatable, true),
            (FailureClass::Refused, Idempotency::IfUnprocessed, true),
            (FailureClass::Refused, Idempotency::Never, false),
            (FailureClass::Unsettled, Idempotency::Repeatable, true),
            (FailureClass::Unsettled, Idempotency::IfUnprocessed, false),
            (FailureClass::Unsettled, Idempotency::Never, false),
        ] {
            assert_eq!(class.allows(idempotency), allowed, "{class:?} {idempotency:?}");
        }
    }

    #[test]
    fn what_takes_long_is_waited_for_longer() {
        let whole = || UpstreamBody::Content(bytes::Bytes::from_static(b"c"));
        let streamed = || UpstreamBody::StreamedContent { body: super::super::BoxBody::default(), length: 9 };
        let none = || UpstreamBody::Empty;
        for (method, object, query, is_copy, body, seconds) in [
            (Method::GET, Some("k"), "", false, none(), 20),
            (Method::HEAD, Some("k"), "versionId", false, none(), 20),
            (Method::PUT, Some("k"), "", false, whole(), 20),
            (Method::DELETE, Some("k"), "uploadId", false, none(), 20),
            (Method::PUT, Some("k"), "", false, streamed(), 40),
            (Method::POST, Some("k"), "uploads", false, none(), 40),
            (Method::GET, None, "list-type", false, none(), 40),
            (Method::POST, None, "delete", false, whole(), 40),
            (Method::PUT, Some("k"), "", true, none(), 600),
            (Method::PUT, Some("k"), "uploadId", true, none(), 600),
            (Method::POST, Some("k"), "uploadId", false, whole(), 600),
        ] {
            let mut request = super::super::tests::request(method, object, body);
            request.query.push((query.to_owned(), None));
            if is_copy {
                request.headers.insert("x-amz-copy-source", HeaderValue::from_static("b/k"));
            }
            let limit = Pace::new(&request).limit(Duration::from_secs(20));
            assert_eq!(limit.as_secs(), seconds, "{request:?}");
        }
    }

    /// With the default timeouts: what a client waits for in silence.
    #[test]
    fn a_silent_store_is_given_up_before_clients_give_up() {
        let timeouts = super::super::Timeouts::default();
        for pace in [Pace::Prompt, Pace::Slow] {
            let first = timeouts.connect + pace.limit(timeouts.head);
            assert!(first <= RETRIES_END, "{pace:?}: {first:?}");
        }
        let budget = Budget::new(3);
        assert_eq!(budget.time_left(), None, "the first attempt has the limits that are configured");
        let budget = Budget { begun: Instant::now() - RETRY_WINDOW, retries_done: 1, ..Budget::new(3) };
        assert!(budget.time_left().unwrap() <= RETRIES_END - RETRY_WINDOW);
        let budget = Budget { begun: Instant::now() - RETRIES_END * 2, retries_done: 1, ..Budget::new(3) };
        assert_eq!(budget.time_left(), Some(Duration::ZERO));
    }

    #[test]
    fn budget_is_bounded_in_count_and_in_time() {
        let mut budget = Budget::new(3);
        for ceiling in [100, 200, 400] {
            assert!(budget.spend().unwrap() <= Duration::from_millis(ceiling));
        }
        assert!(budget.spend().is_none());

        let mut budget = Budget { begun: Instant::now() - RETRY_WINDOW, ..Budget::new(1000) };
        assert!(budget.is_spent() && budget.spend().is_none());

        let mut budget = Budget::new(1000);
        for _ in 0..100 {
            assert!(budget.spend().unwrap() <= MAX_PAUSE);
        }
    }
}
