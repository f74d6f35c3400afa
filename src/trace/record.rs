//! What is known of a span that has ended.
//! It must not know how a span is measured, encoded or delivered.
//! It promises nothing but data.

use std::borrow::Cow;
use std::time::SystemTime;

use http::HeaderValue;

/// Who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within this process.
    Internal,
    /// A request that this process responds to.
    Server,
    /// A request that this process makes.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttributeValue {
    Text(Cow<'static, str>),
    Number(u64),
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) trace_id: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) state: Option<HeaderValue>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) attributes: Vec<(&'static str, AttributeValue)>,
    /// Whether what it describes has failed.
    pub(super) has_failed: bool,
}
