//! Content on its way from disk: one piece is read while the piece before it is sent.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use s3s::dto::StreamingBlob;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes of a piece. At most two pieces of a stream are in memory, so that a hundred concurrent streams do
/// not take a hundred megabytes.
const PIECE_SIZE: u64 = 32 << 10;

/// The bytes `range` of `file` as a body. For blocking threads: the first piece is read at once, so that a
/// small body is ready with its head.
pub(super) fn body_of(mut file: File, range: Range<u64>) -> io::Result<StreamingBlob> {
    file.seek(SeekFrom::Start(range.start))?;
    let length = range.end - range.start;
    let piece = read_piece(&mut file, length)?;
    if piece.len() as u64 == length {
        return Ok(s3s::Body::from(piece).into());
    }
    let body = FileBody { file: Some(file), next: NextPiece::Ready(piece), remaining: length };
    Ok(s3s::Body::http_body(body).into())
}

fn read_piece(file: &mut File, remaining: u64) -> io::Result<Bytes> {
    let size = remaining.min(PIECE_SIZE);
    let mut piece = Vec::with_capacity(usize::try_from(size).expect("at most PIECE_SIZE"));
    file.take(size).read_to_end(&mut piece)?;
    if piece.len() as u64 == size { Ok(piece.into()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

struct FileBody {
    /// `None` while a blocking thread reads it.
    file: Option<File>,
    next: NextPiece,
    /// Bytes not yet handed over.
    remaining: u64,
}

enum NextPiece {
    Ready(Bytes),
    Task(JoinHandle<io::Result<(File, Bytes)>>),
    /// After the last piece, or an error.
    Nothing,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut self.next {
            NextPiece::Ready(piece) => std::mem::take(piece),
            NextPiece::Task(task) => {
                match ready!(Pin::new(task).poll(cx)).unwrap_or_else(|error| Err(error.into())) {
                    Ok((file, piece)) => {
                        self.file = Some(file);
                        piece
                    }
                    Err(error) => {
                        self.next = NextPiece::Nothing;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            NextPiece::Nothing => return Poll::Ready(None),
        };
        self.remaining -= piece.len() as u64;
        let remaining = self.remaining;
        self.next = match self.file.take().filter(|_| remaining > 0) {
            Some(mut file) => NextPiece::Task(spawn_blocking(move || {
                let piece = read_piece(&mut file, remaining)?;
                Ok((file, piece))
            })),
            None => NextPiece::Nothing,
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
