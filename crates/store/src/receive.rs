//! Bodies on their way to disk: one batch is hashed and written while the next arrives.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use tokio::task::{JoinHandle, spawn_blocking};

use super::digest::{Checksums, Claims, Digest};
use super::directory::{Directory, Draft, failed};

/// Large enough that the way to a blocking thread and back does not count, small enough for many streams.
pub(super) const BATCH: usize = 256 << 10;

/// S3's limit to the body of one request.
const MAX_BODY: i64 = 5 << 30;

/// A body, and what the request says about it.
pub(super) struct ArrivingBody {
    pub(super) content: Option<StreamingBlob>,
    pub(super) length: Option<i64>,
    pub(super) content_md5: Option<String>,
    pub(super) checksums: Checksums,
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<TrailingHeaders>,
}

impl ArrivingBody {
    /// Whether it is worth asking if the request can succeed at all before the body is read.
    pub(super) fn is_large(&self) -> bool {
        self.length.is_none_or(|length| length > BATCH as i64)
    }
}

/// A body that arrived whole, and is what the request said.
pub(super) struct Arrived {
    pub(super) draft: Draft,
    pub(super) etag: String,
    pub(super) checksums: Checksums,
}

/// Writes a body into a draft and hands that to `place`. A body that fails, or is not what was said, leaves nothing.
pub(super) async fn receive<T: Send + 'static>(
    directory: Arc<Directory>,
    body: ArrivingBody,
    place: impl FnOnce(&Directory, Arrived) -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    let ArrivingBody { content, length, content_md5, checksums, headers, trailers } = body;
    if length.is_some_and(|length| length > MAX_BODY) {
        return Err(s3_error!(EntityTooLarge));
    }
    let mut claims = Claims::new(content_md5, checksums, &headers);
    let mut writer = Writer::Idle(Box::new(Writing {
        directory: Arc::clone(&directory),
        draft: None,
        digest: Digest::new(&claims),
    }));
    let mut content = content.map(s3s::Body::from).unwrap_or_default();
    let mut batch = Vec::new();
    let mut waiting = 0;
    while let Some(frame) = content.frame().await {
        let data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => {
                // The draft is gone before the answer is there.
                drop(writer.idle().await);
                return Err(S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, error));
            }
        };
        waiting += data.len();
        batch.push(data);
        if waiting >= BATCH {
            let batch = std::mem::take(&mut batch);
            let writing = writer.idle().await?;
            writer = Writer::Busy(spawn_blocking(move || writing.write(batch)));
            waiting = 0;
        }
    }
    let writing = writer.idle().await?;
    claims.take_trailers(trailers.and_then(|trailers| trailers.take()).as_ref())?;
    blocking(move || {
        let arrived = writing.write(batch)?.finish(length, &claims)?;
        place(&directory, arrived)
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
    Idle(Box<Writing>),
    Busy(JoinHandle<S3Result<Box<Writing>>>),
}

impl Writer {
    async fn idle(self) -> S3Result<Box<Writing>> {
        match self {
            Self::Idle(writing) => Ok(writing),
            Self::Busy(task) => task.await.map_err(S3Error::internal_error)?,
        }
    }
}

struct Writing {
    directory: Arc<Directory>,
    /// Opened with the first batch: a small body makes its whole way in one go.
    draft: Option<Draft>,
    digest: Digest,
}

impl Writing {
    fn write(mut self: Box<Self>, batch: Vec<Bytes>) -> S3Result<Box<Self>> {
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => none.insert(self.directory.draft()?),
        };
        for piece in batch {
            self.digest.update(&piece);
            draft.file.write_all(&piece).map_err(failed)?;
            draft.size += piece.len() as u64;
        }
        Ok(self)
    }

    fn finish(self: Box<Self>, length: Option<i64>, claims: &Claims) -> S3Result<Arrived> {
        let draft = self.draft.expect("opened when the last batch was written");
        if length.is_some_and(|length| u64::try_from(length) != Ok(draft.size)) {
            return Err(s3_error!(IncompleteBody));
        }
        let (etag, checksums) = self.digest.finish(claims)?;
        Ok(Arrived { draft, etag, checksums })
    }
}
