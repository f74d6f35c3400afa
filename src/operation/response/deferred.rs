//! Answers to what may take minutes: as S3 does it, a 200 comes first, then spaces, then the outcome, be it an error.

use crate::object::response_headers;
use crate::object::upstream_response::code_of;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use tokio::task::JoinHandle;

use crate::body::{BoxBody, KeepAliveBody, boxed, read_bounded};
use crate::envelope::native::SseAlgorithm;
use crate::error::{Error, with_causes};
use crate::operation::request::UnderWay;
use crate::s3::{ErrorCode, S3Error, xml};

/// How long the head of the answer waits for the outcome; until then an error has a status of its own. Clients give up
/// on a silent server after a minute, some after a few seconds more than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits for a space.
const PAUSE: Duration = Duration::from_secs(5);

/// How the work ended.
pub(crate) enum Outcome {
    /// It is done: the answer's headers, and its document without XML declaration.
    Done(HeaderMap, String),
    /// The storage refused, in words that the client may read.
    Refused(Response<BoxBody>),
}

/// Answers with the outcome of `work`, or, if that takes longer than [`PATIENCE`], with a body that ends with it. The work
/// goes on when the client does not wait for it, since it may have to clean up, and counts as a request until it has ended.
///
/// # Errors
/// What the work failed with in time.
pub(crate) async fn answer_in_time(
    work: impl Future<Output = Result<Outcome, Error>> + Send + 'static,
    under_way: UnderWay,
    resource: String,
    sse: SseAlgorithm,
) -> Result<Response<BoxBody>, Error> {
    let task = tokio::spawn(async move {
        let outcome = work.await;
        drop(under_way);
        outcome
    });
    within(task, resource, sse, PATIENCE).await
}

async fn within(
    mut task: JoinHandle<Result<Outcome, Error>>,
    resource: String,
    sse: SseAlgorithm,
    patience: Duration,
) -> Result<Response<BoxBody>, Error> {
    if let Ok(ended) = tokio::time::timeout(patience, &mut task).await {
        return match ended.map_err(|_| broken_off())?? {
            Outcome::Done(headers, document) => Ok(done(headers, &document)),
            Outcome::Refused(response) => Ok(response),
        };
    }
    let document = async move {
        let ended = task.await.map_err(|_| Error::from(broken_off())).and_then(|outcome| outcome);
        Bytes::from(late_document(ended, &resource).await)
    };
    let mut response = Response::new(boxed(KeepAliveBody::new(document, PAUSE)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response_headers::set_sse(response.headers_mut(), sse, None);
    Ok(response)
}

fn done(headers: HeaderMap, document: &str) -> Response<BoxBody> {
    let whole = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}");
    let length = whole.len();
    let mut response = Response::new(boxed(http_body_util::Full::from(whole)));
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// The outcome as a document without XML declaration.
async fn late_document(ended: Result<Outcome, Error>, resource: &str) -> String {
    let error = match ended {
        Ok(Outcome::Done(_, document)) => return document,
        Ok(Outcome::Refused(response)) => refusal(response).await,
        Err(error) => {
            tracing::warn!(error = %with_causes(&error), resource, "failed after its answer had begun");
            error.to_s3()
        }
    };
    undeclared(&error.to_xml(resource, "", "s3veil")).to_owned()
}

/// What the storage refused with, in its own code and words where they are known ones.
async fn refusal(response: Response<BoxBody>) -> S3Error {
    let (head, body) = response.into_parts();
    let document = read_bounded(body, xml::MAX_ERROR_DOCUMENT).await.ok();
    match document.and_then(|document| xml::parse_error_document(&document).ok()) {
        Some(told) => S3Error::new(code_of(&told.code, head.status), told.message),
        None => {
            let message = format!("The storage refused with status {}.", head.status.as_u16());
            S3Error::new(ErrorCode::InternalError, message)
        }
    }
}

fn undeclared(document: &str) -> &str {
    match document.split_once("?>") {
        Some((declaration, rest)) if declaration.starts_with("<?xml") => rest.trim_start(),
        Some(_) | None => document,
    }
}

fn broken_off() -> S3Error {
    S3Error::from(ErrorCode::InternalError)
}

#[cfg(test)]
mod tests;
