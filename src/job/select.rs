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
use super::report::{FILTERED, PLAINTEXT, is_unknown_key};
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

    /// Why an object is left out whose keys were `found`; `None` if it is not. Where the object's metadata
    /// do not tell all of its keys, it is left out only with [`UnknownKeys::LeftOut`].
    pub fn refuse_key(&self, found: &Outcome, unknown: UnknownKeys) -> Option<Outcome> {
        let names = || found.key_before.iter().chain(&found.further_keys);
        let is_under = |wanted: &KeyId| names().any(|name| wanted.is_named(name, None));
        let refuse = |why| Some(Outcome { key_before: found.key_before.clone(), ..filtered(why) });
        if self.not_key_id.as_ref().is_some_and(is_under) {
            return refuse("under --not-key-id");
        }
        let wanted = self.key_id.as_ref();
        if wanted.is_some_and(is_under) {
            return None;
        }
        let is_plaintext = found.key_before.is_none() && found.format == Some(PLAINTEXT);
        let is_known =
            is_plaintext || (found.key_before.is_some() && !names().any(|name| is_unknown_key(name)));
        match (wanted, is_known, unknown) {
            (Some(_), true, _) => refuse("not under --key-id"),
            (_, false, UnknownKeys::LeftOut) => refuse("its metadata do not tell its key"),
            (None, true, _) | (_, false, UnknownKeys::Included) => None,
        }
    }
}

/// What a filter by key does with objects whose metadata do not tell their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// They are worked on, and counted as such.
    Included,
    /// They are left out.
    LeftOut,
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
        further_keys: Vec::new(),
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
        let found = |keys: &[&str], format| {
            let mut keys = keys.iter().map(|key| (*key).to_owned());
            Outcome {
                key_before: keys.next(),
                further_keys: keys.collect(),
                format: Some(format),
                ..filtered("")
            }
        };
        let is_refused = |selection: &Selection, keys: &[&str], format| {
            selection.refuse_key(&found(keys, format), UnknownKeys::Included).is_some()
        };
        let one = Selection { key_id: Some(KeyId::parse("k1").unwrap()), ..Selection::default() };
        for (keys, format, is_left_out) in [
            (&[arn][..], "native", false),
            (&["k2", arn], "native", false),
            (&["k2"], "native", true),
            (&[], "plaintext", true),
            // Keys that metadata do not tell may be this one.
            (&["aws-kms:?"], "native", false),
            (&["k2", "aws-kms:0123456789abcdef"], "native", false),
            (&["k2", "recovery:0123456789abcdef"], "native", true),
            (&[], "s3ec", false),
        ] {
            assert_eq!(is_refused(&one, keys, format), is_left_out, "{keys:?} {format}");
        }
        let unknown = one.refuse_key(&found(&["aws-kms:?"], "native"), UnknownKeys::LeftOut).unwrap();
        assert_eq!(unknown.message, "its metadata do not tell its key");
        let other = Selection { not_key_id: Some(KeyId::parse(arn).unwrap()), ..Selection::default() };
        assert!(is_refused(&other, &["k1"], "native") && is_refused(&other, &["k2", "k1"], "native"));
        assert!(!is_refused(&other, &[], "plaintext") && !is_refused(&other, &["k2"], "native"));
        assert!(other.needs_key() && !Selection::default().needs_key());
    }
}
