use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::trace::{RequestTrace, SpanKind};

/// A tracer whose queue has room for this number of spans, and the queue.
fn tracer(room: usize, sample: Share) -> (Tracer, mpsc::Receiver<Span>) {
    let (queue, spans) = mpsc::channel(room);
    (Tracer(Arc::new(Shared { queue, sample, dropped: Arc::default() })), spans)
}

#[test]
fn a_full_queue_drops_spans_and_counts_them() {
    let (tracer, mut spans) = tracer(2, Share::ALL);
    let trace = RequestTrace::begin(&tracer, &HeaderMap::new());
    for name in ["one", "two", "three", "four", "five"] {
        drop(trace.child(SpanKind::Client, name));
    }
    assert_eq!(tracer.0.dropped.load(Ordering::Relaxed), 3);
    let names: Vec<_> = std::iter::from_fn(|| spans.try_recv().ok()).map(|span| span.name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn spans_are_children_of_the_request_and_the_request_of_its_client() {
    let (tracer, mut spans) = tracer(9, Share::NONE);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(parent));
    headers.insert("tracestate", HeaderValue::from_static("a=1"));
    let trace = RequestTrace::begin(&tracer, &headers);
    assert!(trace.is_sampled(), "as the client says");
    let mut child = trace.child(SpanKind::Client, "GET");
    child.fail("timeout");
    let mut sent = HeaderMap::new();
    child.inject(&mut sent);
    drop(child);
    drop(trace.request_span("S3/GetObject", SystemTime::UNIX_EPOCH));
    let (child, request) = (spans.try_recv().unwrap(), spans.try_recv().unwrap());
    assert_eq!(request.parent.unwrap(), [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    assert_eq!((child.parent, child.trace_id), (Some(request.id), request.trace_id));
    assert!(child.has_failed && !request.has_failed);
    assert_eq!((request.kind, request.start), (SpanKind::Server, SystemTime::UNIX_EPOCH));
    let span_id = crate::wire::hex::encode(&child.id);
    assert_eq!(sent["traceparent"], format!("00-0af7651916cd43dd8448eb211c80319c-{span_id}-01"));
    assert_eq!(sent["tracestate"], "a=1");
}

#[test]
fn a_trace_that_is_not_sampled_is_passed_on_and_has_no_spans() {
    let (tracer, mut spans) = tracer(9, Share::NONE);
    let trace = RequestTrace::begin(&tracer, &HeaderMap::new());
    let mut child = trace.child(SpanKind::Client, "GET");
    child.number("http.response.status_code", 200);
    let mut sent = HeaderMap::new();
    child.inject(&mut sent);
    assert!(!child.is_recorded());
    drop(child);
    drop(trace.request_span("S3/GetObject", SystemTime::now()));
    let (begin, end) = (format!("00-{}-", trace.trace_id()), "-02");
    let sent = sent["traceparent"].to_str().unwrap();
    assert!(sent.starts_with(&begin) && sent.ends_with(end), "{sent}");
    assert!(spans.try_recv().is_err());
}
