//! The way that a signed request takes: over the network, or to a store in this process.
//! It must not know what a request means, nor whether it is repeated.
//! A request over the network is not boxed, since nearly all requests take this way.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::pool::{Pool, PooledBody, Unsent};
use super::transport::{HeadRoom, OriginalHeaders, Transport};
use super::{BoxBody, BoxError, UpstreamError};
use crate::timer;

/// What carries requests to the storage.
pub(super) enum Carrier {
    /// Connections.
    Network(Pool),
    /// A store in this process.
    #[cfg_attr(
        not(feature = "embedded-store"),
        expect(dead_code, reason = "without the store there is none")
    )]
    InProcess(Box<dyn Transport>),
}

impl Carrier {
    /// Changes headers before they are signed, as [`Transport::adapt`] does.
    pub(super) fn adapt(&self, headers: &mut HeaderMap) -> OriginalHeaders {
        match self {
            Self::Network(_) => OriginalHeaders::new(),
            Self::InProcess(transport) => transport.adapt(headers),
        }
    }

    /// How many connections wait for a request.
    pub(super) fn idle_connections(&self) -> usize {
        match self {
            Self::Network(pool) => pool.idle_connections(),
            Self::InProcess(_) => 0,
        }
    }

    /// Sends a request with an absolute URI, once.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub(super) async fn send(
        &self,
        unsent: &mut Unsent,
        head_room: HeadRoom,
    ) -> Result<Response<ReceivedBody>, UpstreamError> {
        match self {
            Self::Network(pool) => {
                pool.send(unsent, head_room).await.map(|response| response.map(ReceivedBody::Pooled))
            }
            Self::InProcess(transport) => {
                // The store may keep what it reads, and a paced body would wait for it.
                let request = unsent.take().map(|body| body.into_inner().boxed_unsync());
                let sending = transport.send(request, head_room);
                let response = timer::with_tokio_timers(sending).await?;
                Ok(response.map(ReceivedBody::InProcess))
            }
        }
    }
}

/// The body of a response, as it is received.
pub(super) enum ReceivedBody {
    /// From a connection.
    Pooled(PooledBody),
    /// From a store in this process.
    InProcess(BoxBody),
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Pooled(body) => Pin::new(body).poll_frame(cx),
            Self::InProcess(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pooled(body) => body.is_end_stream(),
            Self::InProcess(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pooled(body) => body.size_hint(),
            Self::InProcess(body) => body.size_hint(),
        }
    }
}
