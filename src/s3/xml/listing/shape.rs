//! Finds the fields of a plain entry of a listing: one that consists of start tags without attributes, text
//! and end tags. Consecutive entries mostly have equal tags, so these are compared as a whole.
//!
//! It must not know what the fields mean, nor judge their text. It promises that what it finds is properly
//! nested, and that a reader of XML finds exactly these fields; whatever else there is, it leaves alone.

use std::ops::Range;

use memchr::{memchr, memchr3};

use super::ABOUT_CIPHERTEXT;
use crate::s3::xml::reader::is_blank;

/// How many shapes are remembered: an entry has a checksum or none, an owner or none.
const MAX_SHAPES: usize = 4;
/// Longest name of an element that is plain. S3's longest here has 19 letters.
const MAX_NAME: usize = 64;
/// How deep the elements of a plain entry nest, the entry included.
const MAX_NESTED: usize = 4;
/// A quote, as S3 writes it around an ETag.
pub(super) const QUOTE: &[u8] = b"&quot;";

/// Why bytes do not begin with a plain element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotPlain {
    /// They are too few: what is there may be the beginning of one.
    Partial,
    /// They begin with something else.
    Other,
}

/// A plain element, and where in it the fields of its object are written.
#[derive(Debug, Default)]
pub(super) struct PlainElement {
    /// Bytes of the element.
    pub(super) length: usize,
    /// Whether it is about an object; otherwise it has no fields.
    pub(super) is_entry: bool,
    pub(super) key: Option<Range<usize>>,
    pub(super) etag: Option<Range<usize>>,
    /// Whether the ETag has a [`digest_length`].
    pub(super) has_digest: bool,
    pub(super) version_id: Option<Range<usize>>,
    pub(super) size: Option<Range<usize>>,
    /// The elements about the stored bytes' checksums; neighbours count as one.
    pub(super) about_ciphertext: Vec<Range<usize>>,
    /// Whether the key or the version may have references.
    pub(super) has_references: bool,
    /// Whether there is text that a reader of XML has to judge.
    pub(super) needs_reader: bool,
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

impl PlainElement {
    /// How long the text is that `rest` begins with.
    fn text_length(&mut self, field: Field, rest: &[u8]) -> Result<usize, NotPlain> {
        let length = memchr3(b'<', b'&', b'\r', rest).ok_or(NotPlain::Partial)?;
        if rest[length] == b'<' {
            return Ok(length);
        }
        let length = memchr(b'<', rest).ok_or(NotPlain::Partial)?;
        self.add_special(field, &rest[..length]);
        Ok(length)
    }

    /// Takes note of text that has a reference or a carriage return.
    fn add_special(&mut self, field: Field, text: &[u8]) {
        match field {
            Field::Key | Field::VersionId if memchr(b'\r', text).is_none() => self.has_references = true,
            Field::Etag if memchr(b'\r', text).is_none() => {}
            Field::Key
            | Field::Etag
            | Field::VersionId
            | Field::Size
            | Field::AboutCiphertext { .. }
            | Field::Other => self.needs_reader = true,
        }
    }

    fn add(&mut self, field: Field, text: Range<usize>) {
        match field {
            Field::Key => self.key = Some(text),
            Field::Etag => self.etag = Some(text),
            Field::VersionId => self.version_id = Some(text),
            Field::Size => self.size = Some(text),
            Field::AboutCiphertext { name_length } => {
                let element = text.start - name_length - "<>".len()..text.end + name_length + "</>".len();
                super::leave_out(&mut self.about_ciphertext, element);
            }
            Field::Other => {}
        }
    }
}

/// What the text of an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Key,
    Etag,
    VersionId,
    Size,
    AboutCiphertext { name_length: usize },
    Other,
}

impl Field {
    fn from_name(name: &[u8]) -> Self {
        match name {
            b"Key" => Self::Key,
            b"ETag" => Self::Etag,
            b"VersionId" => Self::VersionId,
            b"Size" => Self::Size,
            name if ABOUT_CIPHERTEXT.iter().any(|about| about.as_bytes() == name) => {
                Self::AboutCiphertext { name_length: name.len() }
            }
            _ => Self::Other,
        }
    }

    /// Whether an entry may have the field once.
    fn is_single(self) -> bool {
        matches!(self, Self::Key | Self::Etag | Self::VersionId | Self::Size)
    }
}

/// The shapes of the elements that were found last, the newest first.
#[derive(Debug, Default)]
pub(super) struct Shapes(Vec<Shape>);

impl Shapes {
    /// The plain element that `input` begins with.
    pub(super) fn find(&mut self, input: &[u8]) -> Result<PlainElement, NotPlain> {
        for index in 0..self.0.len() {
            let found = self.0[index].find(input);
            if !matches!(found, Err(NotPlain::Other)) {
                self.0[..=index].rotate_right(1);
                return found;
            }
        }
        let shape = Shape::parse(input)?;
        let found = shape.find(input);
        self.0.truncate(MAX_SHAPES - 1);
        self.0.insert(0, shape);
        found
    }
}

/// The tags of a plain element.
#[derive(Debug, Default)]
struct Shape {
    is_entry: bool,
    /// All tags in order, with the white space between them.
    tags: Vec<u8>,
    /// For each text, how much of `tags` comes before it, and what it is.
    texts: Vec<(usize, Field)>,
}

impl Shape {
    /// The element that `input` begins with, if it has these tags.
    fn find(&self, input: &[u8]) -> Result<PlainElement, NotPlain> {
        let mut found = PlainElement { is_entry: self.is_entry, ..PlainElement::default() };
        let (mut at, mut compared) = (0, 0);
        for &(before, field) in &self.texts {
            let tags = &self.tags[compared..before];
            if !input[at..].starts_with(tags) {
                return Err(difference(tags, &input[at..]));
            }
            at += tags.len();
            compared = before;
            let text = &input[at..];
            let digest = if field == Field::Etag { digest_length(text) } else { None };
            found.has_digest |= digest.is_some();
            let length = match digest {
                Some(length) => length,
                None => found.text_length(field, text)?,
            };
            found.add(field, at..at + length);
            at += length;
        }
        let tags = &self.tags[compared..];
        if !input[at..].starts_with(tags) {
            return Err(difference(tags, &input[at..]));
        }
        found.length = at + tags.len();
        Ok(found)
    }

    /// The shape of the plain element that `input` begins with.
    fn parse(input: &[u8]) -> Result<Self, NotPlain> {
        let mut shape = Self::default();
        let mut open: Vec<&[u8]> = Vec::with_capacity(MAX_NESTED);
        let (mut at, mut copied) = (0, 0);
        loop {
            let Tag { name, is_closing, length } = Tag::parse(&input[at..])?;
            at += length;
            if is_closing {
                if open.pop() != Some(name) {
                    return Err(NotPlain::Other);
                }
                if open.is_empty() {
                    shape.tags.extend_from_slice(&input[copied..at]);
                    return Ok(shape);
                }
                at += input[at..].iter().take_while(|byte| is_blank(&[**byte])).count();
                continue;
            }
            if open.is_empty() {
                shape.is_entry = match name {
                    b"Contents" | b"Version" => true,
                    b"DeleteMarker" | b"CommonPrefixes" => false,
                    _ => return Err(NotPlain::Other),
                };
            }
            open.push(name);
            if open.len() > MAX_NESTED {
                return Err(NotPlain::Other);
            }
            let is_field = shape.is_entry && open.len() == 2;
            let field = if is_field { Field::from_name(name) } else { Field::Other };
            let text = memchr(b'<', &input[at..]).ok_or(NotPlain::Partial)?;
            match input.get(at + text + 1) {
                None => return Err(NotPlain::Partial),
                Some(b'/') if field.is_single() && shape.has(field) => return Err(NotPlain::Other),
                Some(b'/') => {
                    shape.tags.extend_from_slice(&input[copied..at]);
                    shape.texts.push((shape.tags.len(), field));
                    copied = at + text;
                }
                Some(_) if field == Field::Other && is_blank(&input[at..at + text]) => {}
                Some(_) => return Err(NotPlain::Other),
            }
            at += text;
        }
    }

    fn has(&self, field: Field) -> bool {
        self.texts.iter().any(|(_, other)| *other == field)
    }
}

/// Why `rest` does not begin with `tags`.
fn difference(tags: &[u8], rest: &[u8]) -> NotPlain {
    if tags.starts_with(rest) { NotPlain::Partial } else { NotPlain::Other }
}

/// A tag without attributes and prefix.
struct Tag<'a> {
    name: &'a [u8],
    is_closing: bool,
    /// Bytes from `<` to `>`.
    length: usize,
}

impl<'a> Tag<'a> {
    /// The tag that `input` begins with.
    fn parse(input: &'a [u8]) -> Result<Self, NotPlain> {
        let Some((b'<', rest)) = input.split_first() else {
            return Err(if input.is_empty() { NotPlain::Partial } else { NotPlain::Other });
        };
        let is_closing = rest.first() == Some(&b'/');
        let rest = &rest[usize::from(is_closing)..];
        let length = rest.iter().take(MAX_NAME + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        match rest.get(length) {
            Some(b'>') if (1..=MAX_NAME).contains(&length) => {
                let name = &rest[..length];
                Ok(Self { name, is_closing, length: length + "<>".len() + usize::from(is_closing) })
            }
            None if length <= MAX_NAME => Err(NotPlain::Partial),
            Some(_) | None => Err(NotPlain::Other),
        }
    }
}
