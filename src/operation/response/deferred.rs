//! Responses to operations that may take minutes: as in S3, a status of 200 comes first, then spaces, then
//! the outcome, which may be an error.
//!
//! It must not know what the work is. The work goes on when the client disconnects, and its permit lives as
//! long.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use tokio::task::JoinHandle;

use crate::admission::RequestPermit;
use crate::audit::{current_key_uses, note_failure, with_key_uses};
use crate::body::{BoxBody, KeepAliveBody, boxed};
use crate::envelope::native::SseAlgorithm;
use crate::error::{Error, Result, with_causes};
use crate::object::response_headers;
use crate::s3::{ErrorCode, S3Error};
use crate::timer;
use crate::trace::{current_trace, observed};

/// How long the response's head waits for the outcome; until then an error has a status of its own. Clients
/// time out a silent server after a minute, some after a few seconds more than this.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(5);
/// The interval of the spaces that keep the client from timing out.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// A response of headers and an XML document, which has no XML declaration yet.
pub(crate) struct DocumentResponse {
    pub(crate) headers: HeaderMap,
    pub(crate) document: String,
}

/// Responds with the outcome of `work`, or, if that takes longer than [`RESPONSE_DEADLINE`], with a body that
/// ends with the outcome. `sse` is the encryption that such a response reports; `None` for an object that is
/// stored unencrypted. The work goes on when the client disconnects, since it may have to clean up, and
/// counts as a request until it has ended.
///
/// # Errors
/// The error of the work, if it fails before the deadline.
pub(crate) async fn respond_or_defer(
    work: impl Future<Output = Result<DocumentResponse>> + Send + 'static,
    permit: Option<RequestPermit>,
    resource: String,
    sse: impl Into<Option<SseAlgorithm>>,
) -> Result<Response<BoxBody>> {
    let work = async move {
        let outcome = work.await;
        drop(permit);
        if let Err(error) = &outcome {
            note_failure(|| error.to_s3().code.code().to_owned());
        }
        outcome
    };
    let work = observed(current_trace(), with_key_uses(current_key_uses(), Box::pin(work)));
    let task = tokio::spawn(work);
    within(task, resource, sse.into(), RESPONSE_DEADLINE).await
}

async fn within(
    mut task: JoinHandle<Result<DocumentResponse>>,
    resource: String,
    sse: Option<SseAlgorithm>,
    deadline: Duration,
) -> Result<Response<BoxBody>> {
    if let Ok(ended) = timer::timeout(deadline, &mut task).await {
        let DocumentResponse { headers, document } = ended.map_err(|_| task_failed())??;
        return Ok(done(headers, &document));
    }
    let document = async move {
        let ended = task.await.map_err(|_| Error::from(task_failed())).and_then(|outcome| outcome);
        Bytes::from(late_document(ended, &resource))
    };
    let mut response = Response::new(boxed(KeepAliveBody::new(document, KEEPALIVE_INTERVAL)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Some(sse) = sse {
        response_headers::set_sse(response.headers_mut(), sse, None);
    }
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
fn late_document(ended: Result<DocumentResponse>, resource: &str) -> String {
    let error = match ended {
        Ok(DocumentResponse { document, .. }) => return document,
        Err(error) => error,
    };
    if error.refusal_status().is_none() {
        tracing::warn!(error = %with_causes(&error), resource, "failed after its response had begun");
    }
    without_declaration(&error.to_s3().to_xml(resource, "", "s3veil")).to_owned()
}

fn without_declaration(document: &str) -> &str {
    match document.split_once("?>") {
        Some((declaration, rest)) if declaration.starts_with("<?xml") => rest.trim_start(),
        Some(_) | None => document,
    }
}

fn task_failed() -> S3Error {
    S3Error::from(ErrorCode::InternalError)
}

#[cfg(test)]
mod tests;
