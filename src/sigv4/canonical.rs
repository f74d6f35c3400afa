//! The canonical request: one spelling for all requests of one meaning.
//!
//! Source: "Create a signed AWS API request" and S3's "Authenticating Requests: Using the Authorization
//! Header".

use http::{HeaderMap, HeaderValue};

use super::error::{AuthError, AuthFault};
use super::query::Query;
use super::scope::{CredentialScope, Timestamp};
use crate::wire::digest::sha256;
use crate::wire::hex;
use crate::wire::percent::{Plus, decode_lenient, encode_path, encode_query};

pub(in crate::sigv4) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The maximum number of signed headers in one request. S3 accepts 8 KiB of headers; a PUT with as much
/// metadata under the shortest names and every option set stays below this.
const MAX_SIGNED_HEADERS: usize = 512;

/// The names after `SignedHeaders=`: distinct, lowercase, sorted.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sigv4) struct SignedHeaders(Vec<String>);

impl SignedHeaders {
    /// Takes a `;`-separated list apart; the order does not matter.
    pub(in crate::sigv4) fn parse(list: &str) -> Result<Self, AuthFault> {
        let mut names = Vec::with_capacity(8);
        for name in list.split(';') {
            let is_token = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && byte != b':';
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(AuthFault::SignedHeadersShape);
            }
            if names.len() == MAX_SIGNED_HEADERS {
                return Err(AuthFault::TooManySignedHeaders { limit: MAX_SIGNED_HEADERS });
            }
            names.push(name.to_owned());
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(AuthFault::SignedHeadersShape);
        }
        Ok(Self(names))
    }

    /// Whether the two ways to fold white space differ for these headers: a value has a tab inside.
    pub(in crate::sigv4) fn is_ambiguous(&self, headers: &HeaderMap) -> bool {
        let has_tab = |value: &HeaderValue| value.as_bytes().trim_ascii().contains(&b'\t');
        self.0.iter().any(|name| headers.get_all(name.as_str()).iter().any(has_tab))
    }

    fn contains(&self, name: &str) -> bool {
        self.0.binary_search_by(|signed| signed.as_str().cmp(name)).is_ok()
    }

    /// Refuses a request with headers that change its meaning outside the signature: `host` and every
    /// `x-amz-*`.
    pub(in crate::sigv4) fn refuse_unsigned(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let mut unsigned: Vec<String> = headers
            .keys()
            .map(|name| name.as_str())
            .filter(|name| name.starts_with("x-amz-") && !self.contains(name))
            .map(str::to_owned)
            .collect();
        if !self.contains("host") {
            unsigned.push("host".to_owned());
        }
        unsigned.sort();
        if unsigned.is_empty() { Ok(()) } else { Err(AuthError::HeadersNotSigned(unsigned)) }
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

/// Method, path, query, signed headers, their names and the payload word, a line each. Bytes, because header
/// values need not be text.
pub(in crate::sigv4) struct CanonicalRequest {
    bytes: Vec<u8>,
    folding: Folding,
}

impl CanonicalRequest {
    /// What a request without headers begins with.
    pub(in crate::sigv4) fn begin(
        method: &str,
        raw_path: &str,
        canonical_query: &str,
        folding: Folding,
    ) -> Self {
        let mut canonical = Vec::with_capacity(1024);
        for line in [method, &canonical_path(raw_path), canonical_query] {
            canonical.extend_from_slice(line.as_bytes());
            canonical.push(b'\n');
        }
        Self { bytes: canonical, folding }
    }

    /// One signed header with all its values; headers come sorted by their lowercase names.
    pub(in crate::sigv4) fn header<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a HeaderValue>) {
        self.bytes.extend_from_slice(name.as_bytes());
        let mut separator = b':';
        for value in values {
            self.bytes.push(separator);
            push_folded(&mut self.bytes, value.as_bytes(), self.folding);
            separator = b',';
        }
        self.bytes.push(b'\n');
    }

    /// The whole, whose headers had these names.
    pub(in crate::sigv4) fn end(self, signed_names: &str, content_sha256: &str) -> Vec<u8> {
        let mut canonical = self.bytes;
        for line in ["", signed_names, content_sha256] {
            canonical.extend_from_slice(line.as_bytes());
            canonical.push(b'\n');
        }
        canonical.pop();
        canonical
    }
}

/// The canonical request of a request that came in.
pub(in crate::sigv4) fn canonical_request(
    method: &str,
    raw_path: &str,
    canonical_query: &str,
    headers: &HeaderMap,
    signed_headers: &SignedHeaders,
    content_sha256: &str,
    folding: Folding,
) -> Result<Vec<u8>, AuthError> {
    let mut canonical = CanonicalRequest::begin(method, raw_path, canonical_query, folding);
    for name in &signed_headers.0 {
        let mut values = headers.get_all(name.as_str()).iter().peekable();
        if values.peek().is_none() {
            return Err(AuthError::SignedHeaderMissing(name.clone()));
        }
        canonical.header(name, values);
    }
    Ok(canonical.end(&signed_headers.0.join(";"), content_sha256))
}

/// Algorithm, time, scope and the canonical request's hash, a line each.
pub(in crate::sigv4) fn string_to_sign(
    timestamp: Timestamp,
    scope: &CredentialScope,
    canonical_request: &[u8],
) -> String {
    let mut text = String::with_capacity(192);
    text.extend([ALGORITHM, "\n", &timestamp.basic(), "\n"]);
    text.extend(scope.pieces());
    text.push('\n');
    text.push_str(&hex::encode(&sha256(canonical_request)));
    text
}

/// The path decoded once and encoded once: `//`, `.` and `..` are parts of a key and stay.
pub(in crate::sigv4) fn canonical_path(raw_path: &str) -> String {
    if raw_path.is_empty() {
        return "/".to_owned();
    }
    encode_path(&decode_lenient(raw_path, Plus::Literal)).to_string()
}

/// The query encoded, then sorted by name and value, without the parameter named `except` (a presigned
/// request can't sign its own signature).
pub(in crate::sigv4) fn canonical_query(query: &Query, except: Option<&str>) -> String {
    let encode = |bytes| encode_query(bytes).to_string();
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .filter(|parameter| except.is_none_or(|name| parameter.name != name.as_bytes()))
        .map(|parameter| (encode(parameter.name.as_slice()), encode(parameter.value())))
        .collect();
    pairs.sort();
    let mut joined = String::new();
    for (name, value) in &pairs {
        let separator = if joined.is_empty() { "" } else { "&" };
        joined.extend([separator, name, "=", value]);
    }
    joined
}

/// The value without blanks around it and with one space for each run of what is folded.
fn push_folded(canonical: &mut Vec<u8>, value: &[u8], folding: Folding) {
    let value = value.trim_ascii();
    let is_folded = |byte: u8| byte == b' ' || (folding == Folding::WhiteSpace && byte == b'\t');
    if !value.contains(&b'\t') && !value.windows(2).any(|pair| pair == b"  ") {
        canonical.extend_from_slice(value);
        return;
    }
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
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_once_and_never_normalised() {
        for (raw, canonical) in [
            ("", "/"),
            ("/b/a%20b", "/b/a%20b"),
            ("/b//.././/c", "/b//.././/c"),
            ("/b/%2e%2E/%7e", "/b/../~"),
            ("/b/a+b", "/b/a%2Bb"),
            ("/b/%c3%a9", "/b/%C3%A9"),
            ("/b/(1)!*'", "/b/%281%29%21%2A%27"),
            ("/b/100%", "/b/100%25"),
            ("/b/%2525", "/b/%2525"),
            ("/b/%FF%00", "/b/%FF%00"),
        ] {
            assert_eq!(canonical_path(raw), canonical, "{raw}");
        }
    }

    #[test]
    fn a_query_is_sorted_as_encoded() {
        let canonical = |raw: &str, except| canonical_query(&Query::parse(raw).unwrap(), except);
        assert_eq!(canonical("b=2&a=1&a=0&acl", None), "a=0&a=1&acl=&b=2");
        assert_eq!(canonical("x=a+b%2B/c", None), "x=a%20b%2B%2Fc");
        // Decoded, DEL sorts after the tilde; encoded, before it.
        assert_eq!(canonical("~=2&%7F=1", None), "%7F=1&~=2");
        assert_eq!(
            canonical("X-Amz-Signature=1&z=2&x-amz-signature=3", Some("X-Amz-Signature")),
            "x-amz-signature=3&z=2"
        );
    }

    #[test]
    fn header_values_are_trimmed_folded_and_joined() {
        let mut headers = HeaderMap::new();
        headers.append("host", "h".parse().unwrap());
        headers.append("x-amz-meta-a", "  one   two ".parse().unwrap());
        headers.append("x-amz-meta-a", "a\tb".parse().unwrap());
        headers.append("x-amz-meta-empty", "".parse().unwrap());
        let signed = SignedHeaders::parse("x-amz-meta-empty;host;x-amz-meta-a").unwrap();
        for (folding, tab) in [(Folding::Spaces, "\t"), (Folding::WhiteSpace, " ")] {
            let canonical =
                canonical_request("GET", "/", "", &headers, &signed, "UNSIGNED-PAYLOAD", folding).unwrap();
            assert_eq!(
                String::from_utf8(canonical).unwrap(),
                format!(
                    "GET\n/\n\nhost:h\nx-amz-meta-a:one two,a{tab}b\nx-amz-meta-empty:\n\n\
                     host;x-amz-meta-a;x-amz-meta-empty\nUNSIGNED-PAYLOAD"
                )
            );
        }
    }

    #[test]
    fn runs_of_white_space_are_one_space() {
        let folded = |value: &str, folding| {
            let mut canonical = Vec::new();
            push_folded(&mut canonical, value.as_bytes(), folding);
            String::from_utf8(canonical).unwrap()
        };
        for (value, spaces, white_space) in [
            ("a\t\tb \t c", "a\t\tb \t c", "a b c"),
            ("a  \tb", "a \tb", "a b"),
            ("a     b   c", "a b c", "a b c"),
            ("\ta\t", "a", "a"),
            ("", "", ""),
        ] {
            assert_eq!(folded(value, Folding::Spaces), spaces, "{value:?}");
            assert_eq!(folded(value, Folding::WhiteSpace), white_space, "{value:?}");
        }
    }

    #[test]
    fn signed_header_lists_of_another_shape_are_refused() {
        for list in ["", "host;", ";host", "Host", "host;host", "host;x amz", "host;a:b", "host;é"] {
            assert_eq!(SignedHeaders::parse(list), Err(AuthFault::SignedHeadersShape), "{list}");
        }
        let long = |count: usize| (0..count).map(|n| format!("h{n}")).collect::<Vec<_>>().join(";");
        assert!(SignedHeaders::parse(&long(MAX_SIGNED_HEADERS)).is_ok());
        assert_eq!(
            SignedHeaders::parse(&long(MAX_SIGNED_HEADERS + 1)),
            Err(AuthFault::TooManySignedHeaders { limit: MAX_SIGNED_HEADERS })
        );
    }
}
