//! A set of tags, as the document that a form carries and as the header of an upload.

use super::reader::{Element, Limits, is_blank, read};
use crate::s3::error::{ErrorCode, S3Error};
use crate::wire::percent;

/// A form's fields have 20 KiB together.
const MAX_DOCUMENT: usize = 20 * 1024;
/// Tagging, TagSet, and for each of the tags itself and its two fields. Objects have ten tags; how many are
/// too many is the storage's to say.
const MAX_ELEMENTS: usize = 2 + 3 * 100;

/// Reads `<Tagging><TagSet><Tag><Key/><Value/></Tag>…` and writes it as `x-amz-tagging`: `key=value&…`,
/// encoded.
///
/// # Errors
/// `MalformedXML` for anything S3's schema does not allow.
pub fn tagging_to_query(document: &[u8]) -> Result<String, S3Error> {
    let root =
        read(document, Limits { bytes: MAX_DOCUMENT, elements: MAX_ELEMENTS }).map_err(|_| malformed())?;
    let [set] = only_children(&root, "Tagging")? else { return Err(malformed()) };
    let tags = only_children(set, "TagSet")?;
    let pairs: Vec<String> = tags.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(pairs.join("&"))
}

fn pair(tag: &Element) -> Result<String, S3Error> {
    let fields = only_children(tag, "Tag")?;
    let is_leaf = |field: &Element| field.children.is_empty();
    match (fields, tag.text_of("Key"), tag.text_of("Value")) {
        ([one, other], Some(key), Some(value)) if is_leaf(one) && is_leaf(other) => {
            Ok(format!("{}={}", percent::encode_query(key), percent::encode_query(value)))
        }
        _ => Err(malformed()),
    }
}

/// The children of an element of this name that holds nothing else.
fn only_children<'a>(element: &'a Element, name: &str) -> Result<&'a [Element], S3Error> {
    if element.name == name && is_blank(element.text.as_bytes()) {
        Ok(&element.children)
    } else {
        Err(malformed())
    }
}

fn malformed() -> S3Error {
    ErrorCode::MalformedXML.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_becomes_a_header() {
        let document = "<?xml version=\"1.0\"?>\n<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n <TagSet>\
            <Tag><Key>a b&amp;c</Key><Value>=é</Value></Tag>\n<Tag><Value/><Key>k</Key></Tag></TagSet></Tagging>";
        assert_eq!(tagging_to_query(document.as_bytes()).unwrap(), "a%20b%26c=%3D%C3%A9&k=");
        assert_eq!(tagging_to_query(b"<Tagging><TagSet/></Tagging>").unwrap(), "");
    }

    #[test]
    fn anything_else_is_malformed() {
        for document in [
            "",
            "text",
            "<Tagging/>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging>x<TagSet/></Tagging>",
            "<TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet>",
            "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value><Value>c</Value></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Key><b/></Key><Value>b</Value></Tag></TagSet></Tagging>",
        ] {
            let refused = tagging_to_query(document.as_bytes()).unwrap_err();
            assert_eq!(refused.code, ErrorCode::MalformedXML, "{document}");
        }
    }
}
