//! The bytes of a manifest: from a file, standard input, or an object; decompressed where they are gzip.
//! It must not know what the bytes mean.
//! It promises that a compressed stream that is cut or altered is an error, and that little is held at once.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::body::BoxBody;
use crate::error::with_causes;
use crate::job::error::JobError;
use crate::job::storage;
use crate::object::range::RequestedRange;
use crate::object::read::{ReadRequest, open_object};
use crate::s3::{BucketName, ObjectKey};
use crate::upload::Resources;
use crate::wire::header::name;
use crate::wire::hex;

/// Bytes of a file that are read at once.
const PIECE: usize = 64 * 1024;

/// Compressed bytes that are decompressed at once: to at most about 1,000 times as many.
const COMPRESSED_PIECE: usize = 2 * 1024;

/// The first bytes of a gzip member (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

enum Source {
    File(File),
    Object(BoxBody),
}

/// The bytes of one file of an input.
pub(in crate::job) struct Bytestream {
    /// What errors call it: a path, or `s3://BUCKET/KEY`.
    name: String,
    source: Source,
    /// Read and not yet given out.
    held: Bytes,
    is_first: bool,
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    /// The hash of the bytes as they are stored, and what it has to be.
    md5: Option<(Md5, String)>,
    is_done: bool,
}

impl Bytestream {
    /// Opens a file; `-` is standard input.
    pub(in crate::job) async fn open_file(path: &Path) -> Result<Self, JobError> {
        let reading = || JobError::io(format!("reading {}", path.display()));
        if path == Path::new("-") {
            let input = io::stdin().as_fd().try_clone_to_owned().map_err(reading())?;
            return Ok(Self::new("standard input", Source::File(File::from_std(input.into()))));
        }
        let file = File::open(path).await.map_err(reading())?;
        let is_directory = file.metadata().await.map_err(reading())?.is_dir();
        if is_directory {
            return Err(JobError::Invalid(format!("{} is a directory: name a file", path.display())));
        }
        Ok(Self::new(&path.display().to_string(), Source::File(file)))
    }

    /// Opens an object. What was written through the proxy is decrypted and authenticated; anything else is
    /// read as it is stored.
    pub(in crate::job) async fn open_object(
        resources: &Resources,
        bucket: &BucketName,
        object_key: &ObjectKey,
    ) -> Result<Self, JobError> {
        let name = format!("s3://{bucket}/{object_key}");
        let response = storage::get(&resources.upstreams, bucket, object_key).await?;
        let response = response.ok_or_else(|| JobError::Invalid(format!("{name} does not exist")))?;
        let headers = response.headers();
        let is_ours =
            headers.contains_key(&name::ENCRYPTION_ENVELOPE) || headers.contains_key(&name::ENCRYPTION_KEY);
        if !is_ours {
            return Ok(Self::new(&name, Source::Object(response.into_body())));
        }
        drop(response);
        let read = ReadRequest {
            bucket,
            object_key,
            wanted: RequestedRange::Whole,
            query: Vec::new(),
            headers: http::HeaderMap::new(),
            needs_checksum: false,
            if_range: None,
            customer_key: None,
        };
        let opened = open_object(resources, read).await;
        let opened =
            opened.map_err(|error| JobError::Unavailable(format!("{name}: {}", with_causes(&error))))?;
        Ok(Self::new(&name, Source::Object(opened.body)))
    }

    fn new(name: &str, source: Source) -> Self {
        Self {
            name: name.to_owned(),
            source,
            held: Bytes::new(),
            is_first: true,
            decoder: None,
            md5: None,
            is_done: false,
        }
    }

    /// Compares the MD5 of the stored bytes with this one, in hexadecimal, at their end.
    pub(in crate::job) fn with_md5(mut self, expected: &str) -> Self {
        self.md5 = Some((Md5::new(), expected.to_ascii_lowercase()));
        self
    }

    /// What errors call the file.
    pub(in crate::job) fn name(&self) -> &str {
        &self.name
    }

    /// The next bytes, decompressed, never empty; `None` after the last.
    ///
    /// # Errors
    /// [`JobError::NotAuthentic`] for a cut or altered file.
    pub(in crate::job) async fn next(&mut self) -> Result<Option<Vec<u8>>, JobError> {
        loop {
            if self.held.is_empty() && !self.is_done {
                match self.read().await? {
                    Some(bytes) => self.accept(bytes),
                    None => {
                        self.is_done = true;
                        return self.finish();
                    }
                }
                continue;
            }
            if self.is_done {
                return Ok(None);
            }
            let Some(decoder) = &mut self.decoder else {
                return Ok(Some(std::mem::take(&mut self.held).into()));
            };
            let piece = self.held.split_to(self.held.len().min(COMPRESSED_PIECE));
            let decoded = decoder.write_all(&piece);
            let output = std::mem::take(decoder.get_mut());
            decoded.map_err(|error| self.damaged(&error.to_string()))?;
            if !output.is_empty() {
                return Ok(Some(output));
            }
        }
    }

    /// All bytes, at most `limit`.
    pub(in crate::job) async fn read_all(mut self, limit: usize) -> Result<Vec<u8>, JobError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await? {
            if bytes.len() > limit - whole.len() {
                return Err(JobError::Invalid(format!("{} exceeds {limit} bytes", self.name)));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }

    fn accept(&mut self, bytes: Bytes) {
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(&bytes);
        }
        if std::mem::take(&mut self.is_first) && bytes.starts_with(&GZIP_MAGIC) {
            self.decoder = Some(MultiGzDecoder::new(Vec::new()));
        }
        self.held = bytes;
    }

    fn finish(&mut self) -> Result<Option<Vec<u8>>, JobError> {
        if let Some((md5, expected)) = self.md5.take() {
            let found = hex::encode(&md5.finalize());
            if found != expected {
                return Err(self.damaged(&format!("its MD5 is {found}, and the manifest has {expected}")));
            }
        }
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        let finished = decoder.try_finish();
        let output = std::mem::take(decoder.get_mut());
        finished.map_err(|error| self.damaged(&error.to_string()))?;
        Ok(Some(output).filter(|output| !output.is_empty()))
    }

    fn damaged(&self, problem: &str) -> JobError {
        JobError::NotAuthentic(format!("{} is damaged: {problem}", self.name))
    }

    async fn read(&mut self) -> Result<Option<Bytes>, JobError> {
        match &mut self.source {
            Source::File(file) => {
                let mut buffer = bytes::BytesMut::with_capacity(PIECE);
                let read = file.read_buf(&mut buffer).await;
                read.map_err(JobError::io(format!("reading {}", self.name)))?;
                Ok(Some(buffer.freeze()).filter(|bytes| !bytes.is_empty()))
            }
            Source::Object(body) => loop {
                let Some(frame) = body.frame().await else { return Ok(None) };
                let frame = frame.map_err(|error| {
                    JobError::Unavailable(format!("reading {}: {}", self.name, with_causes(&*error)))
                })?;
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            },
        }
    }
}
