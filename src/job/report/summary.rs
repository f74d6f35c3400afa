//! The summary of one shard, in JSON: written last, so that its presence says that the report is there.
//! It must not know exit codes.
//! It promises stable names (docs/JOBS.md), and that an incomplete run says so.

use serde::{Deserialize, Serialize};

use super::csv::SCHEMA;
use super::tally::Tally;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every row of the shard has its row in the report.
    Complete,
    /// A signal came: rows are missing.
    Interrupted,
    /// The storage or a key holder was away for too long: rows are missing.
    Unavailable,
    /// The input could not be read to its end: rows are missing.
    InputFailed,
}

/// What a run is, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFacts {
    /// The version of s3veil.
    pub version: String,
    /// The name of the job.
    pub job: String,
    /// What the job worked on.
    pub input: String,
    /// The shard, from 0.
    pub shard: u32,
    /// The number of shards.
    pub shards: u32,
    /// How the run ended.
    pub ending: Ending,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// The exit code that the reason has.
    #[serde(skip)]
    pub failure_code: Option<u8>,
    /// Whether nothing was written, on request.
    pub dry_run: bool,
    /// When the run began, as RFC 3339 writes it.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// Rows of the whole input, of all shards; `None` for a listing.
    pub input_rows: Option<u64>,
    /// Which plan divides the listing; `None` for a manifest.
    pub plan: Option<String>,
    /// The share of the rows that was chosen at random, of 1; `None`: all.
    pub sample: Option<f64>,
    /// What the choice depends on.
    pub seed: Option<u64>,
    /// The key that objects had to be under.
    pub key_id: Option<String>,
    /// Whether older versions were in the input; `None`: as the manifest has it.
    pub all_versions: Option<bool>,
    /// Requests to the storage that read (GET and HEAD, listings included).
    pub read_requests: u64,
    /// Requests to the storage that write (PUT, POST, DELETE).
    pub write_requests: u64,
    /// Calls of key holders.
    pub kms_calls: u64,
}

/// What a dry run estimates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// Objects that would be worked on.
    pub objects: u64,
    /// Bytes that would be read.
    pub bytes_read: u64,
    /// Bytes that would be written.
    pub bytes_written: u64,
    /// Requests that read.
    pub read_requests: u64,
    /// Requests that write.
    pub write_requests: u64,
    /// Calls of key holders, at most.
    pub kms_calls: u64,
    /// What requests and calls cost at the list prices of AWS in us-east-1, in US dollars.
    pub usd: f64,
}

/// The summary of one shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What the run is.
    #[serde(flatten)]
    pub facts: RunFacts,
    /// What it counted.
    #[serde(flatten)]
    pub tally: Tally,
    /// What a dry run estimates.
    pub estimate: Option<DryRun>,
    /// Where the rows are; `None` without a report.
    pub report: Option<String>,
    /// The columns of the report.
    pub report_schema: String,
    /// The size of the report in bytes.
    pub report_bytes: Option<u64>,
    /// The size of the manifest of failed rows.
    pub failed_bytes: Option<u64>,
    /// Some of the failed rows, for people.
    pub failed_rows: Vec<String>,
}

impl Summary {
    pub(super) fn new(facts: RunFacts, tally: Tally, failed_rows: Vec<String>) -> Self {
        let estimate = facts.dry_run.then(|| DryRun::new(&facts.job, &tally));
        Self {
            facts,
            tally,
            estimate,
            report: None,
            report_schema: SCHEMA.to_owned(),
            report_bytes: None,
            failed_bytes: None,
            failed_rows,
        }
    }

    /// The summary as a document.
    pub fn to_json(&self) -> Vec<u8> {
        let mut document = serde_json::to_vec_pretty(self).expect("a summary is text and numbers");
        document.push(b'\n');
        document
    }
}

impl DryRun {
    /// The estimate for a job of this name. Requests for objects in parts, and their larger number, are left
    /// out.
    pub(super) fn new(job: &str, tally: &Tally) -> Self {
        /// Of 1,000,000 GET requests, PUT requests, and calls of AWS KMS, in US dollars.
        const PRICES: [f64; 3] = [0.4, 5.0, 3.0];
        let objects = tally.succeeded - tally.unchanged;
        let all = tally.rows;
        let (reads_each, writes_each, calls_each) = match job {
            "verify" => (1, 0, 0),
            "rewrap" => (2, 1, 1),
            "encrypt" | "decrypt" => (2, 1, 0),
            _ => (0, 0, 0),
        };
        let is_read = if job == "verify" { tally.succeeded } else { objects };
        let (bytes_read, bytes_written) = match job {
            "verify" => (tally.bytes, 0),
            "encrypt" | "decrypt" => (tally.bytes, tally.bytes),
            _ => (0, 0),
        };
        let (read_requests, write_requests) = (all + is_read * reads_each, objects * writes_each);
        // A data key in the cache serves many objects of one key, so this is the most that there can be.
        let kms_calls = if job == "keys" { 0 } else { all + objects * calls_each };
        let count = |number: u64| number as f64 / 1_000_000.0;
        let usd = count(read_requests) * PRICES[0]
            + count(write_requests) * PRICES[1]
            + count(kms_calls) * PRICES[2];
        Self { objects, bytes_read, bytes_written, read_requests, write_requests, kms_calls, usd }
    }
}
