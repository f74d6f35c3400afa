//! Attacks by a storage that returns other bytes than the stored ones: no client receives them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::s3::headers;
use crate::test_support::{Kept, Uploaded};

/// Asserts that every read fails or returns a prefix of the honest plaintext, and that a shortened body is
/// reported as incomplete.
async fn nothing_false_comes_out(
    storage: &Storage,
    resources: &Resources,
    honest: &[u8],
    kept: Kept,
    what: &str,
) {
    storage.keep("k", kept);
    if let Ok(got) = get(resources, "", &[]).await {
        assert!(
            !got.is_whole && honest.starts_with(&got.body),
            "This is a security issue: {what}: a whole object came out."
        );
    }
    let length = honest.len();
    for (first, last) in [
        (0, 0),
        (0, length - 1),
        (length - 1, length - 1),
        (CHUNK - 1, CHUNK),
        (CHUNK, length - 1),
        (length / 2, length / 2 + 9),
    ] {
        let range = format!("bytes={first}-{last}");
        // Refusals of the first read must not leave anything behind that helps the second.
        for _ in 0..2 {
            if let Ok(got) = get(resources, "", &[("range", &range)]).await {
                assert!(
                    honest[first..=last].starts_with(&got.body),
                    "This is a security issue: {what}: {range} came from elsewhere."
                );
                assert_eq!(got.is_whole, got.body.len() == last + 1 - first);
            }
        }
    }
    for part in 1..=4 {
        if let Ok(got) = get(resources, &format!("partNumber={part}"), &[]).await {
            let range = got.header("content-range").unwrap().strip_prefix("bytes ").unwrap();
            let (range, _) = range.split_once('/').unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(
                last < length && honest[first..=last].starts_with(&got.body),
                "This is a security issue: {what}: part {part} came from elsewhere."
            );
        }
    }
}

fn with(uploaded: &Uploaded, segments: &[&[u8]]) -> Uploaded {
    Uploaded { segments: segments.iter().map(|segment| segment.to_vec()).collect(), ..uploaded.clone() }
}

/// Drops, swaps, repetitions, splices and cuts of one honest upload, each with a description.
fn spoilt(uploaded: &Uploaded, other: &Uploaded) -> Vec<(String, Uploaded)> {
    let segments: Vec<&[u8]> = uploaded.segments.iter().map(Vec::as_slice).collect();
    let count = segments.len();
    let mut spoilt = Vec::new();
    let mut push = |what: String, segments: &[&[u8]]| spoilt.push((what, with(uploaded, segments)));
    for at in 0..count {
        push(format!("segment {at} dropped"), &[&segments[..at], &segments[at + 1..]].concat());
        push(format!("segment {at} repeated"), &[&segments[..=at], &segments[at..]].concat());
        let mut spliced = segments.clone();
        spliced[at] = &other.segments[at];
        push(format!("segment {at} of another upload"), &spliced);
        let mut cut = segments.clone();
        cut[at] = &segments[at][..segments[at].len() - 1];
        push(format!("segment {at} without its last byte"), &cut);
        if segments[at].len() > SEALED_CHUNK + 80 {
            cut[at] = &segments[at][..segments[at].len() - SEALED_CHUNK];
            push(format!("segment {at} without a chunk's bytes at its end"), &cut);
            cut[at] = &segments[at][..80 + SEALED_CHUNK];
            push(format!("segment {at} cut at a chunk's edge"), &cut);
        }
        for before in 0..at {
            let mut swapped = segments.clone();
            swapped.swap(before, at);
            push(format!("segments {before} and {at} exchanged"), &swapped);
        }
    }
    push("all but the first dropped".to_owned(), &segments[..1]);
    push("nothing left".to_owned(), &[]);
    push("a byte more".to_owned(), &[&segments[..], &[&[0][..]]].concat());
    spoilt
}

#[tokio::test]
async fn what_a_storage_makes_of_an_upload_does_not_come_out() {
    let (storage, resources, _folder) = Storage::serve().await;
    let shapes = [
        layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, 2 * CHUNK_U64], true),
        layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, 100], false),
        layout(&[CHUNK_U64 + 9, 2 * CHUNK_U64, 100], false),
        layout(&[CHUNK_U64 + 9, CHUNK_U64 + 9, 3 * CHUNK_U64], true),
    ];
    for (shape, layout) in shapes.iter().enumerate() {
        let uploaded = upload(&resources, "k", layout).await;
        let other = upload(&resources, "k", layout).await;
        let honest = uploaded.content.clone();
        for (index, (what, spoilt)) in spoilt(&uploaded, &other).into_iter().enumerate() {
            let mut kept = spoilt.kept(&format!("{shape}{index}"));
            if kept.body.is_empty() {
                kept.etag = "e-1".to_owned();
            }
            nothing_false_comes_out(&storage, &resources, &honest, kept.clone(), &what).await;
            // The storage may also claim a false number of parts.
            kept.etag = format!("{shape}{index}x-{}", uploaded.segments.len());
            nothing_false_comes_out(&storage, &resources, &honest, kept, &what).await;
        }
    }
}

/// The object's identity is unchanged and its layout is cached: only the segments' headers reveal the
/// exchange.
#[tokio::test]
async fn a_known_object_that_is_exchanged_under_its_etag_does_not_come_out() {
    let (storage, resources, _folder) = Storage::serve().await;
    let shape = layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, 2 * CHUNK_U64], true);
    let uploaded = upload(&resources, "k", &shape).await;
    let other = upload(&resources, "k", &shape).await;
    let same_length = |spoilt: &Uploaded| spoilt.kept("").body.len() == uploaded.kept("").body.len();
    for (what, spoilt) in spoilt(&uploaded, &other).into_iter().filter(|(_, spoilt)| same_length(spoilt)) {
        storage.keep("k", uploaded.kept("e"));
        assert!(get(&resources, "", &[("range", "bytes=70000-400000")]).await.unwrap().is_whole);
        nothing_false_comes_out(&storage, &resources, &uploaded.content, spoilt.kept("e"), &what).await;
        resources.layout_cache.forget();
    }
}

/// Two authentic objects have one ETag, one length and one name: the layout of one must not be used for the
/// other.
#[tokio::test]
async fn a_layout_is_its_objects_own_whatever_the_etag() {
    let (storage, resources, _folder) = Storage::serve().await;
    let first = upload(&resources, "k", &layout(&[CHUNK_U64, 3 * CHUNK_U64 + 5, 7], false)).await;
    let second = upload(&resources, "k", &layout(&[3 * CHUNK_U64 + 5, CHUNK_U64, 7], false)).await;
    let same = first.kept("e").body.len() == second.kept("e").body.len();
    assert!(same, "the storage can't tell them apart");
    for uploaded in [&first, &second, &first] {
        storage.keep("k", uploaded.kept("e"));
        for range in ["bytes=70000-70009", "bytes=196610-262144"] {
            let got = get(&resources, "", &[("range", range)]).await.unwrap();
            let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let slice = from.parse::<usize>().unwrap()..=to.parse::<usize>().unwrap();
            assert!(
                got.body == uploaded.content[slice],
                "This is a security issue: another object's layout."
            );
        }
    }
}

#[tokio::test]
async fn a_body_is_not_opened_as_one_of_the_other_kind() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "k", &layout(&[CHUNK_U64, CHUNK_U64, 9], false)).await;
    let content = pattern(2 * CHUNK + 9);
    let of_put = put(&resources, "k", &content, "put").await;
    let mut relabelled = uploaded.kept("e");
    relabelled.headers = of_put.headers.clone();
    nothing_false_comes_out(&storage, &resources, &content, relabelled, "an upload under a PUT's envelope")
        .await;
    let mut relabelled = of_put;
    (relabelled.etag, relabelled.headers) = ("f-3".to_owned(), uploaded.metadata.clone());
    let what = "a PUT under an upload's envelope";
    nothing_false_comes_out(&storage, &resources, &content, relabelled, what).await;
    // The envelope's multipart flag is cleared.
    let mut kept = uploaded.kept("g");
    for (name, value) in &mut kept.headers {
        if name == headers::ENCRYPTION_ENVELOPE {
            let mut envelope = STANDARD.decode(&*value).unwrap();
            assert_eq!(envelope[3], 1);
            envelope[3] = 0;
            *value = STANDARD.encode(envelope);
        }
    }
    nothing_false_comes_out(&storage, &resources, &content, kept, "an upload without its flag").await;
}

#[tokio::test]
async fn an_upload_moved_to_another_name_does_not_open() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "elsewhere", &layout(&[CHUNK_U64, 9], false)).await;
    storage.keep("k", uploaded.kept("e"));
    for (query, headers) in [("", &[][..]), ("", &[("range", "bytes=0-1")]), ("partNumber=1", &[])] {
        let outcome = get(&resources, query, headers).await;
        assert!(matches!(outcome.err(), Some(Error::Format(_))), "This is a security issue: it opened.");
    }
}
