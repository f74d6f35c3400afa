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
mod tests;
