//! The metadata entry of the further holders: the object's data key, wrapped for keys other than the one of
//! the first metadata entry (F-60 to F-64).
//!
//! It must not know how a holder is called or where the entry is stored. It promises that what an entry opens
//! to is only a candidate: the envelope's commitment decides whether it is the object's data key (F-65).

use std::fmt;

use aws_lc_rs::aead::Aad;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use zeroize::Zeroizing;

use super::chunk::{TAG, aead_key};
use super::kdf::zero_nonce;
use super::{FormatError, Result, kdf};
use crate::envelope::DataKey;
use crate::envelope::data_key::KEY_LENGTH;
use crate::wire::hex;

const VERSION: u8 = 1;
/// Bytes of an entry before its blob: kind, fingerprint, length.
const ENTRY_PREFIX: usize = 1 + HolderFingerprint::LENGTH + 2;
/// Length in bytes of a sealed data key with its tag.
pub(super) const SEALED_KEY: usize = KEY_LENGTH + TAG;

/// The kind of a holder. Its number is the tag of F-62; a tag that is not among these belongs to a later
/// version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HolderKind {
    /// AWS KMS; the canonical key name is the key's full ARN.
    AwsKms = 1,
    /// A local keyring; the canonical key name is the key's id.
    Local = 2,
    /// Vault or OpenBao Transit; the canonical key name is `[namespace/]mount/key`.
    Vault = 3,
    /// A PKCS#11 token; the canonical key name is the full name that the provider gives.
    Pkcs11 = 4,
    /// Google Cloud KMS; the canonical key name is the full resource name.
    GcpKms = 5,
    /// Azure Key Vault; the canonical key name is the full key identifier.
    AzureKeyVault = 6,
    /// A recovery key; the canonical key name is the 32 bytes of the public key.
    Recovery = 16,
}

impl HolderKind {
    /// All kinds, in ascending order of their tags.
    pub const ALL: [Self; 7] = [
        Self::AwsKms,
        Self::Local,
        Self::Vault,
        Self::Pkcs11,
        Self::GcpKms,
        Self::AzureKeyVault,
        Self::Recovery,
    ];

    /// The tag of the kind in an entry (F-62).
    pub const fn tag(self) -> u8 {
        self as u8
    }

    fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }

    /// The name of the kind: that of the provider in the configuration, or `recovery`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AwsKms => "aws-kms",
            Self::Local => "local",
            Self::Vault => "vault",
            Self::Pkcs11 => "pkcs11",
            Self::GcpKms => "gcp-kms",
            Self::AzureKeyVault => "azure-key-vault",
            Self::Recovery => "recovery",
        }
    }
}

impl fmt::Display for HolderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The short name of a wrapping key, by which a reader finds the entry that its holder can open (F-62).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HolderFingerprint([u8; Self::LENGTH]);

impl HolderFingerprint {
    /// Length in bytes.
    pub const LENGTH: usize = 8;

    /// The first 8 bytes of SHA-256(kind | canonical key name). [`HolderKind`] says what that name is.
    pub fn new(kind: HolderKind, name: &[u8]) -> Self {
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        hash.update(&[kind.tag()]);
        hash.update(name);
        let digest = hash.finish();
        Self(*digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }

    /// The bytes as they are in an entry.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// 16 lowercase hexadecimal digits.
impl fmt::Display for HolderFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// The object's data key, wrapped for one further holder; not authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderEntry {
    /// The kind of the holder.
    pub kind: HolderKind,
    /// The fingerprint of its key.
    pub fingerprint: HolderFingerprint,
    /// What the holder opens: a [`ServiceBlob`], or the 80 bytes of a recovery key's wrapping. Not empty.
    pub blob: Bytes,
}

/// An entry of a kind that a later version knows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UnknownEntry {
    tag: u8,
    fingerprint: HolderFingerprint,
    blob: Bytes,
}

/// The entries of the further holders, at least one, no two of one kind and fingerprint. Entries of unknown
/// kinds are kept for [`Self::to_header`] and otherwise skipped (F-61).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderEntries {
    known: Vec<HolderEntry>,
    unknown: Vec<UnknownEntry>,
}

impl HolderEntries {
    /// Maximum length in bytes before base64: S3 allows 2,048 bytes of user metadata, and base64 makes 4
    /// characters of 3 bytes.
    pub const MAX_LEN: usize = 1_536;

    /// Takes the entries of a new object.
    ///
    /// # Errors
    /// [`FormatError::HoldersLength`] if they are longer than [`Self::MAX_LEN`] together, which S3 does not
    /// store; [`FormatError::Holders`] if there is none, one is empty, or two have one kind and fingerprint.
    pub fn new(entries: Vec<HolderEntry>) -> Result<Self> {
        let length: usize = entries.iter().map(|entry| ENTRY_PREFIX + entry.blob.len()).sum();
        if 2 + length > Self::MAX_LEN {
            return Err(FormatError::HoldersLength);
        }
        Self { known: entries, unknown: Vec::new() }.check()
    }

    /// Parses the value of the header: canonical, padded, standard base64 of
    /// `version(1) | count(1)`, then for each entry `kind(1) | fingerprint(8) | length(2) | blob` (F-60).
    ///
    /// # Errors
    /// [`FormatError::HoldersLength`] if it is too long; [`FormatError::Holders`] for another version, no
    /// entry, an empty blob, a cut entry, left-over bytes, a repeated kind and fingerprint, or base64 that is
    /// not canonical (F-61).
    pub fn parse(header: &[u8]) -> Result<Self> {
        if header.len() > Self::MAX_LEN / 3 * 4 {
            return Err(FormatError::HoldersLength);
        }
        let mut rest = Bytes::from(STANDARD.decode(header).map_err(|_| FormatError::Holders)?);
        let &[version, count] = rest.first_chunk().ok_or(FormatError::Holders)?;
        if version != VERSION {
            return Err(FormatError::Holders);
        }
        rest.advance(2);
        let (mut known, mut unknown) = (Vec::with_capacity(usize::from(count).min(8)), Vec::new());
        for _ in 0..count {
            let (tag, fingerprint, blob) = take_entry(&mut rest)?;
            match HolderKind::from_tag(tag) {
                Some(kind) => known.push(HolderEntry { kind, fingerprint, blob }),
                None => unknown.push(UnknownEntry { tag, fingerprint, blob }),
            }
        }
        if rest.is_empty() { Self { known, unknown }.check() } else { Err(FormatError::Holders) }
    }

    /// The value of the header.
    pub fn to_header(&self) -> String {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        let count = u8::try_from(self.names().count()).expect("1,536 bytes hold at most 127 entries");
        bytes.extend_from_slice(&[VERSION, count]);
        let known = self.known.iter().map(|entry| (entry.kind.tag(), entry.fingerprint, &entry.blob));
        let unknown = self.unknown.iter().map(|entry| (entry.tag, entry.fingerprint, &entry.blob));
        for (tag, fingerprint, blob) in known.chain(unknown) {
            bytes.push(tag);
            bytes.extend_from_slice(&fingerprint.0);
            bytes.extend_from_slice(&length_of(blob));
            bytes.extend_from_slice(blob);
        }
        STANDARD.encode(bytes)
    }

    /// The entries of known kinds, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &HolderEntry> {
        self.known.iter()
    }

    /// The entry that the holder of this key can open.
    pub fn find(&self, kind: HolderKind, fingerprint: HolderFingerprint) -> Option<&HolderEntry> {
        self.known.iter().find(|entry| entry.kind == kind && entry.fingerprint == fingerprint)
    }

    /// Whether there are entries of kinds that a later version knows.
    pub fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    fn encoded_len(&self) -> usize {
        let known = self.known.iter().map(|entry| entry.blob.len());
        let unknown = self.unknown.iter().map(|entry| entry.blob.len());
        2 + known.chain(unknown).map(|blob| ENTRY_PREFIX + blob).sum::<usize>()
    }

    fn names(&self) -> impl Iterator<Item = (u8, HolderFingerprint)> {
        let known = self.known.iter().map(|entry| (entry.kind.tag(), entry.fingerprint));
        known.chain(self.unknown.iter().map(|entry| (entry.tag, entry.fingerprint)))
    }

    /// Refuses no entry, an empty blob, and two entries of one kind and fingerprint.
    fn check(self) -> Result<Self> {
        let is_any_empty = self.known.iter().any(|entry| entry.blob.is_empty());
        let is_any_repeated =
            self.names().enumerate().any(|(at, name)| self.names().take(at).any(|earlier| earlier == name));
        let is_valid = self.names().next().is_some() && !is_any_empty && !is_any_repeated;
        if is_valid { Ok(self) } else { Err(FormatError::Holders) }
    }
}

/// Takes `kind(1) | fingerprint(8) | length(2) | blob` from the front.
fn take_entry(rest: &mut Bytes) -> Result<(u8, HolderFingerprint, Bytes)> {
    let prefix: [u8; ENTRY_PREFIX] = *rest.first_chunk().ok_or(FormatError::Holders)?;
    let [tag, fingerprint @ .., high, low] = prefix;
    let end = ENTRY_PREFIX + usize::from(u16::from_be_bytes([high, low]));
    if end == ENTRY_PREFIX || end > rest.len() {
        return Err(FormatError::Holders);
    }
    let blob = rest.split_to(end).split_off(ENTRY_PREFIX);
    Ok((tag, HolderFingerprint(fingerprint), blob))
}

fn length_of(field: &[u8]) -> [u8; 2] {
    u16::try_from(field.len()).expect("every field has a limit far below 64 KiB").to_be_bytes()
}

/// Wraps `data_key` for a further holder that is a service: seals it under `holder_key`, a data key that the
/// holder made for this one call, and puts `inner`, the holder's wrapping of `holder_key`, in front (F-63).
/// `context` is the canonical encryption context of the object's realm.
///
/// # Panics
/// If `inner` is 64 KiB or longer, which the keyring accepts from no holder, or a key is not 256 bits long.
pub fn seal_under(
    holder_key: &DataKey,
    inner: &[u8],
    data_key: &DataKey,
    kind: HolderKind,
    fingerprint: HolderFingerprint,
    context: &[u8],
) -> Bytes {
    let mut blob = Vec::with_capacity(2 + inner.len() + SEALED_KEY);
    blob.extend_from_slice(&length_of(inner));
    blob.extend_from_slice(inner);
    let mut sealed = Zeroizing::new(*data_key.expose());
    // Zero is a safe nonce: the holder's key seals this one message.
    let tag = aead_key(kdf::hkdf::<KEY_LENGTH>(holder_key.expose(), &[], &[kdf::HOLDER]).as_slice())
        .seal_in_place_separate_tag(
            zero_nonce(),
            associated_data(kind, fingerprint, context),
            sealed.as_mut_slice(),
        )
        .expect("32 bytes are far below AES-GCM's limit");
    blob.extend_from_slice(sealed.as_slice());
    blob.extend_from_slice(tag.as_ref());
    Bytes::from(blob)
}

/// The blob of a service's entry: `length(2) | inner | sealed(48)`, not authenticated (F-63).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceBlob<'a> {
    /// The holder's wrapping of the key under which the data key is sealed. Not empty.
    pub inner: &'a [u8],
    sealed: &'a [u8; SEALED_KEY],
}

impl<'a> ServiceBlob<'a> {
    /// Parses the blob of an entry.
    ///
    /// # Errors
    /// [`FormatError::HolderBlob`] if `inner` is empty or the length is another.
    pub fn parse(blob: &'a [u8]) -> Result<Self> {
        let (length, rest) = blob.split_first_chunk().ok_or(FormatError::HolderBlob)?;
        let (inner, sealed) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .filter(|(inner, _)| !inner.is_empty())
            .ok_or(FormatError::HolderBlob)?;
        let sealed = sealed.try_into().map_err(|_| FormatError::HolderBlob)?;
        Ok(Self { inner, sealed })
    }

    /// The blob with another wrapping of the same key of the holder's in front.
    ///
    /// # Panics
    /// If `inner` is 64 KiB or longer, which the keyring accepts from no holder.
    pub fn with_inner(&self, inner: &[u8]) -> Bytes {
        Bytes::from([&length_of(inner)[..], inner, self.sealed].concat())
    }

    /// Opens the sealed data key with the key that the holder unwrapped from [`Self::inner`].
    ///
    /// # Errors
    /// [`FormatError::HolderTag`] if the holder's key, kind, fingerprint, the context or a sealed byte
    /// is another.
    pub fn open(
        &self,
        holder_key: &DataKey,
        kind: HolderKind,
        fingerprint: HolderFingerprint,
        context: &[u8],
    ) -> Result<DataKey> {
        if holder_key.is_short() {
            return Err(FormatError::HolderTag);
        }
        let mut sealed = Zeroizing::new(*self.sealed);
        let data_key = aead_key(kdf::hkdf::<KEY_LENGTH>(holder_key.expose(), &[], &[kdf::HOLDER]).as_slice())
            .open_in_place(zero_nonce(), associated_data(kind, fingerprint, context), sealed.as_mut_slice())
            .map_err(|_| FormatError::HolderTag)?;
        Ok(DataKey::try_from_slice(data_key).expect("48 bytes without a tag of 16 are 32"))
    }
}

/// kind(1) | fingerprint(8) | canonical encryption context (F-63).
fn associated_data(kind: HolderKind, fingerprint: HolderFingerprint, context: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([&[kind.tag()], &fingerprint.0[..], context].concat())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
