//! ETags as clients know them, and the storage's ETags behind them.
//!
//! The storage's ETag of an object of one PUT is the MD5 of the stored bytes, which are ciphertext mostly.
//! Tools compare an ETag with the MD5 of a local file wherever the ETag looks like a hash: rclone where it
//! consists of 32 hexadecimal digits, s3cmd and version 1 of the AWS SDK for Java where it has no `-`.
//! Therefore a storage's ETag without a `-` reaches clients with [`SUFFIX`] appended. An ETag that has a `-`,
//! as that of an upload in parts (`…-3`) has, is compared by none of them and stays unchanged.
//!
//! The suffix ends in a letter that is not a hexadecimal digit, so what follows the last `-` is neither a
//! hash nor a number of parts. A storage's ETag that already ends in the suffix gets another one: distinct
//! ETags stay distinct, and each can be mapped back. A client's ETag without the suffix is taken as it is.

use std::ops::Range;

use http::header::HeaderValue;
use memchr::memmem;

/// What a client's ETag has behind the storage's.
pub const SUFFIX: &str = "-v";

/// How the ETags of a bucket's objects appear to clients. The default is [`EtagStyle::Opaque`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EtagStyle {
    /// With [`SUFFIX`] where an ETag could be mistaken for the hash of a client's file.
    #[default]
    Opaque,
    /// As the storage writes them.
    Storage,
}

/// The bytes whose hash the storage's ETag is, where the ETag is a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// The content that clients read.
    Plaintext,
    /// An encrypted object's stored bytes.
    Ciphertext,
}

impl EtagStyle {
    /// What a client's ETag has behind this one of the storage, which comes without quotes: [`SUFFIX`] or
    /// nothing.
    pub fn suffix(self, etag: &str, hashed: Hashed) -> &'static str {
        let is_suffixed = match (self, hashed) {
            (Self::Storage, _) => false,
            (Self::Opaque, Hashed::Ciphertext) => takes_suffix(etag.as_bytes()),
            // The hash of the content stays. An ETag that would be mapped back to another one does not.
            (Self::Opaque, Hashed::Plaintext) => stripped(etag.as_bytes()).is_some(),
        };
        if is_suffixed { SUFFIX } else { "" }
    }

    /// What a client's ETag has behind one of the storage that is a hash: what [`Self::suffix`] returns for
    /// it.
    pub fn suffix_to_digest(self, hashed: Hashed) -> &'static str {
        match (self, hashed) {
            (Self::Opaque, Hashed::Ciphertext) => SUFFIX,
            (Self::Opaque, Hashed::Plaintext) | (Self::Storage, _) => "",
        }
    }

    /// The client's ETag for one of the storage's; quotes and a leading `W/` stay.
    pub fn to_client(self, etag: &str, hashed: Hashed) -> String {
        let written = etag.trim_ascii_end();
        let end = written.len() - usize::from(written.ends_with('"'));
        [&etag[..end], self.suffix(bare(etag), hashed), &etag[end..]].concat()
    }

    /// The storage's ETag for one of a client's, both without quotes.
    pub fn to_storage(self, etag: &str) -> &str {
        match (self, stripped(etag.as_bytes())) {
            (Self::Opaque, Some(shorter)) => &etag[..shorter.len()],
            (Self::Opaque, None) | (Self::Storage, _) => etag,
        }
    }

    /// The value of a condition (If-Match, If-None-Match, If-Range and the like) with the storage's ETags in
    /// place of the client's. The value may be a list, and some SDKs write an ETag without quotes; all other
    /// text stays.
    pub fn condition_to_storage(self, value: &HeaderValue) -> HeaderValue {
        let text = value.as_bytes();
        if self == Self::Storage || memmem::find(text, SUFFIX.as_bytes()).is_none() {
            return value.clone();
        }
        let mut mapped = Vec::with_capacity(text.len());
        let mut at = 0;
        for tag in tags(text) {
            mapped.extend_from_slice(&text[at..tag.start]);
            at = tag.end;
            mapped.extend_from_slice(self.storage_bytes(&text[tag]));
        }
        mapped.extend_from_slice(&text[at..]);
        HeaderValue::from_bytes(&mapped).expect("pieces of a header value make one")
    }

    /// The ETag in a client's list, as the client wrote it but in quotes, that stands for this one of the
    /// storage.
    pub fn find_listed(self, list: &HeaderValue, storage: &str) -> Option<HeaderValue> {
        let list = list.as_bytes();
        let is_meant = |tag: &Range<usize>| self.storage_bytes(&list[tag.clone()]) == storage.as_bytes();
        let found = tags(list).find(is_meant)?;
        HeaderValue::from_bytes(&[b"\"", &list[found], b"\""].concat()).ok()
    }

    fn storage_bytes(self, etag: &[u8]) -> &[u8] {
        match self {
            Self::Opaque => stripped(etag).unwrap_or(etag),
            Self::Storage => etag,
        }
    }
}

/// An ETag without its quotes, if it has any, and without the `W/` of a weak one.
pub fn bare(etag: &str) -> &str {
    let etag = etag.trim_ascii();
    let quoted = etag.strip_prefix("W/").filter(|strong| strong.starts_with('"')).unwrap_or(etag);
    quoted.strip_prefix('"').and_then(|open| open.strip_suffix('"')).unwrap_or(quoted)
}

/// Where the ETags of a list are (RFC 9110, 8.8.3 and 13.1.1), without quotes and `W/`.
fn tags(list: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += list[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b',')).count();
        let rest = &list[at..];
        let weak = if rest.starts_with(b"W/\"") { 2 } else { 0 };
        if *rest.get(weak)? == b'"' {
            let begin = at + weak + 1;
            let end = begin + list[begin..].iter().take_while(|byte| **byte != b'"').count();
            at = list.len().min(end + 1);
            return Some(begin..end);
        }
        let begin = at;
        at += rest.iter().take_while(|byte| **byte != b',').count();
        Some(begin..begin + list[begin..at].trim_ascii_end().len())
    })
}

/// A client's ETag without its suffix; `None` where the ETag stands for itself.
fn stripped(etag: &[u8]) -> Option<&[u8]> {
    etag.strip_suffix(SUFFIX.as_bytes()).filter(|rest| takes_suffix(rest))
}

/// Whether an ETag has no `-` but those of suffixes.
fn takes_suffix(etag: &[u8]) -> bool {
    let mut rest = etag;
    while let Some(shorter) = rest.strip_suffix(SUFFIX.as_bytes()) {
        rest = shorter;
    }
    !rest.is_empty() && memchr::memchr(b'-', rest).is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn condition(value: &str) -> String {
        let mapped = EtagStyle::Opaque.condition_to_storage(&HeaderValue::from_str(value).unwrap());
        mapped.to_str().unwrap().to_owned()
    }

    #[test]
    fn hashes_of_ciphertext_get_the_suffix_and_all_else_stays() {
        let to_client = |etag: &str, hashed| EtagStyle::Opaque.to_client(etag, hashed);
        for etag in [MD5, "D41D8CD98F00B204", "CJ6Xx7Ck3oQDEAE=", "0"] {
            assert_eq!(to_client(etag, Hashed::Ciphertext), format!("{etag}-v"));
            let quoted = format!("\"{etag}\"");
            assert_eq!(to_client(&quoted, Hashed::Ciphertext), format!("\"{etag}-v\""));
            assert_eq!(to_client(&format!("W/{quoted} "), Hashed::Ciphertext), format!("W/\"{etag}-v\" "));
            assert_eq!(to_client(&quoted, Hashed::Plaintext), quoted);
        }
        for (style, hashed) in [EtagStyle::Opaque, EtagStyle::Storage]
            .into_iter()
            .flat_map(|style| [Hashed::Plaintext, Hashed::Ciphertext].map(|hashed| (style, hashed)))
        {
            assert_eq!(style.suffix_to_digest(hashed), style.suffix(MD5, hashed));
        }
        for etag in
            [&format!("\"{MD5}-3\""), "\"\"", "", "\"-v\"", "\"6f2ce3a0-5a1b\"", "\"a-AAAA\"", "\"a-b-v\""]
        {
            assert_eq!(to_client(etag, Hashed::Ciphertext), *etag);
            assert_eq!(to_client(etag, Hashed::Plaintext), *etag);
        }
        assert_eq!(to_client("\"a-v\"", Hashed::Ciphertext), "\"a-v-v\"");
        assert_eq!(to_client("\"a-v\"", Hashed::Plaintext), "\"a-v-v\"");
    }

    /// rclone: `^[0-9a-f]{32}$`. s3cmd, AWS SDK for Java 1: no `-` in it. Some tools read a number of parts
    /// behind it.
    #[test]
    fn no_tool_takes_a_clients_etag_for_a_hash_or_a_number_of_parts() {
        let etag = EtagStyle::Opaque.to_client(MD5, Hashed::Ciphertext);
        let (before, behind) = etag.rsplit_once('-').unwrap();
        assert_eq!(before, MD5);
        assert!(!behind.is_empty() && !behind.bytes().any(|byte| byte.is_ascii_hexdigit()));
        assert!(behind.parse::<u64>().is_err());
    }

    #[test]
    fn conditions_are_mapped_in_every_form_that_clients_write() {
        for (sent, meant) in [
            (format!("\"{MD5}-v\""), format!("\"{MD5}\"")),
            (format!("{MD5}-v"), MD5.to_owned()),
            (format!("\"{MD5}\""), format!("\"{MD5}\"")),
            (MD5.to_owned(), MD5.to_owned()),
            (format!("W/\"{MD5}-v\""), format!("W/\"{MD5}\"")),
            (format!("\"{MD5}-3\""), format!("\"{MD5}-3\"")),
            ("*".to_owned(), "*".to_owned()),
            ("\"a-v\",W/\"b-v\" ,\t\"c-2\", d-v".to_owned(), "\"a\",W/\"b\" ,\t\"c-2\", d".to_owned()),
            ("\"a,b-v\", \"a-v-v\"".to_owned(), "\"a,b\", \"a-v\"".to_owned()),
            ("\"a-v".to_owned(), "\"a".to_owned()),
            (" a-v , ".to_owned(), " a , ".to_owned()),
            ("\"-v\", W/x-v".to_owned(), "\"-v\", W/x".to_owned()),
            ("Sat, 28 Nov 2026 16:09:27 GMT".to_owned(), "Sat, 28 Nov 2026 16:09:27 GMT".to_owned()),
            (String::new(), String::new()),
        ] {
            assert_eq!(condition(&sent), meant, "{sent}");
        }
        let kept = HeaderValue::from_static("\"a-v\"");
        assert_eq!(EtagStyle::Storage.condition_to_storage(&kept), kept);
    }

    #[test]
    fn a_listed_etag_is_found_as_the_client_wrote_it() {
        let found = |list: &str, storage: &str| {
            let found = EtagStyle::Opaque.find_listed(&HeaderValue::from_str(list).unwrap(), storage);
            found.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(found("\"x\", W/\"a-v\"", "a").as_deref(), Some("\"a-v\""));
        assert_eq!(found("\"x\", a", "a").as_deref(), Some("\"a\""));
        assert_eq!(found("\"a-v-v\"", "a"), None);
        assert_eq!(found("*", "a"), None);
    }

    fn etag() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9a-f]{32}(-v){0,3}",
            "[0-9a-f]{32}-[1-9][0-9]{0,4}(-v){0,2}",
            "(a|-|v|-v|b){0,8}",
            "[!#-~]{0,12}(-v){0,2}",
        ]
    }

    proptest! {
        /// What each storage's ETag becomes is mapped back to it, so no two become one.
        #[test]
        fn every_etag_comes_back(etag in etag(), is_weak: bool) {
            for style in [EtagStyle::Opaque, EtagStyle::Storage] {
                for hashed in [Hashed::Plaintext, Hashed::Ciphertext] {
                    let client_etag = style.to_client(&etag, hashed);
                    prop_assert_eq!(style.to_storage(&client_etag), &etag);
                    let weak = if is_weak { "W/" } else { "" };
                    let storage = format!("{weak}\"{etag}\"");
                    let value = HeaderValue::try_from(style.to_client(&storage, hashed)).unwrap();
                    prop_assert_eq!(style.condition_to_storage(&value), storage.as_str());
                    prop_assert_eq!(style.find_listed(&value, &etag), Some(HeaderValue::try_from(format!("\"{client_etag}\"")).unwrap()));
                }
            }
        }

        #[test]
        fn distinct_etags_stay_distinct(one in etag(), other in etag()) {
            prop_assume!(one != other);
            for hashed in [Hashed::Plaintext, Hashed::Ciphertext] {
                let [one, other] = [&one, &other].map(|etag| EtagStyle::Opaque.to_client(etag, hashed));
                prop_assert_ne!(one, other);
            }
        }

        #[test]
        fn a_bare_hash_is_taken_as_it_is(etag in "[0-9a-fA-F]{1,64}") {
            prop_assert_eq!(EtagStyle::Opaque.to_storage(&etag), &etag);
        }

        #[test]
        fn any_list_keeps_its_other_text(list in "[ -~]{0,40}") {
            let value = HeaderValue::from_str(&list).unwrap();
            let mapped = EtagStyle::Opaque.condition_to_storage(&value);
            prop_assert!(mapped.len() <= value.len());
            prop_assert_eq!(mapped.as_bytes().iter().filter(|byte| **byte == b'"').count(),
                list.bytes().filter(|byte| *byte == b'"').count());
        }
    }
}
