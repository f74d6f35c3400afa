//! Why a request was not authenticated.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::wire::error_code::ErrorCode;

/// Why a request was not authenticated; nothing of it may be trusted or acted on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// The request carries no signature at all.
    #[error("Anonymous access is not allowed; sign the request")]
    Anonymous,
    /// Header and query (or both query forms) claim an identity each.
    #[error(
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter \
         or the Authorization header should be specified"
    )]
    SeveralMechanisms,
    /// `Authorization: AWS ...` (Version 2 in the header), or a presigned Version 2 request or form where the
    /// policy forbids those.
    #[error("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")]
    SigV2NotAllowed,
    /// A presigned Version 2 request may only GET, HEAD or PUT.
    #[error("A presigned Signature Version 2 request may only be GET, HEAD or PUT")]
    SigV2Method,
    /// A query parameter that Version 2 does not sign could change what the request means.
    #[error("The query parameter {0} is not covered by a Signature Version 2; use AWS4-HMAC-SHA256")]
    SigV2UnsignedParameter(String),
    /// An `x-amz-*` value is given in the header and, differently, in the query.
    #[error("The header and the query parameter {0} contradict each other")]
    Contradiction(String),
    /// An `Authorization` scheme S3 does not have.
    #[error("Unsupported Authorization Type")]
    UnsupportedScheme,
    /// The asymmetric (multi-region) variants: `AWS4-ECDSA-P256-SHA256`, `STREAMING-AWS4-ECDSA-...`.
    #[error("{0} is not implemented; use AWS4-HMAC-SHA256")]
    EcdsaNotImplemented(String),
    /// The authorization is there but not well formed, or made for another scope.
    #[error("{prefix} {fault}", prefix = .found_in.prefix())]
    Malformed {
        /// Where the authorization was found.
        found_in: AuthSource,
        /// What is wrong with it.
        fault: AuthFault,
    },
    /// A header that must occur once at most occurs again, or is not text.
    #[error("The header {0} is repeated or not valid text")]
    AmbiguousHeader(&'static str),
    /// More query parameters than any S3 request has.
    #[error("The request has more than {limit} query parameters")]
    TooManyQueryParameters {
        /// The most there may be.
        limit: usize,
    },
    /// Neither `x-amz-date` nor `Date`, or not in its format.
    #[error("AWS authentication requires a valid Date or x-amz-date header")]
    InvalidDate,
    /// The request's clock is too far from ours.
    #[error("The difference between the request time and the current time is too large.")]
    RequestTimeTooSkewed {
        /// When the request says it was signed, ISO 8601.
        request_time: String,
        /// What time it is here, ISO 8601.
        server_time: String,
        /// The difference allowed.
        max_skew: Duration,
    },
    /// A presigned request after its end.
    #[error("Request has expired")]
    Expired {
        /// When it ended, ISO 8601.
        expires: String,
        /// What time it is here, ISO 8601.
        server_time: String,
    },
    /// A presigned request that begins further in the future than clocks differ.
    #[error("Request is not valid yet")]
    NotYetValid {
        /// When it begins, ISO 8601.
        request_time: String,
        /// What time it is here, ISO 8601.
        server_time: String,
    },
    /// A session token; clients here have static keys.
    #[error("The provided token is malformed or otherwise invalid.")]
    SecurityToken,
    /// `host` or `x-amz-*` headers that the signature does not cover, in the order of their names.
    #[error("There were headers present in the request which were not signed: {}", .0.join(", "))]
    HeadersNotSigned(Vec<String>),
    /// The signature covers a header that did not arrive.
    #[error("The header {0} was signed but is not in the request")]
    SignedHeaderMissing(String),
    /// A header-signed request says nothing of its payload.
    #[error("Missing required header for this request: x-amz-content-sha256")]
    MissingContentSha256,
    /// `x-amz-content-sha256` is neither a SHA-256 nor one of the words S3 knows.
    #[error(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value."
    )]
    InvalidContentSha256,
    /// Signed chunks need the signing key of a Version 4 signature.
    #[error("Signed chunks need AWS4-HMAC-SHA256")]
    SigV2SignedChunks,
    /// `x-amz-decoded-content-length` is not a length in bytes.
    #[error("x-amz-decoded-content-length must be a number of bytes")]
    InvalidDecodedLength,
    /// `x-amz-trailer` lists more trailers than any checksum algorithm needs.
    #[error("x-amz-trailer may announce {limit} trailers at most")]
    TooManyTrailers {
        /// The most there may be.
        limit: usize,
    },
    /// The access key id is not configured.
    #[error("The AWS Access Key Id you provided does not exist in our records.")]
    UnknownAccessKeyId(String),
    /// Another secret, or another request than the one that was signed.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing \
         method."
    )]
    SignatureDoesNotMatch(Box<SignatureMismatch>),
}

impl AuthError {
    /// The error code of S3 for this error.
    pub fn s3_code(&self) -> ErrorCode {
        match self {
            Self::Anonymous
            | Self::SigV2Method
            | Self::SigV2UnsignedParameter(_)
            | Self::InvalidDate
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::HeadersNotSigned(_) => ErrorCode::AccessDenied,
            Self::SeveralMechanisms
            | Self::Contradiction(_)
            | Self::UnsupportedScheme
            | Self::AmbiguousHeader(_)
            | Self::TooManyQueryParameters { .. }
            | Self::InvalidContentSha256
            | Self::InvalidDecodedLength
            | Self::TooManyTrailers { .. } => ErrorCode::InvalidArgument,
            Self::SigV2NotAllowed | Self::SigV2SignedChunks | Self::MissingContentSha256 => {
                ErrorCode::InvalidRequest
            }
            Self::EcdsaNotImplemented(_) => ErrorCode::NotImplemented,
            Self::Malformed { found_in: AuthSource::Header, .. } => ErrorCode::AuthorizationHeaderMalformed,
            Self::Malformed { found_in: AuthSource::Query, .. } => {
                ErrorCode::AuthorizationQueryParametersError
            }
            Self::Malformed { found_in: AuthSource::Form, .. } => ErrorCode::InvalidArgument,
            Self::RequestTimeTooSkewed { .. } => ErrorCode::RequestTimeTooSkewed,
            Self::SecurityToken => ErrorCode::InvalidToken,
            Self::UnknownAccessKeyId(_) => ErrorCode::InvalidAccessKeyId,
            Self::SignedHeaderMissing(_) | Self::SignatureDoesNotMatch(_) => ErrorCode::SignatureDoesNotMatch,
        }
    }
}

/// Where an authorization was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthSource {
    /// The `Authorization` header.
    Header,
    /// A presigned URL's query parameters.
    Query,
    /// The fields of a browser's form.
    Form,
}

impl AuthSource {
    /// The beginning of S3's message about a malformed authorization.
    fn prefix(self) -> &'static str {
        match self {
            Self::Header => "The authorization header is malformed;",
            Self::Query => "Error parsing the X-Amz query parameters;",
            Self::Form => {
                "Error parsing the form's authorization fields (check their order, the file is last);"
            }
        }
    }
}

/// What is wrong with an authorization.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthFault {
    /// Longer than any authorization of an SDK.
    #[error("it is longer than {limit} bytes.")]
    TooLong {
        /// The most there may be, in bytes.
        limit: usize,
    },
    /// A field is missing.
    #[error("{0} is missing.")]
    Missing(&'static str),
    /// A field occurs twice.
    #[error("{0} occurs more than once.")]
    Repeated(&'static str),
    /// A field that is not valid UTF-8.
    #[error("{0} is not valid text.")]
    NotText(&'static str),
    /// A field that does not belong there.
    #[error("{0:?} is not part of it.")]
    UnknownField(String),
    /// `X-Amz-Algorithm` is not `AWS4-HMAC-SHA256`.
    #[error("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\".")]
    Algorithm,
    /// The credential is not `<access key id>/<date>/<region>/s3/aws4_request`.
    #[error("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/s3/aws4_request\".")]
    CredentialShape,
    /// Made for another service.
    #[error("incorrect service {0:?}. This endpoint belongs to \"s3\".")]
    Service(String),
    /// The scope does not end as Version 4 scopes do.
    #[error("incorrect terminal {0:?}. This endpoint uses \"aws4_request\".")]
    Terminator(String),
    /// Made for another region.
    #[error("the region '{given}' is wrong; expecting '{expected}'")]
    Region {
        /// The region this endpoint is in.
        expected: String,
        /// The region the client signed for.
        given: String,
    },
    /// The scope's day is not the day of the request.
    #[error(
        "Invalid credential date \"{scope}\". This date is not the same as the request date: \"{request}\"."
    )]
    ScopeDate {
        /// The scope's day, as sent.
        scope: String,
        /// The request's day, `YYYYMMDD`.
        request: String,
    },
    /// `SignedHeaders` is not a list of distinct lowercase names with semicolons between.
    #[error("SignedHeaders must be distinct lowercase names separated by semicolons.")]
    SignedHeadersShape,
    /// More signed headers than any client sends.
    #[error("more than {limit} headers are signed.")]
    TooManySignedHeaders {
        /// The most there may be.
        limit: usize,
    },
    /// `X-Amz-Date` of a presigned request.
    #[error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\".")]
    Date,
    /// `X-Amz-Expires` is not a number of seconds from 1 to a week.
    #[error("X-Amz-Expires must be a number of seconds between 1 and {max_seconds}.")]
    Expires {
        /// The most there may be.
        max_seconds: u64,
    },
    /// `Expires` of a presigned Version 2 request.
    #[error("Expires must be a number of seconds since 1970.")]
    Epoch,
}

/// Both sides' view of a request whose signature is wrong, as S3 shows it; no secret can be found from it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureMismatch {
    /// Whom the request claims to be.
    pub access_key_id: String,
    /// The signature that came.
    pub signature_provided: String,
    /// What this side signed to compare.
    pub string_to_sign: Vec<u8>,
    /// What the string to sign is the hash of; Version 2 has none.
    pub canonical_request: Option<Vec<u8>>,
}

impl fmt::Debug for SignatureMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureMismatch")
            .field("access_key_id", &self.access_key_id)
            .field("signature_provided", &self.signature_provided)
            .field("string_to_sign", &String::from_utf8_lossy(&self.string_to_sign))
            .field("canonical_request", &self.canonical_request.as_deref().map(String::from_utf8_lossy))
            .finish()
    }
}
