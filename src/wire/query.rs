//! The query of a request target, split and decoded by one parser in two strictnesses.
//!
//! It must not know any parameter. Both strictnesses split alike, so what is verified is what is executed.

use thiserror::Error;

use super::percent::{InvalidEncoding, Plus, decode_lenient, decode_strict};

/// The maximum number of parameters of a query: not fewer than a request may have header fields, since
/// presigners put metadata there.
pub const MAX_PARAMETERS: usize = 1_280;

/// Why a query was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidQuery {
    /// More than [`MAX_PARAMETERS`].
    #[error("the query has more than {MAX_PARAMETERS} parameters")]
    TooManyParameters,
    /// A malformed escape, or bytes that are not UTF-8.
    #[error(transparent)]
    Encoding(#[from] InvalidEncoding),
}

/// A decoded name, with the decoded value if there was a `=`.
pub type Parameter<T> = (T, Option<T>);

/// Parses what follows the `?`, for executing a request: UTF-8 with well-formed escapes only. `+` is a space,
/// as in HTML forms, and empty pieces (`&&`) are skipped.
///
/// # Errors
/// [`InvalidQuery`] for a malformed escape, bytes that are not UTF-8, or too many parameters.
pub fn parse_strict(raw: &str) -> Result<Vec<Parameter<String>>, InvalidQuery> {
    parse(raw, |text| decode_strict(text, Plus::Space))
}

/// Parses what follows the `?`, for verifying a signature: any bytes, and a malformed escape stands for
/// itself. `+` is a space, as in HTML forms, and empty pieces (`&&`) are skipped.
///
/// # Errors
/// [`InvalidQuery::TooManyParameters`].
pub fn parse_lenient(raw: &str) -> Result<Vec<Parameter<Vec<u8>>>, InvalidQuery> {
    parse(raw, |text| Ok(decode_lenient(text, Plus::Space)))
}

fn parse<T>(
    raw: &str,
    decode: impl Fn(&str) -> Result<T, InvalidEncoding>,
) -> Result<Vec<Parameter<T>>, InvalidQuery> {
    let mut parameters = Vec::new();
    for piece in raw.split('&').filter(|piece| !piece.is_empty()) {
        if parameters.len() == MAX_PARAMETERS {
            return Err(InvalidQuery::TooManyParameters);
        }
        let valued = piece.split_once('=');
        let (name, value) = valued.map_or((piece, None), |(name, value)| (name, Some(value)));
        parameters.push((decode(name)?, value.map(&decode).transpose()?));
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_strictnesses_split_alike() {
        let raw = "acl&prefix=a+b%2Bc&&x=1&x=&=v&a=b=c";
        let strict = parse_strict(raw).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let lenient = parse_lenient(raw).unwrap().into_iter();
        let lenient: Vec<_> = lenient.map(|(name, value)| (text(name), value.map(text))).collect();
        assert_eq!(strict, lenient);
        let expected = [
            ("acl", None),
            ("prefix", Some("a b+c")),
            ("x", Some("1")),
            ("x", Some("")),
            ("", Some("v")),
            ("a", Some("b=c")),
        ];
        assert_eq!(strict, expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))));
    }

    #[test]
    fn malformed_escapes_are_refused_or_kept() {
        for raw in ["a=%", "%zz=1", "a=%ff", "a=%E2%82"] {
            assert_eq!(parse_strict(raw), Err(InvalidQuery::Encoding(InvalidEncoding)), "{raw}");
        }
        assert_eq!(parse_lenient("%zz=%"), Ok(vec![(b"%zz".to_vec(), Some(b"%".to_vec()))]));
    }

    #[test]
    fn the_number_of_parameters_is_bounded() {
        let too_many = "a&".repeat(MAX_PARAMETERS + 1);
        assert!(parse_strict(&"a&".repeat(MAX_PARAMETERS)).is_ok());
        assert_eq!(parse_strict(&too_many), Err(InvalidQuery::TooManyParameters));
        assert_eq!(parse_lenient(&too_many), Err(InvalidQuery::TooManyParameters));
    }
}
