//! The query string as the signature sees it: split, decoded, nothing interpreted.

use super::error::AuthError;
use crate::wire::query::{MAX_PARAMETERS, parse_lenient};

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

/// The parameters in the order of the request.
pub(in crate::sigv4) struct Query {
    parameters: Vec<Parameter>,
}

impl Query {
    /// Splits and decodes `raw`, the part of the request target after `?`.
    ///
    /// `+` is a space (as HTML forms and every S3 implementation read it), so `%2B` is the only plus; a
    /// malformed escape (`%zz`) stands for itself.
    pub(in crate::sigv4) fn parse(raw: &str) -> Result<Self, AuthError> {
        let parameters = parse_lenient(raw)
            .map_err(|_too_many| AuthError::TooManyQueryParameters { limit: MAX_PARAMETERS })?;
        let parameter = |(name, value)| Parameter { name, value };
        Ok(Self { parameters: parameters.into_iter().map(parameter).collect() })
    }

    pub(in crate::sigv4) fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter()
    }

    pub(in crate::sigv4) fn contains(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.name == name.as_bytes())
    }

    /// Whether the query has a parameter of this name in any letter case.
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
