//! A listing of objects, rewritten while it streams: the `<Size>` of an entry may change, its `<ETag>` may
//! get a suffix, and what it says of the stored bytes' checksums is left out. Every other byte stays.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use quick_xml::escape::unescape;

use super::reader::{Step, XmlReader, is_blank};
use super::stream_scanner::{StreamScanner, Tag};
use super::{XmlError, push_text, reader};
use crate::s3::name::ObjectKey;
use crate::wire::percent::{self, Plus};

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

/// A `<Contents>` or `<Version>` element.
#[derive(Debug, Clone)]
pub struct ListedEntry {
    /// The element.
    bytes: Bytes,
    /// Where in it the size is written.
    digits: Range<usize>,
    /// Where in it the ETag is written.
    etag_at: Option<Range<usize>>,
    /// Where in it the stored bytes' checksums are described, in ascending order.
    about_ciphertext: Vec<Range<usize>>,
    /// The object.
    pub object: ObjectKey,
    /// The ETag as it is written, mostly in quotes.
    pub etag: Option<String>,
    /// The version, in a listing of versions.
    pub version_id: Option<String>,
    /// Bytes stored.
    pub size: u64,
}

/// An object as its readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEntry {
    /// Bytes of its content.
    pub size: u64,
    /// What its ETag has behind the storage's.
    pub etag_suffix: &'static str,
}

impl ListedEntry {
    /// Writes the element as its readers see the object.
    pub fn write(&self, shown: ClientEntry, to: &mut BytesMut) {
        let digits = (shown.size != self.size).then(|| shown.size.to_string());
        let etag = self.etag_at.as_ref().filter(|_| !shown.etag_suffix.is_empty());
        let etag = etag.map(|at| suffixed(&self.bytes, at, self.etag.as_deref(), shown.etag_suffix));
        let digits = digits.as_deref().map(|digits| (self.digits.clone(), Cow::Borrowed(digits)));
        let mut edits = [digits, etag].map(Option::into_iter).into_iter().flatten();
        let (mut first, mut second) = (edits.next(), edits.next());
        if let (Some((one, _)), Some((other, _))) = (&first, &second)
            && other.start < one.start
        {
            std::mem::swap(&mut first, &mut second);
        }
        let mut left_out = self.about_ciphertext.iter().peekable();
        let mut at = 0;
        for (range, text) in first.into_iter().chain(second) {
            while let Some(element) = left_out.next_if(|element| element.start < range.start) {
                to.extend_from_slice(&self.bytes[at..element.start]);
                at = element.end;
            }
            to.extend_from_slice(&self.bytes[at..range.start]);
            to.extend_from_slice(text.as_bytes());
            at = range.end;
        }
        for element in left_out {
            to.extend_from_slice(&self.bytes[at..element.start]);
            at = element.end;
        }
        to.extend_from_slice(&self.bytes[at..]);
    }

    /// How many bytes the element has.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }
}

/// What to write where, so that an ETag has a suffix within its quotes. Quotes may be written as references.
fn suffixed<'a>(
    element: &[u8],
    at: &Range<usize>,
    etag: Option<&str>,
    suffix: &'a str,
) -> (Range<usize>, Cow<'a, str>) {
    let written = element[at.clone()].trim_ascii_end();
    let quote = [&b"\""[..], b"&quot;", b"&#34;"].into_iter().find(|quote| written.ends_with(quote));
    let etag = etag.unwrap_or_default();
    if quote.is_some() != etag.trim_ascii_end().ends_with('"') || memchr(b'<', written).is_some() {
        let bare = etag.trim_ascii().trim_matches('"');
        let mut text = String::new();
        push_text(&mut text, &format!("\"{bare}{suffix}\""));
        return (at.clone(), Cow::Owned(text));
    }
    let end = at.start + written.len() - quote.map_or(0, <[u8]>::len);
    (end..end, Cow::Borrowed(suffix))
}

/// Takes a listing apart as it arrives; the pieces that come out, entries included, are the bytes that went
/// in.
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
    root: Root,
    encoding: NameEncoding,
    /// Whether the document itself has named the encoding.
    is_told: bool,
    /// Whether a name was read by it.
    is_used: bool,
}

/// An element that is read whole before it is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Entry,
    EncodingType,
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
            root: Root::NotYet,
            encoding: requested,
            is_told: false,
            is_used: false,
        }
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
                    Held::Entry => self.entry(element).map(Some),
                    Held::EncodingType => {
                        self.encoding_type(&element)?;
                        Ok(Some(ListingPiece::Passed(element)))
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

    fn entry(&mut self, bytes: Bytes) -> Result<ListingPiece, XmlError> {
        let fields = Fields::parse_plain(&bytes).map_or_else(|| Fields::read(&bytes), Ok);
        let Fields { key, etag, version_id, size, about_ciphertext } = fields?;
        let Some((text, digits)) = size else { return Ok(ListingPiece::Passed(bytes)) };
        let digits = trimmed(&text, &bytes, digits)?;
        let size = std::str::from_utf8(&bytes[digits.clone()]).ok().and_then(|digits| digits.parse().ok());
        let size = size.ok_or(XmlError::Unexpected)?;
        let object = self.object(key.ok_or(XmlError::Unexpected)?)?;
        let (etag, etag_at) = etag.unzip();
        let entry = ListedEntry { bytes, digits, etag_at, about_ciphertext, object, etag, version_id, size };
        Ok(ListingPiece::Entry(entry))
    }

    /// The key behind a name as it is written.
    fn object(&mut self, name: String) -> Result<ObjectKey, XmlError> {
        self.is_used = true;
        let decoded = match self.encoding {
            NameEncoding::Verbatim => name,
            NameEncoding::Url => match percent::decode_strict(&name, Plus::Space) {
                Ok(decoded) => decoded,
                Err(_) if self.is_told => return Err(XmlError::Unexpected),
                // Requested and never done: the `%` is the name's own.
                Err(_) => name,
            },
        };
        ObjectKey::parse(decoded).map_err(|_| XmlError::Unexpected)
    }
}

/// What an entry says about its object; other fields, and what is nested deeper, are not read.
#[derive(Debug, Default, PartialEq)]
struct Fields {
    key: Option<String>,
    /// The text, and where it is written.
    etag: Option<(String, Range<usize>)>,
    version_id: Option<String>,
    /// The text, and where it is written.
    size: Option<(String, Range<usize>)>,
    /// The elements about the stored bytes' checksums; neighbours count as one.
    about_ciphertext: Vec<Range<usize>>,
}

/// The elements of an entry that describe the checksum of the stored bytes.
const ABOUT_CIPHERTEXT: [&str; 2] = ["ChecksumAlgorithm", "ChecksumType"];

impl Fields {
    /// Those of an entry as S3 writes most: one field after the other, none inside another, no attributes, no
    /// comments. `None` for what is written in any other way, and for what is wrong: that is left to
    /// [`Self::read`].
    fn parse_plain(element: &[u8]) -> Option<Self> {
        let element = std::str::from_utf8(element).ok().filter(|element| !element.contains('\r'))?;
        let mut fields = Self::default();
        let (entry, mut rest) = opened(element)?;
        loop {
            rest = rest.trim_ascii_start();
            if let Some(closed) = rest.strip_prefix("</") {
                return (closed.strip_suffix('>')? == entry).then_some(fields);
            }
            let (name, content) = opened(rest)?;
            let (text, closed) = content.split_at(memchr(b'<', content.as_bytes())?);
            rest = closed.strip_prefix("</")?.strip_prefix(name)?.strip_prefix('>')?;
            let begins = element.len() - content.len();
            let written = begins..begins + text.len();
            let text = unescape(text).ok()?;
            let set = match name {
                "Key" => set(&mut fields.key, text.into_owned()),
                "ETag" => set(&mut fields.etag, (text.into_owned(), written)),
                "VersionId" => set(&mut fields.version_id, text.into_owned()),
                "Size" => set(&mut fields.size, (text.into_owned(), written)),
                name if ABOUT_CIPHERTEXT.contains(&name) => {
                    fields.leave_out(begins - name.len() - 2..element.len() - rest.len());
                    Ok(())
                }
                _ => Ok(()),
            };
            set.ok()?;
        }
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
                    "Key" => set(&mut fields.key, std::mem::take(&mut text))?,
                    "ETag" => set(&mut fields.etag, (std::mem::take(&mut text), begins..before))?,
                    "VersionId" => set(&mut fields.version_id, std::mem::take(&mut text))?,
                    "Size" => set(&mut fields.size, (std::mem::take(&mut text), begins..before))?,
                    name if ABOUT_CIPHERTEXT.contains(&name) => {
                        fields.leave_out(tag_begins..reader.position());
                    }
                    _ => (),
                },
                Step::Close => (),
                Step::End => return Ok(fields),
            }
        }
    }

    /// Takes note of an element that stays behind the former ones.
    fn leave_out(&mut self, element: Range<usize>) {
        match self.about_ciphertext.last_mut() {
            Some(last) if last.end == element.start => last.end = element.end,
            Some(_) | None => self.about_ciphertext.push(element),
        }
    }
}

/// The name in a start tag without attributes and prefix, and what follows the tag.
fn opened(text: &str) -> Option<(&str, &str)> {
    let tag = text.strip_prefix('<')?;
    let length = tag.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (name, rest) = tag.split_at(length);
    Some((name, rest.strip_prefix('>')?)).filter(|_| !name.is_empty())
}

/// Fills a field that may occur once.
fn set<T>(field: &mut Option<T>, value: T) -> Result<(), XmlError> {
    field.replace(value).map_or(Ok(()), |_| Err(XmlError::Unexpected))
}

/// The digits alone, of a size that is written plainly: not in references, not around comments.
fn trimmed(text: &str, element: &[u8], written: Range<usize>) -> Result<Range<usize>, XmlError> {
    if element[written.clone()] != *text.as_bytes() {
        return Err(XmlError::Unexpected);
    }
    let begins = text.find(|c: char| c.is_ascii_digit()).ok_or(XmlError::Unexpected)?;
    let digits = text.trim_ascii();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(XmlError::Unexpected);
    }
    let begins = written.start + begins;
    Ok(begins..begins + digits.len())
}

#[cfg(test)]
mod tests;
