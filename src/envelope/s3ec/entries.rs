//! The metadata entries of the S3 Encryption Client, from an object's metadata or an instruction file.
//!
//! It must not know what the entries mean together. It promises that every entry is text and that none is
//! there twice.

use std::collections::BTreeMap;

use super::S3ecError;
use super::encoded_word;

/// Longest instruction file. It has a few hundred bytes, mostly the wrapped key and the context; a file
/// several times as long as all metadata that S3 stores is something else.
pub const MAX_INSTRUCTION_FILE: usize = 16 * 1024;

pub(super) const KEY_V1: &str = "x-amz-key";
pub(super) const KEY_V2: &str = "x-amz-key-v2";
pub(super) const KEY_V3: &str = "x-amz-3";
pub(super) const IV: &str = "x-amz-iv";
pub(super) const CONTENT_ALGORITHM: &str = "x-amz-cek-alg";
pub(super) const WRAP_ALGORITHM: &str = "x-amz-wrap-alg";
pub(super) const CONTEXT: &str = "x-amz-matdesc";
pub(super) const TAG_LENGTH: &str = "x-amz-tag-len";
pub(super) const PLAINTEXT_LENGTH: &str = "x-amz-unencrypted-content-length";
pub(super) const CONTENT_ALGORITHM_V3: &str = "x-amz-c";
pub(super) const COMMITMENT: &str = "x-amz-d";
pub(super) const MESSAGE_ID: &str = "x-amz-i";
pub(super) const WRAP_ALGORITHM_V3: &str = "x-amz-w";
pub(super) const CONTEXT_V3: &str = "x-amz-t";
const MATERIAL_V3: &str = "x-amz-m";
const PLAINTEXT_MD5: &str = "x-amz-unencrypted-content-md5";
const INSTRUCTION_MARK: &str = "x-amz-crypto-instr-file";

/// Every name of these formats, without `x-amz-meta-`.
const NAMES: [&str; 17] = [
    KEY_V1,
    KEY_V2,
    KEY_V3,
    IV,
    CONTENT_ALGORITHM,
    WRAP_ALGORITHM,
    CONTEXT,
    TAG_LENGTH,
    PLAINTEXT_LENGTH,
    CONTENT_ALGORITHM_V3,
    COMMITMENT,
    MESSAGE_ID,
    WRAP_ALGORITHM_V3,
    CONTEXT_V3,
    MATERIAL_V3,
    PLAINTEXT_MD5,
    INSTRUCTION_MARK,
];

/// Whether a metadata entry, named without `x-amz-meta-` and in lower case, belongs to these formats.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The entries of one object, or of one instruction file. An empty value counts as absent, since some clients
/// write it so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries(BTreeMap<&'static str, String>);

impl Entries {
    /// The entries in an object's metadata: names without `x-amz-meta-`, values as the header had them. Other
    /// names are skipped.
    ///
    /// # Errors
    /// [`S3ecError::Contradiction`] for an entry that is there twice, [`S3ecError::Malformed`] for one that
    /// is not text.
    pub fn from_metadata<'a>(
        metadata: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, S3ecError> {
        let mut entries = BTreeMap::new();
        for (name, value) in metadata {
            let Some(name) = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name)) else {
                continue;
            };
            let text = encoded_word::decode(value).ok_or(S3ecError::Malformed(name))?;
            if !text.is_empty() && entries.insert(name, text).is_some() {
                return Err(S3ecError::Contradiction);
            }
        }
        Ok(Self(entries))
    }

    /// Parses an instruction file: one JSON object of strings, or numbers.
    ///
    /// # Errors
    /// [`S3ecError::InstructionFile`] when it is something else, has names of no client, or a name twice.
    pub fn parse_instruction_file(content: &[u8]) -> Result<Self, S3ecError> {
        let text = std::str::from_utf8(content).map_err(|_| S3ecError::InstructionFile)?;
        let pairs: Pairs = serde_json::from_str(text).map_err(|_| S3ecError::InstructionFile)?;
        let mut entries = BTreeMap::new();
        for (name, value) in pairs.0 {
            let known = NAMES.into_iter().find(|known| **known == name);
            let known = known.ok_or(S3ecError::InstructionFile)?;
            let text = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(number) => number.to_string(),
                serde_json::Value::Null
                | serde_json::Value::Bool(_)
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_) => return Err(S3ecError::InstructionFile),
            };
            if !text.is_empty() && entries.insert(known, text).is_some() {
                return Err(S3ecError::InstructionFile);
            }
        }
        Ok(Self(entries))
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn required(&self, name: &'static str) -> Result<&str, S3ecError> {
        self.text(name).ok_or(S3ecError::Malformed(name))
    }

    pub(super) fn has(&self, name: &'static str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn has_any(&self, names: &[&'static str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// The entries of both; an entry of `other` must not be in `self`.
    pub(super) fn joined(&self, other: &Self) -> Result<Self, S3ecError> {
        let mut joined = self.0.clone();
        for (name, value) in &other.0 {
            // Some clients repeat the length on the object; it is a hint in either place.
            if joined.insert(name, value.clone()).is_some() && *name != PLAINTEXT_LENGTH {
                return Err(S3ecError::Contradiction);
            }
        }
        Ok(Self(joined))
    }
}

/// A JSON object's pairs in their order, repeated names included.
pub(super) struct Pairs(pub(super) Vec<(String, serde_json::Value)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
