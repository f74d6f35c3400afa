//! A listing of objects, rewritten while it is sent: each entry is known at once or needs a lookup.
//!
//! It must not know how an entry is looked up. It promises the order of the storage, bounded memory, and an
//! error instead of a short listing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use super::data::poll_next_data;
use super::{BoxError, DataBody, PollData};
use crate::s3::xml::{
    ClientEntry, ListRewriter, ListedEntry, ListingPiece, NameEncoding, OwnedEntry, XmlError,
};

/// Max lookups of one listing in flight. A page of 1,000 such objects takes 63 round trips then; with more,
/// one client's listing would crowd out the requests of others.
pub const MAX_CONCURRENT_LOOKUPS: usize = 16;
/// Max bytes of a listing that wait behind a lookup: about 600 of S3's entries.
const MAX_WAITING: usize = 256 << 10;

/// Minimum capacity for bytes that are ready.
const READY_CAPACITY: usize = 16 << 10;
/// Max bytes that the rewriter takes at once: it copies them, and reads what is in the core's own cache.
const MAX_PUSHED: usize = 4000;
/// Max growth of an entry: by the digits of the largest size, and a suffix to its ETag.
const MAX_GROWTH: usize = 24;

/// A lookup in flight; `None` if the object is gone, and its entry is left out.
pub type EntryLookup = Pin<Box<dyn Future<Output = Result<Option<ClientEntry>, BoxError>> + Send>>;

/// How a listed object appears to its readers.
pub enum EntryView {
    /// The entry is known.
    Known(ClientEntry),
    /// The entry needs this lookup, which is polled concurrently with others before its turn.
    Lookup(EntryLookup),
}

/// Why a listing could not be returned.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The storage's response broke off.
    #[error("the storage's response broke off")]
    Upstream(#[source] BoxError),
    /// The storage's response is not a listing.
    #[error("the storage's listing is invalid: {0}")]
    Xml(#[from] XmlError),
    /// The lookup of an entry failed.
    #[error("an object's size could not be determined")]
    Entry(#[source] BoxError),
}

/// An HTTP body that writes the entries of a listing as `describe` returns them, in the order of the storage.
///
/// It ends without an error only after the whole document was passed on.
pub type ListingBody<B, S> = DataBody<Listing<B, S>>;

/// The listing that a [`ListingBody`] rewrites.
pub struct Listing<B, S> {
    listing: B,
    describe: S,
    /// What was read and not yet given to the rewriter.
    input: Bytes,
    /// `None` after the listing has ended.
    rewriter: Option<ListRewriter>,
    waiting: Waiting,
    first: Option<Bytes>,
}

/// The pieces that were not released.
#[derive(Default)]
struct Waiting {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Pieces with a lookup.
    lookups: usize,
    /// How many bytes were read last: about as many become ready.
    expected: usize,
}

enum Piece {
    /// Adjacent pieces that are ready, joined: small pieces would make small frames.
    Ready(BytesMut),
    Lookup(OwnedEntry, EntryLookup),
}

impl<B, S> ListingBody<B, S>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
    S: Fn(&ListedEntry<'_>) -> EntryView + Unpin,
{
    /// A body that rewrites `listing`, whose names were requested in this encoding.
    pub fn new(listing: B, requested: NameEncoding, describe: S) -> Self {
        Self::from_source(Listing {
            listing,
            describe,
            input: Bytes::new(),
            rewriter: Some(ListRewriter::new(requested)),
            waiting: Waiting::default(),
            first: None,
        })
    }

    /// The listing of a bucket that the storage knows by another name than `bucket`, the client's.
    #[must_use]
    pub fn with_bucket(mut self, bucket: &str) -> Self {
        self.source.rewriter = self.source.rewriter.map(|rewriter| rewriter.with_bucket(bucket));
        self
    }

    /// Waits for the first bytes, so that a response that is not a listing is refused with a proper response
    /// instead of a broken connection.
    ///
    /// # Errors
    /// The error of the first bytes.
    pub async fn primed(mut self) -> Result<Self, ListingError> {
        self.source.first = self.frame().await.transpose()?.and_then(|frame| frame.into_data().ok());
        Ok(self)
    }
}

impl Waiting {
    fn has_room(&self) -> bool {
        self.lookups < MAX_CONCURRENT_LOOKUPS && self.bytes < MAX_WAITING
    }

    fn enqueue(&mut self, piece: ListingPiece<'_>, describe: impl Fn(&ListedEntry<'_>) -> EntryView) {
        let (entry, lookup) = match piece {
            ListingPiece::Passed(bytes) => return self.append(|ready| ready.extend_from_slice(&bytes)),
            ListingPiece::Entry(entry) => match describe(&entry) {
                EntryView::Known(told) => return self.append(|ready| entry.write(told, ready)),
                EntryView::Lookup(lookup) => (entry, lookup),
            },
        };
        self.lookups += 1;
        self.bytes += entry.length();
        self.pieces.push_back(Piece::Lookup(entry.detached(), lookup));
    }

    /// Writes bytes after all that waits.
    fn append(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if !matches!(self.pieces.back(), Some(Piece::Ready(_))) {
            self.pieces.push_back(Piece::Ready(BytesMut::with_capacity(
                READY_CAPACITY.max(self.expected + self.expected / 16),
            )));
        }
        if let Some(Piece::Ready(ready)) = self.pieces.back_mut() {
            let before = ready.len();
            write(ready);
            self.bytes += ready.len() - before;
        }
    }

    /// Polls every lookup; returns whether one was completed.
    fn poll_lookups(&mut self, context: &mut Context<'_>) -> Result<bool, ListingError> {
        let open = self.lookups;
        if open == 0 {
            return Ok(false);
        }
        for piece in &mut self.pieces {
            let Piece::Lookup(entry, lookup) = piece else { continue };
            let Poll::Ready(told) = lookup.as_mut().poll(context) else { continue };
            let entry = entry.entry();
            let before = entry.length();
            let mut ready = BytesMut::with_capacity(before + MAX_GROWTH);
            if let Some(told) = told.map_err(ListingError::Entry)? {
                entry.write(told, &mut ready);
            }
            self.bytes = self.bytes - before + ready.len();
            self.lookups -= 1;
            *piece = Piece::Ready(ready);
        }
        Ok(self.lookups < open)
    }

    /// The pieces that are ready before the first lookup, joined.
    fn release(&mut self) -> Option<Bytes> {
        let ready = self.pieces.iter().take_while(|piece| matches!(piece, Piece::Ready(_))).count();
        let mut joined: Option<BytesMut> = None;
        for piece in self.pieces.drain(..ready) {
            let Piece::Ready(bytes) = piece else { continue };
            self.bytes -= bytes.len();
            match &mut joined {
                Some(joined) => joined.extend_from_slice(&bytes),
                None => joined = Some(bytes),
            }
        }
        joined.filter(|joined| !joined.is_empty()).map(BytesMut::freeze)
    }
}

impl<B, S> Listing<B, S>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
    S: Fn(&ListedEntry<'_>) -> EntryView + Unpin,
{
    /// Reads until the listing ends, a bound is reached, or the storage has sent no more.
    fn read_ahead(&mut self, context: &mut Context<'_>) -> Result<(), ListingError> {
        while self.waiting.has_room() {
            let Some(rewriter) = &mut self.rewriter else { break };
            if let Some(piece) = rewriter.next_piece()? {
                self.waiting.enqueue(piece, &self.describe);
                continue;
            }
            if !self.input.is_empty() {
                rewriter.push(&self.input.split_to(self.input.len().min(MAX_PUSHED)));
                continue;
            }
            match poll_next_data(&mut self.listing, context) {
                Poll::Pending => break,
                Poll::Ready(Some(Err(error))) => return Err(ListingError::Upstream(error)),
                Poll::Ready(Some(Ok(bytes))) => {
                    self.waiting.expected = bytes.len();
                    self.input = bytes;
                }
                Poll::Ready(None) => {
                    if let Some(rewriter) = self.rewriter.take() {
                        rewriter.finish()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ListingError>> {
        loop {
            self.read_ahead(context)?;
            let has_progressed = self.waiting.poll_lookups(context)?;
            if let Some(bytes) = self.waiting.release() {
                return Poll::Ready(Ok(Some(bytes)));
            }
            if self.waiting.pieces.is_empty() && self.rewriter.is_none() {
                return Poll::Ready(Ok(None));
            }
            if !has_progressed {
                return Poll::Pending;
            }
        }
    }
}

impl<B, S> PollData for Listing<B, S>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
    S: Fn(&ListedEntry<'_>) -> EntryView + Unpin,
{
    type Error = ListingError;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ListingError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.advance(context).map(Result::transpose),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::body::test_support::frames;

    fn listing(sizes: impl IntoIterator<Item = u64>) -> String {
        let entries = sizes
            .into_iter()
            .map(|size| format!("<Contents><Key>k</Key><Size>{size}</Size><Owner/></Contents>\n"));
        format!(
            "<?xml version=\"1.0\"?>\n<ListBucketResult>{}</ListBucketResult>",
            entries.collect::<String>()
        )
    }

    fn sized(size: u64) -> ClientEntry {
        ClientEntry { size, etag_suffix: "" }
    }

    /// Odd sizes need a lookup, even ones are known; the result is the double.
    fn doubled(entry: &ListedEntry<'_>) -> EntryView {
        let size = entry.size;
        if size.is_multiple_of(2) {
            return EntryView::Known(sized(size * 2));
        }
        EntryView::Lookup(Box::pin(async move {
            for _ in 0..size % 7 {
                tokio::task::yield_now().await;
            }
            Ok(Some(sized(size * 2)))
        }))
    }

    async fn read<S>(document: &str, cuts: &[usize], size_of: S) -> Result<String, ListingError>
    where
        S: Fn(&ListedEntry<'_>) -> EntryView + Unpin,
    {
        let body = ListingBody::new(frames(document.as_bytes(), cuts), NameEncoding::Verbatim, size_of);
        let bytes = body.primed().await?.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn entries_stay_in_order() {
        let sizes: Vec<u64> = (0..200).map(|number| number * number % 31).collect();
        let rewritten = read(&listing(sizes.clone()), &[5, 500, 5000], doubled).await.unwrap();
        assert_eq!(rewritten, listing(sizes.iter().map(|size| size * 2)));
    }

    #[tokio::test]
    async fn an_entry_whose_object_is_gone_is_left_out() {
        let size_of = |entry: &ListedEntry<'_>| {
            let size = entry.size;
            EntryView::Lookup(Box::pin(async move { Ok(Some(sized(size)).filter(|told| told.size > 3)) }))
        };
        let rewritten = read(&listing([3, 4, 3, 5, 3]), &[40], size_of).await.unwrap();
        assert_eq!(rewritten.replace(">\n<", "><").replace('\n', ""), listing([4, 5]).replace('\n', ""));
    }

    #[tokio::test]
    async fn lookups_are_concurrent_and_within_bounds() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let size_of = |_: &ListedEntry<'_>| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            EntryView::Lookup(Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(Some(sized(1)))
            }))
        };
        let rewritten = read(&listing(vec![3; 160]), &[1000], size_of).await.unwrap();
        assert_eq!(rewritten, listing(vec![1; 160]));
        assert_eq!(most.load(Ordering::Relaxed), MAX_CONCURRENT_LOOKUPS);
    }

    #[tokio::test]
    async fn a_slow_lookup_holds_back_a_bounded_part_of_the_listing() {
        let size_of = |entry: &ListedEntry<'_>| match entry.size {
            1 => EntryView::Lookup(Box::pin(std::future::pending())),
            size => EntryView::Known(sized(size)),
        };
        let document = listing(std::iter::once(1).chain(std::iter::repeat_n(2, 50_000)));
        let cuts: Vec<usize> = (0..document.len()).step_by(10_000).collect();
        let body = frames(document.as_bytes(), &cuts);
        let mut body = ListingBody::new(body, NameEncoding::Verbatim, size_of).primed().await.unwrap();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.ends_with(b"<ListBucketResult>"));
        let next = tokio::time::timeout(Duration::from_millis(50), body.frame());
        assert!(next.await.is_err());
        assert!(body.source.waiting.bytes < MAX_WAITING + crate::s3::xml::MAX_ENTRY);
    }

    #[tokio::test]
    async fn what_breaks_is_an_error_and_not_a_short_listing() {
        let document = listing(vec![2; 5000]);
        for cut in [0, 1, 30, 100, document.len() - 1] {
            let error = read(&document[..cut], &[cut / 2], doubled).await.unwrap_err();
            assert!(matches!(error, ListingError::Xml(XmlError::Malformed)), "cut at {cut}: {error:?}");
        }
        let error = read("<html>maintenance</html>", &[], doubled).await.unwrap_err();
        assert!(matches!(error, ListingError::Xml(XmlError::Unexpected)));
        let body = frames(document.as_bytes(), &[]).then_an_error();
        let body = ListingBody::new(body, NameEncoding::Verbatim, doubled);
        assert!(matches!(body.collect().await.unwrap_err(), ListingError::Upstream(_)));
        let unknown =
            |_: &ListedEntry<'_>| EntryView::Lookup(Box::pin(async { Err("lookup failed".into()) }));
        let error = read(&listing([1]), &[], unknown).await.unwrap_err();
        assert!(matches!(error, ListingError::Entry(_)));
    }

    #[tokio::test]
    async fn nothing_comes_after_a_failure() {
        let body = frames(b"<ListBucketResult><a></b>", &[20]);
        let mut body = ListingBody::new(body, NameEncoding::Verbatim, doubled);
        while body.frame().await.unwrap().is_ok() {}
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    proptest! {
        #[test]
        fn any_framing_gives_the_same(
            sizes in prop::collection::vec(0..1000_u64, 0..40), cuts in prop::collection::vec(0..4000_usize, 0..30),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let rewritten = runtime.block_on(read(&listing(sizes.clone()), &cuts, doubled)).unwrap();
            prop_assert_eq!(rewritten, listing(sizes.iter().map(|size| size * 2)));
        }
    }
}
