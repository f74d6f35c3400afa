//! Writes one file of a report, row by row.
//! It must not know what rows hold.
//! It promises that the file has its name only once it has ended; what a killed process leaves behind has
//! another name (`….partial`), or is an upload that was not completed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use bytes::Bytes;

use super::place::{Place, partial_name};
use crate::job::error::JobError;
use crate::job::storage::{self, Existing, PartsUpload};
use crate::s3::{BucketName, ObjectKey};
use crate::upstream::Upstreams;

const CONTENT_TYPE: &str = "text/csv";

/// Bytes of a part. Larger ones later keep a report of hundreds of GB within 10,000 parts.
const PART: usize = 8 << 20;
const LARGE_PART: usize = 64 << 20;
const SMALL_PARTS: usize = 1_000;

/// A file that is being written.
pub(super) struct Writer {
    target: Target,
    written: u64,
}

enum Target {
    File {
        writer: BufWriter<File>,
        partial: PathBuf,
        path: PathBuf,
    },
    Object {
        upstreams: Upstreams,
        bucket: BucketName,
        object_key: ObjectKey,
        buffer: Vec<u8>,
        /// Created with the first part that is full.
        upload: Option<PartsUpload>,
    },
}

impl Writer {
    pub(super) async fn create(place: &Place, name: &str) -> Result<Self, JobError> {
        let target = match place {
            Place::Directory(directory) => {
                let (path, partial) = (directory.join(name), directory.join(partial_name(name)));
                let created = File::create_new(&partial);
                let file = created.map_err(JobError::io(format!("creating {}", partial.display())))?;
                Target::File { writer: BufWriter::new(file), partial, path }
            }
            Place::Bucket { upstreams, bucket, .. } => Target::Object {
                upstreams: upstreams.clone(),
                bucket: bucket.clone(),
                object_key: place.object_key(name)?,
                buffer: Vec::new(),
                upload: None,
            },
        };
        Ok(Self { target, written: 0 })
    }

    pub(super) async fn write(&mut self, row: &str) -> Result<(), JobError> {
        self.written += u64::try_from(row.len()).expect("a length fits");
        match &mut self.target {
            Target::File { writer, partial, .. } => {
                let written = writer.write_all(row.as_bytes());
                written.map_err(JobError::io(format!("writing {}", partial.display())))
            }
            Target::Object { upstreams, bucket, object_key, buffer, upload } => {
                buffer.extend_from_slice(row.as_bytes());
                let is_late = upload.as_ref().is_some_and(|upload| upload.parts() >= SMALL_PARTS);
                if buffer.len() < if is_late { LARGE_PART } else { PART } {
                    return Ok(());
                }
                let mut part = match upload.take() {
                    Some(upload) => upload,
                    None => PartsUpload::create(upstreams, bucket, object_key, CONTENT_TYPE).await?,
                };
                part.put_part(Bytes::from(std::mem::take(buffer))).await?;
                *upload = Some(part);
                Ok(())
            }
        }
    }

    /// Hands over what is buffered, as far as the place takes a part of a file.
    pub(super) async fn flush(&mut self) -> Result<(), JobError> {
        match &mut self.target {
            Target::File { writer, partial, .. } => {
                writer.flush().map_err(JobError::io(format!("writing {}", partial.display())))
            }
            Target::Object { .. } => Ok(()),
        }
    }

    /// Gives the file its name; the bytes that it has.
    pub(super) async fn end(self) -> Result<u64, JobError> {
        match self.target {
            Target::File { writer, partial, path } => {
                let writing = || JobError::io(format!("writing {}", path.display()));
                let file = writer.into_inner().map_err(|error| writing()(error.into_error()))?;
                file.sync_all().map_err(writing())?;
                std::fs::rename(&partial, &path).map_err(writing())?;
            }
            Target::Object { upstreams, bucket, object_key, buffer, upload } => match upload {
                None => {
                    let content = (CONTENT_TYPE, buffer.into());
                    storage::put(&upstreams, &bucket, &object_key, content, Existing::Replaced).await?;
                }
                Some(mut upload) => {
                    if !buffer.is_empty() {
                        upload.put_part(buffer.into()).await?;
                    }
                    upload.complete().await?;
                }
            },
        }
        Ok(self.written)
    }
}
