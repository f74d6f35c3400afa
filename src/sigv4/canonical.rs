//! The canonical request: one spelling for all requests of one meaning.
//!
//! It must not know whether a request is verified or signed. Everything is written into one buffer that a
//! thread keeps. Source: "Create a signed AWS API request" and S3's "Authenticating Requests: Using the
//! Authorization Header".

use std::cell::Cell;
use std::ptr;

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr2;
use smallvec::{SmallVec, smallvec};

use super::error::{AuthError, AuthFault};
use super::query::{Parameter, Query};
use super::scope::{BasicTime, CredentialScope};
use crate::wire::digest::sha256;
use crate::wire::hex;
use crate::wire::percent::{compare_encoded_query, encode_query, push_canonical_path};

pub(in crate::sigv4) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The maximum number of signed headers in one request. S3 accepts 8 KiB of headers; a PUT with as much
/// metadata under the shortest names and every option set stays below this.
const MAX_SIGNED_HEADERS: usize = 512;
/// The signed headers for which no room on the heap is needed.
const USUAL_SIGNED_HEADERS: usize = 16;

/// The capacity of a new scratch buffer: the canonical request and the string to sign of most requests.
const USUAL_SCRATCH_BYTES: usize = 2 * 1024;
/// The capacity of the largest scratch buffer that a thread keeps.
const MAX_SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `write` with an empty buffer, which the thread keeps for its next signature.
pub(in crate::sigv4) fn with_scratch<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = SCRATCH.take();
    buffer.clear();
    buffer.reserve(USUAL_SCRATCH_BYTES);
    let result = write(&mut buffer);
    if buffer.capacity() <= MAX_SCRATCH_BYTES {
        SCRATCH.set(buffer);
    }
    result
}

/// The names after `SignedHeaders=`: distinct, lowercase, sorted.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sigv4) struct SignedNames<'a> {
    names: SmallVec<[&'a str; USUAL_SIGNED_HEADERS]>,
    /// The list itself, if it was sorted.
    list: Option<&'a str>,
}

impl<'a> SignedNames<'a> {
    /// Takes a `;`-separated list apart; the order does not matter.
    pub(in crate::sigv4) fn parse(list: &'a str) -> Result<Self, AuthFault> {
        let is_token = |byte: u8| byte.is_ascii_graphic() & !byte.is_ascii_uppercase() & (byte != b':');
        // Without a way out early, since nearly all are: several bytes are looked at at once.
        if !list.bytes().fold(true, |all, byte| all & is_token(byte)) {
            return Err(AuthFault::SignedHeadersShape);
        }
        let mut names: SmallVec<[&'a str; USUAL_SIGNED_HEADERS]> = SmallVec::new();
        let mut rest = Some(list);
        while let Some(text) = rest {
            // Names are so short that a search by `memchr` takes longer.
            let end = text.bytes().position(|byte| byte == b';');
            rest = end.map(|end| &text[end + 1..]);
            let name = &text[..end.unwrap_or(text.len())];
            if name.is_empty() {
                return Err(AuthFault::SignedHeadersShape);
            }
            if names.len() == MAX_SIGNED_HEADERS {
                return Err(AuthFault::TooManySignedHeaders { limit: MAX_SIGNED_HEADERS });
            }
            names.push(name);
        }
        if names.windows(2).all(|pair| pair[0] < pair[1]) {
            return Ok(Self { names, list: Some(list) });
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(AuthFault::SignedHeadersShape);
        }
        Ok(Self { names, list: None })
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.names.len() > USUAL_SIGNED_HEADERS {
            return self.names.binary_search_by(|signed| (*signed).cmp(name)).ok();
        }
        // Few of so few names have one length, and only those are compared.
        self.names.iter().position(|signed| *signed == name)
    }

    /// Finds the headers with these names.
    ///
    /// # Errors
    /// [`AuthError::HeadersNotSigned`] for headers that change a request's meaning outside the signature:
    /// `host` and every `x-amz-*`.
    pub(in crate::sigv4) fn find<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<FoundHeaders<'_, 'a, 'h>, AuthError> {
        let mut of_names: SmallVec<[Option<Header<'h>>; USUAL_SIGNED_HEADERS]> =
            smallvec![None; self.names.len()];
        let mut unsigned = Vec::new();
        let mut has_repeated = false;
        for (name, value) in headers {
            if let Some(at) = self.position(name.as_str()) {
                has_repeated |= of_names[at].replace((name, value)).is_some();
            } else if name.as_str().starts_with("x-amz-") {
                unsigned.push(name.to_string());
            }
        }
        if self.position("host").is_none() {
            unsigned.push("host".to_owned());
        }
        if unsigned.is_empty() {
            return Ok(FoundHeaders { names: self, headers, of_names, has_repeated });
        }
        unsigned.sort();
        unsigned.dedup();
        Err(AuthError::HeadersNotSigned(unsigned))
    }
}

/// The headers of a request that have a signed name.
pub(in crate::sigv4) struct FoundHeaders<'n, 'a, 'h> {
    names: &'n SignedNames<'a>,
    headers: &'h HeaderMap,
    /// The last header of each name, in the order of the names.
    of_names: SmallVec<[Option<Header<'h>>; USUAL_SIGNED_HEADERS]>,
    has_repeated: bool,
}

impl<'a: 'h, 'h> FoundHeaders<'_, 'a, 'h> {
    /// The headers, if each name has one.
    ///
    /// # Errors
    /// [`AuthError::SignedHeaderMissing`].
    pub(in crate::sigv4) fn complete(self) -> Result<SignedHeaders<'h>, AuthError> {
        let Self { names, headers, of_names, has_repeated } = self;
        if let Some(missing) = of_names.iter().position(Option::is_none) {
            return Err(AuthError::SignedHeaderMissing(names.names[missing].to_owned()));
        }
        let list = names.list;
        if has_repeated {
            let signed = SignedHeaders::new(headers, |name| names.position(name).is_some());
            return Ok(SignedHeaders { list, ..signed });
        }
        // The names are sorted, so that the headers are.
        Ok(SignedHeaders { headers: of_names.into_iter().flatten().collect(), list })
    }
}

type Header<'a> = (&'a HeaderName, &'a HeaderValue);

/// The headers that a signature covers, sorted by name; the values of one name in the order of the request.
pub(in crate::sigv4) struct SignedHeaders<'a> {
    headers: SmallVec<[Header<'a>; USUAL_SIGNED_HEADERS]>,
    /// Their names, separated by `;`, where they are written already.
    list: Option<&'a str>,
}

impl<'a> SignedHeaders<'a> {
    /// The headers whose name is signed.
    pub(in crate::sigv4) fn new(headers: &'a HeaderMap, is_signed: impl Fn(&str) -> bool) -> Self {
        let mut signed: SmallVec<[Header<'a>; USUAL_SIGNED_HEADERS]> = SmallVec::new();
        signed.extend(headers.iter().filter(|(name, _)| is_signed(name.as_str())));
        signed.sort_by_key(|(name, _)| name.as_str());
        Self { headers: signed, list: None }
    }

    /// Whether the two ways to fold white space differ for these headers: a value has a tab inside.
    pub(in crate::sigv4) fn is_ambiguous(&self) -> bool {
        self.headers.iter().any(|(_, value)| value.as_bytes().trim_ascii().contains(&b'\t'))
    }

    /// The name of the first value that is not valid UTF-8.
    pub(in crate::sigv4) fn first_not_text(&self) -> Option<&'a HeaderName> {
        let is_text = |text: &[u8]| str::from_utf8(text).is_ok();
        self.headers.iter().find(|(_, value)| !is_text(value.as_bytes())).map(|(name, _)| *name)
    }

    /// Each name with its headers.
    fn groups(&self) -> impl Iterator<Item = (&'a str, &[Header<'a>])> {
        // They are of one map, which has each name once.
        self.headers.chunk_by(|one, next| ptr::eq(one.0, next.0)).map(|group| (group[0].0.as_str(), group))
    }

    /// Appends a line for each name with all its values.
    fn push_lines(&self, buffer: &mut Vec<u8>, folding: Folding) {
        let start = buffer.len();
        self.push_lines_with(buffer, |buffer, value| buffer.extend_from_slice(value));
        // Few requests have white space inside a value, which one look at all of them shows.
        if memchr2(b' ', b'\t', &buffer[start..]).is_some() {
            buffer.truncate(start);
            self.push_lines_with(buffer, |buffer, value| push_folded(buffer, value, folding));
        }
    }

    /// Appends the lines, in which `push` appends each value without the white space around it.
    fn push_lines_with(&self, buffer: &mut Vec<u8>, push: impl Fn(&mut Vec<u8>, &[u8])) {
        for (name, group) in self.groups() {
            buffer.extend_from_slice(name.as_bytes());
            let mut separator = b':';
            for (_, value) in group {
                buffer.push(separator);
                push(buffer, value.as_bytes().trim_ascii());
                separator = b',';
            }
            buffer.push(b'\n');
        }
    }

    /// Appends the names, separated by `;`.
    fn push_names(&self, buffer: &mut Vec<u8>) {
        if let Some(list) = self.list {
            buffer.extend_from_slice(list.as_bytes());
            return;
        }
        for (at, (name, _)) in self.groups().enumerate() {
            if at > 0 {
                buffer.push(b';');
            }
            buffer.extend_from_slice(name.as_bytes());
        }
    }
}

/// What a signer folds inside a header's value. AWS's documentation says "sequential spaces" and leaves tabs
/// open: the SDKs for Go and Rust fold spaces only, those for Python, JavaScript and Java every run of white
/// space into one space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sigv4) enum Folding {
    Spaces,
    WhiteSpace,
}

/// What a signature covers.
pub(in crate::sigv4) struct CanonicalRequest<'a, 'h> {
    pub(in crate::sigv4) method: &'a str,
    /// Percent-encoded as sent.
    pub(in crate::sigv4) raw_path: &'a str,
    pub(in crate::sigv4) query: &'a Query,
    /// A presigned request can't sign its own signature.
    pub(in crate::sigv4) unsigned_parameter: Option<&'a str>,
    pub(in crate::sigv4) headers: &'a SignedHeaders<'h>,
    /// The payload word.
    pub(in crate::sigv4) content_sha256: &'a [u8],
}

/// What is signed, in bytes, because header values need not be text.
pub(in crate::sigv4) struct SigningText<'b> {
    /// Method, path, query, signed headers, their names and the payload word, a line each.
    pub(in crate::sigv4) canonical_request: &'b [u8],
    /// The names of the signed headers, separated by `;`.
    pub(in crate::sigv4) signed_names: &'b [u8],
    /// Algorithm, time, scope and the canonical request's hash, a line each.
    pub(in crate::sigv4) string_to_sign: &'b [u8],
}

impl CanonicalRequest<'_, '_> {
    /// Writes the text to sign into `buffer`, in place of what is there.
    pub(in crate::sigv4) fn write<'b>(
        &self,
        buffer: &'b mut Vec<u8>,
        folding: Folding,
        time: &BasicTime,
        scope: &CredentialScope<'_>,
    ) -> SigningText<'b> {
        buffer.clear();
        buffer.extend_from_slice(self.method.as_bytes());
        buffer.push(b'\n');
        push_path(buffer, self.raw_path);
        buffer.push(b'\n');
        push_query(buffer, self.query, self.unsigned_parameter);
        buffer.push(b'\n');
        self.headers.push_lines(buffer, folding);
        buffer.push(b'\n');
        let names_start = buffer.len();
        self.headers.push_names(buffer);
        let names = names_start..buffer.len();
        buffer.push(b'\n');
        buffer.extend_from_slice(self.content_sha256);

        let end = buffer.len();
        let hash = hex::encode_array(&sha256(buffer));
        buffer.extend_from_slice(ALGORITHM.as_bytes());
        buffer.push(b'\n');
        buffer.extend_from_slice(time.as_str().as_bytes());
        buffer.push(b'\n');
        scope.pieces().iter().for_each(|piece| buffer.extend_from_slice(piece.as_bytes()));
        buffer.push(b'\n');
        buffer.extend_from_slice(hash.as_flattened());
        let (canonical_request, string_to_sign) = buffer.split_at(end);
        SigningText { canonical_request, signed_names: &canonical_request[names], string_to_sign }
    }
}

/// Appends the path decoded once and encoded once: `//`, `.` and `..` are parts of a key and stay.
pub(in crate::sigv4) fn push_path(buffer: &mut Vec<u8>, raw_path: &str) {
    push_canonical_path(buffer, if raw_path.is_empty() { "/" } else { raw_path });
}

/// Appends the query encoded, then sorted by name and value, without the parameter named `except`.
pub(in crate::sigv4) fn push_query(buffer: &mut Vec<u8>, query: &Query, except: Option<&str>) {
    let is_signed = |name: &[u8]| except.is_none_or(|except| name != except.as_bytes());
    let mut parameters: Vec<&Parameter> =
        query.iter().filter(|parameter| is_signed(&parameter.name)).collect();
    parameters.sort_unstable_by(|left, right| {
        compare_encoded_query(&left.name, &right.name)
            .then_with(|| compare_encoded_query(left.value(), right.value()))
    });
    for (at, parameter) in parameters.into_iter().enumerate() {
        if at > 0 {
            buffer.push(b'&');
        }
        encode_query(&parameter.name).for_each(|piece| buffer.extend_from_slice(piece.as_bytes()));
        buffer.push(b'=');
        encode_query(parameter.value()).for_each(|piece| buffer.extend_from_slice(piece.as_bytes()));
    }
}

/// Appends the value with one space for each run of what is folded.
fn push_folded(canonical: &mut Vec<u8>, value: &[u8], folding: Folding) {
    let is_folded = |byte: u8| byte == b' ' || (folding == Folding::WhiteSpace && byte == b'\t');
    let mut after_space = false;
    for &byte in value {
        if !is_folded(byte) {
            canonical.push(byte);
        } else if !after_space {
            canonical.push(b' ');
        }
        after_space = is_folded(byte);
    }
}

#[cfg(test)]
mod tests;
