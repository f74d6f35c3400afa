//! What a running job shows on standard error: a bar on a terminal, else a line of JSON every ten seconds.
//! It must not know how a job runs.
//! It promises that a screen which can't be written to does not end a job.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::job::{Progress, ProgressCounts};
use crate::timer;

/// How often lines are written.
const LINES: Duration = Duration::from_secs(10);

/// How often the bar is drawn.
const FRAMES: Duration = Duration::from_millis(200);

const TEMPLATE: &str = "{spinner} {msg}";

/// The screen of a running job.
pub(super) struct Screen {
    task: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    job: &'a str,
    rows: u64,
    failed: u64,
    bytes: u64,
    waiting: u64,
    remaining: Option<u64>,
    rows_per_second: f64,
    seconds: f64,
}

/// Shows the progress of a job from now on.
pub(super) fn show(job: &'static str, progress: Progress) -> Screen {
    if io::stderr().is_terminal() {
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is valid");
        let bar = ProgressBar::new_spinner().with_style(style);
        let drawn = bar.clone();
        let task = tokio::spawn(async move {
            let began = Instant::now();
            loop {
                timer::sleep(FRAMES).await;
                drawn.set_message(message(job, progress.counts(), began.elapsed()));
                drawn.tick();
            }
        });
        return Screen { task, bar: Some(bar) };
    }
    let task = tokio::spawn(async move {
        let began = Instant::now();
        loop {
            timer::sleep(LINES).await;
            drop(writeln!(io::stderr(), "{}", line(job, progress.counts(), began.elapsed())));
        }
    });
    Screen { task, bar: None }
}

impl Screen {
    /// Clears the screen for the summary.
    pub(super) fn end(self) {
        self.task.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

fn message(job: &str, counts: ProgressCounts, time: Duration) -> String {
    let ProgressCounts { rows, failed, bytes, waiting, remaining } = counts;
    let remaining = remaining.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
    let waiting = if waiting > 0 { format!(", {waiting} to try again") } else { String::new() };
    format!(
        "{job}: {rows} objects, {}, {:.0}/s, {remaining} remaining, {failed} failed{waiting}",
        HumanBytes(bytes),
        rate(rows, time)
    )
}

fn line(job: &str, counts: ProgressCounts, time: Duration) -> String {
    let ProgressCounts { rows, failed, bytes, waiting, remaining } = counts;
    let rows_per_second = (rate(rows, time) * 10.0).round() / 10.0;
    let seconds = time.as_secs_f64().round();
    let line =
        Line { event: "progress", job, rows, failed, bytes, waiting, remaining, rows_per_second, seconds };
    serde_json::to_string(&line).expect("a line is text and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: ProgressCounts =
        ProgressCounts { rows: 20, failed: 1, bytes: 2_048, waiting: 0, remaining: None };

    #[test]
    fn counts_are_shown_to_people_and_programs() {
        let time = Duration::from_secs(10);
        let text = message("verify", COUNTS, time);
        assert_eq!(text, "verify: 20 objects, 2.00 KiB, 2/s, ? remaining, 1 failed");
        let waiting = ProgressCounts { waiting: 3, remaining: Some(5), ..COUNTS };
        let text = message("verify", waiting, time);
        assert!(text.ends_with("5 remaining, 1 failed, 3 to try again"), "{text}");
        let line: serde_json::Value = serde_json::from_str(&line("verify", COUNTS, time)).unwrap();
        assert_eq!(
            (&line["event"], &line["rows"], &line["rows_per_second"]),
            (&"progress".into(), &20.into(), &2.0.into())
        );
    }
}
