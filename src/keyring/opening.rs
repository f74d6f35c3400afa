//! Unwraps data keys by any of the holders that may: the wrappings that an object carries are tried in the
//! order of the rule, holders that do not respond last. It must not know objects or headers. It promises that
//! a cached data key costs no call, that no holder is asked for what another one wrapped, as far as that can
//! be known, and that a holder which does not respond delays a request only briefly if another one can.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::cache::Fingerprint;
use super::health::Availability;
use super::holder::KeyHolder;
use super::{
    EncryptionContext, Inner, KeyCall, KeyId, KeyRule, Keyring, KeyringError, MalformedResponse, Purpose,
    UnwrappedKey, WrappingName, Wrappings, blob_fingerprint, is_wrapped_key_length,
};
use crate::audit::KeyAction;
use crate::envelope::native::{HolderEntries, HolderEntry, HolderFingerprint, HolderKind, ServiceBlob};
use crate::timer;

/// How long a holder's response is waited for before the next holder is called, too. Holders respond within
/// milliseconds, from another continent within 200.
const HEDGE_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of entries of one object that a holder is called for: a writer makes one, and a storage
/// that forges many must not cost a call each while the full name of the holder's key is not known.
const MAX_ENTRIES: usize = 4;

/// A wrapping that a holder may open.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    holder: usize,
    /// The keys under which it may be unwrapped, in this order.
    pub(super) key_ids: Vec<KeyId>,
    form: Form,
}

/// Where in an object a wrapping is.
#[derive(Debug, Clone)]
enum Form {
    /// The first holder's blob, which wraps the data key itself.
    First(Bytes),
    /// A further entry, which wraps a key of the holder's own that seals the data key.
    Further(HolderEntry),
}

impl Candidate {
    /// The place of the holder that may open the wrapping.
    pub(super) fn holder(&self) -> usize {
        self.holder
    }

    /// Where the wrapping is in the object.
    pub(super) fn name(&self) -> WrappingName {
        match &self.form {
            Form::First(_) => WrappingName::First,
            Form::Further(entry) => WrappingName::Further(entry.kind, entry.fingerprint),
        }
    }

    /// The cache key of the data key, if it is unwrapped under this key.
    pub(super) fn fingerprint(
        &self,
        purpose: Purpose,
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Fingerprint {
        let (Form::First(blob) | Form::Further(HolderEntry { blob, .. })) = &self.form;
        blob_fingerprint(purpose, self.holder, blob, context, key_id)
    }
}

impl Keyring {
    /// Opens the wrapped key of a native object.
    ///
    /// # Errors
    /// As [`Self::unwrap_as`].
    pub async fn unwrap(
        &self,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Result<UnwrappedKey, KeyringError> {
        self.unwrap_as(Purpose::NATIVE, rule, wrappings, context).await
    }

    /// Opens one of the wrappings by one of the rule's holders, under one of its allowed keys and no other.
    ///
    /// Every attempt names its key to the provider, so a blob made under an attacker's key does not open.
    /// Errors that concern one key (wrapped under another key, disabled, denied, missing) let the next key
    /// of the holder try; every error lets the next holder try, since only the object's envelope shows which
    /// wrapping is genuine.
    ///
    /// # Errors
    /// With several keys or holders, that of an outage, else the first error that is more specific than
    /// [`KeyringError::IncorrectKey`]. No allowed key is [`KeyringError::NotAllowed`]; wrappings that none of
    /// the holders may have made are [`KeyringError::InvalidCiphertext`].
    pub async fn unwrap_as(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Result<UnwrappedKey, KeyringError> {
        if !is_wrapped_key_length(wrappings.first) && wrappings.further.is_none() {
            return Err(KeyringError::InvalidCiphertext);
        }
        let (holder, unwrapped) = match self.inner.cached_first(purpose, rule, wrappings.first, context).await
        {
            Some(hit) => (rule.first(), hit),
            None => Box::pin(self.open(purpose, rule, wrappings, context)).await?,
        };
        self.inner.note_use(KeyAction::Open, purpose, holder, &unwrapped.key_id);
        Ok(unwrapped)
    }

    /// The data key of a native object if it is cached. Never calls a provider.
    pub async fn cached(
        &self,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Option<UnwrappedKey> {
        let (holder, hit) = self.inner.cached(Purpose::NATIVE, rule, wrappings, context).await?;
        self.inner.note_use(KeyAction::Open, Purpose::NATIVE, holder, &hit.key_id);
        Some(hit)
    }

    /// The wrapping key's full name if the data key of a native object is cached, for responses without a
    /// body. Never calls a provider.
    pub async fn known_key_id(
        &self,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Option<Arc<str>> {
        self.known_key_id_as(Purpose::NATIVE, rule, wrappings, context).await
    }

    /// [`Self::known_key_id`] for an object of another format.
    pub async fn known_key_id_as(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Option<Arc<str>> {
        self.inner.cached(purpose, rule, wrappings, context).await.map(|(_, hit)| hit.key_id)
    }

    /// Searches the cache for every wrapping, then calls holders until one opens a wrapping: one after the
    /// other where they fail, two at a time where one is slow. Returns the place of the holder that opened
    /// it.
    async fn open(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Result<(usize, UnwrappedKey), KeyringError> {
        let candidates = self.inner.candidates(rule, wrappings).await;
        if candidates.is_empty() {
            return Err(KeyringError::InvalidCiphertext);
        }
        if let Some(hit) = self.inner.cached_among(&candidates, purpose, context).await {
            return Ok(hit);
        }
        let mut waiting = VecDeque::from(self.inner.by_availability(candidates));
        let mut called = Vec::with_capacity(waiting.len());
        let mut running = JoinSet::new();
        let mut refused = KeyringError::NotAllowed;
        loop {
            if let Some(candidate) = waiting.pop_front() {
                let (inner, context, holder) = (Arc::clone(&self.inner), context.clone(), candidate.holder);
                called.push(holder);
                running.spawn(async move { (holder, inner.attempt(purpose, candidate, &context).await) });
            }
            let delay = if waiting.is_empty() { Duration::MAX } else { HEDGE_DELAY };
            match timer::timeout(delay, running.join_next()).await {
                Ok(Some(Ok((holder, Ok(unwrapped))))) => {
                    self.inner.note_slow(&called, holder);
                    return Ok((holder, unwrapped));
                }
                Ok(Some(Ok((holder, Err(error))))) => {
                    called.retain(|called| *called != holder);
                    if error.is_outage() {
                        waiting.retain(|candidate| candidate.holder != holder);
                    }
                    if refused.is_less_specific_than(&error) {
                        refused = error;
                    }
                }
                Ok(Some(Err(_panicked))) => return Err(KeyringError::Interrupted),
                Ok(None) => return Err(refused),
                Err(_slow) => {}
            }
        }
    }
}

impl Inner {
    /// The data key, if it is cached for one of the wrappings, and the place of its holder.
    pub(super) async fn cached(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Option<(usize, UnwrappedKey)> {
        let hit = self.cached_first(purpose, rule, wrappings.first, context).await;
        if hit.is_some() || self.holders.len() == 1 {
            return hit.map(|hit| (rule.first(), hit));
        }
        self.cached_among(&self.candidates(rule, wrappings).await, purpose, context).await
    }

    /// The data key, if it is cached as the one that the rule's first holder wrapped. The cache is searched
    /// under all allowed keys before a holder is called, or the blobs of an older key would cost a call each.
    async fn cached_first(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        first: &[u8],
        context: &EncryptionContext,
    ) -> Option<UnwrappedKey> {
        for key_id in self.allowed_keys(rule) {
            let fingerprint = blob_fingerprint(purpose, rule.first(), first, context, key_id);
            if let Some(hit) = self.unwrapped.get(&fingerprint).await {
                return Some(hit);
            }
        }
        None
    }

    /// The data key, if it is cached for one of these wrappings, and the place of its holder.
    async fn cached_among(
        &self,
        candidates: &[Candidate],
        purpose: Purpose,
        context: &EncryptionContext,
    ) -> Option<(usize, UnwrappedKey)> {
        for candidate in candidates {
            for key_id in &candidate.key_ids {
                let fingerprint = candidate.fingerprint(purpose, context, key_id);
                if let Some(hit) = self.unwrapped.get(&fingerprint).await {
                    return Some((candidate.holder, hit));
                }
            }
        }
        None
    }

    /// The wrappings that the rule's holders may open: the first one by the first holder, the further ones by
    /// their holders, then the first one by the others. Each holder is followed by its replicas.
    pub(super) async fn candidates(&self, rule: &KeyRule, wrappings: Wrappings<'_>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let first = Form::First(Bytes::copy_from_slice(wrappings.first));
        let may_have_wrapped = |holder: &usize| {
            is_wrapped_key_length(wrappings.first) && self.holders[*holder].may_have_wrapped(wrappings.first)
        };
        if may_have_wrapped(&rule.first()) {
            self.push_with_replicas(rule, rule.first(), &first, &mut candidates);
        }
        // A malformed value is as good as none: what the first wrapping opens to needs nothing else.
        let further = wrappings.further.and_then(|header| HolderEntries::parse(header).ok());
        for holder in rule.holders() {
            let mut entries = 0;
            for entry in further.iter().flat_map(HolderEntries::iter) {
                if entries < MAX_ENTRIES && self.may_open(rule, holder, entry).await {
                    self.push_with_replicas(rule, holder, &Form::Further(entry.clone()), &mut candidates);
                    entries += 1;
                }
            }
        }
        // The object may have been written when another holder was the first one.
        for holder in rule.holders().skip(1).filter(may_have_wrapped) {
            self.push_with_replicas(rule, holder, &first, &mut candidates);
        }
        candidates
    }

    fn push_with_replicas(
        &self,
        rule: &KeyRule,
        holder: usize,
        form: &Form,
        candidates: &mut Vec<Candidate>,
    ) {
        let key_ids = self.keys_of(rule, holder).into_iter().cloned().collect();
        candidates.push(Candidate { holder, key_ids, form: form.clone() });
        for (place, replica) in self.holders.iter().enumerate() {
            if replica.replica_of() == Some(holder) {
                let key_ids = replica.key_ids().to_vec();
                candidates.push(Candidate { holder: place, key_ids, form: form.clone() });
            }
        }
    }

    /// The keys under which a holder may unwrap, in the order of their attempts.
    pub(super) fn keys_of<'a>(&'a self, rule: &'a KeyRule, holder: usize) -> Vec<&'a KeyId> {
        if holder == rule.first() {
            self.allowed_keys(rule).collect()
        } else {
            self.holders[holder].key_ids().iter().collect()
        }
    }

    /// Whether a holder may have made this entry: the entry names one of its keys, or a key of its kind while
    /// the full name of one of its keys is not known.
    async fn may_open(&self, rule: &KeyRule, holder: usize, entry: &HolderEntry) -> bool {
        let kind = self.holders[holder].kind();
        if kind != entry.kind {
            return false;
        }
        for key_id in self.keys_of(rule, holder) {
            let Some(name) = self.canonical_name(holder, key_id).await else { return true };
            if HolderFingerprint::new(kind, name.as_bytes()) == entry.fingerprint {
                return true;
            }
        }
        false
    }

    /// The full name of a holder's key, of which fingerprints are made (F-62), if it is known without a call.
    pub(super) async fn canonical_name(&self, holder: usize, key_id: &KeyId) -> Option<Arc<str>> {
        let known = self.full_names.get(&(holder, key_id.clone())).await;
        known
            .or_else(|| is_full_name(self.holders[holder].kind(), key_id).then(|| Arc::from(key_id.as_str())))
    }

    /// Moves the holders that did not respond a moment ago behind the others.
    fn by_availability(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        if candidates.iter().all(|candidate| candidate.holder == candidates[0].holder) {
            return candidates;
        }
        let now = Instant::now();
        let mut known: Vec<(usize, Availability)> = Vec::new();
        let (mut present, mut away) = (Vec::with_capacity(candidates.len()), Vec::new());
        for candidate in candidates {
            let place = candidate.holder;
            // A holder is asked once: its first question after a pause admits one attempt.
            let found =
                known.iter().find(|(holder, _)| *holder == place).map(|(_, availability)| *availability);
            let availability = found.unwrap_or_else(|| {
                let availability = self.holders[place].health.availability(now);
                known.push((place, availability));
                availability
            });
            match availability {
                Availability::Present => present.push(candidate),
                Availability::Away => away.push(candidate),
            }
        }
        present.append(&mut away);
        present
    }

    /// Takes note of the holders that were called before `faster` and have not responded.
    fn note_slow(&self, called: &[usize], faster: usize) {
        for holder in called.iter().take_while(|holder| **holder != faster) {
            self.holders[*holder].health.failed(Instant::now());
        }
    }

    /// Unwraps under the candidate's keys in their order, through the cache.
    pub(super) async fn attempt(
        self: Arc<Self>,
        purpose: Purpose,
        candidate: Candidate,
        context: &EncryptionContext,
    ) -> Result<UnwrappedKey, KeyringError> {
        let mut refused = KeyringError::NotAllowed;
        for key_id in &candidate.key_ids {
            let fingerprint = candidate.fingerprint(purpose, context, key_id);
            let fetch = || {
                let (inner, candidate) = (Arc::clone(&self), candidate.clone());
                let (key_id, context) = (key_id.clone(), context.clone());
                async move { inner.unwrap(purpose, &candidate, &context, &key_id).await }
            };
            match self.unwrapped.get_or_fetch(fingerprint, fetch).await {
                Ok(unwrapped) => return Ok(unwrapped),
                Err(error) if !error.is_key_specific() => return Err(error),
                Err(error) if refused.is_less_specific_than(&error) => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// Opens a wrapping under exactly this key, bypassing the cache.
    pub(super) async fn unwrap(
        &self,
        purpose: Purpose,
        candidate: &Candidate,
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<UnwrappedKey, KeyringError> {
        let holder = &self.holders[candidate.holder];
        let unwrapped = match &candidate.form {
            Form::First(blob) => holder.unwrap(blob, context, key_id).await?,
            Form::Further(entry) => unwrap_entry(holder, entry, context, key_id).await?,
        };
        self.note(KeyCall::Unwrap, candidate.holder, key_id);
        let full_name = Arc::clone(&unwrapped.key_id);
        self.full_names.insert((candidate.holder, key_id.clone()), full_name).await;
        if unwrapped.data_key.is_short() && !purpose.accepts_short_keys() {
            return Err(KeyringError::Malformed(MalformedResponse::DataKeyLength));
        }
        Ok(unwrapped)
    }
}

/// Opens a further entry: the holder's own key first, then the data key that it seals.
async fn unwrap_entry(
    holder: &KeyHolder,
    entry: &HolderEntry,
    context: &EncryptionContext,
    key_id: &KeyId,
) -> Result<UnwrappedKey, KeyringError> {
    let blob = ServiceBlob::parse(&entry.blob).map_err(|_| KeyringError::InvalidCiphertext)?;
    let own = holder.unwrap(blob.inner, context, key_id).await?;
    let data_key = blob.open(&own.data_key, entry.kind, entry.fingerprint, context.canonical());
    let data_key = data_key.map_err(|_| KeyringError::InvalidCiphertext)?;
    Ok(UnwrappedKey { data_key: Arc::new(data_key), key_id: own.key_id })
}

/// Whether a configured name is the key's full name, which is what a fingerprint is made of (F-62).
fn is_full_name(kind: HolderKind, key_id: &KeyId) -> bool {
    kind != HolderKind::AwsKms || (key_id.as_str().starts_with("arn:") && !key_id.is_alias())
}
