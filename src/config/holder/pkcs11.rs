//! `provider = "pkcs11"`: keys in a hardware security module or a smart card.
//! It must not know how a token is used.
//! It promises names that a token can have, and exactly one way to find the token.

use super::{later_secret, only, required_text};
use crate::config::error::{Refusal, Result};
use crate::config::section::Section;
use crate::keyring::{Pkcs11, Provider, TokenName};
use crate::wire::hex;

/// Maximum length of a token's label, in bytes, by the standard.
const MAX_TOKEN_LABEL_LEN: usize = 32;
/// Maximum length of a key's label, in bytes.
const MAX_KEY_LABEL_LEN: usize = 256;
/// Maximum length of a CKA_ID, in bytes: every object's metadata holds one.
const MAX_ID_LEN: usize = 64;

const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";

pub(super) fn read(section: &Section<'_>) -> Result<Provider> {
    only(section, "provider = \"pkcs11\"", "provider library token_label slot pin_file key_label key_id")?;
    let library = required_text(section, "library", LIBRARY)?;
    let key_label = required_text(section, "key_label", "s3veil")?;
    if key_label.len() > MAX_KEY_LABEL_LEN {
        return Err(section.refuse("key_label", "is longer than 256 bytes", "give the key a shorter label"));
    }
    Ok(Provider::Pkcs11(Pkcs11 {
        library: section.source.resolve(&library),
        token: read_token(section)?,
        pin_file: later_secret(section, "pin_file", "/etc/s3veil/pin")?,
        key_label,
        key_id: section.parsed("key_id", "01", cka_id)?,
    }))
}

fn read_token(section: &Section<'_>) -> Result<TokenName> {
    let label = section.text("token_label", "s3veil")?;
    let slot = section.count("slot", 0..=u64::MAX)?;
    match (label, slot) {
        (Some(label), None) if label.len() <= MAX_TOKEN_LABEL_LEN => Ok(TokenName::Label(label.into_owned())),
        (Some(_), None) => {
            let fix = "write the label as `pkcs11-tool --list-slots` shows it";
            Err(section.refuse("token_label", "is longer than the 32 bytes of a token's label", fix))
        }
        (None, Some(slot)) => Ok(TokenName::Slot(slot)),
        (None, None) => {
            let fix = "write token_label = \"...\", or the number of the slot";
            Err(section.refuse("token_label", "is missing", fix))
        }
        (Some(_), Some(_)) => {
            Err(section.refuse("slot", "has no effect beside `token_label`", "remove one of them"))
        }
    }
}

/// Parses a CKA_ID in hexadecimal digits, as `pkcs11-tool` takes and shows it.
fn cka_id(text: &str) -> Result<Vec<u8>, Refusal> {
    let id = hex::decode_bytes(text).filter(|id| (1..=MAX_ID_LEN).contains(&id.len()));
    id.ok_or_else(|| {
        let fix = "write the key's CKA_ID in up to 128 hexadecimal digits, as `pkcs11-tool --list-objects` shows it";
        Refusal::new(format!("is an invalid CKA_ID: {text:?}"), fix)
    })
}
