//! A listing of objects, rewritten while it streams: the `<Size>` of an entry may change, its `<ETag>` may
//! get a suffix, and what it says of the stored bytes' checksums is left out. Every other byte stays.
//!
//! Entries as S3 writes them are plain and found whole by their shape; every other one is scanned tag by tag,
//! and read as XML.

mod entry;
mod shape;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Buf, BytesMut};
use memchr::memchr2;
use quick_xml::escape::unescape;

use self::shape::{NotPlain, PlainElement, Shapes};
use super::reader::{Step, XmlReader, is_blank};
use super::stream_scanner::{StreamScanner, Tag};
use super::{XmlError, push_text, reader};
use crate::wire::limits::MAX_OBJECT_KEY;
use crate::wire::percent::{self, Plus};

use self::entry::ListedEtag;
pub use self::entry::{ClientEntry, ListedEntry};

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

/// What is at the beginning of the buffer, and has this many bytes.
enum Next {
    Passed(usize),
    /// An entry, and where its fields are, if it is plain.
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
    /// Bytes that were not given out, behind those of the latest piece. While an element is held, they begin
    /// with it.
    buffer: BytesMut,
    /// Bytes of the latest piece.
    given: usize,
    /// How many of them the scanner has read.
    scanned: usize,
    held: Option<Held>,
    shapes: Shapes,
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
            buffer: BytesMut::new(),
            given: 0,
            scanned: 0,
            held: None,
            shapes: Shapes::default(),
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
        self.drop_given();
        self.buffer.extend_from_slice(bytes);
    }

    fn drop_given(&mut self) {
        self.buffer.advance(std::mem::take(&mut self.given));
    }

    /// The next piece; `None` when more bytes must be pushed first. After an error nothing more may be taken.
    ///
    /// # Errors
    /// `Malformed` for what is not XML; `Unexpected` for another document than a listing or an error, and for
    /// an entry that does not say once what its object's key is and how large it is; `TooLarge` past
    /// [`MAX_ENTRY`], or nested too deep.
    pub fn next_piece(&mut self) -> Result<Option<ListingPiece<'_>>, XmlError> {
        self.drop_given();
        let Some(next) = self.find_next()? else { return Ok(None) };
        let (Next::Passed(length) | Next::Entry(length, _) | Next::Renamed(length)) = next;
        self.given = length;
        let bytes = &self.buffer[..length];
        let piece = match next {
            Next::Passed(_) => ListingPiece::Passed(bytes.into()),
            Next::Entry(_, found) => {
                let names = Names { encoding: self.encoding, is_told: self.is_told };
                return read_entry(bytes, found, names, &mut self.is_used).map(Some);
            }
            Next::Renamed(_) => {
                let mut renamed = "<Name>".to_owned();
                push_text(&mut renamed, self.bucket.as_deref().unwrap_or_default());
                renamed.push_str("</Name>");
                ListingPiece::Passed(renamed.into_bytes().into())
            }
        };
        Ok(Some(piece))
    }

    fn find_next(&mut self) -> Result<Option<Next>, XmlError> {
        let is_between = self.held.is_none() && self.root == Root::Listing && self.scanner.is_at_text(1);
        if is_between && !self.buffer.is_empty() {
            let blank = self.buffer.iter().take_while(|byte| is_blank(&[**byte])).count();
            if blank > 0 {
                self.scanned = blank;
                return Ok(self.pass(blank));
            }
            if self.buffer.len() == self.partial {
                return Ok(None);
            }
            match self.shapes.find(&self.buffer[..self.buffer.len().min(MAX_ENTRY)]) {
                Ok(found) => {
                    self.partial = 0;
                    let length = found.length;
                    let is_entry = found.is_entry;
                    return Ok(Some(if is_entry {
                        Next::Entry(length, Some(found))
                    } else {
                        Next::Passed(length)
                    }));
                }
                // Once: in how many pieces an element comes must not decide how often it is looked at.
                Err(NotPlain::Partial) if self.partial == 0 && self.buffer.len() <= MAX_ENTRY => {
                    self.partial = self.buffer.len();
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
            let (read, tag) = self.scanner.scan(&self.buffer[self.scanned..])?;
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

    /// The first bytes of the buffer as a piece, if there are any.
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
        let encoding = match reader::read(&self.buffer[..length], limits)?.text.as_str() {
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
    /// The key behind a name as it is written.
    fn decode(self, name: Cow<'_, str>) -> Result<Cow<'_, str>, XmlError> {
        let is_url = self.encoding == NameEncoding::Url;
        let name = if is_url && memchr2(b'%', b'+', name.as_bytes()).is_some() {
            match percent::decode_strict(&name, Plus::Space) {
                Ok(decoded) => Cow::Owned(decoded),
                Err(_) if self.is_told => return Err(XmlError::Unexpected),
                // Requested and never done: the `%` is the name's own.
                Err(_) => name,
            }
        } else {
            name
        };
        if (1..=MAX_OBJECT_KEY).contains(&name.len()) { Ok(name) } else { Err(XmlError::Unexpected) }
    }
}

/// Reads one entry; `found` is the position of its elements, if the entry is plain. Sets `is_used` when a
/// name is decoded.
fn read_entry<'a>(
    bytes: &'a [u8],
    found: Option<PlainElement>,
    names: Names,
    is_used: &mut bool,
) -> Result<ListingPiece<'a>, XmlError> {
    let plain = found.and_then(|found| Fields::from_plain(bytes, found));
    let Fields { key, etag, version_id, size, about_ciphertext } =
        plain.map_or_else(|| Fields::read(bytes), Ok)?;
    let Some((text, written)) = size else { return Ok(ListingPiece::Passed(bytes.into())) };
    let (digits, size) = parse_size(&text, bytes, written)?;
    let key = key.ok_or(XmlError::Unexpected)?;
    *is_used = true;
    let object = names.decode(key)?;
    let bytes = bytes.into();
    Ok(ListingPiece::Entry(ListedEntry { bytes, digits, etag, about_ciphertext, object, version_id, size }))
}

/// What an entry says about its object; other fields, and what is nested deeper, are not read.
#[derive(Debug, Default, PartialEq)]
struct Fields<'a> {
    key: Option<Cow<'a, str>>,
    etag: Option<ListedEtag<'a>>,
    version_id: Option<Cow<'a, str>>,
    /// The text, and where it is written.
    size: Option<(Cow<'a, str>, Range<usize>)>,
    /// The elements about the stored bytes' checksums; neighbours count as one.
    about_ciphertext: Vec<Range<usize>>,
}

/// The elements of an entry that describe the checksum of the stored bytes.
const ABOUT_CIPHERTEXT: [&str; 2] = ["ChecksumAlgorithm", "ChecksumType"];

impl<'a> Fields<'a> {
    /// Those of a plain entry. `None` for text that has to be judged, or is wrong: that is left to
    /// [`Self::read`].
    fn from_plain(element: &'a [u8], found: PlainElement) -> Option<Self> {
        if found.needs_reader {
            return None;
        }
        let element = std::str::from_utf8(element).ok()?;
        // Fields are between tags, which are ASCII.
        let written = |at: Range<usize>| &element[at];
        let text = |at: Range<usize>| {
            if found.has_references { unescape(written(at)) } else { Ok(Cow::Borrowed(written(at))) }
        };
        let etag = |at: Range<usize>| match ListedEtag::from_plain(element, at.clone(), found.has_digest) {
            Some(etag) => Ok(etag),
            None => unescape(written(at.clone())).map(|text| ListedEtag::new(text, element.as_bytes(), at)),
        };
        Some(Self {
            key: found.key.map(text).transpose().ok()?,
            etag: found.etag.map(etag).transpose().ok()?,
            version_id: found.version_id.map(text).transpose().ok()?,
            size: found.size.map(|at| (Cow::Borrowed(written(at.clone())), at)),
            about_ciphertext: found.about_ciphertext,
        })
    }

    fn read(element: &[u8]) -> Result<Self, XmlError> {
        let mut reader = XmlReader::new(element)?;
        let mut fields = Self::default();
        let (mut text, mut begins) = (String::new(), 0);
        let (mut field, mut tag_begins) = (String::new(), 0);
        loop {
            let before = reader.position();
            match reader.step()? {
                Step::Open => match reader.path() {
                    [_, name] => {
                        field.clone_from(name);
                        (tag_begins, begins) = (before, reader.position());
                        text.clear();
                    }
                    [_, outer, _] if ["Key", "ETag", "VersionId", "Size"].contains(&outer.as_str()) => {
                        return Err(XmlError::Unexpected);
                    }
                    _ => (),
                },
                Step::Text(more) if reader.path().len() == 2 => text.push_str(&more),
                Step::Text(_) => (),
                Step::Close if reader.path().len() == 1 => match field.as_str() {
                    "Key" => set(&mut fields.key, std::mem::take(&mut text).into())?,
                    "ETag" => {
                        let text = std::mem::take(&mut text).into();
                        set(&mut fields.etag, ListedEtag::new(text, element, begins..before))?;
                    }
                    "VersionId" => set(&mut fields.version_id, std::mem::take(&mut text).into())?,
                    "Size" => set(&mut fields.size, (std::mem::take(&mut text).into(), begins..before))?,
                    name if ABOUT_CIPHERTEXT.contains(&name) => {
                        leave_out(&mut fields.about_ciphertext, tag_begins..reader.position());
                    }
                    _ => (),
                },
                Step::Close => (),
                Step::End => return Ok(fields),
            }
        }
    }
}

/// Takes note of an element that comes after the former ones.
fn leave_out(elements: &mut Vec<Range<usize>>, element: Range<usize>) {
    match elements.last_mut() {
        Some(last) if last.end == element.start => last.end = element.end,
        Some(_) | None => elements.push(element),
    }
}

/// Fills a field that may occur once.
fn set<T>(field: &mut Option<T>, value: T) -> Result<(), XmlError> {
    field.replace(value).map_or(Ok(()), |_| Err(XmlError::Unexpected))
}

/// The digits alone, and their number, of a size that is written plainly: not in references, not around
/// comments.
fn parse_size(text: &str, element: &[u8], written: Range<usize>) -> Result<(Range<usize>, u64), XmlError> {
    let begins = written.start + (text.len() - text.trim_ascii_start().len());
    let digits = text.trim_ascii();
    let is_plain = element[written] == *text.as_bytes() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let size = digits.parse().ok().filter(|_| is_plain).ok_or(XmlError::Unexpected)?;
    Ok((begins..begins + digits.len(), size))
}

#[cfg(test)]
mod tests;
