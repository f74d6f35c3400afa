//! Finds the fields of a plain entry of a listing: one that consists of start tags without attributes, text
//! and end tags. Consecutive entries mostly have equal tags, so these are compared as a whole.
//!
//! It must not know what the fields mean, nor judge their text. It promises that what it finds is properly
//! nested, and that a reader of XML finds exactly these fields; whatever else there is, it leaves alone.

use std::ops::Range;

use memchr::{memchr, memchr2, memchr3};
use smallvec::SmallVec;

use super::fields::{ABOUT_CIPHERTEXT, Fields, ListedEtag, Place, Text, digest_length, leave_out};
use crate::s3::xml::reader::is_blank;

/// How many shapes are remembered: an entry has a checksum or none, an owner or none.
const MAX_SHAPES: usize = 4;
/// Longest name of an element that is plain. S3's longest here has 19 letters.
const MAX_NAME: usize = 64;
/// How many texts an entry of S3's has at most, by default.
const USUAL_TEXTS: usize = 10;
/// How deep the elements of a plain entry nest, the entry included.
const MAX_NESTED: usize = 4;
/// Every decimal number of at most this many digits fits in a `u64`.
const MAX_DIGITS: usize = 19;

/// Why bytes do not begin with a plain element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotPlain {
    /// They are too few: what is there may be the beginning of one.
    Partial,
    /// They begin with something else.
    Other,
}

/// A plain element.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct PlainElement {
    /// Bytes of the element.
    pub(super) length: usize,
    /// Whether it is about an object; otherwise it has no fields.
    pub(super) is_entry: bool,
    /// Whether the key or the version may have references.
    pub(super) has_references: bool,
    /// Whether there is text that a reader of XML has to judge.
    pub(super) needs_reader: bool,
}

/// The number that `text` begins with, and how many digits it has, if an element ends behind it.
fn number(text: &[u8]) -> Option<(usize, u64)> {
    let mut number = 0;
    for (digits, byte) in text.iter().enumerate().take(MAX_DIGITS + 1) {
        match byte {
            b'0'..=b'9' if digits < MAX_DIGITS => number = number * 10 + u64::from(byte - b'0'),
            b'<' if digits > 0 => return Some((digits, number)),
            _ => return None,
        }
    }
    None
}

impl PlainElement {
    /// Takes note of the text of a field, with which `rest` begins, `at` this place of the element; how long
    /// the text is.
    #[inline(always)]
    fn add(&mut self, field: Field, rest: &[u8], at: usize, fields: &mut Fields) -> Result<usize, NotPlain> {
        match field {
            Field::Key => {
                let length = self.text_length(field, rest)?;
                fields.key = Some(Text::Written(Place::new(at..at + length)));
                Ok(length)
            }
            Field::Etag => {
                let digest = digest_length(rest);
                let length = digest.map_or_else(|| self.text_length(field, rest), Ok)?;
                let at = Place::new(at..at + length);
                fields.etag = Some(match digest {
                    Some(_) => ListedEtag::Digest(at),
                    None => ListedEtag::Other { text: Text::Written(at), is_quoted: false, at },
                });
                Ok(length)
            }
            Field::VersionId => {
                let length = self.text_length(field, rest)?;
                fields.version_id = Some(Text::Written(Place::new(at..at + length)));
                Ok(length)
            }
            Field::Size => match number(rest) {
                Some((digits, number)) => {
                    fields.size = Some((Place::new(at..at + digits), number));
                    Ok(digits)
                }
                None => {
                    self.needs_reader = true;
                    self.text_length(field, rest)
                }
            },
            Field::AboutCiphertext { name_length } => {
                let length = self.text_length(field, rest)?;
                let element = at - name_length - "<>".len()..at + length + name_length + "</>".len();
                leave_out(&mut fields.about_ciphertext, element);
                Ok(length)
            }
            Field::Other => self.text_length(field, rest),
        }
    }

    /// How long the text is that `rest` begins with.
    fn text_length(&mut self, field: Field, rest: &[u8]) -> Result<usize, NotPlain> {
        let length = memchr3(b'<', b'&', b'\r', rest).ok_or(NotPlain::Partial)?;
        let text = &rest[..length];
        if rest[length] == b'<' && text.is_ascii() {
            return Ok(length);
        }
        let length = length + memchr(b'<', &rest[length..]).ok_or(NotPlain::Partial)?;
        self.add_special(field, &rest[..length]);
        Ok(length)
    }

    /// Takes note of text that has a reference, a carriage return, or more than ASCII.
    fn add_special(&mut self, field: Field, text: &[u8]) {
        let has_reference = memchr(b'&', text).is_some();
        let is_judged_here = matches!(field, Field::Key | Field::VersionId | Field::Etag);
        self.has_references |= has_reference && field != Field::Etag;
        self.needs_reader |= has_reference && !is_judged_here
            || memchr(b'\r', text).is_some()
            || str::from_utf8(text).is_err();
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

    /// The text, if other elements may have it in common: it says nothing about the object, and is nothing
    /// that a reader of XML has to judge.
    fn common(self, text: &[u8]) -> Option<Vec<u8>> {
        let may_be = matches!(self, Self::AboutCiphertext { .. } | Self::Other);
        let is_common = may_be && memchr2(b'&', b'\r', text).is_none() && str::from_utf8(text).is_ok();
        is_common.then(|| text.to_vec())
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
    /// The plain element that `input` begins with; its `fields`, as they are written.
    pub(super) fn find(&mut self, input: &[u8], fields: &mut Fields) -> Result<PlainElement, NotPlain> {
        for index in 0..self.0.len() {
            let found = self.0[index].find(input, fields);
            if !matches!(found, Err(NotPlain::Other)) {
                self.0[..=index].rotate_right(1);
                return found;
            }
        }
        let mut shape = Shape::parse(input)?;
        let found = shape.find(input, fields);
        self.0.truncate(MAX_SHAPES - 1);
        self.0.insert(0, shape);
        found
    }
}

/// The tags of a plain element, and the texts that all elements with these tags have had in common.
#[derive(Debug, Default)]
struct Shape {
    is_entry: bool,
    /// All tags in order, with the white space between them.
    tags: Vec<u8>,
    texts: Vec<ShapeText>,
    /// Tags and common texts, joined.
    literals: Vec<Literal>,
}

/// A text between tags.
#[derive(Debug)]
struct ShapeText {
    /// How many bytes of the tags come before it.
    before: usize,
    field: Field,
    /// The text, if it says nothing about the object, and all elements so far have had it.
    common: Option<Vec<u8>>,
}

/// Bytes that can be compared as a whole.
#[derive(Debug, Default)]
struct Literal {
    bytes: Vec<u8>,
    /// Where in them are elements about the stored bytes' checksums.
    about_ciphertext: Vec<Range<usize>>,
    /// The text behind them; `None` for the last ones.
    field: Option<Field>,
}

impl Shape {
    /// The element that `input` begins with, if it has these tags.
    fn find(&mut self, input: &[u8], fields: &mut Fields) -> Result<PlainElement, NotPlain> {
        match self.find_by_literals(input, fields) {
            Some(found) => Ok(found),
            None => self.find_by_tags(input, fields),
        }
    }

    /// The element that `input` begins with, if it has these tags and the common texts.
    fn find_by_literals(&self, input: &[u8], fields: &mut Fields) -> Option<PlainElement> {
        fields.clear();
        let mut found = PlainElement { is_entry: self.is_entry, ..PlainElement::default() };
        let mut at = 0;
        for Literal { bytes, about_ciphertext, field } in &self.literals {
            let rest = input[at..].strip_prefix(&bytes[..])?;
            for element in about_ciphertext {
                leave_out(&mut fields.about_ciphertext, at + element.start..at + element.end);
            }
            at += bytes.len();
            if let Some(field) = field {
                at += found.add(*field, rest, at, fields).ok()?;
            }
        }
        found.length = at;
        Some(found)
    }

    /// Parses the element at the start of `input` if it has these tags. A text that differs from that of the
    /// previous elements is removed from the literals: from the next element on, its end is searched for.
    #[cold]
    fn find_by_tags(&mut self, input: &[u8], fields: &mut Fields) -> Result<PlainElement, NotPlain> {
        fields.clear();
        let mut found = PlainElement { is_entry: self.is_entry, ..PlainElement::default() };
        let mut places: SmallVec<[Range<usize>; USUAL_TEXTS]> = SmallVec::new();
        let (mut at, mut compared) = (0, 0);
        for &ShapeText { before, field, .. } in &self.texts {
            let tags = &self.tags[compared..before];
            let Some(rest) = input[at..].strip_prefix(tags) else {
                return Err(difference(tags, &input[at..]));
            };
            at += tags.len();
            compared = before;
            let length = found.add(field, rest, at, fields)?;
            places.push(at..at + length);
            at += length;
        }
        let tags = &self.tags[compared..];
        if !input[at..].starts_with(tags) {
            return Err(difference(tags, &input[at..]));
        }
        found.length = at + tags.len();
        for (text, place) in self.texts.iter_mut().zip(places) {
            text.common.take_if(|common| **common != input[place]);
        }
        self.join_literals();
        Ok(found)
    }

    fn join_literals(&mut self) {
        let (mut literal, mut copied) = (Literal::default(), 0);
        self.literals.clear();
        for ShapeText { before, field, common } in &self.texts {
            literal.bytes.extend_from_slice(&self.tags[copied..*before]);
            copied = *before;
            match (common, field) {
                (Some(common), Field::AboutCiphertext { name_length }) => {
                    let start = literal.bytes.len() - name_length - "<>".len();
                    literal.bytes.extend_from_slice(common);
                    let end = literal.bytes.len() + name_length + "</>".len();
                    literal.about_ciphertext.push(start..end);
                }
                (Some(common), _) => literal.bytes.extend_from_slice(common),
                (None, _) => {
                    literal.field = Some(*field);
                    self.literals.push(std::mem::take(&mut literal));
                }
            }
        }
        literal.bytes.extend_from_slice(&self.tags[copied..]);
        self.literals.push(literal);
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
                    shape.join_literals();
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
                    let common = field.common(&input[at..at + text]);
                    shape.texts.push(ShapeText { before: shape.tags.len(), field, common });
                    copied = at + text;
                }
                Some(_) if field == Field::Other && is_blank(&input[at..at + text]) => {}
                Some(_) => return Err(NotPlain::Other),
            }
            at += text;
        }
    }

    fn has(&self, field: Field) -> bool {
        self.texts.iter().any(|text| text.field == field)
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
