//! Rewrapping of existing data keys.

use super::*;
use crate::envelope::native::{HolderEntries, RecoveryPrivateKey};
use crate::keyring::{RewrapError, Rewrapping};

/// A keyring of these holders, called `holder-0` and so on.
fn keyring(providers: &[&Arc<ScriptedHolder>]) -> Keyring {
    let holders = providers.iter().enumerate();
    let holders =
        holders.map(|(place, provider)| KeyHolder::new(&format!("holder-{place}"), Arc::clone(provider)));
    Keyring::new(holders.collect(), &CacheSettings::default(), Reuse::Bucket, Clock::System)
}

fn holder(key_ids: &[&str], rewraps: bool) -> Arc<ScriptedHolder> {
    let provider = ScriptedHolder::rewrapping(key_ids);
    provider.rewraps.store(rewraps, Ordering::SeqCst);
    provider.generated.store(u64::from(key_ids[0].bytes().last().unwrap()) << 32, Ordering::SeqCst);
    provider
}

async fn write(keyring: &Keyring, rule: &KeyRule) -> WriteKey {
    keyring.for_write(rule, None, &realm("r"), 1).await.unwrap()
}

async fn rewrap(
    keyring: &Keyring,
    rule: &KeyRule,
    written: &WriteKey,
) -> Result<Rewrapping, Arc<RewrapError>> {
    keyring.rewrap_for(rule, None, written.wrappings(), &realm("r")).await
}

fn as_written(made: &Rewrapping, written: &WriteKey) -> WriteKey {
    WriteKey { wrapped: made.wrapped.clone(), further: made.further.clone(), ..written.clone() }
}

/// The data key that wrappings hold for a keyring without caches.
async fn read(keyring: &Keyring, rule: &KeyRule, written: &WriteKey) -> Result<UnwrappedKey, KeyringError> {
    keyring.unwrap(rule, written.wrappings(), &realm("r")).await
}

#[tokio::test]
async fn a_holder_that_wraps_again_needs_no_right_to_unwrap() {
    let provider = holder(&["old", "new"], true);
    let written = write(&keyring(&[&provider]), &under(&[id("old")])).await;
    provider.deny_unwrapping(true);
    let rule = under(&[id("new"), id("old")]);
    let made = rewrap(&keyring(&[&provider]), &rule, &written).await.unwrap();
    assert!(!made.is_unchanged && made.data_key.is_none());
    assert_eq!((made.key_before.as_str(), made.key_after), ("old", full_name(&id("new"))));
    provider.deny_unwrapping(false);
    let again = WriteKey { wrapped: made.wrapped, ..written.clone() };
    let opened = read(&keyring(&[&provider]), &under(&[id("new")]), &again).await.unwrap();
    assert_eq!(opened.data_key.expose(), written.data_key.expose());
}

#[tokio::test]
async fn what_is_under_the_rules_key_stays_byte_for_byte() {
    for rewraps in [true, false] {
        let provider = holder(&["new", "old"], rewraps);
        let rule = under(&[id("new"), id("old")]);
        let written = write(&keyring(&[&provider]), &rule).await;
        let made = rewrap(&keyring(&[&provider]), &rule, &written).await.unwrap();
        assert!(made.is_unchanged, "{rewraps}");
        assert_eq!((&made.wrapped, made.further), (&written.wrapped, None));
    }
}

#[tokio::test]
async fn a_holder_that_can_not_wrap_again_unwraps_and_wraps() {
    let provider = holder(&["new", "old"], false);
    let written = write(&keyring(&[&provider]), &under(&[id("old")])).await;
    let rule = under(&[id("new"), id("old")]);
    let made = rewrap(&keyring(&[&provider]), &rule, &written).await.unwrap();
    assert!(!made.is_unchanged);
    assert_eq!(made.data_key.as_ref().unwrap().expose(), written.data_key.expose());
    let opened = read(&keyring(&[&provider]), &under(&[id("new")]), &as_written(&made, &written)).await;
    assert_eq!(opened.unwrap().data_key.expose(), written.data_key.expose());
    provider.deny_unwrapping(true);
    let denied = rewrap(&keyring(&[&provider]), &rule, &written).await.unwrap_err();
    let text = "the wrapping for holder-0 has to be made from the data key, and unwrapping it failed: access to the \
                wrapping key was denied";
    assert_eq!(denied.to_string(), text);
}

#[tokio::test]
async fn a_key_that_the_rule_does_not_allow_is_not_wrapped_again() {
    let provider = holder(&["mine", "other"], true);
    let written = write(&keyring(&[&provider]), &under(&[id("other")])).await;
    let refused = rewrap(&keyring(&[&provider]), &under(&[id("mine")]), &written).await;
    let refused = refused.expect_err("This is a security issue.");
    assert_eq!(refused.cause(), Some(&KeyringError::IncorrectKey));
    let elsewhere = keyring(&[&provider])
        .rewrap_for(&under(&[id("other")]), None, written.wrappings(), &realm("s"))
        .await;
    let elsewhere = elsewhere.expect_err("This is a security issue.");
    assert_eq!(elsewhere.cause(), Some(&KeyringError::InvalidCiphertext));
}

#[tokio::test]
async fn all_objects_of_a_data_key_cost_one_call() {
    let provider = holder(&["old", "new"], true);
    let written = write(&keyring(&[&provider]), &under(&[id("old")])).await;
    let rule = under(&[id("new"), id("old")]);
    let keyring = keyring(&[&provider]);
    let first = rewrap(&keyring, &rule, &written).await.unwrap();
    let calls = provider.rewrapped.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(rewrap(&keyring, &rule, &written).await.unwrap().wrapped, first.wrapped);
    }
    assert_eq!(provider.rewrapped.load(Ordering::SeqCst), calls);
}

#[tokio::test]
async fn a_rule_with_more_holders_gets_their_wrappings() {
    let (one, two) = (holder(&["one"], true), holder(&["two"], false));
    let private = RecoveryPrivateKey::generate();
    let single = KeyRule::default();
    let full = KeyRule { wrapping: vec![0, 1], recovery: vec![private.public_key()], ..KeyRule::default() };
    let written = write(&keyring(&[&one, &two]), &single).await;
    let made = rewrap(&keyring(&[&one, &two]), &full, &written).await.unwrap();
    assert!(!made.is_unchanged && made.wrapped == written.wrapped, "the first wrapping is as it was");
    let entries = HolderEntries::parse(made.further.as_ref().unwrap()).unwrap();
    let recovered = entries.find(HolderKind::Recovery, private.public_key().fingerprint()).unwrap();
    let recovered = private.open(&recovered.blob, realm("r").canonical()).unwrap();
    assert_eq!(recovered.expose(), written.data_key.expose());
    one.refuse("one", KeyringError::Unavailable);
    let opened = read(&keyring(&[&one, &two]), &full, &as_written(&made, &written)).await.unwrap();
    assert_eq!(opened.data_key.expose(), written.data_key.expose());
    one.accept_all();

    let again = as_written(&made, &written);
    let once_more = rewrap(&keyring(&[&one, &two]), &full, &again).await.unwrap();
    assert!(once_more.is_unchanged && once_more.further == made.further);
    let fewer = rewrap(&keyring(&[&one, &two]), &single, &again).await.unwrap();
    assert!(!fewer.is_unchanged && fewer.further.is_none(), "a holder less");

    for provider in [&one, &two] {
        provider.deny_unwrapping(true);
    }
    let denied = rewrap(&keyring(&[&one, &two]), &full, &written).await.unwrap_err();
    assert!(
        matches!(&*denied, RewrapError::NeedsDataKey { wrapping, .. } if wrapping == "holder-1"),
        "{denied}"
    );
}

#[tokio::test]
async fn a_bucket_moves_from_one_holder_to_another() {
    let (old, new) = (holder(&["old"], true), holder(&["new"], false));
    old.tells_keys.store(true, Ordering::SeqCst);
    let written = write(&keyring(&[&old, &new]), &KeyRule::default()).await;
    let rule = KeyRule { wrapping: vec![1], unwrapping: vec![0], ..KeyRule::default() };
    let made = rewrap(&keyring(&[&old, &new]), &rule, &written).await.unwrap();
    assert!(!made.is_unchanged);
    old.refuse("old", KeyringError::KeyNotFound);
    let opened = read(&keyring(&[&old, &new]), &rule, &as_written(&made, &written)).await.unwrap();
    assert_eq!(opened.data_key.expose(), written.data_key.expose());
    let again = rewrap(&keyring(&[&old, &new]), &rule, &as_written(&made, &written)).await.unwrap();
    assert!(again.is_unchanged);
}

#[tokio::test]
async fn a_holder_that_returns_another_data_key_is_found_out() {
    let provider = holder(&["new", "old"], false);
    let written = write(&keyring(&[&provider]), &under(&[id("old")])).await;
    let rule = under(&[id("new"), id("old")]);
    let keyring = keyring(&[&provider]);
    let opened = read(&keyring, &rule, &written).await.unwrap();
    // The data key is cached, so that the next unwrapping is that of the new blob.
    let other =
        DecryptedKey { data_key: Some(DataKey::from_bytes([9; 32])), key_id: Some(full_name(&id("new"))) };
    *provider.decrypt_with.lock().unwrap() = Some(other);
    let refused = rewrap(&keyring, &rule, &written).await.unwrap_err();
    assert_eq!(refused.cause(), Some(&KeyringError::Malformed(MalformedResponse::RoundTrip)));
    assert_eq!(opened.data_key.expose(), written.data_key.expose());
}

#[tokio::test]
async fn claimed_keys_are_what_blobs_tell_and_cost_no_call() {
    let (one, two) = (holder(&["one"], true), holder(&["two"], true));
    let rule = KeyRule { wrapping: vec![0, 1], ..KeyRule::default() };
    let written = write(&keyring(&[&one, &two]), &rule).await;
    let calls = (one.calls(), two.calls());
    let cold = keyring(&[&one, &two]);
    let names = cold.claimed_keys(&rule, written.wrappings(), &realm("r")).await;
    assert_eq!(names[0], "aws-kms:?");
    assert!(names[1].starts_with("aws-kms:") && names[1].len() == "aws-kms:".len() + 16, "{names:?}");
    one.tells_keys.store(true, Ordering::SeqCst);
    assert_eq!(cold.claimed_keys(&rule, written.wrappings(), &realm("r")).await[0], "one");
    assert_eq!((one.calls(), two.calls()), calls);
}
