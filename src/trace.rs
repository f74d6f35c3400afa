//! Traces of requests: the spans of one request, from the client's trace context to the storage's, and what a
//! request's log line says of the calls it made. It must not know what an operation means, nor which secret a
//! call uses. It promises that a request never waits for the collector, that spans which can't be delivered
//! are dropped and counted, and that without a collector no span is made.

mod context;
mod encoding;
mod exporter;
mod record;
mod request;
mod span;

use http::Uri;

pub use self::context::TraceContext;
pub use self::exporter::{TraceError, Tracer, Traces};
pub use self::record::SpanKind;
pub use self::request::{
    CallTimes, Facts, InTrace, Observed, client_span, current_trace, internal_span, note_format,
    note_key_call, note_retry, note_storage_call, note_storage_response, observed, take_facts,
};
pub use self::span::{OpenSpan, RequestTrace};
use crate::log::Share;

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The collector, which takes OTLP over HTTP at the path `/v1/traces`; without a path.
    pub endpoint: Uri,
    /// The share of the traces that begin here. A trace that a client began is sampled as the client says.
    pub sample: Share,
    /// The name of the service in its resource (`service.name`).
    pub service: String,
}
