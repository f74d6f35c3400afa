//! Reads the rows of a shard ahead of the objects that are worked on, and sorts out those that need no work.
//! It must not know what the work is.
//! It promises that every row is given out once, and that few are read ahead.

use tokio::sync::mpsc;

use super::error::JobError;
use super::input::{Input, InputRow, InputTotal, InvalidRow};
use super::outcome::{Outcome, Severity, Status};
use super::progress::Progress;
use super::report::INVALID_ROW;
use super::row::Row;
use super::select::{Selection, filtered};

/// How many rows are read ahead.
const AHEAD: usize = 256;

/// What the feed gives out.
#[derive(Debug)]
pub(super) enum Fed {
    /// A row to work on.
    Row(Row),
    /// A row of the report that needs no work.
    Settled(Row, Box<Outcome>),
    /// A row that can't be read, and its outcome.
    Invalid(InvalidRow, Box<Outcome>),
    /// A row that is not in the sample.
    NotSampled,
    /// The last row was given out.
    End(InputTotal),
    /// The input can't be read on.
    Failed(JobError),
}

/// Reads an input to its end, in a task of its own.
pub(super) fn feed(mut input: Input, selection: Selection, progress: Progress) -> mpsc::Receiver<Fed> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        loop {
            let (fed, is_last) = match input.next().await {
                Ok(Some(row)) => (sorted(row, &selection), false),
                Ok(None) => (Fed::End(input.total()), true),
                Err(error) => (Fed::Failed(error), true),
            };
            match &fed {
                Fed::Row(_) | Fed::Settled(..) | Fed::Invalid(..) => progress.read(),
                Fed::End(_) => progress.read_all(),
                Fed::NotSampled | Fed::Failed(_) => {}
            }
            // The receiver is gone when the job ends early.
            if sender.send(fed).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn sorted(row: InputRow, selection: &Selection) -> Fed {
    match row {
        InputRow::Invalid(row) => {
            let outcome = Outcome {
                status: Status::Failed,
                is_unchanged: false,
                severity: Severity::Row,
                error_code: Some(INVALID_ROW.to_owned()),
                message: row.problem.clone(),
                ..filtered("")
            };
            Fed::Invalid(row, Box::new(outcome))
        }
        InputRow::Object(row) | InputRow::DeleteMarker(row) if !selection.has_sampled(&row) => {
            Fed::NotSampled
        }
        InputRow::DeleteMarker(row) => Fed::Settled(row, Box::new(filtered("a delete marker"))),
        InputRow::Object(row) => match selection.refuse(&row) {
            Some(outcome) => Fed::Settled(row, Box::new(outcome)),
            None => Fed::Row(row),
        },
    }
}
