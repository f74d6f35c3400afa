//! The spans of one request.
//! It must not know how spans are encoded or delivered.
//! It promises that a span ends once, and that the spans of a trace which is not sampled cost no more than
//! their ids.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::context::{self, TRACEPARENT, TRACESTATE, TraceContext};
use super::exporter::Tracer;
use super::record::{AttributeValue, Span, SpanKind};
use crate::wire::hex;

/// The trace of one request. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RequestTrace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracer: Tracer,
    trace_id: [u8; 16],
    /// The span of the request.
    id: [u8; 8],
    /// The span of the client.
    parent: Option<[u8; 8]>,
    flags: u8,
    is_sampled: bool,
    state: Option<HeaderValue>,
}

impl RequestTrace {
    /// The trace that the client of a request began, or a trace of its own.
    pub fn begin(tracer: &Tracer, headers: &HeaderMap) -> Self {
        let inner = match TraceContext::from_headers(headers) {
            Some(context) => Inner {
                tracer: tracer.clone(),
                trace_id: context.trace_id,
                id: new_id(),
                parent: Some(context.parent_id),
                flags: context.flags,
                is_sampled: context.is_sampled(),
                state: context.state,
            },
            None => {
                let (high, low) = (random(), random());
                let is_sampled = tracer.sample().includes(low);
                let mut trace_id = [0; 16];
                trace_id[..8].copy_from_slice(&high.to_be_bytes());
                trace_id[8..].copy_from_slice(&low.to_be_bytes());
                let (flags, tracer) = (context::flags(is_sampled), tracer.clone());
                Inner { tracer, trace_id, id: new_id(), parent: None, flags, is_sampled, state: None }
            }
        };
        Self(Arc::new(inner))
    }

    /// The trace's id in 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        hex::encode(&self.0.trace_id)
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled
    }

    /// The span of the request itself, which began at `start`. It has ended when it is dropped.
    pub fn request_span(&self, name: impl Into<Cow<'static, str>>, start: SystemTime) -> OpenSpan {
        let mut span = self.span(self.0.id, self.0.parent, SpanKind::Server, name.into());
        if let Some(span) = &mut span {
            span.start = start;
        }
        self.open(self.0.id, span)
    }

    /// A span of the request's work, which begins now.
    pub fn child(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>) -> OpenSpan {
        let id = new_id();
        let span = self.span(id, Some(self.0.id), kind, name.into());
        self.open(id, span)
    }

    fn open(&self, id: [u8; 8], span: Option<Box<Span>>) -> OpenSpan {
        OpenSpan { trace: self.clone(), id, span }
    }

    fn span(
        &self,
        id: [u8; 8],
        parent: Option<[u8; 8]>,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> Option<Box<Span>> {
        let Inner { trace_id, is_sampled, state, .. } = &*self.0;
        is_sampled.then(|| {
            let now = SystemTime::now();
            Box::new(Span {
                trace_id: *trace_id,
                id,
                parent,
                state: state.clone(),
                name,
                kind,
                start: now,
                end: now,
                attributes: Vec::new(),
                has_failed: false,
            })
        })
    }
}

/// A span that ends when it is dropped.
#[derive(Debug)]
pub struct OpenSpan {
    trace: RequestTrace,
    id: [u8; 8],
    /// `None` in a trace that is not sampled.
    span: Option<Box<Span>>,
}

impl OpenSpan {
    /// Whether the span is recorded: otherwise attributes have no effect.
    pub fn is_recorded(&self) -> bool {
        self.span.is_some()
    }

    /// Adds an attribute; an empty text adds none.
    pub fn text(&mut self, name: &'static str, text: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.span {
            let text = text.into();
            if !text.is_empty() {
                span.attributes.push((name, AttributeValue::Text(text)));
            }
        }
    }

    /// Adds an attribute.
    pub fn number(&mut self, name: &'static str, number: u64) {
        if let Some(span) = &mut self.span {
            span.attributes.push((name, AttributeValue::Number(number)));
        }
    }

    /// Marks the span as failed, for this reason out of a small set (`error.type`).
    pub fn fail(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.text("error.type", reason);
        if let Some(span) = &mut self.span {
            span.has_failed = true;
        }
    }

    /// Adds the context of this span to the headers of a request.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let Inner { trace_id, flags, state, .. } = &*self.trace.0;
        headers.insert(TRACEPARENT, context::traceparent(trace_id, &self.id, *flags));
        if let Some(state) = state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            // The clock may have been set back.
            span.end = SystemTime::now().max(span.start);
            self.trace.0.tracer.send(*span);
        }
    }
}

/// An id that is not zero.
fn new_id() -> [u8; 8] {
    random().max(1).to_be_bytes()
}

/// The next number of this thread's generator (SplitMix64), which starts at a random number: ids need to be
/// unique, not secret.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(Uuid::new_v4().as_u64_pair().1 ^ Uuid::new_v4().as_u64_pair().0);
    }
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
