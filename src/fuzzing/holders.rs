//! The entries of further key holders, and the files of recovery keys.

use std::sync::LazyLock;

use super::Input;
use crate::envelope::DataKey;
use crate::envelope::native::{
    HolderEntries, HolderEntry, HolderFingerprint, HolderKind, RecoveryPrivateKey, RecoveryPublicKey,
    ServiceBlob, seal_under,
};

const CONTEXT: &[u8] = b"context";
const NAME: &[u8] = b"name";

/// One key for all inputs: making one takes longer than parsing.
static PRIVATE_KEY: LazyLock<RecoveryPrivateKey> = LazyLock::new(RecoveryPrivateKey::generate);

/// What parses comes back as it was, and nothing opens that was not sealed: the metadata entry of the further
/// holders, and each kind of blob in it.
pub fn holders(data: &[u8]) {
    let (holder_key, data_key) = (DataKey::from_bytes([1; 32]), DataKey::from_bytes([2; 32]));
    let kind = HolderKind::Vault;
    let fingerprint = HolderFingerprint::new(kind, NAME);
    if let Ok(entries) = HolderEntries::parse(data) {
        let written = entries.to_header();
        assert_eq!(HolderEntries::parse(written.as_bytes()).as_ref(), Ok(&entries));
        for entry in entries.iter() {
            assert_eq!(entries.find(entry.kind, entry.fingerprint), Some(entry));
        }
    }
    if let Ok(blob) = ServiceBlob::parse(data) {
        assert_eq!(data.len(), 2 + blob.inner.len() + 48);
        let opened = blob.open(&holder_key, kind, fingerprint, CONTEXT);
        assert!(opened.is_err(), "This is a security issue: a blob that was not sealed here.");
    }
    let opened = PRIVATE_KEY.open(data, CONTEXT);
    assert!(opened.is_err(), "This is a security issue: a blob that was not sealed here.");

    let mut input = Input(data);
    let mut entries = Vec::new();
    while !input.is_empty() {
        let kind = HolderKind::ALL[input.below(HolderKind::ALL.len())];
        let fingerprint = HolderFingerprint::new(kind, &[input.byte()]);
        let inner = input.line();
        let inner = &inner[..inner.len().min(4_096)];
        let blob = seal_under(&holder_key, inner, &data_key, kind, fingerprint, CONTEXT);
        if let Ok(blob) = ServiceBlob::parse(&blob) {
            let opened = blob.open(&holder_key, kind, fingerprint, CONTEXT).expect("it was sealed here");
            assert_eq!((blob.inner, opened.expose()), (inner, data_key.expose()));
        }
        entries.push(HolderEntry { kind, fingerprint, blob });
    }
    let Ok(entries) = HolderEntries::new(entries) else { return };
    assert_eq!(HolderEntries::parse(entries.to_header().as_bytes()), Ok(entries));
}

/// A public key that is accepted can seal; each half is written as the file that is read again.
pub fn recovery_key(data: &[u8]) {
    if let Ok(public_key) = RecoveryPublicKey::from_pem(data) {
        let again = RecoveryPublicKey::from_pem(public_key.to_pem().as_bytes());
        assert_eq!(again.as_ref(), Ok(&public_key));
        assert_eq!(public_key.seal(&DataKey::from_bytes([2; 32]), CONTEXT).len(), 80);
    }
    if let Ok(private_key) = RecoveryPrivateKey::from_pem(data) {
        let again =
            RecoveryPrivateKey::from_pem(private_key.to_pem().as_bytes()).expect("it was written here");
        assert_eq!(again.public_key(), private_key.public_key());
        let sealed = private_key.public_key().seal(&DataKey::from_bytes([2; 32]), CONTEXT);
        assert!(again.open(&sealed, CONTEXT).is_ok(), "a key opens what it sealed");
    }
}
