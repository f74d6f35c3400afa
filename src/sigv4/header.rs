//! Headers that a signed request may have only once.

use http::HeaderMap;

use super::error::AuthError;

/// The value of a header that may occur once at most and must be ASCII text.
pub(in crate::sigv4) fn single_header<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| AuthError::AmbiguousHeader(name)),
        (Some(_), Some(_)) => Err(AuthError::AmbiguousHeader(name)),
    }
}
