//! The headers that a signature needs, and those that a signed request may have only once.

use http::{HeaderMap, HeaderName, header};

use super::error::AuthError;
use crate::wire::header::{self as wire, text};

pub(in crate::sigv4) static AMZ_DATE: HeaderName = HeaderName::from_static(wire::DATE);
pub(in crate::sigv4) static AUTHORIZATION: HeaderName = header::AUTHORIZATION;
pub(in crate::sigv4) static CONTENT_MD5: HeaderName = HeaderName::from_static(wire::CONTENT_MD5);
pub(in crate::sigv4) static CONTENT_TYPE: HeaderName = header::CONTENT_TYPE;
pub(in crate::sigv4) static DATE: HeaderName = header::DATE;

/// The value of a header that may occur once at most and must be ASCII text.
pub(in crate::sigv4) fn single_header<'a>(
    headers: &'a HeaderMap,
    name: &'static HeaderName,
) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    let ambiguous = || AuthError::AmbiguousHeader(name.as_str());
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => text(value).map(Some).ok_or_else(ambiguous),
        (Some(_), Some(_)) => Err(ambiguous()),
    }
}
