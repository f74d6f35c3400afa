//! `decrypt --recovery-key`: the content key of a native object by the private half of a recovery key.
//!
//! It must not know how a body is opened. It promises that no key service, keyring or configuration is used,
//! and that a failure names the keys for which the object is wrapped.

use std::path::Path;

use http::header::HeaderMap;
use zeroize::Zeroizing;

use super::{failed, refused};
use crate::cli::Failure;
use crate::envelope::native::{
    Binding, Envelope, EnvelopeKeys, FormatError, HolderEntries, HolderKind, ObjectName, Opened, Policy,
    RecoveryPrivateKey,
};
use crate::keyring::EncryptionContext;
use crate::s3::ObjectKey;
use crate::wire::header::name;

/// What a recovery key is to open.
pub(super) struct Object<'a> {
    /// The object's metadata, as headers.
    pub(super) metadata: &'a HeaderMap,
    /// The realm of its bucket.
    pub(super) realm: &'a str,
    /// Its key.
    pub(super) object_key: &'a ObjectKey,
    /// The weakest binding that is accepted (F-07).
    pub(super) least_binding: Binding,
}

/// Reads the PEM file of a private key.
///
/// # Errors
/// [`Failure::Usage`] with what the file holds instead.
pub(super) fn read_private_key(file: &Path) -> Result<RecoveryPrivateKey, Failure> {
    let text = Zeroizing::new(std::fs::read(file).map_err(failed("reading the recovery key"))?);
    RecoveryPrivateKey::from_pem(&text).map_err(|error| Failure::Usage(format!("{} {error}", file.display())))
}

impl Object<'_> {
    /// Opens the envelope.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the object has no entry that this key opens, or is not authentic.
    pub(super) fn unlock(&self, file: &Path, private_key: &RecoveryPrivateKey) -> Result<Opened, Failure> {
        let &Self { metadata, realm, object_key, least_binding } = self;
        let envelope = metadata.get(&name::ENCRYPTION_ENVELOPE).ok_or_else(|| {
            let has_no_envelope = "the metadata have no encryption-envelope";
            Failure::Unavailable(format!("{has_no_envelope}: a recovery key opens the native format alone"))
        })?;
        let envelope = Envelope::parse(envelope.as_bytes()).map_err(refused)?;
        let holders = metadata.get(&name::ENCRYPTION_HOLDERS).ok_or_else(|| {
            let has_no_holders = "the metadata have no encryption-holders";
            Failure::Unavailable(format!("{has_no_holders}: the object opens by its first key holder alone"))
        })?;
        let holders = HolderEntries::parse(holders.as_bytes()).map_err(refused)?;

        let fingerprint = private_key.public_key().fingerprint();
        let entry = holders.find(HolderKind::Recovery, fingerprint).ok_or_else(|| {
            let known = holders.iter().map(|entry| format!("{} {}", entry.kind, entry.fingerprint));
            let known = known.collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none that this version knows".to_owned() } else { known };
            Failure::Unavailable(format!(
                "the object does not open by {} (recovery {fingerprint}), but by: {known}",
                file.display()
            ))
        })?;
        let context = EncryptionContext::native(realm);
        let data_key = private_key.open(&entry.blob, context.canonical()).map_err(|error| {
            let is_other = error == FormatError::HolderTag;
            let advice = format!(": it is of another realm than {realm:?}, which --realm names, or altered");
            Failure::Unavailable(format!("{error}{}", if is_other { &advice } else { "" }))
        })?;
        // F-65: the entry is only a claim; the envelope says whether this is the object's data key.
        let object_name = ObjectName { realm, object_key: object_key.as_bytes() };
        envelope
            .open(EnvelopeKeys::without_customer(&data_key), Policy { least_binding }, object_name)
            .map_err(|error| {
                let is_weak = error == FormatError::WeakBinding;
                let advice = if is_weak { ": --binding says what that is, by default realm+key" } else { "" };
                Failure::Unavailable(format!("{error}{advice}"))
            })
    }
}
