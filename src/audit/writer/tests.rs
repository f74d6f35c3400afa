use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::audit::verification::{Report, Verifier};
use crate::audit::{AuditError, AuditLog, OnFailure, Settings};

struct Folder {
    folder: tempfile::TempDir,
    key: SigningKey,
}

impl Folder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), key: SigningKey::generate().unwrap().0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn try_start(&self, name: &str) -> Result<AuditLog, AuditError> {
        let settings = Settings {
            file: self.path(name),
            signing_key: Some(self.key.clone()),
            on_failure: OnFailure::Refuse,
        };
        AuditLog::start(&settings)
    }

    fn start(&self, name: &str) -> AuditLog {
        self.try_start(name).unwrap()
    }

    fn verify(&self, names: &[&str]) -> Report {
        let mut verifier = Verifier::new(vec![self.key.public_key()]);
        for name in names {
            verifier.begin_file(name);
            let text = fs::read(self.path(name)).unwrap();
            let lines = text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n');
            lines.for_each(|line| verifier.line(line));
        }
        verifier.finish()
    }

    /// The types of the lines.
    fn kinds(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        let kind = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).ok()?["type"].as_str().map(str::to_owned)
        };
        text.lines().map(|line| kind(line).unwrap_or_else(|| "torn".to_owned())).collect()
    }
}

fn record(log: &AuditLog, number: u64) {
    log.handle().record(SystemTime::now(), |entry| entry.number(field!("number"), number));
}

fn is_good(report: &Report) {
    assert!(report.problems.is_empty(), "{report:?}");
}

fn wait_for(file: &Path, what: &str) {
    while !fs::read_to_string(file).is_ok_and(|text| text.contains(what)) {
        std::thread::yield_now();
    }
}

#[test]
fn a_process_goes_on_with_the_chain_of_the_one_before() {
    let folder = Folder::new();
    for number in 0..3 {
        let log = folder.start("log");
        record(&log, number);
    }
    let each = ["start", "checkpoint", "request", "checkpoint"];
    let expected: Vec<_> = ["begin"].iter().chain(&each[1..]).chain(&each).chain(&each).copied().collect();
    assert_eq!(folder.kinds("log"), expected);
    let report = folder.verify(&["log"]);
    is_good(&report);
    assert!(report.is_ended);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(folder.path("log")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_second_process_and_a_file_of_something_else_are_refused() {
    let folder = Folder::new();
    let log = folder.start("log");
    assert!(matches!(folder.try_start("log"), Err(AuditError::InUse(_))));
    drop(log);
    drop(folder.start("log"));
    fs::write(folder.path("other"), "something else\n").unwrap();
    assert!(matches!(folder.try_start("other"), Err(AuditError::NotAnAuditLog(_))));
    assert!(matches!(folder.try_start("no/folder"), Err(AuditError::Io { .. })));
    fs::create_dir(folder.path("directory")).unwrap();
    assert!(matches!(folder.try_start("directory"), Err(AuditError::Io { .. })));
    assert_eq!(fs::read_to_string(folder.path("other")).unwrap(), "something else\n");
}

/// A file as a process leaves it that is killed, at each length of its last lines.
#[test]
fn after_a_kill_the_chain_goes_on_at_any_length_of_the_last_line() {
    let folder = Folder::new();
    let log = folder.start("whole");
    (0..3).for_each(|number| record(&log, number));
    drop(log);
    let whole = fs::read(folder.path("whole")).unwrap();
    let before_last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for length in
        (before_last - 3..whole.len()).step_by(7).chain([before_last, before_last + 1, whole.len() - 1])
    {
        fs::write(folder.path("log"), &whole[..length]).unwrap();
        let log = folder.start("log");
        record(&log, 4);
        drop(log);
        let report = folder.verify(&["log"]);
        is_good(&report);
        let is_whole = length == whole.len() - 1;
        let kinds = folder.kinds("log");
        assert_eq!(kinds.contains(&"gap".to_owned()), !is_whole, "{length}: {kinds:?}");
        assert!(fs::read(folder.path("log")).unwrap().starts_with(&whole[..length]), "nothing is removed");
        fs::remove_file(folder.path("log.state")).unwrap();
    }
}

#[test]
fn lines_that_were_cut_off_before_the_start_are_missed() {
    let folder = Folder::new();
    let log = folder.start("log");
    record(&log, 1);
    drop(log);
    let text = fs::read_to_string(folder.path("log")).unwrap();
    let two: String = text.split_inclusive('\n').take(2).collect();
    fs::write(folder.path("log"), two).unwrap();
    drop(folder.start("log"));
    let text = fs::read_to_string(folder.path("log")).unwrap();
    assert!(
        text.contains("\"reason\":\"lines are missing\"") && text.contains("\"expected\":\"4:"),
        "{text}"
    );
    is_good(&folder.verify(&["log"]));
}

#[test]
fn a_renamed_file_is_followed_by_one_that_links_to_it() {
    let folder = Folder::new();
    let log = folder.start("log");
    for number in 1..=3 {
        record(&log, number);
        wait_for(&folder.path("log"), &format!("\"number\":{number}"));
        fs::rename(folder.path("log"), folder.path(&format!("log.{number}"))).unwrap();
        log.handle().reopen();
        wait_for(&folder.path("log"), "checkpoint");
    }
    record(&log, 4);
    drop(log);
    is_good(&folder.verify(&["log.1", "log.2", "log.3", "log"]));
    assert_eq!(folder.kinds("log"), ["begin", "checkpoint", "request", "checkpoint"]);
    let report = folder.verify(&["log.2", "log.3"]);
    is_good(&report);
    assert!(report.notes[0].contains("goes on after line"), "{report:?}");
    assert_eq!(folder.verify(&["log.1", "log.3", "log"]).problems.len(), 1, "a file is missing");
    // A file that was moved while no process ran.
    fs::rename(folder.path("log"), folder.path("log.4")).unwrap();
    drop(folder.start("log"));
    is_good(&folder.verify(&["log.1", "log.2", "log.3", "log.4", "log"]));
}

#[test]
fn a_file_that_was_moved_after_a_kill_is_followed_from_its_last_checkpoint() {
    let folder = Folder::new();
    let log = folder.start("log");
    record(&log, 1);
    wait_for(&folder.path("log"), "\"number\":1");
    fs::copy(folder.path("log"), folder.path("killed.1")).unwrap();
    fs::copy(folder.path("log.state"), folder.path("killed.state")).unwrap();
    drop(log);
    drop(folder.start("killed"));
    let report = folder.verify(&["killed.1", "killed"]);
    is_good(&report);
    assert!(report.notes[0].contains("1 lines follow the last checkpoint"), "{report:?}");
}

#[test]
fn a_file_that_is_copied_and_cut_goes_on_without_loss() {
    let folder = Folder::new();
    let log = folder.start("log");
    record(&log, 1);
    wait_for(&folder.path("log"), "\"number\":1");
    fs::copy(folder.path("log"), folder.path("log.1")).unwrap();
    fs::OpenOptions::new().write(true).open(folder.path("log")).unwrap().set_len(0).unwrap();
    log.handle().reopen();
    wait_for(&folder.path("log"), "checkpoint");
    drop(log);
    is_good(&folder.verify(&["log.1", "log"]));
}

/// A directory in place of the file: nothing can be written, until it is away.
#[test]
fn what_could_not_be_written_is_written_later() {
    let folder = Folder::new();
    let log = folder.start("log");
    record(&log, 1);
    wait_for(&folder.path("log"), "\"number\":1");
    fs::rename(folder.path("log"), folder.path("log.1")).unwrap();
    fs::create_dir(folder.path("log")).unwrap();
    log.handle().reopen();
    let audit = log.handle();
    while audit.admit().is_ok() {
        std::thread::yield_now();
    }
    record(&log, 2);
    audit.record_refusal(SystemTime::now(), |_| {});
    fs::remove_dir(folder.path("log")).unwrap();
    wait_for(&folder.path("log"), "\"number\":2");
    while audit.admit().is_err() {
        std::thread::yield_now();
    }
    drop(log);
    assert_eq!(folder.kinds("log")[..3], ["begin", "outage", "checkpoint"]);
    let text = fs::read_to_string(folder.path("log")).unwrap();
    assert!(text.contains("\"cause\":\"it is no regular file\""), "{text}");
    assert!(text.contains("\"lost\":1,\"refused\":"), "{text}");
    is_good(&folder.verify(&["log.1", "log"]));
}
