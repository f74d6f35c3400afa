//! The KMS encryption context of an object.
//!
//! It must not know the object's other entries. It promises that a context is parsed from its JSON, never
//! compared as text, and refused if it says what its wrapping must not say.

use std::collections::BTreeMap;

use super::S3ecError;
use super::entries::Pairs;

/// The name under which the context says which algorithm the data key is for.
pub(super) const ALGORITHM: &str = "aws:x-amz-cek-alg";
/// The name under which the legacy wrapping stores the id of its key.
pub(super) const LEGACY_KEY_ID: &str = "kms_cmk_id";
/// Prefix of the names in the native format's context.
const NATIVE_PREFIX: &str = "s3veil:";

pub(super) type Context = BTreeMap<String, String>;

/// Parses one JSON object of strings, without a repeated name.
pub(super) fn parse(text: &str) -> Result<Context, S3ecError> {
    let pairs: Pairs = serde_json::from_str(text).map_err(|_| S3ecError::Context)?;
    let mut context = Context::new();
    for (name, value) in pairs.0 {
        let serde_json::Value::String(value) = value else { return Err(S3ecError::Context) };
        if context.insert(name, value).is_some() {
            return Err(S3ecError::Context);
        }
    }
    Ok(context)
}

/// Checks that a data key wrapped as `kms+context` was made for `algorithm`.
pub(super) fn check_bound(context: &Context, algorithm: &str) -> Result<(), S3ecError> {
    refuse_native(context)?;
    match context.get(ALGORITHM) {
        Some(bound) if bound == algorithm => Ok(()),
        Some(_) | None => Err(S3ecError::ContextAlgorithm),
    }
}

/// Checks that a context is one of the legacy wrapping, and not another format's data key presented as one:
/// an empty context is that of `cbc`, one that names an algorithm belongs to `kms+context`.
pub(super) fn check_legacy(context: &Context) -> Result<(), S3ecError> {
    refuse_native(context)?;
    if context.contains_key(ALGORITHM) {
        return Err(S3ecError::ContextAlgorithm);
    }
    if context.contains_key(LEGACY_KEY_ID) { Ok(()) } else { Err(S3ecError::Context) }
}

fn refuse_native(context: &Context) -> Result<(), S3ecError> {
    if context.keys().any(|name| name.starts_with(NATIVE_PREFIX)) { Err(S3ecError::Context) } else { Ok(()) }
}

/// The context as it is stored.
pub(super) fn write(context: &Context) -> String {
    let text = serde_json::to_string(context).expect("strings are JSON");
    // Header values are ASCII; other characters are escaped as JSON allows.
    let mut ascii = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') => ascii.push(char::from(byte)),
            Ok(_) | Err(_) => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> Context {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn order_and_spelling_do_not_matter() {
        let parsed = context(&[("a", "b&c"), ("d", "")]);
        for text in [r#"{"a":"b&c","d":""}"#, r#"{ "d": "", "a" : "b\u0026c" }"#] {
            assert_eq!(parse(text).unwrap(), parsed);
        }
    }

    #[test]
    fn what_is_no_object_of_strings_is_refused() {
        for text in ["", "[]", "{\"a\":1}", "{\"a\":null}", "{\"a\":\"b\"} x", "{\"a\":\"b\",\"a\":\"c\"}"] {
            assert_eq!(parse(text), Err(S3ecError::Context), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_ascii_and_reads_back() {
        let one = context(&[("blå", "\u{1f511}\"\\\u{7f}\n"), ("a", "b")]);
        let text = write(&one);
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(parse(&text).unwrap(), one);
    }

    #[test]
    fn a_bound_context_names_its_algorithm() {
        let gcm = "AES/GCM/NoPadding";
        assert_eq!(check_bound(&context(&[(ALGORITHM, gcm), ("a", "b")]), gcm), Ok(()));
        assert_eq!(check_bound(&context(&[(ALGORITHM, "115")]), gcm), Err(S3ecError::ContextAlgorithm));
        assert_eq!(check_bound(&context(&[]), gcm), Err(S3ecError::ContextAlgorithm));
    }

    #[test]
    fn no_other_formats_data_key_passes_for_a_legacy_one() {
        assert_eq!(check_legacy(&context(&[(LEGACY_KEY_ID, "k")])), Ok(()));
        for (foreign, error) in [
            (context(&[]), S3ecError::Context),
            (context(&[("s3veil:version", "1"), ("s3veil:realm", "b")]), S3ecError::Context),
            (context(&[("s3veil:version", "1"), (LEGACY_KEY_ID, "k")]), S3ecError::Context),
            (context(&[(ALGORITHM, "AES/GCM/NoPadding"), (LEGACY_KEY_ID, "k")]), S3ecError::ContextAlgorithm),
        ] {
            assert_eq!(check_legacy(&foreign), Err(error), "This is a security issue: {foreign:?}");
        }
    }
}
