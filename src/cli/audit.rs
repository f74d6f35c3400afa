//! `audit verify`: reads the files of an audit log and reports what is wrong with them.
//! It must not know how lines are chained.
//! It promises to say what the files can't show, and constant memory but for the longest line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use super::{AuditCommand, Failure, Verify};
use crate::audit::{PublicKey, Report, Verifier};

/// Maximum length in bytes of what is read as one line: those of s3veil are shorter.
const MAX_LINE: u64 = 1 << 20;

/// Runs a command about audit logs; the report is written to `output`.
///
/// # Errors
/// [`Failure::Altered`] if anything is wrong, [`Failure::Usage`] for a file that holds no public key,
/// [`Failure::Io`] for one that can't be read.
pub(super) fn run(command: &AuditCommand, output: &mut dyn Write) -> Result<(), Failure> {
    let AuditCommand::Verify(arguments) = command;
    let keys = arguments.public_key.iter().map(|file| read_key(file)).collect::<Result<Vec<_>, _>>()?;
    let has_keys = !keys.is_empty();
    let mut verifier = Verifier::new(keys).at_least(arguments.at_least).ended(arguments.ended);
    for file in &arguments.files {
        read_lines(file, &mut verifier)?;
    }
    let report = verifier.finish();
    let text = describe(&report, arguments, has_keys);
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(|source| Failure::Io { action: "writing the output".to_owned(), source })?;
    match report.problems.len() as u64 + report.further {
        0 => Ok(()),
        1 => Err(Failure::Altered("the audit log has a problem".to_owned())),
        number => Err(Failure::Altered(format!(
            "the audit log has {number} problems; the first one may cause others"
        ))),
    }
}

fn read_key(file: &Path) -> Result<PublicKey, Failure> {
    let pem = std::fs::read(file).map_err(|source| reading(file, source))?;
    PublicKey::from_pem(&pem).map_err(|error| Failure::Usage(format!("{} {error}", file.display())))
}

fn read_lines(file: &Path, verifier: &mut Verifier) -> Result<(), Failure> {
    let opened = File::open(file).map_err(|source| reading(file, source))?;
    let mut lines = BufReader::with_capacity(256 << 10, opened);
    verifier.begin_file(&file.display().to_string());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|source| reading(file, source))? == 0 {
            return Ok(());
        }
        verifier.line(line.strip_suffix(b"\n").unwrap_or(&line));
    }
}

fn reading(file: &Path, source: std::io::Error) -> Failure {
    Failure::Io { action: format!("reading {}", file.display()), source }
}

fn describe(report: &Report, arguments: &Verify, has_keys: bool) -> String {
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("a String takes all text");
    for problem in &report.problems {
        say(format!("PROBLEM {problem}"));
    }
    if report.further > 0 {
        say(format!("PROBLEM and {} more", report.further));
    }
    for note in &report.notes {
        say(format!("note: {note}"));
    }
    if let Some((first, last)) = report.sequences {
        say(format!("{} lines, number {first} to {last}", report.lines));
    }
    match &report.last_checkpoint {
        None => say("no checkpoint".to_owned()),
        Some((position, time)) => {
            let signed = if has_keys {
                "with signatures of --public-key"
            } else {
                "signatures not verified: name --public-key"
            };
            say(format!("{} checkpoints ({signed}), the last one at {time}: {position}", report.checkpoints));
        }
    }
    if report.is_ended {
        say("the proxy was stopped in order after the last line".to_owned());
    } else {
        let lines = report.after_checkpoint;
        say(format!(
            "not ended in order: the proxy still writes the file, or was killed, or lines were cut off. {lines} lines after the \
             last checkpoint are chained, but not signed yet. The file alone can't show whether others followed"
        ));
    }
    if arguments.at_least.is_none() {
        say("whether all lines are here that there were, only a position shows that was kept elsewhere (--at-least)".to_owned());
    }
    text
}

#[cfg(test)]
mod tests;
