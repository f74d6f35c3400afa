//! The keyring against a real KMS endpoint: LocalStack, or AWS itself.
//!
//! `S3VEIL_TEST_KMS_ENDPOINT=http://127.0.0.1:4566 cargo test --test keyring_kms -- --ignored`

use aws_credential_types::Credentials;
use s3veil::keyring::{
    AwsKms, CacheSettings, EncryptionContext, HolderSettings, KeyId, KeyRule, Keyring, KeyringError,
    Provider, Reuse, Settings, Wrappings,
};

const REGION: &str = "us-east-1";

#[expect(clippy::disallowed_methods, reason = "where the KMS is, only the environment knows")]
fn endpoint() -> String {
    std::env::var("S3VEIL_TEST_KMS_ENDPOINT")
        .expect("S3VEIL_TEST_KMS_ENDPOINT names no KMS to test against, such as http://127.0.0.1:4566")
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "tests")
}

async fn kms() -> aws_sdk_kms::Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(endpoint())
        .load()
        .await;
    aws_sdk_kms::Client::new(&config)
}

/// A new symmetric key, by its two names.
struct Key {
    /// As README configures it.
    alias: KeyId,
    /// As KMS answers name it.
    arn: KeyId,
}

async fn new_key(kms: &aws_sdk_kms::Client) -> Key {
    let created = kms.create_key().send().await.expect("the endpoint creates keys");
    let metadata = created.key_metadata().expect("a key has metadata");
    let alias = format!("alias/s3veil-{}", metadata.key_id());
    let named = kms.create_alias().alias_name(&alias).target_key_id(metadata.key_id());
    named.send().await.expect("the endpoint creates aliases");
    let parse = |text| KeyId::parse(text).expect("an alias and an ARN are key ids");
    Key { alias: parse(&alias), arn: parse(metadata.arn().expect("a key has an ARN")) }
}

/// With caches of its own: a second one stands for another process, or for later.
async fn keyring(key_id: &KeyId) -> Keyring {
    let provider = Provider::AwsKms(AwsKms {
        key_id: Some(key_id.clone()),
        endpoint: Some(endpoint()),
        region: Some(REGION.to_owned()),
        credentials: Some(credentials()),
    });
    let holders = vec![HolderSettings { name: "kms".to_owned(), provider, replica_of: None }];
    Keyring::build(Settings { holders, cache: CacheSettings::default(), reuse: Reuse::Bucket })
        .await
        .expect("the settings are complete")
}

/// A rule of the first holder with these keys; the first key is for new objects.
fn under(key_ids: &[KeyId]) -> KeyRule {
    KeyRule { key_id: Some(key_ids[0].clone()), allowed_key_ids: key_ids[1..].to_vec(), ..KeyRule::default() }
}

fn context() -> EncryptionContext {
    EncryptionContext::native("realm")
}

#[tokio::test]
#[ignore = "needs LocalStack"]
async fn a_data_key_comes_back_in_another_process() {
    let Key { alias, arn } = new_key(&kms().await).await;
    let written = keyring(&alias).await.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap();
    assert_eq!(*written.key_id, *arn.as_str(), "the full ARN");
    let elsewhere = keyring(&alias).await;
    let read = elsewhere
        .unwrap(&under(std::slice::from_ref(&alias)), Wrappings::single(&written.wrapped), &context())
        .await
        .unwrap();
    assert_eq!(read.data_key.expose(), written.data_key.expose());
    assert_eq!(*read.key_id, *arn.as_str());
    let known =
        elsewhere.known_key_id(&under(&[alias]), Wrappings::single(&written.wrapped), &context()).await;
    assert_eq!(known, Some(read.key_id));
}

#[tokio::test]
#[ignore = "needs LocalStack"]
async fn every_name_of_a_key_writes_and_reads() {
    let Key { alias, arn } = new_key(&kms().await).await;
    let (account, id) = arn.as_str().rsplit_once(":key/").unwrap();
    let alias_arn = KeyId::parse(&format!("{account}:{alias}")).unwrap();
    let id = KeyId::parse(id).unwrap();
    let written = keyring(&alias).await.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap();
    for name in [alias, alias_arn, id, arn.clone()] {
        let keyring = keyring(&name).await;
        assert_eq!(
            keyring.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap().key_id.as_ref(),
            arn.as_str(),
            "{name}"
        );
        let read =
            keyring.unwrap(&under(&[name]), Wrappings::single(&written.wrapped), &context()).await.unwrap();
        assert_eq!(read.data_key.expose(), written.data_key.expose());
    }
}

#[tokio::test]
#[ignore = "needs LocalStack"]
async fn another_context_does_not_open() {
    let key_id = new_key(&kms().await).await.alias;
    let keyring = keyring(&key_id).await;
    let written = keyring.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap();
    for other in [EncryptionContext::native("other"), EncryptionContext::from_pairs::<&str, &str>([])] {
        let refused = keyring
            .unwrap(&under(std::slice::from_ref(&key_id)), Wrappings::single(&written.wrapped), &other)
            .await
            .unwrap_err();
        assert_eq!(refused, KeyringError::InvalidCiphertext, "This is a security issue.");
    }
}

#[tokio::test]
#[ignore = "needs LocalStack"]
async fn only_allowed_keys_open() {
    let kms = kms().await;
    let (mine, other) = (new_key(&kms).await.alias, new_key(&kms).await);
    let theirs = other.alias;
    let forged = keyring(&theirs).await.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap();
    let keyring = keyring(&mine).await;
    let refused = keyring
        .unwrap(&under(std::slice::from_ref(&mine)), Wrappings::single(&forged.wrapped), &context())
        .await
        .unwrap_err();
    assert_eq!(refused, KeyringError::IncorrectKey, "This is a security issue.");
    let read = keyring
        .unwrap(&under(&[mine, theirs]), Wrappings::single(&forged.wrapped), &context())
        .await
        .unwrap();
    assert_eq!((read.data_key.expose(), &*read.key_id), (forged.data_key.expose(), other.arn.as_str()));
}

#[tokio::test]
#[ignore = "needs LocalStack"]
async fn a_tampered_blob_does_not_open() {
    let key_id = new_key(&kms().await).await.alias;
    let keyring = keyring(&key_id).await;
    let written = keyring.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap();
    let mut tampered = written.wrapped.to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    let refused = keyring
        .unwrap(&under(std::slice::from_ref(&key_id)), Wrappings::single(&tampered), &context())
        .await
        .unwrap_err();
    assert_eq!(refused, KeyringError::InvalidCiphertext, "This is a security issue.");
    let garbage = keyring
        .unwrap(&under(&[key_id]), Wrappings::single(b"no blob at all"), &context())
        .await
        .unwrap_err();
    // LocalStack looks a key up by the blob's first bytes, where AWS says InvalidCiphertextException.
    assert!(matches!(garbage, KeyringError::InvalidCiphertext | KeyringError::KeyNotFound), "{garbage:?}");
}

#[tokio::test]
#[ignore = "needs LocalStack"]
async fn disabled_doomed_and_missing_keys_neither_write_nor_read() {
    let kms = kms().await;
    let Key { alias: key_id, arn } = new_key(&kms).await;
    let written = keyring(&key_id).await.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap();

    // What changes a key takes no alias.
    kms.disable_key().key_id(arn.as_str()).send().await.unwrap();
    let cold = keyring(&key_id).await;
    let allowed = std::slice::from_ref(&key_id);
    assert_eq!(
        cold.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap_err(),
        KeyringError::KeyDisabled
    );
    assert_eq!(
        cold.unwrap(&under(allowed), Wrappings::single(&written.wrapped), &context()).await.unwrap_err(),
        KeyringError::KeyDisabled
    );
    assert_eq!(cold.check(0, None, &context()).await.unwrap_err().failure.error, KeyringError::KeyDisabled);

    kms.enable_key().key_id(arn.as_str()).send().await.unwrap();
    keyring(&key_id)
        .await
        .unwrap(&under(allowed), Wrappings::single(&written.wrapped), &context())
        .await
        .unwrap();

    kms.schedule_key_deletion().key_id(arn.as_str()).pending_window_in_days(7).send().await.unwrap();
    let doomed = keyring(&key_id)
        .await
        .unwrap(&under(allowed), Wrappings::single(&written.wrapped), &context())
        .await
        .unwrap_err();
    assert_eq!(doomed, KeyringError::InvalidKeyState);

    for missing in ["alias/s3veil-missing", "00000000-0000-0000-0000-000000000000"] {
        let missing = KeyId::parse(missing).unwrap();
        let refused =
            keyring(&missing).await.for_write(&KeyRule::default(), None, &context(), 1).await.unwrap_err();
        assert_eq!(refused, KeyringError::KeyNotFound);
    }
}

#[tokio::test]
#[ignore = "needs LocalStack"]
async fn a_check_makes_the_round_trip() {
    let Key { alias, arn } = new_key(&kms().await).await;
    assert_eq!(keyring(&alias).await.check(0, None, &context()).await.unwrap().key_id.as_ref(), arn.as_str());
}
