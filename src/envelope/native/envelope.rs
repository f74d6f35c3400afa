//! The envelope: the content key, wrapped under the data key and bound to the object's name.
//!
//! It must not know how the data key is obtained or where the envelope is stored. It promises that a content
//! key comes out only if data key, realm, object name and every byte of the envelope are those of the writer.

mod derivation;
mod end_key;

use aws_lc_rs::aead::Aad;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use self::derivation::derive;
use super::chunk::aead_key;
use super::kdf::{Salt, zero_nonce};
use super::{Attributes, BodyKind, FormatError, Result, attributes, kdf};
use crate::envelope::data_key::{KEY_LENGTH, fill_random};
use crate::envelope::{ContentKey, DataKey};
use crate::wire::base64;
use crate::wire::checksum::Checksum;
use crate::wire::customer_key::CustomerKey;

const VERSION: u8 = 1;
const SUITE: u8 = 1;
const FLAG_MULTIPART: u8 = 1;
const FLAG_CUSTOMER: u8 = 2;
const FLAG_AES256: u8 = 4;

/// Version, suite, binding and flags.
const FLAGS_END: usize = 4;
/// The fields before the salt; the last one is the plaintext length in 8 bytes (F-17).
const PREFIX: usize = FLAGS_END + 8;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const AUTHENTICATED: usize = PREFIX + SALT + COMMITMENT;
const WRAPPED: usize = KEY_LENGTH + super::TAG;
/// Bytes of an envelope without attributes and customer key (F-04).
pub(super) const FIXED: usize = AUTHENTICATED + WRAPPED;
/// Bytes of an envelope without attributes and with customer key, which ends in the sealed end key (F-04).
const FIXED_CUSTOMER: usize = FIXED + WRAPPED;
/// Longest envelope that a reader accepts: S3 allows 2,048 bytes of user metadata, and base64 makes 4
/// characters of 3 bytes.
pub(super) const MAX_ENVELOPE: usize = 1_536;

/// The binding of an envelope (F-07), weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// Bound to the data key and its encryption context only.
    None,
    /// Bound to the realm: the object may be renamed within it.
    Realm,
    /// Bound to the realm and the object's key.
    RealmAndKey,
}

impl Binding {
    fn to_byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::RealmAndKey => 1,
            Self::Realm => 2,
        }
    }

    fn parse(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::None),
            1 => Ok(Self::RealmAndKey),
            2 => Ok(Self::Realm),
            _ => Err(FormatError::UnknownBinding),
        }
    }
}

/// The server-side encryption that responses name for the object: the one that its writer requested. The body
/// is encrypted alike under each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SseAlgorithm {
    /// `aws:kms`, also for requests that name none.
    #[default]
    AwsKms,
    /// `AES256`.
    Aes256,
    /// A customer key (F-70), which responses name instead of an algorithm of the server's own.
    CustomerKey,
}

/// The keys that open an envelope, or wrap the content key in one.
#[derive(Debug, Clone, Copy)]
pub struct EnvelopeKeys<'a> {
    /// The data key.
    pub data_key: &'a DataKey,
    /// The key that the client sent, for an object with a customer key (F-70).
    pub customer_key: Option<&'a CustomerKey>,
}

impl<'a> EnvelopeKeys<'a> {
    /// The data key alone, for an object without a customer key.
    pub fn without_customer(data_key: &'a DataKey) -> Self {
        Self { data_key, customer_key: None }
    }
}

/// The weakest binding that a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Envelopes bound less strictly than this are refused (F-07).
    pub least_binding: Binding,
}

/// The name an object is stored under.
#[derive(Debug, Clone, Copy)]
pub struct ObjectName<'a> {
    /// The realm configured for the bucket.
    pub realm: &'a str,
    /// The decoded bytes of the object key, not the URL's.
    pub object_key: &'a [u8],
}

/// The salt of one envelope. Sealing consumes it, so no salt is used twice.
pub struct EnvelopeSalt([u8; SALT]);

impl EnvelopeSalt {
    /// 32 bytes from the system's generator (F-09).
    pub fn fresh() -> Self {
        let mut salt = Self([0; SALT]);
        fill_random(&mut salt.0);
        salt
    }
}

/// The random bytes of one new envelope. Sealing consumes them, so none are used twice.
pub struct Entropy {
    salt: EnvelopeSalt,
    content_key: Zeroizing<[u8; KEY_LENGTH]>,
}

impl Entropy {
    /// 64 bytes from the system's generator (F-09, F-13).
    pub fn fresh() -> Self {
        let mut random = Zeroizing::new([[0; KEY_LENGTH]; 2]);
        // One call of the generator, which takes as long for one half.
        fill_random(random.as_flattened_mut());
        Self { salt: EnvelopeSalt(random[0]), content_key: Zeroizing::new(random[1]) }
    }
}

/// The content of a new envelope.
pub struct SealRequest<'a> {
    /// The keys to wrap the content key under.
    pub keys: EnvelopeKeys<'a>,
    /// The binding.
    pub binding: Binding,
    /// The body that is sealed under the content key: its kind (F-08) and its length (F-17).
    pub body: BodyKind,
    /// The encryption that responses name for the object (F-08). A customer key makes it
    /// [`SseAlgorithm::CustomerKey`], whatever is given here.
    pub sse: SseAlgorithm,
    /// The name of the object.
    pub name: ObjectName<'a>,
    /// The attributes of the plaintext that are known before the body is sent.
    pub attributes: &'a Attributes,
}

/// The content of another envelope around the same content key; everything else is taken from the source.
pub struct RewrapRequest<'a> {
    /// The keys to wrap the content key under.
    pub keys: EnvelopeKeys<'a>,
    /// The binding.
    pub binding: Binding,
    /// The encryption that responses name for the copy (F-08).
    pub sse: SseAlgorithm,
    /// The name under which the same body is stored.
    pub name: ObjectName<'a>,
    /// A checksum of the plaintext that replaces the checksums of the source.
    pub checksum: Option<Checksum>,
}

/// A new envelope and the content key inside it.
pub struct Sealed {
    /// The envelope to store with the object.
    pub envelope: Envelope,
    /// The key to seal the body with.
    pub content_key: ContentKey,
}

/// The content of an authenticated envelope.
#[derive(Debug)]
pub struct Opened {
    /// The key to open the body with.
    pub content_key: ContentKey,
    /// The attributes of the plaintext that the writer knew.
    pub attributes: Attributes,
    /// The body that the content key opens: its kind, and the length of the body of one PUT.
    pub body: BodyKind,
}

impl Opened {
    /// Wraps the content key again, with a salt of its own, for a copy of the same body under another name or
    /// data key. The kind of body, its length and the attributes are those of the opened envelope; a checksum
    /// of the copy replaces the checksums among them (F-53).
    pub fn rewrap(&self, request: &RewrapRequest<'_>, salt: EnvelopeSalt) -> Envelope {
        let &RewrapRequest { keys, binding, sse, name, checksum } = request;
        let attributes = match checksum {
            Some(checksum) => &self.attributes.replaced_by(checksum),
            None => &self.attributes,
        };
        let sealing = SealRequest { keys, binding, body: self.body, sse, name, attributes };
        Envelope::wrap(&sealing, &salt, &self.content_key)
    }
}

/// A well-formed envelope: `flags and others(4) | plaintext length(8) | salt(32) | commit(32) | wrapped(48) |
/// sealed end key(48), with a customer key | attributes`. It is authentic only if [`Envelope::open`]
/// succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    bytes: Vec<u8>,
    binding: Binding,
    body: BodyKind,
    sse: SseAlgorithm,
}

impl Envelope {
    /// Makes an envelope around a new content key.
    pub fn seal(request: &SealRequest<'_>, entropy: Entropy) -> Sealed {
        let content_key = ContentKey::from_zeroizing(entropy.content_key);
        let envelope = Self::wrap(request, &entropy.salt, &content_key);
        Sealed { envelope, content_key }
    }

    /// The salt must be fresh: that no key encrypts twice depends on it (F-09).
    fn wrap(request: &SealRequest<'_>, salt: &EnvelopeSalt, content_key: &ContentKey) -> Self {
        let multipart = if request.body.is_multipart() { FLAG_MULTIPART } else { 0 };
        let customer_key = request.keys.customer_key;
        let sse = if customer_key.is_some() { SseAlgorithm::CustomerKey } else { request.sse };
        let flag = match sse {
            SseAlgorithm::AwsKms => 0,
            SseAlgorithm::Aes256 => FLAG_AES256,
            SseAlgorithm::CustomerKey => FLAG_CUSTOMER,
        };
        let mut bytes = Vec::with_capacity(FIXED + 64);
        bytes.extend_from_slice(&[VERSION, SUITE, request.binding.to_byte(), multipart | flag]);
        bytes.extend_from_slice(&request.body.length_field());
        bytes.extend_from_slice(&salt.0);
        let salt = Salt::new(&salt.0);
        let derived = derive(&salt, request.keys, &bytes[..PREFIX], request.binding, request.name);
        let (wrap_key, commitment) = derived.split_at(KEY_LENGTH);
        bytes.extend_from_slice(commitment);
        // Zero is a safe nonce: a wrap key is derived from a fresh salt and used once (F-12).
        let mut wrapped = Zeroizing::new(*content_key.expose());
        let tag = aead_key(wrap_key)
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(&bytes[..]), wrapped.as_mut_slice())
            .expect("32 bytes are far below AES-GCM's limit");
        bytes.extend_from_slice(wrapped.as_slice());
        bytes.extend_from_slice(tag.as_ref());
        if customer_key.is_some() {
            end_key::seal(request, &salt, content_key, &mut bytes);
        }
        attributes::seal(request.attributes, &salt, content_key, &mut bytes);
        Self { bytes, binding: request.binding, body: request.body, sse }
    }

    /// Parses the value of the envelope header: canonical, padded, standard base64 (RFC 4648, section 4).
    ///
    /// # Errors
    /// A [`FormatError`] for anything that a reader of this version does not know exactly (F-04 to F-08,
    /// F-17).
    pub fn parse(value: &[u8]) -> Result<Self> {
        if value.len() > MAX_ENVELOPE.div_ceil(3) * 4 {
            return Err(FormatError::EnvelopeLength);
        }
        Self::from_bytes(base64::decode(value).ok_or(FormatError::Encoding)?)
    }

    /// Parses the envelope's bytes.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let is_length_of = |fixed: usize| {
            // Without attributes there is nothing after the fixed part; sealed ones hold at least one byte.
            bytes.len() == fixed || (fixed + super::TAG + 1..=MAX_ENVELOPE).contains(&bytes.len())
        };
        if !is_length_of(FIXED) {
            return Err(FormatError::EnvelopeLength);
        }
        if bytes[0] != VERSION {
            return Err(FormatError::Version);
        }
        if bytes[1] != SUITE {
            return Err(FormatError::Suite);
        }
        let binding = Binding::parse(bytes[2])?;
        let sse = match bytes[3] & !FLAG_MULTIPART {
            0 => SseAlgorithm::AwsKms,
            FLAG_AES256 => SseAlgorithm::Aes256,
            FLAG_CUSTOMER => SseAlgorithm::CustomerKey,
            _ => return Err(FormatError::Flags),
        };
        if sse == SseAlgorithm::CustomerKey && !is_length_of(FIXED_CUSTOMER) {
            return Err(FormatError::EnvelopeLength);
        }
        let length = bytes[FLAGS_END..PREFIX].try_into().expect("it has 8 bytes");
        let body = BodyKind::from_fields(bytes[3] & FLAG_MULTIPART != 0, length)?;
        Ok(Self { bytes, binding, body, sse })
    }

    /// The value of the envelope header.
    pub fn to_header(&self) -> String {
        base64::encode(&self.bytes)
    }

    /// The envelope's bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The binding that the envelope claims.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Whether the envelope claims a multipart body.
    pub fn is_multipart(&self) -> bool {
        self.body.is_multipart()
    }

    /// The kind of body that the envelope claims, and the length of the body of one PUT.
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// The server-side encryption that the envelope claims.
    pub fn sse(&self) -> SseAlgorithm {
        self.sse
    }

    /// Whether the envelope claims that the object has a customer key (F-70).
    pub fn has_customer_key(&self) -> bool {
        self.sse == SseAlgorithm::CustomerKey
    }

    /// Authenticates the envelope for an object of this name and returns its content key and attributes.
    ///
    /// # Errors
    /// [`FormatError::WeakBinding`] when the policy requires more (F-07), [`FormatError::CustomerKeyMissing`]
    /// and [`FormatError::CustomerKeySurplus`] when a customer key is needed or given and the other is not,
    /// [`FormatError::Commitment`] when the data key, the realm, the name or a byte before the commitment
    /// differs (F-11), [`FormatError::CustomerKeyWrong`] when the data key is the object's and the commitment
    /// differs nevertheless (F-71), [`FormatError::EnvelopeTag`] when the rest was altered,
    /// [`FormatError::Attributes`] when authentic attributes do not parse.
    pub fn open(&self, keys: EnvelopeKeys<'_>, policy: Policy, name: ObjectName<'_>) -> Result<Opened> {
        if self.binding < policy.least_binding {
            return Err(FormatError::WeakBinding);
        }
        self.admit_customer_key(keys.customer_key)?;
        let salt = self.salt();
        let end_key = match keys.customer_key {
            Some(_) => Some(self.sealed_end_key(&salt, keys.data_key, name)?),
            None => None,
        };
        // F-11: one data key and one customer key only, before anything is unwrapped.
        let keys = self.committed_keys(&salt, keys, name).map_err(|error| match end_key {
            Some(_) => FormatError::CustomerKeyWrong,
            None => error,
        })?;
        let (authenticated, sealed) = self.bytes.split_at(AUTHENTICATED);
        let mut wrapped = Zeroizing::new([0; WRAPPED]);
        wrapped.copy_from_slice(&sealed[..WRAPPED]);
        let content_key = aead_key(&keys[..KEY_LENGTH])
            .open_in_place(zero_nonce(), Aad::from(authenticated), wrapped.as_mut_slice())
            .map_err(|_| FormatError::EnvelopeTag)?;
        let mut exact = Zeroizing::new([0; KEY_LENGTH]);
        exact.copy_from_slice(content_key);
        let content_key = ContentKey::from_zeroizing(exact);
        if let Some(end_key) = end_key
            && verify_slices_are_equal(end_key.expose(), kdf::end_key(&content_key).expose()).is_err()
        {
            return Err(FormatError::EnvelopeTag);
        }
        let attributes = attributes::open(&self.bytes, self.fixed(), &salt, &content_key)?;
        Ok(Opened { content_key, attributes, body: self.body })
    }

    /// Refuses a customer key for an object without one, and none for an object with one (F-70).
    ///
    /// # Errors
    /// [`FormatError::CustomerKeyMissing`], [`FormatError::CustomerKeySurplus`].
    pub fn admit_customer_key(&self, customer_key: Option<&CustomerKey>) -> Result<()> {
        match (self.has_customer_key(), customer_key) {
            (true, None) => Err(FormatError::CustomerKeyMissing),
            (false, Some(_)) => Err(FormatError::CustomerKeySurplus),
            (true, Some(_)) | (false, None) => Ok(()),
        }
    }

    fn salt(&self) -> Salt {
        Salt::new(&self.bytes[PREFIX..PREFIX + SALT])
    }

    /// Bytes before the attributes.
    fn fixed(&self) -> usize {
        if self.has_customer_key() { FIXED_CUSTOMER } else { FIXED }
    }

    /// Whether everything before the commitment, the kind and the length of the body among it, is as it was
    /// sealed for an object of this name. Unwraps no content key, and does not compare the binding with a
    /// policy. For an object with a customer key the data key suffices, by the sealed end key (F-71).
    pub fn is_committed(&self, data_key: &DataKey, name: ObjectName<'_>) -> bool {
        if self.has_customer_key() {
            return self.sealed_end_key(&self.salt(), data_key, name).is_ok();
        }
        let keys = EnvelopeKeys::without_customer(data_key);
        self.committed_keys(&self.salt(), keys, name).is_ok()
    }

    /// The wrap key and the commitment that data key and name give, if that is the envelope's commitment,
    /// compared in constant time (F-11).
    fn committed_keys(
        &self,
        salt: &Salt,
        keys: EnvelopeKeys<'_>,
        name: ObjectName<'_>,
    ) -> Result<Zeroizing<[u8; KEY_LENGTH + COMMITMENT]>> {
        let (prefix, rest) = (&self.bytes[..PREFIX], &self.bytes[PREFIX + SALT..]);
        let derived = derive(salt, keys, prefix, self.binding, name);
        let compared = verify_slices_are_equal(&derived[KEY_LENGTH..], &rest[..COMMITMENT]);
        compared.map(|()| derived).map_err(|_| FormatError::Commitment)
    }
}

pub(super) fn length_prefix(field: &[u8]) -> [u8; 4] {
    u32::try_from(field.len()).expect("realms and object keys are far shorter than 4 GiB").to_be_bytes()
}

#[cfg(test)]
mod tests;
