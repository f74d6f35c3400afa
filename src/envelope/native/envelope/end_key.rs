//! The end key of an object with a customer key, sealed in its envelope under the data key alone (F-71).
//!
//! It must not know the customer key. It promises that an end key comes out only if the data key, the name
//! and every byte before it are those of the writer.

use aws_lc_rs::aead::Aad;
use zeroize::Zeroizing;

use super::derivation::expand;
use super::{Binding, Envelope, FIXED, ObjectName, PREFIX, Policy, SealRequest, WRAPPED};
use crate::envelope::data_key::KEY_LENGTH;
use crate::envelope::native::chunk::aead_key;
use crate::envelope::native::kdf::{self, Salt, zero_nonce};
use crate::envelope::native::{FormatError, Result};
use crate::envelope::{ContentKey, DataKey, EndKey};

impl Envelope {
    /// The end key of an object with a customer key, authenticated for an object of this name, without the
    /// customer key (F-71).
    ///
    /// # Errors
    /// [`FormatError::WeakBinding`] when the policy requires more, [`FormatError::CustomerKeySurplus`] for an
    /// object without a customer key, [`FormatError::Commitment`] when the data key, the realm, the name or a
    /// byte before the sealed end key differs, or the latter was altered.
    pub fn open_end_key(&self, data_key: &DataKey, policy: Policy, name: ObjectName<'_>) -> Result<EndKey> {
        if self.binding < policy.least_binding {
            return Err(FormatError::WeakBinding);
        }
        if !self.has_customer_key() {
            return Err(FormatError::CustomerKeySurplus);
        }
        self.sealed_end_key(&self.salt(), data_key, name)
    }

    /// Opens the sealed end key of an envelope that has one.
    pub(super) fn sealed_end_key(
        &self,
        salt: &Salt,
        data_key: &DataKey,
        name: ObjectName<'_>,
    ) -> Result<EndKey> {
        let (authenticated, rest) = self.bytes.split_at(FIXED);
        let mut sealed = Zeroizing::new([0; WRAPPED]);
        sealed.copy_from_slice(rest.get(..WRAPPED).ok_or(FormatError::EnvelopeLength)?);
        let wrap_key = derive_end_wrap_key(salt, data_key, &authenticated[..PREFIX], self.binding, name);
        let opened = aead_key(wrap_key.as_slice())
            .open_in_place(zero_nonce(), Aad::from(authenticated), sealed.as_mut_slice())
            .map_err(|_| FormatError::Commitment)?;
        let mut exact = Zeroizing::new([0; KEY_LENGTH]);
        exact.copy_from_slice(opened);
        Ok(EndKey::from_zeroizing(exact))
    }
}

/// Appends the sealed end key of a content key to the first [`FIXED`] bytes of an envelope. Zero is a safe
/// nonce: each salt gives another wrap key, which seals this one message.
pub(super) fn seal(request: &SealRequest<'_>, salt: &Salt, content_key: &ContentKey, envelope: &mut Vec<u8>) {
    let prefix = &envelope[..PREFIX];
    let wrap_key = derive_end_wrap_key(salt, request.keys.data_key, prefix, request.binding, request.name);
    let mut sealed = Zeroizing::new(*kdf::end_key(content_key).expose());
    let tag = aead_key(wrap_key.as_slice())
        .seal_in_place_separate_tag(zero_nonce(), Aad::from(&envelope[..]), sealed.as_mut_slice())
        .expect("32 bytes are far below AES-GCM's limit");
    envelope.extend_from_slice(sealed.as_slice());
    envelope.extend_from_slice(tag.as_ref());
}

/// HKDF-SHA256(data key, salt, label | pre | len32|realm | len32|key, 32) (F-71).
fn derive_end_wrap_key(
    salt: &Salt,
    data_key: &DataKey,
    prefix: &[u8],
    binding: Binding,
    name: ObjectName<'_>,
) -> Zeroizing<[u8; KEY_LENGTH]> {
    expand(salt, data_key.expose(), kdf::END_WRAP, prefix, binding, name)
}
