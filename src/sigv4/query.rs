//! The query string as the signature sees it: split, decoded, nothing interpreted.

use percent_encoding::percent_decode;

use super::error::AuthError;

/// Query parameters in one request: not fewer than its header fields, since presigners put metadata there.
const MAX_PARAMETERS: usize = 1_280;

/// One `name` or `name=value`, percent-decoded, with `+` read as a space.
pub(in crate::sigv4) struct Parameter {
    pub(in crate::sigv4) name: Vec<u8>,
    /// `None` where there was no `=`.
    pub(in crate::sigv4) value: Option<Vec<u8>>,
}

impl Parameter {
    pub(in crate::sigv4) fn value(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }
}

/// The parameters in the order they came.
pub(in crate::sigv4) struct Query {
    parameters: Vec<Parameter>,
}

impl Query {
    /// Splits and decodes `raw`, the part of the request target after `?`.
    ///
    /// `+` is a space (as HTML forms and every S3 implementation read it), so `%2B` is the only plus; an escape
    /// that is none (`%zz`) stands for itself.
    pub(in crate::sigv4) fn parse(raw: &str) -> Result<Self, AuthError> {
        let mut parameters = Vec::new();
        for piece in raw.split('&').filter(|piece| !piece.is_empty()) {
            if parameters.len() == MAX_PARAMETERS {
                return Err(AuthError::TooManyQueryParameters { limit: MAX_PARAMETERS });
            }
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (piece, None),
            };
            parameters.push(Parameter { name: decode(name), value: value.map(decode) });
        }
        Ok(Self { parameters })
    }

    pub(in crate::sigv4) fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter()
    }

    pub(in crate::sigv4) fn contains(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.name == name.as_bytes())
    }

    /// Whether a parameter of this name is there in any letter case.
    pub(in crate::sigv4) fn contains_ignoring_case(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The values of the parameters of this name in any letter case.
    pub(in crate::sigv4) fn values_ignoring_case<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'a [u8]> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(Parameter::value)
    }

    /// The values of the parameters of exactly this name.
    pub(in crate::sigv4) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter.name == name.as_bytes())
            .map(Parameter::value)
    }
}

fn decode(raw: &str) -> Vec<u8> {
    let spaced: Vec<u8> = raw.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(raw: &str) -> Vec<(String, Option<String>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let query = Query::parse(raw).unwrap();
        query.iter().map(|p| (text(&p.name), p.value.as_deref().map(text))).collect()
    }

    #[test]
    fn names_and_values_are_decoded_and_a_plus_is_a_space() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            pairs("acl&&prefix=a+b%2Bc%zz&x=&%61=1=2"),
            [
                ("acl".to_owned(), None),
                ("prefix".to_owned(), some("a b+c%zz")),
                ("x".to_owned(), some("")),
                ("a".to_owned(), some("1=2")),
            ]
        );
    }

    #[test]
    fn a_query_may_not_be_endless() {
        assert!(Query::parse(&"a&".repeat(MAX_PARAMETERS)).is_ok());
        assert_eq!(
            Query::parse(&"a&".repeat(MAX_PARAMETERS + 1)).err(),
            Some(AuthError::TooManyQueryParameters { limit: MAX_PARAMETERS })
        );
    }
}
