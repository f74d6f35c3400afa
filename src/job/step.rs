//! What each job does with one object.
//! It must not know inputs, shards or reports.
//! It promises that an object is replaced only if it is the one that was read, and only by one that was read
//! back.

mod carried;
mod decrypt;
mod digest;
mod encrypt;
mod ending;
mod files;
mod in_place;
mod keys;
mod part_lengths;
mod parts;
mod plan;
mod read_back;
mod rewrap;
mod rewrap_foreign;
mod seen;
mod split;
mod target;
mod verify;

use tokio::sync::Semaphore;

use self::ending::Known;
use super::outcome::Outcome;
use super::row::Row;
use crate::upload::Resources;

/// A job's work on one object.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads and authenticates every byte; writes nothing.
    Verify,
    /// Wraps the data key again, under the holders of the bucket's rule.
    Rewrap,
    /// Stores plaintext and foreign formats as the bucket's rule writes objects.
    Encrypt(Destination),
    /// Stores the plaintext.
    Decrypt(Destination),
    /// Names the key of the object; reads its metadata alone.
    Keys,
}

/// Where a job writes objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// In the place of the object that was read.
    InPlace,
    /// To another bucket, the objects' keys after a prefix.
    Bucket {
        /// The other bucket.
        bucket: crate::s3::BucketName,
        /// What precedes the objects' keys; may be empty.
        prefix: String,
    },
    /// To files in a directory (decrypt alone).
    Directory(std::path::PathBuf),
}

/// What a step may write.
#[derive(Debug, Clone, Copy)]
pub enum Writes<'a> {
    /// Nothing: the outcome says what would be written (a dry run).
    None,
    /// Objects. `rewrap` holds a permit while the storage copies an object, and none while it looks at one.
    Copies(&'a Semaphore),
}

impl Step {
    /// The number of objects to work on at once, so that `writes` of them are written at once. `rewrap`
    /// sends HEAD before and after each copy, and a HEAD takes no longer than a copy: with three objects for
    /// each copy, others are copied meanwhile.
    pub fn objects_at_once(&self, writes: usize) -> usize {
        match self {
            Self::Rewrap => writes.saturating_mul(3),
            Self::Verify | Self::Encrypt(_) | Self::Decrypt(_) | Self::Keys => writes,
        }
    }

    /// Works on the object of one row.
    pub async fn run(&self, resources: &Resources, row: &Row, writes: Writes<'_>) -> Outcome {
        let mut known = Known::default();
        let dry_run = matches!(writes, Writes::None);
        let ended = match self {
            Self::Verify => Box::pin(verify::verify(resources, row, &mut known)).await,
            Self::Keys => Box::pin(keys::keys(resources, row, &mut known)).await,
            Self::Rewrap => Box::pin(rewrap::rewrap(resources, row, writes, &mut known)).await,
            Self::Encrypt(destination) => {
                Box::pin(encrypt::encrypt(resources, row, destination, dry_run, &mut known)).await
            }
            Self::Decrypt(destination) => {
                Box::pin(decrypt::decrypt(resources, row, destination, dry_run, &mut known)).await
            }
        };
        known.outcome(ended)
    }
}

#[cfg(test)]
mod tests;
