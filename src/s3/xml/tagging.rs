//! The tags of an object, as GetObjectTagging gives them and `x-amz-tagging` takes them.

use super::XmlError;
use super::walk::{Element, Limits, read};
use crate::s3::query::Query;

/// How large a set of tags may be: ten of them, each of 128 and 256 characters that XML may escape.
pub const MAX_TAGGING: usize = 64 << 10;
const LIMITS: Limits = Limits { bytes: MAX_TAGGING, elements: 256 };

/// Reads a `Tagging` document and writes its tags as the value of `x-amz-tagging`, empty without any.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for another document and for a tag without key or value.
pub fn tagging_header(document: &[u8]) -> Result<String, XmlError> {
    let root = read(document, LIMITS)?;
    let set = root.children.iter().find(|child| child.name == "TagSet");
    let set = set.filter(|_| root.name == "Tagging").ok_or(XmlError::Unexpected)?;
    let pair = |tag: &Element| {
        let (key, value) = tag.text_of("Key").zip(tag.text_of("Value")).ok_or(XmlError::Unexpected)?;
        Ok((key.to_owned(), value.to_owned()))
    };
    let tags = set.children.iter().filter(|child| child.name == "Tag").map(pair);
    Ok(tags.collect::<Result<Query, XmlError>>()?.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_a_header() {
        for (tags, header) in [
            ("", ""),
            ("<Tag><Key>a</Key><Value>1</Value></Tag>", "a=1"),
            (
                "<Tag><Key>a b</Key><Value>x&amp;y=z+é</Value></Tag><Tag><Value/><Key>c</Key></Tag>",
                "a%20b=x%26y%3Dz%2B%C3%A9&c=",
            ),
        ] {
            let document = format!("<Tagging xmlns=\"u\"><TagSet>{tags}</TagSet></Tagging>");
            assert_eq!(tagging_header(document.as_bytes()).as_deref(), Ok(header), "{tags}");
        }
    }

    #[test]
    fn other_documents_are_refused() {
        for (document, error) in [
            ("", XmlError::Malformed),
            ("<Tagging/>", XmlError::Unexpected),
            ("<Error><TagSet/></Error>", XmlError::Unexpected),
            ("<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", XmlError::Unexpected),
        ] {
            assert_eq!(tagging_header(document.as_bytes()), Err(error), "{document}");
        }
    }
}
