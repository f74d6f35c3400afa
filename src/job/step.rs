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

impl Step {
    /// Works on the object of one row. With `dry_run` nothing is written, and the outcome says what would be.
    pub async fn run(&self, resources: &Resources, row: &Row, dry_run: bool) -> Outcome {
        let mut known = Known::default();
        let ended = match self {
            Self::Verify => Box::pin(verify::verify(resources, row, &mut known)).await,
            Self::Keys => Box::pin(keys::keys(resources, row, &mut known)).await,
            Self::Rewrap => Box::pin(rewrap::rewrap(resources, row, dry_run, &mut known)).await,
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
