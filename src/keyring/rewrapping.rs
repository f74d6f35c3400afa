//! Wraps the data keys of existing objects anew, for the holders that their rule has now. It must not know
//! objects, headers' names or how a blob is stored. It promises that the data key stays the same, that a
//! blob is accepted only under a key that the rule allows, and that a new wrapping was opened before it is
//! returned, unless its holder denies unwrapping.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::opening::Candidate;
use super::verification::{Verification, is_same};
use super::{
    EncryptionContext, Fingerprint, Inner, KeyCall, KeyId, KeyRule, Keyring, KeyringError, MalformedResponse,
    Purpose, UnwrappedKey, WrappedDataKey, WrappingName, Wrappings, blob_fingerprint, is_wrapped_key_length,
};
use crate::envelope::DataKey;
use crate::envelope::native::{HolderEntries, HolderEntry, HolderFingerprint, HolderKind, ServiceBlob};

/// The wrappings of a data key as they are to be. All objects of one data key share them.
#[derive(Debug, Clone)]
pub struct Rewrapping {
    /// The first holder's blob.
    pub wrapped: WrappedDataKey,
    /// The further wrappings, as the value of `x-amz-meta-encryption-holders`; `None` where the rule has
    /// none.
    pub further: Option<Bytes>,
    /// The key that wrapped the data key before, as its provider names it.
    pub key_before: String,
    /// The first holder's key that wraps the data key now, as its provider names it.
    pub key_after: String,
    /// Whether the object's wrappings are these already: the rule's keys in their newest versions, as far as
    /// blobs tell versions, and no further wrapping too few or too many.
    pub is_unchanged: bool,
    /// The data key, if it was unwrapped: whether it is the object's, the object's envelope shows. `None`
    /// where the holder wrapped it again by itself, and nothing was written or unwrapping is denied.
    pub data_key: Option<Arc<DataKey>>,
}

/// The data key could not be wrapped again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewrapError {
    /// A holder's failure.
    #[error(transparent)]
    Holder(#[from] KeyringError),
    /// A wrapping can be made only from the data key, which could not be unwrapped.
    #[error(
        "the wrapping for {wrapping} has to be made from the data key, and unwrapping it failed: {cause}"
    )]
    NeedsDataKey {
        /// The holder by its name in the configuration, or the recovery key.
        wrapping: String,
        /// Why the data key was not unwrapped.
        cause: KeyringError,
    },
    /// The further wrappings can't be read by this version, which would lose them.
    #[error("the further wrappings are malformed, or of a kind that this version does not know")]
    UnknownWrappings,
}

impl RewrapError {
    /// The keyring's error that is the reason, if it is one.
    pub fn cause(&self) -> Option<&KeyringError> {
        match self {
            Self::Holder(cause) | Self::NeedsDataKey { cause, .. } => Some(cause),
            Self::UnknownWrappings => None,
        }
    }
}

impl Keyring {
    /// Wraps the data key of a native object for the holders and recovery keys of the rule, under `key_id` or
    /// else the rule's key. A holder that can wrap again by itself is asked to; any other unwraps and wraps.
    /// The context stays. The result is cached, so that all objects of a data key cost the calls of one.
    ///
    /// # Errors
    /// [`RewrapError`]. A holder that is unavailable is an error also where the rule lets objects be written
    /// without it.
    pub async fn rewrap_for(
        &self,
        rule: &KeyRule,
        key_id: Option<&KeyId>,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Result<Rewrapping, Arc<RewrapError>> {
        self.rewrap_as(Purpose::NATIVE, rule, key_id, wrappings, context).await
    }

    /// [`Self::rewrap_for`] for an object of any format. One that has a single wrapping is wrapped again by
    /// [`KeyRule::with_one_wrapping`].
    ///
    /// # Errors
    /// As [`Self::rewrap_for`].
    pub async fn rewrap_as(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        key_id: Option<&KeyId>,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Result<Rewrapping, Arc<RewrapError>> {
        let target = self.inner.write_key_id(rule, key_id).map_err(|error| Arc::new(error.into()))?;
        let further = wrappings.further.unwrap_or_default();
        let (tag, fields) = (rule.wrapping_tag(), [target.as_str().as_bytes(), context.canonical()]);
        let allowed: Vec<_> = self.allowed_keys(rule).map(|key| key.as_str().as_bytes()).collect();
        let fields = [&[purpose.name(), &tag, wrappings.first, further], &fields[..], &allowed[..]].concat();
        let work = Work {
            purpose,
            inner: Arc::clone(&self.inner),
            rule: rule.clone(),
            target: target.clone(),
            first: Bytes::copy_from_slice(wrappings.first),
            further: wrappings.further.map(Bytes::copy_from_slice),
            context: context.clone(),
            data_key: OnceCell::new(),
        };
        let made = Box::pin(async move { work.run().await });
        self.inner.rewrapped.try_get_with(Fingerprint::new(&fields), made).await
    }

    /// The names of the keys that a native object's wrappings claim, beginning with the first one, without a
    /// call: as blobs tell them, as the cache knows them, or as the rule's keys have these fingerprints. A
    /// name that nothing tells is the holder's kind and a question mark, for a further wrapping with its
    /// fingerprint.
    pub async fn claimed_keys(
        &self,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Vec<String> {
        let inner = &self.inner;
        let mut names = vec![inner.claimed_first(rule, wrappings, context).await];
        let further = wrappings.further.and_then(|header| HolderEntries::parse(header).ok());
        for entry in further.iter().flat_map(HolderEntries::iter) {
            names.push(inner.claimed_further(rule, entry).await);
        }
        names
    }
}

impl Inner {
    async fn claimed_first(
        &self,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> String {
        let first = wrappings.first;
        let holders = || {
            let may = |holder: &usize| {
                is_wrapped_key_length(first) && self.holders[*holder].may_have_wrapped(first)
            };
            rule.holders().filter(may)
        };
        if let Some(told) = holders().find_map(|holder| self.holders[holder].claimed_key(first)) {
            return told;
        }
        if let Some((_, cached)) = self.cached(Purpose::NATIVE, rule, Wrappings::single(first), context).await
        {
            return cached.key_id.to_string();
        }
        holders().next().map_or_else(|| "?".to_owned(), |holder| format!("{}:?", self.holders[holder].kind()))
    }

    async fn claimed_further(&self, rule: &KeyRule, entry: &HolderEntry) -> String {
        for holder in rule.holders().filter(|holder| self.holders[*holder].kind() == entry.kind) {
            for key_id in self.keys_of(rule, holder) {
                let Some(name) = self.canonical_name(holder, key_id).await else { continue };
                if HolderFingerprint::new(entry.kind, name.as_bytes()) == entry.fingerprint {
                    let inner = ServiceBlob::parse(&entry.blob).ok();
                    let told = inner.and_then(|blob| self.holders[holder].claimed_key(blob.inner));
                    return told.unwrap_or_else(|| name.to_string());
                }
            }
        }
        format!("{}:{}", entry.kind, entry.fingerprint)
    }
}

/// The rewrapping of one data key.
struct Work {
    purpose: Purpose,
    inner: Arc<Inner>,
    rule: KeyRule,
    /// The first holder's key that is to wrap.
    target: KeyId,
    first: Bytes,
    further: Option<Bytes>,
    context: EncryptionContext,
    /// The data key, once it was unwrapped.
    data_key: OnceCell<Opened>,
}

/// The data key of the object, as one of its wrappings holds it.
#[derive(Clone)]
struct Opened {
    unwrapped: UnwrappedKey,
    /// Whether the rule's first holder opened the first wrapping.
    is_of_first: bool,
}

/// The first wrapping, under the current key.
struct First {
    wrapped: Bytes,
    key_before: String,
    key_after: String,
    is_unchanged: bool,
}

impl Work {
    async fn run(self) -> Result<Rewrapping, RewrapError> {
        let entries = self.further.as_deref().map(HolderEntries::parse).transpose();
        let entries = entries.map_err(|_malformed| RewrapError::UnknownWrappings)?;
        if entries.as_ref().is_some_and(HolderEntries::has_unknown) {
            return Err(RewrapError::UnknownWrappings);
        }
        let first = match self.rewrap_first().await? {
            Some(first) => first,
            None => self.wrap_first().await?,
        };
        let (further, is_kept) = self.make_further(entries.as_ref()).await?;
        let mut data_key = self.data_key.get().map(|opened| Arc::clone(&opened.unwrapped.data_key));
        if !first.is_unchanged {
            data_key = self.verify_first(&first.wrapped, data_key).await?;
        }
        let further = if is_kept { self.further.clone() } else { further };
        Ok(Rewrapping {
            wrapped: first.wrapped.into(),
            further,
            key_before: first.key_before,
            key_after: first.key_after,
            is_unchanged: first.is_unchanged && is_kept,
            data_key,
        })
    }

    /// Lets the first holder wrap again by itself. `None` if it can't, or if the first wrapping is not one
    /// that it may wrap again, so that another wrapping has to be opened.
    async fn rewrap_first(&self) -> Result<Option<First>, RewrapError> {
        let (inner, place) = (&self.inner, self.rule.first());
        let holder = &inner.holders[place];
        if !is_wrapped_key_length(&self.first) || !holder.may_have_wrapped(&self.first) {
            return Ok(None);
        }
        for source in inner.allowed_keys(&self.rule) {
            match holder.rewrap(&self.first, &self.context, (source, &self.target)).await {
                Ok((wrapped, key_after)) => {
                    let told = holder.claimed_key(&self.first);
                    let is_same_version = told == holder.claimed_key(&wrapped);
                    let is_unchanged =
                        is_same_version && (source.is_named(&key_after, None) || *source == self.target);
                    let key_before = match told {
                        Some(told) => told,
                        None if is_unchanged => key_after.clone(),
                        None => source.as_str().to_owned(),
                    };
                    let key_after = holder.claimed_key(&wrapped).unwrap_or(key_after);
                    let wrapped = if is_unchanged { self.first.clone() } else { wrapped };
                    return Ok(Some(First { wrapped, key_before, key_after, is_unchanged }));
                }
                Err(failure) if failure.error.is_outage() => return Err(failure.error.into()),
                // Another key or another holder may have wrapped it.
                Err(failure) if failure.error.is_key_specific() => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Unwraps the data key, and wraps it by the first holder.
    async fn wrap_first(&self) -> Result<First, RewrapError> {
        let holder = &self.inner.holders[self.rule.first()];
        let opened = self.open(|| holder.name().to_owned()).await?;
        let wrapped = holder.wrap(&opened.unwrapped.data_key, &self.context, &self.target).await;
        let (wrapped, key_after) = wrapped?;
        let told = holder.claimed_key(&self.first).filter(|_| opened.is_of_first);
        let told_after = holder.claimed_key(&wrapped);
        let is_unchanged = opened.is_of_first && told == told_after && *opened.unwrapped.key_id == *key_after;
        let key_before = told.unwrap_or_else(|| opened.unwrapped.key_id.to_string());
        let wrapped = if is_unchanged { self.first.clone() } else { wrapped };
        Ok(First { wrapped, key_before, key_after: told_after.unwrap_or(key_after), is_unchanged })
    }

    /// The further wrappings as the value of their metadata entry, and whether they are those of the object.
    async fn make_further(
        &self,
        present: Option<&HolderEntries>,
    ) -> Result<(Option<Bytes>, bool), RewrapError> {
        let mut entries = Vec::new();
        let mut is_kept = true;
        for holder in self.rule.wrapping.iter().copied().skip(1) {
            let (entry, is_old) = self.further_entry(holder, present).await?;
            entries.push(entry);
            is_kept &= is_old;
        }
        for key in &self.rule.recovery {
            let fingerprint = key.fingerprint();
            let old = present.and_then(|present| present.find(HolderKind::Recovery, fingerprint));
            let entry = match old {
                Some(old) => old.clone(),
                None => {
                    let opened = self.open(|| format!("the recovery key {fingerprint}")).await?;
                    let blob = key.seal(&opened.unwrapped.data_key, self.context.canonical());
                    is_kept = false;
                    HolderEntry { kind: HolderKind::Recovery, fingerprint, blob }
                }
            };
            entries.push(entry);
        }
        is_kept &= entries.len() == present.map_or(0, |present| present.iter().count());
        if entries.is_empty() {
            return Ok((None, is_kept));
        }
        let header = HolderEntries::new(entries).map_err(|_| KeyringError::TooManyWrappings)?.to_header();
        Ok((Some(header.into()), is_kept))
    }

    /// The entry of a further holder, and whether it is the one that the object has.
    async fn further_entry(
        &self,
        place: usize,
        present: Option<&HolderEntries>,
    ) -> Result<(HolderEntry, bool), RewrapError> {
        let holder = &self.inner.holders[place];
        let key_id = holder.key_ids().first().ok_or(KeyringError::NoKeyNamed)?;
        if let Some(old) = self.find_entry(place, key_id, present).await?
            && let Ok(blob) = ServiceBlob::parse(&old.blob)
        {
            match holder.rewrap(blob.inner, &self.context, (key_id, key_id)).await {
                Ok((inner, _)) if holder.claimed_key(&inner) != holder.claimed_key(blob.inner) => {
                    return Ok((HolderEntry { blob: blob.with_inner(&inner), ..old.clone() }, false));
                }
                Ok(_) => return Ok((old.clone(), true)),
                Err(failure) if failure.error == KeyringError::Unsupported => return Ok((old.clone(), true)),
                Err(failure) if failure.error.is_outage() => return Err(failure.error.into()),
                // The entry is damaged, or the right to wrap again is missing: made from the data key.
                Err(_) => {}
            }
        }
        let opened = self.open(|| holder.name().to_owned()).await?;
        let data_key = Arc::clone(&opened.unwrapped.data_key);
        let made = self.inner.wrap_by(place, data_key, &self.context, Verification::RoundTrip).await;
        Ok((made?, false))
    }

    /// The object's entry for a key of a further holder. A key whose full name is not known yet is asked for
    /// its name, by a new data key, if the object has an entry of this kind.
    async fn find_entry<'p>(
        &self,
        holder: usize,
        key_id: &KeyId,
        present: Option<&'p HolderEntries>,
    ) -> Result<Option<&'p HolderEntry>, RewrapError> {
        let kind = self.inner.holders[holder].kind();
        let Some(present) = present.filter(|present| present.iter().any(|entry| entry.kind == kind)) else {
            return Ok(None);
        };
        let name = match self.inner.canonical_name(holder, key_id).await {
            Some(name) => name,
            None => {
                let skipped = Verification::Skipped;
                self.inner.generate_by(holder, key_id, &self.context, skipped).await?.key_id
            }
        };
        Ok(present.find(kind, HolderFingerprint::new(kind, name.as_bytes())))
    }

    /// The data key: by the first holder, if it made the first wrapping, else by any. `wrapping` names what
    /// the data key is needed for.
    async fn open(&self, wrapping: impl Fn() -> String) -> Result<&Opened, RewrapError> {
        let opened = self.data_key.get_or_try_init(|| self.unwrap()).await;
        opened.map_err(|cause| {
            if cause == KeyringError::Denied {
                RewrapError::NeedsDataKey { wrapping: wrapping(), cause }
            } else {
                cause.into()
            }
        })
    }

    async fn unwrap(&self) -> Result<Opened, KeyringError> {
        let wrappings = Wrappings { first: &self.first, further: self.further.as_deref() };
        let candidates = self.inner.candidates(&self.rule, wrappings).await;
        let own = |candidate: &&Candidate| {
            candidate.holder() == self.rule.first() && candidate.name() == WrappingName::First
        };
        if let Some(candidate) = candidates.iter().find(own) {
            let attempt = Arc::clone(&self.inner).attempt(self.purpose, candidate.clone(), &self.context);
            if let Ok(unwrapped) = attempt.await {
                return Ok(Opened { unwrapped, is_of_first: true });
            }
        }
        let keyring = Keyring { inner: Arc::clone(&self.inner) };
        let unwrapped = keyring.unwrap_as(self.purpose, &self.rule, wrappings, &self.context).await?;
        Ok(Opened { unwrapped, is_of_first: false })
    }

    /// Opens the new first wrapping, and compares the data key with the one that was unwrapped. The data key;
    /// `None` if unwrapping is denied and was not needed.
    async fn verify_first(
        &self,
        wrapped: &Bytes,
        known: Option<Arc<DataKey>>,
    ) -> Result<Option<Arc<DataKey>>, RewrapError> {
        let (inner, place) = (&self.inner, self.rule.first());
        let unwrapped = match inner.holders[place].unwrap(wrapped, &self.context, &self.target).await {
            Ok(unwrapped) => unwrapped,
            Err(KeyringError::Denied) => return Ok(known),
            Err(error) => return Err(error.into()),
        };
        inner.note(KeyCall::Unwrap, place, &self.target);
        if known.as_ref().is_some_and(|known| !is_same(known, &unwrapped.data_key)) {
            tracing::error!(key_id = %self.target, "the key provider wrapped another data key than it was given");
            return Err(KeyringError::Malformed(MalformedResponse::RoundTrip).into());
        }
        if unwrapped.data_key.is_short() && !self.purpose.accepts_short_keys() {
            return Err(KeyringError::Malformed(MalformedResponse::DataKeyLength).into());
        }
        let cached_as = blob_fingerprint(self.purpose, place, wrapped, &self.context, &self.target);
        inner.unwrapped.insert(cached_as, unwrapped.clone()).await;
        Ok(Some(unwrapped.data_key))
    }
}
