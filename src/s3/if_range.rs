//! If-Range: the condition on which a range is returned, and not the whole object (RFC 9110, 13.1.5).

use std::time::SystemTime;

use http::header::{ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};

use super::etag::bare;

/// The validator in an If-Range header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfRange {
    /// A strong ETag, without quotes.
    Etag(String),
    /// The time of the object's last change.
    Date(SystemTime),
    /// A weak ETag, or text that is not a validator: the condition never holds.
    Never,
}

impl IfRange {
    /// Reads the header's value. An ETag without quotes, as some SDKs write conditions, is read as one.
    pub fn parse(value: &HeaderValue) -> Self {
        let Ok(text) = value.to_str().map(str::trim_ascii) else { return Self::Never };
        if text.is_empty() || text.starts_with("W/") {
            return Self::Never;
        }
        match httpdate::parse_http_date(text) {
            Ok(time) => Self::Date(time),
            Err(_) => Self::Etag(bare(text).to_owned()),
        }
    }

    /// Whether the condition holds for an object with these headers: strong comparison of ETags, equality of
    /// dates.
    pub fn holds(&self, object: &HeaderMap) -> bool {
        let text = |name| object.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        match self {
            Self::Never => false,
            Self::Etag(wanted) => {
                text(ETAG).is_some_and(|etag| !etag.trim_ascii().starts_with("W/") && bare(etag) == wanted)
            }
            Self::Date(wanted) => {
                let modified = text(LAST_MODIFIED).and_then(|date| httpdate::parse_http_date(date).ok());
                modified == Some(*wanted)
            }
        }
    }

    /// The header for the storage; `None` where the condition never holds.
    pub fn to_header(&self) -> Option<HeaderValue> {
        match self {
            Self::Never => None,
            Self::Etag(etag) => HeaderValue::try_from(format!("\"{etag}\"")).ok(),
            Self::Date(time) => HeaderValue::try_from(httpdate::fmt_http_date(*time)).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(if_range: &str, etag: &str, modified: &str) -> bool {
        let mut object = HeaderMap::new();
        object.insert(ETAG, HeaderValue::from_str(etag).unwrap());
        object.insert(LAST_MODIFIED, HeaderValue::from_str(modified).unwrap());
        IfRange::parse(&HeaderValue::from_str(if_range).unwrap()).holds(&object)
    }

    #[test]
    fn etags_are_compared_strongly_and_dates_exactly() {
        let date = "Sat, 28 Nov 2026 16:09:27 GMT";
        for (if_range, etag, expected) in [
            ("\"a\"", "\"a\"", true),
            ("\"a\"", "a", true),
            ("a", "\"a\"", true),
            ("\"a\"", "\"b\"", false),
            ("W/\"a\"", "\"a\"", false),
            ("W/\"a\"", "W/\"a\"", false),
            ("\"a\"", "W/\"a\"", false),
            ("", "\"\"", false),
            ("*", "\"a\"", false),
            ("\"a\", \"b\"", "\"a\"", false),
            (date, "\"a\"", true),
            ("Saturday, 28-Nov-26 16:09:27 GMT", "\"a\"", true),
            ("Sat, 28 Nov 2026 16:09:26 GMT", "\"a\"", false),
            ("Sat, 28 Nov 2026 16:09:28 GMT", "\"a\"", false),
        ] {
            assert_eq!(holds(if_range, etag, date), expected, "{if_range} and {etag}");
        }
        let date = IfRange::parse(&HeaderValue::from_static("Sat, 28 Nov 2026 16:09:27 GMT"));
        assert!(!date.holds(&HeaderMap::new()));
    }

    #[test]
    fn the_storage_gets_one_spelling() {
        let header = |value| IfRange::parse(&HeaderValue::from_static(value)).to_header();
        assert_eq!(header("a"), Some(HeaderValue::from_static("\"a\"")));
        assert_eq!(header("\"a\""), Some(HeaderValue::from_static("\"a\"")));
        assert_eq!(
            header("Saturday, 28-Nov-26 16:09:27 GMT"),
            Some(HeaderValue::from_static("Sat, 28 Nov 2026 16:09:27 GMT"))
        );
        assert_eq!(header("W/\"a\""), None);
    }
}
