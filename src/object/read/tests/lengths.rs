//! Attacks by a storage on the length of the body of one PUT: nothing is released, and no total is false.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::envelope::native::FormatError;
use crate::s3::headers;

const LENGTH: usize = 3 * CHUNK + 9;

/// Reads of the whole object, of ranges inside, across and behind what a cut leaves of it, and of a part.
const READS: [(&str, Option<&str>); 9] = [
    ("", None),
    ("", Some("bytes=0-0")),
    ("", Some("bytes=0-65535")),
    ("", Some("bytes=70000-70009")),
    ("", Some("bytes=131071-131080")),
    ("", Some("bytes=196607-")),
    ("", Some("bytes=-5")),
    ("", Some("bytes=196617-196700")),
    ("partNumber=1", None),
];

/// Asserts that every read, and HEAD with and without checksum, fails with `expected`.
async fn nothing_is_released(resources: &Resources, expected: FormatError, what: &str) {
    for (query, range) in READS {
        let headers: Vec<_> = range.iter().map(|range| ("range", *range)).collect();
        let outcome = get(resources, query, &headers).await;
        assert!(
            matches!(&outcome, Err(Error::Format(error)) if *error == expected),
            "This is a security issue: {what}: {query}{range:?}: {:?}",
            outcome.map(|got| got.head)
        );
    }
    for checksums in [&[][..], &[("x-amz-checksum-mode", "ENABLED")]] {
        let outcome = head(resources, "", checksums).await;
        assert!(
            matches!(&outcome, Err(Error::Format(error)) if *error == expected),
            "This is a security issue: {what}: HEAD: {:?}",
            outcome.map(|got| got.head)
        );
    }
}

/// The envelope with another plaintext length, as anyone can write it who has no key.
fn relabelled(kept: &Kept, length: u64) -> Kept {
    let mut kept = kept.clone();
    for (name, value) in &mut kept.headers {
        if name == headers::ENCRYPTION_ENVELOPE {
            let mut envelope = STANDARD.decode(&*value).unwrap();
            envelope[4..12].copy_from_slice(&length.to_be_bytes());
            *value = STANDARD.encode(envelope);
        }
    }
    kept
}

#[tokio::test]
async fn f_24_of_an_object_that_was_cut_or_extended_no_byte_comes_out() {
    let (storage, resources, _folder) = Storage::serve().await;
    let content = pattern(LENGTH);
    let kept = put(&resources, "k", &content, "e").await;
    for cut in [0, 16, 17, SEALED_CHUNK, 2 * SEALED_CHUNK, 3 * SEALED_CHUNK, kept.body.len() - 1] {
        storage.keep("k", Kept { body: kept.body.slice(..cut), ..kept.clone() });
        nothing_is_released(&resources, FormatError::Length, &format!("cut to {cut}")).await;
    }
    for extension in [1, 16, SEALED_CHUNK] {
        let body = [&kept.body[..], &vec![0; extension]].concat().into();
        storage.keep("k", Kept { body, ..kept.clone() });
        nothing_is_released(&resources, FormatError::Length, &format!("{extension} bytes more")).await;
    }
    storage.keep("k", kept);
    let got = get(&resources, "", &[("range", "bytes=-5")]).await.unwrap();
    assert_eq!(got.header("content-range"), Some("bytes 196612-196616/196617"));
    assert_eq!(got.body, content[LENGTH - 5..]);
}

#[tokio::test]
async fn f_17_a_cut_object_under_a_length_that_fits_is_refused_too() {
    let (storage, resources, _folder) = Storage::serve().await;
    let kept = put(&resources, "k", &pattern(LENGTH), "e").await;
    for chunks in [1, 2, 3] {
        let body = kept.body.slice(..chunks * SEALED_CHUNK);
        storage.keep("k", Kept { body, ..relabelled(&kept, chunks as u64 * CHUNK_U64) });
        nothing_is_released(&resources, FormatError::Commitment, &format!("{chunks} chunks")).await;
    }
}

#[tokio::test]
async fn f_24_bodies_of_two_objects_that_were_exchanged_are_refused() {
    let (storage, resources, _folder) = Storage::serve().await;
    let kept = put(&resources, "k", &pattern(LENGTH), "e").await;
    for other in [0, 1, CHUNK, 3 * CHUNK, LENGTH - 1, LENGTH + 1] {
        let other = put(&resources, "k", &pattern(other), "e").await;
        storage.keep("k", Kept { body: other.body, ..kept.clone() });
        nothing_is_released(&resources, FormatError::Length, "another object's body").await;
    }
}

#[tokio::test]
async fn a_range_behind_an_object_is_refused_with_its_authentic_length() {
    let (storage, resources, _folder) = Storage::serve().await;
    for length in [0, 1, CHUNK, LENGTH] {
        storage.keep("k", put(&resources, "k", &pattern(length), &format!("{length}")).await);
        let (code, fields) = refusal(get(&resources, "", &[("range", "bytes=500000-")]).await);
        assert_eq!((code, &*fields["ActualObjectSize"]), (ErrorCode::InvalidRange, &*length.to_string()));
    }
}

/// Storage, N and stored length all say that the upload has fewer parts than it has.
#[tokio::test]
async fn a_range_behind_an_upload_that_was_cut_is_no_proof_of_its_length() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "k", &layout(&[CHUNK_U64, CHUNK_U64, CHUNK_U64], true)).await;
    let mut kept = uploaded.kept("e");
    kept.body = kept.body.slice(..SEALED_CHUNK + 80);
    kept.etag = "e-1".to_owned();
    storage.keep("k", kept);
    for range in ["bytes=0-9", "bytes=70000-70009", "bytes=500000-"] {
        let (code, _) = refusal(get(&resources, "", &[("range", range)]).await);
        assert_eq!(code, ErrorCode::IntegrityCheckFailed, "{range}");
    }
}
