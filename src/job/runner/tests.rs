use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::*;
use crate::job::report::ReportName;
use crate::job::select::filtered;
use crate::job::shard::Shard;
use crate::s3::{BucketName, ObjectKey};

const LIMITS: Limits = Limits { concurrency: 4, rate: None, bandwidth: None };

fn row(key: &str) -> Row {
    let bucket = BucketName::parse("b").unwrap();
    Row { bucket, object_key: ObjectKey::parse(key).unwrap(), version_id: None, listed: None }
}

fn outcome(status: Status, severity: Severity) -> Outcome {
    Outcome { status, severity, error_code: None, message: String::new(), bytes: 7, ..filtered("") }
}

fn done() -> Outcome {
    outcome(Status::Succeeded, Severity::None)
}

/// A feed of these keys, which ends.
fn fed(keys: impl Iterator<Item = String> + Send + 'static) -> mpsc::Receiver<Fed> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        for key in keys {
            if sender.send(Fed::Row(row(&key))).await.is_err() {
                return;
            }
        }
        let total = InputTotal { rows: Some(1), plan: None };
        drop(sender.send(Fed::End(total)).await);
    });
    receiver
}

fn keys(count: usize) -> mpsc::Receiver<Fed> {
    fed((0..count).map(|number| format!("k{number}")))
}

struct Ran {
    run: Run,
    rows: Vec<String>,
    failed: Vec<String>,
}

async fn run_until<F>(
    feed: mpsc::Receiver<Fed>,
    work: impl Fn(Row) -> F,
    grace: Duration,
    stop: impl Future<Output = ()>,
) -> Ran
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let place = crate::job::Place::Directory(directory.path().to_owned());
    let name = ReportName::new("verify", Shard::WHOLE);
    let mut report = Report::begin(Some(&place), name).await.unwrap();
    let run = run(feed, work, (LIMITS, grace), &mut report, &Progress::default(), stop).await.unwrap();
    report.end(crate::job::report::test_support::facts("verify", 0, 1)).await.unwrap();
    let read = |ending: &str| -> Vec<String> {
        let path = directory.path().join(format!("verify-00000-of-00001.{ending}"));
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    };
    Ran { run, rows: read("csv"), failed: read("failed.csv") }
}

async fn run_all<F>(feed: mpsc::Receiver<Fed>, work: impl Fn(Row) -> F) -> Ran
where
    F: Future<Output = Outcome> + Send + 'static,
{
    run_until(feed, work, Duration::from_secs(5), std::future::pending()).await
}

fn has_each_once(rows: &[String], count: usize) {
    let mut names: Vec<_> = rows.iter().map(|row| row.split(',').nth(1).unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!((rows.len(), names.len()), (count, count));
}

#[tokio::test]
async fn every_row_is_reported_once_and_few_are_begun_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = |_| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(3)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            done()
        }
    };
    let ran = run_all(keys(1_000), work).await;
    assert_eq!((ran.run.ending, ran.run.total.rows), (Ending::Complete, Some(1)));
    has_each_once(&ran.rows, 1_000);
    assert_eq!(most.load(Ordering::SeqCst), LIMITS.concurrency);
}

#[tokio::test]
async fn rows_that_raced_are_tried_again_after_the_others() {
    let tries = Arc::new(Mutex::new(Vec::new()));
    let work = |row: Row| {
        let tries = Arc::clone(&tries);
        async move {
            let key = row.object_key.to_string();
            tries.lock().unwrap().push(key.clone());
            let before = tries.lock().unwrap().iter().filter(|tried| **tried == key).count();
            match key.as_str() {
                "k3" if before == 1 => outcome(Status::Raced, Severity::None),
                "k5" => outcome(Status::Raced, Severity::None),
                _ => done(),
            }
        }
    };
    let ran = run_all(keys(100), work).await;
    has_each_once(&ran.rows, 100);
    let tries = tries.lock().unwrap();
    assert_eq!(tries.iter().filter(|key| *key == "k3").count(), 2);
    assert_eq!(tries.iter().filter(|key| *key == "k5").count(), MAX_TRIES as usize);
    let again = tries.iter().rposition(|key| key == "k3").unwrap();
    assert!(again >= 100, "tried again before the others: {again}");
    assert_eq!(ran.failed, ["b,k5"]);
    assert!(ran.rows.iter().any(|row| row.starts_with("b,k5,,raced,")));
}

#[tokio::test]
async fn a_throttled_row_waits_and_succeeds() {
    let refusals = Arc::new(AtomicU32::new(0));
    let work = |_| {
        let refusals = Arc::clone(&refusals);
        async move {
            if refusals.fetch_add(1, Ordering::SeqCst) < 20 {
                return outcome(Status::Failed, Severity::Throttled);
            }
            done()
        }
    };
    let ran = run_all(keys(50), work).await;
    has_each_once(&ran.rows, 50);
    assert!(ran.failed.is_empty(), "{:?}", ran.failed);
}

#[tokio::test]
async fn a_service_that_stays_away_ends_the_job() {
    let begun = Arc::new(AtomicU32::new(0));
    let work = |_| {
        begun.fetch_add(1, Ordering::SeqCst);
        async { outcome(Status::Failed, Severity::Unavailable) }
    };
    let ran = run_all(keys(100_000), work).await;
    assert_eq!(ran.run.ending, Ending::Unavailable);
    assert!(matches!(ran.run.failure, Some(JobError::Unavailable(_))));
    let begun = begun.load(Ordering::SeqCst);
    assert!((MAX_UNAVAILABLE..MAX_UNAVAILABLE + 10).contains(&begun), "{begun}");
}

#[tokio::test]
async fn a_panic_is_a_failed_row() {
    let work = |row: Row| async move {
        assert_ne!(row.object_key.as_str(), "k7");
        done()
    };
    let ran = run_all(keys(20), work).await;
    has_each_once(&ran.rows, 20);
    assert_eq!(ran.failed, ["b,k7"]);
    assert!(ran.rows.iter().any(|row| row.starts_with("b,k7,,failed,InternalError,")));
}

/// Work that begins at once, and ends when the gate is opened.
fn gated(
    begun: &Arc<AtomicU32>,
    gate: &Arc<Semaphore>,
) -> impl Fn(Row) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    let (begun, gate) = (Arc::clone(begun), Arc::clone(gate));
    move |_| {
        begun.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            drop(gate.acquire().await.unwrap());
            done()
        })
    }
}

#[tokio::test]
async fn after_a_stop_no_row_is_begun_and_running_ones_end() {
    let (begun, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let stop = async {
        while begun.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
    };
    let work = gated(&begun, &gate);
    let ran = run_until(keys(1_000), work, Duration::from_secs(60), stop).await;
    assert_eq!(ran.run.ending, Ending::Interrupted);
    assert_eq!((begun.load(Ordering::SeqCst), ran.rows.len()), (4, 4));
}

#[tokio::test]
async fn work_that_exceeds_the_grace_is_ended_and_has_no_row() {
    let begun = Arc::new(AtomicU32::new(0));
    let work = |row: Row| {
        begun.fetch_add(1, Ordering::SeqCst);
        async move {
            if row.object_key.as_str() == "k1" {
                std::future::pending::<()>().await;
            }
            done()
        }
    };
    let stop = async {
        while begun.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
    };
    let ran = run_until(keys(3), work, Duration::from_millis(300), stop).await;
    assert_eq!(ran.run.ending, Ending::Interrupted);
    assert_eq!(ran.rows.len(), 2);
}

#[tokio::test]
async fn a_stop_after_the_last_row_leaves_a_whole_report() {
    let (begun, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let (sender, receiver) = mpsc::channel(8);
    for key in ["k1", "k2", "k3"] {
        sender.send(Fed::Row(row(key))).await.unwrap();
    }
    sender.send(Fed::End(InputTotal::default())).await.unwrap();
    let stop = async {
        while sender.capacity() < 8 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
    };
    let ran = run_until(receiver, gated(&begun, &gate), Duration::from_secs(60), stop).await;
    assert_eq!((ran.run.ending, ran.rows.len()), (Ending::Complete, 3));
}

#[tokio::test]
async fn an_input_that_breaks_off_leaves_an_incomplete_report() {
    let (sender, receiver) = mpsc::channel(8);
    sender.send(Fed::Row(row("k"))).await.unwrap();
    sender.send(Fed::NotSampled).await.unwrap();
    sender.send(Fed::Failed(JobError::NotAuthentic("cut".to_owned()))).await.unwrap();
    let ran = run_all(receiver, |_| async { done() }).await;
    assert_eq!((ran.run.ending, ran.rows.len()), (Ending::InputFailed, 1));
    let (sender, receiver) = mpsc::channel(8);
    drop(sender);
    assert_eq!(run_all(receiver, |_| async { done() }).await.run.ending, Ending::InputFailed);
}
