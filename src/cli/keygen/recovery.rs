//! `keygen --recovery`: makes the two files of a recovery key.
//!
//! It must not know what a recovery key seals. It promises to overwrite no file, to make both files or
//! neither, and that the owner alone can read the private one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::envelope::native::RecoveryPrivateKey;

/// The file of the private half, if the command names none.
pub(super) const DEFAULT_FILE: &str = "recovery.pem";

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// Writes a new private key to `file` and its public key beside it, and returns a message.
///
/// # Errors
/// [`Failure::Usage`] if one of the files exists, [`Failure::Io`] if one can't be written; neither is left.
pub(super) fn make_pair(file: &Path) -> Result<String, Failure> {
    let public_file = public_file(file);
    let private_key = RecoveryPrivateKey::generate();
    let public_key = private_key.public_key();
    write_new(file, PRIVATE_MODE, private_key.to_pem().as_bytes())?;
    if let Err(failure) = write_new(&public_file, PUBLIC_MODE, public_key.to_pem().as_bytes()) {
        // A private key without its public half would be taken for one that is in use.
        drop(fs::remove_file(file));
        return Err(failure);
    }
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

/// `ops.pub.pem` for `ops.pem` and for `ops`.
fn public_file(file: &Path) -> PathBuf {
    let is_pem = file.extension().is_some_and(|extension| extension == "pem");
    let mut name = if is_pem { file.with_extension("") } else { file.to_owned() }.into_os_string();
    name.push(".pub.pem");
    name.into()
}

fn write_new(file: &Path, mode: u32, content: &[u8]) -> Result<(), Failure> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            let file = file.display();
            return Failure::Usage(format!("{file} exists and is not overwritten: name another FILE"));
        }
        Failure::Io { action: format!("writing {}", file.display()), source }
    };
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file).map_err(failed)?;
    let written = opened.write_all(content).and_then(|()| opened.sync_all());
    written.map_err(|error| {
        drop(fs::remove_file(file));
        failed(error)
    })
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_public_file_is_named_after_the_private_one() {
        for (private, public) in
            [("ops.pem", "ops.pub.pem"), ("a/ops", "a/ops.pub.pem"), ("k.key", "k.key.pub.pem")]
        {
            assert_eq!(public_file(private.as_ref()), Path::new(public));
        }
    }
}
