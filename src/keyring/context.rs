//! The encryption context: public names and values that a wrapped key is bound to.
//! It must not know what a name or a value means, except those of the native format.
//! It promises that two different contexts never have the same canonical encoding.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// Names and values that a wrapped key is bound to, as in AWS KMS: unwrapping requires exactly this context.
/// A context is not secret, and appears in CloudTrail.
/// <https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html>
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EncryptionContext(SmallVec<[u8; USUAL_LENGTH]>);

/// Bytes of a context that take no room on the heap: that of a native object in nearly every bucket.
const USUAL_LENGTH: usize = 112;

impl EncryptionContext {
    /// The context of the native format: its version and the bucket's realm, never an object's name (F-02).
    pub fn native(realm: &str) -> Self {
        Self::from_sorted(&[("s3veil:realm", realm), ("s3veil:version", "1")])
    }

    /// Any context, for the other formats. If a name is repeated, its last value counts.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: BTreeMap<String, String> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self::from_sorted(&pairs)
    }

    fn from_sorted(pairs: &[(&str, &str)]) -> Self {
        let mut canonical = SmallVec::<[u8; USUAL_LENGTH]>::new();
        canonical.extend_from_slice(&len_prefix(pairs.len()));
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            canonical.extend_from_slice(&len_prefix(text.len()));
            canonical.extend_from_slice(text.as_bytes());
        }
        Self(canonical)
    }

    /// The names and their values, in the byte order of the names.
    pub fn pairs(&self) -> Vec<(String, String)> {
        const ENCODED: &str = "the encoding is this type's own";
        let mut rest = &self.0[4..];
        let mut texts = std::iter::from_fn(|| {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (text, after) = after.split_at(usize::try_from(u32::from_be_bytes(*length)).expect(ENCODED));
            rest = after;
            Some(String::from_utf8(text.to_vec()).expect(ENCODED))
        });
        std::iter::from_fn(|| Some((texts.next()?, texts.next()?))).collect()
    }

    /// An injective encoding: `be32(pairs)`, then for each pair in the byte order of the names
    /// `be32(len) | name | be32(len) | value`. So `{"a": "bc"}` and `{"ab": "c"}` differ.
    pub fn canonical(&self) -> &[u8] {
        &self.0
    }
}

fn len_prefix(len: usize) -> [u8; 4] {
    u32::try_from(len)
        .expect("a context is far below 4 GiB: headers and configuration are limited")
        .to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_context_names_version_and_realm_only() {
        let context = EncryptionContext::native("logs");
        let pairs = context.pairs();
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("s3veil:realm", "logs"), ("s3veil:version", "1")]);
    }

    #[test]
    fn the_encoding_is_length_prefixed_and_sorted() {
        let context = EncryptionContext::from_pairs([("b", "2"), ("a", "")]);
        assert_eq!(context.canonical(), b"\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0\x01b\0\0\0\x012",);
    }

    #[test]
    fn no_two_contexts_share_an_encoding() {
        let contexts = [
            EncryptionContext::from_pairs::<&str, &str>([]),
            EncryptionContext::from_pairs([("a", "bc")]),
            EncryptionContext::from_pairs([("ab", "c")]),
            EncryptionContext::from_pairs([("abc", "")]),
            EncryptionContext::from_pairs([("", "abc")]),
            EncryptionContext::from_pairs([("a", "b"), ("c", "")]),
            EncryptionContext::from_pairs([("a", ""), ("b", "c")]),
        ];
        for (i, one) in contexts.iter().enumerate() {
            for other in &contexts[i + 1..] {
                assert_ne!(one.canonical(), other.canonical(), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn order_does_not_matter_and_the_last_of_a_name_counts() {
        assert_eq!(
            EncryptionContext::from_pairs([("x", "1"), ("y", "2")]),
            EncryptionContext::from_pairs([("y", "2"), ("x", "0"), ("x", "1")]),
        );
    }
}
