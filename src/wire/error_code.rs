//! S3's error codes, each with its HTTP status and its standard sentence.
//!
//! It must not know why a request failed. Codes are distinct, and every code has an error's status.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use std::fmt;

use http::StatusCode;

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

            /// X
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status of a response with this code.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The standard sentence, for where nothing more precise is known.
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

impl ErrorCode {
    /// Parses the text of `<Code>`; `None` for a code that is not in [`Self::ALL`].
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.code() == code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests;
