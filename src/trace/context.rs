//! The trace context of W3C: the headers `traceparent` and `tracestate`.
//! It must not know what is traced.
//! It promises that an invalid header is as if it were absent, as the recommendation requires.
//! <https://www.w3.org/TR/trace-context/>

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::wire::hex;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a `traceparent` of version 00, and of the part that later versions keep.
const LENGTH: usize = 55;

/// Maximum bytes of a `tracestate` that is passed on. The recommendation requires 512 at least.
const MAX_STATE: usize = 512;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 0x01;

/// The flags that are passed on: whether the trace is recorded, and whether its id is random.
const KNOWN_FLAGS: u8 = 0x03;

/// The position of a caller in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Not zero.
    pub trace_id: [u8; 16],
    /// The caller's span; not zero.
    pub parent_id: [u8; 8],
    /// [`SAMPLED`] and the flag for random ids.
    pub(super) flags: u8,
    /// What the systems before this one say to each other, if it is text of at most [`MAX_STATE`] bytes.
    pub(super) state: Option<HeaderValue>,
}

impl TraceContext {
    /// The context in the headers of a request; `None` if there is none, or it is invalid.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let (trace_id, parent_id, flags) = parse(parent.to_str().ok()?.trim())?;
        Some(Self { trace_id, parent_id, flags: flags & KNOWN_FLAGS, state: state(headers) })
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Parses `VERSION-TRACEID-PARENTID-FLAGS`, of lowercase hexadecimal digits. Later versions may have more
/// after a further hyphen.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let (known, later) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let (parent_id, flags) = (parts.next()?, parts.next()?);
    let [version] = decode::<1>(version)?;
    let is_complete = match version {
        0 => later.is_empty(),
        0xff => false,
        _ => later.is_empty() || later.starts_with('-'),
    };
    let (trace_id, parent_id) = (decode::<16>(trace_id)?, decode::<8>(parent_id)?);
    let [flags] = decode::<1>(flags)?;
    let are_ids = trace_id != [0; 16] && parent_id != [0; 8];
    (is_complete && are_ids && parts.next().is_none()).then_some((trace_id, parent_id, flags))
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lowercase = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    hex::decode(text).filter(|_| is_lowercase)
}

/// The values of `tracestate` as one.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(TRACESTATE).iter();
    let first = lines.next()?;
    let joined = lines.next().map(|second| {
        let all = [first, second].into_iter().chain(lines).map(HeaderValue::as_bytes);
        all.collect::<Vec<_>>().join(&b',')
    });
    let value = match joined {
        None => first.clone(),
        Some(joined) => HeaderValue::from_bytes(&joined).ok()?,
    };
    let is_text = value.to_str().is_ok() && (1..=MAX_STATE).contains(&value.len());
    is_text.then_some(value)
}

/// The `traceparent` of a request that a span makes.
pub(super) fn traceparent(trace_id: &[u8; 16], span_id: &[u8; 8], flags: u8) -> HeaderValue {
    let mut text = [b'-'; LENGTH];
    text[..2].copy_from_slice(b"00");
    text[3..35].copy_from_slice(hex::encode_array(trace_id).as_flattened());
    text[36..52].copy_from_slice(hex::encode_array(span_id).as_flattened());
    text[53..].copy_from_slice(hex::encode_array(&[flags]).as_flattened());
    HeaderValue::from_bytes(&text).expect("digits and hyphens are visible ASCII")
}

/// The flags of a trace that begins here, whose id is random.
pub(super) fn flags(is_sampled: bool) -> u8 {
    if is_sampled { KNOWN_FLAGS } else { KNOWN_FLAGS & !SAMPLED }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parsed(lines: &[(&'static str, &str)]) -> Option<TraceContext> {
        let lines = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        lines.for_each(|(name, value): (HeaderName, HeaderValue)| _ = headers.append(name, value));
        TraceContext::from_headers(&headers)
    }

    #[test]
    fn a_valid_context_is_read_and_written() {
        let context =
            parsed(&[("traceparent", VALID), ("tracestate", "a=1"), ("tracestate", "b=2")]).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.state.as_ref().unwrap(), "a=1,b=2");
        assert_eq!(traceparent(&context.trace_id, &context.parent_id, context.flags), VALID);
        let unsampled = parsed(&[("traceparent", &VALID.replace("-01", "-00"))]).unwrap();
        assert!(!unsampled.is_sampled() && unsampled.state.is_none());
    }

    /// The cases of the recommendation's sections 2.2.2 and 3.2.
    #[test]
    fn an_invalid_context_is_as_none() {
        let long = "x".repeat(MAX_STATE + 1);
        for wrong in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01later",
            "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-00",
        ] {
            assert_eq!(parsed(&[("traceparent", wrong)]), None, "{wrong}");
        }
        assert_eq!(parsed(&[("tracestate", "a=1")]), None);
        assert_eq!(parsed(&[("traceparent", VALID), ("traceparent", VALID)]), None);
        assert!(parsed(&[("traceparent", VALID), ("tracestate", &long)]).unwrap().state.is_none());
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-more";
        assert_eq!(
            parsed(&[("traceparent", later)]).unwrap().flags,
            SAMPLED,
            "flags of the future are not known"
        );
    }
}
