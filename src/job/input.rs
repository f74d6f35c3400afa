//! Where a job's rows come from: a live listing, an inventory, a manifest of S3 Batch, or keys line by line.
//!
//! It must not know what is done with a row. It promises that each row of an input is given to exactly one
//! shard, that a row which can't be read is given out as invalid, and that memory does not grow with rows.

mod batch_csv;
mod bytestream;
mod inventory;
mod lines;
mod listing;
#[cfg(feature = "parquet")]
mod parquet;
mod plan;
mod records;

use std::path::PathBuf;

use self::batch_csv::BatchCsv;
pub(in crate::job) use self::bytestream::Bytestream;
use self::inventory::Inventory;
use self::lines::Lines;
use self::listing::Listing;
pub use self::listing::Versions;
pub(in crate::job) use self::records::{Form, Record, Records};
use super::error::JobError;
use super::report::Place;
use super::row::Row;
use super::shard::Shard;
use crate::s3::{BucketName, ObjectKey};
use crate::upload::Resources;

/// What a job works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputSettings {
    /// The objects of a bucket, as the storage lists them.
    Listing {
        /// The bucket.
        bucket: BucketName,
        /// What the keys begin with; may be empty.
        prefix: String,
        /// Whether older versions are listed, too.
        versions: Versions,
    },
    /// The inventory that a `manifest.json` describes.
    Inventory(Location),
    /// Manifests of S3 Batch: `bucket,key[,version]`, keys URL-encoded.
    BatchCsv(Vec<Location>),
    /// One key in each line, as it is; or `s3://BUCKET/KEY`.
    Lines {
        /// The file.
        file: Location,
        /// The bucket of lines that name none.
        bucket: Option<BucketName>,
    },
}

/// Where a file of an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In the file system; `-` is standard input.
    File(PathBuf),
    /// In a bucket, by the name that clients use.
    Object(BucketName, ObjectKey),
}

impl Location {
    pub(in crate::job) async fn open(&self, resources: &Resources) -> Result<Bytestream, JobError> {
        match self {
            Self::File(path) => Bytestream::open_file(path).await,
            Self::Object(bucket, object_key) => Bytestream::open_object(resources, bucket, object_key).await,
        }
    }
}

/// A row of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputRow {
    /// An object to work on.
    Object(Row),
    /// A row of an inventory that is there for completeness: a delete marker.
    DeleteMarker(Row),
    /// A row that can't be read.
    Invalid(InvalidRow),
}

/// A row that can't be read, with what could be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRow {
    /// The bucket, as it is written; may be empty.
    pub bucket: String,
    /// The key, as it is written; may be empty.
    pub object_key: String,
    /// File, line, column, and what is wrong.
    pub problem: String,
}

impl InputRow {
    /// The key, by which manifests are divided into shards. Every version of a key has one.
    fn sharding_key(&self) -> &str {
        match self {
            Self::Object(row) | Self::DeleteMarker(row) => row.object_key.as_str(),
            Self::Invalid(row) => &row.object_key,
        }
    }
}

/// What an input has, as far as it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InputTotal {
    /// The number of rows of all shards; `None` for a listing, since each shard lists its own part.
    pub rows: Option<u64>,
    /// Which plan divides the listing; `None` for manifests.
    pub plan: Option<u64>,
}

/// The rows of one shard.
pub struct Input {
    kind: Kind,
    shard: Shard,
    /// Rows of all shards.
    rows: u64,
}

enum Kind {
    Listing(Box<Listing>),
    Inventory(Box<Inventory>),
    BatchCsv(Box<BatchCsv>),
    Lines(Box<Lines>),
}

impl Input {
    /// Opens an input: reads what describes it, and its first row, so that an input of another kind is found
    /// before anything is done. `place` is where the shards' reports are: the plan of a listing is there.
    ///
    /// # Errors
    /// [`JobError::Invalid`] for an input that is not what it should be.
    pub async fn open(
        settings: &InputSettings,
        resources: &Resources,
        shard: Shard,
        place: Option<&Place>,
    ) -> Result<Self, JobError> {
        let kind = match settings {
            InputSettings::Listing { bucket, prefix, versions } => {
                let listing = Listing::open(resources, (bucket, prefix), *versions, shard, place).await?;
                Kind::Listing(Box::new(listing))
            }
            InputSettings::Inventory(manifest) => {
                Kind::Inventory(Box::new(Inventory::open(resources, manifest).await?))
            }
            InputSettings::BatchCsv(files) => {
                Kind::BatchCsv(Box::new(BatchCsv::open(resources, files).await?))
            }
            InputSettings::Lines { file, bucket } => {
                Kind::Lines(Box::new(Lines::open(resources, file, bucket.clone()).await?))
            }
        };
        Ok(Self { kind, shard, rows: 0 })
    }

    /// Whether rows say when their objects were stored.
    pub fn has_times(&self) -> bool {
        match &self.kind {
            Kind::Listing(_) => true,
            Kind::Inventory(inventory) => inventory.has_column("LastModifiedDate"),
            Kind::BatchCsv(_) | Kind::Lines(_) => false,
        }
    }

    /// Whether rows say how large their objects are.
    pub fn has_sizes(&self) -> bool {
        match &self.kind {
            Kind::Listing(_) => true,
            Kind::Inventory(inventory) => inventory.has_column("Size"),
            Kind::BatchCsv(_) | Kind::Lines(_) => false,
        }
    }

    /// The next row of the shard; `None` after the last.
    ///
    /// # Errors
    /// Those of reading the input, after which it must not be read on.
    pub async fn next(&mut self) -> Result<Option<InputRow>, JobError> {
        loop {
            let row = match &mut self.kind {
                Kind::Listing(listing) => return listing.next().await,
                Kind::Inventory(inventory) => inventory.next().await?,
                Kind::BatchCsv(manifest) => manifest.next().await?,
                Kind::Lines(lines) => lines.next().await?,
            };
            let Some(row) = row else { return Ok(None) };
            self.rows += 1;
            if self.shard.has(row.sharding_key()) {
                return Ok(Some(row));
            }
        }
    }

    /// What the input has, once all of it was read.
    pub fn total(&self) -> InputTotal {
        match &self.kind {
            Kind::Listing(listing) => InputTotal { rows: None, plan: Some(listing.plan_id()) },
            Kind::Inventory(_) | Kind::BatchCsv(_) | Kind::Lines(_) => {
                InputTotal { rows: Some(self.rows), plan: None }
            }
        }
    }
}

#[cfg(test)]
mod tests;
