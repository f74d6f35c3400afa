//! The two files of a key pair. It must not know what the pair is for. It promises to overwrite no file, to
//! make both files or neither, and that the owner alone can read the private one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::Failure;

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// Writes the private half to `file`, and the public half beside it. Returns the path of the latter.
///
/// # Errors
/// [`Failure::Usage`] if one of the files exists, [`Failure::Io`] if one can't be written; neither is left.
pub(super) fn write_pair(file: &Path, private_pem: &str, public_pem: &str) -> Result<PathBuf, Failure> {
    let public_file = public_file(file);
    write_new(file, PRIVATE_MODE, private_pem.as_bytes())?;
    if let Err(failure) = write_new(&public_file, PUBLIC_MODE, public_pem.as_bytes()) {
        // A private key without its public half would be taken for one that is in use.
        drop(fs::remove_file(file));
        return Err(failure);
    }
    Ok(public_file)
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
    use super::*;

    #[test]
    fn the_public_file_is_named_after_the_private_one() {
        for (private, public) in
            [("ops.pem", "ops.pub.pem"), ("a/ops", "a/ops.pub.pem"), ("k.key", "k.key.pub.pem")]
        {
            assert_eq!(public_file(private.as_ref()), Path::new(public));
        }
    }
}
