//! The embedded store as the transport of an upstream client.
//! The adapter knows both interfaces, and must not know operations, files or object formats.
//! Without the feature `embedded-store`, the adapter and the store are left out of the build.

use http::{HeaderMap, Request};
use s3veil_store::{BoxError, EmbeddedStore, KeyPair, OpenError};

use crate::s3::ErrorCode;
use crate::upstream::{
    BoxBody, Credentials, Embedded, HeadRoom, OriginalHeaders, Sending, Settings, Target, Transport,
    Upstream, UpstreamError, UpstreamSetupError,
};

struct InProcess(EmbeddedStore);

impl Transport for InProcess {
    fn adapt(&self, headers: &mut HeaderMap) -> OriginalHeaders {
        s3veil_store::adapt(headers)
    }

    fn send(&self, request: Request<BoxBody>, _: HeadRoom) -> Sending<'_> {
        Box::pin(async move { self.0.call(request).await.map_err(UpstreamError::Protocol) })
    }
}

/// Opens the embedded store that `settings` name as the target, and sets up its client. The store draws the
/// credentials; those of `settings` are not used.
///
/// # Errors
/// [`UpstreamSetupError::Embedded`] with the directory that can't be opened; `NoTransport` for
/// another target.
pub async fn open(settings: Settings) -> Result<Upstream, UpstreamSetupError> {
    let path = match &settings.target {
        Target::Embedded { path } => path.clone(),
        Target::Endpoint(_) | Target::Aws => return Err(UpstreamSetupError::NoTransport),
    };
    let Embedded { sync, exclusive } = settings.embedded;
    let store = EmbeddedStore::open(&path, s3veil_store::Settings { sync, exclusive, message });
    let (store, KeyPair { access_key_id, secret_access_key }) = store.map_err(|error| {
        let source: BoxError = match error {
            OpenError::Directory(error) => error.into(),
            OpenError::Randomness => error.into(),
        };
        UpstreamSetupError::Embedded { path, source }
    })?;
    let credentials = Credentials::Static {
        access_key_id,
        secret_access_key: secret_access_key.into(),
        session_token: None,
    };
    Upstream::with_transport(Settings { credentials, ..settings }, Box::new(InProcess(store))).await
}

fn message(code: &str) -> Option<&'static str> {
    ErrorCode::parse(code).map(ErrorCode::message)
}
