use http::Method;

use super::*;
use crate::body::test_support::{layout, pattern};
use crate::envelope::native::CHUNK;
use crate::envelope::native::multipart::{Part, PartNumber};
use crate::s3::Operation;
use crate::test_support::{Got, Storage, call, put, respond, upload};

const CHUNK_U64: u64 = CHUNK as u64;
const ALL: (&str, &str) = (ATTRIBUTES, "ETag,Checksum, ObjectParts,StorageClass,ObjectSize");

async fn ask(resources: &Resources, headers: &[(&str, &str)]) -> Result<Got, Error> {
    respond(resources, call(Operation::GetObjectAttributes, "k", "attributes", headers)).await
}

/// What is inside the document.
async fn told(resources: &Resources, headers: &[(&str, &str)]) -> String {
    let got = ask(resources, headers).await.unwrap();
    assert_eq!((got.head.status.as_u16(), got.header("content-type")), (200, Some("application/xml")));
    let document = String::from_utf8(got.body).unwrap();
    let (_, inside) = document.split_once("2006-03-01/\">").unwrap();
    inside.strip_suffix("</GetObjectAttributesResponse>").unwrap().to_owned()
}

fn checksum(content: &[u8]) -> String {
    let value = crate::wire::checksum::checksum(crate::s3::ChecksumAlgorithm::Crc32, content);
    format!(
        "<Checksum><ChecksumCRC32>{value}</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType></Checksum>"
    )
}

#[tokio::test]
async fn an_upload_is_told_in_plaintext_terms_without_its_terminator() {
    let (storage, resources, _folder) = Storage::serve().await;
    let lengths = [2 * CHUNK_U64, 2 * CHUNK_U64, 3 * CHUNK_U64 + 1];
    let uploaded = upload(&resources, "k", &layout(&lengths, true)).await;
    let mut kept = uploaded.kept("e");
    for (name, value) in
        [("x-amz-version-id", "v"), ("x-amz-storage-class", "GLACIER"), ("x-amz-checksum-crc32", "BBBBBB==")]
    {
        kept.headers.push((name.to_owned(), value.to_owned()));
    }
    storage.keep("k", kept);
    let parts: String = (1..)
        .zip(lengths)
        .map(|(number, length)| {
            format!("<Part><PartNumber>{number}</PartNumber><Size>{length}</Size></Part>")
        })
        .collect();
    let expected = format!(
        "<ETag>e-4</ETag>{}<ObjectParts><PartsCount>3</PartsCount><PartNumberMarker>0</PartNumberMarker>\
         <MaxParts>1000</MaxParts><IsTruncated>false</IsTruncated>{parts}</ObjectParts>\
         <StorageClass>GLACIER</StorageClass><ObjectSize>{}</ObjectSize>",
        checksum(&uploaded.content),
        7 * CHUNK_U64 + 1
    );
    assert_eq!(told(&resources, &[ALL]).await, expected);
    assert_eq!(ask(&resources, &[ALL]).await.unwrap().header("x-amz-version-id"), Some("v"));
    storage.requests();
    let size = format!("<ObjectSize>{}</ObjectSize>", 7 * CHUNK_U64 + 1);
    assert_eq!(told(&resources, &[(ATTRIBUTES, "ObjectSize")]).await, size);
    assert_eq!(storage.requests(), [(Method::HEAD, "/b/k".to_owned(), None)]);
}

#[tokio::test]
async fn parts_come_in_pages() {
    let (storage, resources, _folder) = Storage::serve().await;
    let part = |number| Part { number: PartNumber::new(number).unwrap(), length: u64::from(number) };
    let layout = Layout::ended_by_last([1, 3, 7, 8, 9].map(part).to_vec()).unwrap();
    storage.keep("k", upload(&resources, "k", &layout).await.kept("e"));
    let requested = (ATTRIBUTES, "ObjectParts");
    for (max, marker, numbers, next) in [
        ("2", "0", &[1, 3][..], Some(3)),
        ("2", "3", &[7, 8], Some(8)),
        ("2", "8", &[9], None),
        ("2", "9", &[], None),
        ("99999999999999999999", "2", &[3, 7, 8, 9], None),
        ("0", "3", &[], Some(3)),
    ] {
        let inside = told(&resources, &[requested, (MAX_PARTS, max), (MARKER, marker)]).await;
        let listed: Vec<_> = inside.split("<PartNumber>").skip(1).map(|part| part[..1].parse()).collect();
        assert_eq!(listed, numbers.iter().map(|number| Ok(*number)).collect::<Vec<Result<i32, _>>>());
        assert!(inside.contains("<PartsCount>5</PartsCount>"));
        assert!(inside.contains(&format!("<IsTruncated>{}</IsTruncated>", next.is_some())));
        let next = next.map(|next| format!("<NextPartNumberMarker>{next}</NextPartNumberMarker>"));
        assert_eq!(next.is_some(), inside.contains("NextPartNumberMarker"));
        assert!(next.is_none_or(|next| inside.contains(&next)));
    }
}

#[tokio::test]
async fn an_object_of_one_put_has_no_parts() {
    let (storage, resources, _folder) = Storage::serve().await;
    storage.keep("k", put(&resources, "k", &pattern(CHUNK + 1), "abc").await);
    let expected = format!(
        "<ETag>abc-v</ETag>{}<StorageClass>STANDARD</StorageClass><ObjectSize>65537</ObjectSize>",
        checksum(&pattern(CHUNK + 1))
    );
    assert_eq!(told(&resources, &[ALL]).await, expected);
    // The names may also come in several lines.
    let lines = [(ATTRIBUTES, "ETag"), (ATTRIBUTES, "ObjectSize")];
    assert_eq!(told(&resources, &lines).await, "<ETag>abc-v</ETag><ObjectSize>65537</ObjectSize>");
}

#[tokio::test]
async fn nonsense_is_refused_before_the_storage_hears_of_it() {
    let (storage, resources, _folder) = Storage::serve().await;
    for (headers, code) in [
        (&[][..], ErrorCode::InvalidRequest),
        (&[(ATTRIBUTES, " , ")], ErrorCode::InvalidRequest),
        (&[(ATTRIBUTES, "ETag,Etag")], ErrorCode::InvalidArgument),
        (&[ALL, (MAX_PARTS, "-1")], ErrorCode::InvalidArgument),
        (&[ALL, (MAX_PARTS, "")], ErrorCode::InvalidArgument),
        (&[ALL, (MARKER, "x")], ErrorCode::InvalidArgument),
        (&[ALL, ("x-amz-server-side-encryption-customer-algorithm", "AES256")], ErrorCode::NotImplemented),
    ] {
        assert_eq!(ask(&resources, headers).await.err().unwrap().to_s3().code, code, "{headers:?}");
    }
    assert_eq!(storage.requests(), []);
}

#[tokio::test]
async fn the_storages_refusal_is_the_answer_to_a_get() {
    let (storage, resources, _folder) = Storage::serve().await;
    assert_eq!(ask(&resources, &[ALL]).await.unwrap().head.status, 404);
    let methods: Vec<_> = storage.requests().into_iter().map(|(method, ..)| method).collect();
    assert_eq!(methods, [Method::HEAD, Method::GET], "an answer to HEAD has no document");
}
