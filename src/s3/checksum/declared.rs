//! What a request promises about its body, and holding it to that.
//!
//! Only what is promised is computed. Error codes and sentences are those of S3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::s3::error::{ErrorCode, S3Error};
use crate::s3::headers;
use crate::wire::checksum::{CHECKSUM_PREFIX, Checksum, ChecksumAlgorithm, Hasher, Md5};
use crate::wire::header::name;

/// How an object's checksum relates to its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumType {
    /// A checksum of the parts' checksums.
    Composite,
    /// A checksum of all bytes.
    FullObject,
}

impl ChecksumType {
    /// The value of `x-amz-checksum-type`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }
}

/// The integrity headers of a request, checked against each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredIntegrity {
    /// Content-MD5.
    pub content_md5: Option<[u8; Md5::LEN]>,
    /// The value of an `x-amz-checksum-*` header. Never beside a trailer.
    pub header: Option<Checksum>,
    /// The checksum whose value follows the body, named by `x-amz-trailer`.
    pub trailer: Option<ChecksumAlgorithm>,
    /// The algorithm of `x-amz-sdk-checksum-algorithm` or `x-amz-checksum-algorithm`; agrees with the two
    /// above.
    pub requested: Option<ChecksumAlgorithm>,
    /// `x-amz-checksum-type`.
    pub checksum_type: Option<ChecksumType>,
}

impl DeclaredIntegrity {
    /// Reads a request's headers.
    ///
    /// # Errors
    /// `InvalidDigest` for a malformed Content-MD5; `InvalidRequest` for a malformed checksum, for more than
    /// one, and for names that contradict; `NotImplemented` for an algorithm that could not be verified here.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        let declared = Self {
            content_md5: Self::content_md5_of(headers)?,
            header: checksum_header(headers)?,
            trailer: checksum_trailer(headers)?,
            requested: requested(headers)?,
            checksum_type: checksum_type(headers)?,
        };
        if declared.header.is_some() && declared.trailer.is_some() {
            return Err(S3Error::invalid_request("Expecting a single x-amz-checksum- header"));
        }
        if let Some(named) = declared.requested {
            if declared.algorithm().is_some_and(|algorithm| algorithm != named) {
                return Err(invalid_header(headers::SDK_CHECKSUM_ALGORITHM));
            }
            if declared.algorithm().is_none() && headers.contains_key(&name::SDK_CHECKSUM_ALGORITHM) {
                return Err(S3Error::invalid_request(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                     headers were found.",
                ));
            }
        }
        Ok(declared)
    }

    /// The algorithm that a copy's checksum is to have: `x-amz-checksum-algorithm`.
    ///
    /// # Errors
    /// `InvalidRequest` for one that is unknown.
    pub fn algorithm_of_copy(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
        algorithm_header(headers, &name::CHECKSUM_ALGORITHM)
    }

    /// Content-MD5 alone, for a request whose checksum headers are not about its body.
    ///
    /// # Errors
    /// `InvalidDigest` for a malformed one.
    pub fn content_md5_of(headers: &HeaderMap) -> Result<Option<[u8; Md5::LEN]>, S3Error> {
        let value = single(headers, &name::CONTENT_MD5).map_err(|_| ErrorCode::InvalidDigest)?;
        let Some(value) = value else { return Ok(None) };
        let decoded = STANDARD.decode(value).ok().and_then(|bytes| bytes.try_into().ok());
        decoded.map(Some).ok_or_else(|| {
            let text = String::from_utf8_lossy(value.as_bytes());
            S3Error::from(ErrorCode::InvalidDigest).with("Content-MD5", text)
        })
    }

    /// The algorithm of the one checksum that is or will be given a value.
    pub fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.header.map(|checksum| checksum.algorithm()).or(self.trailer)
    }

    /// Whether the body's end can refute it.
    pub fn is_verifiable(&self) -> bool {
        self.content_md5.is_some() || self.algorithm().is_some()
    }
}

fn checksum_header(headers: &HeaderMap) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with(CHECKSUM_PREFIX) || headers::is_checksum_setting(name) {
            continue;
        }
        let algorithm = ChecksumAlgorithm::from_header(name).ok_or_else(|| unsupported(name))?;
        let checksum = Checksum::parse(algorithm, value).ok_or_else(|| invalid_header(name))?;
        if found.replace(checksum).is_some() {
            return Err(multiple());
        }
    }
    Ok(found)
}

fn checksum_trailer(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let unknown =
        || S3Error::invalid_request("The value specified in the x-amz-trailer header is not supported");
    let mut found = None;
    for value in headers.get_all(&name::TRAILER_NAMES) {
        for name in value.to_str().map_err(|_| unknown())?.split(',').map(str::trim) {
            let is_checksum = name.to_ascii_lowercase().starts_with(CHECKSUM_PREFIX);
            let refusal = || if is_checksum { unsupported(name) } else { unknown() };
            if found.replace(ChecksumAlgorithm::from_header(name).ok_or_else(refusal)?).is_some() {
                return Err(multiple());
            }
        }
    }
    Ok(found)
}

fn algorithm_header(
    headers: &HeaderMap,
    name: &'static HeaderName,
) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(value) = single(headers, name)? else { return Ok(None) };
    let algorithm = value.to_str().ok().and_then(ChecksumAlgorithm::parse);
    algorithm.map(Some).ok_or_else(|| {
        S3Error::invalid_request(format!(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{}]",
            known_algorithms()
        ))
    })
}

fn requested(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let read = |name| algorithm_header(headers, name);
    match (read(&name::SDK_CHECKSUM_ALGORITHM)?, read(&name::CHECKSUM_ALGORITHM)?) {
        (Some(sdk), Some(named)) if sdk != named => Err(invalid_header(headers::CHECKSUM_ALGORITHM)),
        (sdk, named) => Ok(sdk.or(named)),
    }
}

fn checksum_type(headers: &HeaderMap) -> Result<Option<ChecksumType>, S3Error> {
    let Some(value) = single(headers, &name::CHECKSUM_TYPE)? else { return Ok(None) };
    match value.as_bytes() {
        value if value.eq_ignore_ascii_case(b"COMPOSITE") => Ok(Some(ChecksumType::Composite)),
        value if value.eq_ignore_ascii_case(b"FULL_OBJECT") => Ok(Some(ChecksumType::FullObject)),
        _ => Err(invalid_header(headers::CHECKSUM_TYPE)),
    }
}

/// The value of a header that may occur once.
fn single<'a>(headers: &'a HeaderMap, name: &'static HeaderName) -> Result<Option<&'a HeaderValue>, S3Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(invalid_header(name.as_str())),
    }
}

fn invalid_header(name: &str) -> S3Error {
    S3Error::invalid_request(format!("Value for {name} header is invalid."))
}

fn multiple() -> S3Error {
    let message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
    S3Error::invalid_request(message)
}

/// Taking an unknown algorithm for granted would store what was not verified.
fn unsupported(name: &str) -> S3Error {
    let known = known_algorithms();
    S3Error::not_implemented(format!("The checksum {name} cannot be verified here; use one of {known}"))
        .with("Header", name)
}

fn known_algorithms() -> String {
    ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::token).join(", ")
}

/// Compares a body with its [`DeclaredIntegrity`]: takes every byte of the decoded body, then returns a
/// verdict.
#[derive(Debug)]
pub struct Verifier {
    content_md5: Option<([u8; Md5::LEN], Md5)>,
    header: Option<Checksum>,
    trailer: Option<ChecksumAlgorithm>,
    hashers: Vec<Hasher>,
}

impl Verifier {
    /// Computes what `declared` needs and no more.
    pub fn new(declared: &DeclaredIntegrity) -> Self {
        Self {
            content_md5: declared.content_md5.map(|expected| (expected, Md5::default())),
            header: declared.header,
            trailer: declared.trailer,
            hashers: declared.algorithm().map(Hasher::new).into_iter().collect(),
        }
    }

    /// Computes `algorithm` too, for a response that must state it.
    #[must_use]
    pub fn computing(mut self, algorithm: ChecksumAlgorithm) -> Self {
        if self.hashers.iter().all(|hasher| hasher.algorithm() != algorithm) {
            self.hashers.push(Hasher::new(algorithm));
        }
        self
    }

    /// Takes the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some((_, md5)) = &mut self.content_md5 {
            md5.update(bytes);
        }
        self.hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
    }

    /// The verdict, with the checksums of the body: the declared one first, then those added by
    /// [`computing`](Self::computing).
    ///
    /// # Errors
    /// `BadDigest` where a value differs; `MalformedTrailerError` for a promised trailer that is missing or
    /// repeated and for a checksum trailer that was not promised; `InvalidRequest` for a trailer whose value
    /// is malformed.
    pub fn finish(self, trailers: &HeaderMap) -> Result<Vec<Checksum>, S3Error> {
        let trailing = self.trailing_checksum(trailers)?;
        if let Some((expected, md5)) = self.content_md5 {
            let calculated = md5.finish();
            if calculated != expected {
                let message = "The Content-MD5 you specified did not match what we received.";
                return Err(S3Error::new(ErrorCode::BadDigest, message)
                    .with("ExpectedDigest", STANDARD.encode(expected))
                    .with("CalculatedDigest", STANDARD.encode(calculated)));
            }
        }
        let computed: Vec<Checksum> = self.hashers.into_iter().map(Hasher::finish).collect();
        for expected in self.header.iter().chain(&trailing) {
            if !computed.contains(expected) {
                let algorithm = expected.algorithm();
                let message = format!("The {algorithm} you specified did not match the calculated checksum.");
                return Err(S3Error::new(ErrorCode::BadDigest, message));
            }
        }
        Ok(computed)
    }

    fn trailing_checksum(&self, trailers: &HeaderMap) -> Result<Option<Checksum>, S3Error> {
        let mut found = None;
        for (name, value) in trailers {
            let name = name.as_str();
            if !name.starts_with(CHECKSUM_PREFIX) {
                continue;
            }
            let algorithm = ChecksumAlgorithm::from_header(name)
                .filter(|algorithm| self.trailer == Some(*algorithm))
                .ok_or(ErrorCode::MalformedTrailerError)?;
            let checksum = Checksum::parse(algorithm, value).ok_or_else(|| {
                S3Error::invalid_request(format!("Value for {name} trailing header is invalid."))
            })?;
            if found.replace(checksum).is_some() {
                return Err(ErrorCode::MalformedTrailerError.into());
            }
        }
        match (self.trailer, found) {
            (Some(_), None) => Err(ErrorCode::MalformedTrailerError.into()),
            (_, found) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests;
