//! The outcome of one attempt: what it says about another one, and how much of its body belongs to it.
//!
//! It must not know how requests are sent. A response that is read here is returned whole.

use std::collections::VecDeque;

use bytes::BytesMut;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};

use super::incoming::ReadAhead;
use super::request::Prepared;
use super::retry::{FailureClass, Idempotency};
use super::{BoxBody, MAX_SMALL_BODY, UpstreamError};

/// The maximum bytes of a 503 that is read: S3's XML errors have a few hundred.
const MAX_ERROR_BODY: usize = 16 * 1024;

/// In the extensions of a response: an earlier attempt of its request may have been carried out.
#[derive(Debug, Clone, Copy)]
struct Repeated;

/// Whether an earlier attempt of the request may have been carried out. If so, an error response may be the
/// result of what that attempt did.
pub fn is_repeated<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Repeated>().is_some()
}

/// The outcome; a response shows whether an earlier attempt may have been carried out.
pub(super) fn marked(outcome: Outcome, may_have_been_done: bool) -> Outcome {
    outcome.map(|mut response| {
        if may_have_been_done {
            response.extensions_mut().insert(Repeated);
        }
        response
    })
}

/// Reads a body to its end, or as far as [`MAX_SMALL_BODY`].
pub(super) async fn read_ahead(response: Response<BoxBody>) -> Outcome {
    let (head, mut rest) = response.into_parts();
    // Not joined: a listing has hundreds of kilobytes.
    let (mut read, mut length) = (VecDeque::new(), 0);
    while length < MAX_SMALL_BODY {
        match rest.frame().await {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                length += data.len();
                read.extend(Some(data).filter(|data| !data.is_empty()));
            }
            Some(Err(error)) => {
                return Err(error.downcast().map_or_else(UpstreamError::Protocol, |error| *error));
            }
            None => {
                rest = BoxBody::default();
                break;
            }
        }
    }
    let length = rest.size_hint().exact().map(|rest| rest + length as u64);
    let body = ReadAhead { read, rest, length };
    Ok(Response::from_parts(head, body.boxed_unsync()))
}

/// A response, or why there is none.
pub(super) type Outcome = Result<Response<BoxBody>, UpstreamError>;

/// Classifies an outcome for another attempt; `None` for one that is final.
pub(super) fn classify(outcome: &Outcome, request: &Prepared) -> Option<FailureClass> {
    match outcome {
        Err(error) => {
            let untouched = request.upload().is_some_and(|upload| upload.is_untouched());
            FailureClass::from_error(error, untouched)
        }
        Ok(response) => FailureClass::from_status(response.status()),
    }
}

/// Whether a 503 has to be read to find out whether it is S3's SlowDown.
pub(super) fn is_unclear(response: &Response<BoxBody>, request: &Prepared) -> bool {
    response.status() == StatusCode::SERVICE_UNAVAILABLE
        && request.idempotency() == Idempotency::IfUnprocessed
}

/// Reads a 503, and classifies it.
pub(super) async fn read_refusal(response: Response<BoxBody>) -> (Outcome, Option<FailureClass>) {
    let (head, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(data) if read.len() + data.len() <= MAX_ERROR_BODY => read.extend_from_slice(&data),
            Ok(_) => return (Err(UpstreamError::Protocol("an endless 503".into())), None),
            Err(error) => return (Err(UpstreamError::Protocol(error)), None),
        }
    }
    let is_slow_down = String::from_utf8_lossy(&read).contains("<Code>SlowDown</Code>");
    let class = if is_slow_down { FailureClass::Refused } else { FailureClass::Unsettled };
    let body = Full::new(read.freeze()).map_err(|never| match never {}).boxed_unsync();
    (Ok(Response::from_parts(head, body)), Some(class))
}

/// The failure in words, for the log.
pub(super) fn failure(outcome: &Outcome) -> String {
    match outcome {
        Ok(response) => response.status().to_string(),
        Err(error) => error.to_string(),
    }
}
