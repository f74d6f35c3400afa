//! S3's error codes, each beside its HTTP status and its standard sentence.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

use super::xml;
use crate::wire::percent::InvalidEncoding;

macro_rules! error_codes {
    ($($variant:ident $status:ident $code:literal $message:literal;)*) => {
        /// An error code of S3. The variant is named as the code is on the wire, as far as Rust allows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(clippy::enum_variant_names)]
        pub enum ErrorCode {
            $(#[doc = $message] $variant,)*
        }

        impl ErrorCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// What `<Code>` says.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status the code travels with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The sentence to say when there is nothing more precise.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }
        }
    };
}

error_codes! {
    AccessDenied FORBIDDEN "AccessDenied" "Access Denied";
    AuthorizationHeaderMalformed BAD_REQUEST "AuthorizationHeaderMalformed" "The authorization header you provided is invalid.";
    AuthorizationQueryParametersError BAD_REQUEST "AuthorizationQueryParametersError" "The authorization query parameters you provided are invalid.";
    BadDigest BAD_REQUEST "BadDigest" "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest BAD_REQUEST "BadRequest" "Bad Request";
    BucketAlreadyExists CONFLICT "BucketAlreadyExists" "The requested bucket name is not available.";
    BucketAlreadyOwnedByYou CONFLICT "BucketAlreadyOwnedByYou" "The bucket that you tried to create already exists, and you own it.";
    BucketNotEmpty CONFLICT "BucketNotEmpty" "The bucket that you tried to delete is not empty.";
    ConditionalRequestConflict CONFLICT "ConditionalRequestConflict" "A conflicting operation occurred during this conditional request. Retry the request.";
    EntityTooLarge BAD_REQUEST "EntityTooLarge" "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall BAD_REQUEST "EntityTooSmall" "Your proposed upload is smaller than the minimum allowed object size.";
    ExpiredToken BAD_REQUEST "ExpiredToken" "The provided token has expired.";
    IncompleteBody BAD_REQUEST "IncompleteBody" "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    IntegrityCheckFailed BAD_GATEWAY "IntegrityCheckFailed" "What the storage returned failed authentication; it was altered, truncated, moved, or sealed under another key.";
    InternalError INTERNAL_SERVER_ERROR "InternalError" "We encountered an internal error. Please try again.";
    InvalidAccessKeyId FORBIDDEN "InvalidAccessKeyId" "The AWS access key ID that you provided does not exist in our records.";
    InvalidArgument BAD_REQUEST "InvalidArgument" "Invalid Argument";
    InvalidBucketName BAD_REQUEST "InvalidBucketName" "The specified bucket is not valid.";
    InvalidChunkSizeError FORBIDDEN "InvalidChunkSizeError" "Only the last chunk is allowed to have a size less than 8192 bytes";
    InvalidDigest BAD_REQUEST "InvalidDigest" "The Content-MD5 you specified was invalid.";
    InvalidEncryptionAlgorithmError BAD_REQUEST "InvalidEncryptionAlgorithmError" "The encryption request that you specified is not valid.";
    InvalidObjectState FORBIDDEN "InvalidObjectState" "The operation is not valid for the current state of the object.";
    InvalidPart BAD_REQUEST "InvalidPart" "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber RANGE_NOT_SATISFIABLE "InvalidPartNumber" "The requested partnumber is not satisfiable";
    InvalidPartOrder BAD_REQUEST "InvalidPartOrder" "The list of parts was not in ascending order. The parts list must be specified in order by part number.";
    InvalidPolicyDocument BAD_REQUEST "InvalidPolicyDocument" "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange RANGE_NOT_SATISFIABLE "InvalidRange" "The requested range is not satisfiable";
    InvalidRequest BAD_REQUEST "InvalidRequest" "Invalid Request";
    InvalidStorageClass BAD_REQUEST "InvalidStorageClass" "The storage class you specified is not valid";
    InvalidTag BAD_REQUEST "InvalidTag" "The tag provided was not a valid tag.";
    InvalidToken BAD_REQUEST "InvalidToken" "The provided token is malformed or otherwise not valid.";
    InvalidURI BAD_REQUEST "InvalidURI" "Couldn't parse the specified URI.";
    KeyTooLongError BAD_REQUEST "KeyTooLongError" "Your key is too long";
    KmsDisabledException BAD_REQUEST "KMS.DisabledException" "The KMS key is disabled.";
    KmsInvalidStateException BAD_REQUEST "KMS.KMSInvalidStateException" "The KMS key is not in a state that allows this request.";
    KmsNotFoundException BAD_REQUEST "KMS.NotFoundException" "The KMS key does not exist.";
    MalformedPOSTRequest BAD_REQUEST "MalformedPOSTRequest" "The body of your POST request is not well-formed multipart/form-data.";
    MalformedTrailerError BAD_REQUEST "MalformedTrailerError" "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML BAD_REQUEST "MalformedXML" "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded BAD_REQUEST "MaxMessageLengthExceeded" "Your request was too large.";
    MaxPostPreDataLengthExceededError BAD_REQUEST "MaxPostPreDataLengthExceededError" "Your POST request fields preceding the upload file were too large.";
    MetadataTooLarge BAD_REQUEST "MetadataTooLarge" "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed METHOD_NOT_ALLOWED "MethodNotAllowed" "The specified method is not allowed against this resource.";
    MissingContentLength LENGTH_REQUIRED "MissingContentLength" "You must provide the Content-Length HTTP header.";
    MissingRequestBodyError BAD_REQUEST "MissingRequestBodyError" "Request Body is empty";
    MissingSecurityHeader BAD_REQUEST "MissingSecurityHeader" "Your request is missing a required header";
    NoSuchBucket NOT_FOUND "NoSuchBucket" "The specified bucket does not exist";
    NoSuchKey NOT_FOUND "NoSuchKey" "The specified key does not exist.";
    NoSuchUpload NOT_FOUND "NoSuchUpload" "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion NOT_FOUND "NoSuchVersion" "The specified version does not exist.";
    NotImplemented NOT_IMPLEMENTED "NotImplemented" "A header you provided implies functionality that is not implemented";
    OperationAborted CONFLICT "OperationAborted" "A conflicting conditional operation is currently in progress against this resource. Try again.";
    PreconditionFailed PRECONDITION_FAILED "PreconditionFailed" "At least one of the pre-conditions you specified did not hold";
    RequestHeaderSectionTooLarge BAD_REQUEST "RequestHeaderSectionTooLarge" "Your request header section exceeds the maximum allowed size.";
    RequestTimeTooSkewed FORBIDDEN "RequestTimeTooSkewed" "The difference between the request time and the current time is too large.";
    RequestTimeout BAD_REQUEST "RequestTimeout" "Your socket connection to the server was not read from or written to within the timeout period.";
    ServiceUnavailable SERVICE_UNAVAILABLE "ServiceUnavailable" "Service is unable to handle request.";
    SignatureDoesNotMatch FORBIDDEN "SignatureDoesNotMatch" "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown SERVICE_UNAVAILABLE "SlowDown" "Please reduce your request rate.";
    XAmzContentSHA256Mismatch BAD_REQUEST "XAmzContentSHA256Mismatch" "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An error as S3 tells it: a code, a sentence for people, and fields of its own such as `ArgumentName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Error {
    /// The code, which fixes the status.
    pub code: ErrorCode,
    /// What `<Message>` says; never holds a secret.
    pub message: Cow<'static, str>,
    /// More elements of the document, in order.
    pub extra: Vec<(&'static str, String)>,
}

impl S3Error {
    /// An error with a sentence of its own.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), extra: Vec::new() }
    }

    /// `InvalidArgument` about one parameter or header, with the two fields S3 gives it.
    #[must_use]
    pub fn invalid_argument(
        name: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorCode::InvalidArgument, message).with("ArgumentName", name).with("ArgumentValue", value)
    }

    /// `InvalidRequest` with a sentence.
    #[must_use]
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// `NotImplemented` (501) with a sentence that says what.
    #[must_use]
    pub fn not_implemented(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::NotImplemented, message)
    }

    /// Adds an element to the document. `field` is an XML element name.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<String>) -> Self {
        self.extra.push((field, value.into()));
        self
    }

    /// The status the answer carries.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The whole answer body. `resource` is the request's path as it came.
    #[must_use]
    pub fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> String {
        let fixed = [("Code", self.code.code()), ("Message", &self.message)];
        let extra = self.extra.iter().map(|(field, value)| (*field, value.as_str()));
        let ids = [("Resource", resource), ("RequestId", request_id), ("HostId", host_id)];
        xml::error_document(fixed.into_iter().chain(extra).chain(ids))
    }
}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

impl From<InvalidEncoding> for S3Error {
    fn from(InvalidEncoding: InvalidEncoding) -> Self {
        ErrorCode::InvalidURI.into()
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for S3Error {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_all_are_errors() {
        let codes: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code}");
            assert!(!code.message().is_empty());
        }
    }

    #[test]
    fn codes_and_statuses_are_those_of_s3() {
        for (code, name, status) in [
            (ErrorCode::InvalidURI, "InvalidURI", 400),
            (ErrorCode::KmsDisabledException, "KMS.DisabledException", 400),
            (ErrorCode::KmsInvalidStateException, "KMS.KMSInvalidStateException", 400),
            (ErrorCode::KmsNotFoundException, "KMS.NotFoundException", 400),
            (ErrorCode::SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
            (ErrorCode::RequestTimeTooSkewed, "RequestTimeTooSkewed", 403),
            (ErrorCode::NoSuchKey, "NoSuchKey", 404),
            (ErrorCode::MethodNotAllowed, "MethodNotAllowed", 405),
            (ErrorCode::MissingContentLength, "MissingContentLength", 411),
            (ErrorCode::PreconditionFailed, "PreconditionFailed", 412),
            (ErrorCode::InvalidRange, "InvalidRange", 416),
            (ErrorCode::NotImplemented, "NotImplemented", 501),
            (ErrorCode::IntegrityCheckFailed, "IntegrityCheckFailed", 502),
            (ErrorCode::SlowDown, "SlowDown", 503),
        ] {
            assert_eq!((code.code(), code.status().as_u16()), (name, status));
        }
    }

    #[test]
    fn the_document_is_well_formed_whatever_the_request_said() {
        let error = S3Error::invalid_argument("a<b>", "x\u{0}\u{1f}\u{fffe}&\r", "don't \"do\" that");
        assert_eq!(
            error.to_xml("/b/<k>", "4442587FB7D0A2F9", "h"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidArgument</Code>\
             <Message>don't \"do\" that</Message><ArgumentName>a&lt;b&gt;</ArgumentName>\
             <ArgumentValue>x\u{fffd}&#x1f;&#xfffe;&amp;&#13;</ArgumentValue><Resource>/b/&lt;k&gt;</Resource>\
             <RequestId>4442587FB7D0A2F9</RequestId><HostId>h</HostId></Error>"
        );
        assert_eq!(error.to_string(), "InvalidArgument: don't \"do\" that");
    }
}
