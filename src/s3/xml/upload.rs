//! How an upload begins and ends: the storage's name for it, and the list of its parts.

use super::walk::{Limits, read};
use super::{XmlError, push_text};

const LIMITS: Limits = Limits { bytes: 64 << 10, elements: 256 };

/// The upload id in the storage's answer to CreateMultipartUpload.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` without an id.
pub fn parse_upload_id(document: &[u8]) -> Result<String, XmlError> {
    let root = read(document, LIMITS)?;
    match root.text_of("UploadId").map(str::trim) {
        Some(id) if root.name == "InitiateMultipartUploadResult" && !id.is_empty() => Ok(id.to_owned()),
        Some(_) | None => Err(XmlError::Unexpected),
    }
}

/// The body of CompleteMultipartUpload: numbers and ETags, these without quotes.
#[must_use]
pub fn write_complete_request<'a>(parts: impl Iterator<Item = (u16, &'a str)>) -> String {
    let mut document =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, etag) in parts {
        document.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>\""));
        push_text(&mut document, etag);
        document.push_str("\"</ETag></Part>");
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_begins_and_ends() {
        let answer = "<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId> id </UploadId>\
                      </InitiateMultipartUploadResult>";
        assert_eq!(parse_upload_id(answer.as_bytes()).as_deref(), Ok("id"));
        assert_eq!(parse_upload_id(b"<InitiateMultipartUploadResult/>"), Err(XmlError::Unexpected));
        assert_eq!(parse_upload_id(b"<Error><UploadId>id</UploadId></Error>"), Err(XmlError::Unexpected));
        let list = write_complete_request([(1, "a"), (10_000, "b<c>")].into_iter());
        let root = read(list.as_bytes(), LIMITS).unwrap();
        assert_eq!(root.name, "CompleteMultipartUpload");
        let parts: Vec<_> =
            root.children.iter().map(|part| (part.text_of("PartNumber"), part.text_of("ETag"))).collect();
        assert_eq!(parts, [(Some("1"), Some("\"a\"")), (Some("10000"), Some("\"b<c>\""))]);
    }
}
