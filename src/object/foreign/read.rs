//! Reads a foreign object: verified in memory where its format and the rule allow it, otherwise while it
//! streams.
//!
//! It must not know which S3 operation reads the object. It promises that the plaintext of an authenticated
//! format is released before its verification only if the rule allows that.

use bytes::{Bytes, BytesMut};
use http::response;
use http_body_util::BodyExt;

use super::{ForeignContent, ForeignEnvelope, ForeignMetadata, Source, hide};
use crate::body::{BoxBody, StreamBody, boxed};
use crate::buffers::Share;
use crate::envelope::StreamOpener;
use crate::envelope::article_cbc::CbcBody;
use crate::envelope::native::SseAlgorithm;
use crate::envelope::s3ec::{Entries, MessageBody};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::location::{ReceivedRange, etag_of};
use crate::object::opened::OpenedObject;
use crate::object::range::{RequestedRange, Selection};
use crate::object::rule::counted::count_opened;
use crate::object::rule::formats::{Large, Ranges, ReadFormat};
use crate::object::upstream_response::buffered;
use crate::s3::{ByteRange, S3Error};

/// An AES-CBC chain of at most this many bytes is read whole: one request instead of two, and every fault is
/// found before the response begins.
const SMALL_CHAIN: u64 = 1024 * 1024;

/// The storage's response from which the object's format was detected.
pub(crate) struct FirstResponse {
    pub(crate) head: response::Parts,
    /// Stored bytes of the whole object.
    pub(crate) stored: u64,
    /// The stored bytes that the response carries; `None` for a response to HEAD.
    pub(crate) content: Option<(ReceivedRange, BoxBody)>,
}

/// Opens the requested range of a foreign object.
///
/// # Errors
/// `InvalidRange` and `InvalidPartNumber` when the object has no such bytes; otherwise the errors of
/// resolving, unlocking and reading the object.
pub(crate) async fn open(
    source: Source<'_>,
    claims: ForeignMetadata,
    wanted: RequestedRange,
    first: FirstResponse,
) -> Result<OpenedObject> {
    let FirstResponse { mut head, stored, content } = first;
    let etag = etag_of(&head.headers).ok_or(UnexpectedResponse::Missing("ETag"))?.to_owned();
    let foreign = ForeignEnvelope::resolve(&source, claims, stored).await?;
    let (unlocked, key_id) = foreign.unlock(&source.resources.keyring, source.rule).await?;
    let mut reader = ForeignReader { source, wanted, etag, stored, content };
    let (plaintext_total, selection, body) = match unlocked {
        ForeignContent::Plaintext => reader.plaintext().await?,
        ForeignContent::InstructionFile => reader.instruction_file().await?,
        ForeignContent::Message(message) => reader.message(&message).await?,
        ForeignContent::Chain(chain, recorded) => reader.chain(&chain, recorded).await?,
    };
    foreign.note_read(&source);
    if !matches!(foreign, ForeignEnvelope::InstructionFile) {
        count_opened(foreign.format());
    }
    hide(&foreign, &mut head.headers);
    let (_, length) = selection.extent(plaintext_total);
    Ok(OpenedObject {
        head,
        plaintext_total,
        selection,
        length,
        body,
        sse: SseAlgorithm::AwsKms,
        key_id,
        checksums: Vec::new(),
        parts_count: None,
    })
}

/// One read of a foreign object.
struct ForeignReader<'a> {
    source: Source<'a>,
    wanted: RequestedRange,
    etag: String,
    stored: u64,
    content: Option<(ReceivedRange, BoxBody)>,
}

/// The plaintext length of the whole object, the selection, and the selected plaintext.
type Opened = (u64, Selection, BoxBody);

impl ForeignReader<'_> {
    async fn plaintext(&mut self) -> Result<Opened> {
        let selection = self.wanted.select(self.stored, None)?;
        let (first, length) = selection.extent(self.stored);
        let opener = StreamOpener::plaintext(length);
        Ok((self.stored, selection, self.stream(opener, first, length).await?))
    }

    async fn instruction_file(&mut self) -> Result<Opened> {
        let (content, share) = self.whole().await?;
        if Entries::parse_instruction_file(&content).is_err() {
            super::admit(self.source.rule, ReadFormat::Plaintext)?;
        }
        self.cut(share.with(content.freeze()))
    }

    async fn message(&mut self, message: &MessageBody) -> Result<Opened> {
        let total = MessageBody::plaintext_length(self.stored)?;
        let selection = self.wanted.select(total, None)?;
        let rules = &self.source.rule.formats.s3ec;
        let is_cut = matches!(selection, Selection::Span(range) if range.len() < total);
        if let Selection::Span(range) = selection
            && is_cut
            && rules.ranges == Ranges::Unauthenticated
        {
            let opener = message.view(range.first(), range.len())?;
            let first = range.first() - range.first() % 16;
            return Ok((total, selection, self.stream(opener, first, range.last() - first + 1).await?));
        }
        if self.stored <= rules.buffer {
            let (stored, share) = self.whole().await?;
            return self.cut(share.with(message.open_whole(stored)?.freeze()));
        }
        if rules.large == Large::Stream && !is_cut {
            let opener = message.delayed(self.stored)?;
            return Ok((total, selection, self.stream(opener, 0, self.stored).await?));
        }
        let refusal = if matches!(selection, Selection::Span(_)) {
            "A range of this object can be verified only with the whole of it, which is larger than the \
             bucket's s3ec.buffer; s3ec.ranges = \"unauthenticated\" would read it without."
        } else {
            "This object can be verified only as a whole, and is larger than the bucket's s3ec.buffer; \
             s3ec.large = \"stream\" would release it before it is verified."
        };
        Err(S3Error::invalid_request(refusal).into())
    }

    async fn chain(&mut self, chain: &CbcBody, recorded: Option<u64>) -> Result<Opened> {
        if self.stored <= SMALL_CHAIN {
            let (stored, share) = self.whole().await?;
            let plaintext = chain.open_whole(&stored, recorded)?;
            return self.cut(share.with(plaintext.freeze()));
        }
        let total = match recorded {
            Some(length) => length,
            None => self.source.chain_length(chain, &self.etag, self.stored).await?,
        };
        let selection = self.wanted.select(total, None)?;
        let (first, length) = selection.extent(total);
        let body = match (first + length).checked_sub(1).filter(|_| length > 0) {
            None => BoxBody::default(),
            Some(last) => {
                let range = chain.slice(first, last);
                let opener = chain.opener(first, length);
                self.stream(opener, range.first(), range.len()).await?
            }
        };
        Ok((total, selection, body))
    }

    /// Cuts the requested range out of a whole plaintext.
    fn cut(&self, plaintext: Bytes) -> Result<Opened> {
        let total = plaintext.len() as u64;
        let selection = self.wanted.select(total, None)?;
        let (first, length) = selection.extent(total);
        let index = |offset: u64| usize::try_from(offset).expect("the range lies in the buffered plaintext");
        Ok((total, selection, buffered(plaintext.slice(index(first)..index(first + length)))))
    }

    /// Opens `take` stored bytes that begin at offset `first`.
    async fn stream(&mut self, opener: StreamOpener, first: u64, take: u64) -> Result<BoxBody> {
        if take == 0 {
            return Ok(BoxBody::default());
        }
        let (run, body) = match self.content.take() {
            Some((run, body)) if !run.partial => (run, body),
            Some(_) | None => {
                let range = ByteRange::from_length(first, take).filter(|_| take < self.stored);
                self.source.fetch(&self.etag, self.stored, range).await?
            }
        };
        let discard = first.checked_sub(run.first);
        let discard = discard.ok_or(UnexpectedResponse::WrongRange)?;
        Ok(boxed(StreamBody::new(body, opener, discard, take)))
    }

    /// Buffers all stored bytes. The caller has bounded them by the rule or the format; the [`Share`] counts
    /// them in the global budget of buffered bodies.
    async fn whole(&mut self) -> Result<(BytesMut, Share)> {
        let share = self.source.resources.hold(self.stored)?;
        let (run, mut body) = match self.content.take() {
            Some((run, body)) if !run.partial => (run, body),
            Some(_) | None => self.source.fetch(&self.etag, self.stored, None).await?,
        };
        let stored = usize::try_from(self.stored).expect("it was compared with a bound that fits memory");
        let mut whole = BytesMut::with_capacity(stored);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Error::UpstreamBody)?.into_data() else { continue };
            if data.len() > stored - whole.len() {
                return Err(WRONG_LENGTH);
            }
            whole.extend_from_slice(&data);
        }
        if run.partial || whole.len() != stored { Err(WRONG_LENGTH) } else { Ok((whole, share)) }
    }
}

const WRONG_LENGTH: Error = Error::UnexpectedResponse(UnexpectedResponse::WrongLength);
