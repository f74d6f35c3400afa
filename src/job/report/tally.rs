//! What a job counts of its rows.
//! It must not know where rows come from.
//! It promises that every row is counted once, and that the memory it takes does not grow with rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::outcome::{Outcome, Severity, Status};
use crate::keyring::KeyId;

/// The maximum number of keys, and of error codes, that are counted apart.
const MAX_NAMES: usize = 10_000;

/// The name that further ones are counted under.
pub(super) const OTHERS: &str = "(others)";

/// The key of plaintext objects.
const NO_KEY: &str = "(none)";

/// The key of other objects whose metadata do not tell it.
const UNKNOWN_KEY: &str = "(unknown)";

/// The format of objects that are under no key.
pub(in crate::job) const PLAINTEXT: &str = "plaintext";

/// Objects under one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCount {
    /// Newest versions.
    pub objects: u64,
    /// All versions, the newest included.
    pub versions: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// Counts of rows by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All rows of the report.
    pub rows: u64,
    /// Done, or found to be done.
    pub succeeded: u64,
    /// The number of succeeded rows whose objects needed no write.
    pub unchanged: u64,
    /// Rightly left alone.
    pub skipped: u64,
    /// Changed by others each time they were tried.
    pub raced: u64,
    /// Not done.
    pub failed: u64,
    /// The part of `failed` that failed authentication.
    pub not_authentic: u64,
    /// The part of `failed` for which the storage or a key holder was away.
    pub unavailable: u64,
    /// The part of `failed` that the storage throttled to the end.
    pub throttled: u64,
    /// The part of `failed` whose rows can't be read.
    pub invalid_rows: u64,
    /// Rows that are not in the sample. They are no rows of the report.
    pub not_sampled: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
    /// Failed and skipped rows by error code.
    pub error_codes: BTreeMap<String, u64>,
    /// Objects by format.
    pub formats: BTreeMap<String, u64>,
    /// Objects by the key that they were under.
    pub keys_before: BTreeMap<String, KeyCount>,
    /// Objects by the key that they are under now, for jobs that write.
    pub keys_after: BTreeMap<String, KeyCount>,
}

/// The error code of a row that can't be read.
pub(in crate::job) const INVALID_ROW: &str = "InvalidRow";

/// The error code of a row that a filter leaves out.
pub(in crate::job) const FILTERED: &str = "Filtered";

impl Tally {
    /// Counts a row.
    pub(super) fn add(&mut self, is_latest: bool, outcome: &Outcome) {
        self.rows += 1;
        match outcome.status {
            Status::Succeeded => self.succeeded += 1,
            Status::Skipped => self.skipped += 1,
            Status::Raced => self.raced += 1,
            Status::Failed => self.failed += 1,
        }
        self.unchanged += u64::from(outcome.status == Status::Succeeded && outcome.is_unchanged);
        match outcome.severity {
            Severity::None | Severity::Row => {}
            Severity::Throttled => self.throttled += 1,
            Severity::Unavailable => self.unavailable += 1,
            Severity::NotAuthentic => self.not_authentic += 1,
        }
        let code = outcome.error_code.as_deref();
        self.invalid_rows += u64::from(code == Some(INVALID_ROW));
        if let Some(code) = code {
            *named(&mut self.error_codes, code) += 1;
        }
        let is_left_out = outcome.status == Status::Skipped && code == Some(FILTERED);
        if is_left_out {
            return;
        }
        self.bytes += outcome.bytes;
        let Some(format) = outcome.format else { return };
        *named(&mut self.formats, format) += 1;
        let count = KeyCount { objects: u64::from(is_latest), versions: 1, bytes: outcome.bytes };
        let no_key = if format == PLAINTEXT { NO_KEY } else { UNKNOWN_KEY };
        named(&mut self.keys_before, outcome.key_before.as_deref().unwrap_or(no_key)).add(count);
        for key in outcome.further_keys.iter().filter(|key| Some(*key) != outcome.key_before.as_ref()) {
            named(&mut self.keys_before, key).add(count);
        }
        if let Some(after) = &outcome.key_after {
            named(&mut self.keys_after, after).add(count);
        }
    }

    /// Adds what another shard counted.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.rows, other.rows),
            (&mut self.succeeded, other.succeeded),
            (&mut self.unchanged, other.unchanged),
            (&mut self.skipped, other.skipped),
            (&mut self.raced, other.raced),
            (&mut self.failed, other.failed),
            (&mut self.not_authentic, other.not_authentic),
            (&mut self.unavailable, other.unavailable),
            (&mut self.throttled, other.throttled),
            (&mut self.invalid_rows, other.invalid_rows),
            (&mut self.not_sampled, other.not_sampled),
            (&mut self.bytes, other.bytes),
        ] {
            *sum += more;
        }
        for (names, more) in
            [(&mut self.error_codes, &other.error_codes), (&mut self.formats, &other.formats)]
        {
            more.iter().for_each(|(name, count)| *named(names, name) += count);
        }
        for (keys, more) in
            [(&mut self.keys_before, &other.keys_before), (&mut self.keys_after, &other.keys_after)]
        {
            more.iter().for_each(|(name, count)| named(keys, name).add(*count));
        }
    }

    /// Versions of objects under a key, and versions that may be under it: their metadata do not tell.
    pub fn versions_under(&self, key: &KeyId) -> (u64, u64) {
        let sum = |has: &dyn Fn(&str) -> bool| {
            let named = self.keys_before.iter().filter(|(name, _)| has(name));
            named.map(|(_, count)| count.versions).sum()
        };
        (sum(&|name| key.is_named(name, None)), sum(&is_unknown_key))
    }
}

impl KeyCount {
    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.versions += other.versions;
        self.bytes += other.bytes;
    }
}

/// Whether the name that an object's metadata tell of its key leaves open which key that is: `aws-kms:?`, or
/// kind and fingerprint. A recovery key is no other key.
pub(in crate::job) fn is_unknown_key(name: &str) -> bool {
    let (kind, rest) = name.split_once(':').unwrap_or(("", name));
    let is_fingerprint = rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    rest == "?"
        || [UNKNOWN_KEY, OTHERS].contains(&name)
        || (is_fingerprint && !kind.is_empty() && kind != "recovery")
}

/// The count under a name, or under [`OTHERS`] once there are many names.
fn named<'a, T: Default>(counts: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    let is_known = counts.len() < MAX_NAMES || counts.contains_key(name);
    counts.entry(if is_known { name } else { OTHERS }.to_owned()).or_default()
}
