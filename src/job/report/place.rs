//! Where reports are: in a directory, or in a bucket, in plaintext.
//! It must not know what reports hold.
//! It promises that a small file is there whole or not at all.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::job::error::JobError;
use crate::job::storage::{self, Existing, parameter};
use crate::s3::xml::PageEnd;
use crate::s3::{BucketName, ObjectKey};
use crate::upstream::Upstreams;

/// The maximum bytes of a small file.
const MAX_SMALL: usize = 64 << 20;

/// A place for the files of reports.
#[derive(Clone)]
pub enum Place {
    /// A directory.
    Directory(PathBuf),
    /// A bucket, by the name that clients use, and what precedes the names of files.
    Bucket {
        /// The storages.
        upstreams: Upstreams,
        /// The bucket.
        bucket: BucketName,
        /// Empty, or a text that ends with a slash.
        prefix: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix, .. } => {
                write!(f, "s3://{bucket}/{}", prefix.trim_end_matches('/'))
            }
        }
    }
}

impl Place {
    /// Makes a directory that is missing.
    pub(super) async fn prepare(&self) -> Result<(), JobError> {
        match self {
            Self::Directory(path) => {
                let made = tokio::fs::create_dir_all(path).await;
                made.map_err(JobError::io(format!("making the directory {}", path.display())))
            }
            Self::Bucket { .. } => Ok(()),
        }
    }

    pub(super) fn object_key(&self, name: &str) -> Result<ObjectKey, JobError> {
        let prefix = match self {
            Self::Directory(_) => "",
            Self::Bucket { prefix, .. } => prefix,
        };
        ObjectKey::parse(format!("{prefix}{name}"))
            .map_err(|error| JobError::Invalid(format!("--report: {}", error.message)))
    }

    /// The names of all files, with their sizes in bytes.
    ///
    /// # Errors
    /// When the place can't be read.
    pub async fn list(&self) -> Result<Vec<(String, u64)>, JobError> {
        match self {
            Self::Directory(path) => {
                let reading = || JobError::io(format!("reading {}", path.display()));
                let mut names = Vec::new();
                for entry in std::fs::read_dir(path).map_err(reading())? {
                    let entry = entry.map_err(reading())?;
                    let size = entry.metadata().map_err(reading())?.len();
                    names.extend(entry.file_name().into_string().ok().map(|name| (name, size)));
                }
                names.sort();
                Ok(names)
            }
            Self::Bucket { upstreams, bucket, prefix } => {
                let mut names = Vec::new();
                let mut query = vec![
                    parameter("list-type", "2"),
                    parameter("encoding-type", "url"),
                    parameter("prefix", prefix),
                ];
                loop {
                    let page = storage::list(upstreams, bucket, &query).await?;
                    let name = |key: &str| key.strip_prefix(prefix.as_str()).map(str::to_owned);
                    names.extend(
                        page.objects.iter().filter_map(|object| Some((name(&object.key)?, object.size))),
                    );
                    let PageEnd::Token(token) = page.end else { return Ok(names) };
                    query.truncate(3);
                    query.push(parameter("continuation-token", token));
                }
            }
        }
    }

    /// The content of a small file; `None` if there is none.
    pub(in crate::job) async fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, JobError> {
        match self {
            Self::Directory(path) => {
                let path = path.join(name);
                match tokio::fs::read(&path).await {
                    Ok(content) => Ok(Some(content)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(JobError::io(format!("reading {}", path.display()))(error)),
                }
            }
            Self::Bucket { upstreams, bucket, .. } => {
                let object_key = self.object_key(name)?;
                let Some(response) = storage::get(upstreams, bucket, &object_key).await? else {
                    return Ok(None);
                };
                let content = crate::body::read_bounded(response.into_body(), MAX_SMALL).await;
                let content =
                    content.map_err(|error| JobError::Unavailable(format!("{self}/{name}: {error}")))?;
                Ok(Some(content.into()))
            }
        }
    }

    /// Writes a small file in the place of one that exists.
    pub(super) async fn write_small(&self, name: &str, content: Vec<u8>) -> Result<(), JobError> {
        match self {
            Self::Directory(path) => {
                let file = self.temporary(&content)?;
                let path = path.join(name);
                std::fs::rename(&file, &path).map_err(JobError::io(format!("writing {}", path.display())))
            }
            Self::Bucket { upstreams, bucket, .. } => {
                let object_key = self.object_key(name)?;
                let content = ("application/json", content.into());
                storage::put(upstreams, bucket, &object_key, content, Existing::Replaced).await.map(drop)
            }
        }
    }

    /// Writes a small file unless it exists; whether it was written.
    pub(in crate::job) async fn write_new(&self, name: &str, content: Vec<u8>) -> Result<bool, JobError> {
        match self {
            Self::Directory(path) => {
                self.prepare().await?;
                let file = self.temporary(&content)?;
                let path = path.join(name);
                // A link fails where the name exists, and the file is whole when it gets its name.
                let linked = std::fs::hard_link(&file, &path);
                std::fs::remove_file(&file).map_err(JobError::io(format!("removing {}", file.display())))?;
                match linked {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                    Err(error) => Err(JobError::io(format!("writing {}", path.display()))(error)),
                }
            }
            Self::Bucket { upstreams, bucket, .. } => {
                let object_key = self.object_key(name)?;
                let content = ("application/json", content.into());
                storage::put(upstreams, bucket, &object_key, content, Existing::Kept).await
            }
        }
    }

    /// Removes a file that may exist.
    pub(super) async fn remove(&self, name: &str) -> Result<(), JobError> {
        match self {
            Self::Directory(path) => match std::fs::remove_file(path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(JobError::io(format!("removing {}/{name}", path.display()))(error))
                }
                Ok(()) | Err(_) => Ok(()),
            },
            Self::Bucket { upstreams, bucket, .. } => {
                storage::delete(upstreams, bucket, &self.object_key(name)?).await
            }
        }
    }

    /// A new file of the directory with this content, on disk.
    fn temporary(&self, content: &[u8]) -> Result<PathBuf, JobError> {
        let Self::Directory(path) = self else { unreachable!("a bucket has no temporary files") };
        let file = path.join(partial_name("new"));
        let writing = || JobError::io(format!("writing {}", file.display()));
        let mut opened = std::fs::File::create_new(&file).map_err(writing())?;
        opened.write_all(content).and_then(|()| opened.sync_all()).map_err(writing())?;
        Ok(file)
    }
}

/// The name of a file that is not whole yet, which no other process uses.
pub(super) fn partial_name(name: &str) -> String {
    format!("{name}.{}.partial", uuid::Uuid::new_v4().simple())
}
