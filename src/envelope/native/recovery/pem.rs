//! The PEM files of X25519 keys (RFC 7468, RFC 8410), whose DER is a fixed prefix and 32 bytes.
//!
//! It must not know what a key is for. It promises that the bytes of a private key are zeroed wherever they
//! passed through.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{RecoveryKeyError, X25519_KEY};

/// PKCS#8 PrivateKeyInfo: SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.110 }, OCTET STRING { OCTET STRING } }
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];
/// SubjectPublicKeyInfo: SEQUENCE { SEQUENCE { OID 1.3.101.110 }, BIT STRING }.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00];

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

pub(super) fn parse_public(text: &[u8]) -> Result<[u8; X25519_KEY], RecoveryKeyError> {
    match parse(text)? {
        (PUBLIC, der) => key_after(&SPKI, &der).map(|key| *key),
        (label, _) if label.ends_with(PRIVATE) => Err(RecoveryKeyError::PrivateKey),
        _ => Err(RecoveryKeyError::OtherAlgorithm),
    }
}

pub(super) fn parse_private(text: &[u8]) -> Result<Zeroizing<[u8; X25519_KEY]>, RecoveryKeyError> {
    match parse(text)? {
        (PRIVATE, der) => key_after(&PKCS8, &der),
        (PUBLIC, _) => Err(RecoveryKeyError::PublicKey),
        ("ENCRYPTED PRIVATE KEY", _) => Err(RecoveryKeyError::Encrypted),
        _ => Err(RecoveryKeyError::OtherAlgorithm),
    }
}

pub(super) fn write_public(key: &[u8; X25519_KEY]) -> String {
    write(PUBLIC, &[&SPKI[..], key].concat()).to_string()
}

pub(super) fn write_private(key: &[u8; X25519_KEY]) -> Zeroizing<String> {
    write(PRIVATE, &Zeroizing::new([&PKCS8[..], key].concat()))
}

fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    Zeroizing::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", *base64))
}

/// The label and the DER of the only PEM block; there may be other text around it, as OpenSSL's `-text`
/// writes.
fn parse(text: &[u8]) -> Result<(&str, Zeroizing<Vec<u8>>), RecoveryKeyError> {
    const BEGIN: &str = "-----BEGIN ";
    let text = std::str::from_utf8(text).map_err(|_| RecoveryKeyError::NotPem)?;
    let (_, block) = text.split_once(BEGIN).ok_or(RecoveryKeyError::NotPem)?;
    let (label, block) = block.split_once("-----").ok_or(RecoveryKeyError::NotPem)?;
    let (content, after) =
        block.split_once(&format!("-----END {label}-----")).ok_or(RecoveryKeyError::NotPem)?;
    if after.contains(BEGIN) || content.contains(BEGIN) {
        return Err(RecoveryKeyError::NotPem);
    }
    let mut base64 = Zeroizing::new(Vec::with_capacity(content.len()));
    base64.extend(content.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let der = STANDARD.decode(&*base64).map_err(|_| RecoveryKeyError::NotPem)?;
    Ok((label, Zeroizing::new(der)))
}

fn key_after(prefix: &[u8], der: &[u8]) -> Result<Zeroizing<[u8; X25519_KEY]>, RecoveryKeyError> {
    let key = der.strip_prefix(prefix).and_then(|key| <&[u8; X25519_KEY]>::try_from(key).ok());
    key.map(|key| Zeroizing::new(*key)).ok_or(RecoveryKeyError::OtherAlgorithm)
}
