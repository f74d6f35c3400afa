//! The document of Put- and GetBucketEncryption. Only the default KMS key is read from it.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html>

use super::XmlError;
use super::reader::{Limits, read};

/// A document has a few hundred bytes.
pub const MAX_ENCRYPTION_DOCUMENT: usize = 20 << 10;

/// The KMS key that a bucket's default encryption names; `None` if the encryption is of another kind, or
/// names no key.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for another document.
pub fn default_kms_key(document: &[u8]) -> Result<Option<String>, XmlError> {
    let root = read(document, Limits { bytes: MAX_ENCRYPTION_DOCUMENT, elements: 64 })?;
    if root.name != "ServerSideEncryptionConfiguration" {
        return Err(XmlError::Unexpected);
    }
    let rules = root.children.iter().filter(|child| child.name == "Rule");
    let mut defaults = rules.flat_map(|rule| {
        rule.children.iter().filter(|child| child.name == "ApplyServerSideEncryptionByDefault")
    });
    let Some(default) = defaults.next() else { return Ok(None) };
    let text = |name| default.text_of(name).map(str::trim).filter(|text| !text.is_empty());
    let is_kms = text("SSEAlgorithm").is_some_and(|algorithm| algorithm.starts_with("aws:kms"));
    Ok(text("KMSMasterKeyID").filter(|_| is_kms).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(default: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><ServerSideEncryptionConfiguration \
             xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule>{default}<BucketKeyEnabled>true\
             </BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
        )
    }

    #[test]
    fn only_a_kms_default_names_a_key() {
        let default = |algorithm: &str, key: &str| {
            document(&format!(
                "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}</SSEAlgorithm>{key}\
                 </ApplyServerSideEncryptionByDefault>"
            ))
        };
        let key = "<KMSMasterKeyID> alias/k </KMSMasterKeyID>";
        for (document, expected) in [
            (default("aws:kms", key), Some("alias/k")),
            (default("aws:kms:dsse", key), Some("alias/k")),
            (default("aws:kms", ""), None),
            (default("aws:kms", "<KMSMasterKeyID/>"), None),
            (default("AES256", key), None),
            (document(""), None),
        ] {
            let found = default_kms_key(document.as_bytes()).unwrap();
            assert_eq!(found.as_deref(), expected, "{document}");
        }
        for other in ["", "<Error><Code>x</Code></Error>", "<ServerSideEncryptionConfiguration>"] {
            assert!(default_kms_key(other.as_bytes()).is_err(), "{other}");
        }
    }
}
