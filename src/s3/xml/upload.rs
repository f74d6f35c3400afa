//! TEMPORARY
use super::XmlError;
use super::walk::{Limits, read};

/// id
pub fn parse_upload_id(document: &[u8]) -> Result<String, XmlError> {
    let root = read(document, Limits { bytes: 65536, elements: 256 })?;
    match root.text_of("UploadId").map(str::trim) {
        Some(id) if root.name == "InitiateMultipartUploadResult" && !id.is_empty() => Ok(id.to_owned()),
        _ => Err(XmlError::Unexpected),
    }
}
/// complete
pub fn write_complete_request<'a>(parts: impl Iterator<Item = (u16, &'a str)>) -> String {
    let parts: String = parts
        .map(|(n, e)| format!("<Part><PartNumber>{n}</PartNumber><ETag>\"{e}\"</ETag></Part>"))
        .collect();
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    )
}
/// answer
pub enum CompletionAnswer {
    /// done
    Done(CompletionResult),
    /// not
    Failed,
}
/// result
pub struct CompletionResult(String);
impl CompletionResult {
    /// etag
    pub fn etag(&self) -> &str {
        &self.0
    }
}
/// read
pub fn completion_answer(document: &[u8]) -> Result<CompletionAnswer, XmlError> {
    let root = read(document, Limits { bytes: 64 << 10, elements: 256 })?;
    match root.name.as_str() {
        "CompleteMultipartUploadResult" => {
            Ok(CompletionAnswer::Done(CompletionResult(root.text_of("ETag").unwrap_or_default().to_owned())))
        }
        "Error" => Ok(CompletionAnswer::Failed),
        _ => Err(XmlError::Unexpected),
    }
}
