//! `keygen --audit`: makes the key that signs the checkpoints of an audit log.
//!
//! It must not know what is signed. It promises a message that says where each half belongs.

use std::path::Path;

use super::key_files::write_pair;
use crate::audit::SigningKey;
use crate::cli::Failure;

/// The file of the private half, if the command names none.
pub(super) const DEFAULT_FILE: &str = "audit.pem";

/// Writes a new private key to `file` and its public key beside it, and returns a message.
///
/// # Errors
/// [`Failure::Usage`] if one of the files exists, [`Failure::Io`] if one can't be written; neither is left.
pub(super) fn make_pair(file: &Path) -> Result<String, Failure> {
    let (key, pem) = SigningKey::generate().map_err(|error| Failure::Internal(error.to_string()))?;
    let public_key = key.public_key();
    let public_file = write_pair(file, &pem, &public_key.to_pem())?;
    let (private, public, name) = (file.display(), public_file.display(), public_key.name());
    Ok(format!(
        "{private}: key {name}, which signs checkpoints of an audit log. Name it in [audit]: signing_key_file = \
         \"{}\"\n\
         {public}: the public half. Keep it where the log is verified, away from this machine: s3veil audit verify \
         --public-key {public} FILE\n",
        file.file_name().unwrap_or(file.as_os_str()).display(),
    ))
}
