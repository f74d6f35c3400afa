//! Plans how the wanted plaintext is opened from a response, by the kind of its body.
//!
//! It must not know how stored bytes are requested. It promises that a plan opens nothing by a layout that is
//! not proven.

use std::sync::Arc;

use super::{OTHER_BYTES, PARTIAL, ReadPlan, Reader};
use crate::body::{BoxOpener, PlaintextWindow};
use crate::envelope::ContentKey;
use crate::envelope::native::multipart::{BodyClaim, MultipartOpener};
use crate::envelope::native::{ChunkOpener, ReadWindow};
use crate::error::Error;
use crate::object::layout::{self, ExpectedLayout, ProvenRange};
use crate::object::location::{ObjectIdentity, ReceivedRange};
use crate::object::range::{RequestedRange, Selection};

impl Reader<'_> {
    /// Plans the read of a body of one PUT, whose authentic length is `plaintext_total` (F-24).
    pub(super) fn put(
        &self,
        run: ReceivedRange,
        plaintext_total: u64,
        content_key: &ContentKey,
    ) -> Result<ReadPlan, Error> {
        let whole = ReadWindow::whole(plaintext_total);
        let selection = if self.wants_whole(run) {
            Selection::Whole
        } else {
            self.read.wanted.select(plaintext_total, None)?
        };
        let window = match selection {
            Selection::Whole if run.partial => return Err(PARTIAL),
            Selection::Whole | Selection::EmptyPart => whole,
            Selection::Span(range) => {
                ReadWindow::slice(plaintext_total, run.first, range.first(), range.last())?
            }
        };
        let opener = ChunkOpener::for_put(content_key, plaintext_total, window.first_chunk)?;
        let opener: BoxOpener = Box::new(opener);
        let opener = Some((opener, (&window).into()));
        Ok(ReadPlan { plaintext_total, selection, opener, parts_count: None, known: None })
    }

    /// Plans the read of a whole multipart object in one stream. The response's head declares the length, so
    /// an object whose stored length does not determine its plaintext length needs its layout first.
    pub(super) async fn whole_of_multipart(
        &self,
        identity: &ObjectIdentity,
        run: ReceivedRange,
        content_key: Arc<ContentKey>,
        looks_for_checksum: bool,
    ) -> Result<ReadPlan, Error> {
        if run.partial {
            return Err(PARTIAL);
        }
        let known = match identity.plaintext_total()? {
            Some(_) if !looks_for_checksum => None,
            Some(_) | None => {
                Some(layout::layout_of(self.resources, &self.at, identity, &content_key).await?)
            }
        };
        let layout = known.as_ref().map(|known| known.layout.clone());
        let claim = BodyClaim { ciphertext_total: run.total, parts: identity.parts() };
        let opener = MultipartOpener::new(content_key, claim, layout)?;
        let plaintext_total = opener.plaintext_total().expect("length or layout determines it");
        let plaintext_window = PlaintextWindow { discard: 0, skip: 0, length: plaintext_total };
        let opener: BoxOpener = Box::new(opener);
        Ok(ReadPlan {
            plaintext_total,
            selection: Selection::Whole,
            opener: Some((opener, plaintext_window)),
            parts_count: None,
            known,
        })
    }

    /// Plans the read of a range or a part of a multipart object; its layout, where that is not the expected
    /// one and other bytes have to be requested.
    pub(super) async fn range_of_multipart(
        &self,
        proven: ProvenRange,
        run: ReceivedRange,
        content_key: Arc<ContentKey>,
    ) -> Result<Result<ReadPlan, ExpectedLayout>, Error> {
        let layout = proven.known.layout.clone();
        let plaintext_total = layout.plaintext_total();
        let selection = self.read.wanted.select(plaintext_total, Some(&layout))?;
        let opener = match selection {
            Selection::EmptyPart => None,
            Selection::Whole => return Err(PARTIAL),
            Selection::Span(range) => {
                let window = layout.window(range.first(), range.last())?;
                if proven.window != Some(window) {
                    return Ok(Err(ExpectedLayout::Proven(proven.known)));
                }
                let discard = window.ciphertext_first.checked_sub(run.first).ok_or(OTHER_BYTES)?;
                let opener = proven.opener(self.resources, &window, content_key).await?;
                let opener: BoxOpener = Box::new(opener);
                Some((opener, PlaintextWindow { discard, skip: window.skip, length: window.length }))
            }
        };
        let parts_count = matches!(self.read.wanted, RequestedRange::Part(_)).then_some(layout.parts().len());
        Ok(Ok(ReadPlan { plaintext_total, selection, opener, parts_count, known: None }))
    }
}
