//! The file of the audit log, and its state beside it: a lock, and the last position that is known. It must
//! not know what lines mean beyond the chain. It promises that one process writes a file, and that nothing
//! that is in a file is changed or removed.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::AuditError;
use super::chain::{Hash, Line, Position, hash};

const MODE: u32 = 0o600;

/// How much of the end of a file is searched for its last line: many lines are cut at once at most.
const SEARCHED: u64 = 1 << 20;

/// Digits of the number in the state, so that each state has one length, and overwrites the one before.
const DIGITS: usize = 20;

/// How the chain goes on in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last line of the chain.
    pub(super) position: Position,
    /// Whether the file is empty.
    pub(super) is_new: bool,
    /// Whether the chain was ended in order.
    pub(super) is_clean: bool,
    /// The hashes of what follows the last line and is none.
    pub(super) torn: Vec<Hash>,
    /// Whether the file does not end with a line break.
    pub(super) is_open: bool,
    /// The position that the file had before, if it is beyond [`Self::position`].
    pub(super) expected: Option<Position>,
}

/// An open audit log.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
    /// Bytes in the file, as far as this process knows.
    length: u64,
    state: File,
}

/// What has become of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// It is the open file's.
    Kept,
    /// The open file has become shorter.
    Shortened,
    /// It is another file's, or no file's.
    Lost,
}

impl AuditFile {
    /// Opens or makes the file at `path`, locks its state, and finds out how the chain goes on.
    ///
    /// # Errors
    /// [`AuditError`], if another process has the lock, or the file holds no chain.
    pub(super) fn open(path: &Path) -> Result<(Self, Tail), AuditError> {
        let failed = |action: &'static str| {
            let file = path.to_owned();
            move |source| AuditError::Io { file, action, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(MODE);
        let mut state = options.open(state_path(path)).map_err(failed("open its .state beside it"))?;
        state.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditError::InUse(path.to_owned()),
            TryLockError::Error(source) => failed("lock its .state beside it")(source),
        })?;
        let (file, metadata) = open(path).map_err(failed("open it"))?;
        let known = read_state(&mut state);
        let mut opened = Self {
            path: path.to_owned(),
            identity: identity(&metadata),
            file,
            length: metadata.len(),
            state,
        };
        let tail = opened.tail(known).map_err(failed("read it"))?;
        let tail = tail.ok_or_else(|| AuditError::NotAnAuditLog(path.to_owned()))?;
        Ok((opened, tail))
    }

    /// How the chain goes on after what is in the file, if the chain was at `known` before, and ended in
    /// order or not. `None` if the file holds something else.
    fn tail(&mut self, known: Option<(Position, bool)>) -> io::Result<Option<Tail>> {
        if self.length == 0 {
            let (position, is_clean) = known.unwrap_or((Position::ORIGIN, true));
            let (torn, expected) = (Vec::new(), None);
            return Ok(Some(Tail { position, is_new: true, is_clean, torn, is_open: false, expected }));
        }
        let begin = self.length.saturating_sub(SEARCHED);
        self.file.seek(SeekFrom::Start(begin))?;
        let mut end = Vec::new();
        (&self.file).take(SEARCHED).read_to_end(&mut end)?;
        let is_open = !end.ends_with(b"\n");
        let mut pieces: Vec<_> = end.split(|byte| *byte == b'\n').collect();
        if !is_open {
            pieces.pop();
        }
        if begin > 0 {
            // The first one may be the end of a line.
            pieces.remove(0);
        }
        let mut torn = Vec::new();
        for piece in pieces.into_iter().rev() {
            let Some(line) = Line::parse(piece) else {
                torn.insert(0, hash(piece));
                continue;
            };
            let is_clean = line.kind == "checkpoint" && line.remarks().reason == "end" && torn.is_empty();
            let position = line.position();
            let known = known.map(|(known, _)| known);
            let expected = known.filter(|known| known.sequence > position.sequence);
            return Ok(Some(Tail { position, is_new: false, is_clean, torn, is_open, expected }));
        }
        Ok(None)
    }

    /// What has become of the file's name.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub(super) fn look(&self) -> io::Result<Name> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) != self.identity => Ok(Name::Lost),
            Ok(metadata) if metadata.len() < self.length => Ok(Name::Shortened),
            Ok(_) => Ok(Name::Kept),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Name::Lost),
            Err(error) => Err(error),
        }
    }

    /// Takes note that the file has become shorter, and returns its length in bytes.
    pub(super) fn accept_length(&mut self) -> io::Result<u64> {
        self.length = self.file.metadata()?.len();
        Ok(self.length)
    }

    /// Opens the file of this name in place of the open one. Returns how the chain goes on there.
    ///
    /// # Errors
    /// When it can't be opened, or holds something else than the chain up to `position`. The open file stays
    /// open then.
    pub(super) fn reopen(&mut self, position: Position) -> io::Result<Tail> {
        let (file, metadata) = open(&self.path)?;
        let state = self.state.try_clone()?;
        let mut next = Self {
            path: self.path.clone(),
            identity: identity(&metadata),
            file,
            length: metadata.len(),
            state,
        };
        let tail = next.tail(Some((position, true)))?;
        let tail = tail.filter(|tail| tail.is_new || (tail.position == position && tail.torn.is_empty()));
        let other = || io::Error::new(ErrorKind::AlreadyExists, "another file has its name: move it away");
        let tail = tail.ok_or_else(other)?;
        *self = next;
        Ok(tail)
    }

    /// Writes some of `bytes` at the end, and returns their number.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.length += written as u64;
                    return Ok(written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until what was written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Keeps the position of a checkpoint beside the file. A state that can't be written is only older.
    pub(super) fn keep_state(&mut self, position: Position, is_end: bool) {
        let text = position.to_string();
        let (sequence, hash) = text.split_once(':').expect("a position has a colon");
        let end = if is_end { "end    " } else { "running" };
        let text = format!("{sequence:0>DIGITS$}:{hash} {end}\n");
        let kept = self.state.seek(SeekFrom::Start(0)).and_then(|_| self.state.write_all(text.as_bytes()));
        if let Err(error) = kept {
            tracing::debug!(%error, "the state of the audit log could not be written");
        }
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// `audit.jsonl.state` for `audit.jsonl`: a file of its own, since the log may be renamed.
fn state_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".state");
    name.into()
}

/// The position in the state, and whether the chain was ended in order there.
fn read_state(state: &mut File) -> Option<(Position, bool)> {
    let mut text = String::new();
    state.take(256).read_to_string(&mut text).ok()?;
    let (position, end) = text.trim_end().split_once(' ')?;
    Some((position.parse().ok()?, end == "end"))
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // A pipe without a reader would block.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
