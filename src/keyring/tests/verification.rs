//! Tests with a provider that returns a data key which its blob does not hold, unwraps a blob to another data
//! key, or responds for another wrapping key.

use super::*;

fn remote(reuse: Reuse) -> Bench {
    let bench = Bench::with(CacheSettings::default(), reuse);
    bench.provider.remote.store(true, Ordering::SeqCst);
    bench
}

fn data_key(byte: u8) -> Option<DataKey> {
    Some(DataKey::from_bytes([byte; 32]))
}

/// Otherwise every object of the lease would be readable until the cache forgets it, and never again.
#[tokio::test]
async fn no_object_is_written_with_a_data_key_that_its_blob_does_not_hold() {
    let bench = remote(Reuse::Bucket);
    let honest = bench.elsewhere().write(1).await.unwrap();
    let lie = GeneratedKey {
        data_key: data_key(9),
        wrapped: honest.wrapped.blob().clone(),
        key_id: Some(honest.key_id.to_string()),
    };
    *bench.provider.respond_with.lock().unwrap() = Some(lie);
    let refused = bench.write(1).await.unwrap_err();
    assert_eq!(refused, KeyringError::Malformed(MalformedResponse::RoundTrip));
    bench.pass(MINUTE);
    assert!(bench.write(1).await.is_ok(), "the next data key is an honest one");
}

#[tokio::test]
async fn a_shared_data_key_costs_one_further_call_and_a_single_one_none() {
    let bench = remote(Reuse::Bucket);
    for _ in 0..20 {
        bench.write(1).await.unwrap();
    }
    assert_eq!(bench.provider.calls(), (1, 1));
    let bench = remote(Reuse::Off);
    bench.write(1).await.unwrap();
    assert_eq!(bench.provider.calls(), (1, 0));
    let bench = Bench::new();
    bench.write(1).await.unwrap();
    assert_eq!(bench.provider.calls(), (1, 0), "a local keyring needs no verification");
}

#[tokio::test]
async fn a_proxy_that_may_only_write_writes() {
    let bench = remote(Reuse::Bucket);
    *bench.provider.deny_decrypt.lock().unwrap() = Some(KeyringError::Denied);
    bench.write(1).await.unwrap();
    bench.pass(MINUTE * 60);
    for error in [KeyringError::Throttled, KeyringError::InvalidCiphertext, KeyringError::KeyDisabled] {
        *bench.provider.deny_decrypt.lock().unwrap() = Some(error.clone());
        assert_eq!(bench.write(1).await.unwrap_err(), error);
        bench.pass(MINUTE);
    }
}

/// One wrong response would make every object of that blob unreadable for the cache's whole time to live.
#[tokio::test]
async fn a_wrong_response_to_decrypt_is_requested_again_once() {
    let bench = Bench::new();
    let written = bench.write(1).await.unwrap();
    let reader = bench.elsewhere();
    let allowed = [id("bucket")];
    let lie = DecryptedKey { data_key: data_key(9), key_id: Some(written.key_id.to_string()) };
    *reader.provider.decrypt_with.lock().unwrap() = Some(lie);
    let read = async || {
        reader
            .keyring
            .unwrap(&under(&allowed), Wrappings::single(&written.wrapped), &realm("r"))
            .await
            .unwrap()
    };
    let wrong = read().await;
    assert_ne!(wrong.data_key.expose(), written.data_key.expose());
    let again = reader
        .keyring
        .unwrap_again(&under(&allowed), Wrappings::single(&written.wrapped), &realm("r"), &wrong)
        .await;
    assert_eq!(again.unwrap().unwrap().data_key.expose(), written.data_key.expose());
    let right = read().await;
    assert_eq!(right.data_key.expose(), written.data_key.expose(), "the right one is kept");

    // An object that is damaged contradicts the right data key too, at every read.
    let calls = reader.provider.calls();
    for _ in 0..5 {
        let again = reader
            .keyring
            .unwrap_again(&under(&allowed), Wrappings::single(&written.wrapped), &realm("r"), &right)
            .await;
        assert!(again.unwrap().is_none());
    }
    assert!(reader.provider.calls().1 <= calls.1 + 1);
}

#[tokio::test]
async fn a_response_for_a_key_that_was_not_requested_is_refused() {
    let bench = Bench::new();
    let other = Some("arn:aws:kms:eu-west-3:1:key/older".to_owned());
    let written = bench.write(1).await.unwrap();
    let generated = GeneratedKey {
        data_key: data_key(9),
        wrapped: written.wrapped.blob().clone(),
        key_id: other.clone(),
    };
    bench.pass(MINUTE * 60);
    *bench.provider.respond_with.lock().unwrap() = Some(generated);
    let malformed = KeyringError::Malformed(MalformedResponse::OtherKey);
    assert_eq!(bench.write(1).await.unwrap_err(), malformed);
    *bench.provider.decrypt_with.lock().unwrap() =
        Some(DecryptedKey { data_key: data_key(9), key_id: other });
    let read = bench
        .elsewhere()
        .keyring
        .unwrap(&under(&[id("bucket")]), Wrappings::single(&written.wrapped), &realm("r"))
        .await;
    assert_eq!(read.unwrap_err(), malformed);
}

#[tokio::test]
async fn a_full_name_is_learned_once() {
    for reuse in [Reuse::Bucket, Reuse::Off] {
        let bench = Bench::with(CacheSettings::default(), reuse);
        for _ in 0..3 {
            let full_name =
                bench.keyring.full_name(&KeyRule::default(), &id("bucket"), &realm("r")).await.unwrap();
            assert_eq!(&*full_name, "arn:aws:kms:eu-west-3:1:key/bucket");
        }
        assert_eq!(bench.provider.calls(), (1, 0));
    }
}
