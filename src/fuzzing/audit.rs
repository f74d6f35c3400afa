//! The audit log, which an operator verifies.

use std::sync::LazyLock;

use crate::audit::{Report, SigningKey, Verifier};

/// A key that has signed nothing.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().expect("a key").0);

/// No log is accepted that the key did not sign, and no line of an accepted chain can be left out between two
/// others.
pub fn audit_log(data: &[u8]) {
    let lines: Vec<_> = data.strip_suffix(b"\n").unwrap_or(data).split(|byte| *byte == b'\n').collect();
    let signed = verified(Verifier::new(vec![KEY.public_key()]), &lines);
    assert!(!signed.problems.is_empty(), "This is a security issue: a log that was not signed.");
    let chained = verified(Verifier::new(Vec::new()), &lines);
    if chained.problems.is_empty() && lines.len() > 2 {
        let without = [&lines[..1], &lines[2..]].concat();
        let problems = verified(Verifier::new(Vec::new()), &without).problems;
        assert!(!problems.is_empty(), "This is a security issue: a line is missing.");
    }
}

fn verified(mut verifier: Verifier, lines: &[&[u8]]) -> Report {
    verifier.begin_file("log");
    lines.iter().for_each(|line| verifier.line(line));
    verifier.finish()
}
