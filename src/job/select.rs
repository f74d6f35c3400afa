//! Which rows of an input a job works on: filters, and a random sample.
//! It must not know what the job does.
//! It promises that a row which a filter leaves out is a row of the report, with the reason; and that a
//! sample depends on the seed and the object's name alone.

use std::hash::Hasher;
use std::time::Duration;

use time::OffsetDateTime;
use twox_hash::XxHash64;

use super::error::JobError;
use super::input::{Input, Versions};
use super::outcome::{Outcome, Severity, Status};
use super::report::FILTERED;
use super::row::Row;
use crate::keyring::KeyId;

/// The filters of a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Which versions, where the input says which is the newest.
    pub versions: Option<Versions>,
    /// Objects under this key alone.
    pub key_id: Option<KeyId>,
    /// Objects that are not under this key.
    pub not_key_id: Option<KeyId>,
    /// Objects that were stored before this time.
    pub stored_before: Option<OffsetDateTime>,
    /// Objects with more stored bytes.
    pub larger_than: Option<u64>,
    /// A random share.
    pub sample: Option<Sample>,
}

/// A random share of the rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The share, above 0 and at most 1.
    pub share: f64,
    /// Chooses one of the samples that there are.
    pub seed: u64,
}

impl Selection {
    /// Objects that were stored longer ago than `age`.
    #[must_use]
    pub fn older_than(mut self, age: Option<Duration>) -> Self {
        let now = OffsetDateTime::now_utc();
        self.stored_before = age.and_then(|age| now.checked_sub(age.try_into().ok()?));
        self
    }

    /// Refuses filters for which the input has no column.
    ///
    /// # Errors
    /// [`JobError::Invalid`], with the filter and what it requires.
    pub fn check(&self, input: &Input) -> Result<(), JobError> {
        let refuse = |filter: &str, requires: &str| {
            let input = "requires a listing, or an inventory with the column";
            Err(JobError::Invalid(format!("{filter} {input} {requires}")))
        };
        if self.stored_before.is_some() && !input.has_times() {
            return refuse("--older-than", "LastModifiedDate");
        }
        if self.larger_than.is_some() && !input.has_sizes() {
            return refuse("--larger-than", "Size");
        }
        Ok(())
    }

    /// Whether the sample has a row.
    pub fn has_sampled(&self, row: &Row) -> bool {
        let Some(Sample { share, seed }) = self.sample else { return true };
        let mut hasher = XxHash64::with_seed(seed);
        for part in [row.bucket.as_str(), row.object_key.as_str(), row.version_id.as_deref().unwrap_or("")] {
            hasher.write(part.as_bytes());
            hasher.write_u8(0xff);
        }
        (hasher.finish() as f64) < share * (u64::MAX as f64)
    }

    /// Why a row is left out by what the input says of it; `None` if it is not.
    pub fn refuse(&self, row: &Row) -> Option<Outcome> {
        let listed = row.listed.as_ref()?;
        if self.versions == Some(Versions::Current) && !listed.is_latest {
            return Some(filtered("not the newest version"));
        }
        if self.stored_before.is_some_and(|before| listed.last_modified.is_none_or(|time| time >= before)) {
            return Some(filtered("not older than --older-than"));
        }
        if self.larger_than.is_some_and(|bytes| listed.size <= bytes) {
            return Some(filtered("not larger than --larger-than"));
        }
        None
    }

    /// Whether the key of an object has to be known before a job works on it.
    pub fn needs_key(&self) -> bool {
        self.key_id.is_some() || self.not_key_id.is_some()
    }

    /// Why an object under a key is left out; `None` if it is not. An object that is in plaintext is under no
    /// key.
    pub fn refuse_key(&self, key: Option<&str>) -> Option<Outcome> {
        let is_named = |wanted: &KeyId| key.is_some_and(|key| wanted.is_named(key, None));
        if self.key_id.as_ref().is_some_and(|wanted| !is_named(wanted)) {
            return Some(Outcome { key_before: key.map(str::to_owned), ..filtered("not under --key-id") });
        }
        if self.not_key_id.as_ref().is_some_and(is_named) {
            return Some(Outcome { key_before: key.map(str::to_owned), ..filtered("under --not-key-id") });
        }
        None
    }
}

/// The outcome of a row that is left out.
pub(super) fn filtered(why: &str) -> Outcome {
    Outcome {
        status: Status::Skipped,
        is_unchanged: true,
        severity: Severity::None,
        error_code: Some(FILTERED.to_owned()),
        http_status: None,
        message: why.to_owned(),
        bytes: 0,
        format: None,
        key_before: None,
        key_after: None,
        version_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::row::Listed;
    use crate::s3::{BucketName, ObjectKey};

    fn row(key: &str, listed: Option<Listed>) -> Row {
        let bucket = BucketName::parse("b").unwrap();
        Row { bucket, object_key: ObjectKey::parse(key).unwrap(), version_id: None, listed }
    }

    fn listed(size: u64, is_latest: bool) -> Option<Listed> {
        let last_modified = Some(OffsetDateTime::from_unix_timestamp(1_000).unwrap());
        Some(Listed { size, last_modified, etag: None, storage_class: None, is_latest })
    }

    #[test]
    fn a_sample_is_a_share_that_the_seed_decides() {
        let selection =
            |seed| Selection { sample: Some(Sample { share: 0.1, seed }), ..Selection::default() };
        let sampled = |seed| -> Vec<_> {
            (0..10_000)
                .filter(|number| selection(seed).has_sampled(&row(&format!("k{number}"), None)))
                .collect()
        };
        let one = sampled(1);
        assert!((800..1_200).contains(&one.len()), "{}", one.len());
        assert_eq!(one, sampled(1));
        assert_ne!(one, sampled(2));
        let all = Selection { sample: Some(Sample { share: 1.0, seed: 7 }), ..Selection::default() };
        assert!((0..1_000).all(|number| all.has_sampled(&row(&format!("k{number}"), None))));
    }

    #[test]
    fn filters_name_their_reason() {
        let time = OffsetDateTime::from_unix_timestamp(1_000).unwrap();
        let selection = Selection {
            versions: Some(Versions::Current),
            stored_before: Some(time + time::Duration::SECOND),
            larger_than: Some(10),
            ..Selection::default()
        };
        assert_eq!(selection.refuse(&row("k", listed(11, true))), None);
        assert_eq!(selection.refuse(&row("k", None)), None);
        let refused = |listed| selection.refuse(&row("k", listed)).unwrap().message;
        assert_eq!(refused(listed(10, true)), "not larger than --larger-than");
        assert_eq!(refused(listed(11, false)), "not the newest version");
        let early = Selection { stored_before: Some(time), ..Selection::default() };
        assert_eq!(early.refuse(&row("k", listed(1, true))).unwrap().status, Status::Skipped);
    }

    #[test]
    fn keys_are_compared_as_their_owners_write_them() {
        let arn = "arn:aws:kms:us-east-1:1:key/k1";
        let one = Selection { key_id: Some(KeyId::parse("k1").unwrap()), ..Selection::default() };
        assert_eq!(one.refuse_key(Some(arn)), None);
        assert!(one.refuse_key(Some("k2")).is_some() && one.refuse_key(None).is_some());
        let other = Selection { not_key_id: Some(KeyId::parse(arn).unwrap()), ..Selection::default() };
        assert!(other.refuse_key(Some("k1")).is_some());
        assert!(other.refuse_key(None).is_none() && other.refuse_key(Some("k2")).is_none());
        assert!(other.needs_key() && !Selection::default().needs_key());
    }
}
