//! The metadata of a native object, and the keys that open it.
//!
//! It must not know operations or bodies. What [`NativeMetadata::unlock`] returns was authenticated for the
//! object's name; the envelope before that was not.

use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderValue;

use super::rule::BucketRule;
use crate::envelope::EndKey;
use crate::envelope::native::{Envelope, EnvelopeKeys, FormatError, ObjectName, Opened, UploadToken};
use crate::error::Error;
use crate::keyring::{EncryptionContext, Keyring, MAX_WRAPPED_KEY_LEN, UnwrappedKey, Wrappings, WriteKey};
use crate::s3::{BucketName, Checksum, CustomerKey, ObjectKey, headers};
use crate::wire::base64;
use crate::wire::header::{self, name};

/// The metadata entries of a native object. Wrapped key and envelope are well-formed; nothing is
/// authenticated yet.
pub struct NativeMetadata {
    /// Empty if it is malformed, which there may be further ones for.
    wrapped: Vec<u8>,
    /// The value of `x-amz-meta-encryption-holders`, not yet parsed.
    further: Option<Vec<u8>>,
    envelope: Envelope,
}

/// The content key of an authenticated object, and its authenticated attributes.
pub struct OpenedNative {
    /// The content key and the attributes.
    pub opened: Opened,
    /// The key that wrapped the data key, as its provider names it.
    pub key_id: Arc<str>,
}

impl OpenedNative {
    /// The checksums of the plaintext that were known when the envelope was written.
    pub fn checksums(&self) -> Vec<Checksum> {
        self.opened.attributes.iter().copied().collect()
    }
}

impl NativeMetadata {
    /// Reads both metadata entries from the headers of a response to GET or HEAD (F-03, F-28).
    ///
    /// # Errors
    /// [`Error::MalformedWrappedKey`] when the wrapped key or the envelope is missing, or the only wrapped
    /// key is malformed; a format error when the envelope is malformed.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let (mut wrapped, mut envelope, mut further) = (None, None, None);
        // Once over all, which are few, instead of a search for each.
        for (name, value) in headers {
            let entry = match name.as_str() {
                header::ENCRYPTION_KEY => &mut wrapped,
                header::ENCRYPTION_ENVELOPE => &mut envelope,
                header::ENCRYPTION_HOLDERS => &mut further,
                _ => continue,
            };
            entry.get_or_insert(value);
        }
        let (Some(wrapped), Some(envelope)) = (wrapped, envelope) else {
            return Err(Error::MalformedWrappedKey);
        };
        let further = further.map(|value| value.as_bytes().to_vec());
        let wrapped = base64::decode(wrapped.as_bytes())
            .filter(|wrapped| (1..=MAX_WRAPPED_KEY_LEN).contains(&wrapped.len()))
            // F-61: a further wrapping opens the object even if the first one is damaged.
            .or_else(|| further.as_ref().map(|_| Vec::new()))
            .ok_or(Error::MalformedWrappedKey)?;
        let envelope = Envelope::parse(envelope.as_bytes())?;
        Ok(Self { wrapped, further, envelope })
    }

    /// The metadata of the object that an upload makes, from the upload's token.
    pub(crate) fn from_token(token: &UploadToken) -> Self {
        let further = token.further().map(<[u8]>::to_vec);
        Self { wrapped: token.wrapped_key().to_vec(), further, envelope: token.envelope().clone() }
    }

    /// The envelope, which is not authenticated before [`Self::unlock`] succeeds.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The wrappings of the data key, which are not authenticated.
    pub fn wrappings(&self) -> Wrappings<'_> {
        Wrappings { first: &self.wrapped, further: self.further.as_deref() }
    }

    /// Unwraps the data key and opens the envelope for this object (F-02, F-07, F-11). `customer_key` is the
    /// one that the client's request has for this object (F-70).
    ///
    /// # Errors
    /// When the key service refuses or is unavailable, or when the object is not authentic;
    /// [`FormatError::CustomerKeyMissing`] and [`FormatError::CustomerKeySurplus`] before the key service is
    /// called, and [`FormatError::CustomerKeyWrong`].
    pub async fn unlock(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
        (bucket, object_key): (&BucketName, &ObjectKey),
        customer_key: Option<&CustomerKey>,
    ) -> Result<OpenedNative, Error> {
        self.envelope.admit_customer_key(customer_key)?;
        let name = ObjectName { realm: rule.realm(bucket), object_key: object_key.as_bytes() };
        let open = |unwrapped: &UnwrappedKey| {
            let keys = EnvelopeKeys { data_key: &unwrapped.data_key, customer_key };
            self.envelope.open(keys, rule.reading(), name)
        };
        let (opened, key_id) = self.with_data_key(keyring, rule, name.realm, open).await?;
        Ok(OpenedNative { opened, key_id })
    }

    /// Unwraps the data key of an object with a customer key, and opens what takes no customer key (F-71).
    ///
    /// # Errors
    /// As [`Self::unlock`].
    pub(crate) async fn unlock_end(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
        (bucket, object_key): (&BucketName, &ObjectKey),
    ) -> Result<(EndKey, Arc<str>), Error> {
        let name = ObjectName { realm: rule.realm(bucket), object_key: object_key.as_bytes() };
        let open =
            |unwrapped: &UnwrappedKey| self.envelope.open_end_key(&unwrapped.data_key, rule.reading(), name);
        self.with_data_key(keyring, rule, name.realm, open).await
    }

    /// Opens something with the data key; with the name of the key that wrapped the data key.
    async fn with_data_key<T>(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
        realm: &str,
        open: impl Fn(&UnwrappedKey) -> Result<T, FormatError>,
    ) -> Result<(T, Arc<str>), Error> {
        let context = EncryptionContext::native(realm);
        let unwrapped = keyring.unwrap(&rule.keys, self.wrappings(), &context).await?;
        match open(&unwrapped) {
            // The data key is not the object's: the object is damaged, or the key service's response was
            // wrong.
            Err(FormatError::Commitment) => {
                let again = keyring.unwrap_again(&rule.keys, self.wrappings(), &context, &unwrapped);
                let again = Box::pin(again).await?;
                let again = again.ok_or(FormatError::Commitment)?;
                Ok((open(&again)?, again.key_id))
            }
            opened => Ok((opened?, unwrapped.key_id)),
        }
    }

    /// Authenticates the envelope as far as the data key can; with the name of the key that wrapped it.
    ///
    /// # Errors
    /// As [`Self::unlock`].
    pub(crate) async fn authenticate(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
        name: (&BucketName, &ObjectKey),
    ) -> Result<Arc<str>, Error> {
        if self.envelope.has_customer_key() {
            return Ok(self.unlock_end(keyring, rule, name).await?.1);
        }
        Ok(self.unlock(keyring, rule, name, None).await?.key_id)
    }

    /// Authenticates what stands in clear in the envelope, the kind and the length of the body among it, if
    /// the data key is cached: without a call of the key service. The name of the key that wrapped the data
    /// key; `None` if it is not cached. It does not ask for a customer key.
    ///
    /// # Errors
    /// As [`Self::unlock`], when the cached data key is not the envelope's.
    pub(crate) async fn authenticate_cached(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
        (bucket, object_key): (&BucketName, &ObjectKey),
    ) -> Result<Option<Arc<str>>, Error> {
        let realm = rule.realm(bucket);
        let cached = keyring.cached(&rule.keys, self.wrappings(), &EncryptionContext::native(realm)).await;
        let Some(cached) = cached else { return Ok(None) };
        let name = ObjectName { realm, object_key: object_key.as_bytes() };
        if self.envelope.is_committed(&cached.data_key, name) {
            return Ok(Some(cached.key_id));
        }
        // The object is damaged, or the key service's response was wrong: unlocking it tells.
        Ok(Some(Box::pin(self.unlock(keyring, rule, (bucket, object_key), None)).await?.key_id))
    }

    /// The name of the key that probably wrapped the data key, without a call of the key service: from the
    /// cache, else the key that the rule writes with.
    pub(crate) async fn likely_key_id(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
        bucket: &BucketName,
    ) -> Option<Arc<str>> {
        let context = EncryptionContext::native(rule.realm(bucket));
        let known = keyring.known_key_id(&rule.keys, self.wrappings(), &context).await;
        known.or_else(|| keyring.allowed_keys(&rule.keys).next().map(|key_id| key_id.as_str().into()))
    }
}

/// Puts the metadata entries of a native object into the request that stores it (F-03, F-60).
///
/// # Errors
/// `MetadataTooLarge` if the further wrappings leave too little of S3's metadata for the client's own.
/// Without further wrappings the storage decides that: there are storages that take more than S3.
pub(crate) fn write_keys(
    write_key: &WriteKey,
    envelope: &Envelope,
    request: &mut HeaderMap,
) -> Result<(), Error> {
    const BASE64: &str = "base64 is a header value";
    request.insert(&name::ENCRYPTION_KEY, write_key.wrapped.header_value().clone());
    request.insert(&name::ENCRYPTION_ENVELOPE, HeaderValue::try_from(envelope.to_header()).expect(BASE64));
    if let Some(further) = &write_key.further {
        let further = HeaderValue::from_maybe_shared(further.clone()).expect(BASE64);
        request.insert(&name::ENCRYPTION_HOLDERS, further);
        headers::check_metadata_size(request)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::ErrorCode;

    #[test]
    fn one_metadata_entry_without_the_other_is_malformed() {
        for name in [&name::ENCRYPTION_KEY, &name::ENCRYPTION_ENVELOPE] {
            let mut metadata = HeaderMap::new();
            metadata.insert(name, HeaderValue::from_static("AAAA"));
            let error = NativeMetadata::from_headers(&metadata).err().expect("an entry is missing");
            assert!(matches!(error, Error::MalformedWrappedKey), "{name}");
            assert_eq!(error.to_s3().code, ErrorCode::IntegrityCheckFailed);
        }
    }
}
