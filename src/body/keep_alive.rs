//! An XML document that is not complete yet: spaces keep the connection alive until it is.
//!
//! It must not know what the document is. It promises well-formed XML: the declaration first, then spaces,
//! then the document.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;

use super::{BoxError, DataBody, PollData};
use crate::timer;

/// A declaration must be the first thing in a document, so it goes out before the spaces.
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

type Document = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// A body of the XML declaration, a space after each `pause` that the document is not complete, and the
/// document, which itself has no declaration.
pub type KeepAliveBody = DataBody<KeepAlive>;

/// The document and the timer of a [`KeepAliveBody`].
pub struct KeepAlive {
    document: Document,
    pause: Duration,
    next_space: Pin<Box<Sleep>>,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Begun,
    Waiting,
    Ended,
}

impl KeepAliveBody {
    /// A body that awaits `document`, however long that takes.
    pub fn new(document: impl Future<Output = Bytes> + Send + 'static, pause: Duration) -> Self {
        let next_space = Box::pin(timer::sleep(pause));
        Self::from_source(KeepAlive { document: Box::pin(document), pause, next_space, stage: Stage::Begun })
    }
}

impl PollData for KeepAlive {
    type Error = BoxError;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match self.stage {
            Stage::Begun => {
                self.stage = Stage::Waiting;
                Poll::Ready(Some(Ok(Bytes::from_static(DECLARATION))))
            }
            Stage::Ended => Poll::Ready(None),
            Stage::Waiting => {
                if let Poll::Ready(document) = self.document.as_mut().poll(context) {
                    self.stage = Stage::Ended;
                    return Poll::Ready(Some(Ok(document)));
                }
                ready!(self.next_space.as_mut().poll(context));
                let next = Instant::now() + self.pause;
                self.next_space.as_mut().reset(next.into());
                Poll::Ready(Some(Ok(Bytes::from_static(b" "))))
            }
        }
    }

    fn is_end(&self) -> bool {
        self.stage == Stage::Ended
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body;
    use http_body_util::BodyExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn spaces_come_until_the_document_is_there() {
        let (sender, receiver) = oneshot::channel::<&'static str>();
        let document = async move { Bytes::from(receiver.await.unwrap()) };
        let mut body = KeepAliveBody::new(document, Duration::from_millis(1));
        let mut seen = Vec::new();
        while seen.len() < DECLARATION.len() + 3 {
            seen.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert!(!body.is_end_stream());
        sender.send("<Result/>").unwrap();
        seen.extend_from_slice(&body.collect().await.unwrap().to_bytes());
        let text = String::from_utf8(seen).unwrap();
        let rest = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n   ").unwrap();
        assert_eq!(rest.trim_start_matches(' '), "<Result/>");
    }

    #[tokio::test]
    async fn a_document_that_is_there_needs_no_space() {
        let body = KeepAliveBody::new(async { Bytes::from_static(b"<a/>") }, Duration::from_secs(60));
        let seen = body.collect().await.unwrap().to_bytes();
        assert_eq!(seen.strip_prefix(DECLARATION), Some(&b"<a/>"[..]));
    }
}
