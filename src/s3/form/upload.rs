//! The fields of a form as the headers that a PutObject would have.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Form, OF_THE_SIGNATURE, is_ignored};
use crate::s3::error::S3Error;
use crate::s3::headers::{CANNED_ACL, CHECKSUM_MODE, TRAILER_NAMES, is_of_customer_key};
use crate::s3::xml;

/// Headers of an upload that are fields of a form under their own names.
const HEADERS: [&str; 9] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
    "if-match",
    "if-none-match",
];

/// `x-amz-*` headers about how a request is sent. In a form they would be stated and mean
/// nothing.
const OF_A_REQUEST: [&str; 6] = [
    CHECKSUM_MODE,
    TRAILER_NAMES,
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-user-agent",
];

impl Form {
    /// The form's settings for its object, as headers of a PutObject. `acl` and `tagging` (an XML document)
    /// have another spelling there; fields that S3 gives no meaning are left out.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that can be no header and for two fields of one meaning; `MalformedXML`
    /// for tags; `NotImplemented` for a field that would be a request's header.
    pub fn upload_headers(&self) -> Result<HeaderMap, S3Error> {
        let mut headers = HeaderMap::new();
        for (field, value) in self.iter().filter(|(field, _)| !is_ignored(field)) {
            let (name, value) = match field {
                "acl" => (CANNED_ACL, value.to_owned()),
                "tagging" => ("x-amz-tagging", xml::tagging_to_query(value.as_bytes())?),
                name if OF_THE_SIGNATURE.contains(&name) => continue,
                name if OF_A_REQUEST.contains(&name) => {
                    let message = format!("The form field {name} is not implemented");
                    return Err(S3Error::not_implemented(message).with("Field", name));
                }
                name if HEADERS.contains(&name) || name.starts_with("x-amz-") => (name, value.to_owned()),
                _ => continue,
            };
            let shown = if is_of_customer_key(name) { String::new() } else { value.clone() };
            let (Ok(header), Ok(line)) =
                (HeaderName::try_from(name), HeaderValue::from_bytes(value.trim().as_bytes()))
            else {
                return Err(S3Error::invalid_argument(field, shown, "This form field can be no header"));
            };
            if headers.insert(header, line).is_some() {
                return Err(S3Error::invalid_argument(field, shown, "Two form fields mean the same header"));
            }
        }
        Ok(headers)
    }
}
