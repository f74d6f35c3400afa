//! What an entry of a listing says about its object, and where in the entry it is written.
//!
//! It must not know how entries are found. It promises that a plain entry has the fields that a reader of XML
//! finds in it.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;
use quick_xml::escape::unescape;

use super::MAX_ENTRY;
use crate::s3::xml::XmlError;
use crate::s3::xml::reader::{Step, XmlReader};

/// A quote, as S3 writes it around an ETag.
pub(super) const QUOTE: &[u8] = b"&quot;";

/// A place in an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    start: u16,
    end: u16,
}

impl Place {
    /// From one byte of an element to before another.
    pub(super) fn new(range: Range<usize>) -> Self {
        const { assert!(MAX_ENTRY <= u16::MAX as usize) }
        Self { start: range.start as u16, end: range.end as u16 }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start.into()..self.end.into()
    }

    /// Without the quotes around it, which are written as references.
    pub(super) fn within_quotes(self) -> Self {
        let quote = QUOTE.len() as u16;
        Self { start: self.start + quote, end: self.end - quote }
    }

    fn text(self, element: &[u8]) -> &str {
        str::from_utf8(&element[self.range()]).expect("an element is UTF-8 before places are taken of it")
    }
}

/// The text of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// As it is written at this place of the element, which is UTF-8 there.
    Written(Place),
    /// Another than is written.
    Read(String),
}

impl Text {
    /// The `text` that was read `at` this place of `element`.
    fn new(text: String, element: &[u8], at: Place) -> Self {
        if element[at.range()] == *text.as_bytes() { Self::Written(at) } else { Self::Read(text) }
    }

    pub(super) fn bytes<'a>(&'a self, element: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Written(at) => &element[at.range()],
            Self::Read(text) => text.as_bytes(),
        }
    }

    pub(super) fn text<'a>(&'a self, element: &'a [u8]) -> &'a str {
        match self {
            Self::Written(at) => at.text(element),
            Self::Read(text) => text,
        }
    }

    /// Replaces references by what they stand for; false if that is not possible.
    fn unescape(&mut self, element: &[u8]) -> bool {
        let unescaped = match unescape(self.text(element)) {
            Ok(Cow::Owned(text)) => text,
            Ok(Cow::Borrowed(_)) => return true,
            Err(_) => return false,
        };
        *self = Self::Read(unescaped);
        true
    }
}

/// The ETag of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ListedEtag {
    /// A hash at this place of the element, written as S3 writes that of an object of one PUT.
    Digest(Place),
    /// Any other.
    Other {
        /// Without the pair of quotes around it.
        text: Text,
        /// Whether it has them.
        is_quoted: bool,
        /// Where in the element it is written.
        at: Place,
    },
}

impl ListedEtag {
    /// The ETag `text`, which is written `at` this place of `element`.
    fn new(text: &str, element: &[u8], at: Place) -> Self {
        let Range { start, end } = at.range();
        if digest_length(&element[start..]) == Some(end - start) {
            return Self::Digest(at);
        }
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let Some(inner) = inner else {
            return Self::Other { text: Text::new(text.to_owned(), element, at), is_quoted: false, at };
        };
        let has_references = end - start == inner.len() + 2 * QUOTE.len();
        let within = if has_references { at.within_quotes() } else { at };
        let text = Text::new(inner.to_owned(), element, within);
        Self::Other { text, is_quoted: true, at }
    }

    /// The ETag that is written `at` this place of `element`, which is plain; `None` for text that a reader
    /// of XML has to judge.
    fn from_plain(element: &[u8], at: Place) -> Option<Self> {
        let inner = element[at.range()].strip_prefix(QUOTE).and_then(|text| text.strip_suffix(QUOTE));
        if inner.is_some_and(|inner| memchr(b'&', inner).is_none()) {
            return Some(Self::Other { text: Text::Written(at.within_quotes()), is_quoted: true, at });
        }
        Some(Self::new(&unescape(at.text(element)).ok()?, element, at))
    }

    /// Without the quotes around it.
    pub(super) fn text<'a>(&'a self, element: &'a [u8]) -> &'a str {
        match self {
            Self::Digest(at) => at.within_quotes().text(element),
            Self::Other { text, .. } => text.text(element),
        }
    }
}

/// The length of the ETag that `text` begins with, if it is written as S3 writes the hash of an object of one
/// PUT, and ends with an element: 32 or 64 hexadecimal digits between `&quot;`.
pub(super) fn digest_length(text: &[u8]) -> Option<usize> {
    let digits = text.strip_prefix(QUOTE)?;
    let is_digest = |length: usize| {
        let (digits, rest) = digits.split_at_checked(length)?;
        let ends = rest.strip_prefix(QUOTE).is_some_and(|rest| rest.first() == Some(&b'<'));
        // Without a way out early, since nearly all are.
        let is_digest = ends && digits.iter().fold(true, |all, digit| all & digit.is_ascii_hexdigit());
        is_digest.then_some(length + 2 * QUOTE.len())
    };
    is_digest(32).or_else(|| is_digest(64))
}

/// What an entry says about its object; other fields, and what is nested deeper, are not read.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Fields {
    pub(super) key: Option<Text>,
    pub(super) etag: Option<ListedEtag>,
    pub(super) version_id: Option<Text>,
    /// Where the size is written, and the size.
    pub(super) size: Option<(Place, u64)>,
    /// The elements about the stored bytes' checksums; neighbours count as one.
    pub(super) about_ciphertext: Vec<Range<usize>>,
}

/// The elements of an entry that describe the checksum of the stored bytes.
pub(super) const ABOUT_CIPHERTEXT: [&str; 2] = ["ChecksumAlgorithm", "ChecksumType"];

impl Fields {
    pub(super) fn clear(&mut self) {
        let Self { key, etag, version_id, size, about_ciphertext } = self;
        (*key, *etag, *version_id, *size) = (None, None, None, None);
        about_ciphertext.clear();
    }

    /// Completes what was found in a plain `element`, whose texts are as they are written. `has_references`:
    /// whether the key or the version may have any. Returns false for text that has to be judged, or is
    /// wrong: that is left to [`Self::read`].
    pub(super) fn complete(&mut self, element: &[u8], has_references: bool) -> bool {
        if has_references {
            let mut texts = [&mut self.key, &mut self.version_id].into_iter().flatten();
            if !texts.all(|text| text.unescape(element)) {
                return false;
            }
        }
        if let Some(ListedEtag::Other { at, .. }) = self.etag {
            self.etag = ListedEtag::from_plain(element, at);
            return self.etag.is_some();
        }
        true
    }

    /// Those of any entry.
    pub(super) fn read(element: &[u8]) -> Result<Self, XmlError> {
        let mut reader = XmlReader::new(element)?;
        let mut fields = Self::default();
        let mut size = None;
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
                    "Key" => {
                        let at = Place::new(begins..before);
                        set(&mut fields.key, Text::new(std::mem::take(&mut text), element, at))?;
                    }
                    "ETag" => {
                        let at = Place::new(begins..before);
                        set(&mut fields.etag, ListedEtag::new(&text, element, at))?;
                    }
                    "VersionId" => {
                        let at = Place::new(begins..before);
                        set(&mut fields.version_id, Text::new(std::mem::take(&mut text), element, at))?;
                    }
                    "Size" => set(&mut size, (std::mem::take(&mut text), begins..before))?,
                    name if ABOUT_CIPHERTEXT.contains(&name) => {
                        leave_out(&mut fields.about_ciphertext, tag_begins..reader.position());
                    }
                    _ => (),
                },
                Step::Close => (),
                Step::End => break,
            }
        }
        let parse = |(text, written): (String, _)| parse_size(&text, element, written);
        fields.size = size.map(parse).transpose()?;
        Ok(fields)
    }
}

/// Takes note of an element that comes after the former ones.
pub(super) fn leave_out(elements: &mut Vec<Range<usize>>, element: Range<usize>) {
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
fn parse_size(text: &str, element: &[u8], written: Range<usize>) -> Result<(Place, u64), XmlError> {
    let begins = written.start + (text.len() - text.trim_ascii_start().len());
    let digits = text.trim_ascii();
    let is_plain = element[written] == *text.as_bytes() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let size = digits.parse().ok().filter(|_| is_plain).ok_or(XmlError::Unexpected)?;
    Ok((Place::new(begins..begins + digits.len()), size))
}
