//! Plain entries are found by their shape, and are what they would be if they were read as XML.

use super::*;
use crate::s3::xml::listing::fields::ListedEtag;

/// The fields of an entry that is plain as a whole.
fn plain_fields(element: &[u8]) -> Option<Fields> {
    plain_fields_after(&[], element)
}

/// The fields of an entry that is plain as a whole, behind others.
fn plain_fields_after(before: &[&[u8]], element: &[u8]) -> Option<Fields> {
    let (mut shapes, mut fields) = (Shapes::default(), Fields::default());
    for other in before {
        let _found = shapes.find(other, &mut fields);
    }
    let found = shapes.find(element, &mut fields).ok().filter(|found| found.length == element.len())?;
    let is_plain = !found.needs_reader && fields.complete(element, found.has_references);
    is_plain.then_some(fields)
}

/// What an entry may be made of, as it should be and as it should not.
const PIECES: [&str; 28] = [
    "<Contents>",
    "</Contents>",
    "<Key>",
    "</Key>",
    "<Size>",
    "</Size>",
    "<ETag>",
    "</ETag>",
    "<VersionId>",
    "</VersionId>",
    "<Owner>",
    "</Owner>",
    "<Key/>",
    "<x:Key>",
    "<Key a='1'>",
    "</Key >",
    "k/e y",
    "17",
    " ",
    "\n",
    "\r\n",
    "&quot;",
    "&#60;",
    "&no;",
    "&",
    "<![CDATA[<Key>]]>",
    "<!-- -->",
    "\u{e9}]]>",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    /// This is a security issue: the quick way must not read another key or size than the careful one.
    #[test]
    fn a_plain_entry_is_read_as_any_other(
        text in prop::sample::select(&PIECES[16..]), size in prop::sample::select(&PIECES[16..]),
        odd in prop::collection::vec((0..9_usize, prop::sample::select(&PIECES[..])), 0..3),
    ) {
        let mut pieces = vec!["<Contents>", "<Key>", text, "</Key>", "<Size>", size, "</Size>", "</Contents>"];
        for (at, piece) in odd {
            pieces.insert(at.min(pieces.len()), piece);
        }
        let element = pieces.concat();
        if let Some(plain) = plain_fields(element.as_bytes()) {
            prop_assert_eq!(Fields::read(element.as_bytes()), Ok(plain), "{}", element);
        }
    }
}

#[test]
fn entries_of_s3_are_plain() {
    let entry = "<Contents>\n<Key>a&amp;b</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag>\
                 <ChecksumType>FULL_OBJECT</ChecksumType><Size>17</Size><StorageClass>STANDARD</StorageClass></Contents>";
    let fields = plain_fields(entry.as_bytes()).expect("it is plain");
    let (digits, size) = fields.size.expect("it has one");
    assert_eq!((&entry[digits.range()], size), ("17", 17));
    let read = ListedEntry { bytes: entry.as_bytes(), fields: &fields, size };
    assert_eq!((read.object(), read.etag()), ("a&b", Some("e")));
    let first = entry.replace("a&amp;b", "another").replace("STANDARD", "GLACIER");
    assert_eq!(plain_fields_after(&[first.as_bytes()], entry.as_bytes()), Some(fields));
}

const NAMES: [&str; 4] = ["Contents", "Version", "DeleteMarker", "CommonPrefixes"];

const KEYS: [&str; 8] = [
    "<Key>a</Key>",
    "<Key>a/b c%2B+</Key>",
    "<Key>k&amp;&#x3c;\u{e9}</Key>",
    "<Key>\u{1f980}]]></Key>",
    "<Key>two\r\nlines</Key>",
    "<Key>&no;</Key>",
    "<Key/>",
    "<Key a='1'>k</Key>",
];

const SIZES: [&str; 6] = [
    "<Size>17</Size>",
    "<Size>18446744073709551615</Size>",
    "<Size> 007\n</Size>",
    "<Size>1&#50;</Size>",
    "<Size></Size>",
    "",
];

/// What an entry may have besides.
const OTHERS: [&str; 18] = [
    "<ETag>\"0cc175b9c0f1b6a831c399e269772661\"</ETag>",
    "<ETag>&quot;0cc175b9c0f1b6a831c399e269772661-2&quot;</ETag>",
    "<VersionId>v&#49;</VersionId>",
    "<ChecksumAlgorithm>SHA1</ChecksumAlgorithm>",
    "<ChecksumAlgorithm>SHA1</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>",
    "<ChecksumType></ChecksumType>\n",
    "<LastModified>2026-01-01T00:00:00.000Z</LastModified>",
    "<StorageClass>STANDARD</StorageClass>",
    "<StorageClass>&amp;\r</StorageClass>",
    "<Owner><ID>1</ID> <DisplayName>a &lt; b</DisplayName>\n</Owner>",
    "<Owner><Key>k</Key><Size>1</Size><ChecksumType>o</ChecksumType></Owner>",
    "<Owner>text<ID>1</ID></Owner>",
    "<ChecksumType><b>1</b></ChecksumType>",
    "<ETag>e</ETag >",
    "<New/>",
    " \n",
    "<StorageClass>&</StorageClass>",
    "<StorageClass>",
];

/// The rewritten listing, and the key, size, ETag and version of each entry.
type Seen = Result<(String, Vec<(String, u64, Option<String>, Option<String>)>), XmlError>;

fn seen(document: &str, cuts: &[usize]) -> Seen {
    let mut entries = Vec::new();
    let rewritten = rewrite_as(document.as_bytes(), cuts, NameEncoding::Verbatim, |entry| {
        let owned = |text: &str| text.to_owned();
        let (etag, version_id) = (entry.etag().map(owned), entry.version_id().map(owned));
        entries.push((entry.object().to_owned(), entry.size, etag, version_id));
        ClientEntry { size: entry.size / 2, etag_suffix: "-v" }
    })?;
    Ok((String::from_utf8(rewritten).unwrap(), entries))
}

/// As [`seen`], of a listing with a comment in every entry, so that none is plain.
fn seen_by_reader(document: &str) -> Seen {
    const COMMENT: &str = "<!-- -->";
    let document = NAMES.iter().fold(document.to_owned(), |document, name| {
        document.replace(&format!("<{name}>"), &format!("<{name}>{COMMENT}"))
    });
    seen(&document, &[]).map(|(rewritten, entries)| (rewritten.replace(COMMENT, ""), entries))
}

/// Mostly one of the first `usual`.
fn mostly(usual: usize, texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![49 => prop::sample::select(&texts[..usual]), 1 => prop::sample::select(texts)]
}

fn element() -> impl Strategy<Value = String> {
    let others = prop::collection::vec(mostly(12, &OTHERS), 0..4);
    (mostly(2, &NAMES), mostly(4, &KEYS), mostly(3, &SIZES), others, any::<usize>()).prop_map(
        |(name, key, size, others, order)| {
            let mut fields = [&[key, size][..], &others[..]].concat();
            let count = fields.len();
            fields.rotate_left(order % count);
            format!("<{name}>{}</{name}>", fields.concat())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// This is a security issue: a listing must not depend on how its entries were found.
    #[test]
    fn a_listing_is_rewritten_as_if_no_entry_were_plain(
        elements in prop::collection::vec(element(), 1..4),
        chosen in prop::collection::vec((any::<usize>(), any::<u8>()), 0..8),
        between in prop::sample::select(&["", "\n  ", "<!-- <Contents> -->", "text"][..]),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let chosen = chosen.into_iter().map(|(index, texts)| changed(&elements[index % elements.len()], texts));
        let document = listing(&format!("<Name>b</Name>{}", chosen.collect::<Vec<_>>().join(between)));
        let read = seen_by_reader(&document);
        prop_assert_eq!(&seen(&document, &[]), &read, "{}", document);
        prop_assert_eq!(&seen(&document, &cuts), &read, "{}", document);
    }
}

/// The element with other texts between the same tags: those whose bit is set.
fn changed(element: &str, texts: u8) -> String {
    let changes = [
        ("STANDARD", "GLACIER_IR"),
        ("2026-", "2027-"),
        ("SHA1", "CRC64NVME"),
        ("COMPOSITE", "FULL_OBJECT"),
        (">17<", ">4711<"),
        (">a<", ">b&amp;\u{e9}<"),
        ("<ID>1<", "<ID>two\r\nlines<"),
        ("<ChecksumType></", "<ChecksumType>&#60;</"),
    ];
    let meant = changes.iter().enumerate().filter(|(bit, _)| texts & 1 << bit != 0);
    meant.fold(element.to_owned(), |element, (_, (from, to))| element.replace(from, to))
}

#[test]
fn plain_entries_may_be_cut_anywhere() {
    let plain = "<Contents><Key>a&amp;b</Key><ETag>&quot;e&quot;</ETag><ChecksumType>FULL_OBJECT</ChecksumType>\
                 <Size>17</Size><Owner><ID>1</ID></Owner></Contents>";
    let other = plain.replace("<ChecksumType>FULL_OBJECT</ChecksumType>", "").replace("17", "4711");
    let deleted = "<DeleteMarker><Key>gone</Key></DeleteMarker>";
    let document = listing(&[plain, &other, plain, deleted, &other, deleted, "\n", plain].concat());
    let read = seen_by_reader(&document);
    assert_eq!(read.as_ref().map(|(_, entries)| entries.len()), Ok(5));
    for first in 0..document.len() {
        assert_eq!(seen(&document, &[first]), read);
        assert_eq!(seen(&document, &[first, first + 1, first + 20]), read);
    }
    assert_eq!(seen(&document, &(0..document.len()).collect::<Vec<_>>()), read);
}

#[test]
fn a_plain_entry_that_is_too_large_is_refused() {
    let small = "<Contents><Key>k</Key><Size>16</Size><More></More></Contents>";
    for (excess, expected) in [(0, Ok(3)), (1, Err(XmlError::TooLarge))] {
        let more = "x".repeat(MAX_ENTRY - small.len() + excess);
        let large = small.replace("<More>", &format!("<More>{more}"));
        let document = listing(&[small, small, &large].concat());
        for cuts in [&[][..], &[200], &[200, 10_000]] {
            assert_eq!(seen(&document, cuts).map(|(_, entries)| entries.len()), expected);
        }
    }
}

/// What an ETag may be made of.
const ETAG_PIECES: [&str; 10] = [
    "&quot;",
    "\"",
    "&#34;",
    "d41d8cd98f00b204e9800998ecf8427e",
    "D41D8CD98F00B204E9800998ECF8427E",
    "d41d8cd98f00b204e9800998ecf8427",
    "d41d8cd98f00b204e9800998ecf8427g",
    "-2",
    "W/",
    " ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// An ETag that is a hash is found without a look at each byte, and has the place of its suffix at once.
    #[test]
    fn a_hash_is_read_and_written_as_any_other_etag(
        pieces in prop::collection::vec(prop::sample::select(&ETAG_PIECES[..]), 0..4),
        is_quoted in any::<bool>(),
    ) {
        let quote = if is_quoted { "&quot;" } else { "" };
        let etag = [quote, &pieces.concat(), quote].concat();
        let element = format!("<Contents><Key>k</Key><ETag>{etag}</ETag><Size>17</Size></Contents>");
        let fields = plain_fields(element.as_bytes()).expect("it is plain");
        let read = Fields::read(element.as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&fields), "{}", element);
        let text = fields.etag.as_ref().expect("it has one").text(element.as_bytes());
        let digest = if let Some(ListedEtag::Digest(at)) = fields.etag { Some(at) } else { None };
        let is_hash = [32, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_written_plainly = element.contains(&format!(">&quot;{text}&quot;<"));
        prop_assert_eq!(digest.is_some(), is_hash && is_written_plainly, "{}", element);
        let written = |fields: &Fields| {
            let mut written = BytesMut::new();
            let entry = ListedEntry { bytes: element.as_bytes(), fields, size: 17 };
            entry.write(ClientEntry { size: 1, etag_suffix: "-v" }, &mut written);
            written
        };
        if let Some(at) = digest {
            let text = Text::Written(at.within_quotes());
            let etag = Some(ListedEtag::Other { text, is_quoted: true, at });
            prop_assert_eq!(written(&fields), written(&Fields { etag, ..fields.clone() }));
        }
    }
}
