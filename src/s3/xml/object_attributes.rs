//! The response to GetObjectAttributes.

use super::push_text;
use crate::s3::checksum::ObjectChecksum;

/// The attributes of an object, each only if it was requested and exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// Without quotes.
    pub etag: Option<String>,
    /// Checksums of the whole object.
    pub checksums: Vec<ObjectChecksum>,
    /// The parts of a multipart upload.
    pub parts: Option<PartsPage>,
    /// Such as `STANDARD`.
    pub storage_class: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
}

/// A page of an object's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsPage {
    /// How many parts the object has in all.
    pub total: usize,
    /// The number after which the page begins.
    pub marker: u64,
    /// How many parts the page may hold.
    pub max: usize,
    /// The number after which the next page begins, if there is one.
    pub next_marker: Option<u64>,
    /// Number and bytes of each part of the page.
    pub parts: Vec<(u16, u64)>,
}

impl ObjectAttributes {
    /// The document.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html>
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut document = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <GetObjectAttributesResponse xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
        );
        if let Some(etag) = &self.etag {
            push_element(&mut document, "ETag", etag);
        }
        if !self.checksums.is_empty() {
            document.push_str("<Checksum>");
            // S3 returns a composite checksum here without the number of parts.
            for ObjectChecksum { value, .. } in &self.checksums {
                let name = format!("Checksum{}", value.algorithm().token());
                push_element(&mut document, &name, &value.to_string());
            }
            if let Some(checksum) = self.checksums.first() {
                push_element(&mut document, "ChecksumType", checksum.kind().token());
            }
            document.push_str("</Checksum>");
        }
        if let Some(page) = &self.parts {
            page.push(&mut document);
        }
        if let Some(storage_class) = &self.storage_class {
            push_element(&mut document, "StorageClass", storage_class);
        }
        if let Some(size) = self.size {
            push_element(&mut document, "ObjectSize", &size.to_string());
        }
        document.push_str("</GetObjectAttributesResponse>");
        document
    }
}

impl PartsPage {
    fn push(&self, document: &mut String) {
        document.push_str("<ObjectParts>");
        push_element(document, "PartsCount", &self.total.to_string());
        push_element(document, "PartNumberMarker", &self.marker.to_string());
        if let Some(next) = self.next_marker {
            push_element(document, "NextPartNumberMarker", &next.to_string());
        }
        push_element(document, "MaxParts", &self.max.to_string());
        push_element(document, "IsTruncated", if self.next_marker.is_some() { "true" } else { "false" });
        for (number, size) in &self.parts {
            document.push_str("<Part>");
            push_element(document, "PartNumber", &number.to_string());
            push_element(document, "Size", &size.to_string());
            document.push_str("</Part>");
        }
        document.push_str("</ObjectParts>");
    }
}

fn push_element(document: &mut String, name: &str, text: &str) {
    document.extend(["<", name, ">"]);
    push_text(document, text);
    document.extend(["</", name, ">"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::xml::reader::{Limits, read};
    use crate::s3::{Checksum, ChecksumAlgorithm};

    #[test]
    fn nothing_asked_is_nothing_told() {
        let document = ObjectAttributes::default().to_xml();
        let root = read(document.as_bytes(), Limits { bytes: 1000, elements: 2 }).unwrap();
        assert_eq!((root.name.as_str(), root.children.len()), ("GetObjectAttributesResponse", 0));
    }

    #[test]
    fn everything_in_the_order_of_s3() {
        let attributes = ObjectAttributes {
            etag: Some("e<&>-2".to_owned()),
            checksums: vec![Checksum::new(ChecksumAlgorithm::Crc64Nvme, &[0; 8]).unwrap().into()],
            parts: Some(PartsPage {
                total: 3,
                marker: 1,
                max: 1,
                next_marker: Some(2),
                parts: vec![(2, 70_000)],
            }),
            storage_class: Some("STANDARD_IA".to_owned()),
            size: Some(200_000),
        };
        let body = "<ETag>e&lt;&amp;&gt;-2</ETag>\
                    <Checksum><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>\
                    <ChecksumType>FULL_OBJECT</ChecksumType></Checksum>\
                    <ObjectParts><PartsCount>3</PartsCount><PartNumberMarker>1</PartNumberMarker>\
                    <NextPartNumberMarker>2</NextPartNumberMarker><MaxParts>1</MaxParts>\
                    <IsTruncated>true</IsTruncated>\
                    <Part><PartNumber>2</PartNumber><Size>70000</Size></Part></ObjectParts>\
                    <StorageClass>STANDARD_IA</StorageClass><ObjectSize>200000</ObjectSize>";
        let document = attributes.to_xml();
        let (_, inside) = document.split_once("2006-03-01/\">").unwrap();
        assert_eq!(inside.strip_suffix("</GetObjectAttributesResponse>"), Some(body));
    }
}
