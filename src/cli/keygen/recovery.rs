//! `keygen --recovery`: makes the two files of a recovery key.
//!
//! It must not know what a recovery key seals. It promises a message that says where each half belongs.

use std::path::Path;

use super::key_files::write_pair;
use crate::cli::Failure;
use crate::envelope::native::RecoveryPrivateKey;

/// The file of the private half, if the command names none.
pub(super) const DEFAULT_FILE: &str = "recovery.pem";

/// Writes a new private key to `file` and its public key beside it, and returns a message.
///
/// # Errors
/// [`Failure::Usage`] if one of the files exists, [`Failure::Io`] if one can't be written; neither is left.
pub(super) fn make_pair(file: &Path) -> Result<String, Failure> {
    let private_key = RecoveryPrivateKey::generate();
    let public_key = private_key.public_key();
    let public_file = write_pair(file, &private_key.to_pem(), &public_key.to_pem())?;
    let (private, public) = (file.display(), public_file.display());
    Ok(format!(
        "{private}: the private half of a recovery key. It opens every object that is written with the public half, \
         with no key service at all: move it offline, keep copies in two safe places, and leave none near the proxy.\n\
         {public}: the public half, recovery {}. Put it beside the configuration, and write in [[bucket]]: recovery = \
         [\"{}\"]\n",
        public_key.fingerprint(),
        public_file.file_name().unwrap_or(public_file.as_os_str()).display(),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::envelope::native::RecoveryPublicKey;

    #[test]
    fn both_files_are_made_and_the_private_one_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let private_file = directory.path().join("ops.2027.pem");
        let message = make_pair(&private_file).expect("a pair");
        let public_file = directory.path().join("ops.2027.pub.pem");
        let private_key = RecoveryPrivateKey::from_pem(&fs::read(&private_file).expect("a file"));
        let public_key = RecoveryPublicKey::from_pem(&fs::read(&public_file).expect("a file"));
        let public_key = public_key.expect("a public key");
        assert_eq!(private_key.expect("a private key").public_key(), public_key);
        let mode = |file| fs::metadata(file).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&private_file), 0o600);
        assert!(message.contains(&format!("recovery {}", public_key.fingerprint())), "{message}");
        assert!(message.contains("recovery = [\"ops.2027.pub.pem\"]"), "{message}");
    }

    #[test]
    fn no_file_is_overwritten_and_no_half_is_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let in_directory = |name: &str| directory.path().join(name);
        for (existing, other) in [("ops.pem", "ops.pub.pem"), ("b.pub.pem", "b.pem")] {
            fs::write(in_directory(existing), b"mine").expect("a file");
            let private_file =
                in_directory(existing.split('.').next().expect("a name")).with_extension("pem");
            let failure = make_pair(&private_file).expect_err("a file exists");
            assert!(failure.to_string().contains("exists and is not overwritten"), "{failure}");
            assert_eq!(fs::read(in_directory(existing)).expect("a file"), b"mine");
            assert!(!in_directory(other).exists());
        }
        let failure = make_pair(&in_directory("none/ops.pem")).expect_err("no directory");
        assert!(matches!(failure, Failure::Io { .. }));
    }
}
