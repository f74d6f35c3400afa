//! The embedded store: S3 on a directory, served inside the process, for trying s3veil out without another server.
//! Requests reach it signed, and it verifies them, so what works against it is signed right.

mod buckets;
mod completion;
mod conditions;
mod content;
mod copies;
mod digest;
mod directory;
mod listing;
mod lists;
mod metadata;
mod names;
mod reads;
mod receive;
mod record;
mod refusals;
mod store;
mod uploads;
mod writes;

use std::path::Path;

use aws_credential_types::Credentials;
use aws_lc_rs::rand;
use bytes::Bytes;
use http::header::{CONTENT_RANGE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

use self::directory::Directory;
use self::store::Store;
use super::error::{UpstreamError, UpstreamSetupError};
use super::outgoing::OutgoingBody;
use super::settings::Embedded;
use super::{BoxBody, BoxError};

/// A store in a directory of this machine.
pub(super) struct EmbeddedStore {
    service: S3Service,
}

impl EmbeddedStore {
    /// Opens the store at `root`, which is created if missing; what an earlier process left half-written is removed.
    /// The credentials are random, and the only ones it takes.
    pub(super) fn open(root: &Path, settings: Embedded) -> Result<(Self, Credentials), UpstreamSetupError> {
        let refuse = |source: BoxError| UpstreamSetupError::Embedded { path: root.to_owned(), source };
        let directory = Directory::open(root, settings).map_err(|error| refuse(error.into()))?;
        let mut secret = [0; 20];
        rand::fill(&mut secret).map_err(|_| refuse("no randomness for its credentials".into()))?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let access_key_id = "s3veil-embedded";
        let mut builder = S3ServiceBuilder::new(Store::new(directory));
        builder.set_auth(SimpleAuth::from_single(access_key_id, secret.clone()));
        let credentials = Credentials::new(access_key_id, secret, None, None, "embedded store");
        Ok((Self { service: builder.build() }, credentials))
    }

    /// Answers one request. The work is a task of its own: whoever stops waiting lets the body fail and the store clean
    /// up, rather than stop it between two steps on disk.
    pub(super) async fn call(
        &self,
        request: Request<OutgoingBody>,
    ) -> Result<Response<BoxBody>, UpstreamError> {
        let service = self.service.clone();
        let (mut head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        head.uri = origin_form(&head.uri)?;
        let request = Request::from_parts(head, s3s::Body::http_body_unsync(body));
        let answer = tokio::spawn(async move { service.call(request).await }).await;
        let answer = answer.map_err(|panicked| UpstreamError::Protocol(panicked.into()))?;
        let mut response = answer.map_err(|error| UpstreamError::Protocol(error.into()))?;
        if response.status().is_client_error() || response.status().is_server_error() {
            response = refusals::explain(response).await;
        }
        // s3s has the status of a partial answer for GetObject only.
        if is_head && response.status().is_success() && response.headers().contains_key(CONTENT_RANGE) {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        // What an HTTP server would leave out (RFC 9110, 6.4.1): nobody between us does.
        let is_bare = is_head
            || response.status() == StatusCode::NO_CONTENT
            || response.status() == StatusCode::NOT_MODIFIED;
        // Framing is the connection's, and there is none; only a body that is kept alive with spaces says so.
        let is_kept_alive = response.headers_mut().remove(TRANSFER_ENCODING).is_some();
        Ok(response.map(|body| match (is_bare, is_kept_alive) {
            (true, _) => s3s::Body::empty().boxed_unsync(),
            (false, true) => declared_once(body),
            (false, false) => body.boxed_unsync(),
        }))
    }
}

/// Headers as they were, each with all its values.
pub(super) type Whole = Vec<(HeaderName, Vec<HeaderValue>)>;

/// Puts headers back as they were.
pub(super) fn unfold(headers: &mut HeaderMap, whole: Whole) {
    for (name, values) in whole {
        headers.remove(&name);
        values.into_iter().for_each(|value| _ = headers.append(&name, value));
    }
}

/// Writes the headers as s3s verifies and reads them. Metadata values that s3s would decode stay encoded; the
/// other headers with a tab, for which s3s verifies a blank, are returned as they were.
pub(super) fn adapt(headers: &mut HeaderMap) -> Whole {
    metadata::encode_words(headers);
    fold_tabs(headers)
}

/// Writes a blank for each tab in a value, and returns the headers that had one, as they were.
fn fold_tabs(headers: &mut HeaderMap) -> Whole {
    let has_tab = |value: &HeaderValue| value.as_bytes().contains(&b'\t');
    let names: Vec<_> =
        headers.keys().filter(|name| headers.get_all(*name).iter().any(has_tab)).cloned().collect();
    let whole = names.into_iter().map(|name| {
        let values = headers.get_all(&name).iter().cloned().collect();
        (name, values)
    });
    let whole: Whole = whole.collect();
    for value in headers.values_mut().filter(|value| has_tab(value)) {
        let blank: Vec<_> =
            value.as_bytes().iter().map(|&byte| if byte == b'\t' { b' ' } else { byte }).collect();
        *value = HeaderValue::from_bytes(&blank).expect("a blank may stand where a tab may");
    }
    whole
}

/// s3s begins with an XML declaration, goes on with spaces, and lets an error begin with a declaration again.
fn declared_once(body: s3s::Body) -> BoxBody {
    let mut is_first = true;
    let undeclared = |piece: Bytes| match piece.iter().position(|byte| *byte == b'>') {
        Some(end) if piece.starts_with(b"<?xml") => piece.slice(end + 1..),
        Some(_) | None => piece,
    };
    body.map_frame(move |frame| {
        let is_first = std::mem::take(&mut is_first);
        frame.map_data(|piece| if is_first { piece } else { undeclared(piece) })
    })
    .boxed_unsync()
}

fn origin_form(uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder().path_and_query(path).build()
}
