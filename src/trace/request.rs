//! What one request does, collected while it runs: the spans of its calls, and the sums for its log line. It
//! must not know what the request asks for. It promises that work outside of a request costs nothing here.

use std::borrow::Cow;
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use tokio::task::futures::TaskLocalFuture;

use super::record::SpanKind;
use super::span::{OpenSpan, RequestTrace};

tokio::task_local! {
    static CURRENT: RefCell<Facts>;
}

/// What a request did so far. Calls of tasks that it shares with others count where it waits for them.
#[derive(Debug, Default)]
pub struct Facts {
    trace: Option<RequestTrace>,
    /// The request id in the storage's latest response, which is text.
    pub storage_request_id: Option<HeaderValue>,
    /// The requests to the storage, to the heads of their responses.
    pub storage: CallTimes,
    /// How many of them repeat an earlier one.
    pub retries: u32,
    /// The calls of key holders.
    pub keys: CallTimes,
    /// The format of the last object that was opened or sealed.
    pub format: Option<&'static str>,
}

/// The number of calls, and the time that they took together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// How many.
    pub number: u32,
    /// How long all of them took.
    pub taken: Duration,
}

impl CallTimes {
    fn add(&mut self, taken: Duration) {
        self.number += 1;
        self.taken += taken;
    }
}

/// Work whose [`Facts`] are collected.
pub type Observed<F> = TaskLocalFuture<RefCell<Facts>, F>;

/// Collects what `work` does, which belongs to this trace.
pub fn observed<F: Future>(trace: Option<RequestTrace>, work: F) -> Observed<F> {
    CURRENT.scope(RefCell::new(Facts { trace, ..Facts::default() }), work)
}

/// What the work did.
pub fn take_facts<F: Future>(work: Pin<&mut Observed<F>>) -> Facts {
    work.take_value().map(RefCell::into_inner).unwrap_or_default()
}

fn with_current<T>(act: impl FnOnce(&mut Facts) -> T) -> Option<T> {
    // Work in the background belongs to no request.
    CURRENT.try_with(|facts| act(&mut facts.borrow_mut())).ok()
}

/// The trace of the current request, for a task that belongs to it.
pub fn current_trace() -> Option<RequestTrace> {
    with_current(|facts| facts.trace.clone()).flatten()
}

/// Begins a span for a request that the current request makes; `None` without a trace.
pub fn client_span(name: impl Into<Cow<'static, str>>) -> Option<OpenSpan> {
    with_current(|facts| Some(facts.trace.as_ref()?.child(SpanKind::Client, name))).flatten()
}

/// Begins a span for a part of the current request's work; `None` without a trace.
pub fn internal_span(name: &'static str) -> Option<OpenSpan> {
    with_current(|facts| Some(facts.trace.as_ref()?.child(SpanKind::Internal, name))).flatten()
}

/// Adds a request to the storage that took so long.
pub fn note_storage_call(taken: Duration) {
    with_current(|facts| facts.storage.add(taken));
}

/// Keeps the request id of a response of the storage; `None` for a response without one.
pub fn note_storage_response(request_id: Option<&HeaderValue>) {
    with_current(|facts| {
        facts.storage_request_id = request_id.filter(|id| id.to_str().is_ok()).cloned();
    });
}

/// Counts a request to the storage that repeats an earlier one.
pub fn note_retry() {
    with_current(|facts| facts.retries += 1);
}

/// Adds a call of a key holder that the request waited for.
pub fn note_key_call(taken: Duration) {
    with_current(|facts| facts.keys.add(taken));
}

/// Keeps the format of an object that is opened or sealed.
pub fn note_format(format: &'static str) {
    with_current(|facts| facts.format = Some(format));
}

/// A body whose work belongs to a trace: it may make requests itself when it is read.
pub struct InTrace<B> {
    body: B,
    trace: RequestTrace,
}

impl<B> InTrace<B> {
    /// A body that belongs to `trace`.
    pub fn new(body: B, trace: RequestTrace) -> Self {
        Self { body, trace }
    }
}

impl<B: Body + Unpin> Body for InTrace<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Self { body, trace } = self.get_mut();
        let facts = RefCell::new(Facts { trace: Some(trace.clone()), ..Facts::default() });
        CURRENT.sync_scope(facts, || Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn id(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[tokio::test]
    async fn the_latest_response_counts_and_each_request_has_its_own() {
        note_storage_response(Some(&id("without a request")));
        let mut one = pin!(observed(None, async {
            note_storage_response(Some(&id("1")));
            tokio::task::yield_now().await;
            note_storage_response(Some(&id("2")));
            7
        }));
        let mut other = pin!(observed(None, async {
            note_storage_response(Some(&id("3")));
            tokio::task::yield_now().await;
            note_storage_response(None);
        }));
        let mut none = pin!(observed(None, async {}));
        assert_eq!(tokio::join!(one.as_mut(), other.as_mut(), none.as_mut()), (7, (), ()));
        let kept =
            [take_facts(one), take_facts(other), take_facts(none)].map(|facts| facts.storage_request_id);
        assert_eq!(kept, [Some(id("2")), None, None]);
    }

    #[tokio::test]
    async fn calls_are_summed_and_without_a_trace_there_is_no_span() {
        let mut work = pin!(observed(None, async {
            for taken in [3, 4] {
                note_storage_call(Duration::from_millis(taken));
            }
            note_retry();
            note_format("native");
            (client_span("a").is_none(), internal_span("b").is_none(), current_trace().is_none())
        }));
        assert_eq!(work.as_mut().await, (true, true, true));
        let facts = take_facts(work);
        assert_eq!(facts.storage, CallTimes { number: 2, taken: Duration::from_millis(7) });
        assert_eq!((facts.retries, facts.format, facts.keys), (1, Some("native"), CallTimes::default()));
    }
}
