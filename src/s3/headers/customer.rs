//! The customer keys of a request (SSE-C): its own object's, and that of a copy's source.
//!
//! It must not know which objects have customer keys, nor the rules of buckets. It promises that the headers
//! leave the request, whatever becomes of it, so that no later code can send them to the storage or log them;
//! and that no error repeats a key.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-s3-c-encryption.html>, and the
//! codes and sentences of <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use http::header::{HeaderMap, HeaderName, HeaderValue};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{SSE, SSE_CUSTOMER_PREFIX};
use crate::s3::error::{ErrorCode, S3Error};
use crate::s3::operation::Operation;
use crate::wire::base64;
use crate::wire::customer_key::CustomerKey;

/// The only algorithm that S3 has for customer keys.
const ALGORITHM: HeaderValue = HeaderValue::from_static("AES256");
/// What an error names as the argument, as at S3.
const ARGUMENT: &str = SSE;

/// The prefix of the names of a copy source's customer key.
const SOURCE_PREFIX: &str = "x-amz-copy-source-server-side-encryption-customer-";

/// Names of the three headers of one key.
struct Names {
    algorithm: HeaderName,
    key: HeaderName,
    md5: HeaderName,
}

static OBJECT: Names = Names {
    algorithm: HeaderName::from_static("x-amz-server-side-encryption-customer-algorithm"),
    key: HeaderName::from_static("x-amz-server-side-encryption-customer-key"),
    md5: HeaderName::from_static("x-amz-server-side-encryption-customer-key-md5"),
};
static SOURCE: Names = Names {
    algorithm: HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-algorithm"),
    key: HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-key"),
    md5: HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-key-md5"),
};

/// Whether a header or query parameter, in lower case, is one of the six that can hold a customer key.
#[must_use]
pub fn is_of_customer_key(name: &str) -> bool {
    name.starts_with(SSE_CUSTOMER_PREFIX) || name.starts_with(SOURCE_PREFIX)
}

/// The customer keys of one request.
#[derive(Debug, Clone, Default)]
pub struct CustomerKeys {
    /// The key of the object that the request reads or stores.
    pub object: Option<CustomerKey>,
    /// The key of the source of a copy.
    pub source: Option<CustomerKey>,
}

impl CustomerKeys {
    /// Takes the six headers out of the request, and reads those that the operation takes. Other operations
    /// ignore them, as S3 does.
    ///
    /// # Errors
    /// As S3: `InvalidArgument` for a part of the three headers that is missing, a key that does not have 32
    /// bytes, an MD5 that is not the key's, a repeated header, and another encryption beside a customer key;
    /// `InvalidEncryptionAlgorithmError` for another algorithm than `AES256`.
    pub fn take(operation: Operation, headers: &mut HeaderMap) -> Result<Self, S3Error> {
        let mut keys = Self::default();
        // One look at the few names of a request costs less than a lookup of each of the six.
        let has = |prefix| headers.keys().any(|name| name.as_str().starts_with(prefix));
        let (has_object, has_source) = (has(SSE_CUSTOMER_PREFIX), has(SOURCE_PREFIX));
        let object = has_object.then(|| Sent::take(&OBJECT, headers)).flatten();
        let source = has_source.then(|| Sent::take(&SOURCE, headers)).flatten();
        if operation.takes_customer_key() {
            if let Some(object) = object {
                if let Some(other) = headers.get(SSE) {
                    let message = "Server Side Encryption with Customer provided key is incompatible with the \
                                   encryption method specified";
                    let other = other.to_str().unwrap_or_default();
                    return Err(S3Error::invalid_argument(ARGUMENT, other, message));
                }
                keys.object = Some(object.parse()?);
            }
            if operation.is_copy()
                && let Some(source) = source
            {
                keys.source = Some(source.parse()?);
            }
        }
        Ok(keys)
    }

    /// Whether the request has a customer key.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.object.is_some() || self.source.is_some()
    }

    /// The headers by which the response to this operation repeats the object's key: its algorithm and its
    /// MD5. Empty without such a key.
    #[must_use]
    pub fn echo(&self, operation: Operation) -> Vec<(HeaderName, HeaderValue)> {
        let is_echoed = !matches!(operation, Operation::GetObjectAttributes | Operation::ListParts);
        let Some(key) = self.object.as_ref().filter(|_| is_echoed) else { return Vec::new() };
        let md5 = HeaderValue::try_from(base64::encode(key.md5())).expect("base64 is a header value");
        vec![(OBJECT.algorithm.clone(), ALGORITHM), (OBJECT.md5.clone(), md5)]
    }
}

/// The three headers of one key, as far as they were sent.
struct Sent {
    algorithm: Option<HeaderValue>,
    key: Option<HeaderValue>,
    md5: Option<HeaderValue>,
    is_repeated: bool,
}

impl Sent {
    /// Takes them out of the headers; `None` if there are none.
    fn take(names: &Names, headers: &mut HeaderMap) -> Option<Self> {
        let mut is_repeated = false;
        let mut take = |name: &HeaderName| {
            is_repeated |= headers.get_all(name).iter().nth(1).is_some();
            headers.remove(name)
        };
        let (algorithm, key, md5) = (take(&names.algorithm), take(&names.key), take(&names.md5));
        let is_sent = algorithm.is_some() || key.is_some() || md5.is_some();
        is_sent.then_some(Self { algorithm, key, md5, is_repeated })
    }

    /// S3 looks at the algorithm, then at the key, then at the MD5, and last at the key's length.
    fn parse(self) -> Result<CustomerKey, S3Error> {
        let invalid = |message| S3Error::invalid_argument(ARGUMENT, "null", message);
        if self.is_repeated {
            return Err(invalid("A header of the customer key is repeated."));
        }
        let algorithm = self.algorithm.ok_or_else(|| {
            invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must provide a valid \
                 encryption algorithm.",
            )
        })?;
        if algorithm != ALGORITHM {
            let message = "The Encryption request you specified is not valid. Supported value: AES256.";
            return Err(S3Error::new(ErrorCode::InvalidEncryptionAlgorithmError, message)
                .with("ArgumentName", ARGUMENT));
        }
        let key = self.key.filter(|key| !key.is_empty()).ok_or_else(|| {
            invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must provide an \
                 appropriate secret key.",
            )
        })?;
        let md5 = self.md5.ok_or_else(|| {
            invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must provide the client \
                 calculated MD5 of the secret key.",
            )
        })?;
        let too_short = || invalid("The secret key was invalid for the specified algorithm.");
        let key = Zeroizing::new(base64::decode(key.as_bytes()).ok_or_else(too_short)?);
        let md5 = base64::decode(md5.as_bytes()).ok_or_else(|| {
            invalid(
                "The MD5 hash of the secret key was improperly encoded. The MD5 hash must be Base64 encoded.",
            )
        })?;
        let customer_key = CustomerKey::from_slice(&key);
        // Of a key of another length the MD5 is computed here alone.
        let is_of_key = match &customer_key {
            Some(customer_key) => customer_key.has_md5(&md5),
            None => Md5::digest(&key)[..] == md5[..],
        };
        if !is_of_key {
            return Err(invalid(
                "The calculated MD5 hash of the key did not match the hash that was provided.",
            ));
        }
        customer_key.ok_or_else(too_short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=";
    const MD5: &str = "DWygnHRtgiJ77HCm+1rvHw==";

    fn request(names: &Names, lines: [Option<&str>; 3]) -> HeaderMap {
        let all = [&names.algorithm, &names.key, &names.md5];
        let lines = all.into_iter().zip(lines);
        lines
            .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_str(value?).unwrap())))
            .collect()
    }

    #[test]
    fn a_whole_key_is_read_and_leaves_the_request() {
        let mut headers = request(&OBJECT, [Some("AES256"), Some(KEY), Some(MD5)]);
        headers.extend(request(&SOURCE, [Some("AES256"), Some(KEY), Some(MD5)]));
        headers.insert("x-amz-acl", HeaderValue::from_static("private"));
        let keys = CustomerKeys::take(Operation::CopyObject, &mut headers).unwrap();
        assert_eq!(headers.len(), 1, "This is a security issue: {headers:?} go on.");
        assert!(keys.is_used() && keys.source.is_some());
        let echo: HeaderMap = keys.echo(Operation::CopyObject).into_iter().collect();
        assert_eq!(
            (&echo[&OBJECT.algorithm], &echo[&OBJECT.md5]),
            (&ALGORITHM, &HeaderValue::from_static(MD5))
        );
        assert_eq!(echo.len(), 2);
        assert!(!format!("{keys:?}").contains("164"), "the key is not printed");
    }

    #[test]
    fn operations_without_customer_keys_ignore_them_and_pass_none_on() {
        for operation in Operation::ALL {
            let mut headers = request(&OBJECT, [Some("AES256"), Some(KEY), Some(MD5)]);
            headers.extend(request(&SOURCE, [Some("AES256"), Some(KEY), Some(MD5)]));
            let keys = CustomerKeys::take(*operation, &mut headers).unwrap();
            assert!(headers.is_empty(), "This is a security issue: {operation}");
            assert_eq!(keys.object.is_some(), operation.takes_customer_key(), "{operation}");
            assert_eq!(keys.source.is_some(), operation.is_copy(), "{operation}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_has_the_error_of_s3() {
        let short = "MTIzNDU2Nzg5MDEyMzQ1Ng==";
        let md5_of_short = base64::encode(&Md5::digest(b"1234567890123456"));
        let invalid = ErrorCode::InvalidArgument;
        for (lines, code, sentence) in [
            ([Some("AES256"), None, None], invalid, "appropriate secret key"),
            ([Some("AES256"), None, Some(MD5)], invalid, "appropriate secret key"),
            ([Some("AES256"), Some(""), Some(MD5)], invalid, "appropriate secret key"),
            ([Some("AES256"), Some(KEY), None], invalid, "client calculated MD5"),
            ([None, Some(KEY), Some(MD5)], invalid, "valid encryption algorithm"),
            ([None, None, Some(MD5)], invalid, "valid encryption algorithm"),
            ([Some("AES256"), Some(KEY), Some("AAAAAAAAAAAAAAAAAAAAAA==")], invalid, "did not match"),
            ([Some("AES256"), Some(KEY), Some("not base64")], invalid, "improperly encoded"),
            ([Some("AES256"), Some("not base64"), Some(MD5)], invalid, "invalid for the specified"),
            ([Some("AES256"), Some(short), Some(&md5_of_short)], invalid, "invalid for the specified"),
            (
                [Some("aes256"), Some(KEY), Some(MD5)],
                ErrorCode::InvalidEncryptionAlgorithmError,
                "Supported value: AES256",
            ),
        ] {
            for (names, operation) in [(&OBJECT, Operation::GetObject), (&SOURCE, Operation::CopyObject)] {
                let mut headers = request(names, lines);
                let error = CustomerKeys::take(operation, &mut headers).unwrap_err();
                assert_eq!(error.code, code, "{lines:?}");
                assert!(error.message.contains(sentence), "{lines:?}: {}", error.message);
                let document = format!("{error:?}");
                assert!(!document.contains("pO3up") && !document.contains("MTIz"), "it repeats the key");
                assert!(headers.is_empty());
            }
        }
    }

    #[test]
    fn a_key_stands_alone() {
        for other in ["AES256", "aws:kms"] {
            let mut headers = request(&OBJECT, [Some("AES256"), Some(KEY), Some(MD5)]);
            headers.insert(SSE, HeaderValue::from_static(other));
            let error = CustomerKeys::take(Operation::PutObject, &mut headers).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
            assert_eq!(error.field("ArgumentValue"), Some(other));
        }
        let mut headers = request(&OBJECT, [Some("AES256"), Some(KEY), Some(MD5)]);
        headers.append(&OBJECT.key, HeaderValue::from_static("eA=="));
        let error = CustomerKeys::take(Operation::PutObject, &mut headers).unwrap_err();
        assert_eq!((error.code, headers.is_empty()), (ErrorCode::InvalidArgument, true));
    }

    #[test]
    fn names_of_customer_keys() {
        for names in [&OBJECT, &SOURCE] {
            for name in [&names.algorithm, &names.key, &names.md5] {
                assert!(is_of_customer_key(name.as_str()), "{name}");
            }
        }
        assert!(!is_of_customer_key("x-amz-server-side-encryption"));
    }
}
