//! The exit codes of jobs, by which engines decide whether to run a shard again.
//! It must not know what a job does.
//! It promises that an object which failed authentication decides, whatever else happened.

use crate::cli::{Failure, IO, UNAVAILABLE, USAGE};
use crate::job::{Ending, JobError, MergedReport, Summary, Tally};

/// EX_DATAERR: an object failed authentication. Running again does not help.
const NOT_AUTHENTIC: u8 = 65;

/// EX_TEMPFAIL: interrupted, throttled out, or incomplete. To be run again.
pub(super) const AGAIN: u8 = 75;

/// The exit code for the failure of a job as a whole.
pub(super) fn code(error: &JobError) -> u8 {
    match error {
        JobError::Invalid(_) => USAGE,
        JobError::Unavailable(_) => UNAVAILABLE,
        JobError::Again(_) => AGAIN,
        JobError::NotAuthentic(_) => NOT_AUTHENTIC,
        JobError::Io { .. } => IO,
    }
}

/// The failure of a job that has no summary.
pub(super) fn failure(error: JobError) -> Failure {
    let exit_code = code(&error);
    match error {
        JobError::Io { action, source } => Failure::Io { action, source },
        JobError::Invalid(message)
        | JobError::Unavailable(message)
        | JobError::Again(message)
        | JobError::NotAuthentic(message) => Failure::Job { message, exit_code },
    }
}

/// Whether a run succeeded.
pub(super) fn of_summary(summary: &Summary) -> Result<(), Failure> {
    let facts = &summary.facts;
    let reason = facts.reason.as_deref().unwrap_or("see the report");
    if let Some(failure) = not_authentic(&summary.tally) {
        return Err(failure);
    }
    match (&facts.ending, facts.failure_code) {
        (Ending::Complete, _) => of_rows(&summary.tally),
        (Ending::Interrupted, _) => {
            failed(AGAIN, "interrupted: rows are missing in the report, run the job again")
        }
        (Ending::Unavailable | Ending::InputFailed, code) => {
            failed(code.unwrap_or(UNAVAILABLE), &format!("the job ended before its input did: {reason}"))
        }
    }
}

/// Whether all shards together succeeded.
pub(super) fn of_merged(merged: &MergedReport) -> Result<(), Failure> {
    if let Some(failure) = not_authentic(&merged.tally) {
        return Err(failure);
    }
    if !merged.is_whole() {
        return failed(AGAIN, &format!("the report is incomplete: {}", merged.problems.join("; ")));
    }
    of_rows(&merged.tally)
}

fn not_authentic(tally: &Tally) -> Option<Failure> {
    let count = tally.not_authentic;
    let message = format!("{count} objects failed authentication: running again does not help");
    (count > 0).then_some(Failure::Job { message, exit_code: NOT_AUTHENTIC })
}

fn of_rows(tally: &Tally) -> Result<(), Failure> {
    let Tally { unavailable, throttled, raced, invalid_rows, failed: all, .. } = *tally;
    let away = "objects failed because the storage or a key holder was away: run the job again";
    let again = "objects were throttled, or changed each time they were tried: run the job again";
    for (count, exit_code, text) in [
        (unavailable, UNAVAILABLE, away),
        (throttled + raced, AGAIN, again),
        (invalid_rows, USAGE, "rows of the input can't be read: see the report"),
        (all, IO, "objects failed: see the report"),
    ] {
        if count > 0 {
            return failed(exit_code, &format!("{count} {text}"));
        }
    }
    Ok(())
}

fn failed(exit_code: u8, message: &str) -> Result<(), Failure> {
    Err(Failure::Job { message: message.to_owned(), exit_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(tally: Tally) -> u8 {
        let outcome = match not_authentic(&tally) {
            Some(failure) => Err(failure),
            None => of_rows(&tally),
        };
        outcome.map_or_else(|failure| failure.exit_code(), |()| 0)
    }

    #[test]
    fn the_most_serious_row_decides() {
        let mut tally = Tally { rows: 9, succeeded: 5, skipped: 4, ..Tally::default() };
        assert_eq!(exit_code(tally.clone()), 0);
        tally.failed += 1;
        assert_eq!(exit_code(tally.clone()), 74);
        tally.invalid_rows += 1;
        assert_eq!(exit_code(tally.clone()), 64);
        tally.raced += 1;
        assert_eq!(exit_code(tally.clone()), 75);
        tally.unavailable += 1;
        assert_eq!(exit_code(tally.clone()), 69);
        tally.not_authentic += 1;
        assert_eq!(exit_code(tally), 65);
    }
}
