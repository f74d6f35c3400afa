//! The responses to CopyObject and UploadPartCopy, which may come with 200 and say that the copy failed; and
//! to a CompleteMultipartUpload that is the end of a copy.

use super::reader::{Limits, read};
use super::{ErrorDocument, XmlError, push_text};
use crate::s3::checksum::ObjectChecksum;
use crate::wire::checksum::Checksum;

/// The maximum size in bytes of a response to a copy: under 1 KiB, and the spaces that kept the connection
/// alive meanwhile.
pub const MAX_COPY_RESPONSE: usize = 64 << 10;
const LIMITS: Limits = Limits { bytes: MAX_COPY_RESPONSE, elements: 256 };

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What the storage said of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyResponse {
    /// It is made.
    Copied(CopyResult),
    /// It is not.
    Failed(ErrorDocument),
}

/// A copy that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyResult {
    /// The copy's ETag, with quotes if the storage sent them; empty if the storage sent none, as radosgw does
    /// for uploads.
    pub etag: String,
    /// When it was made, as the storage writes it; empty if it did not say.
    pub last_modified: String,
}

impl CopyResult {
    /// The document of the response to CopyObject. `checksums` are those of the object's plaintext.
    #[must_use]
    pub fn to_object_xml(&self, checksums: &[ObjectChecksum]) -> String {
        self.to_xml("CopyObjectResult", checksums)
    }

    /// The document of the response to UploadPartCopy. `checksums` are those of the part's plaintext.
    #[must_use]
    pub fn to_part_xml(&self, checksums: &[Checksum]) -> String {
        let checksums: Vec<_> = checksums.iter().copied().map(ObjectChecksum::from).collect();
        self.to_xml("CopyPartResult", &checksums)
    }

    /// Without the XML declaration, which may have been sent long before.
    fn to_xml(&self, root: &str, checksums: &[ObjectChecksum]) -> String {
        let mut document = format!("<{root} xmlns=\"{NAMESPACE}\">");
        let mut element = |name: &str, value: &str| {
            document.extend(["<", name, ">"]);
            push_text(&mut document, value);
            document.extend(["</", name, ">"]);
        };
        if !self.last_modified.is_empty() {
            element("LastModified", &self.last_modified);
        }
        element("ETag", &self.etag);
        for checksum in checksums {
            element(&format!("Checksum{}", checksum.value.algorithm().token()), &checksum.to_string());
        }
        if let Some(checksum) = checksums.first().filter(|_| root == "CopyObjectResult") {
            element("ChecksumType", checksum.kind().token());
        }
        document.extend(["</", root, ">"]);
        document
    }
}

/// Reads the body of the storage's response with status 200. Checksums in it are the ciphertext's and not
/// read.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for a document that is neither a copy's result nor an error with a code.
pub fn parse_copy_response(body: &[u8]) -> Result<CopyResponse, XmlError> {
    // A storage that kept the connection alive may have written spaces before the declaration.
    let root = read(body.trim_ascii_start(), LIMITS)?;
    let text = |name| root.text_of(name).map(str::trim).filter(|text| !text.is_empty());
    match root.name.as_str() {
        "Error" => ErrorDocument::from_element(&root).map(CopyResponse::Failed).ok_or(XmlError::Unexpected),
        "CopyObjectResult" | "CopyPartResult" | "CompleteMultipartUploadResult" => {
            Ok(CopyResponse::Copied(CopyResult {
                etag: text("ETag").unwrap_or_default().to_owned(),
                last_modified: text("LastModified").unwrap_or_default().to_owned(),
            }))
        }
        _ => Err(XmlError::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::{ErrorCode, S3Error};
    use crate::wire::checksum::ChecksumAlgorithm;

    fn result() -> CopyResult {
        CopyResult { etag: "\"abc-2\"".to_owned(), last_modified: "2026-01-31T12:00:00.000Z".to_owned() }
    }

    #[test]
    fn reads_what_storages_write() {
        let plain = "<CopyObjectResult><ETag>&quot;abc-2&quot;</ETag>\
                     <LastModified>2026-01-31T12:00:00.000Z</LastModified></CopyObjectResult>";
        for body in [
            plain.to_owned(),
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\n   {plain}"),
            format!("   \n<?xml version=\"1.0\"?>{plain}"),
            plain.replace("CopyObjectResult", "CopyPartResult"),
            plain.replace("CopyObjectResult", "CompleteMultipartUploadResult"),
            plain.replace("<ETag>", "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ETag>\n "),
            result().to_object_xml(&[]),
            result().to_part_xml(&[]),
        ] {
            assert_eq!(parse_copy_response(body.as_bytes()), Ok(CopyResponse::Copied(result())), "{body}");
        }
    }

    #[test]
    fn a_copy_may_come_without_its_etag() {
        for body in [
            "<CopyObjectResult/>",
            "<CompleteMultipartUploadResult><ETag> </ETag></CompleteMultipartUploadResult>",
        ] {
            let nameless = CopyResult { etag: String::new(), last_modified: String::new() };
            assert_eq!(parse_copy_response(body.as_bytes()), Ok(CopyResponse::Copied(nameless)), "{body}");
        }
    }

    #[test]
    fn a_200_can_be_an_error() {
        let document = S3Error::from(ErrorCode::SlowDown).to_xml("/", "", "");
        for body in [document.clone(), format!("  {document}")] {
            let response = parse_copy_response(body.as_bytes()).unwrap();
            assert!(matches!(response, CopyResponse::Failed(error) if error.code == "SlowDown"));
        }
    }

    #[test]
    fn refuses_what_says_nothing() {
        for (body, error) in
            [("", XmlError::Malformed), ("<Error/>", XmlError::Unexpected), ("<html/>", XmlError::Unexpected)]
        {
            assert_eq!(parse_copy_response(body.as_bytes()), Err(error), "{body}");
        }
    }

    #[test]
    fn writes_checksums_as_s3_does() {
        let checksum = Checksum::new(ChecksumAlgorithm::Crc64Nvme, &[0; 8]).unwrap();
        assert_eq!(
            result().to_object_xml(&[checksum.into()]),
            "<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LastModified>2026-01-31T12:00:00.000Z</LastModified><ETag>\"abc-2\"</ETag>\
             <ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>\
             </CopyObjectResult>"
        );
        let unknown = CopyResult { etag: "e".to_owned(), last_modified: String::new() };
        let expected = "<CopyPartResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ETag>e</ETag></CopyPartResult>";
        assert_eq!(unknown.to_part_xml(&[]), expected);
    }
}
