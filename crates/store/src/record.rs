//! An object's file: its content, and behind it one line of JSON, the record, with everything else S3 keeps
//! of it.
//!
//! So content and metadata become visible together, by one rename, and the content is where a person looks
//! for it: `tail -n 1` shows the record, `head -c SIZE` the content. JSON has no newline outside its own
//! escapes, so the last line is found from the end without a length.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use s3s::dto::{ETag, Timestamp};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::digest::Checksums;

/// Bytes of a file's end that are read first: the whole record of an object with all of S3's 2 KiB of
/// metadata.
const FIRST_LOOK: u64 = 4096;

/// The maximum bytes of a record: 10,000 parts of 60 bytes each, and S3's limits to everything else, fit a
/// quarter.
const MAX_RECORD: u64 = 4 << 20;

/// What S3 keeps of an object besides its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The object's key: its file's name may be a hash of it.
    pub(super) key: String,
    /// The content's bytes.
    pub(super) size: u64,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) modified: Timestamp,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub(super) attributes: Attributes,
    /// Of the whole content, in base64.
    #[serde(default)]
    pub(super) checksums: Checksums,
    /// The parts in ascending order; empty unless the object was a multipart upload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<PartRecord>,
    /// The upload that became the object, by which a repeated CompleteMultipartUpload is recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload_id: Option<String>,
}

/// A part of a completed upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PartRecord {
    pub(super) number: i32,
    pub(super) size: u64,
}

/// What the client sets with an object, and gets back with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) website_redirect_location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storage_class: Option<String>,
    /// `x-amz-meta-*`, without that prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
}

impl Attributes {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Record {
    pub(super) fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    /// Writes the record behind the content, at the position of `file`.
    pub(super) fn append_to(&self, file: &mut File) -> io::Result<()> {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, self)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Reads the record at the end of `file`, and makes sure that the content before it is as long as it
    /// says.
    fn read_from(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut look = FIRST_LOOK;
        loop {
            let start = length.saturating_sub(look);
            file.seek(SeekFrom::Start(start))?;
            let mut end = Vec::with_capacity(look.min(length) as usize);
            file.take(look).read_to_end(&mut end)?;
            let Some(line) = end.strip_suffix(b"\n") else { return Err(damaged("no record at its end")) };
            if let Some(newline) = line.iter().rposition(|byte| *byte == b'\n') {
                let record: Self = serde_json::from_slice(&line[newline + 1..])
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                let is_whole = record.size == start + newline as u64;
                return if is_whole { Ok(record) } else { Err(damaged("content of another length")) };
            }
            if start == 0 || look >= MAX_RECORD {
                return Err(damaged("no record at its end"));
            }
            look = (look * 16).min(MAX_RECORD);
        }
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// The current time, with the precision of listings.
pub(super) fn now() -> Timestamp {
    let now = OffsetDateTime::from(SystemTime::now());
    let precise = now.replace_millisecond(now.millisecond()).expect("a millisecond is in its range");
    precise.into()
}

/// An open object or part: renaming or removing it has no effect on a reader.
#[derive(Debug)]
pub(super) struct StoredFile {
    pub(super) file: File,
    pub(super) record: Record,
}

impl StoredFile {
    /// `None` when there is no such file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the file is not one of this store.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let record = Record::read_from(&mut file)?;
        Ok(Some(Self { file, record }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: u64, metadata: &str) -> Record {
        let metadata = BTreeMap::from([("name".to_owned(), metadata.to_owned())]);
        Record {
            key: "a/b\n".to_owned(),
            size,
            etag: "e".to_owned(),
            modified: now(),
            attributes: Attributes { metadata, ..Attributes::default() },
            checksums: Checksums::default(),
            parts: Vec::new(),
            upload_id: None,
        }
    }

    fn stored(content: &[u8], record: &Record) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = File::create(&path).unwrap();
        file.write_all(content).unwrap();
        record.append_to(&mut file).unwrap();
        (directory, path)
    }

    #[test]
    fn content_of_any_bytes_and_records_of_any_length_are_told_apart() {
        for content in [&b""[..], b"\n", b"\n\n{}\n", b"{\"key\":1}\n", &[b'x'; 5000]] {
            for length in [0, 1, 3800, 3900, 4000, 4100, 70_000, 1_100_000] {
                let record = record(content.len() as u64, &"\n".repeat(length / 2));
                let (_directory, path) = stored(content, &record);
                let mut opened = StoredFile::open(&path).unwrap().unwrap();
                assert_eq!(opened.record, record);
                opened.file.rewind().unwrap();
                let mut read = Vec::new();
                opened.file.take(record.size).read_to_end(&mut read).unwrap();
                assert_eq!(read, content);
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_or_grew_is_no_object() {
        let (_directory, path) = stored(b"content", &record(7, "x"));
        let whole = std::fs::read(&path).unwrap();
        let lengths = (0..whole.len()).map(|length| whole[..length].to_vec());
        let changed = [[b"x", &whole[..]].concat(), [&whole[..], b"x"].concat(), whole[1..].to_vec()];
        for bytes in lengths.chain(changed) {
            std::fs::write(&path, &bytes).unwrap();
            let error = StoredFile::open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{} bytes", bytes.len());
        }
        assert!(StoredFile::open(&path.with_extension("missing")).unwrap().is_none());
    }
}
