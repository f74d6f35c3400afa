//! The query of a request, decoded once.

use std::fmt::Write as _;

use super::error::{ErrorCode, S3Error};
use crate::wire::percent;
use crate::wire::query::{InvalidQuery, parse_strict};

/// Decoded name and value pairs, in the order of the request. A name without `=` has the empty value, as in
/// SigV4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses what follows the `?`; `+` is a space, empty pieces (`&&`) are skipped.
    ///
    /// # Errors
    /// `InvalidURI` for a malformed escape, bytes that are not UTF-8, or more than
    /// `MAX_PARAMETERS`(crate::wire::query::MAX_PARAMETERS).
    pub fn parse(raw: &str) -> Result<Self, S3Error> {
        let parameters = parse_strict(raw).map_err(|error| match error {
            InvalidQuery::TooManyParameters => {
                S3Error::new(ErrorCode::InvalidURI, "The query has too many parameters")
            }
            InvalidQuery::Encoding(error) => error.into(),
        })?;
        Ok(Self(parameters.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect()))
    }

    /// The first value of `name`; parameter names know upper from lower case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// Whether `name` occurs, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds a pair at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// Keeps the pairs for which `keep(name, value)` holds.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// Whether the query has no parameter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The query without the parameters that are no operation's.
    ///
    /// Those of a presigned URL are only for the server that it was signed for: SigV4's (`X-Amz-*`, any case,
    /// which takes headers hoisted into the URL along, see [`super::headers::unhoist`]) and SigV2's. Other
    /// parameters whose names begin with `x-`, except the SDKs' `x-id`, S3 ignores: they are only for the
    /// access log.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html> (custom access log
    /// information)
    #[must_use]
    pub fn for_operation(mut self) -> Self {
        let is_presigned_v2 = self.has("AWSAccessKeyId");
        self.0.retain(|(name, _)| {
            let is_for_the_log = name.starts_with("x-") && name != "x-id";
            let is_signature = is_hoisted(name) || is_presigned_v2 && is_sigv2(name);
            !(is_for_the_log || is_signature)
        });
        self
    }

    /// Whether `name` belongs to a presigned SigV2 URL; `Expires` and `Signature` do so only beside
    /// `AWSAccessKeyId`.
    pub(super) fn is_sigv2(&self, name: &str) -> bool {
        is_sigv2(name) && self.has("AWSAccessKeyId")
    }

    /// The wire form, every pair as `name=value` in S3's canonical encoding, in order (signing sorts them
    /// itself).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut raw = String::new();
        for (name, value) in self.iter() {
            let separator = if raw.is_empty() { "" } else { "&" };
            write!(raw, "{separator}{}={}", percent::encode_query(name), percent::encode_query(value))
                .expect("a String takes every write");
        }
        raw
    }
}

/// Whether a parameter has a name of a presigned SigV2 URL's.
fn is_sigv2(name: &str) -> bool {
    matches!(name, "AWSAccessKeyId" | "Signature" | "Expires")
}

/// Whether a parameter is of the `X-Amz-` family: SigV4's own, or a request header hoisted into a presigned
/// URL.
pub(super) fn is_hoisted(name: &str) -> bool {
    name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-amz-"))
}

impl FromIterator<(String, String)> for Query {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::query::MAX_PARAMETERS;

    #[test]
    fn reads_pairs_in_order() {
        let query = Query::parse("acl&prefix=a+b%2Bc&&x=1&x=2&empty=&=v&a=b=c").unwrap();
        let pairs: Vec<_> = query.iter().collect();
        let expected = [
            ("acl", ""),
            ("prefix", "a b+c"),
            ("x", "1"),
            ("x", "2"),
            ("empty", ""),
            ("", "v"),
            ("a", "b=c"),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(query.first("x"), Some("1"));
        assert_eq!(query.first("X"), None);
        assert!(query.has("acl") && query.has("empty") && !query.has("nope"));
        assert!(Query::parse("").unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_no_query() {
        for bad in ["a=%", "%zz=1", "a=%ff", "a=%E2%82"] {
            assert_eq!(Query::parse(bad).unwrap_err().code, ErrorCode::InvalidURI, "{bad}");
        }
        assert!(Query::parse(&"a&".repeat(MAX_PARAMETERS)).is_ok());
        assert_eq!(Query::parse(&"a&".repeat(MAX_PARAMETERS + 1)).unwrap_err().code, ErrorCode::InvalidURI);
    }

    #[test]
    fn leaves_signatures_behind() {
        let v4 =
            Query::parse("tagging&X-Amz-Signature=00&x-amz-acl=private&versionId=3&X-Amz-Date=x").unwrap();
        assert_eq!(v4.for_operation().encode(), "tagging=&versionId=3");
        let v2 = Query::parse("AWSAccessKeyId=a&Signature=b&Expires=1&versionId=3").unwrap();
        assert_eq!(v2.for_operation().encode(), "versionId=3");
        let neither = Query::parse("Expires=1&x-id=GetObject").unwrap();
        assert_eq!(neither.clone().for_operation(), neither);
        assert!(!is_hoisted("x-amz") && !is_hoisted("x-ämz-") && is_hoisted("X-AMZ-a"));
    }

    #[test]
    fn leaves_what_is_for_the_log_behind() {
        let query =
            Query::parse("x-user=johndoe&acl&x-debug&x-user=b&x-=&x-id=GetObject&x-amz-acl=a&X-Up=1&ax-b")
                .unwrap();
        assert_eq!(query.for_operation().encode(), "acl=&x-id=GetObject&X-Up=1&ax-b=");
    }

    #[test]
    fn writes_the_canonical_encoding() {
        let query: Query = [("prefix".to_owned(), "a b/ü+".to_owned()), ("acl".to_owned(), String::new())]
            .into_iter()
            .collect();
        assert_eq!(query.encode(), "prefix=a%20b%2F%C3%BC%2B&acl=");
    }

    proptest! {
        #[test]
        fn any_pairs_survive_the_wire(pairs in prop::collection::vec(("\\PC{0,20}", "[\\x00-\\x7f]{0,40}"), 0..20)) {
            let query: Query = pairs.into_iter().collect();
            prop_assert_eq!(Query::parse(&query.encode()).unwrap(), query);
        }
    }
}
