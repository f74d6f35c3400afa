//! ListParts: a page of the storage's, read, and written for the client.

use super::super::XmlError;
use super::super::reader::{Element, Limits, read};
use super::{ABOUT_CIPHERTEXT, MAX_UPLOAD_DOCUMENT};
use crate::wire::checksum::Checksum;

/// 1,000 parts of a dozen elements, and what surrounds them.
const LIMITS: Limits = Limits { bytes: MAX_UPLOAD_DOCUMENT, elements: 16_000 };

/// The name of the document's root.
const ROOT: &str = "ListPartsResult";
/// What moto 5.2 writes in its place; SDKs read no root's name.
const ROOT_OF_MOTO: &str = "ListPartsResponse";

/// A part as the storage lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    /// Its number.
    pub number: u16,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its bytes.
    pub size: u64,
    /// When it was stored, as the storage writes it; such texts of one storage sort as their times do.
    pub last_modified: String,
}

/// A page of ListParts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedParts {
    /// The parts of this page.
    pub parts: Vec<ListedPart>,
    /// The marker to go on with, if there is more.
    pub next: Option<String>,
    root: Element,
}

/// Reads a page.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for another document, or a part without number, ETag or size.
pub fn parse_uploaded_parts(document: &[u8]) -> Result<UploadedParts, XmlError> {
    let mut root = read(document, LIMITS)?;
    if ![ROOT, ROOT_OF_MOTO].contains(&root.name.as_str()) {
        return Err(XmlError::Unexpected);
    }
    ROOT.clone_into(&mut root.name);
    let parts = root.children.iter().filter(|child| child.name == "Part").map(part);
    let parts = parts.collect::<Option<Vec<_>>>().ok_or(XmlError::Unexpected)?;
    let truncated = root.text_of("IsTruncated").is_some_and(|text| text.trim() == "true");
    let next =
        root.text_of("NextPartNumberMarker").map(|marker| marker.trim().to_owned()).filter(|_| truncated);
    if truncated && next.as_ref().is_none_or(String::is_empty) {
        return Err(XmlError::Unexpected);
    }
    Ok(UploadedParts { parts, next, root })
}

fn part(element: &Element) -> Option<ListedPart> {
    Some(ListedPart {
        number: element.text_of("PartNumber")?.trim().parse().ok()?,
        etag: element.text_of("ETag")?.trim().trim_matches('"').to_owned(),
        size: element.text_of("Size")?.trim().parse().ok()?,
        last_modified: element.text_of("LastModified").unwrap_or_default().trim().to_owned(),
    })
}

/// A part as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEntry {
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its bytes of plaintext.
    pub size: u64,
    /// A checksum of its plaintext.
    pub checksum: Option<Checksum>,
}

impl UploadedParts {
    /// The page for the client, under the name of the bucket and the upload id that the client used:
    /// `entry_of` returns each part as the client sees it, or hides the part.
    #[must_use]
    pub fn write(
        mut self,
        bucket: &str,
        upload_id: &str,
        mut entry_of: impl FnMut(&ListedPart) -> Option<PartEntry>,
    ) -> String {
        self.root.remove(&ABOUT_CIPHERTEXT);
        self.root.set("Bucket", bucket);
        self.root.set("UploadId", upload_id);
        let listed = std::mem::take(&mut self.parts);
        let mut listed = listed.iter();
        self.root.children.retain_mut(|child| {
            if child.name != "Part" {
                return true;
            }
            let Some(entry) = listed.next().and_then(&mut entry_of) else { return false };
            child.remove(&ABOUT_CIPHERTEXT);
            child.set("ETag", &format!("\"{}\"", entry.etag));
            child.set("Size", &entry.size.to_string());
            if let Some(checksum) = entry.checksum {
                let name = format!("Checksum{}", checksum.algorithm().token());
                child.children.push(Element::with_text(&name, checksum.to_string()));
            }
            true
        });
        self.root.to_document()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::ChecksumAlgorithm;

    const PAGE: &str = "<?xml version='1.0' encoding='utf-8'?>\n<ListPartsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Bucket>b</Bucket><Key>k</Key><UploadId>raw</UploadId><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
        <PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>2</NextPartNumberMarker><IsTruncated>true</IsTruncated>\
        <Part><PartNumber>1</PartNumber><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"a\"</ETag>\
        <Size>97</Size><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME></Part>\
        <Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag><Size>80</Size></Part>\
        <Initiator><ID>i</ID></Initiator></ListPartsResult>";

    #[test]
    fn a_page_is_read_and_told_anew() {
        let page = parse_uploaded_parts(PAGE.as_bytes()).unwrap();
        assert_eq!(page.next.as_deref(), Some("2"));
        let first = ListedPart {
            number: 1,
            etag: "a".into(),
            size: 97,
            last_modified: "2026-01-01T00:00:00.000Z".into(),
        };
        assert_eq!(page.parts[0], first);
        let written = page.write("mine", "token", |part| {
            let checksum = Checksum::parse(ChecksumAlgorithm::Crc32, "y/Q5Jg==");
            (part.number == 1).then(|| PartEntry { etag: format!("{}-mark", part.etag), size: 1, checksum })
        });
        assert!(
            !written.contains("raw") && !written.contains("CRC64") && !written.contains("<PartNumber>2<"),
            "{written}"
        );
        for expected in [
            "<Bucket>mine</Bucket>",
            "<UploadId>token</UploadId>",
            "<ETag>\"a-mark\"</ETag><Size>1</Size><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part><Initiator>",
            "<NextPartNumberMarker>2<",
            "<LastModified>2026-01-01T00:00:00.000Z<",
        ] {
            assert!(written.contains(expected), "{written}");
        }
    }

    #[test]
    fn the_root_that_moto_writes_is_read_and_not_passed_on() {
        let page = PAGE.replace("ListPartsResult", "ListPartsResponse");
        let written = parse_uploaded_parts(page.as_bytes()).unwrap().write("mine", "token", |_| None);
        assert!(written.contains("<ListPartsResult ") && !written.contains("Response"), "{written}");
    }

    #[test]
    fn other_documents_are_refused() {
        for (bad, error) in [
            ("<Error/>", XmlError::Unexpected),
            (
                "<ListPartsResult><Part><PartNumber>1</PartNumber></Part></ListPartsResult>",
                XmlError::Unexpected,
            ),
            ("<ListPartsResult><IsTruncated>true</IsTruncated></ListPartsResult>", XmlError::Unexpected),
            ("<ListPartsResult>", XmlError::Malformed),
        ] {
            assert_eq!(parse_uploaded_parts(bad.as_bytes()), Err(error), "{bad}");
        }
    }
}
