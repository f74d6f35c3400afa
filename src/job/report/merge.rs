//! Merges the reports of all shards of a job, and finds what is missing.
//! It must not know how shards ran.
//! It promises that a report counts as whole only if every shard has ended, its files have the sizes that its
//! summary names, and the rows add up to those of the input.

use std::collections::BTreeMap;

use serde::Serialize;

use super::place::Place;
use super::summary::{Ending, Summary};
use super::tally::Tally;
use crate::job::error::JobError;

/// The maximum number of missing shards that are named.
const MAX_NAMED: usize = 10;

/// The reports of all shards in one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MergedReport {
    /// The name of the job.
    pub job: String,
    /// What the job worked on.
    pub input: String,
    /// The number of shards.
    pub shards: u32,
    /// The shards that are there.
    pub shards_found: u32,
    /// Why the report is not whole; empty if it is.
    pub problems: Vec<String>,
    /// Whether nothing was written, on request.
    pub dry_run: bool,
    /// Rows of the input; `None` for a listing.
    pub input_rows: Option<u64>,
    /// The share of the rows that was chosen at random; `None`: all.
    pub sample: Option<f64>,
    /// The seeds of the shards.
    pub seeds: Vec<u64>,
    /// The key that objects had to be under.
    pub key_id: Option<String>,
    /// Whether older versions were in the input; `None`: as the manifest has it.
    pub all_versions: Option<bool>,
    /// The time of all shards.
    pub seconds: f64,
    /// Requests to the storage that read.
    pub read_requests: u64,
    /// Requests to the storage that write.
    pub write_requests: u64,
    /// Calls of key holders.
    pub kms_calls: u64,
    /// What was counted.
    #[serde(flatten)]
    pub tally: Tally,
    /// Some of the failed rows.
    pub failed_rows: Vec<String>,
}

/// Reads the summaries of all shards at `place`, and merges them.
///
/// # Errors
/// [`JobError::Invalid`] for a place without a report, or with those of several jobs; [`JobError::Again`]
/// where no shard has ended.
pub async fn merge(place: &Place) -> Result<MergedReport, JobError> {
    let files: BTreeMap<String, u64> = place.list().await?.into_iter().collect();
    let mut runs: BTreeMap<(String, u32), BTreeMap<u32, Summary>> = BTreeMap::new();
    for name in files.keys() {
        let Some((job, shard, shards)) = parse_name(name) else { continue };
        let run = runs.entry((job.to_owned(), shards)).or_default();
        let Some(document) = name.ends_with(".json").then_some(name) else { continue };
        let Some(document) = place.read_small(document).await? else { continue };
        let summary: Summary = serde_json::from_slice(&document)
            .map_err(|error| JobError::Invalid(format!("{place}/{name} is no summary of a job: {error}")))?;
        run.insert(shard, summary);
    }
    let named: Vec<_> = runs.keys().map(|(job, shards)| format!("{job} in {shards} shards")).collect();
    if runs.len() > 1 {
        let found = named.join(", ");
        let advice = "give each job a --report of its own";
        return Err(JobError::Invalid(format!(
            "{place} has the reports of several jobs ({found}): {advice}"
        )));
    }
    let Some(((job, shards), found)) = runs.pop_first() else {
        // What killed shards leave behind, and the plan of a listing.
        if files.keys().any(|name| name.ends_with(".partial") || name.starts_with("listing-of-")) {
            return Err(JobError::Again(format!("{place}: no shard has ended yet")));
        }
        return Err(JobError::Invalid(format!("{place} has no report of a job")));
    };
    Ok(merged(job, shards, &found, &files))
}

fn merged(
    job: String,
    shards: u32,
    found: &BTreeMap<u32, Summary>,
    files: &BTreeMap<String, u64>,
) -> MergedReport {
    let first = found.values().next().map(|summary| &summary.facts);
    let mut report = MergedReport {
        input: first.map(|facts| facts.input.clone()).unwrap_or_default(),
        shards,
        shards_found: u32::try_from(found.len()).expect("an index of a shard fits"),
        problems: Vec::new(),
        dry_run: first.is_some_and(|facts| facts.dry_run),
        input_rows: first.and_then(|facts| facts.input_rows),
        sample: first.and_then(|facts| facts.sample),
        seeds: Vec::new(),
        key_id: first.and_then(|facts| facts.key_id.clone()),
        all_versions: first.and_then(|facts| facts.all_versions),
        seconds: 0.0,
        read_requests: 0,
        write_requests: 0,
        kms_calls: 0,
        tally: Tally::default(),
        failed_rows: Vec::new(),
        job,
    };
    for summary in found.values() {
        report.add(summary, files);
    }
    report.find_missing(found);
    report
}

impl MergedReport {
    /// Whether every row of the input has its row in the report.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, summary: &Summary, files: &BTreeMap<String, u64>) {
        let Summary { facts, tally, .. } = summary;
        let shard = facts.shard;
        self.tally.merge(tally);
        self.seconds += facts.seconds;
        self.read_requests += facts.read_requests;
        self.write_requests += facts.write_requests;
        self.kms_calls += facts.kms_calls;
        self.seeds.extend(facts.seed.filter(|seed| !self.seeds.contains(seed)));
        let room = super::MAX_SHOWN.saturating_sub(self.failed_rows.len());
        self.failed_rows.extend(summary.failed_rows.iter().take(room).cloned());
        match facts.ending {
            Ending::Complete => {}
            Ending::Interrupted | Ending::Unavailable | Ending::InputFailed => {
                let reason = facts.reason.as_deref().unwrap_or("it was interrupted");
                self.problems.push(format!("shard {shard} is incomplete: {reason}"));
            }
        }
        let base = format!("{}-{:05}-of-{:05}", self.job, shard, self.shards);
        for (ending, bytes) in [("csv", summary.report_bytes), ("failed.csv", summary.failed_bytes)] {
            let name = format!("{base}.{ending}");
            if bytes != files.get(&name).copied() {
                self.problems.push(format!("shard {shard}: {name} is not the file of its summary"));
            }
        }
    }

    fn find_missing(&mut self, found: &BTreeMap<u32, Summary>) {
        let missing: Vec<_> = (0..self.shards).filter(|shard| !found.contains_key(shard)).collect();
        if !missing.is_empty() {
            let named: Vec<_> = missing.iter().take(MAX_NAMED).map(u32::to_string).collect();
            let more = if missing.len() > MAX_NAMED { ", …" } else { "" };
            let count = missing.len();
            self.problems.push(format!(
                "missing {count} of {} shards: {}{more}",
                self.shards,
                named.join(", ")
            ));
            return;
        }
        let differ = |differs: fn(&Summary, &Summary) -> bool| {
            let mut all = found.values();
            all.next().is_some_and(|first| all.any(|other| differs(first, other)))
        };
        if differ(|one, other| {
            one.facts.input != other.facts.input || one.facts.dry_run != other.facts.dry_run
        }) {
            self.problems.push("the shards worked on different inputs".to_owned());
        }
        if differ(|one, other| one.facts.plan != other.facts.plan) {
            self.problems.push("the shards divided the listing differently: run them again".to_owned());
        }
        if differ(|one, other| one.facts.input_rows != other.facts.input_rows) {
            self.problems.push("the input changed between the runs of the shards".to_owned());
        }
        let rows = self.tally.rows + self.tally.not_sampled;
        if self.problems.is_empty() && self.input_rows.is_some_and(|expected| expected != rows) {
            let expected = self.input_rows.unwrap_or_default();
            self.problems.push(format!("the input has {expected} rows, and the report {rows}"));
        }
    }
}

/// Job, shard and number of shards of a file's name, `verify-00003-of-00008.csv`.
fn parse_name(name: &str) -> Option<(&str, u32, u32)> {
    let base = name.strip_suffix(".json").or_else(|| name.strip_suffix(".failed.csv"));
    let base = base.or_else(|| name.strip_suffix(".csv"))?;
    let (rest, shards) = base.rsplit_once("-of-")?;
    let (job, shard) = rest.rsplit_once('-')?;
    Some((job, shard.parse().ok()?, shards.parse().ok()?))
}

/// Whether a file of a report is the manifest of a shard's failed rows.
pub fn is_failed_rows(name: &str) -> bool {
    name.ends_with(".failed.csv") && parse_name(name).is_some()
}
