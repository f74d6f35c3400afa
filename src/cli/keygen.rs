//! `keygen`: creates a local keyring, adds a new current key to one, or makes a recovery key or a key for
//! audit logs.

mod audit;
mod key_files;
mod recovery;

use std::path::PathBuf;

use super::{Failure, Keygen, startup};
use crate::config;
use crate::keyring::{Provider, local};

/// Creates or rotates the keyring, or makes a recovery key, and returns a message. Without a file,
/// `configuration` names the keyring.
///
/// # Errors
/// [`Failure::Usage`] with the file and the remedy.
pub fn keygen(arguments: &Keygen, configuration: &std::path::Path) -> Result<String, Failure> {
    let file = arguments.file.as_ref().or(arguments.named_file.as_ref());
    if arguments.recovery {
        return recovery::make_pair(file.map_or(recovery::DEFAULT_FILE.as_ref(), PathBuf::as_path));
    }
    if arguments.audit {
        return audit::make_pair(file.map_or(audit::DEFAULT_FILE.as_ref(), PathBuf::as_path));
    }
    let file = match file {
        Some(file) => file.clone(),
        None => configured_file(configuration)?,
    };
    let made = if arguments.rotate { local::rotate(&file) } else { local::generate(&file) };
    let key_id = made.map_err(startup::keyring_failed)?;
    let done = if arguments.rotate {
        "is the current key now; older keys still open what they wrapped. A running \
         proxy takes it within ten seconds, or at once on SIGHUP"
    } else {
        "was made. The file opens every object, and without it all are lost: keep a copy in a safe place"
    };
    Ok(format!("{}: key {key_id} {done}.\n", file.display()))
}

fn configured_file(configuration: &std::path::Path) -> Result<PathBuf, Failure> {
    let holders = config::load(configuration)?.keyring.holders;
    let mut files = holders.into_iter().filter_map(|holder| match holder.provider {
        Provider::Local(keyring) => Some(keyring.file),
        #[cfg(feature = "aws")]
        Provider::AwsKms(_) => None,
        Provider::Vault(_) => None,
        #[cfg(feature = "pkcs11")]
        Provider::Pkcs11(_) => None,
        #[cfg(feature = "gcp-kms")]
        Provider::GcpKms(_) => None,
        #[cfg(feature = "azure-key-vault")]
        Provider::AzureKeyVault(_) => None,
    });
    match (files.next(), files.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::Usage(format!(
            "{} has no local keyring, and the keys of a service are made there; name a FILE for a local one",
            configuration.display()
        ))),
        (Some(_), Some(_)) => Err(Failure::Usage(format!(
            "{} has several local keyrings: name the FILE of one of them",
            configuration.display()
        ))),
    }
}
