use super::*;
use crate::s3::xml::{ListRewriter, ListingPiece, NameEncoding};

const MD5: Option<&str> = Some("\"d41d8cd98f00b204e9800998ecf8427e\"");
/// The estimate for an entry with this ETag, as it is read, and this stored length.
fn estimated(etag: Option<&str>, stored: u64) -> SizeEstimate {
    let etag = etag.map_or(String::new(), |etag| format!("<ETag>{etag}</ETag>"));
    let entry = format!("<Contents><Key>k</Key>{etag}<Size>{stored}</Size></Contents>");
    let mut rewriter = ListRewriter::new(NameEncoding::Verbatim);
    rewriter.push(format!("<ListBucketResult>{entry}</ListBucketResult>").as_bytes());
    loop {
        match rewriter.next_piece().unwrap() {
            Some(ListingPiece::Entry(entry)) => return estimate(&entry),
            Some(ListingPiece::Passed(_)) => {}
            None => panic!("no entry"),
        }
    }
}

const LOOKUP: SizeEstimate = SizeEstimate::NeedsLookup(Lookup::Metadata);

#[test]
fn objects_of_one_put_are_sized_by_arithmetic() {
    for (stored, size) in [(16, 0), (17, 1), (65_552, 65_536), (65_569, 65_537), (131_104, 131_072)] {
        assert_eq!(estimated(MD5, stored), SizeEstimate::Known(size));
    }
}

#[test]
fn regular_uploads_are_sized_by_arithmetic() {
    for (count, stored, size) in [
        (1, 80, 0),
        (1, 97, 1),
        (2, 160 + 65_552, 65_536),
        (3, 240 + 65_552 + 17, 65_537),
        (10_000, 800_000, 0),
    ] {
        let etag = format!("d41d8cd98f00b204e9800998ecf8427e-{count}");
        assert_eq!(estimated(Some(&etag), stored), SizeEstimate::Known(size));
    }
}

#[test]
fn objects_too_short_for_the_native_format_keep_their_size() {
    for stored in [0, 1, 15] {
        assert_eq!(estimated(None, stored), SizeEstimate::Known(stored));
        assert_eq!(estimated(MD5, stored), SizeEstimate::Known(stored));
        assert_eq!(estimated(Some("e-2"), stored), SizeEstimate::Known(stored));
    }
}

#[test]
fn impossible_lengths_and_unknown_etags_need_a_lookup() {
    for stored in [65_553, 65_568] {
        assert_eq!(estimated(MD5, stored), LOOKUP);
    }
    for parts in [1, 3] {
        let etag = format!("d41d8cd98f00b204e9800998ecf8427e-{parts}");
        let stored = 80 * u64::from(parts) + 65_553;
        assert_eq!(estimated(Some(&etag), stored), SizeEstimate::NeedsLookup(Lookup::Tail { parts }));
    }
    assert_eq!(estimated(Some("\"d41d8cd98f00b204e9800998ecf8427e-3\""), 239), LOOKUP);
    for opaque in [None, Some("\"CJ6Xx7Ck3oQDEAE=\""), Some("d41d8cd98f00b204"), Some("")] {
        assert_eq!(estimated(opaque, 65_552), LOOKUP, "the object may be a multipart upload");
    }
}
