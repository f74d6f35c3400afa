//! s3veil's embedded store: S3 on a directory, served inside the process, for trying s3veil out without
//! another server. The store knows S3's operations and files, and must not know s3veil's keys, formats,
//! configuration or upstream. Requests are verified by their signatures; an object is there with its content
//! and metadata, or not at all.

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

use std::error::Error as StdError;
use std::io;
use std::path::Path;

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

/// The error of a body or of an exchange.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A body of bytes.
pub type BoxBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// The message for an S3 error code, if the code has one. Errors of s3s itself come without messages.
pub type MessageOf = fn(code: &str) -> Option<&'static str>;

/// How the store treats its directory, and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Whether an object and its entry in the directory are on disk (fsync) before the response is sent.
    pub sync: bool,
    /// Whether the directory is refused while another store that wants it alone has it open.
    pub exclusive: bool,
    /// The messages of errors, by code.
    pub message: MessageOf,
}

/// The credentials that requests are to be signed with, for any region.
pub struct KeyPair {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be made, read or locked.
    #[error(transparent)]
    Directory(#[from] io::Error),
    /// The credentials can't be drawn.
    #[error("no randomness for its credentials")]
    Randomness,
}

/// A store in a directory of this machine.
pub struct EmbeddedStore {
    service: S3Service,
    message_of: MessageOf,
}

impl EmbeddedStore {
    /// Opens the store at `root`, which is created if missing; what an earlier process left half-written is
    /// removed. The credentials are random, and the only ones that the store accepts.
    ///
    /// # Errors
    /// [`OpenError`]; [`io::ErrorKind::ResourceBusy`] where another store has the directory for itself.
    pub fn open(root: &Path, settings: Settings) -> Result<(Self, KeyPair), OpenError> {
        let directory = Directory::open(root, settings)?;
        let mut secret = [0; 20];
        rand::fill(&mut secret).map_err(|_| OpenError::Randomness)?;
        let secret_access_key: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let access_key_id = "s3veil-embedded".to_owned();
        let mut builder = S3ServiceBuilder::new(Store::new(directory));
        builder.set_auth(SimpleAuth::from_single(access_key_id.clone(), secret_access_key.clone()));
        let store = Self { service: builder.build(), message_of: settings.message };
        Ok((store, KeyPair { access_key_id, secret_access_key }))
    }

    /// Serves one signed request. The work is a task of its own: when the future is dropped, the request's
    /// body fails and the store cleans up, instead of stopping between two steps on disk.
    ///
    /// # Errors
    /// What s3s itself can't respond to, such as a request without a `Host`.
    pub async fn call(&self, request: Request<BoxBody>) -> Result<Response<BoxBody>, BoxError> {
        let service = self.service.clone();
        let (mut head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        head.uri = origin_form(&head.uri)?;
        let request = Request::from_parts(head, s3s::Body::http_body_unsync(body));
        let mut response = tokio::spawn(async move { service.call(request).await }).await??;
        if response.status().is_client_error() || response.status().is_server_error() {
            response = refusals::explain(response, self.message_of).await;
        }
        // s3s has the status of a partial response for GetObject only.
        if is_head && response.status().is_success() && response.headers().contains_key(CONTENT_RANGE) {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        // An HTTP server would leave these bodies out (RFC 9110, 6.4.1), but there is none in between.
        let is_bare = is_head
            || response.status() == StatusCode::NO_CONTENT
            || response.status() == StatusCode::NOT_MODIFIED;
        // Framing is the connection's, and there is none; only a body that is kept alive with spaces names
        // it.
        let is_kept_alive = response.headers_mut().remove(TRANSFER_ENCODING).is_some();
        Ok(response.map(|body| match (is_bare, is_kept_alive) {
            (true, _) => s3s::Body::empty().boxed_unsync(),
            (false, true) => declared_once(body),
            (false, false) => body.boxed_unsync(),
        }))
    }
}

/// Header fields before [`adapt`] replaced their tabs, each with all its values.
pub type Unfolded = Vec<(HeaderName, Vec<HeaderValue>)>;

/// Changes the headers of a request, before they are signed, to what s3s verifies. Metadata values that s3s
/// would decode are encoded. A tab becomes a blank, which s3s verifies in its place: the fields that had one
/// are returned, and are to be put back after the request was signed.
pub fn adapt(headers: &mut HeaderMap) -> Unfolded {
    metadata::encode_words(headers);
    fold_tabs(headers)
}

/// Writes a blank for each tab in a value, and returns the headers that had one, as they were.
fn fold_tabs(headers: &mut HeaderMap) -> Unfolded {
    let has_tab = |value: &HeaderValue| value.as_bytes().contains(&b'\t');
    let names: Vec<_> =
        headers.keys().filter(|name| headers.get_all(*name).iter().any(has_tab)).cloned().collect();
    let unfolded = names.into_iter().map(|name| {
        let values = headers.get_all(&name).iter().cloned().collect();
        (name, values)
    });
    let unfolded: Unfolded = unfolded.collect();
    for value in headers.values_mut().filter(|value| has_tab(value)) {
        let blank: Vec<_> =
            value.as_bytes().iter().map(|&byte| if byte == b'\t' { b' ' } else { byte }).collect();
        *value = HeaderValue::from_bytes(&blank).expect("a blank may stand where a tab may");
    }
    unfolded
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
