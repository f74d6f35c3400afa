//! Facts of runs for tests.

use super::{Ending, RunFacts};

/// The facts of a run that is complete.
pub fn facts(job: &str, shard: u32, shards: u32) -> RunFacts {
    RunFacts {
        version: "0".to_owned(),
        job: job.to_owned(),
        input: "s3://b/".to_owned(),
        shard,
        shards,
        ending: Ending::Complete,
        reason: None,
        failure_code: None,
        dry_run: false,
        started: String::new(),
        seconds: 0.0,
        input_rows: None,
        plan: None,
        sample: None,
        seed: None,
        key_id: None,
        all_versions: None,
        read_requests: 0,
        write_requests: 0,
        kms_calls: 0,
    }
}
