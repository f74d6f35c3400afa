//! A listing of objects, rewritten while it streams: the `<Size>` of an entry may change, its `<ETag>` may
//! get a suffix, and what it says of the stored bytes' checksums is left out. Every other byte stays.
//!
//! Entries as S3 writes them are plain and found whole by their shape; every other one is scanned tag by tag,
//! and read as XML.

mod entry;
mod shape;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use quick_xml::escape::unescape;

use self::shape::{NotPlain, PlainElement, Shapes};
use super::reader::{Step, XmlReader, is_blank};
use super::stream_scanner::{StreamScanner, Tag};
use super::{XmlError, push_text, reader};
use crate::s3::name::ObjectKey;
use crate::wire::percent::{self, Plus};

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
pub enum ListingPiece {
    /// Bytes to pass on as they are.
    Passed(Bytes),
    /// An object, or a version of one: to be passed on by [`ListedEntry::write`].
    Entry(ListedEntry),
}

/// Takes a listing apart as it arrives; the pieces that come out, entries included, are the bytes that went
/// in, but for the name of the bucket after [`Self::with_bucket`].
///
/// It holds what was pushed and not yet taken out, and at most one entry of [`MAX_ENTRY`] bytes for want of
/// its end.
#[derive(Debug)]
pub struct ListRewriter {
    scanner: StreamScanner,
    /// Bytes that were not given out. While an element is held, they begin with it.
    buffer: BytesMut,
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
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; `None` when more bytes must be pushed first. After an error nothing more may be taken.
    ///
    /// # Errors
    /// `Malformed` for what is not XML; `Unexpected` for another document than a listing or an error, and for
    /// an entry that does not say once what its object's key is and how large it is; `TooLarge` past
    /// [`MAX_ENTRY`], or nested too deep.
    pub fn next_piece(&mut self) -> Result<Option<ListingPiece>, XmlError> {
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
                    let element = self.buffer.split_to(found.length).freeze();
                    if !found.is_entry {
                        return Ok(Some(ListingPiece::Passed(element)));
                    }
                    return self.entry(element, Some(found)).map(Some);
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
    fn scan(&mut self) -> Result<Option<ListingPiece>, XmlError> {
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
            if let Some(piece) = self.tag(tag)? {
                return Ok(Some(piece));
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
    fn pass(&mut self, count: usize) -> Option<ListingPiece> {
        self.scanned -= count;
        (count > 0).then(|| ListingPiece::Passed(self.buffer.split_to(count).freeze()))
    }

    fn tag(&mut self, tag: Tag) -> Result<Option<ListingPiece>, XmlError> {
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
                let element = self.buffer.split_to(self.scanned).freeze();
                self.scanned = 0;
                match held {
                    Held::Entry => self.entry(element, None).map(Some),
                    Held::EncodingType => {
                        self.encoding_type(&element)?;
                        Ok(Some(ListingPiece::Passed(element)))
                    }
                    Held::Name => {
                        let mut renamed = "<Name>".to_owned();
                        push_text(&mut renamed, self.bucket.as_deref().unwrap_or_default());
                        renamed.push_str("</Name>");
                        Ok(Some(ListingPiece::Passed(renamed.into())))
                    }
                }
            }
            (Tag::Open | Tag::Empty | Tag::Close, _, _) => Ok(None),
        }
    }

    fn encoding_type(&mut self, element: &[u8]) -> Result<(), XmlError> {
        let limits = reader::Limits { bytes: MAX_ENTRY, elements: 1 };
        let encoding = match reader::read(element, limits)?.text.as_str() {
            "url" => NameEncoding::Url,
            text if is_blank(text.as_bytes()) => return Ok(()),
            _ => return Err(XmlError::Unexpected),
        };
        let contradicts = encoding != self.encoding && (self.is_told || self.is_used);
        (self.encoding, self.is_told) = (encoding, true);
        if contradicts { Err(XmlError::Unexpected) } else { Ok(()) }
    }

    /// Reads and rewrites one entry; `found` is the position of its elements, if the entry is plain.
    fn entry(&mut self, bytes: Bytes, found: Option<PlainElement>) -> Result<ListingPiece, XmlError> {
        let plain = found.and_then(|found| Fields::from_plain(&bytes, found));
        let Fields { key, etag, version_id, size, about_ciphertext } =
            plain.map_or_else(|| Fields::read(&bytes), Ok)?;
        let Some((text, written)) = size else { return Ok(ListingPiece::Passed(bytes)) };
        let (digits, size) = parse_size(&text, &bytes, written)?;
        let object = self.object(&key.ok_or(XmlError::Unexpected)?)?;
        let (etag, etag_at) = etag.map(|(etag, at)| (etag.into_owned(), at)).unzip();
        let version_id = version_id.map(Cow::into_owned);
        let entry = ListedEntry { digits, etag_at, about_ciphertext, object, etag, version_id, size, bytes };
        Ok(ListingPiece::Entry(entry))
    }

    /// The key behind a name as it is written.
    fn object(&mut self, name: &str) -> Result<ObjectKey, XmlError> {
        self.is_used = true;
        let is_url = self.encoding == NameEncoding::Url;
        let decoded = if is_url && memchr2(b'%', b'+', name.as_bytes()).is_some() {
            match percent::decode_strict(name, Plus::Space) {
                Ok(decoded) => Some(decoded),
                Err(_) if self.is_told => return Err(XmlError::Unexpected),
                // Requested and never done: the `%` is the name's own.
                Err(_) => None,
            }
        } else {
            None
        };
        ObjectKey::parse(decoded.as_deref().unwrap_or(name)).map_err(|_| XmlError::Unexpected)
    }
}

/// What an entry says about its object; other fields, and what is nested deeper, are not read.
#[derive(Debug, Default, PartialEq)]
struct Fields<'a> {
    key: Option<Cow<'a, str>>,
    /// The text, and where it is written.
    etag: Option<(Cow<'a, str>, Range<usize>)>,
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
        let element = std::str::from_utf8(element).ok().filter(|_| !found.needs_reader)?;
        let text = |at: Range<usize>| {
            if found.has_references { unescape(&element[at]) } else { Ok(Cow::Borrowed(&element[at])) }
        };
        let written = |at: Range<usize>| text(at.clone()).map(|text| (text, at));
        Some(Self {
            key: found.key.map(text).transpose().ok()?,
            etag: found.etag.map(written).transpose().ok()?,
            version_id: found.version_id.map(text).transpose().ok()?,
            size: found.size.map(|at| (Cow::Borrowed(&element[at.clone()]), at)),
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
                    "ETag" => set(&mut fields.etag, (std::mem::take(&mut text).into(), begins..before))?,
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
