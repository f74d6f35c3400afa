use std::path::Path;

use super::test_support::facts;
use super::*;
use crate::job::outcome::Severity;
use crate::job::select::filtered;

fn object(key: &str) -> ReportedObject<'_> {
    ReportedObject { bucket: "b", object_key: key, version_id: None, is_latest: true }
}

fn under(key: Option<&str>, bytes: u64) -> Outcome {
    Outcome {
        status: Status::Succeeded,
        error_code: None,
        message: String::new(),
        bytes,
        format: Some("native"),
        key_before: key.map(str::to_owned),
        ..filtered("")
    }
}

fn failed() -> Outcome {
    Outcome { status: Status::Failed, severity: Severity::NotAuthentic, ..under(None, 0) }
}

async fn write(
    directory: &Path,
    shard: u32,
    shards: u32,
    rows: &[(&str, Outcome)],
    change: impl Fn(&mut RunFacts),
) {
    let place = Place::Directory(directory.to_owned());
    let name = ReportName::new("verify", Shard::parse(shard, shards).unwrap());
    let mut report = Report::begin(Some(&place), name).await.unwrap();
    for (key, outcome) in rows {
        report.add(object(key), outcome).await.unwrap();
    }
    let mut facts = facts("verify", shard, shards);
    facts.input_rows = Some(3);
    change(&mut facts);
    report.end(facts).await.unwrap();
}

async fn merged(directory: &Path) -> Result<MergedReport, JobError> {
    merge(&Place::Directory(directory.to_owned())).await
}

fn names(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn shards_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write(path, 0, 2, &[("a", under(Some("K"), 5)), ("b", failed())], |_| ()).await;
    let half = merged(path).await.unwrap();
    assert_eq!((half.is_whole(), half.shards_found), (false, 1));
    assert!(half.problems[0].contains("missing 1 of 2 shards: 1"), "{:?}", half.problems);
    write(path, 1, 2, &[("c", under(Some("K"), 7))], |_| ()).await;
    let whole = merged(path).await.unwrap();
    assert!(whole.is_whole(), "{:?}", whole.problems);
    let Tally { rows, succeeded, failed, not_authentic, bytes, .. } = whole.tally;
    assert_eq!((rows, succeeded, failed, not_authentic, bytes), (3, 2, 1, 1, 12));
    assert_eq!(whole.tally.keys_before["K"], KeyCount { objects: 2, versions: 2, bytes: 12 });
    assert_eq!(std::fs::read_to_string(path.join("verify-00000-of-00002.failed.csv")).unwrap(), "b,b\n");
}

#[tokio::test]
async fn a_report_that_is_not_whole_says_why() {
    let rows = [("a", under(None, 1)), ("b", under(None, 1)), ("c", under(None, 1))];
    for (change, said) in [
        ((|facts| facts.ending = Ending::Interrupted) as fn(&mut RunFacts), "shard 0 is incomplete"),
        (|facts| facts.input_rows = Some(4), "the input has 4 rows, and the report 3"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 0, 1, &rows, change).await;
        let merged = merged(directory.path()).await.unwrap();
        assert!(merged.problems.iter().any(|problem| problem.contains(said)), "{:?}", merged.problems);
    }
    for (change, said) in [
        ((|facts| facts.plan = Some("1".to_owned())) as fn(&mut RunFacts), "divided the listing differently"),
        (|facts| facts.input = "s3://other/".to_owned(), "different inputs"),
        (|facts| facts.input_rows = Some(9), "the input changed"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 0, 2, &rows[..2], |_| ()).await;
        write(directory.path(), 1, 2, &rows[2..], change).await;
        let merged = merged(directory.path()).await.unwrap();
        assert!(merged.problems.iter().any(|problem| problem.contains(said)), "{:?}", merged.problems);
    }
}

#[tokio::test]
async fn files_that_are_cut_or_of_another_run_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let rows = [("a", under(None, 1)), ("b", under(None, 1)), ("c", under(None, 1))];
    write(path, 0, 1, &rows, |_| ()).await;
    assert!(merged(path).await.unwrap().is_whole());
    let csv = path.join("verify-00000-of-00001.csv");
    let content = std::fs::read(&csv).unwrap();
    std::fs::write(&csv, &content[1..]).unwrap();
    assert!(!merged(path).await.unwrap().is_whole());
    std::fs::remove_file(&csv).unwrap();
    assert!(!merged(path).await.unwrap().is_whole());
    std::fs::write(path.join("keys-00000-of-00001.csv"), "").unwrap();
    let refused = merged(path).await.unwrap_err().to_string();
    assert!(refused.contains("several jobs"), "{refused}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(merged(empty.path()).await, Err(JobError::Invalid(_))));
}

/// What a killed process leaves behind.
#[tokio::test]
async fn a_report_that_never_ended_is_not_there_and_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_owned());
    let name = || ReportName::new("verify", Shard::WHOLE);
    let mut killed = Report::begin(Some(&place), name()).await.unwrap();
    killed.add(object("a"), &under(None, 1)).await.unwrap();
    killed.flush().await.unwrap();
    drop(killed);
    assert!(names(directory.path()).iter().all(|name| name.ends_with(".partial")));
    assert!(matches!(merged(directory.path()).await, Err(JobError::Again(_))));
    let rows = [("a", under(None, 1)), ("b", under(None, 1)), ("c", under(None, 1))];
    write(directory.path(), 0, 1, &rows, |_| ()).await;
    assert!(merged(directory.path()).await.unwrap().is_whole());
    // A run after it leaves the report until it ends itself.
    let again = Report::begin(Some(&place), name()).await.unwrap();
    assert!(merged(directory.path()).await.unwrap().is_whole());
    drop(again);
}

#[tokio::test]
async fn of_two_writers_of_a_new_file_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_owned());
    assert!(place.write_new("plan", b"one".to_vec()).await.unwrap());
    assert!(!place.write_new("plan", b"two".to_vec()).await.unwrap());
    assert_eq!(place.read_small("plan").await.unwrap().unwrap(), b"one");
    assert_eq!(names(directory.path()), ["plan"]);
    assert_eq!(place.read_small("other").await.unwrap(), None);
}

#[test]
fn keys_beyond_a_number_are_counted_together() {
    let mut tally = Tally::default();
    for number in 0..11_000 {
        tally.add(number % 2 == 0, &under(Some(&format!("key{number}")), 1));
    }
    tally.add(true, &under(None, 1));
    tally.add(true, &filtered("x"));
    assert!(tally.keys_before.len() <= 10_001);
    let (under, open) = tally.versions_under(&crate::keyring::KeyId::parse("key5").unwrap());
    assert_eq!(under, 1);
    assert!(open >= 1_000, "{open}");
    let sum: u64 = tally.keys_before.values().map(|count| count.versions).sum();
    assert_eq!((sum, tally.rows, tally.skipped), (11_001, 11_002, 1));
}
