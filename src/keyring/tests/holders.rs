//! Several holders: every one of them opens what was written, and none is waited for that is away.

use super::*;
use crate::envelope::native::{HolderEntries, RecoveryPrivateKey};

/// A keyring of several holders with scripts of their own.
struct Holders {
    keyring: Keyring,
    providers: Vec<Arc<ScriptedHolder>>,
}

impl Holders {
    fn new(count: usize) -> Self {
        Self::with((0..count).map(|place| scripted(&format!("key-{place}"))).collect())
    }

    fn with(providers: Vec<Arc<ScriptedHolder>>) -> Self {
        let holders = providers.iter().enumerate();
        let holders =
            holders.map(|(place, provider)| KeyHolder::new(&format!("holder-{place}"), Arc::clone(provider)));
        let keyring =
            Keyring::new(holders.collect(), &CacheSettings::default(), Reuse::Bucket, Clock::System);
        Self { keyring, providers }
    }

    /// Another process with these providers and empty caches.
    fn elsewhere(&self) -> Self {
        Self::with(self.providers.clone())
    }

    fn calls(&self) -> Vec<(u64, u64)> {
        self.providers.iter().map(|provider| provider.calls()).collect()
    }
}

fn scripted(key_id: &str) -> Arc<ScriptedHolder> {
    let provider = ScriptedHolder { ids: vec![id(key_id)], ..ScriptedHolder::default() };
    provider.remote.store(true, Ordering::SeqCst);
    // Holders that are asked for equal numbers of data keys make different ones.
    provider.generated.store(u64::from(key_id.bytes().last().unwrap()) << 32, Ordering::SeqCst);
    Arc::new(provider)
}

fn rule(wrapping: &[usize]) -> KeyRule {
    KeyRule { wrapping: wrapping.to_vec(), ..KeyRule::default() }
}

#[tokio::test]
async fn each_holder_alone_opens_what_was_written() {
    let holders = Holders::new(3);
    let rule = rule(&[0, 1, 2]);
    let written = holders.keyring.for_write(&rule, None, &realm("r"), 1).await.unwrap();
    for present in 0..3 {
        let reader = holders.elsewhere();
        for (place, provider) in reader.providers.iter().enumerate() {
            provider.accept_all();
            if place != present {
                provider.refuse(&format!("key-{place}"), KeyringError::Unavailable);
            }
        }
        let read = reader.keyring.unwrap(&rule, written.wrappings(), &realm("r")).await.unwrap();
        assert_eq!(read.data_key.expose(), written.data_key.expose());
        assert_eq!(*read.key_id, *full_name(&id(&format!("key-{present}"))), "who opened it");
    }
}

#[tokio::test]
async fn every_refusal_of_one_holder_lets_the_next_one_open() {
    let refusals = [
        KeyringError::Denied,
        KeyringError::KeyDisabled,
        KeyringError::KeyNotFound,
        KeyringError::InvalidCiphertext,
        KeyringError::Credentials,
        KeyringError::Throttled,
        KeyringError::Unexpected("New".to_owned()),
    ];
    let holders = Holders::new(2);
    let rule = rule(&[0, 1]);
    let written = holders.keyring.for_write(&rule, None, &realm("r"), 1).await.unwrap();
    for refusal in refusals {
        let reader = holders.elsewhere();
        reader.providers[0].refuse("key-0", refusal.clone());
        let read = reader.keyring.unwrap(&rule, written.wrappings(), &realm("r")).await.unwrap();
        assert_eq!(read.data_key.expose(), written.data_key.expose(), "{refusal}");
    }
}

#[tokio::test]
async fn warm_data_keys_cost_no_call_whoever_opened_them() {
    let holders = Holders::new(2);
    let rule = rule(&[0, 1]);
    let written = holders.keyring.for_write(&rule, None, &realm("r"), 1).await.unwrap();
    let calls = holders.calls();
    for _ in 0..10 {
        holders.keyring.unwrap(&rule, written.wrappings(), &realm("r")).await.unwrap();
        holders.keyring.for_write(&rule, None, &realm("r"), 1).await.unwrap();
    }
    assert_eq!(holders.calls(), calls);
    let reader = holders.elsewhere();
    reader.providers[0].refuse("key-0", KeyringError::Unavailable);
    let before = reader.calls();
    for _ in 0..10 {
        reader.keyring.unwrap(&rule, written.wrappings(), &realm("r")).await.unwrap();
    }
    assert_eq!(reader.calls()[1].1, before[1].1 + 1, "one call of the second holder");
    assert_eq!(reader.calls()[0].1, before[0].1 + 1, "and one attempt of the first");
}

#[tokio::test]
async fn a_silent_holder_is_waited_for_by_few_requests() {
    let holders = Holders::new(2);
    let rule = rule(&[0, 1]);
    let mut objects = Vec::new();
    for realm_number in 0..20 {
        let context = realm(&format!("r{realm_number}"));
        objects.push((holders.keyring.for_write(&rule, None, &context, 1).await.unwrap(), context));
    }
    let reader = holders.elsewhere();
    let _silent = reader.providers[0].gate.acquire_many(1_000).await.unwrap();
    let before = reader.calls()[0].1;
    for (written, context) in &objects {
        let read = reader.keyring.unwrap(&rule, written.wrappings(), context).await.unwrap();
        assert_eq!(read.data_key.expose(), written.data_key.expose());
    }
    let waited = reader.calls()[0].1 - before;
    assert!((1..10).contains(&waited), "{waited} of 20 reads called the silent holder");
}

#[tokio::test]
async fn a_required_holder_that_is_away_stops_writes_and_an_optional_one_does_not() {
    let holders = Holders::new(2);
    holders.providers[1].refuse("key-1", KeyringError::Unavailable);
    let all = rule(&[0, 1]);
    let refused = holders.keyring.for_write(&all, None, &realm("r"), 1).await.unwrap_err();
    assert_eq!(refused, KeyringError::Unavailable);
    let first = KeyRule { required: RequiredHolders::First, ..all };
    let written = holders.keyring.for_write(&first, None, &realm("r"), 1).await.unwrap();
    assert_eq!(written.further, None);
    holders.keyring.unwrap(&first, written.wrappings(), &realm("r")).await.unwrap();
}

#[tokio::test]
async fn stripped_swapped_and_forged_wrappings_open_nothing_else() {
    let holders = Holders::new(2);
    let rule = rule(&[0, 1]);
    let context = realm("r");
    let one = holders.keyring.for_one_object(Purpose::NATIVE, &rule, None, &context).await.unwrap();
    let other = holders.keyring.for_one_object(Purpose::NATIVE, &rule, None, &context).await.unwrap();
    let reader = holders.elsewhere();
    let stripped = Wrappings { further: None, ..one.wrappings() };
    let read = reader.keyring.unwrap(&rule, stripped, &context).await.unwrap();
    assert_eq!(read.data_key.expose(), one.data_key.expose());
    // A genuine wrapping of another object opens to that object's data key, which this one's envelope
    // refuses.
    let reader = holders.elsewhere();
    reader.providers[0].refuse("key-0", KeyringError::Unavailable);
    let swapped = Wrappings { further: other.further.as_deref(), ..one.wrappings() };
    let read = reader.keyring.unwrap(&rule, swapped, &context).await.unwrap();
    assert_eq!(read.data_key.expose(), other.data_key.expose());
    for forged in [&b"AQE="[..], b"", b"not base64", b"AQA="] {
        let forged = Wrappings { further: Some(forged), ..one.wrappings() };
        let reader = holders.elsewhere();
        let refused = reader.keyring.unwrap(&rule, forged, &context).await.unwrap_err();
        assert_eq!(refused, KeyringError::Unavailable);
    }
    let mut entries: Vec<_> =
        HolderEntries::parse(one.further.as_ref().unwrap()).unwrap().iter().cloned().collect();
    let mut blob = entries[0].blob.to_vec();
    *blob.last_mut().unwrap() ^= 1;
    entries[0].blob = blob.into();
    let altered = HolderEntries::new(entries).unwrap().to_header();
    let altered = Wrappings { further: Some(altered.as_bytes()), ..one.wrappings() };
    let refused = holders.elsewhere().keyring.unwrap(&rule, altered, &context).await.unwrap_err();
    assert_eq!(refused, KeyringError::Unavailable, "the first holder may still open it");
}

#[tokio::test]
async fn a_holder_that_the_rule_does_not_name_is_not_asked() {
    let holders = Holders::new(3);
    let written = holders.keyring.for_write(&rule(&[0, 1]), None, &realm("r"), 1).await.unwrap();
    let reader = holders.elsewhere();
    let before = reader.calls();
    let refused = reader.keyring.unwrap(&rule(&[2]), written.wrappings(), &realm("r")).await.unwrap_err();
    assert_eq!(refused, KeyringError::IncorrectKey);
    assert_eq!((reader.calls()[0], reader.calls()[1]), (before[0], before[1]));
    let moved = KeyRule { unwrapping: vec![1], ..rule(&[2]) };
    let read = reader.keyring.unwrap(&moved, written.wrappings(), &realm("r")).await.unwrap();
    assert_eq!(read.data_key.expose(), written.data_key.expose(), "an entry whose first holder is gone");
}

#[tokio::test]
async fn a_recovery_key_opens_what_was_written_without_a_holder() {
    let private = RecoveryPrivateKey::generate();
    let rule = KeyRule { recovery: vec![private.public_key()], ..KeyRule::default() };
    let context = realm("r");
    let written = Holders::new(1).keyring.for_write(&rule, None, &context, 1).await.unwrap();
    let entries = HolderEntries::parse(written.further.as_ref().unwrap()).unwrap();
    let entry = entries.find(HolderKind::Recovery, private.public_key().fingerprint()).unwrap();
    let opened = private.open(&entry.blob, context.canonical()).unwrap();
    assert_eq!(opened.expose(), written.data_key.expose());
    assert!(private.open(&entry.blob, realm("other").canonical()).is_err());
}

#[tokio::test]
async fn rules_with_other_wrappings_share_no_data_key() {
    let holders = Holders::new(2);
    let mut data_keys = std::collections::BTreeSet::new();
    let first = KeyRule { required: RequiredHolders::First, ..rule(&[0, 1]) };
    let recovery = vec![RecoveryPrivateKey::generate().public_key()];
    for rule in [rule(&[0]), rule(&[1]), rule(&[0, 1]), first, KeyRule { recovery, ..rule(&[0, 1]) }] {
        let written = holders.keyring.for_write(&rule, None, &realm("r"), 1).await.unwrap();
        data_keys.insert(*written.data_key.expose());
        let entries =
            written.further.map_or(0, |header| HolderEntries::parse(&header).unwrap().iter().count());
        assert_eq!(entries, rule.wrapping.len() - 1 + rule.recovery.len());
    }
    assert_eq!(data_keys.len(), 5);
}
