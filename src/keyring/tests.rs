//! The caches under a scripted provider: counted, slow, failing, forging.

mod holders;
mod purposes;
mod rewrapping;
mod verification;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::holder::{DecryptedKey, GeneratedKey, KeyProvider, Response, WrappedKey};
use super::*;
use crate::envelope::native::HolderKind;

const MINUTE: Duration = Duration::from_secs(60);

/// A holder with scripted responses. A blob is `key id \0 context \0 data key`, in clear.
#[derive(Debug)]
pub(crate) struct ScriptedHolder {
    ids: Vec<KeyId>,
    generated: AtomicU64,
    decrypted: AtomicU64,
    /// Calls that wrapped an existing data key, and calls that wrapped one again.
    wrapped: AtomicU64,
    rewrapped: AtomicU64,
    /// Whether blobs tell their key.
    tells_keys: AtomicBool,
    /// Whether the holder wraps again by itself.
    rewraps: AtomicBool,
    refusals: Mutex<HashMap<String, KeyringError>>,
    gate: Semaphore,
    zero_keys: AtomicBool,
    panics: AtomicBool,
    respond_with: Mutex<Option<GeneratedKey>>,
    /// The response to the next Decrypt, for any request.
    decrypt_with: Mutex<Option<DecryptedKey>>,
    /// The error of every Decrypt.
    deny_decrypt: Mutex<Option<KeyringError>>,
    remote: AtomicBool,
}

impl Default for ScriptedHolder {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            generated: AtomicU64::new(0),
            decrypted: AtomicU64::new(0),
            wrapped: AtomicU64::new(0),
            rewrapped: AtomicU64::new(0),
            tells_keys: AtomicBool::new(false),
            rewraps: AtomicBool::new(false),
            refusals: Mutex::default(),
            gate: Semaphore::new(1_000),
            zero_keys: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            respond_with: Mutex::new(None),
            decrypt_with: Mutex::new(None),
            deny_decrypt: Mutex::new(None),
            remote: AtomicBool::new(false),
        }
    }
}

impl ScriptedHolder {
    /// A holder of these keys that wraps data keys again by itself.
    pub(crate) fn rewrapping(ids: &[&str]) -> Arc<Self> {
        let provider = Self { ids: ids.iter().map(|text| id(text)).collect(), ..Self::default() };
        provider.remote.store(true, Ordering::SeqCst);
        provider.rewraps.store(true, Ordering::SeqCst);
        Arc::new(provider)
    }

    /// A keyring of this holder alone, with empty caches.
    pub(crate) fn keyring(self: &Arc<Self>) -> Keyring {
        let holders = vec![KeyHolder::new("one", Arc::clone(self))];
        Keyring::new(holders, &CacheSettings::default(), Reuse::Bucket, Clock::System)
    }

    /// Denies, or allows again, to unwrap data keys.
    pub(crate) fn deny_unwrapping(&self, is_denied: bool) {
        *self.deny_decrypt.lock().unwrap() = is_denied.then_some(KeyringError::Denied);
    }

    /// From now on, the holder can't wrap again by itself.
    pub(crate) fn can_not_rewrap(&self) {
        self.rewraps.store(false, Ordering::SeqCst);
    }

    async fn generate(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<GeneratedKey, KeyringError> {
        let serial = self.generated.fetch_add(1, Ordering::SeqCst) + 1;
        self.pass_gate_and_refusal(key_id).await?;
        if let Some(response) = self.respond_with.lock().unwrap().take() {
            return Ok(response);
        }
        let mut data_key = [0; 32];
        if !self.zero_keys.load(Ordering::SeqCst) {
            data_key[24..].copy_from_slice(&serial.to_be_bytes());
        }
        Ok(GeneratedKey {
            data_key: Some(DataKey::from_bytes(data_key)),
            wrapped: blob(key_id, context, &data_key),
            key_id: Some(full_name(key_id)),
        })
    }

    async fn decrypt(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<DecryptedKey, KeyringError> {
        self.decrypted.fetch_add(1, Ordering::SeqCst);
        self.pass_gate_and_refusal(key_id).await?;
        if let Some(error) = self.deny_decrypt.lock().unwrap().clone() {
            return Err(error);
        }
        if let Some(response) = self.decrypt_with.lock().unwrap().take() {
            return Ok(response);
        }
        let data_key = opened(wrapped, context, key_id)?;
        let data_key = DataKey::try_from_slice(data_key).or_else(|| DataKey::short_from_slice(data_key));
        Ok(DecryptedKey { data_key, key_id: Some(full_name(key_id)) })
    }

    async fn pass_gate_and_refusal(&self, key_id: &KeyId) -> Result<(), KeyringError> {
        drop(self.gate.acquire().await.unwrap());
        assert!(!self.panics.load(Ordering::SeqCst), "the script says panic");
        match self.refusals.lock().unwrap().get(key_id.as_str()) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn calls(&self) -> (u64, u64) {
        (self.generated.load(Ordering::SeqCst), self.decrypted.load(Ordering::SeqCst))
    }

    fn refuse(&self, id: &str, error: KeyringError) {
        self.refusals.lock().unwrap().insert(id.to_owned(), error);
    }

    fn accept_all(&self) {
        self.refusals.lock().unwrap().clear();
    }
}

impl KeyProvider for Arc<ScriptedHolder> {
    fn kind(&self) -> HolderKind {
        HolderKind::AwsKms
    }

    fn may_have_wrapped(&self, _blob: &[u8]) -> bool {
        true
    }

    fn place(&self) -> String {
        "a script".to_owned()
    }

    fn is_remote(&self) -> bool {
        self.remote.load(Ordering::SeqCst)
    }

    fn key_ids(&self) -> &[KeyId] {
        &self.ids
    }

    fn generate<'a>(
        &'a self,
        key_id: &'a KeyId,
        context: &'a EncryptionContext,
    ) -> Response<'a, GeneratedKey> {
        Box::pin(async move { Ok(ScriptedHolder::generate(self, key_id, context).await?) })
    }

    fn decrypt<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, DecryptedKey> {
        Box::pin(async move { Ok(ScriptedHolder::decrypt(self, wrapped, context, key_id).await?) })
    }

    fn wrap<'a>(
        &'a self,
        data_key: &'a DataKey,
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(async move {
            self.wrapped.fetch_add(1, Ordering::SeqCst);
            self.pass_gate_and_refusal(key_id).await?;
            let wrapped = blob(key_id, context, data_key.as_slice());
            Ok(WrappedKey { wrapped, key_id: Some(full_name(key_id)) })
        })
    }

    fn claimed_key(&self, blob: &[u8]) -> Option<String> {
        let id = blob.split(|byte| *byte == 0).next()?;
        self.tells_keys.load(Ordering::SeqCst).then(|| String::from_utf8_lossy(id).into_owned())
    }

    fn rewrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        from: &'a KeyId,
        to: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(async move {
            if !self.rewraps.load(Ordering::SeqCst) {
                return Err(KeyringError::Unsupported.into());
            }
            self.rewrapped.fetch_add(1, Ordering::SeqCst);
            self.pass_gate_and_refusal(from).await?;
            self.pass_gate_and_refusal(to).await?;
            let data_key = opened(wrapped, context, from)?;
            Ok(WrappedKey { wrapped: blob(to, context, data_key), key_id: Some(full_name(to)) })
        })
    }
}

fn blob(key_id: &KeyId, context: &EncryptionContext, data_key: &[u8]) -> Bytes {
    [key_id.as_str().as_bytes(), b"\0", context.canonical(), b"\0", data_key].concat().into()
}

fn opened<'a>(
    wrapped: &'a [u8],
    context: &EncryptionContext,
    key_id: &KeyId,
) -> Result<&'a [u8], KeyringError> {
    wrapped
        .strip_prefix(key_id.as_str().as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\0"))
        .ok_or(KeyringError::IncorrectKey)?
        .strip_prefix(context.canonical())
        .and_then(|rest| rest.strip_prefix(b"\0"))
        .ok_or(KeyringError::InvalidCiphertext)
}

fn full_name(key_id: &KeyId) -> String {
    format!("arn:aws:kms:eu-west-3:1:key/{key_id}")
}

struct Bench {
    keyring: Keyring,
    provider: Arc<ScriptedHolder>,
    now: Arc<Mutex<Instant>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(CacheSettings::default(), Reuse::Bucket)
    }

    fn with(cache: CacheSettings, reuse: Reuse) -> Self {
        let provider =
            Arc::new(ScriptedHolder { ids: vec![id("bucket"), id("older")], ..ScriptedHolder::default() });
        let now = Arc::new(Mutex::new(Instant::now()));
        let keyring = Keyring::new(
            vec![KeyHolder::new("one", Arc::clone(&provider))],
            &cache,
            reuse,
            Clock::Manual(Arc::clone(&now)),
        );
        Self { keyring, provider, now }
    }

    /// Another process with this provider and empty caches.
    fn elsewhere(&self) -> Self {
        let keyring = Keyring::new(
            vec![KeyHolder::new("one", Arc::clone(&self.provider))],
            &CacheSettings::default(),
            Reuse::Bucket,
            Clock::Manual(Arc::clone(&self.now)),
        );
        Self { keyring, provider: Arc::clone(&self.provider), now: Arc::clone(&self.now) }
    }

    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    async fn write(&self, bytes: u64) -> Result<WriteKey, KeyringError> {
        self.keyring.for_write(&KeyRule::default(), None, &realm("r"), bytes).await
    }

    async fn read(&self, written: &WriteKey) -> Result<UnwrappedKey, KeyringError> {
        self.keyring.unwrap(&under(&[id("bucket")]), Wrappings::single(&written.wrapped), &realm("r")).await
    }
}

/// A rule of the first holder with these keys; the first key is for new objects.
fn under(key_ids: &[KeyId]) -> KeyRule {
    KeyRule { key_id: Some(key_ids[0].clone()), allowed_key_ids: key_ids[1..].to_vec(), ..KeyRule::default() }
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn realm(name: &str) -> EncryptionContext {
    EncryptionContext::native(name)
}

fn generous(max_age: Duration) -> CacheSettings {
    CacheSettings { max_age, ..CacheSettings::default() }
}

async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_cold_writers_make_one_call() {
    let bench = Arc::new(Bench::new());
    let closed = bench.provider.gate.acquire_many(1_000).await.unwrap();
    let writers: Vec<_> = (0..100)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.write(1).await })
        })
        .collect();
    until(|| bench.provider.calls() == (1, 0)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(closed);
    let mut blobs = std::collections::BTreeSet::new();
    for writer in writers {
        blobs.insert(writer.await.unwrap().unwrap().wrapped);
    }
    assert_eq!((bench.provider.calls(), blobs.len()), ((1, 0), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_cold_readers_make_one_call() {
    let written = Bench::new();
    let object = written.write(1).await.unwrap();
    let cold = Arc::new(written.elsewhere());
    let closed = cold.provider.gate.acquire_many(1_000).await.unwrap();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let (cold, object) = (Arc::clone(&cold), object.clone());
            tokio::spawn(async move { cold.read(&object).await })
        })
        .collect();
    until(|| cold.provider.calls() == (1, 1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(closed);
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap().data_key.expose(), object.data_key.expose());
    }
    assert_eq!(cold.provider.calls(), (1, 1));
}

#[tokio::test]
async fn a_data_key_serves_so_many_objects_and_no_more() {
    let bench = Bench::with(CacheSettings { max_objects: 10, ..CacheSettings::default() }, Reuse::Bucket);
    let mut uses = HashMap::<WrappedDataKey, u32>::new();
    for _ in 0..95 {
        *uses.entry(bench.write(1).await.unwrap().wrapped).or_default() += 1;
    }
    assert_eq!(bench.provider.calls(), (10, 0));
    assert_eq!(uses.values().filter(|&&n| n == 10).count(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_never_overdraw_a_data_key() {
    let bench =
        Arc::new(Bench::with(CacheSettings { max_objects: 7, ..CacheSettings::default() }, Reuse::Bucket));
    let writers: Vec<_> = (0..300)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.write(1).await.unwrap().wrapped })
        })
        .collect();
    let mut uses = HashMap::<WrappedDataKey, u32>::new();
    for writer in writers {
        *uses.entry(writer.await.unwrap()).or_default() += 1;
    }
    assert!(uses.values().all(|&n| n <= 7), "{uses:?}");
    assert_eq!(uses.values().sum::<u32>(), 300);
}

#[tokio::test]
async fn a_data_key_serves_so_many_bytes_and_no_more() {
    let bench = Bench::with(CacheSettings { max_bytes: 100, ..CacheSettings::default() }, Reuse::Bucket);
    for _ in 0..10 {
        bench.write(10).await.unwrap();
    }
    assert_eq!(bench.provider.calls(), (1, 0));
    bench.write(1).await.unwrap();
    assert_eq!(bench.provider.calls(), (2, 0));
    bench.write(100).await.unwrap();
    assert_eq!(bench.provider.calls(), (3, 0), "99 bytes are left, 100 do not fit");
    let giant = bench.write(101).await.unwrap();
    let next = bench.write(1).await.unwrap();
    assert_ne!(giant.wrapped, next.wrapped, "an object above the bound shares no data key");
}

#[tokio::test]
async fn age_counts_from_the_response_and_no_use_extends_it() {
    let bench = Bench::with(generous(5 * MINUTE), Reuse::Bucket);
    let first = bench.write(1).await.unwrap();
    for _ in 0..4 {
        bench.pass(MINUTE);
        assert_eq!(bench.write(1).await.unwrap().wrapped, first.wrapped);
        bench.read(&first).await.unwrap();
    }
    assert_eq!(bench.provider.calls(), (1, 0));
    bench.pass(MINUTE);
    assert_ne!(bench.write(1).await.unwrap().wrapped, first.wrapped);
    bench.read(&first).await.unwrap();
    assert_eq!(bench.provider.calls(), (2, 1));
}

#[tokio::test]
async fn without_reuse_each_object_has_its_own_call_and_key() {
    let bench = Bench::with(CacheSettings::default(), Reuse::Off);
    let (one, other) = (bench.write(1).await.unwrap(), bench.write(1).await.unwrap());
    assert_ne!(one.data_key.expose(), other.data_key.expose());
    assert_eq!(bench.provider.calls(), (2, 0));
    assert_eq!(bench.read(&one).await.unwrap().data_key.expose(), one.data_key.expose());
    assert_eq!(bench.provider.calls(), (2, 0), "reading back is warm here too");
}

#[tokio::test]
async fn what_was_written_here_is_read_without_a_call_by_either_name_of_its_key() {
    let bench = Bench::new();
    let object = bench.write(1).await.unwrap();
    for name in ["bucket", "arn:aws:kms:eu-west-3:1:key/bucket"] {
        let read = bench
            .keyring
            .unwrap(&under(&[id(name)]), Wrappings::single(&object.wrapped), &realm("r"))
            .await
            .unwrap();
        assert_eq!(read.data_key.expose(), object.data_key.expose());
        assert_eq!(read.key_id.as_ref(), "arn:aws:kms:eu-west-3:1:key/bucket");
    }
    assert_eq!(bench.provider.calls(), (1, 0));
}

#[tokio::test]
async fn the_known_key_id_is_a_peek() {
    let bench = Bench::new();
    let object = bench.write(1).await.unwrap();
    let known = |bench: &Bench| {
        let (keyring, wrapped) = (bench.keyring.clone(), object.wrapped.clone());
        async move {
            keyring
                .known_key_id(&under(&[id("older"), id("bucket")]), Wrappings::single(&wrapped), &realm("r"))
                .await
        }
    };
    assert_eq!(known(&bench).await.as_deref(), Some("arn:aws:kms:eu-west-3:1:key/bucket"));
    assert_eq!(known(&bench.elsewhere()).await, None);
    bench.pass(60 * MINUTE);
    assert_eq!(known(&bench).await, None);
    assert_eq!(bench.provider.calls(), (1, 0));
}

#[tokio::test]
async fn a_cached_key_is_found_under_its_blob_its_context_and_its_wrapping_key_only() {
    let bench = Bench::new();
    let object = bench.write(1).await.unwrap();
    let unwrap = |wrapped: &[u8], context, key_id| {
        let (keyring, wrapped) = (bench.keyring.clone(), wrapped.to_vec());
        async move {
            keyring
                .unwrap(&under(&[id(key_id)]), Wrappings::single(&wrapped), &context)
                .await
                .map(|unwrapped| unwrapped.key_id)
        }
    };
    let other_context = unwrap(&object.wrapped, realm("other"), "bucket").await;
    assert_eq!(other_context, Err(KeyringError::InvalidCiphertext));
    assert_eq!(unwrap(&object.wrapped, realm("r"), "older").await, Err(KeyringError::IncorrectKey));
    let mut other_blob = object.wrapped.to_vec();
    *other_blob.last_mut().unwrap() ^= 0x80;
    unwrap(&other_blob, realm("r"), "bucket").await.unwrap();
    assert_eq!(bench.provider.calls(), (1, 3), "none of the three was a hit");
}

#[tokio::test]
async fn writers_of_other_realms_or_keys_share_no_data_key() {
    let bench = Bench::new();
    let keyring = &bench.keyring;
    let keys = [
        keyring.for_write(&KeyRule::default(), None, &realm("a"), 1).await.unwrap(),
        keyring.for_write(&KeyRule::default(), None, &realm("b"), 1).await.unwrap(),
        keyring.for_write(&KeyRule::default(), Some(&id("older")), &realm("a"), 1).await.unwrap(),
    ];
    assert_eq!(bench.provider.calls(), (3, 0));
    assert_eq!(
        keyring.for_write(&KeyRule::default(), Some(&id("bucket")), &realm("a"), 1).await.unwrap().wrapped,
        keys[0].wrapped
    );
    assert_eq!(bench.provider.calls(), (3, 0), "the default key by its name is the default key");
}

#[tokio::test]
async fn a_blob_under_a_key_that_is_not_allowed_does_not_open() {
    let attacker = Bench::new();
    let forged = attacker
        .keyring
        .for_write(&KeyRule::default(), Some(&id("attackers")), &realm("r"), 1)
        .await
        .unwrap();
    let victim = attacker.elsewhere();
    assert_eq!(victim.read(&forged).await.unwrap_err(), KeyringError::IncorrectKey);
}

#[tokio::test]
async fn allowed_keys_are_tried_in_order_and_the_one_that_opened_is_remembered() {
    let written = Bench::new();
    let old =
        written.keyring.for_write(&KeyRule::default(), Some(&id("older")), &realm("r"), 1).await.unwrap();
    let bench = written.elsewhere();
    let allowed = [id("bucket"), id("older")];
    for _ in 0..10 {
        let read = bench
            .keyring
            .unwrap(&under(&allowed), Wrappings::single(&old.wrapped), &realm("r"))
            .await
            .unwrap();
        assert_eq!(read.key_id.as_ref(), "arn:aws:kms:eu-west-3:1:key/older");
        bench.pass(Duration::from_secs(10));
    }
    assert_eq!(bench.provider.calls(), (1, 2));
}

#[tokio::test]
async fn one_unusable_key_does_not_hide_another_that_opens() {
    let written = Bench::new();
    let old =
        written.keyring.for_write(&KeyRule::default(), Some(&id("older")), &realm("r"), 1).await.unwrap();
    let allowed = [id("bucket"), id("older")];
    for refusal in [KeyringError::Denied, KeyringError::KeyDisabled, KeyringError::KeyNotFound] {
        let bench = written.elsewhere();
        bench.provider.refuse("bucket", refusal);
        bench.keyring.unwrap(&under(&allowed), Wrappings::single(&old.wrapped), &realm("r")).await.unwrap();
    }
}

#[tokio::test]
async fn the_most_specific_of_several_errors_is_reported() {
    let written = Bench::new();
    let object =
        written.keyring.for_write(&KeyRule::default(), Some(&id("older")), &realm("r"), 1).await.unwrap();
    let bench = written.elsewhere();
    bench.provider.refuse("older", KeyringError::KeyDisabled);
    for allowed in [[id("bucket"), id("older")], [id("older"), id("bucket")]] {
        let refused = bench
            .keyring
            .unwrap(&under(&allowed), Wrappings::single(&object.wrapped), &realm("r"))
            .await
            .unwrap_err();
        assert_eq!(refused, KeyringError::KeyDisabled);
    }
}

#[tokio::test]
async fn an_outage_keeps_warm_keys_working_until_their_age_ends_and_fails_cold_ones() {
    let bench = Bench::with(generous(5 * MINUTE), Reuse::Bucket);
    let object = bench.write(1).await.unwrap();
    bench.provider.refuse("bucket", KeyringError::Unavailable);
    bench.pass(5 * MINUTE - Duration::from_secs(1));
    bench.write(1).await.unwrap();
    bench.read(&object).await.unwrap();
    assert_eq!(bench.elsewhere().read(&object).await.unwrap_err(), KeyringError::Unavailable);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.write(1).await.unwrap_err(), KeyringError::Unavailable);
    assert_eq!(bench.read(&object).await.unwrap_err(), KeyringError::Unavailable);
}

#[tokio::test]
async fn a_revoked_key_stops_within_its_age_for_readers_and_writers() {
    for revoked in [KeyringError::Denied, KeyringError::KeyDisabled, KeyringError::InvalidKeyState] {
        let stale_if_error = Some(60 * MINUTE);
        let cache = CacheSettings { max_age: 5 * MINUTE, stale_if_error, ..CacheSettings::default() };
        let bench = Bench::with(cache, Reuse::Bucket);
        let object = bench.write(1).await.unwrap();
        bench.provider.refuse("bucket", revoked.clone());
        bench.pass(5 * MINUTE);
        assert_eq!(bench.write(1).await.unwrap_err(), revoked, "stale_if_error is for outages only");
        assert_eq!(bench.read(&object).await.unwrap_err(), revoked);
        bench.provider.refuse("bucket", KeyringError::Unavailable);
        bench.pass(MINUTE);
        assert_eq!(
            bench.read(&object).await.unwrap_err(),
            KeyringError::Unavailable,
            "an outage revives no key"
        );
    }
}

#[tokio::test]
async fn stale_if_error_bridges_an_outage_for_so_long_and_asks_now_and_then() {
    for outage in [KeyringError::Unavailable, KeyringError::Throttled] {
        let stale_if_error = Some(10 * MINUTE);
        let cache = CacheSettings { max_age: 5 * MINUTE, stale_if_error, ..CacheSettings::default() };
        let bench = Bench::with(cache, Reuse::Bucket);
        let object = bench.write(1).await.unwrap();
        bench.provider.refuse("bucket", outage.clone());
        bench.pass(5 * MINUTE);
        for _ in 0..100 {
            assert_eq!(bench.write(1).await.unwrap().wrapped, object.wrapped);
            bench.read(&object).await.unwrap();
        }
        assert_eq!(bench.provider.calls(), (2, 1), "one attempt each, not one per request");
        bench.pass(Duration::from_secs(5));
        bench.read(&object).await.unwrap();
        assert_eq!(bench.provider.calls(), (2, 2));
        bench.pass(10 * MINUTE);
        assert_eq!(bench.read(&object).await.unwrap_err(), outage);
        assert_eq!(bench.write(1).await.unwrap_err(), outage);
    }
}

#[tokio::test]
async fn stale_if_error_does_not_lift_the_bounds_of_a_data_key() {
    let cache = CacheSettings {
        max_age: 5 * MINUTE,
        max_objects: 2,
        stale_if_error: Some(10 * MINUTE),
        ..CacheSettings::default()
    };
    let bench = Bench::with(cache, Reuse::Bucket);
    bench.write(1).await.unwrap();
    bench.provider.refuse("bucket", KeyringError::Unavailable);
    bench.pass(5 * MINUTE);
    bench.write(1).await.unwrap();
    assert_eq!(bench.write(1).await.unwrap_err(), KeyringError::Unavailable);
}

#[tokio::test]
async fn a_provider_that_is_back_ends_the_grace() {
    let cache = CacheSettings { stale_if_error: Some(60 * MINUTE), ..generous(5 * MINUTE) };
    let bench = Bench::with(cache, Reuse::Bucket);
    let object = bench.write(1).await.unwrap();
    bench.provider.refuse("bucket", KeyringError::Unavailable);
    bench.pass(5 * MINUTE);
    bench.read(&object).await.unwrap();
    bench.provider.refuse("bucket", KeyringError::KeyDisabled);
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.read(&object).await.unwrap_err(), KeyringError::KeyDisabled);
}

#[tokio::test]
async fn an_error_is_shared_for_a_moment_and_then_forgotten() {
    let bench = Bench::new();
    bench.provider.refuse("bucket", KeyringError::Unavailable);
    for _ in 0..50 {
        assert_eq!(bench.write(1).await.unwrap_err(), KeyringError::Unavailable);
    }
    assert_eq!(bench.provider.calls(), (1, 0));
    bench.provider.accept_all();
    bench.pass(Duration::from_millis(250));
    bench.write(1).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_vanishes_does_not_fail_its_followers_nor_waste_its_call() {
    let bench = Arc::new(Bench::new());
    let closed = bench.provider.gate.acquire_many(1_000).await.unwrap();
    let write = || {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.write(1).await })
    };
    let leader = write();
    until(|| bench.provider.calls() == (1, 0)).await;
    let follower = write();
    tokio::task::yield_now().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    drop(closed);
    follower.await.unwrap().unwrap();
    assert_eq!(bench.provider.calls(), (1, 0));
}

#[tokio::test]
async fn a_call_whose_only_caller_vanished_still_warms_the_cache() {
    let bench = Arc::new(Bench::new());
    let closed = bench.provider.gate.acquire_many(1_000).await.unwrap();
    let gone = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.write(1).await }
    });
    until(|| bench.provider.calls() == (1, 0)).await;
    gone.abort();
    drop(closed);
    bench.write(1).await.unwrap();
    assert_eq!(bench.provider.calls(), (1, 0));
}

#[tokio::test]
async fn a_panic_in_a_call_is_an_error_and_later_calls_work() {
    let bench = Bench::new();
    bench.provider.panics.store(true, Ordering::SeqCst);
    assert_eq!(bench.write(1).await.unwrap_err(), KeyringError::Interrupted);
    bench.provider.panics.store(false, Ordering::SeqCst);
    bench.write(1).await.unwrap();
}

#[tokio::test]
async fn a_zero_data_key_is_never_used() {
    let malformed = KeyringError::Malformed(MalformedResponse::ZeroDataKey);
    let bench = Bench::new();
    bench.provider.zero_keys.store(true, Ordering::SeqCst);
    assert_eq!(bench.write(1).await.unwrap_err(), malformed, "This is a security issue.");
    let blob = [b"bucket\0", realm("r").canonical(), b"\0", &[0; 32]].concat();
    let read = bench.keyring.unwrap(&under(&[id("bucket")]), Wrappings::single(&blob), &realm("r")).await;
    assert_eq!(read.unwrap_err(), malformed, "This is a security issue.");
}

#[tokio::test]
async fn malformed_responses_are_refused() {
    let response = || GeneratedKey {
        data_key: Some(DataKey::from_bytes([1; 32])),
        wrapped: Bytes::from_static(b"blob"),
        key_id: Some("arn:aws:kms:eu-west-3:1:key/bucket".to_owned()),
    };
    let oversized = Bytes::from(vec![1; MAX_WRAPPED_KEY_LEN + 1]);
    for (bad, expected) in [
        (GeneratedKey { data_key: None, ..response() }, MalformedResponse::DataKeyLength),
        (GeneratedKey { wrapped: Bytes::new(), ..response() }, MalformedResponse::WrappedKeyLength),
        (GeneratedKey { wrapped: oversized, ..response() }, MalformedResponse::WrappedKeyLength),
        (GeneratedKey { key_id: None, ..response() }, MalformedResponse::KeyId),
        (GeneratedKey { key_id: Some("a\r\nb: c".to_owned()), ..response() }, MalformedResponse::KeyId),
    ] {
        let bench = Bench::new();
        *bench.provider.respond_with.lock().unwrap() = Some(bad);
        assert_eq!(bench.write(1).await.unwrap_err(), KeyringError::Malformed(expected));
    }
    let blob = [b"bucket\0", realm("r").canonical(), b"\0", &[7; 31]].concat();
    let short =
        Bench::new().keyring.unwrap(&under(&[id("bucket")]), Wrappings::single(&blob), &realm("r")).await;
    assert_eq!(short.unwrap_err(), KeyringError::Malformed(MalformedResponse::DataKeyLength));
}

#[tokio::test]
async fn an_impossible_blob_is_refused_without_a_call() {
    let bench = Bench::new();
    for blob in [vec![], vec![0; MAX_WRAPPED_KEY_LEN + 1]] {
        let refused = bench
            .keyring
            .unwrap(&under(&[id("bucket")]), Wrappings::single(&blob), &realm("r"))
            .await
            .unwrap_err();
        assert_eq!(refused, KeyringError::InvalidCiphertext);
    }
    assert_eq!(bench.provider.calls(), (0, 0));
}

#[tokio::test]
async fn the_caches_hold_so_many_entries_and_no_more() {
    let bench = Bench::with(CacheSettings { entries: 10, ..CacheSettings::default() }, Reuse::Bucket);
    for n in 0..200 {
        bench.keyring.for_write(&KeyRule::default(), None, &realm(&n.to_string()), 1).await.unwrap();
    }
    assert!(bench.keyring.inner.leases.settled_len().await <= 10);
    assert!(bench.keyring.inner.unwrapped.settled_len().await <= 10);
}

#[tokio::test]
async fn a_check_goes_past_the_caches_and_compares_what_comes_back() {
    let bench = Bench::new();
    bench.write(1).await.unwrap();
    assert_eq!(
        bench.keyring.check(0, None, &realm("r")).await.unwrap().key_id.as_ref(),
        "arn:aws:kms:eu-west-3:1:key/bucket"
    );
    assert_eq!(bench.provider.calls(), (2, 1));
    let another = [b"bucket\0", realm("r").canonical(), b"\0", &[2; 32]].concat();
    *bench.provider.respond_with.lock().unwrap() = Some(GeneratedKey {
        data_key: Some(DataKey::from_bytes([1; 32])),
        wrapped: another.into(),
        key_id: Some("arn:aws:kms:eu-west-3:1:key/bucket".to_owned()),
    });
    let mismatch = bench.keyring.check(0, None, &realm("r")).await.unwrap_err();
    assert_eq!(mismatch.failure.error, KeyringError::Malformed(MalformedResponse::RoundTrip));
    assert_eq!(mismatch.call, KeyCall::Unwrap);
    bench.provider.refuse("bucket", KeyringError::Denied);
    let denied = bench.keyring.check(0, None, &realm("r")).await.unwrap_err();
    assert_eq!((denied.call, denied.failure.error), (KeyCall::Generate, KeyringError::Denied));
}

#[tokio::test]
async fn the_calls_of_requests_show_that_a_key_works() {
    let bench = Bench::new();
    let key = bench.keyring.holders().next().and_then(|(_, key_id)| key_id.cloned());
    bench.provider.remote.store(true, Ordering::Relaxed);
    assert_eq!(bench.keyring.last_success(0, None), None);
    bench.provider.refuse("bucket", KeyringError::Denied);
    bench.write(1).await.unwrap_err();
    assert_eq!(bench.keyring.last_success(0, None), None, "a refusal");
    let bench = Bench::new();
    bench.provider.remote.store(true, Ordering::Relaxed);
    bench.write(1).await.unwrap();
    let both = bench.keyring.last_success(0, None);
    assert!(both.is_some_and(|both| both <= Instant::now()), "a shared data key is unwrapped before its use");
    assert_eq!(bench.keyring.last_success(0, key.as_ref()), both);
}

#[test]
fn no_debug_output_shows_a_key() {
    let written = WriteKey {
        data_key: Arc::new(DataKey::from_bytes([0xAB; 32])),
        wrapped: Bytes::from_static(b"w").into(),
        further: None,
        key_id: "k".into(),
    };
    let text = format!("{written:?} {:?}", lease::Lease::new(written.clone(), 1, 1));
    assert!(!text.contains("171") && !text.to_lowercase().contains("abab"), "{text}");
}
