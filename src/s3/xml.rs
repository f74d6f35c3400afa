//! S3's XML, read within bounds and written so that it is always well-formed.

mod acl;
mod bucket_encryption;
mod buckets;
mod copy_result;
mod delete_objects;
mod element;
mod error_document;
mod listed_page;
mod listing;
mod multipart;
mod object_attributes;
mod reader;
mod restore;
mod stream_scanner;
mod tagging;

pub use acl::{MAX_ACL_DOCUMENT, MAX_OWNERSHIP_DOCUMENT, disables_acls, grants_to_headers};
pub use bucket_encryption::{MAX_ENCRYPTION_DOCUMENT, default_kms_key};
pub use buckets::{
    BucketOwner, BucketPage, ListedBucket, MAX_BUCKETS_DOCUMENT, parse_buckets, retain_buckets, write_buckets,
};
pub use copy_result::{CopyResponse, CopyResult, MAX_COPY_RESPONSE, parse_copy_response};
pub use delete_objects::{
    DeleteError, DeleteRequest, MAX_DELETE_REQUEST, ObjectIdentifier, add_delete_errors,
    delete_objects_request, delete_result,
};
pub use error_document::{ErrorDocument, MAX_ERROR_DOCUMENT, parse_error_document, rename_bucket};
pub use listed_page::{ListedObject, ListedPage, MAX_PAGE_DOCUMENT, PageEnd, parse_page};
pub use listing::{
    ClientEntry, ListRewriter, ListedEntry, ListingPiece, MAX_ENTRY, NameEncoding, OwnedEntry,
};
pub use multipart::{
    CompletedPart, CompletionResponse, CompletionResult, ListedPart, MAX_COMPLETE_REQUEST,
    MAX_UPLOAD_DOCUMENT, PartEntry, UploadedParts, complete_request, parse_completion_response,
    parse_upload_id, parse_uploaded_parts, rewrite_uploads, upload_ids, write_complete_request,
    write_initiated,
};
pub use object_attributes::{ObjectAttributes, PartsPage};
pub use restore::check_restore_request;
pub use tagging::tagging_to_query;

/// How deep elements may nest. S3's documents stay under 8.
const MAX_DEPTH: usize = 16;

/// Why a document could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8, not well-formed, or with a DOCTYPE, which S3 never writes.
    #[error("the document is not well-formed XML")]
    Malformed,
    /// Well-formed, but not the document that was expected.
    #[error("the document is not of the expected kind")]
    Unexpected,
    /// Larger, deeper or richer in elements than such a document can be.
    #[error("the document exceeds its limit")]
    TooLarge,
}

/// Writes `<Error>` with its fields in order. Field names are ours, values anyone's.
pub(super) fn error_document<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut document = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    for (name, value) in fields {
        document.extend(["<", name, ">"]);
        push_text(&mut document, value);
        document.extend(["</", name, ">"]);
    }
    document.push_str("</Error>");
    document
}

/// Appends character data. A character that XML 1.0 §2.2 forbids is written as a reference, as S3 does
/// (`&#x1;`): a strict parser refuses the document, and any other finds the character. U+0000, which no
/// version of XML allows, becomes U+FFFD. A carriage return is escaped, or else a parser would read a line
/// feed.
pub fn push_text(document: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => document.push_str("&amp;"),
            '<' => document.push_str("&lt;"),
            '>' => document.push_str("&gt;"),
            '\r' => document.push_str("&#13;"),
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => document.push(character),
            '\0' => document.push(char::REPLACEMENT_CHARACTER),
            forbidden => document.push_str(&format!("&#x{:x};", u32::from(forbidden))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reader::{Limits, read};
    use super::*;

    #[test]
    fn whatever_is_written_can_be_read() {
        let text: String =
            ('\0'..='\u{200}').chain(['\u{fffd}', '\u{fffe}', '\u{ffff}', '\u{10ffff}']).collect();
        let document = error_document([("Message", &*text), ("Empty", "")].into_iter());
        let read = read(document.as_bytes(), Limits { bytes: 10_000, elements: 3 }).unwrap();
        assert_eq!(read.children[0].text, text.replace('\0', "\u{fffd}"));
        assert!(document.contains("\u{fffd}&#x1;&#x2;") && document.contains("\u{fffd}&#xfffe;&#xffff;"));
        assert_eq!(read.children[1].text, "");
    }
}
