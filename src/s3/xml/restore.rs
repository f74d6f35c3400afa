//! The body of a RestoreObject request.

use super::reader::{Limits, read};
use crate::s3::error::{ErrorCode, S3Error};

const LIMITS: Limits = Limits { bytes: 64 << 10, elements: 64 };

/// What a request that only restores may say.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html>
const OF_A_RESTORE: [&str; 4] = ["Days", "Description", "GlacierJobParameters", "Tier"];

/// Checks that a request only restores the object, and not for its content to be processed: a
/// `SELECT` reads the plaintext, and `OutputLocation` names a bucket for which neither permissions nor rules
/// were checked. An empty body is accepted here and left to the storage to validate.
///
/// # Errors
/// `NotImplemented`, naming the element that requests more; `MalformedXML` for a body that is not a
/// RestoreRequest.
pub fn check_restore_request(body: &[u8]) -> Result<(), S3Error> {
    if body.is_empty() {
        return Ok(());
    }
    let root = read(body, LIMITS).map_err(|_| S3Error::from(ErrorCode::MalformedXML))?;
    if root.name != "RestoreRequest" {
        return Err(ErrorCode::MalformedXML.into());
    }
    match root.children.iter().find(|child| !OF_A_RESTORE.contains(&child.name.as_str())) {
        None => Ok(()),
        Some(child) => {
            let message = format!(
                "s3veil does not implement RestoreObject with {}: the storage would have to read the plaintext.",
                child.name
            );
            Err(S3Error::not_implemented(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(inner: &str) -> Result<(), ErrorCode> {
        let body = format!(
            "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</RestoreRequest>"
        );
        check_restore_request(body.as_bytes()).map_err(|error| error.code)
    }

    #[test]
    fn a_restore_passes() {
        let tier = "<GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters>";
        for inner in ["", "<Days>1</Days>", &format!("<Days>1</Days>{tier}"), "<Tier>Standard</Tier>"] {
            assert_eq!(check(inner), Ok(()), "{inner}");
        }
        assert_eq!(check_restore_request(b""), Ok(()));
    }

    #[test]
    fn what_would_read_the_plaintext_or_write_elsewhere_does_not() {
        for inner in [
            "<Type>SELECT</Type>",
            "<Type>select</Type>",
            "<Days>1</Days><OutputLocation><S3><BucketName>other-secret</BucketName></S3></OutputLocation>",
            "<SelectParameters><Expression>SELECT * FROM S3Object</Expression></SelectParameters>",
            "<SomethingNew/>",
        ] {
            assert_eq!(check(inner), Err(ErrorCode::NotImplemented), "This is a security issue: {inner}.");
        }
        let prefixed = b"<a:RestoreRequest xmlns:a=\"x\"><a:Type>SELECT</a:Type></a:RestoreRequest>";
        assert_eq!(check_restore_request(prefixed).unwrap_err().code, ErrorCode::NotImplemented);
        for body in [&b"junk"[..], b"<Other/>", b"<RestoreRequest>"] {
            assert_eq!(check_restore_request(body).unwrap_err().code, ErrorCode::MalformedXML);
        }
    }
}
