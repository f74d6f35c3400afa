//! The keys of an envelope, derived from the data key, the customer key, and all that the envelope is bound
//! to.
//!
//! It must not know what a derived key wraps. It promises that another name, prefix or key gives other keys.

use zeroize::Zeroizing;

use super::{Binding, COMMITMENT, EnvelopeKeys, ObjectName, length_prefix};
use crate::envelope::data_key::KEY_LENGTH;
use crate::envelope::native::kdf::{self, Salt};
use crate::wire::customer_key::CUSTOMER_KEY;

/// wrap key(32) | commit(32) = HKDF-SHA256(data key, salt, label | pre | len32|realm | len32|key, 64) (F-10);
/// with a customer key, HKDF-SHA256(data key | customer key, salt, another label | …, 64) (F-70).
pub(super) fn derive(
    salt: &Salt,
    keys: EnvelopeKeys<'_>,
    prefix: &[u8],
    binding: Binding,
    name: ObjectName<'_>,
) -> Zeroizing<[u8; KEY_LENGTH + COMMITMENT]> {
    let Some(customer_key) = keys.customer_key else {
        return expand(salt, keys.data_key.expose(), kdf::ENVELOPE, prefix, binding, name);
    };
    let mut both = Zeroizing::new([0; KEY_LENGTH + CUSTOMER_KEY]);
    both[..KEY_LENGTH].copy_from_slice(keys.data_key.expose());
    both[KEY_LENGTH..].copy_from_slice(customer_key.expose());
    expand(salt, both.as_slice(), kdf::CUSTOMER, prefix, binding, name)
}

/// HKDF-SHA256(secret, salt, label | pre | len32|realm | len32|key, `N`), where the binding leaves out names.
pub(super) fn expand<const N: usize>(
    salt: &Salt,
    secret: &[u8],
    label: &[u8],
    prefix: &[u8],
    binding: Binding,
    name: ObjectName<'_>,
) -> Zeroizing<[u8; N]> {
    let (realm, object_key): (&[u8], &[u8]) = match binding {
        Binding::None => (&[], &[]),
        Binding::Realm => (name.realm.as_bytes(), &[]),
        Binding::RealmAndKey => (name.realm.as_bytes(), name.object_key),
    };
    let info = [label, prefix, &length_prefix(realm), realm, &length_prefix(object_key), object_key];
    salt.derive(secret, &info)
}
