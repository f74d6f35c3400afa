//! The report of one shard: a CSV row for each row of the input, the failed rows once more as a manifest, and
//! a summary in JSON, which is written last.
//!
//! It must not know how objects are worked on. It promises that a report without a summary, or with one that
//! says it is incomplete, is never taken for a whole one.

mod csv;
mod merge;
mod place;
mod summary;
mod tally;
#[cfg(test)]
pub mod test_support;
mod writer;

use std::fmt;

pub use self::merge::{MergedReport, is_failed_rows, merge};
pub use self::place::Place;
pub use self::summary::{DryRun, Ending, RunFacts, Summary};
pub(super) use self::tally::{FILTERED, INVALID_ROW, PLAINTEXT, is_unknown_key};
pub use self::tally::{KeyCount, Tally};
use self::writer::Writer;
use super::error::JobError;
use super::outcome::{Outcome, Status};
use super::shard::Shard;

/// Names the object of a report's row, as the input has it.
#[derive(Debug, Clone, Copy)]
pub struct ReportedObject<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key, decoded.
    pub object_key: &'a str,
    /// The version, if the input named one.
    pub version_id: Option<&'a str>,
    /// Whether this is the newest version.
    pub is_latest: bool,
}

/// The names of a shard's files: `verify-00003-of-00008` and an ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportName {
    job: &'static str,
    shard: Shard,
}

impl ReportName {
    /// The names for a shard of a job.
    pub fn new(job: &'static str, shard: Shard) -> Self {
        Self { job, shard }
    }

    fn rows(&self) -> String {
        format!("{self}.csv")
    }

    fn failed(&self) -> String {
        format!("{self}.failed.csv")
    }

    fn summary(&self) -> String {
        format!("{self}.json")
    }
}

impl fmt::Display for ReportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.job, self.shard)
    }
}

/// The files of a report while a shard runs.
struct Files {
    place: Place,
    name: ReportName,
    rows: Writer,
    failed: Writer,
}

/// The report of one shard while it runs.
pub struct Report {
    files: Option<Files>,
    tally: Tally,
    /// The failed rows that the summary shows.
    shown: Vec<String>,
}

/// The number of failed rows that a summary shows.
const MAX_SHOWN: usize = 20;

impl Report {
    /// Begins a report at `place`; `None`: counts alone. An earlier report of the shard stays until this one
    /// ends.
    ///
    /// # Errors
    /// When the place can't be written to.
    pub async fn begin(place: Option<&Place>, name: ReportName) -> Result<Self, JobError> {
        let files = match place {
            Some(place) => {
                place.prepare().await?;
                let rows = Writer::create(place, &name.rows()).await?;
                let failed = Writer::create(place, &name.failed()).await?;
                Some(Files { place: place.clone(), name, rows, failed })
            }
            None => None,
        };
        Ok(Self { files, tally: Tally::default(), shown: Vec::new() })
    }

    /// Adds the row of an object.
    ///
    /// # Errors
    /// When the report can't be written.
    pub async fn add(&mut self, object: ReportedObject<'_>, outcome: &Outcome) -> Result<(), JobError> {
        self.tally.add(object.is_latest, outcome);
        let is_failed = matches!(outcome.status, Status::Failed | Status::Raced);
        if is_failed && self.shown.len() < MAX_SHOWN {
            self.shown.push(csv::shown(object, outcome));
        }
        if let Some(files) = &mut self.files {
            files.rows.write(&csv::row(object, outcome)).await?;
            if is_failed {
                files.failed.write(&csv::manifest_row(object)).await?;
            }
        }
        Ok(())
    }

    /// Counts a row that is not in the sample, which is no row of the report.
    pub fn not_sampled(&mut self) {
        self.tally.not_sampled += 1;
    }

    /// Lets what was written so far reach the disk or the storage as far as that is possible.
    ///
    /// # Errors
    /// When the report can't be written.
    pub async fn flush(&mut self) -> Result<(), JobError> {
        if let Some(files) = &mut self.files {
            files.rows.flush().await?;
            files.failed.flush().await?;
        }
        Ok(())
    }

    /// Ends the report: the rows take their place, then the summary is written.
    ///
    /// # Errors
    /// When the report can't be written.
    pub async fn end(self, facts: RunFacts) -> Result<Summary, JobError> {
        let mut summary = Summary::new(facts, self.tally, self.shown);
        if let Some(Files { place, name, rows, failed }) = self.files {
            // Without a summary, the shard counts as missing while its files are exchanged.
            place.remove(&name.summary()).await?;
            let failed_rows = failed.end().await?;
            summary.report_bytes = Some(rows.end().await?);
            summary.failed_bytes = Some(failed_rows);
            summary.report = Some(format!("{place}/{}", name.rows()));
            place.write_small(&name.summary(), summary.to_json()).await?;
        }
        Ok(summary)
    }
}

#[cfg(test)]
mod tests;
