//! Decrypted objects as files of a directory.
//! It must not know how objects are stored or sealed.
//! It promises that no file is written outside of the directory, none is overwritten, and that a file has its
//! name only when all of it is on the disk and was read back.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use http::header::{HeaderMap, LAST_MODIFIED};
use http_body_util::BodyExt;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::digest::{CONTENT_DIGEST, digesting};
use super::ending::Stop;
use crate::body::BoxBody;
use crate::error::{Error, Result};
use crate::s3::ObjectKey;
use crate::wire::checksum::Hasher;

/// Bytes that are read back at once.
const READ_BACK: usize = 256 << 10;

/// The file of one object.
pub(super) struct FileTarget {
    path: PathBuf,
}

impl FileTarget {
    /// The file for an object key, which becomes a path below `directory`.
    ///
    /// # Errors
    /// [`Stop::Refused`] for a key that no path below the directory can have, [`Stop::Skipped`] for one that
    /// ends in a slash, as the markers of folders do.
    pub(super) fn new(directory: &Path, object_key: &ObjectKey) -> Result<Self, Stop> {
        let key = object_key.as_str();
        if key.ends_with('/') {
            return Err(Stop::Skipped("its key ends in a slash, and is none of a file".to_owned()));
        }
        let refused = |reason: &str| Stop::Refused(format!("its key can't be a file's path: {reason}"));
        if key.contains('\0') {
            return Err(refused("it contains a NUL"));
        }
        let is_name = |part: &str| {
            let mut components = Path::new(part).components();
            matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == part)
        };
        if !key.split('/').all(is_name) {
            return Err(refused("a part between slashes is empty, \".\" or \"..\""));
        }
        Ok(Self { path: directory.join(key) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier run wrote the file: it has the object's length and time.
    ///
    /// # Errors
    /// [`Stop::Refused`] if another file has the name, or a directory.
    pub(super) async fn is_done_before(&self, length: u64, object: &HeaderMap) -> Result<bool, Stop> {
        let path = self.path.clone();
        let found = blocking(move || match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        });
        let Some(found) = found.await.map_err(|error| self.failed(&error))? else { return Ok(false) };
        if found.is_dir() {
            return Err(self.is_both());
        }
        let is_equal = found.is_file() && found.len() == length && found.modified().ok() == modified(object);
        if is_equal {
            return Ok(true);
        }
        let path = self.path.display();
        Err(Stop::Refused(format!("another file, or an older copy, is {path}: nothing was overwritten")))
    }

    /// Writes the file under another name first, reads it back, and gives it its name.
    ///
    /// # Errors
    /// The body's own error, and [`Stop::Refused`] for a failure of the file system.
    pub(super) async fn store(&self, body: BoxBody, length: u64, object: &HeaderMap) -> Result<(), Stop> {
        let folder = self.path.parent().map(Path::to_owned).unwrap_or_default();
        let temporary = folder.join(format!(".s3veil-{}.part", Uuid::new_v4().simple()));
        let file = {
            let temporary = temporary.clone();
            blocking(move || {
                fs::create_dir_all(&folder)?;
                File::options().write(true).create_new(true).open(temporary)
            })
        };
        let file = file.await.map_err(|error| self.failed(&error))?;
        let stored = self.fill(file, &temporary, body, length, modified(object)).await;
        if stored.is_err() {
            let removed = blocking(move || fs::remove_file(temporary)).await;
            removed.unwrap_or_else(|error| tracing::warn!(%error, "a temporary file was not removed"));
        }
        stored
    }

    async fn fill(
        &self,
        mut file: File,
        temporary: &Path,
        body: BoxBody,
        length: u64,
        modified: Option<SystemTime>,
    ) -> Result<(), Stop> {
        let (mut body, pending) = digesting(body, CONTENT_DIGEST, &[]);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Error::from_body_error)?.into_data() else { continue };
            file = blocking(move || file.write_all(&data).map(|()| file))
                .await
                .map_err(|error| self.failed(&error))?;
        }
        let written = pending.take()?;
        let (temporary, path) = (temporary.to_owned(), self.path.clone());
        let named = blocking(move || {
            if let Some(modified) = modified {
                file.set_modified(modified)?;
            }
            file.sync_all()?;
            let mut hasher = Hasher::new(CONTENT_DIGEST);
            let mut back = File::open(&temporary)?;
            let mut buffer = vec![0; READ_BACK];
            loop {
                match back.read(&mut buffer)? {
                    0 => break,
                    read => hasher.update(&buffer[..read]),
                }
            }
            if hasher.finish() != written.value || written.length != length {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "what was read back differs"));
            }
            fs::rename(&temporary, &path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        });
        named.await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Stop {
        let is_both = matches!(
            error.kind(),
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists
        );
        if is_both { self.is_both() } else { Stop::Refused(format!("{}: {error}", self.path.display())) }
    }

    fn is_both(&self) -> Stop {
        let path = self.path.display();
        Stop::Refused(format!("{path}: its key or a part of it is the name of a file and of a directory"))
    }
}

/// The time of the object, which its file gets.
fn modified(object: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(object.get(LAST_MODIFIED)?.to_str().ok()?).ok()
}

/// Runs work that waits for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|_panicked| Err(io::ErrorKind::Interrupted.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(key: &str) -> Option<PathBuf> {
        let target = FileTarget::new(Path::new("/d"), &ObjectKey::parse(key).unwrap());
        target.ok().map(|target| target.path)
    }

    #[test]
    fn no_key_leaves_the_directory() {
        for key in
            ["..", "../x", "a/../../x", "/etc/passwd", "//x", "a//b", ".", "./a", "a/.", "a/..", "a/", "/"]
        {
            assert_eq!(path(key), None, "This is a security issue: {key}");
        }
        for key in ["a", "a/b", "..a/b..", "a b/\u{e9}", "...", "~", "a\\..\\b"] {
            assert_eq!(path(key), Some(Path::new("/d").join(key)), "{key}");
        }
    }
}
