//! An entry of a listing, and how it is written as its readers see the object.
//!
//! It must not know how entries are found. It promises that the element stays as it is but for the digits of
//! its size, a suffix to its ETag, and the description of the stored bytes' checksums, which is left out.

use std::borrow::Cow;
use std::ops::Range;
use std::slice;

use bytes::BytesMut;
use memchr::memchr;

use super::fields::{Fields, ListedEtag, QUOTE};
use crate::s3::name::ObjectKey;
use crate::s3::xml::push_text;

/// A `<Contents>` or `<Version>` element that says once what its object's key is and how large it is.
#[derive(Debug, Clone, Copy)]
pub struct ListedEntry<'a> {
    /// The element.
    pub(super) bytes: &'a [u8],
    pub(super) fields: &'a Fields,
    /// Bytes stored.
    pub size: u64,
}

/// A copy of a [`ListedEntry`].
#[derive(Debug, Clone)]
pub struct OwnedEntry {
    bytes: Vec<u8>,
    fields: Fields,
    size: u64,
}

impl OwnedEntry {
    /// The entry.
    pub fn entry(&self) -> ListedEntry<'_> {
        ListedEntry { bytes: &self.bytes, fields: &self.fields, size: self.size }
    }
}

/// An object as its readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEntry {
    /// Bytes of its content.
    pub size: u64,
    /// What its ETag has behind the storage's.
    pub etag_suffix: &'static str,
}

impl<'a> ListedEntry<'a> {
    /// A copy, independent of what the entry was read from.
    pub fn detached(&self) -> OwnedEntry {
        OwnedEntry { bytes: self.bytes.to_vec(), fields: self.fields.clone(), size: self.size }
    }

    /// The object's key: 1 to 1,024 bytes.
    pub fn object(&self) -> &'a str {
        self.fields.key.as_ref().map_or("", |key| key.text(self.bytes))
    }

    /// The object.
    pub fn object_key(&self) -> ObjectKey {
        ObjectKey::parse(self.object()).expect("it has the length of a key")
    }

    /// The version, in a listing of versions.
    pub fn version_id(&self) -> Option<&'a str> {
        self.fields.version_id.as_ref().map(|version| version.text(self.bytes))
    }

    /// The ETag, without the quotes around it.
    pub fn etag(&self) -> Option<&'a str> {
        self.fields.etag.as_ref().map(|etag| etag.text(self.bytes))
    }

    /// Whether the ETag is a hash in hexadecimal digits, without a number of parts: S3 gives such a one to an
    /// object of one PUT.
    pub fn has_digest(&self) -> bool {
        match &self.fields.etag {
            Some(ListedEtag::Digest(_)) => true,
            Some(ListedEtag::Other { text, .. }) => is_digest(text.bytes(self.bytes)),
            None => false,
        }
    }

    /// Writes the element as its readers see the object.
    pub fn write(&self, shown: ClientEntry, to: &mut BytesMut) {
        let mut buffer = [0; MAX_DIGITS];
        let digits = self.fields.size.map_or(0..0, |(digits, _)| digits.range());
        let size = if shown.size == self.size {
            &self.bytes[digits.clone()]
        } else {
            decimal(shown.size, &mut buffer)
        };
        let etag = self.fields.etag.as_ref().filter(|_| !shown.etag_suffix.is_empty());
        let etag = etag.map(|etag| suffixed(self.bytes, etag, shown.etag_suffix));
        let left_out = self.fields.about_ciphertext.iter();
        let mut edited = EditedCopy { from: self.bytes, at: 0, left_out, to };
        match etag {
            Some((at, etag)) if at.start < digits.start => {
                edited.replace(at, etag.as_bytes());
                edited.replace(digits, size);
            }
            Some((at, etag)) => {
                edited.replace(digits, size);
                edited.replace(at, etag.as_bytes());
            }
            None => edited.replace(digits, size),
        }
        edited.finish();
    }

    /// How many bytes the element has.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }
}

/// A copy of an element with changes, which are made in the order of their places.
struct EditedCopy<'a> {
    from: &'a [u8],
    /// How much of it was copied or left out.
    at: usize,
    /// What is left out from there on.
    left_out: slice::Iter<'a, Range<usize>>,
    to: &'a mut BytesMut,
}

impl EditedCopy<'_> {
    /// Writes `text` in the place of these bytes.
    fn replace(&mut self, place: Range<usize>, text: &[u8]) {
        self.copy_until(place.start);
        self.to.extend_from_slice(text);
        self.at = place.end;
    }

    fn finish(mut self) {
        self.copy_until(self.from.len());
    }

    #[inline(always)]
    fn copy_until(&mut self, end: usize) {
        while let Some(element) = self.left_out.as_slice().first().filter(|element| element.start < end) {
            self.to.extend_from_slice(&self.from[self.at..element.start]);
            self.at = element.end;
            self.left_out.next();
        }
        self.to.extend_from_slice(&self.from[self.at..end]);
    }
}

fn is_digest(etag: &[u8]) -> bool {
    etag.len() >= MIN_DIGEST && etag.iter().all(u8::is_ascii_hexdigit)
}

/// The hexadecimal digits of the shortest hash that an ETag is, an MD5.
const MIN_DIGEST: usize = 32;

/// How many digits the largest number has.
const MAX_DIGITS: usize = 20;

/// A number in decimal digits.
fn decimal(mut number: u64, buffer: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut begins = buffer.len();
    loop {
        begins -= 1;
        buffer[begins] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return &buffer[begins..];
        }
    }
}

/// What to write where, so that an ETag has a suffix within its quotes. Quotes may be written as references.
fn suffixed<'a>(element: &[u8], etag: &ListedEtag, suffix: &'a str) -> (Range<usize>, Cow<'a, str>) {
    let (text, is_quoted, at) = match etag {
        ListedEtag::Digest(at) => {
            let end = at.within_quotes().range().end;
            return (end..end, Cow::Borrowed(suffix));
        }
        ListedEtag::Other { text, is_quoted, at } => (text.text(element), is_quoted, at.range()),
    };
    let written = element[at.clone()].trim_ascii_end();
    let quote = [QUOTE, b"\"", b"&#34;"].into_iter().find(|quote| written.ends_with(quote));
    let ends_quoted = *is_quoted || text.trim_ascii_end().ends_with('"');
    if quote.is_some() != ends_quoted || memchr(b'<', written).is_some() {
        let bare = text.trim_ascii().trim_matches('"');
        let mut text = String::new();
        push_text(&mut text, &format!("\"{bare}{suffix}\""));
        return (at, Cow::Owned(text));
    }
    let end = at.start + written.len() - quote.map_or(0, <[u8]>::len);
    (end..end, Cow::Borrowed(suffix))
}
