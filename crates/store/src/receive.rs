//! Request bodies on their way to disk: one batch is hashed and written while the next arrives.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use tokio::task::{JoinHandle, spawn_blocking};

use super::digest::{Checksums, Claims, Digest};
use super::directory::{Directory, TempFile, failed};

/// Bytes of a batch: large enough to outweigh the hand-over to a blocking thread, small enough for many
/// streams.
pub(super) const BATCH: usize = 256 << 10;

/// S3's maximum bytes of the body of one request.
const MAX_BODY: i64 = 5 << 30;

/// A request body, and what the request claims about it.
pub(super) struct IncomingBody {
    pub(super) content: Option<StreamingBlob>,
    pub(super) length: Option<i64>,
    pub(super) content_md5: Option<String>,
    pub(super) checksums: Checksums,
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<TrailingHeaders>,
}

/// The [`IncomingBody`] of a request, from its fields, headers and trailers.
macro_rules! incoming_body {
    ($input:expr, $headers:expr, $trailers:expr) => {
        $crate::receive::IncomingBody {
            content: $input.body,
            length: $input.content_length,
            content_md5: $input.content_md5,
            checksums: $crate::digest::checksums_of!($input),
            headers: $headers,
            trailers: $trailers,
        }
    };
}
pub(super) use incoming_body;

impl IncomingBody {
    /// Whether checking if the request can succeed pays off before the body is read.
    pub(super) fn is_large(&self) -> bool {
        self.length.is_none_or(|length| length > BATCH as i64)
    }
}

/// A complete body that is what the request claims.
pub(super) struct ReceivedBody {
    pub(super) temp_file: TempFile,
    pub(super) etag: String,
    pub(super) checksums: Checksums,
}

/// Writes a body into a temporary file and passes that to `store`. A body that fails, or is not what the
/// request claims, leaves no file.
pub(super) async fn receive<T: Send + 'static>(
    directory: Arc<Directory>,
    body: IncomingBody,
    store: impl FnOnce(&Directory, ReceivedBody) -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    let IncomingBody { content, length, content_md5, checksums, headers, trailers } = body;
    if length.is_some_and(|length| length > MAX_BODY) {
        return Err(s3_error!(EntityTooLarge));
    }
    let mut claims = Claims::new(content_md5, checksums, &headers);
    let mut writer = Writer::Idle(Box::new(BatchWriter {
        directory: Arc::clone(&directory),
        temp_file: None,
        digest: Digest::new(&claims),
    }));
    let mut content = content.map(s3s::Body::from).unwrap_or_default();
    let mut batch = Vec::new();
    let mut waiting = 0;
    while let Some(frame) = content.frame().await {
        let data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => {
                // The temporary file is removed before the response is sent.
                drop(writer.idle().await);
                return Err(S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, error));
            }
        };
        waiting += data.len();
        batch.push(data);
        if waiting >= BATCH {
            let batch = std::mem::take(&mut batch);
            let batch_writer = writer.idle().await?;
            writer = Writer::Busy(spawn_blocking(move || batch_writer.write(batch)));
            waiting = 0;
        }
    }
    let batch_writer = writer.idle().await?;
    claims.take_trailers(trailers.and_then(|trailers| trailers.take()).as_ref())?;
    blocking(move || {
        let received = batch_writer.write(batch)?.finish(length, &claims)?;
        store(&directory, received)
    })
    .await
}

/// Work that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    spawn_blocking(work).await.map_err(S3Error::internal_error)?
}

enum Writer {
    Idle(Box<BatchWriter>),
    Busy(JoinHandle<S3Result<Box<BatchWriter>>>),
}

impl Writer {
    async fn idle(self) -> S3Result<Box<BatchWriter>> {
        match self {
            Self::Idle(batch_writer) => Ok(batch_writer),
            Self::Busy(task) => task.await.map_err(S3Error::internal_error)?,
        }
    }
}

struct BatchWriter {
    directory: Arc<Directory>,
    /// Opened with the first batch, so that a small body needs one blocking task.
    temp_file: Option<TempFile>,
    digest: Digest,
}

impl BatchWriter {
    fn write(mut self: Box<Self>, batch: Vec<Bytes>) -> S3Result<Box<Self>> {
        let temp_file = match &mut self.temp_file {
            Some(temp_file) => temp_file,
            none => none.insert(self.directory.temp_file()?),
        };
        for piece in batch {
            self.digest.update(&piece);
            temp_file.file.write_all(&piece).map_err(failed)?;
            temp_file.size += piece.len() as u64;
        }
        Ok(self)
    }

    fn finish(self: Box<Self>, length: Option<i64>, claims: &Claims) -> S3Result<ReceivedBody> {
        let temp_file = self.temp_file.expect("opened when the last batch was written");
        if length.is_some_and(|length| u64::try_from(length) != Ok(temp_file.size)) {
            return Err(s3_error!(IncompleteBody));
        }
        let (etag, checksums) = self.digest.finish(claims)?;
        Ok(ReceivedBody { temp_file, etag, checksums })
    }
}
