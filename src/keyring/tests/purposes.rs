//! Keys for several formats concurrently: none is found under another purpose, and some are never shared.

use super::*;

const V2: Purpose = Purpose::new("v2").with_short_keys();
const V3: Purpose = Purpose::new("v3");

fn empty() -> EncryptionContext {
    EncryptionContext::from_pairs::<&str, &str>([])
}

/// A cache that forgot what a key was for has bypassed a commitment policy elsewhere (CVE-2026-6550).
#[tokio::test]
async fn a_cached_key_is_found_under_its_purpose_only() {
    let bench = Bench::new();
    let (context, allowed) = (empty(), [id("bucket")]);
    let written = bench.keyring.for_one_object(V2, &KeyRule::default(), None, &context).await.unwrap();
    assert_eq!(bench.provider.calls(), (1, 0));
    bench
        .keyring
        .unwrap_as(V2, &under(&allowed), Wrappings::single(&written.wrapped), &context)
        .await
        .unwrap();
    assert_eq!(bench.provider.calls(), (1, 0), "read back without a call");
    assert_eq!(
        bench
            .keyring
            .known_key_id_as(V3, &under(&allowed), Wrappings::single(&written.wrapped), &context)
            .await,
        None
    );
    bench
        .keyring
        .unwrap_as(V3, &under(&allowed), Wrappings::single(&written.wrapped), &context)
        .await
        .unwrap();
    assert_eq!(
        bench.provider.calls(),
        (1, 1),
        "This is a security issue: a key was found under another suite."
    );
    bench.keyring.unwrap(&under(&allowed), Wrappings::single(&written.wrapped), &context).await.unwrap();
    assert_eq!(
        bench.provider.calls(),
        (1, 2),
        "This is a security issue: a key was found under another suite."
    );
}

#[tokio::test]
async fn a_key_for_one_object_is_never_shared_and_no_lease_of_another_purpose_is_taken() {
    let bench = Bench::new();
    let one = bench.keyring.for_one_object(V2, &KeyRule::default(), None, &empty()).await.unwrap();
    let other = bench.keyring.for_one_object(V2, &KeyRule::default(), None, &empty()).await.unwrap();
    assert_ne!(one.wrapped, other.wrapped, "This is a security issue: two objects share a data key.");
    let shared = bench.keyring.for_write_as(V3, &KeyRule::default(), None, &empty(), 1).await.unwrap();
    let again = bench.keyring.for_write_as(V3, &KeyRule::default(), None, &empty(), 1).await.unwrap();
    assert_eq!(shared.wrapped, again.wrapped);
    let native = bench.keyring.for_write(&KeyRule::default(), None, &empty(), 1).await.unwrap();
    assert_ne!(native.wrapped, shared.wrapped);
    assert_eq!(bench.provider.calls(), (4, 0));
}

#[tokio::test]
async fn short_keys_are_for_those_who_take_them() {
    let bench = Bench::new();
    let allowed = [id("bucket")];
    // As a client with 128-bit keys would have had it wrapped.
    let wrapped = [&b"bucket\0"[..], empty().canonical(), b"\0", &[7; 16]].concat();
    let refused = bench.keyring.unwrap_as(V3, &under(&allowed), Wrappings::single(&wrapped), &empty()).await;
    assert_eq!(refused.unwrap_err(), KeyringError::Malformed(MalformedResponse::DataKeyLength));
    let unwrapped =
        bench.keyring.unwrap_as(V2, &under(&allowed), Wrappings::single(&wrapped), &empty()).await.unwrap();
    assert_eq!(unwrapped.data_key.as_slice(), [7; 16]);
    let refused = bench.keyring.unwrap(&under(&allowed), Wrappings::single(&wrapped), &empty()).await;
    assert_eq!(
        refused.unwrap_err(),
        KeyringError::Malformed(MalformedResponse::DataKeyLength),
        "This is a security issue: a short key reaches the native format."
    );
    let zeros = [&b"bucket\0"[..], empty().canonical(), b"\0", &[0; 16]].concat();
    let refused = bench.keyring.unwrap_as(V2, &under(&allowed), Wrappings::single(&zeros), &empty()).await;
    assert_eq!(refused.unwrap_err(), KeyringError::Malformed(MalformedResponse::ZeroDataKey));
}

#[tokio::test]
async fn any_context_is_bound_whole() {
    let bench = Bench::new();
    let allowed = [id("bucket")];
    let context = EncryptionContext::from_pairs([("aws:x-amz-cek-alg", "115"), ("tenant", "blue")]);
    let written = bench.keyring.for_write_as(V3, &KeyRule::default(), None, &context, 1).await.unwrap();
    for other in [empty(), EncryptionContext::from_pairs([("aws:x-amz-cek-alg", "115")])] {
        let refused =
            bench.keyring.unwrap_as(V3, &under(&allowed), Wrappings::single(&written.wrapped), &other).await;
        assert_eq!(
            refused.unwrap_err(),
            KeyringError::InvalidCiphertext,
            "This is a security issue: part of a context was dropped."
        );
    }
}
