//! Conditional requests: what a request demands of the existing object.

use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Result, s3_error};
use time::OffsetDateTime;

use super::record::Record;

/// The conditions of a read, or on the source of a copy (RFC 9110, 13.2.2: If-Match before
/// If-Unmodified-Since, If-None-Match before If-Modified-Since).
#[derive(Debug, Default)]
pub(super) struct ReadConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

/// Which kind of condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmet {
    /// If-Match or If-Unmodified-Since.
    Failed,
    /// If-None-Match or If-Modified-Since.
    Unchanged,
}

impl ReadConditions {
    pub(super) fn check(&self, record: &Record) -> Result<(), Unmet> {
        let etag = record.etag();
        // HTTP dates have whole seconds.
        let is_after = |date: &Timestamp| seconds(&record.modified) > seconds(date);
        let failed = match (&self.if_match, &self.if_unmodified_since) {
            (Some(ETagCondition::ETag(wanted)), _) => !etag.strong_cmp(wanted),
            (None, Some(date)) => is_after(date),
            (Some(ETagCondition::Any), _) | (None, None) => false,
        };
        if failed {
            return Err(Unmet::Failed);
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(ETagCondition::ETag(known)), _) => etag.weak_cmp(known),
            (Some(ETagCondition::Any), _) => true,
            (None, Some(date)) => !is_after(date),
            (None, None) => false,
        };
        if unchanged { Err(Unmet::Unchanged) } else { Ok(()) }
    }
}

fn seconds(timestamp: &Timestamp) -> i64 {
    OffsetDateTime::from(timestamp.clone()).unix_timestamp()
}

/// The conditions of a write, on what it would replace.
#[derive(Debug, Default, Clone)]
pub(super) struct WriteConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Checks the conditions on the record that `existing` reads; without conditions, nothing is read.
    ///
    /// # Errors
    /// `PreconditionFailed`, or `NoSuchKey` when there is no object that could match.
    pub(super) fn check(&self, existing: impl FnOnce() -> S3Result<Option<Record>>) -> S3Result<()> {
        if self.if_match.is_none() && self.if_none_match.is_none() {
            return Ok(());
        }
        let existing = existing()?.map(|record| record.etag());
        let is_match = match (&self.if_match, &existing) {
            (None, _) | (Some(ETagCondition::Any), Some(_)) => true,
            (Some(ETagCondition::ETag(wanted)), Some(etag)) => etag.strong_cmp(wanted),
            (Some(_), None) => return Err(s3_error!(NoSuchKey)),
        };
        let is_other = match (&self.if_none_match, &existing) {
            (None, _) | (_, None) => true,
            (Some(ETagCondition::Any), Some(_)) => false,
            (Some(ETagCondition::ETag(unwanted)), Some(etag)) => !etag.weak_cmp(unwanted),
        };
        if is_match && is_other { Ok(()) } else { Err(s3_error!(PreconditionFailed)) }
    }
}
