//! The bearer token of operators (RFC 6750).
//! It must not know which pages require it.
//! It promises a comparison whose time says nothing about the token but its length, and that no formatter
//! shows it.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A token that requests must carry.
#[derive(Clone)]
pub struct BearerToken(Zeroizing<String>);

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("BearerToken(..)")
    }
}

impl BearerToken {
    /// Minimum length in bytes: a shorter one could be guessed.
    pub const MIN_LENGTH: usize = 16;

    /// Parses a token of at least [`Self::MIN_LENGTH`] bytes of `b64token` (RFC 6750, 2.1). `None` for any
    /// other text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        (text.len() >= Self::MIN_LENGTH && text.bytes().all(is_valid))
            .then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether the one `Authorization` header is `Bearer` and this token.
    pub(super) fn authorizes(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, token)) = value.split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(token.ct_eq(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_fits_into_a_header() {
        assert!(BearerToken::parse("0123456789abcdef").is_some());
        for bad in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdeü", "0123456789\"abcdef"] {
            assert!(BearerToken::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn one_header_with_the_token_authorizes() {
        let token = BearerToken::parse("0123456789abcdef").unwrap();
        let authorizes = |values: &[&'static str]| {
            let values = values.iter().map(|&value| (AUTHORIZATION, HeaderValue::from_static(value)));
            token.authorizes(&values.collect())
        };
        assert!(authorizes(&["Bearer 0123456789abcdef"]));
        assert!(authorizes(&["bearer 0123456789abcdef"]));
        for bad in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["0123456789abcdef"],
            &["Basic 0123456789abcdef"],
            &["Bearer 0123456789abcdeg"],
            &["Bearer 0123456789abcdef0"],
            &["Bearer  0123456789abcdef"],
        ] {
            assert!(!authorizes(bad), "This is a security issue: {bad:?}.");
        }
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer wrong-0123456789"));
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer 0123456789abcdef"));
        assert!(!token.authorizes(&twice));
        assert_eq!(format!("{token:?}"), "BearerToken(..)");
    }
}
