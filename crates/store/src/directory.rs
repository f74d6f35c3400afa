//! The store's directory: where files are, and what two requests may not do concurrently.
//!
//! ```text <bucket>/<encoded key>                  an object, see `record` .uploads/<bucket>/<upload
//! id>/upload    the record of CreateMultipartUpload .uploads/<bucket>/<upload id>/<number>  a part, a file
//! like an object's .temporary/                             what is being written or removed; swept at the
//! start .locks/                                 empty files ``` Everything is written under `.temporary` and
//! renamed to its place, and never changed there. Bucket names do not begin with a dot, and no part of a path
//! is the client's except a checked bucket name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crc_fast::{CrcAlgorithm, checksum};
use s3s::path::check_bucket_name;
use s3s::{S3Error, S3Result, s3_error};
use uuid::Uuid;

use super::names::StoredName;
use super::record::{Record, StoredFile};
use super::{MessageOf, Settings};

const UPLOADS: &str = ".uploads";
const TEMPORARY: &str = ".temporary";
const LOCKS: &str = ".locks";

/// How many locks there are. One is held while a name is looked at and changed, for microseconds: with this
/// number, unrelated requests seldom meet.
const LOCK_COUNT: u64 = 16;

/// The open directory.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    locks: Vec<Mutex<File>>,
    /// Locked, shared, while the directory is in use.
    _in_use: File,
    /// Locked while the directory is this store's alone.
    _owned: Option<File>,
    disk: Disk,
    message_of: MessageOf,
}

/// Whether writes wait for the disk (fsync).
#[derive(Debug, Clone)]
pub(super) struct Disk {
    sync: bool,
    #[cfg(test)]
    synced: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Disk {
    fn new(sync: bool) -> Self {
        Self {
            sync,
            #[cfg(test)]
            synced: std::sync::Arc::default(),
        }
    }

    /// Returns once a file's content, or a directory's entries, are on disk.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        if !self.sync {
            return Ok(());
        }
        #[cfg(test)]
        self.synced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        file.sync_all()
    }

    /// [`Self::sync`] for a directory. A missing directory has no entries to keep.
    pub(super) fn sync_directory(&self, path: &Path) -> io::Result<()> {
        if !self.sync {
            return Ok(());
        }
        match File::open(path) {
            Ok(opened) => self.sync(&opened),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// [`Self::sync_directory`] for the directory that `path` is in.
    pub(super) fn sync_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            // A relative path of one name is in the working directory.
            Some(parent) if parent.as_os_str().is_empty() => self.sync_directory(Path::new(".")),
            Some(parent) => self.sync_directory(parent),
            None => Ok(()),
        }
    }
}

impl Directory {
    /// Opens `root`, which is created if missing. Half-written files of an earlier process are removed,
    /// unless another process (or another store of this process) has the directory open.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceBusy`] when `settings` want the directory exclusively, and another store
    /// has it so.
    pub(super) fn open(root: &Path, settings: Settings) -> io::Result<Self> {
        let disk = Disk::new(settings.sync);
        create(root, &disk)?;
        let lock_file = |name: &str| {
            let path = root.join(LOCKS).join(name);
            OpenOptions::new().create(true).truncate(false).write(true).open(path)
        };
        let owned = if settings.exclusive { Some(lock_alone(lock_file("owned")?)?) } else { None };
        let in_use = lock_file("in-use")?;
        match in_use.try_lock() {
            Ok(()) => {
                sweep(&root.join(TEMPORARY))?;
                in_use.unlock()?;
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        in_use.lock_shared()?;
        let locks = (0..LOCK_COUNT).map(|number| lock_file(&number.to_string()).map(Mutex::new));
        Ok(Self {
            root: root.to_owned(),
            locks: locks.collect::<io::Result<_>>()?,
            _in_use: in_use,
            _owned: owned,
            disk,
            message_of: settings.message,
        })
    }

    /// How writes wait for the disk.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The messages of errors, by code.
    pub(super) fn message_of(&self) -> MessageOf {
        self.message_of
    }

    /// The directory of all buckets.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Every directory with the name of a bucket.
    pub(super) fn buckets(&self) -> S3Result<Vec<(String, fs::Metadata)>> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata().map_err(failed)?;
            if check_bucket_name(&name) && metadata.is_dir() {
                buckets.push((name, metadata));
            }
        }
        buckets.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(buckets)
    }

    /// The path of a bucket, which need not exist.
    pub(super) fn bucket_path(&self, bucket: &str) -> S3Result<PathBuf> {
        if check_bucket_name(bucket) { Ok(self.root.join(bucket)) } else { Err(s3_error!(InvalidBucketName)) }
    }

    /// The path of a bucket that exists.
    pub(super) fn bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        let path = self.bucket_path(bucket)?;
        if path.is_dir() { Ok(path) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// The path of a bucket's uploads, which need not exist.
    pub(super) fn uploads(&self, bucket: &str) -> S3Result<PathBuf> {
        self.bucket_path(bucket)?;
        Ok(self.root.join(UPLOADS).join(bucket))
    }

    /// Opens an object.
    pub(super) fn object(&self, bucket: &str, object: &str) -> S3Result<StoredFile> {
        let path = self.bucket_path(bucket)?.join(StoredName::new(object).as_str());
        match StoredFile::open(&path).map_err(failed)? {
            Some(stored) if stored.record.key == object => Ok(stored),
            Some(_) => Err(s3_error!(NoSuchKey)),
            None => {
                self.bucket(bucket)?;
                Err(s3_error!(NoSuchKey))
            }
        }
    }

    /// Locks an object's key, which is needed to change the object.
    pub(super) fn lock_key<'a>(&'a self, bucket: &str, object: &'a str) -> S3Result<KeyLock<'a>> {
        let name = StoredName::new(object);
        let path = self.bucket(bucket)?.join(name.as_str());
        // From the file name, which is equal in every process.
        let number = checksum(CrcAlgorithm::Crc64Nvme, name.as_str().as_bytes()) % LOCK_COUNT;
        let lock = &self.locks[usize::try_from(number).expect("a number below LOCK_COUNT")];
        let lock = lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.lock().map_err(failed)?;
        Ok(KeyLock { path, object, lock, disk: &self.disk })
    }

    /// Creates a temporary file.
    pub(super) fn temp_file(&self) -> S3Result<TempFile> {
        let path = self.temporary_path();
        let file = OpenOptions::new().create_new(true).write(true).open(&path).map_err(failed)?;
        Ok(TempFile { path, file, size: 0, is_kept: false, disk: self.disk.clone() })
    }

    /// An unused path.
    pub(super) fn temporary_path(&self) -> PathBuf {
        self.root.join(TEMPORARY).join(Uuid::new_v4().simple().to_string())
    }

    /// Removes a directory with all its entries, atomically. `None` if it is missing.
    pub(super) fn remove_dir(&self, path: &Path) -> S3Result<Option<RemovedDir>> {
        let removed = RemovedDir(self.temporary_path());
        match fs::rename(path, &removed.0) {
            Ok(()) => {
                self.disk.sync_parent(path).map_err(failed)?;
                Ok(Some(removed))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Creates the directories of the store that are missing. Their entries are on disk before anything is stored
/// in them.
fn create(root: &Path, disk: &Disk) -> io::Result<()> {
    let missing: Vec<_> =
        root.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    for folder in [LOCKS, UPLOADS, TEMPORARY] {
        fs::create_dir_all(root.join(folder))?;
    }
    disk.sync_directory(root)?;
    missing.into_iter().try_for_each(|made| disk.sync_parent(made))
}

fn lock_alone(lock: File) -> io::Result<File> {
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            ErrorKind::ResourceBusy,
            "another s3veil serves this directory: stop that one, name another directory in upstream.endpoint, or set \
             upstream.embedded_shared = true in both",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn sweep(temporary: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temporary)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

/// The lock of an object's key: one request of one process has it at a time.
pub(super) struct KeyLock<'a> {
    path: PathBuf,
    object: &'a str,
    lock: MutexGuard<'a, File>,
    disk: &'a Disk,
}

impl KeyLock<'_> {
    /// The object's record, if there is an object.
    pub(super) fn record(&self) -> S3Result<Option<Record>> {
        let stored = StoredFile::open(&self.path).map_err(failed)?;
        Ok(stored.map(|stored| stored.record).filter(|record| record.key == self.object))
    }

    /// Makes a finished file the object, in place of an earlier one.
    pub(super) fn put(&self, temp_file: TempFile) -> S3Result<()> {
        self.check_key()?;
        temp_file.rename_to(&self.path, || s3_error!(NoSuchBucket))
    }

    /// Removes the object, if there is one.
    pub(super) fn remove(&self) -> S3Result<()> {
        self.check_key()?;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            Ok(()) => self.disk.sync_parent(&self.path).map_err(failed),
            Err(_) => Ok(()),
        }
    }

    /// On a file system where `A` and `a` are one name, one object must not replace the other.
    fn check_key(&self) -> S3Result<()> {
        match StoredFile::open(&self.path) {
            Ok(Some(stored)) if stored.record.key != self.object => {
                Err(s3_error!(InternalError, "the file system has one name for this key and another"))
            }
            // A damaged object may be replaced and removed.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Drop for KeyLock<'_> {
    fn drop(&mut self) {
        // The file is closed, and so unlocked, only when the store is dropped.
        let _ = self.lock.unlock();
    }
}

/// A directory that was moved away, deleted when this value is dropped: ten thousand parts take their time.
pub(super) struct RemovedDir(PathBuf);

impl Drop for RemovedDir {
    fn drop(&mut self) {
        // A directory that can't be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file being written, removed when this value is dropped, unless the file was renamed to its final path.
#[derive(Debug)]
pub(super) struct TempFile {
    path: PathBuf,
    pub(super) file: File,
    /// Bytes of content so far.
    pub(super) size: u64,
    is_kept: bool,
    disk: Disk,
}

impl TempFile {
    /// Appends the bytes `range` of another file, within the kernel where possible.
    pub(super) fn append(&mut self, from: &mut File, range: Range<u64>) -> io::Result<()> {
        let length = range.end - range.start;
        from.seek(SeekFrom::Start(range.start))?;
        let copied = io::copy(&mut io::Read::take(from, length), &mut self.file)?;
        self.size += copied;
        if copied == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// Appends the record, which makes the file one of an object or a part.
    pub(super) fn finish(&mut self, record: &Record) -> S3Result<()> {
        record.append_to(&mut self.file).and_then(|()| self.disk.sync(&self.file)).map_err(failed)
    }

    /// Renames the file to its final path. `gone` makes the error for a missing directory.
    pub(super) fn rename_to(mut self, path: &Path, gone: impl FnOnce() -> S3Error) -> S3Result<()> {
        match fs::rename(&self.path, path) {
            Ok(()) => {
                self.is_kept = true;
                self.disk.sync_parent(path).map_err(failed)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(gone()),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // A directory that can't be removed now is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The S3 error for a failure of the disk, which is logged.
pub(super) fn failed(error: io::Error) -> S3Error {
    tracing::warn!(%error, "the embedded store");
    s3_error!(error, InternalError, "the store's disk failed")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn settings(sync: bool, exclusive: bool) -> Settings {
        Settings { sync, exclusive, message: |_| None }
    }

    #[test]
    fn a_directory_wanted_alone_is_refused_while_another_store_has_it() {
        let root = tempfile::tempdir().unwrap();
        let first = Directory::open(root.path(), settings(false, true)).unwrap();
        let refused = Directory::open(root.path(), settings(false, true)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
        assert!(refused.to_string().contains("upstream.embedded_shared"), "{refused}");
        Directory::open(root.path(), settings(false, false)).expect("a command looks at it meanwhile");
        drop(first);
        Directory::open(root.path(), settings(false, true)).expect("it is free again");
    }

    /// The root, the two directories above it that are new, and the one above those.
    #[test]
    fn the_entry_of_a_new_root_is_on_disk() {
        for (sync, counts) in [(true, [3, 1]), (false, [0, 0])] {
            let above = tempfile::tempdir().unwrap();
            let root = above.path().join("new/store");
            for count in counts {
                let directory = Directory::open(&root, settings(sync, false)).unwrap();
                assert_eq!(directory.disk.synced.load(Ordering::Relaxed), count);
            }
        }
    }

    #[test]
    fn a_relative_path_of_one_name_is_in_the_working_directory() {
        let disk = Disk::new(true);
        disk.sync_parent(Path::new("data")).unwrap();
        assert_eq!(disk.synced.load(Ordering::Relaxed), 1);
    }

    /// The file, and then the directory that it is in.
    #[test]
    fn what_is_acknowledged_is_on_disk() {
        for (sync, count) in [(true, 2), (false, 0)] {
            let root = tempfile::tempdir().unwrap();
            let directory = Directory::open(root.path(), settings(sync, false)).unwrap();
            fs::create_dir(root.path().join("demo")).unwrap();
            let synced = || directory.disk.synced.swap(0, Ordering::Relaxed);
            assert_eq!(synced(), count / 2, "the root's entries");
            let record = Record {
                key: "k".to_owned(),
                size: 0,
                etag: "e".to_owned(),
                modified: super::super::record::now(),
                attributes: Default::default(),
                checksums: Default::default(),
                parts: Vec::new(),
                upload_id: None,
            };
            let mut temp_file = directory.temp_file().unwrap();
            temp_file.finish(&record).unwrap();
            let lock = directory.lock_key("demo", "k").unwrap();
            lock.put(temp_file).unwrap();
            assert_eq!(synced(), count, "put");
            lock.remove().unwrap();
            assert_eq!(synced(), count / 2, "remove");
        }
    }
}
