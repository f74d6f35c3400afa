//! When a request may be sent again, and how long to wait before.
//!
//! The danger is not the second request but the second effect: a PUT with `If-None-Match: *` that was carried out and
//! whose answer was lost would, sent again, tell the client 412 about its own object; a repeated
//! CompleteMultipartUpload finds no upload; a repeated CreateMultipartUpload leaves one behind.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::Instant;

use super::error::{Phase, UpstreamError};
use super::{UpstreamBody, UpstreamRequest};

/// The first pause is drawn from 0 to this, and the range doubles from attempt to attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No pause is longer; with [`RETRY_WINDOW`] it keeps the answer within a client's own patience.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// No attempt begins later than this after the first one did.
const RETRY_WINDOW: Duration = Duration::from_secs(20);

/// A retry ends at the latest this long after the first attempt began: SDKs give up on a silent server after
/// 50 or 60 s, and a client that has a response by then knows what it may do.
const RETRIES_END: Duration = Duration::from_secs(45);

/// How far a request may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// Twice is as good as once.
    Repeatable,
    /// Only when the store certainly did nothing.
    IfUnprocessed,
    /// The body is gone.
    Never,
}

impl Replay {
    /// For a request whose body is at hand.
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let is_read = *method == Method::GET || *method == Method::HEAD;
        let is_write = *method == Method::PUT || *method == Method::DELETE;
        let is_conditional = headers.contains_key(header::IF_MATCH)
            || headers.contains_key(header::IF_NONE_MATCH)
            || headers.keys().any(|name| name.as_str().starts_with("x-amz-if-match"));
        if is_read || (is_write && !is_conditional) { Self::Repeatable } else { Self::IfUnprocessed }
    }
}

/// What is known of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It never got to the store, or not beyond a head whose body did not follow.
    Unsent,
    /// The store said that it did nothing (429, SlowDown).
    Refused,
    /// The store may have acted on it.
    Unsettled,
}

impl Trouble {
    /// `None`: repeating does not help.
    pub(super) fn of_error(error: &UpstreamError, upload_untouched: bool) -> Option<Self> {
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
            | UpstreamError::Address(_)
            | UpstreamError::Request(_) => None,
        }
    }

    /// `None`: the answer stands. 503 is unsettled until its body says SlowDown.
    pub(super) fn of_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            429 => Some(Self::Refused),
            500 | 502 | 503 | 504 => Some(Self::Unsettled),
            _ => None,
        }
    }

    pub(super) fn allows(self, replay: Replay) -> bool {
        match (self, replay) {
            (_, Replay::Never) | (Self::Unsettled, Replay::IfUnprocessed) => false,
            (Self::Unsent | Self::Refused, Replay::IfUnprocessed) | (_, Replay::Repeatable) => true,
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
    pub(super) fn of(request: &UpstreamRequest) -> Self {
        let UpstreamRequest { method, object, query, headers, body, .. } = request;
        let completes = *method == Method::POST && query.iter().any(|(name, _)| name == "uploadId");
        let is_streamed = matches!(body, UpstreamBody::StreamedContent { .. });
        match object {
            Some(_) if completes || headers.contains_key("x-amz-copy-source") => Self::Long,
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

/// What is left of the patience with one request.
pub(super) struct Budget {
    begun: Instant,
    retries_left: u32,
    retries_done: u32,
}

impl Budget {
    pub(super) fn new(max_retries: u32) -> Self {
        Self { begun: Instant::now(), retries_left: max_retries, retries_done: 0 }
    }

    /// How long the attempt that begins now may take; `None`: as long as any.
    pub(super) fn time_left(&self) -> Option<Duration> {
        (self.retries_done > 0).then(|| RETRIES_END.saturating_sub(self.begun.elapsed()))
    }

    pub(super) fn is_spent(&self) -> bool {
        self.retries_left == 0 || self.begun.elapsed() >= RETRY_WINDOW
    }

    /// The pause before the next attempt, with full jitter, so that many proxies do not come back at once.
    pub(super) fn spend(&mut self) -> Option<Duration> {
        if self.is_spent() {
            return None;
        }
        let ceiling = FIRST_PAUSE.saturating_mul(1 << self.retries_done.min(16)).min(LONGEST_PAUSE);
        let pause = ceiling.mul_f64(unit_fraction());
        self.retries_left -= 1;
        self.retries_done += 1;
        (self.begun.elapsed() + pause < RETRY_WINDOW).then_some(pause)
    }
}

/// Uniform in 0..1.
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
            (Method::GET, plain.clone(), Replay::Repeatable),
            (Method::GET, conditional("if-match"), Replay::Repeatable),
            (Method::HEAD, plain.clone(), Replay::Repeatable),
            (Method::PUT, plain.clone(), Replay::Repeatable),
            (Method::PUT, conditional("if-none-match"), Replay::IfUnprocessed),
            (Method::PUT, conditional("if-match"), Replay::IfUnprocessed),
            (Method::PUT, conditional("x-amz-copy-source-if-match"), Replay::Repeatable),
            (Method::DELETE, plain.clone(), Replay::Repeatable),
            (Method::DELETE, conditional("if-match"), Replay::IfUnprocessed),
            (Method::DELETE, conditional("x-amz-if-match-size"), Replay::IfUnprocessed),
            (Method::POST, plain.clone(), Replay::IfUnprocessed),
            (Method::PATCH, plain, Replay::IfUnprocessed),
        ] {
            assert_eq!(Replay::of(&method, &headers), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn unsettled_requests_are_repeated_only_if_twice_is_as_good_as_once() {
        for (trouble, replay, allowed) in [
            (Trouble::Unsent, Replay::Repeatable, true),
            (Trouble::Unsent, Replay::IfUnprocessed, true),
            (Trouble::Unsent, Replay::Never, false),
            (Trouble::Refused, Replay::Repeatable, true),
            (Trouble::Refused, Replay::IfUnprocessed, true),
            (Trouble::Refused, Replay::Never, false),
            (Trouble::Unsettled, Replay::Repeatable, true),
            (Trouble::Unsettled, Replay::IfUnprocessed, false),
            (Trouble::Unsettled, Replay::Never, false),
        ] {
            assert_eq!(trouble.allows(replay), allowed, "{trouble:?} {replay:?}");
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
            let limit = Pace::of(&request).limit(Duration::from_secs(20));
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
            assert!(budget.spend().unwrap() <= LONGEST_PAUSE);
        }
    }
}
