use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

mod plain;

/// AWS's own shape.
const AWS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix></Prefix><KeyCount>3</KeyCount>\
    <MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
    <Contents><Key>a+b%2Fc%2B</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
    <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-2&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
    <Size>17</Size><Owner><ID>1</ID><DisplayName>o</DisplayName></Owner><StorageClass>STANDARD</StorageClass>\
    <RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>\
    <Contents><Key>plain</Key><Size>65552</Size></Contents>\
    <CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes></ListBucketResult>";

/// Odd in every way that XML allows.
const ODD: &str = "\u{feff}<?xml version='1.0'?>\n<!-- <Contents><Size>1</Size></Contents> -->\n\
    <s3:ListVersionsResult xmlns:s3='u' a=\"<Size>\" >\n\
    <s3:Size>7</s3:Size><s3:Deep><s3:Contents><s3:Size>7</s3:Size></s3:Contents></s3:Deep>\n\
    <s3:Version x='>'><!-- <Size>8</Size> -->\n<s3:Size >\t 33 \n</s3:Size ><s3:Owner><s3:Size>9</s3:Size><s3:Key>no</s3:Key></s3:Owner>\
    <s3:VersionId>v&#49;</s3:VersionId><s3:Key><![CDATA[</Key><Size>]]>&lt;/Key&gt;&amp;&#x26;<!-- -->é\u{1f980}</s3:Key><New/></s3:Version >\n\
    <s3:DeleteMarker><s3:Key>gone</s3:Key><s3:VersionId>v2</s3:VersionId></s3:DeleteMarker>\n\
    <s3:Version><s3:Key>no size</s3:Key></s3:Version><s3:Version/><s3:EncodingType/><?pi <Size>?>\n\
    </s3:ListVersionsResult>\n<!-- end -->\n";

fn odd() -> String {
    // `<` is barred from attribute values, so the document is made well-formed here.
    ODD.replace("a=\"<Size>\"", "a=\"Size>\"")
}

/// Rewrites a document cut at these offsets; `resize` gives each entry its size.
fn rewrite(
    document: &[u8],
    cuts: &[usize],
    requested: NameEncoding,
    mut resize: impl FnMut(&ListedEntry<'_>) -> u64,
) -> Result<Vec<u8>, XmlError> {
    rewrite_as(document, cuts, requested, |entry| ClientEntry { size: resize(entry), etag_suffix: "" })
}

/// Rewrites a document cut at these offsets; `rewrite` says how each entry appears.
fn rewrite_as(
    document: &[u8],
    cuts: &[usize],
    requested: NameEncoding,
    mut rewrite: impl FnMut(&ListedEntry<'_>) -> ClientEntry,
) -> Result<Vec<u8>, XmlError> {
    let mut rewriter = ListRewriter::new(requested);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (document.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(document.len());
    let (mut start, mut output) = (0, BytesMut::new());
    for cut in cuts {
        rewriter.push(&document[start..cut]);
        start = cut;
        while let Some(piece) = rewriter.next_piece()? {
            match piece {
                ListingPiece::Passed(bytes) => output.extend_from_slice(&bytes),
                ListingPiece::Entry(entry) => {
                    let shown = rewrite(&entry);
                    entry.write(shown, &mut output);
                }
            }
        }
    }
    rewriter.finish().map(|()| output.to_vec())
}

fn entries(document: &str, requested: NameEncoding) -> Result<Vec<OwnedEntry>, XmlError> {
    let mut found = Vec::new();
    rewrite(document.as_bytes(), &[], requested, |entry| {
        found.push(entry.detached());
        entry.size
    })
    .map(|_| found)
}

#[test]
fn the_bucket_has_the_clients_name() {
    let name = |document: &str, cut: usize| {
        let mut rewriter = ListRewriter::new(NameEncoding::Url).with_bucket("mine&");
        let mut output = BytesMut::new();
        for part in [&document.as_bytes()[..cut], &document.as_bytes()[cut..]] {
            rewriter.push(part);
            while let Some(piece) = rewriter.next_piece().unwrap() {
                match piece {
                    ListingPiece::Passed(bytes) => output.extend_from_slice(&bytes),
                    ListingPiece::Entry(entry) => {
                        entry.write(ClientEntry { size: entry.size, etag_suffix: "" }, &mut output);
                    }
                }
            }
        }
        rewriter.finish().unwrap();
        String::from_utf8(output.to_vec()).unwrap()
    };
    let shown = rewrite(AWS.as_bytes(), &[], NameEncoding::Url, |entry| entry.size).unwrap();
    let shown = String::from_utf8(shown).unwrap().replace("<Name>b</Name>", "<Name>mine&amp;</Name>");
    for cut in 0..AWS.len() {
        assert_eq!(name(AWS, cut), shown, "{cut}");
    }
    // Some storages write the name behind the entries; a name within an entry is another one.
    let late = "<ListBucketResult><Contents><Key>k</Key><Size>1</Size><Owner><Name>b</Name></Owner></Contents>\
                <Name>b</Name></ListBucketResult>";
    assert_eq!(name(late, 0), late.replace("</Contents><Name>b<", "</Contents><Name>mine&amp;<"));
}

fn listing(inside: &str) -> String {
    format!("<ListBucketResult>{inside}</ListBucketResult>")
}

fn keys(document: &str, requested: NameEncoding) -> Result<Vec<String>, XmlError> {
    Ok(entries(document, requested)?.iter().map(|entry| entry.entry().object().to_owned()).collect())
}

#[test]
fn changes_the_sizes_and_what_is_of_the_ciphertext_and_nothing_else() {
    let sized = |entry: &ListedEntry<'_>| if entry.size == 17 { 1 } else { 123_456_789 };
    let rewritten = rewrite(AWS.as_bytes(), &[], NameEncoding::Url, sized).unwrap();
    let about_ciphertext = "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>";
    let expected = AWS.replace(">17<", ">1<").replace(">65552<", ">123456789<").replace(about_ciphertext, "");
    assert_eq!(String::from_utf8(rewritten).unwrap(), expected);

    let rewritten = rewrite(odd().as_bytes(), &[], NameEncoding::Verbatim, |_| u64::MAX).unwrap();
    assert_eq!(String::from_utf8(rewritten).unwrap(), odd().replace(" 33 ", &format!(" {} ", u64::MAX)));
}

#[test]
fn reads_what_an_entry_says() {
    let found = entries(AWS, NameEncoding::Url).unwrap();
    let [first, second] = found.as_slice() else { panic!("{found:?}") };
    let (first, second) = (first.entry(), second.entry());
    assert_eq!((first.object(), first.size), ("a b/c+", 17));
    assert_eq!(first.etag(), Some("d41d8cd98f00b204e9800998ecf8427e-2"));
    assert_eq!((second.etag(), second.version_id()), (None, None));

    let found = entries(&odd(), NameEncoding::Verbatim).unwrap();
    let [version] = found.as_slice() else { panic!("{found:?}") };
    let version = version.entry();
    assert_eq!(version.object(), "</Key><Size></Key>&&é\u{1f980}");
    assert_eq!((version.version_id(), version.size), (Some("v1"), 33));
}

#[test]
fn an_etag_gets_its_suffix_within_its_quotes_however_it_is_written() {
    for (written, expected) in [
        ("\"abc\"", "\"abc-v\""),
        ("&quot;abc&quot;", "&quot;abc-v&quot;"),
        ("&#34;abc&#34;", "&#34;abc-v&#34;"),
        ("abc", "abc-v"),
        (" \"abc\"\n", " \"abc-v\"\n"),
        ("&#x61;bc", "&#x61;bc-v"),
        // Written as by no storage; what it means stays.
        ("&#x22;abc&#x22;", "\"abc-v\""),
        ("<![CDATA[\"abc\"]]>", "\"abc-v\""),
        ("<!-- -->&quot;ab<!-- -->c&quot;", "\"abc-v\""),
    ] {
        for before_size in [true, false] {
            let document = |etag: &str, size: u64, checksum: &str| {
                let (etag, size) = (format!("<ETag>{etag}</ETag>{checksum}"), format!("<Size>{size}</Size>"));
                let fields = if before_size { etag + &size } else { size + &etag };
                listing(&format!("<Contents><Key>k</Key>{fields}<StorageClass>S</StorageClass></Contents>"))
            };
            let checksum = "<ChecksumAlgorithm>SHA1</ChecksumAlgorithm><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>\
                            <ChecksumType>FULL_OBJECT</ChecksumType>";
            for (size, shown) in [(16, 16), (17, 1)] {
                let rewritten = rewrite_as(
                    document(written, size, checksum).as_bytes(),
                    &[],
                    NameEncoding::Verbatim,
                    |entry| {
                        assert_eq!(crate::s3::etag::bare(entry.etag().unwrap()), "abc");
                        ClientEntry { size: shown, etag_suffix: "-v" }
                    },
                );
                let rewritten = String::from_utf8(rewritten.unwrap()).unwrap();
                assert_eq!(rewritten, document(expected, shown, ""), "{written}");
            }
        }
    }
}

/// They describe the stored bytes, and come in any place and number.
#[test]
fn checksums_of_the_stored_bytes_are_left_out() {
    for (entry, expected) in [
        (
            "<ChecksumType>COMPOSITE</ChecksumType><Key>k</Key><ChecksumAlgorithm>SHA1</ChecksumAlgorithm><Size>7</Size>\
             <ChecksumAlgorithm>SHA256</ChecksumAlgorithm>",
            "<Key>k</Key><Size>7</Size>",
        ),
        ("<Key>k</Key> <ChecksumType/> <Size>7</Size>", "<Key>k</Key>  <Size>7</Size>"),
        (
            "<Key>k</Key><Owner><ChecksumType>o</ChecksumType></Owner><ChecksumAlgorithm >A<!-- --></ChecksumAlgorithm\n><Size>7</Size>",
            "<Key>k</Key><Owner><ChecksumType>o</ChecksumType></Owner><Size>7</Size>",
        ),
        ("<Key>ChecksumType</Key><Size>7</Size>", "<Key>ChecksumType</Key><Size>7</Size>"),
    ] {
        for name in ["Contents", "Version"] {
            let document = |entry: &str| listing(&format!("<{name}>{entry}</{name}>"));
            let rewritten =
                rewrite(document(entry).as_bytes(), &[], NameEncoding::Verbatim, |entry| entry.size);
            assert_eq!(String::from_utf8(rewritten.unwrap()).unwrap(), document(expected));
        }
    }
}

/// A key can only come escaped, and then it is text: it neither ends its entry nor names a size.
#[test]
fn a_key_that_looks_like_markup_is_a_key() {
    let key = "</Key><Size>1</Size></Contents><Contents><Key>x";
    for written in [
        key.replace('<', "&lt;"),
        key.replace('<', "&#60;").replace('>', "&#x3E;"),
        format!("<![CDATA[{key}]]>"),
        percent::encode_query(key).to_string(),
    ] {
        let shown = if written.contains('%') { "<EncodingType>url</EncodingType>" } else { "" };
        let document = listing(&format!("{shown}<Contents><Key>{written}</Key><Size>32</Size></Contents>"));
        let found = entries(&document, NameEncoding::Verbatim).unwrap();
        assert_eq!(found.len(), 1, "This is a security issue: {document}");
        assert_eq!((found[0].entry().object(), found[0].entry().size), (key, 32));
        let rewritten = rewrite(document.as_bytes(), &[], NameEncoding::Verbatim, |_| 16).unwrap();
        assert_eq!(String::from_utf8(rewritten).unwrap(), document.replace(">32<", ">16<"));
    }
    let unescaped = listing(&format!("<Contents><Key>{key}</Key><Size>32</Size></Contents>"));
    assert_eq!(keys(&unescaped, NameEncoding::Verbatim), Err(XmlError::Unexpected));
}

#[test]
fn names_are_decoded_as_the_document_says_or_else_as_was_asked() {
    use NameEncoding::{Url, Verbatim};
    let entry = |key: &str| format!("<Contents><Key>{key}</Key><Size>16</Size></Contents>");
    let shown = "<EncodingType>url</EncodingType>";
    let key = |document: String, requested| keys(&listing(&document), requested).map(|keys| keys.concat());
    assert_eq!(key(entry("a%2Bb+"), Verbatim), Ok("a%2Bb+".into()));
    assert_eq!(key(shown.to_owned() + &entry("a%2Bb+"), Verbatim), Ok("a+b ".into()));
    assert_eq!(key(entry("a%2Bb+") + shown, Url), Ok("a+b ".into()));
    // A store that ignores the request.
    assert_eq!(key(entry("100%"), Url), Ok("100%".into()));
    assert_eq!(key(entry("%ff"), Url), Ok("%ff".into()));
    // A store that does something else than it says.
    assert_eq!(key(shown.to_owned() + &entry("100%"), Url), Err(XmlError::Unexpected));
    assert_eq!(key(entry("a%2Bb") + shown, Verbatim), Err(XmlError::Unexpected));
    assert_eq!(key(shown.to_owned() + "<EncodingType>base64</EncodingType>", Url), Err(XmlError::Unexpected));
    assert_eq!(key("<EncodingType> </EncodingType>".to_owned() + &entry("%41"), Verbatim), Ok("%41".into()));
}

#[test]
fn other_documents() {
    for document in [
        "<Error><Code>NoSuchBucket</Code><Contents><Size>x</Size></Contents></Error>",
        "  \n<?xml version='1.0'?><Error/>",
        "<ListBucketResult/>",
        "<ListBucketResult><Contents/><CommonPrefixes><Prefix/></CommonPrefixes></ListBucketResult>",
        "<ListVersionsResult><DeleteMarker><Key>k</Key><Size>x</Size></DeleteMarker></ListVersionsResult>",
    ] {
        let passed = rewrite(document.as_bytes(), &[], NameEncoding::Verbatim, |_| unreachable!()).unwrap();
        assert_eq!(String::from_utf8(passed).unwrap(), document);
    }
    for (document, error) in [
        ("", XmlError::Malformed),
        ("not found", XmlError::Malformed),
        ("<html><body>maintenance</body></html>", XmlError::Unexpected),
        ("<ListAllMyBucketsResult/>", XmlError::Unexpected),
        ("<ListBucketResult><Contents><Key>k</Key><Size>16</Size></Contents>", XmlError::Malformed),
        ("<!DOCTYPE ListBucketResult><ListBucketResult/>", XmlError::Malformed),
    ] {
        assert_eq!(entries(document, NameEncoding::Verbatim).err(), Some(error), "{document}");
    }
}

#[test]
fn an_entry_that_can_be_read_in_two_ways_is_none() {
    for entry in [
        "<Key>k</Key><Size></Size>",
        "<Key>k</Key><Size/>",
        "<Key>k</Key><Size>-1</Size>",
        "<Key>k</Key><Size>+1</Size>",
        "<Key>k</Key><Size>1 2</Size>",
        "<Key>k</Key><Size>0x10</Size>",
        "<Key>k</Key><Size>18446744073709551616</Size>",
        "<Key>k</Key><Size>1&#50;</Size>",
        "<Key>k</Key><Size>1<!-- -->2</Size>",
        "<Key>k</Key><Size><![CDATA[12]]></Size>",
        "<Key>k</Key><Size>12<b/></Size>",
        "<Key>k</Key><Size>12</Size><Size>12</Size>",
        "<Key>k</Key><x:Size>12</x:Size><Size>12</Size>",
        "<Key>k</Key><Key>l</Key><Size>12</Size>",
        "<Key>k<b/></Key><Size>12</Size>",
        "<Key></Key><Size>12</Size>",
        "<Size>12</Size>",
    ] {
        let document = listing(&format!("<Contents>{entry}</Contents>"));
        assert_eq!(entries(&document, NameEncoding::Verbatim).err(), Some(XmlError::Unexpected), "{entry}");
    }
    for entry in
        ["<Key>&nope;</Key><Size>12</Size>", "<Key>&#0;</Key><Size>12</Size>", "<Key>k</key><Size>12</Size>"]
    {
        let document = listing(&format!("<Contents>{entry}</Contents>"));
        assert_eq!(entries(&document, NameEncoding::Verbatim).err(), Some(XmlError::Malformed), "{entry}");
    }
    let bytes = [
        &b"<ListBucketResult><Contents><Key>\xff</Key><Size>12</Size></Contents>"[..],
        b"</ListBucketResult>",
    ];
    let refused = rewrite(&bytes.concat(), &[], NameEncoding::Verbatim, |entry| entry.size);
    assert_eq!(refused, Err(XmlError::Malformed));
}

#[test]
fn the_largest_entry_passes_and_a_larger_one_is_refused() {
    let entry = |key: &str, more: usize| {
        let more = "x".repeat(more);
        listing(&format!("<Contents><Key>{key}</Key><Size>16</Size><More>{more}</More></Contents>"))
    };
    let longest = "&quot;".repeat(1024);
    assert_eq!(keys(&entry(&longest, 2048), NameEncoding::Verbatim).unwrap(), ["\"".repeat(1024)]);
    assert_eq!(keys(&entry("k", MAX_ENTRY), NameEncoding::Verbatim), Err(XmlError::TooLarge));
    let too_long = "k".repeat(1025);
    assert_eq!(keys(&entry(&too_long, 0), NameEncoding::Verbatim), Err(XmlError::Unexpected));
    // Refused as soon as it is too long, not when it ends.
    let mut rewriter = ListRewriter::new(NameEncoding::Verbatim);
    rewriter.push(b"<ListBucketResult><Contents><Key>");
    assert!(rewriter.next_piece().unwrap().is_some());
    for _ in 0..MAX_ENTRY / 1024 - 1 {
        rewriter.push(&[b'k'; 1024]);
        assert!(rewriter.next_piece().unwrap().is_none());
    }
    rewriter.push(&[b'k'; 1024]);
    assert_eq!(rewriter.next_piece().err(), Some(XmlError::TooLarge));
}

/// What is not part of an entry is passed on at once, however long it is.
#[test]
fn memory_does_not_grow_with_the_document() {
    let mut rewriter = ListRewriter::new(NameEncoding::Verbatim);
    let rest = [&b"<x>"[..], b"text ", b"<!-- no end ", b"-- ", b"<Contents> --><Contents>"];
    for (document, endless) in [(&b"<ListBucketResult>"[..], false), (b" \n", true)]
        .into_iter()
        .chain(rest.into_iter().map(|bytes| (bytes, bytes.ends_with(b" "))))
    {
        for _ in 0..if endless { 10_000 } else { 1 } {
            rewriter.push(document);
            while rewriter.next_piece().unwrap().is_some() {}
            assert!(rewriter.buffer.len() <= MAX_ENTRY);
        }
    }
}

#[test]
fn every_cut_of_the_odd_document_gives_the_same() {
    let document = odd();
    let whole = rewrite(document.as_bytes(), &[], NameEncoding::Verbatim, |_| 5).unwrap();
    for cut in 0..document.len() {
        let cut = rewrite(document.as_bytes(), &[cut], NameEncoding::Verbatim, |_| 5).unwrap();
        assert_eq!(cut, whole);
    }
    let bytewise: Vec<usize> = (0..document.len()).collect();
    assert_eq!(rewrite(document.as_bytes(), &bytewise, NameEncoding::Verbatim, |_| 5).unwrap(), whole);
}

/// A key as it may be written, and what is meant.
fn written_key() -> impl Strategy<Value = (String, String)> {
    ("[ -~é\u{1f980}\t]{1,40}", 0..4).prop_map(|(key, style)| {
        let written = match style {
            0 => key.chars().map(|c| format!("&#{};", u32::from(c))).collect(),
            1 if !key.contains("]]>") => format!("<![CDATA[{key}]]>"),
            _ => {
                let mut text = String::new();
                super::super::push_text(&mut text, &key);
                text
            }
        };
        (key, written)
    })
}

proptest! {
    #[test]
    fn any_listing_in_any_framing(
        objects in prop::collection::vec((written_key(), any::<u64>(), any::<u64>(), 0..6_usize), 0..12),
        blank in "[ \n]{0,3}",
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let document = |second: bool| {
            let mut inside = String::new();
            for ((_, written), stored, size, order) in &objects {
                let size = if second { size } else { stored };
                let mut fields = [
                    format!("<Key>{written}</Key>{blank}"),
                    format!("<Size>{blank}{size}</Size>"),
                    "<!-- </Contents> --><Owner><ID>1</ID></Owner><ETag>\"e\"</ETag>".to_owned(),
                ];
                fields.rotate_left(order % 3);
                if *order > 2 {
                    fields.swap(0, 1);
                }
                inside += &format!("<Contents>{blank}{}</Contents>{blank}", fields.concat());
            }
            listing(&inside)
        };
        let mut sizes = objects.iter().map(|(_, _, size, _)| *size);
        let mut seen = Vec::new();
        let rewritten = rewrite(document(false).as_bytes(), &cuts, NameEncoding::Verbatim, |entry| {
            seen.push((entry.object().to_owned(), entry.size));
            sizes.next().unwrap()
        }).unwrap();
        prop_assert_eq!(String::from_utf8(rewritten).unwrap(), document(true));
        let expected: Vec<_> = objects.iter().map(|((key, _), stored, _, _)| (key.clone(), *stored)).collect();
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn any_bytes_come_back_as_they_are_or_are_refused_in_any_framing(
        inside in "(<[/!?]?|>|/>|Contents|Key|Size|<Contents>|</Contents>|<Key>|</Key>|<Size>|</Size>|k|1| |=|\"|'|--|\\[CDATA\\[|\\]\\]|&|;|:){0,40}",
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let document = listing(&inside);
        let whole = rewrite(document.as_bytes(), &[], NameEncoding::Verbatim, |entry| entry.size);
        let cut = rewrite(document.as_bytes(), &cuts, NameEncoding::Verbatim, |entry| entry.size);
        if let Ok(passed) = &whole {
            prop_assert_eq!(passed, document.as_bytes());
        }
        prop_assert_eq!(whole, cut);
    }
}
