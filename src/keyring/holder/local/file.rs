//! The local keyring's file, in TOML. It must not know what a wrapping key wraps. It promises to refuse an
//! invalid file and one that other users can read, to write atomically with mode 0600, and never to show a
//! secret in an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{MAX_LOCAL_KEY_ID_LEN, WrappingKey};
use crate::envelope::fill_random;
use crate::keyring::{KeyId, KeyringSetupError};

const FILE_VERSION: u32 = 1;
/// Maximum size of a keyring's file in bytes: about six thousand keys, a rotation a day for sixteen years.
const MAX_FILE_LEN: u64 = 1 << 20;
const HEADER: &str = "\
# s3veil keyring. Every reader of this file can read every object written under its keys. Without this file those
# objects are lost: keep its mode 0600, and a backup in a safe place. Never remove a key that objects still need.
";

/// The content of a valid keyring file.
#[derive(Debug)]
pub(super) struct Stored {
    /// All keys, of which exactly one is current.
    pub(super) keys: Vec<StoredKey>,
}

#[derive(Debug)]
pub(super) struct StoredKey {
    pub(super) id: KeyId,
    pub(super) current: bool,
    created: OffsetDateTime,
    pub(super) secret: WrappingKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    current: String,
    key: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    id: String,
    created: String,
    secret: SecretText,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct SecretText(String);

/// Atomically writes a new keyring file with one new key and mode 0600, and returns the key's id. Creates
/// missing parent directories.
///
/// ```toml
/// version = 1
/// current = "local-6f1c0e6b8a24d957"        # the key that writes; every key below reads
/// [[key]]
/// id = "local-6f1c0e6b8a24d957"             # 1 to 64 of A-Z a-z 0-9 . _ -
/// created = "2026-01-31T12:00:00Z"          # RFC 3339
/// secret = "base64 of 32 random bytes, with padding"
/// ```
/// A reader refuses another version, unknown fields, a repeated id, a `current` that is no key of the file, a
/// secret that is not 32 bytes or is all zeros, and a file that users other than its owner may access.
///
/// # Errors
/// [`KeyringSetupError::Exists`] if the file exists; otherwise the failed step and its I/O error.
pub fn generate(file: &Path) -> Result<KeyId, KeyringSetupError> {
    if file.try_exists().map_err(io_error(file, "look for it"))? {
        return Err(KeyringSetupError::Exists(file.to_owned()));
    }
    let directory = directory_of(file);
    fs::create_dir_all(directory).map_err(io_error(directory, "create it"))?;
    let fresh = StoredKey::fresh();
    let id = fresh.id.clone();
    let staged = beside(file, &format!(".{}.new", id.as_str()));
    write_new(&staged, &Stored { keys: vec![fresh] })
        .map_err(io_error(directory, "write a keyring there"))?;
    // A hard link, unlike a rename, never replaces a file that another process created meanwhile.
    let linked = fs::hard_link(&staged, file);
    let removed = fs::remove_file(&staged);
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyringSetupError::Exists(file.to_owned()));
        }
        Err(error) => return Err(io_error(file, "put it in place")(error)),
    }
    removed.map_err(io_error(&staged, "remove it"))?;
    sync_directory(directory)?;
    Ok(id)
}

/// Adds a new key to a keyring, makes it current, and returns its id. The older keys stay, for reading. A
/// running proxy continues with the keys that it has read until it is restarted.
///
/// # Errors
/// The failed step of reading or writing; the file is then unchanged.
pub fn rotate(file: &Path) -> Result<KeyId, KeyringSetupError> {
    let lock = beside(file, ".lock");
    let mut staged = match create_private(&lock) {
        Ok(staged) => staged,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyringSetupError::Locked(lock));
        }
        // With a missing directory, the error of reading the keyring is clearer than that of its lock.
        Err(error) => return read(file).and_then(|_| Err(io_error(&lock, "create it")(error))),
    };
    let rotated = read(file).and_then(|mut stored| {
        for older in &mut stored.keys {
            older.current = false;
        }
        let fresh = StoredKey::fresh();
        let id = fresh.id.clone();
        stored.keys.push(fresh);
        write_whole(&mut staged, &stored).map_err(io_error(&lock, "write it"))?;
        fs::rename(&lock, file).map_err(io_error(file, "replace it"))?;
        Ok(id)
    });
    match rotated {
        Ok(id) => sync_directory(directory_of(file)).map(|()| id),
        Err(error) => {
            fs::remove_file(&lock).map_err(io_error(&lock, "remove it"))?;
            Err(error)
        }
    }
}

/// Reads a keyring's file. Refuses an invalid file, and one that other users may access.
pub(super) fn read(file: &Path) -> Result<Stored, KeyringSetupError> {
    let opened = File::open(file).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return KeyringSetupError::Missing(file.to_owned());
        }
        io_error(file, "open it")(error)
    })?;
    if opened.metadata().map_err(io_error(file, "look at it"))?.is_dir() {
        return Err(io_error(file, "read it")(io::ErrorKind::IsADirectory.into()));
    }
    refuse_if_open_to_others(file, &opened)?;
    let mut text = Zeroizing::new(String::new());
    // Allocated once: growing would leave copies of the secrets in freed memory.
    text.reserve_exact(MAX_FILE_LEN as usize + 1);
    let len = match opened.take(MAX_FILE_LEN + 1).read_to_string(&mut text) {
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let problem = "it is not UTF-8 text".to_owned();
            return Err(KeyringSetupError::Invalid { file: file.to_owned(), line: None, problem });
        }
        Err(error) => return Err(io_error(file, "read it")(error)),
    };
    if len as u64 > MAX_FILE_LEN {
        return Err(KeyringSetupError::TooLarge { file: file.to_owned(), limit: MAX_FILE_LEN });
    }
    let parsed = Stored::parse(&text);
    parsed.map_err(|(line, problem)| KeyringSetupError::Invalid { file: file.to_owned(), line, problem })
}

/// Parses the text of a keyring's file and serializes the result; `None` if the text is invalid.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn reserialize(text: &str) -> Option<Zeroizing<String>> {
    Stored::parse(text).ok().map(|stored| stored.write())
}

impl Stored {
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let invalid = |problem: String| (None, problem);
        // Only the error's message: its Display quotes the line, which may hold a secret.
        let FileText { version, current, key } = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            (line, error.message().to_owned())
        })?;
        if version != FILE_VERSION {
            return Err(invalid(format!("unknown version {version}: this s3veil reads version 1")));
        }
        let mut keys = Vec::<StoredKey>::with_capacity(key.len());
        for key_text in key {
            let stored = key_text.parse(&current).map_err(invalid)?;
            if keys.iter().any(|earlier| earlier.id == stored.id) {
                return Err(invalid(format!("two keys have the id {:?}", stored.id.as_str())));
            }
            keys.push(stored);
        }
        if !keys.iter().any(|stored| stored.current) {
            return Err(invalid(format!("invalid current = {current:?}: no key of this file has that id")));
        }
        Ok(Self { keys })
    }

    fn write(&self) -> Zeroizing<String> {
        // Allocated once, since growing would leave copies of the secrets in freed memory; a key takes about
        // 160 bytes.
        let mut text = Zeroizing::new(String::with_capacity(HEADER.len() + 256 * (1 + self.keys.len())));
        let current = self.keys.iter().find(|stored| stored.current).expect("a key of a keyring is current");
        text.push_str(HEADER);
        text.push_str(&format!("version = {FILE_VERSION}\ncurrent = \"{}\"\n", current.id));
        for stored in &self.keys {
            let created = stored.created.format(&Rfc3339).expect("it was RFC 3339, or now");
            let id = &stored.id;
            text.push_str(&format!("\n[[key]]\nid = \"{id}\"\ncreated = \"{created}\"\nsecret = \""));
            STANDARD.encode_string(stored.secret.0, &mut text);
            text.push_str("\"\n");
        }
        text
    }
}

impl StoredKey {
    fn fresh() -> Self {
        let mut random_id = [0; 8];
        fill_random(&mut random_id);
        let id = KeyId::parse(&format!("local-{:016x}", u64::from_be_bytes(random_id)));
        let mut secret = WrappingKey([0; 32]);
        fill_random(&mut secret.0);
        Self {
            id: id.expect("hexadecimal digits are visible ASCII"),
            current: true,
            created: OffsetDateTime::now_utc().replace_nanosecond(0).expect("0 is a nanosecond"),
            secret,
        }
    }
}

impl KeyText {
    fn parse(self, current: &str) -> Result<StoredKey, String> {
        let Self { id, created, secret } = self;
        let key_problem = |problem: &str| format!("key {id:?}: {problem}");
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let key_id = KeyId::parse(&id)
            .ok()
            .filter(|_| plain && id.len() <= MAX_LOCAL_KEY_ID_LEN)
            .ok_or_else(|| key_problem("an id is 1 to 64 of A-Z a-z 0-9 . _ -"))?;
        let created = OffsetDateTime::parse(&created, &Rfc3339).map_err(|_| {
            key_problem("invalid created: requires an RFC 3339 time like \"2026-01-31T12:00:00Z\"")
        })?;
        let bytes = Zeroizing::new(STANDARD.decode(&secret.0).unwrap_or_default());
        let secret = <[u8; 32]>::try_from(bytes.as_slice())
            .map(WrappingKey)
            .map_err(|_| key_problem("invalid secret: requires the base64 of 32 bytes"))?;
        if secret.0 == [0; 32] {
            return Err(key_problem("invalid secret: all zeros, which protects nothing"));
        }
        Ok(StoredKey { current: id == current, id: key_id, created, secret })
    }
}

fn write_new(staged: &Path, stored: &Stored) -> io::Result<()> {
    let mut opened = create_private(staged)?;
    write_whole(&mut opened, stored).inspect_err(|_| {
        // The first error is returned; a leftover file holds a key that no object has used.
        let _ = fs::remove_file(staged);
    })
}

fn write_whole(opened: &mut File, stored: &Stored) -> io::Result<()> {
    opened.write_all(stored.write().as_bytes())?;
    opened.sync_all()
}

fn create_private(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

#[cfg(unix)]
fn refuse_if_open_to_others(file: &Path, opened: &File) -> Result<(), KeyringSetupError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = opened.metadata().map_err(io_error(file, "look at it"))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyringSetupError::TooOpen { file: file.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_open_to_others(_: &Path, _: &File) -> Result<(), KeyringSetupError> {
    Ok(())
}

/// The directory entry of a new file is durable only after the directory itself is synced.
fn sync_directory(directory: &Path) -> Result<(), KeyringSetupError> {
    if cfg!(unix) {
        File::open(directory).and_then(|opened| opened.sync_all()).map_err(io_error(directory, "sync it"))?;
    }
    Ok(())
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(file: &Path, action: &'static str) -> impl Fn(io::Error) -> KeyringSetupError {
    move |error| KeyringSetupError::Io { file: file.to_owned(), action, kind: error.kind() }
}
