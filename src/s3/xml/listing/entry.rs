//! An entry of a listing, and how it is written as its readers see the object.
//!
//! It must not know how entries are found. It promises that the element stays as it is but for the digits of
//! its size, a suffix to its ETag, and the description of the stored bytes' checksums, which is left out.

use std::borrow::Cow;
use std::ops::Range;
use std::slice;

use bytes::BytesMut;
use memchr::memchr;

use super::shape::{QUOTE, digest_length};
use crate::s3::name::ObjectKey;
use crate::s3::xml::push_text;

/// A `<Contents>` or `<Version>` element.
#[derive(Debug, Clone)]
pub struct ListedEntry<'a> {
    /// The element.
    pub(super) bytes: Cow<'a, [u8]>,
    /// Where in it the size is written.
    pub(super) digits: Range<usize>,
    pub(super) etag: Option<ListedEtag<'a>>,
    /// Where in it the stored bytes' checksums are described, in ascending order.
    pub(super) about_ciphertext: Vec<Range<usize>>,
    /// The object's key: 1 to 1,024 bytes.
    pub object: Cow<'a, str>,
    /// The version, in a listing of versions.
    pub version_id: Option<Cow<'a, str>>,
    /// Bytes stored.
    pub size: u64,
}

/// The ETag of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ListedEtag<'a> {
    /// Without the pair of quotes around it.
    pub(super) text: Cow<'a, str>,
    /// Whether it has them.
    pub(super) is_quoted: bool,
    /// Whether it is a hash, written as S3 writes that of an object of one PUT.
    pub(super) is_digest: bool,
    /// Where in the element it is written.
    pub(super) at: Range<usize>,
}

impl<'a> ListedEtag<'a> {
    /// The ETag `text`, which is written `at` this place of `element`.
    pub(super) fn new(text: Cow<'a, str>, element: &[u8], at: Range<usize>) -> Self {
        let is_digest = digest_length(&element[at.start..]) == Some(at.len());
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let is_quoted = inner.is_some();
        let text = match (inner.map(str::len), text) {
            (Some(length), Cow::Borrowed(text)) => Cow::Borrowed(&text[1..=length]),
            (Some(length), Cow::Owned(text)) => Cow::Owned(text[1..=length].to_owned()),
            (None, text) => text,
        };
        Self { text, is_quoted, is_digest, at }
    }

    /// The ETag that is written `at` this place of `element` as S3 does; `None` for others.
    pub(super) fn from_plain(element: &'a str, at: Range<usize>, is_digest: bool) -> Option<Self> {
        let text = element[at.clone()].strip_prefix("&quot;")?.strip_suffix("&quot;")?;
        let is_plain = is_digest || memchr(b'&', text.as_bytes()).is_none();
        is_plain.then_some(Self { text: Cow::Borrowed(text), is_quoted: true, is_digest, at })
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

impl ListedEntry<'_> {
    /// The entry, without what it was read from.
    pub fn into_owned(self) -> ListedEntry<'static> {
        fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        let Self { bytes, digits, etag, about_ciphertext, object, version_id, size } = self;
        let etag = etag.map(|ListedEtag { text, is_quoted, is_digest, at }| ListedEtag {
            text: owned(text),
            is_quoted,
            is_digest,
            at,
        });
        ListedEntry {
            bytes: Cow::Owned(bytes.into_owned()),
            digits,
            etag,
            about_ciphertext,
            object: owned(object),
            version_id: version_id.map(owned),
            size,
        }
    }

    /// The object.
    pub fn object_key(&self) -> ObjectKey {
        ObjectKey::parse(&self.object).expect("it has the length of a key")
    }

    /// The ETag, without the quotes around it.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_ref().map(|etag| &*etag.text)
    }

    /// Whether the ETag is a hash without a number of parts, as S3 gives to an object of one PUT.
    pub fn has_digest(&self) -> bool {
        self.etag.as_ref().is_some_and(|etag| etag.is_digest)
    }

    /// Writes the element as its readers see the object.
    pub fn write(&self, shown: ClientEntry, to: &mut BytesMut) {
        let mut buffer = [0; MAX_DIGITS];
        let size = if shown.size == self.size {
            &self.bytes[self.digits.clone()]
        } else {
            decimal(shown.size, &mut buffer)
        };
        let etag = self.etag.as_ref().filter(|_| !shown.etag_suffix.is_empty());
        let etag = etag.map(|etag| suffixed(&self.bytes, etag, shown.etag_suffix));
        let mut edited = EditedCopy { from: &self.bytes, at: 0, left_out: self.about_ciphertext.iter(), to };
        match etag {
            Some((at, etag)) if at.start < self.digits.start => {
                edited.replace(&at, etag.as_bytes());
                edited.replace(&self.digits, size);
            }
            Some((at, etag)) => {
                edited.replace(&self.digits, size);
                edited.replace(&at, etag.as_bytes());
            }
            None => edited.replace(&self.digits, size),
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
    fn replace(&mut self, place: &Range<usize>, text: &[u8]) {
        self.copy_until(place.start);
        self.to.extend_from_slice(text);
        self.at = place.end;
    }

    fn finish(mut self) {
        self.copy_until(self.from.len());
    }

    fn copy_until(&mut self, end: usize) {
        while let Some(element) = self.left_out.as_slice().first().filter(|element| element.start < end) {
            self.to.extend_from_slice(&self.from[self.at..element.start]);
            self.at = element.end;
            self.left_out.next();
        }
        self.to.extend_from_slice(&self.from[self.at..end]);
    }
}

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
fn suffixed<'a>(element: &[u8], etag: &ListedEtag<'_>, suffix: &'a str) -> (Range<usize>, Cow<'a, str>) {
    let ListedEtag { text, is_quoted, is_digest, at } = etag;
    if *is_digest {
        let end = at.end - QUOTE.len();
        return (end..end, Cow::Borrowed(suffix));
    }
    let written = element[at.clone()].trim_ascii_end();
    let quote = [QUOTE, b"\"", b"&#34;"].into_iter().find(|quote| written.ends_with(quote));
    let ends_quoted = *is_quoted || text.trim_ascii_end().ends_with('"');
    if quote.is_some() != ends_quoted || memchr(b'<', written).is_some() {
        let bare = text.trim_ascii().trim_matches('"');
        let mut text = String::new();
        push_text(&mut text, &format!("\"{bare}{suffix}\""));
        return (at.clone(), Cow::Owned(text));
    }
    let end = at.start + written.len() - quote.map_or(0, <[u8]>::len);
    (end..end, Cow::Borrowed(suffix))
}
