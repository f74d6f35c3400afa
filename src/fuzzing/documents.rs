//! Targets for XML, of clients and of the storage.
//!
//! They must not know more than `s3`. They promise that a document that was read and written reads as before,
//! and that a listing is rewritten alike however it is cut.

use bytes::BytesMut;

use super::{Input, pieces};
use crate::s3::xml::{
    self, ClientEntry, CompletionResponse, CopyResponse, ListRewriter, ListingPiece, NameEncoding, XmlError,
};

/// A document of a client: parts to complete, objects to delete, tags, a restore.
pub fn xml_request(data: &[u8]) {
    if let Ok(request) = xml::delete_objects_request(data) {
        assert_eq!(xml::delete_objects_request(request.to_xml().as_bytes()), Ok(request));
    }
    if let Ok(parts) = xml::complete_request(data) {
        let pairs = || parts.iter().map(|part| (part.number, part.etag.as_str()));
        let written = xml::write_complete_request(pairs());
        let read = xml::complete_request(written.as_bytes()).expect("it was written here");
        let read: Vec<_> = read.iter().map(|part| (part.number, written_etag(&part.etag))).collect();
        let meant: Vec<_> = pairs().map(|(number, etag)| (number, written_etag(etag))).collect();
        assert_eq!(read, meant);
    }
    if let Ok(tags) = xml::tagging_to_query(data) {
        assert!(tags.is_ascii(), "it becomes a header");
    }
    drop(xml::check_restore_request(data));
}

/// An ETag as it is written: without the quotes of a client.
fn written_etag(etag: &str) -> String {
    without_nul(etag.trim_matches('"'))
}

/// Text as it is written: XML has no U+0000, which becomes U+FFFD.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A document of a storage that is read whole.
pub fn xml_response(data: &[u8]) {
    drop(xml::parse_error_document(data));
    drop(xml::default_kms_key(data));
    if let Ok(page) = xml::parse_page(data) {
        let entries = page.objects.len() + page.prefixes.len();
        assert!(entries <= data.len(), "an entry has a tag");
    }
    if let Ok(all) = xml::retain_buckets(data, |_| true) {
        assert_eq!(all, data, "the document is unchanged where every bucket is visible");
        let none = xml::retain_buckets(data, |_| false).expect("a list without buckets is one");
        xml::retain_buckets(&none, |name| panic!("{name} is still there")).expect("it was written here");
    }
    if let Ok(id) = xml::parse_upload_id(data) {
        let written = xml::write_initiated("bucket", "key", &id);
        assert_eq!(xml::parse_upload_id(written.as_bytes()), Ok(without_nul(&id)));
    }
    if let Ok(ids) = xml::upload_ids(data) {
        let written = xml::rewrite_uploads(data, "bucket", |_| None).expect("its ids were read");
        let ids = ids.iter().map(|id| without_nul(id)).collect();
        assert_eq!(xml::upload_ids(written.as_bytes()), Ok(ids));
    }
    if let Ok(page) = xml::parse_uploaded_parts(data) {
        let written = page.clone().write("bucket", "upload", |_| None);
        xml::parse_uploaded_parts(written.as_bytes()).expect("it was written here");
    }
    if let Ok(CopyResponse::Copied(mut result)) = xml::parse_copy_response(data) {
        let written = xml::parse_copy_response(result.to_object_xml(&[]).as_bytes());
        result.etag = without_nul(&result.etag);
        result.last_modified = without_nul(&result.last_modified);
        assert_eq!(written, Ok(CopyResponse::Copied(result)));
    }
    if let Ok(CompletionResponse::Done(result)) = xml::parse_completion_response(data) {
        let written = xml::parse_completion_response(result.clone().write("/bucket/key", None).as_bytes());
        let Ok(CompletionResponse::Done(written)) = written else {
            panic!("it was written here: {written:?}")
        };
        assert_eq!(written.etag(), without_nul(result.etag()));
    }
    if let Ok(result) = xml::add_delete_errors(data, std::iter::empty()) {
        xml::add_delete_errors(&result, std::iter::empty()).expect("it was written here");
    }
}

/// A listing after one byte that selects the encoding of names: pieces give what the whole gives, and the
/// result lists the objects of the original.
pub fn listing(data: &[u8]) {
    let mut input = Input(data);
    let encoding = if input.byte() & 1 == 0 { NameEncoding::Verbatim } else { NameEncoding::Url };
    let document = input.rest();
    let whole = rewrite(encoding, &[document], "-v");
    assert_eq!(rewrite(encoding, &pieces(document), "-v"), whole);
    let (entries, written, ended) = whole;
    if ended.is_ok() {
        let (again, same, ended) = rewrite(encoding, &[&written], "");
        assert_eq!(ended, Ok(()));
        assert_eq!(same, written, "nothing is left to rewrite");
        let without_etags = |entries: &[Entry]| -> Vec<_> {
            entries.iter().map(|entry| (entry.key.clone(), entry.size, entry.etag.is_some())).collect()
        };
        assert_eq!(without_etags(&again), without_etags(&entries));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    key: String,
    size: u64,
    etag: Option<String>,
}

type Rewritten = (Vec<Entry>, Vec<u8>, Result<(), XmlError>);

fn rewrite(encoding: NameEncoding, pieces: &[&[u8]], etag_suffix: &'static str) -> Rewritten {
    let mut rewriter = ListRewriter::new(encoding);
    let (mut entries, mut written) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        rewriter.push(piece);
        loop {
            match rewriter.next_piece() {
                Ok(Some(ListingPiece::Passed(bytes))) => written.extend_from_slice(&bytes),
                Ok(Some(ListingPiece::Entry(entry))) => {
                    entry.write(ClientEntry { size: entry.size, etag_suffix }, &mut written);
                    let etag = entry.etag().map(str::to_owned);
                    entries.push(Entry { key: entry.object().to_owned(), size: entry.size, etag });
                }
                Ok(None) => break,
                // How much was passed on before the fault showed depends on the pieces.
                Err(error) => return (entries, Vec::new(), Err(error)),
            }
        }
    }
    let ended = rewriter.finish();
    (entries, if ended.is_ok() { written.to_vec() } else { Vec::new() }, ended)
}
