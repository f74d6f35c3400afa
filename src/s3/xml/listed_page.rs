//! A page of ListObjectsV2 or ListObjectVersions that was requested with `encoding-type=url`, read whole.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::XmlError;
use super::reader::{Element, Limits, read};
use crate::wire::percent::{self, Plus};

/// The maximum bytes of a page: 1,000 entries, each of less than 16 KiB.
pub const MAX_PAGE_DOCUMENT: usize = 16 << 20;
/// 1,000 entries of up to 30 elements.
const LIMITS: Limits = Limits { bytes: MAX_PAGE_DOCUMENT, elements: 32_000 };

/// An object, or a version of one, as a page lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key, decoded; not checked.
    pub key: String,
    /// The version, in a listing of versions.
    pub version_id: Option<String>,
    /// Whether this is the newest version.
    pub is_latest: bool,
    /// Stored bytes.
    pub size: u64,
    /// When the object was stored.
    pub last_modified: Option<OffsetDateTime>,
    /// The ETag without quotes.
    pub etag: Option<String>,
    /// The storage class, if the page names one.
    pub storage_class: Option<String>,
}

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEnd {
    /// There is no next page.
    Last,
    /// The token for ListObjectsV2.
    Token(String),
    /// The markers for ListObjectVersions: a key, and a version of it.
    Markers(String, Option<String>),
}

/// A page of objects or versions. Delete markers are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPage {
    /// The objects in the order of the page.
    pub objects: Vec<ListedObject>,
    /// The common prefixes, decoded, if a delimiter was requested.
    pub prefixes: Vec<String>,
    /// Where the next page begins.
    pub end: PageEnd,
}

/// Reads a page.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for another document, for an entry without key or size, and for a page that
/// is neither the last one nor says how to go on.
pub fn parse_page(document: &[u8]) -> Result<ListedPage, XmlError> {
    let root = read(document, LIMITS)?;
    let lists_versions = match root.name.as_str() {
        "ListBucketResult" => false,
        "ListVersionsResult" => true,
        _ => return Err(XmlError::Unexpected),
    };
    // Some storages ignore the requested encoding, and do not name one then.
    let is_url = root.text_of("EncodingType") == Some("url");
    let decode = |text: &str| {
        let decoded = if is_url { percent::decode_strict(text, Plus::Space) } else { Ok(text.to_owned()) };
        decoded.map_err(|_| XmlError::Unexpected)
    };
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for child in &root.children {
        match child.name.as_str() {
            "Contents" | "Version" => objects.push(object(child, decode)?),
            "CommonPrefixes" => prefixes.push(decode(child.text_of("Prefix").ok_or(XmlError::Unexpected)?)?),
            _ => (),
        }
    }
    let is_truncated = root.text_of("IsTruncated").is_some_and(|text| text.trim() == "true");
    let end = match (is_truncated, lists_versions) {
        (false, _) => PageEnd::Last,
        (true, false) => {
            PageEnd::Token(root.text_of("NextContinuationToken").ok_or(XmlError::Unexpected)?.to_owned())
        }
        (true, true) => {
            let version = root.text_of("NextVersionIdMarker").filter(|text| !text.is_empty());
            let key = root.text_of("NextKeyMarker").ok_or(XmlError::Unexpected)?;
            PageEnd::Markers(decode(key)?, version.map(str::to_owned))
        }
    };
    Ok(ListedPage { objects, prefixes, end })
}

fn object(
    element: &Element,
    decode: impl Fn(&str) -> Result<String, XmlError>,
) -> Result<ListedObject, XmlError> {
    let text = |name| element.text_of(name).map(str::trim).filter(|text| !text.is_empty());
    let size = text("Size").and_then(|size| size.parse().ok()).ok_or(XmlError::Unexpected)?;
    Ok(ListedObject {
        key: decode(element.text_of("Key").ok_or(XmlError::Unexpected)?)?,
        version_id: text("VersionId").map(str::to_owned),
        is_latest: text("IsLatest").is_none_or(|text| text == "true"),
        size,
        last_modified: text("LastModified").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
        etag: text("ETag").map(|text| text.trim_matches('"').to_owned()),
        storage_class: text("StorageClass").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_objects_is_read() {
        let page = parse_page(
            b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
              <NextContinuationToken>t/1</NextContinuationToken>\
              <Contents><Key>a%2Fb+c%2B</Key><LastModified>2026-01-31T12:00:00.000Z</LastModified>\
              <ETag>&quot;e-1&quot;</ETag><Size>7</Size><StorageClass>GLACIER</StorageClass></Contents>\
              <CommonPrefixes><Prefix>d%2F</Prefix></CommonPrefixes></ListBucketResult>",
        )
        .unwrap();
        assert_eq!(page.end, PageEnd::Token("t/1".to_owned()));
        assert_eq!(page.prefixes, ["d/"]);
        let object = &page.objects[0];
        assert_eq!((object.key.as_str(), object.size, object.is_latest), ("a/b c+", 7, true));
        assert_eq!((object.etag.as_deref(), object.storage_class.as_deref()), (Some("e-1"), Some("GLACIER")));
        assert_eq!(object.last_modified.unwrap().unix_timestamp(), 1_769_860_800);
    }

    #[test]
    fn a_page_of_versions_has_no_delete_markers() {
        let page = parse_page(
            b"<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>\
              <NextVersionIdMarker>v</NextVersionIdMarker>\
              <DeleteMarker><Key>k</Key><VersionId>d</VersionId></DeleteMarker>\
              <Version><Key>a+b</Key><VersionId>v</VersionId><IsLatest>false</IsLatest><Size>1</Size></Version>\
              </ListVersionsResult>",
        )
        .unwrap();
        assert_eq!(page.end, PageEnd::Markers("k".to_owned(), Some("v".to_owned())));
        assert_eq!(page.objects.len(), 1);
        assert_eq!((page.objects[0].key.as_str(), page.objects[0].is_latest), ("a+b", false));
    }

    #[test]
    fn what_is_no_whole_page_is_refused() {
        for bad in [
            "<Error/>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>",
            "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
            "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%zz</Key><Size>1</Size></Contents>\
             </ListBucketResult>",
        ] {
            assert_eq!(parse_page(bad.as_bytes()), Err(XmlError::Unexpected), "{bad}");
        }
    }
}
