//! The documents of a multipart upload of the proxy's own.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>

use super::walk::{Element, Limits, read};
use super::{XmlError, push_text};

/// S3's answers have a dozen elements.
const LIMITS: Limits = Limits { bytes: 64 << 10, elements: 256 };

/// The upload id in the storage's answer to CreateMultipartUpload.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` without an id.
pub fn parse_upload_id(document: &[u8]) -> Result<String, XmlError> {
    let root = read(document, LIMITS)?;
    match root.text_of("UploadId").map(str::trim) {
        Some(id) if root.name == "InitiateMultipartUploadResult" && !id.is_empty() => Ok(id.to_owned()),
        _ => Err(XmlError::Unexpected),
    }
}

/// The body of CompleteMultipartUpload: numbers, and ETags without quotes.
#[must_use]
pub fn write_complete_request<'a>(parts: impl Iterator<Item = (u16, &'a str)>) -> String {
    let mut document =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, etag) in parts {
        document.extend(["<Part><PartNumber>", &number.to_string(), "</PartNumber><ETag>\""]);
        push_text(&mut document, etag);
        document.push_str("\"</ETag></Part>");
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

/// What the storage said when it had finished; it may say so long after its status of 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionAnswer {
    /// The object is there.
    Done(CompletionResult),
    /// It is not: an error document. S3 writes one behind a status of 200 too.
    Failed,
}

/// The answer to a completed upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionResult {
    root: Element,
}

impl CompletionResult {
    /// The object's ETag, in quotes; empty if the storage named none.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.root.text_of("ETag").unwrap_or_default().trim()
    }
}

/// Reads what the storage answered.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for a document that is neither of the two.
pub fn completion_answer(document: &[u8]) -> Result<CompletionAnswer, XmlError> {
    let root = read(document, LIMITS)?;
    match root.name.as_str() {
        "CompleteMultipartUploadResult" => Ok(CompletionAnswer::Done(CompletionResult { root })),
        "Error" => Ok(CompletionAnswer::Failed),
        _ => Err(XmlError::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_id_is_read() {
        let document =
            "<InitiateMultipartUploadResult><UploadId> a+b </UploadId></InitiateMultipartUploadResult>";
        assert_eq!(parse_upload_id(document.as_bytes()).as_deref(), Ok("a+b"));
        for bad in ["<Error/>", "<InitiateMultipartUploadResult/>"] {
            assert_eq!(parse_upload_id(bad.as_bytes()), Err(XmlError::Unexpected), "{bad}");
        }
    }

    #[test]
    fn a_completion_is_written_and_its_answer_read() {
        assert_eq!(
            write_complete_request([(1, "a"), (10_000, "<b>")].into_iter()),
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part><PartNumber>1</PartNumber>\
             <ETag>\"a\"</ETag></Part><Part><PartNumber>10000</PartNumber><ETag>\"&lt;b&gt;\"</ETag></Part>\
             </CompleteMultipartUpload>"
        );
        let done =
            b" <CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>";
        let CompletionAnswer::Done(result) = completion_answer(done).unwrap() else { panic!("it is done") };
        assert_eq!(result.etag(), "\"e-2\"");
        assert_eq!(
            completion_answer(b"<Error><Code>InternalError</Code></Error>"),
            Ok(CompletionAnswer::Failed)
        );
        assert_eq!(completion_answer(b"<Other/>"), Err(XmlError::Unexpected));
    }
}
