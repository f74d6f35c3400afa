//! The module against storages that verify signatures, and against peers that misbehave.

#[cfg(feature = "embedded-store")]
mod embedded;
mod failures;
mod fake;
mod pool;
#[cfg(feature = "embedded-store")]
mod regions;
mod retries;
mod router;
mod signed;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use zeroize::Zeroizing;

use super::*;
use crate::s3::{BucketName, ObjectKey};
use crate::upstream::error::Phase;

pub(super) const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
pub(super) const SECRET: &str = "a secret that both sides know";

pub(super) fn static_credentials(secret: &str) -> Credentials {
    Credentials::Static {
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret_access_key: Zeroizing::new(secret.to_owned()),
        session_token: None,
    }
}

pub(super) fn settings(endpoint: &Uri) -> Settings {
    Settings { credentials: static_credentials(SECRET), ..Settings::new(Target::Endpoint(endpoint.clone())) }
}

/// Limits short enough to wait for.
pub(super) fn impatient() -> Timeouts {
    let limit = Duration::from_millis(200);
    Timeouts { connect: limit, head: limit, idle: limit }
}

pub(super) fn request(method: Method, object: Option<&str>, body: UpstreamBody) -> UpstreamRequest {
    UpstreamRequest {
        method,
        bucket: Some(BucketName::parse("demo").unwrap()),
        object: object.map(|object| ObjectKey::parse(object).unwrap()),
        query: Vec::new(),
        headers: HeaderMap::new(),
        body,
    }
}

pub(super) fn get(object: &str) -> UpstreamRequest {
    request(Method::GET, Some(object), UpstreamBody::Empty)
}

pub(super) fn put(object: &str, body: UpstreamBody) -> UpstreamRequest {
    request(Method::PUT, Some(object), body)
}

pub(super) async fn read(response: Response<BoxBody>) -> Bytes {
    response.into_body().collect().await.expect("the body is whole").to_bytes()
}

/// Bytes without a period near any chunk size.
pub(super) fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 65_537) as u8).collect()
}

/// What a source of bytes does next.
pub(super) enum Step {
    Give(Bytes),
    Wait(Duration),
    Fail(&'static str),
    /// Never comes back.
    Stall,
}

/// A body that follows a script.
pub(super) struct Script {
    steps: VecDeque<Step>,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
}

pub(super) fn script(steps: impl IntoIterator<Item = Step>) -> BoxBody {
    Script { steps: steps.into_iter().collect(), wait: None }.boxed_unsync()
}

/// `content` in frames of `frame` bytes.
pub(super) fn stream(content: &Bytes, frame: usize) -> UpstreamBody {
    let frames = (0..content.len()).step_by(frame).map(|at| content.slice(at..content.len().min(at + frame)));
    UpstreamBody::StreamedContent { body: script(frames.map(Step::Give)), length: content.len() as u64 }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                std::task::ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Give(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Wait(pause)) => self.wait = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Step::Fail(reason)) => return Poll::Ready(Some(Err(reason.into()))),
                Some(Step::Stall) => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
            }
        }
    }
}
