//! Makes data keys and wraps them for every holder of a rule. It must not know how long a data key is used,
//! nor what for. It promises that no data key is handed out without the wrappings that the rule requires, and
//! that a data key for many objects was opened by each of its holders before.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::health::Availability;
use super::verification::Verification;
use super::{
    EncryptionContext, Inner, KeyCall, KeyId, KeyRule, KeyringError, Purpose, RequiredHolders, UnwrappedKey,
    WriteKey, blob_fingerprint,
};
use crate::envelope::DataKey;
use crate::envelope::native::{HolderEntries, HolderEntry, HolderFingerprint, HolderKind, seal_under};

impl Inner {
    /// Makes a data key by the rule's first holder and wraps it for the others, and caches it for reads.
    pub(super) async fn generate(
        self: &Arc<Self>,
        purpose: Purpose,
        rule: &KeyRule,
        key_id: &KeyId,
        context: &EncryptionContext,
        verification: Verification,
    ) -> Result<WriteKey, KeyringError> {
        let first = rule.first();
        let mut write_key = self.generate_by(first, key_id, context, verification).await?;
        let unwrapped =
            UnwrappedKey { data_key: Arc::clone(&write_key.data_key), key_id: write_key.key_id.clone() };
        let full_name = KeyId::parse(&write_key.key_id).ok().filter(|full_name| full_name != key_id);
        for name in [Some(key_id), full_name.as_ref()].into_iter().flatten() {
            let fingerprint = blob_fingerprint(purpose, first, &write_key.wrapped, context, name);
            self.unwrapped.insert(fingerprint, unwrapped.clone()).await;
        }
        // The other formats have one wrapping only.
        if purpose == Purpose::NATIVE && !rule.is_single() {
            write_key.further = self.wrap_further(rule, &write_key.data_key, context, verification).await?;
        }
        Ok(write_key)
    }

    /// Makes a data key by one holder.
    pub(super) async fn generate_by(
        &self,
        holder: usize,
        key_id: &KeyId,
        context: &EncryptionContext,
        verification: Verification,
    ) -> Result<WriteKey, KeyringError> {
        let write_key = self.holders[holder].generate(key_id, context).await?;
        self.note(KeyCall::Generate, holder, key_id);
        // A local keyring returns and wraps one and the same value in this process.
        if verification == Verification::RoundTrip && self.holders[holder].is_remote() {
            self.verify_round_trip(holder, &write_key, key_id, context).await?;
        }
        self.full_names.insert((holder, key_id.clone()), Arc::clone(&write_key.key_id)).await;
        Ok(write_key)
    }

    /// Wraps a data key for the rule's further holders and recovery keys.
    ///
    /// # Errors
    /// The failure of a holder, unless the rule requires the first holder only.
    async fn wrap_further(
        self: &Arc<Self>,
        rule: &KeyRule,
        data_key: &Arc<DataKey>,
        context: &EncryptionContext,
        verification: Verification,
    ) -> Result<Option<Bytes>, KeyringError> {
        let is_optional = rule.required == RequiredHolders::First;
        let mut calls = JoinSet::new();
        for (order, holder) in rule.wrapping.iter().copied().enumerate().skip(1) {
            let health = &self.holders[holder].health;
            if is_optional && health.availability(Instant::now()) == Availability::Away {
                self.leave_out(holder);
                continue;
            }
            let (inner, data_key, context) = (Arc::clone(self), Arc::clone(data_key), context.clone());
            calls.spawn(async move {
                (order, holder, inner.wrap_by(holder, data_key, &context, verification).await)
            });
        }
        let mut entries = Vec::with_capacity(rule.wrapping.len() + rule.recovery.len());
        while let Some(outcome) = calls.join_next().await {
            let (order, holder, wrapped) = outcome.map_err(|_panicked| KeyringError::Interrupted)?;
            match wrapped {
                Ok(entry) => entries.push((order, entry)),
                Err(_) if is_optional => self.leave_out(holder),
                Err(error) => return Err(error),
            }
        }
        entries.sort_by_key(|(order, _)| *order);
        let mut entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
        entries.extend(rule.recovery.iter().map(|key| HolderEntry {
            kind: HolderKind::Recovery,
            fingerprint: key.fingerprint(),
            blob: key.seal(data_key, context.canonical()),
        }));
        if entries.is_empty() {
            return Ok(None);
        }
        let header = HolderEntries::new(entries).map_err(|_| KeyringError::TooManyWrappings)?.to_header();
        Ok(Some(header.into()))
    }

    /// Wraps a data key by one holder: seals it under a data key of the holder's own, so that the holder
    /// needs no right but those to make and to unwrap data keys.
    pub(super) async fn wrap_by(
        &self,
        holder: usize,
        data_key: Arc<DataKey>,
        context: &EncryptionContext,
        verification: Verification,
    ) -> Result<HolderEntry, KeyringError> {
        let key_id = self.holders[holder].key_ids().first().ok_or(KeyringError::NoKeyNamed)?;
        let own = self.generate_by(holder, key_id, context, verification).await?;
        let kind = self.holders[holder].kind();
        let fingerprint = HolderFingerprint::new(kind, own.key_id.as_bytes());
        let blob = seal_under(&own.data_key, &own.wrapped, &data_key, kind, fingerprint, context.canonical());
        let entry = HolderEntry { kind, fingerprint, blob };
        let unwrapped = UnwrappedKey { data_key, key_id: own.key_id };
        let cached_as = blob_fingerprint(Purpose::NATIVE, holder, &entry.blob, context, key_id);
        self.unwrapped.insert(cached_as, unwrapped).await;
        Ok(entry)
    }

    /// Counts a data key that lacks the wrapping of a holder.
    fn leave_out(&self, holder: usize) {
        let holder = self.holders[holder].name();
        metrics::counter!("s3veil_keyring_left_out_total", "holder" => holder.to_owned()).increment(1);
        tracing::warn!(
            holder,
            "new objects lack the wrapping of a holder that is unavailable: rewrap them later"
        );
    }
}
