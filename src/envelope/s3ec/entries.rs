//! The metadata entries of the S3 Encryption Client, from an object's metadata or an instruction file.
//!
//! It must not know what the entries mean together. It promises that every entry is text and that none is
//! there twice.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{S3ecError, encoded_word};

/// Longest instruction file. It has a few hundred bytes, mostly the wrapped key and the context; a file
/// several times as long as all metadata that S3 stores is something else.
pub const MAX_INSTRUCTION_FILE: usize = 16 * 1024;

macro_rules! names {
    ({ $($constant:ident $name:literal;)* } ignored { $($ignored:literal;)* }) => {
        $(pub(super) const $constant: &str = $name;)*

        /// Every name of these formats, without `x-amz-meta-`.
        const NAMES: &[&str] = &[$($name,)* $($ignored,)*];
    };
}

names! {
    {
        KEY_V1 "x-amz-key";
        KEY_V2 "x-amz-key-v2";
        KEY_V3 "x-amz-3";
        IV "x-amz-iv";
        CONTENT_ALGORITHM "x-amz-cek-alg";
        WRAP_ALGORITHM "x-amz-wrap-alg";
        CONTEXT "x-amz-matdesc";
        TAG_LENGTH "x-amz-tag-len";
        PLAINTEXT_LENGTH "x-amz-unencrypted-content-length";
        CONTENT_ALGORITHM_V3 "x-amz-c";
        COMMITMENT "x-amz-d";
        MESSAGE_ID "x-amz-i";
        WRAP_ALGORITHM_V3 "x-amz-w";
        CONTEXT_V3 "x-amz-t";
    }
    ignored {
        "x-amz-m";
        "x-amz-unencrypted-content-md5";
        "x-amz-crypto-instr-file";
    }
}

/// Whether a metadata entry, named without `x-amz-meta-` and in lower case, belongs to these formats.
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
            let known = NAMES.iter().copied().find(|known| known.eq_ignore_ascii_case(name));
            let Some(name) = known else { continue };
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
            let known = NAMES.iter().copied().find(|known| *known == name);
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

    /// The wrapped data key, not authenticated; `None` where the entry is missing, or no base64.
    pub fn wrapped_key(&self) -> Option<Vec<u8>> {
        let names = [KEY_V3, KEY_V2, KEY_V1];
        let text = names.into_iter().find_map(|name| self.text(name))?;
        STANDARD.decode(text).ok()
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
