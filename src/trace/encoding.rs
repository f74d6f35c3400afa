//! Spans in the JSON of OTLP: ids as hexadecimal digits, enumerations as numbers, 64-bit numbers as strings.
//! It must not know where they go.
//! It promises what a collector of OTLP 1.x accepts.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::record::{AttributeValue, Span, SpanKind};
use crate::wire::hex;

/// `Status.code` of a span that failed. Others leave it unset.
const STATUS_ERROR: u8 = 2;

/// What the spans of this process have in common.
pub(super) struct Resource {
    /// `service.name`.
    pub(super) service: String,
    /// `service.instance.id`.
    pub(super) instance: String,
}

/// The request that delivers these spans (`ExportTraceServiceRequest`).
pub(super) fn request(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [
        ("service.name", resource.service.as_str()),
        ("service.version", version),
        ("service.instance.id", resource.instance.as_str()),
    ];
    let attributes =
        attributes.map(|(name, value)| json!({ "key": name, "value": { "stringValue": value } }));
    let request = json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes },
            "scopeSpans": [{
                "scope": { "name": "s3veil", "version": version },
                "spans": spans.iter().map(encode).collect::<Vec<_>>(),
            }],
        }],
    });
    request.to_string().into_bytes()
}

fn encode(span: &Span) -> Value {
    let mut encoded = json!({
        "traceId": hex::encode(&span.trace_id),
        "spanId": hex::encode(&span.id),
        "name": span.name,
        "kind": kind(span.kind),
        "startTimeUnixNano": nanoseconds(span.start),
        "endTimeUnixNano": nanoseconds(span.end),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
    });
    if let Some(parent) = &span.parent {
        encoded["parentSpanId"] = json!(hex::encode(parent));
    }
    if let Some(state) = span.state.as_ref().and_then(|state| state.to_str().ok()) {
        encoded["traceState"] = json!(state);
    }
    if span.has_failed {
        encoded["status"] = json!({ "code": STATUS_ERROR });
    }
    encoded
}

fn kind(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    }
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn attribute((name, value): &(&'static str, AttributeValue)) -> Value {
    let value = match value {
        AttributeValue::Text(text) => json!({ "stringValue": text }),
        AttributeValue::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_encoded_as_the_specification_says() {
        let start = UNIX_EPOCH + Duration::from_nanos(1_800_000_000_000_000_001);
        let span = Span {
            trace_id: [0xab; 16],
            id: [1; 8],
            parent: Some([2; 8]),
            state: Some("a=1".parse().unwrap()),
            name: "S3/GetObject".into(),
            kind: SpanKind::Server,
            start,
            end: start + Duration::from_nanos(5),
            attributes: vec![
                ("rpc.method", AttributeValue::Text("GetObject".into())),
                ("http.response.status_code", AttributeValue::Number(403)),
            ],
            has_failed: true,
        };
        let resource = Resource { service: "veil".to_owned(), instance: "i".to_owned() };
        let request: Value = serde_json::from_slice(&request(&resource, &[span])).unwrap();
        let group = &request["resourceSpans"][0];
        assert_eq!(group["resource"]["attributes"][0]["value"]["stringValue"], "veil");
        let expected = json!({
            "traceId": "abababababababababababababababab",
            "spanId": "0101010101010101",
            "parentSpanId": "0202020202020202",
            "traceState": "a=1",
            "name": "S3/GetObject",
            "kind": 2,
            "startTimeUnixNano": "1800000000000000001",
            "endTimeUnixNano": "1800000000000000006",
            "attributes": [
                { "key": "rpc.method", "value": { "stringValue": "GetObject" } },
                { "key": "http.response.status_code", "value": { "intValue": "403" } },
            ],
            "status": { "code": 2 },
        });
        assert_eq!(group["scopeSpans"][0]["spans"], json!([expected]));
    }
}
