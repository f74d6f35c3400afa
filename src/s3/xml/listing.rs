//! A listing of objects, rewritten while it streams: the `<Size>` of an entry may change, its `<ETag>` may
//! get a suffix, and what it says of the stored bytes' checksums is left out. Every other byte stays.
//!
//! Entries as S3 writes them are plain and found whole by their shape; every other one is scanned tag by tag,
//! and read as XML.

mod entry;
mod fields;
mod shape;

use std::borrow::Cow;
use std::slice;

use memchr::memchr2;

use self::fields::{Fields, Text};
use self::shape::{NotPlain, PlainElement, Shapes};
use super::reader::is_blank;
use super::stream_scanner::{StreamScanner, Tag};
use super::{XmlError, push_text, reader};
use crate::wire::limits::MAX_OBJECT_KEY;
use crate::wire::percent::{self, Plus};

pub use self::entry::{ClientEntry, ListedEntry, OwnedEntry};

/// How long one entry may be. A key of 1,024 bytes has at most 6,144 when each is escaped in XML or in a URL,
/// a version id 1,024; times, ETag, owner, checksum and restore status stay under 2 KiB. The rest is for
/// stores that add fields.
pub const MAX_ENTRY: usize = 16 << 10;

/// How names are written in a listing, inside the XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameEncoding {
    /// As they are.
    Verbatim,
    /// `encoding-type=url`: percent-encoded, a space perhaps as `+`.
    Url,
}

/// What comes next in a listing.
#[derive(Debug)]
pub enum ListingPiece<'a> {
    /// Bytes to pass on as they are.
    Passed(Cow<'a, [u8]>),
    /// An object, or a version of one: to be passed on by [`ListedEntry::write`].
    Entry(ListedEntry<'a>),
}

/// What the bytes begin with that were not given out, and how many bytes it has.
enum Next {
    Passed(usize),
    /// An entry, and how it was found, if it is plain.
    Entry(usize, Option<PlainElement>),
    Renamed(usize),
}

/// Takes a listing apart as it arrives; the pieces that come out, entries included, are the bytes that went
/// in, but for the name of the bucket after [`Self::with_bucket`].
///
/// It holds what was pushed and not yet taken out, and at most one entry of [`MAX_ENTRY`] bytes for want of
/// its end.
#[derive(Debug)]
pub struct ListRewriter {
    scanner: StreamScanner,
    buffer: Vec<u8>,
    /// How many bytes of the buffer were given out. While an element is held, it begins behind them.
    given: usize,
    /// How many bytes behind those the scanner has read.
    scanned: usize,
    held: Option<Held>,
    shapes: Shapes,
    /// What the latest entry says about its object.
    fields: Fields,
    /// How long the buffer was when it was the beginning of a plain element and no more; 0 otherwise.
    partial: usize,
    root: Root,
    encoding: NameEncoding,
    /// Whether the document itself has named the encoding.
    is_told: bool,
    /// Whether a name was read by it.
    is_used: bool,
    /// The bucket's name for the client, if it is not the storage's.
    bucket: Option<String>,
}

/// An element that is read whole before it is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Entry,
    EncodingType,
    /// The name of the bucket.
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    NotYet,
    Listing,
    Error,
}

impl ListRewriter {
    /// `requested`: the encoding of names that was requested. Some stores write theirs behind the entries,
    /// some ignore the request and write none; until the document says, the request counts.
    #[must_use]
    pub fn new(requested: NameEncoding) -> Self {
        Self {
            scanner: StreamScanner::new(),
            buffer: Vec::new(),
            given: 0,
            scanned: 0,
            held: None,
            shapes: Shapes::default(),
            fields: Fields::default(),
            partial: 0,
            root: Root::NotYet,
            encoding: requested,
            is_told: false,
            is_used: false,
            bucket: None,
        }
    }

    /// Writes `bucket` in the place of the bucket's name.
    #[must_use]
    pub fn with_bucket(self, bucket: &str) -> Self {
        Self { bucket: Some(bucket.to_owned()), ..self }
    }

    /// Adds bytes of the document, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.given));
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; `None` when more bytes must be pushed first. After an error nothing more may be taken.
    ///
    /// # Errors
    /// `Malformed` for what is not XML; `Unexpected` for another document than a listing or an error, and for
    /// an entry that does not say once what its object's key is and how large it is; `TooLarge` past
    /// [`MAX_ENTRY`], or nested too deep.
    pub fn next_piece(&mut self) -> Result<Option<ListingPiece<'_>>, XmlError> {
        let Some(next) = self.find_next()? else { return Ok(None) };
        let (Next::Passed(length) | Next::Entry(length, _) | Next::Renamed(length)) = next;
        let bytes = &self.buffer[self.given..][..length];
        self.given += length;
        match next {
            Next::Passed(_) => Ok(Some(ListingPiece::Passed(bytes.into()))),
            Next::Entry(_, plain) => {
                let plain = plain.filter(|plain| !plain.needs_reader);
                if !plain.is_some_and(|plain| self.fields.complete(bytes, plain.has_references)) {
                    self.fields = Fields::read(bytes)?;
                }
                let Some((_, size)) = self.fields.size else {
                    return Ok(Some(ListingPiece::Passed(bytes.into())));
                };
                self.is_used = true;
                let names = Names { encoding: self.encoding, is_told: self.is_told };
                names.decode(self.fields.key.as_mut().ok_or(XmlError::Unexpected)?, bytes)?;
                Ok(Some(ListingPiece::Entry(ListedEntry { bytes, fields: &self.fields, size })))
            }
            Next::Renamed(_) => {
                let mut renamed = "<Name>".to_owned();
                push_text(&mut renamed, self.bucket.as_deref().unwrap_or_default());
                renamed.push_str("</Name>");
                Ok(Some(ListingPiece::Passed(renamed.into_bytes().into())))
            }
        }
    }

    fn find_next(&mut self) -> Result<Option<Next>, XmlError> {
        let is_between = self.held.is_none() && self.root == Root::Listing && self.scanner.is_at_text(1);
        let input = &self.buffer[self.given..];
        if let (true, Some(first)) = (is_between, input.first()) {
            if is_blank(slice::from_ref(first)) {
                self.scanned = input.iter().take_while(|byte| is_blank(slice::from_ref(byte))).count();
                return Ok(self.pass(self.scanned));
            }
            if input.len() == self.partial {
                return Ok(None);
            }
            match self.shapes.find(&input[..input.len().min(MAX_ENTRY)], &mut self.fields) {
                Ok(found) => {
                    self.partial = 0;
                    let length = found.length;
                    let entry = Next::Entry(length, Some(found));
                    return Ok(Some(if found.is_entry { entry } else { Next::Passed(length) }));
                }
                // Once: in how many pieces an element comes must not decide how often it is looked at.
                Err(NotPlain::Partial) if self.partial == 0 && input.len() <= MAX_ENTRY => {
                    self.partial = input.len();
                    return Ok(None);
                }
                Err(NotPlain::Partial | NotPlain::Other) => self.partial = 0,
            }
        }
        self.scan()
    }

    /// The next piece, tag by tag.
    fn scan(&mut self) -> Result<Option<Next>, XmlError> {
        loop {
            let (read, tag) = self.scanner.scan(&self.buffer[self.given + self.scanned..])?;
            self.scanned += read;
            if self.held.is_some() && self.scanned > MAX_ENTRY {
                return Err(XmlError::TooLarge);
            }
            let Some(tag) = tag else {
                let ready = self.scanned - self.scanner.unfinished();
                let ready = if self.held.is_some() { 0 } else { ready };
                return Ok(self.pass(ready));
            };
            if let Some(next) = self.tag(tag)? {
                return Ok(Some(next));
            }
        }
    }

    /// Whether the document is complete, after all pieces were taken and no more bytes will come.
    ///
    /// # Errors
    /// `Malformed` if it is not.
    pub fn finish(self) -> Result<(), XmlError> {
        self.scanner.finish()
    }

    /// The first bytes that were not given out as a piece, if there are any.
    fn pass(&mut self, count: usize) -> Option<Next> {
        self.scanned -= count;
        (count > 0).then_some(Next::Passed(count))
    }

    fn tag(&mut self, tag: Tag) -> Result<Option<Next>, XmlError> {
        if self.root == Root::NotYet {
            self.root = match self.scanner.local_name() {
                b"ListBucketResult" | b"ListVersionsResult" => Root::Listing,
                b"Error" => Root::Error,
                _ => return Err(XmlError::Unexpected),
            };
            return Ok(None);
        }
        match (tag, self.scanner.depth(), self.held) {
            (Tag::Open, 2, None) if self.root == Root::Listing => {
                self.held = match self.scanner.local_name() {
                    b"Contents" | b"Version" => Some(Held::Entry),
                    b"EncodingType" => Some(Held::EncodingType),
                    b"Name" if self.bucket.is_some() => Some(Held::Name),
                    _ => return Ok(None),
                };
                let before = self.scanned - self.scanner.tag().len();
                Ok(self.pass(before))
            }
            (Tag::Close, 1, Some(held)) => {
                self.held = None;
                let length = std::mem::take(&mut self.scanned);
                Ok(Some(match held {
                    Held::Entry => Next::Entry(length, None),
                    Held::EncodingType => {
                        self.read_encoding(length)?;
                        Next::Passed(length)
                    }
                    Held::Name => Next::Renamed(length),
                }))
            }
            (Tag::Open | Tag::Empty | Tag::Close, _, _) => Ok(None),
        }
    }

    /// Reads the element `EncodingType`, which has the first `length` bytes.
    fn read_encoding(&mut self, length: usize) -> Result<(), XmlError> {
        let limits = reader::Limits { bytes: MAX_ENTRY, elements: 1 };
        let encoding = match reader::read(&self.buffer[self.given..][..length], limits)?.text.as_str() {
            "url" => NameEncoding::Url,
            text if is_blank(text.as_bytes()) => return Ok(()),
            _ => return Err(XmlError::Unexpected),
        };
        let contradicts = encoding != self.encoding && (self.is_told || self.is_used);
        (self.encoding, self.is_told) = (encoding, true);
        if contradicts { Err(XmlError::Unexpected) } else { Ok(()) }
    }
}

/// How names are decoded.
#[derive(Clone, Copy)]
struct Names {
    encoding: NameEncoding,
    is_told: bool,
}

impl Names {
    /// Replaces a name, as it is written in `element`, by the key behind it.
    fn decode(self, name: &mut Text, element: &[u8]) -> Result<(), XmlError> {
        let is_url = self.encoding == NameEncoding::Url;
        if is_url && memchr2(b'%', b'+', name.bytes(element)).is_some() {
            self.decode_percent(name, element)?;
        }
        let length = name.bytes(element).len();
        if (1..=MAX_OBJECT_KEY).contains(&length) { Ok(()) } else { Err(XmlError::Unexpected) }
    }

    fn decode_percent(self, name: &mut Text, element: &[u8]) -> Result<(), XmlError> {
        match percent::decode_strict(name.text(element), Plus::Space) {
            Ok(decoded) => *name = Text::Read(decoded),
            Err(_) if self.is_told => return Err(XmlError::Unexpected),
            // Requested and never done: the `%` is the name's own.
            Err(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
