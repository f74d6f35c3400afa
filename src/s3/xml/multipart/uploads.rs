//! The response to CreateMultipartUpload, and ListMultipartUploads: the documents with upload ids.

use super::super::XmlError;
use super::super::reader::{Element, Limits, read};
use super::{ABOUT_CIPHERTEXT, MAX_UPLOAD_DOCUMENT};

/// 1,000 uploads of a dozen elements, and what surrounds them.
const LIMITS: Limits = Limits { bytes: MAX_UPLOAD_DOCUMENT, elements: 16_000 };

/// The upload id in the storage's response to CreateMultipartUpload.
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

/// The response to CreateMultipartUpload for the client.
#[must_use]
pub fn write_initiated(bucket: &str, object_key: &str, upload_id: &str) -> String {
    let fields = vec![
        Element::with_text("Bucket", bucket),
        Element::with_text("Key", object_key),
        Element::with_text("UploadId", upload_id),
    ];
    Element::with_children("InitiateMultipartUploadResult", fields).to_document()
}

/// The upload ids on a page of ListMultipartUploads, as the storage writes them.
///
/// # Errors
/// As [`rewrite_uploads`].
pub fn upload_ids(document: &[u8]) -> Result<Vec<String>, XmlError> {
    let root = read(document, LIMITS)?;
    if root.name != "ListMultipartUploadsResult" {
        return Err(XmlError::Unexpected);
    }
    let uploads = root.children.iter().filter(|child| child.name == "Upload");
    Ok(uploads.filter_map(|upload| Some(upload.text_of("UploadId")?.trim().to_owned())).collect())
}

/// A page of ListMultipartUploads for the client, under its name for the bucket: `known` gives the id that
/// the client was given for one of the storage's; other ids stay as they are.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for another document.
pub fn rewrite_uploads(
    document: &[u8],
    bucket: &str,
    known: impl Fn(&str) -> Option<String>,
) -> Result<String, XmlError> {
    let mut root = read(document, LIMITS)?;
    if root.name != "ListMultipartUploadsResult" {
        return Err(XmlError::Unexpected);
    }
    root.set("Bucket", bucket);
    for upload in root.children.iter_mut().filter(|child| child.name == "Upload") {
        upload.remove(&ABOUT_CIPHERTEXT);
        if let Some(id) = upload.text_of("UploadId").and_then(|id| known(id.trim())) {
            upload.set("UploadId", &id);
        }
    }
    Ok(root.to_document())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_id_is_read_and_written() {
        let document = write_initiated("b", "a&b", "id");
        assert_eq!(parse_upload_id(document.as_bytes()), Ok("id".to_owned()));
        assert!(document.contains("<Key>a&amp;b</Key>"));
        for bad in [
            "<Error/>",
            "<InitiateMultipartUploadResult/>",
            "<InitiateMultipartUploadResult><UploadId> </UploadId></InitiateMultipartUploadResult>",
        ] {
            assert_eq!(parse_upload_id(bad.as_bytes()), Err(XmlError::Unexpected), "{bad}");
        }
    }

    #[test]
    fn known_uploads_have_the_clients_ids() {
        let listed = "<ListMultipartUploadsResult><Bucket>b</Bucket><NextUploadIdMarker>2</NextUploadIdMarker>\
            <Upload><Key>k</Key><UploadId>1</UploadId><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm></Upload>\
            <Upload><Key>l</Key><UploadId>2</UploadId></Upload><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>\
            </ListMultipartUploadsResult>";
        assert_eq!(upload_ids(listed.as_bytes()).unwrap(), ["1", "2"]);
        let written =
            rewrite_uploads(listed.as_bytes(), "mine", |id| (id == "1").then(|| "token".to_owned())).unwrap();
        assert!(written.contains("<Upload><Key>k</Key><UploadId>token</UploadId></Upload>"), "{written}");
        assert!(
            written.contains("<UploadId>2</UploadId>") && written.contains("<NextUploadIdMarker>2<"),
            "{written}"
        );
        assert!(written.contains("<Bucket>mine</Bucket>"), "{written}");
        assert!(written.contains("<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"), "{written}");
        assert_eq!(rewrite_uploads(b"<Error/>", "mine", |_| None), Err(XmlError::Unexpected));
    }
}
