//! The file in which a running job shows its metrics, as Prometheus reads them.
//! It must not know which metrics are counted where.
//! It promises that a reader of the file finds all of one moment, and the exit code once the job has ended.
//!
//! A job may end before anything asks it for metrics, and it listens on no port. node_exporter reads what
//! ends with `.prom` in its directory, at each scrape:
//! <https://github.com/prometheus/node_exporter#textfile-collector>

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};
use tokio::task::JoinHandle;

use crate::cli::Failure;
use crate::cli::serve::{self, metric_descriptions};
use crate::job::{Progress, Shard};
use crate::metric::timestamp_seconds;
use crate::timer;
use crate::upstream::Upstreams;

/// How often the file is written.
const INTERVAL: Duration = Duration::from_secs(10);

/// How a row may have ended, and why one may be tried again, as they are counted.
const STATUSES: [&str; 5] = ["succeeded", "unchanged", "skipped", "raced", "failed"];
const REASONS: [&str; 3] = ["raced", "throttled", "unavailable"];

/// The file. Clones write the same one.
#[derive(Clone)]
pub(super) struct MetricsFile {
    path: PathBuf,
    handle: PrometheusHandle,
}

impl MetricsFile {
    /// The file at `path`, or the one in the directory `path` that is named by job and shard. Returns the
    /// recorder, too, which has to be installed.
    pub(super) fn new(path: &Path, job: &str, shard: Shard) -> (Self, PrometheusRecorder) {
        let (index, count) = (shard.index(), shard.count());
        let path = if path.is_dir() {
            path.join(format!("s3veil-{job}-{index:05}-of-{count:05}.prom"))
        } else {
            path.to_owned()
        };
        // Prometheus's own label `job` names what is scraped.
        let recorder = serve::recorder_with(&[("task", job.to_owned()), ("shard", index.to_string())]);
        (Self { path, handle: recorder.handle() }, recorder)
    }

    /// Writes the file for the first time, with the values that exist from the start.
    ///
    /// # Errors
    /// [`Failure::Io`] if the file can't be written.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        metric_descriptions::describe();
        metrics::gauge!("s3veil_job_started_timestamp_seconds").set(timestamp_seconds(SystemTime::now()));
        for status in STATUSES {
            metrics::counter!("s3veil_job_rows_total", "status" => status).increment(0);
        }
        for reason in REASONS {
            metrics::counter!("s3veil_job_retries_total", "reason" => reason).increment(0);
        }
        for name in ["s3veil_job_bytes_total", "s3veil_job_backoffs_total"] {
            metrics::counter!(name).increment(0);
        }
        self.write().map_err(|source| {
            let action = format!("writing the metrics {}", self.path.display());
            Failure::Io { action, source }
        })
    }

    /// Writes the file every ten seconds, until the task is aborted.
    pub(super) fn keep(self, progress: Progress, upstreams: Upstreams) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                timer::sleep(INTERVAL).await;
                measure(&progress, &upstreams);
                let file = self.clone();
                let written = tokio::task::spawn_blocking(move || file.write()).await;
                if let Ok(Err(error)) = written {
                    tracing::warn!(%error, path = %self.path.display(), "the metrics can't be written");
                }
            }
        })
    }

    /// Writes the file for the last time.
    pub(super) fn end(&self, exit_code: u8) {
        metrics::gauge!("s3veil_job_ended_timestamp_seconds").set(timestamp_seconds(SystemTime::now()));
        metrics::gauge!("s3veil_job_exit_code").set(f64::from(exit_code));
        if let Err(error) = self.write() {
            tracing::warn!(%error, path = %self.path.display(), "the metrics can't be written");
        }
    }

    /// Replaces the file, so that no reader finds a part of it.
    fn write(&self) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".partial");
        fs::write(&name, self.handle.render())?;
        fs::rename(&name, &self.path)
    }
}

/// Sets the metrics that others count.
pub(super) fn measure(progress: &Progress, upstreams: &Upstreams) {
    let (mut reads, mut writes) = (0, 0);
    for (_, upstream) in upstreams.all() {
        let (more_reads, more_writes) = upstream.request_counts();
        (reads, writes) = (reads + more_reads, writes + more_writes);
    }
    for (kind, count) in [("read", reads), ("write", writes)] {
        metrics::counter!("s3veil_job_requests_total", "kind" => kind).absolute(count);
    }
    let counts = progress.counts();
    metrics::gauge!("s3veil_job_rows_waiting").set(counts.waiting as f64);
    if let Some(remaining) = counts.remaining {
        metrics::gauge!("s3veil_job_rows_remaining").set(remaining as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_metrics_of_one_moment() {
        let directory = tempfile::tempdir().unwrap();
        let (file, recorder) = MetricsFile::new(directory.path(), "rewrap", Shard::parse(3, 8).unwrap());
        metrics::with_local_recorder(&recorder, || {
            file.begin().unwrap();
            metrics::counter!("s3veil_job_rows_total", "status" => "failed").increment(2);
            file.end(74);
        });
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let text = fs::read_to_string(directory.path().join("s3veil-rewrap-00003-of-00008.prom")).unwrap();
        let labels = "task=\"rewrap\",shard=\"3\"";
        for line in [
            format!("s3veil_job_rows_total{{{labels},status=\"failed\"}} 2"),
            format!("s3veil_job_rows_total{{{labels},status=\"raced\"}} 0"),
            format!("s3veil_job_exit_code{{{labels}}} 74"),
            "# TYPE s3veil_job_rows_total counter".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_file_that_can_not_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/metrics.prom");
        let (file, recorder) = MetricsFile::new(&path, "verify", Shard::WHOLE);
        let failure = metrics::with_local_recorder(&recorder, || file.begin()).unwrap_err();
        assert!(failure.to_string().contains("missing/metrics.prom"), "{failure}");
    }
}
