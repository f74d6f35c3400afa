//! Verifies audit logs line by line: numbers, hashes, signatures, and that the lines which have to be there
//! are. It must not know files. It promises to name the line of every edit, deletion, exchange, insertion and
//! cut, as far as the chain shows it, and to keep no line.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::chain::{Hash, Line, Position, Remarks, Signature, hash};
use super::signing_key::PublicKey;
use crate::wire::hex;

/// How many problems are kept. The first one is the cause of most others.
const MAX_PROBLEMS: usize = 20;

/// A line that is this much later than the last checkpoint lacks one: there is one every minute.
const MAX_UNSIGNED: Duration = Duration::from_secs(180);

/// A place in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: Arc<str>,
    /// From 1.
    line: u64,
}

/// What is wrong with a line, or with one of two neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name of the file.
    pub file: Arc<str>,
    /// The first line that may be meant, from 1.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// What is wrong, in words.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, first, last, text } = self;
        if first == last {
            write!(f, "{file}:{first}: {text}")
        } else {
            write!(f, "{file}:{first}-{last}: {text}")
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is wrong, in the order of the lines. At most the first twenty.
    pub problems: Vec<Problem>,
    /// The number of further problems.
    pub further: u64,
    /// What is worth knowing, and no problem.
    pub notes: Vec<String>,
    /// The number of lines.
    pub lines: u64,
    /// The first and the last number of the chain.
    pub sequences: Option<(u64, u64)>,
    /// The number of checkpoints.
    pub checkpoints: u64,
    /// The last checkpoint, and its time.
    pub last_checkpoint: Option<(Position, String)>,
    /// The number of lines after it.
    pub after_checkpoint: u64,
    /// Whether the chain was ended in order.
    pub is_ended: bool,
}

/// The second line does not hold the hash of the first: one of the two was altered.
#[derive(Debug, Clone)]
struct Suspects {
    first: Place,
    second: Place,
}

/// Verifies the lines of one chain.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    at_least: Option<Position>,
    must_be_ended: bool,
    is_at_least_met: bool,
    place: Place,
    /// The last line of the chain, and its place.
    last: Option<(Position, Place)>,
    /// Whether the last line is known to be altered, so that its hash is not in the next one.
    is_last_altered: bool,
    suspects: Option<Suspects>,
    /// What was read since the last line and is none.
    torn: Vec<(Place, Hash)>,
    checkpoint_time: Option<OffsetDateTime>,
    is_lack_said: bool,
    report: Report,
}

impl Verifier {
    /// A verifier that requires signatures of `keys`, unless there are none.
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self {
            keys,
            at_least: None,
            must_be_ended: false,
            is_at_least_met: false,
            place: Place { file: "".into(), line: 0 },
            last: None,
            is_last_altered: false,
            suspects: None,
            torn: Vec::new(),
            checkpoint_time: None,
            is_lack_said: false,
            report: Report::default(),
        }
    }

    /// Requires the line at this position.
    #[must_use]
    pub fn at_least(self, position: Option<Position>) -> Self {
        Self { at_least: position, ..self }
    }

    /// Requires, if `must_be_ended`, that the chain was ended in order.
    #[must_use]
    pub fn ended(self, must_be_ended: bool) -> Self {
        Self { must_be_ended, ..self }
    }

    /// Begins a file, whose lines follow those of the file before.
    pub fn begin_file(&mut self, name: &str) {
        self.place = Place { file: name.into(), line: 0 };
    }

    /// Takes the next line, without its line break.
    pub fn line(&mut self, text: &[u8]) {
        self.place.line += 1;
        self.report.lines += 1;
        let Some(line) = Line::parse(text) else {
            self.torn.push((self.place.clone(), hash(text)));
            return;
        };
        let remarks = line.remarks();
        let altered = self.settle_torn(&remarks);
        self.link(&line, &remarks, altered);
        self.report.is_ended = line.kind == "checkpoint" && remarks.reason == "end";
        self.report.after_checkpoint += 1;
        if line.kind == "checkpoint" {
            self.checkpoint(&line);
        } else if line.kind == "request" {
            self.require_checkpoint(&line);
        }
        if let Some(wanted) = self.at_least.filter(|wanted| wanted.sequence == line.sequence) {
            self.is_at_least_met = true;
            if line.position() != wanted {
                self.here("is another line than the one that --at-least names: it was rewritten".to_owned());
            }
        }
    }

    /// The first problem found so far.
    pub fn first_problem(&self) -> Option<&Problem> {
        self.report.problems.first()
    }

    /// Ends the last file.
    pub fn finish(mut self) -> Report {
        for (place, _) in std::mem::take(&mut self.torn) {
            let text = "is no whole line: it was altered, or it is the last one and was cut off by the end of a process \
                        or deliberately; s3veil keeps it and says so when it goes on with the file";
            self.problem(&place, &place, text.to_owned());
        }
        if let Some(Suspects { first, second }) = self.suspects.take() {
            self.problem(&first, &second, BROKEN.to_owned());
        }
        let end = self.place.clone();
        if self.last.is_none() {
            self.problem(&end, &end, "there is no line".to_owned());
        }
        if let Some(wanted) = self.at_least.filter(|_| !self.is_at_least_met) {
            let text = format!(
                "ends before line number {}, which --at-least requires: lines were cut off",
                wanted.sequence
            );
            self.problem(&end, &end, text);
        }
        if self.must_be_ended && !self.report.is_ended {
            let text = "is not ended in order, as --ended requires: the process was killed or runs, or lines were cut off";
            self.problem(&end, &end, text.to_owned());
        }
        if !self.keys.is_empty() && self.report.checkpoints == 0 {
            self.problem(&end, &end, "there is no checkpoint: nothing shows who wrote the lines".to_owned());
        }
        self.report
    }

    /// Compares what is no line with what the next line says of it. Returns how many lines of the chain may
    /// have been altered into it.
    fn settle_torn(&mut self, remarks: &Remarks) -> u64 {
        let torn = std::mem::take(&mut self.torn);
        let are_named = torn.iter().map(|(_, hash)| hex::encode(hash)).eq(remarks.torn.iter().cloned());
        if are_named {
            for (place, _) in torn {
                let note = format!(
                    "{}:{}: a line that was cut when it was written, and kept",
                    place.file, place.line
                );
                self.report.notes.push(note);
            }
            return 0;
        }
        for (place, _) in &torn {
            self.problem(place, place, "is no line of an audit log: it was altered or inserted".to_owned());
        }
        if torn.is_empty() {
            self.here("names cut lines before it, which are not there: they were removed".to_owned());
        }
        torn.len() as u64
    }

    /// Compares a line with the one before it. `altered` lines between both may have been of the chain.
    fn link(&mut self, line: &Line<'_>, remarks: &Remarks, altered: u64) {
        let position = line.position();
        let here = self.place.clone();
        let Some((last, last_place)) = self.last.replace((position, here.clone())) else {
            self.begin(line, altered);
            return;
        };
        self.report.sequences = self.report.sequences.map(|(first, _)| (first, line.sequence));
        let was_altered = std::mem::take(&mut self.is_last_altered);
        let expected = last.sequence + 1;
        let follows = line.previous == last.hash;
        if follows {
            if let Some(Suspects { first, .. }) = self.suspects.take() {
                self.problem(&first, &first, ALTERED.to_owned());
            }
            if line.sequence != expected {
                let text = format!("{ALTERED}: its number is {} in place of {expected}", line.sequence);
                self.problem(&here, &here, text);
                self.last = Some((Position { sequence: expected, ..position }, here));
                self.is_last_altered = true;
            }
            return;
        }
        let is_excused = was_altered || altered > 0;
        if is_excused && line.sequence >= expected && line.sequence <= expected + altered {
            return;
        }
        if line.sequence == expected {
            match self.suspects.take() {
                Some(Suspects { second, .. }) => self.problem(&second, &second, ALTERED.to_owned()),
                None => self.suspects = Some(Suspects { first: last_place, second: here }),
            }
            return;
        }
        if let Some(Suspects { first, second }) = self.suspects.take() {
            self.problem(&first, &second, BROKEN.to_owned());
        }
        let is_known = self.report.last_checkpoint.as_ref().is_some_and(|(position, _)| {
            position.hash == line.previous && position.sequence + 1 == line.sequence
        });
        if remarks.after_kill && is_known {
            let lines = expected - line.sequence;
            let note = format!(
                "{}:1: the process was killed and its file moved: {lines} lines follow the last checkpoint there",
                here.file
            );
            self.report.notes.push(note);
        } else if line.sequence > expected {
            let missing = if line.sequence == expected + 1 {
                format!("line number {expected} is missing")
            } else {
                format!("lines number {expected} to {} are missing", line.sequence - 1)
            };
            self.problem(&here, &here, format!("{missing} before this one"));
        } else if line.sequence == last.sequence {
            let text = format!("both have the number {}: one of both was inserted", line.sequence);
            self.problem(&last_place, &here, text);
        } else {
            let text =
                format!("has number {}, which was before: it was inserted, repeated or moved", line.sequence);
            self.problem(&here, &here, text);
        }
    }

    /// Begins the chain.
    fn begin(&mut self, line: &Line<'_>, altered: u64) {
        self.report.sequences = Some((line.sequence, line.sequence));
        let is_origin = line.sequence == 1 && line.previous == Position::ORIGIN.hash;
        if altered > 0 || (is_origin && line.kind == "begin") {
            return;
        }
        if line.kind != "begin" {
            self.here("is not the first line of a file: lines before it are missing".to_owned());
            return;
        }
        let previous = Position { sequence: line.sequence - 1, hash: line.previous };
        let note = format!("{}: goes on after line {previous} of a file that is not here", self.place.file);
        self.report.notes.push(note);
    }

    fn checkpoint(&mut self, line: &Line<'_>) {
        self.report.checkpoints += 1;
        self.report.after_checkpoint = 0;
        self.report.last_checkpoint = Some((line.position(), line.time.to_owned()));
        self.checkpoint_time = OffsetDateTime::parse(line.time, &Rfc3339).ok();
        self.is_lack_said = false;
        if self.keys.is_empty() {
            return;
        }
        let here = self.place.clone();
        match line.verify(&self.keys) {
            Signature::Valid => {
                if let Some(Suspects { first, .. }) = self.suspects.take() {
                    self.problem(&first, &first, ALTERED.to_owned());
                }
            }
            Signature::Missing => self.here("is a checkpoint without a signature".to_owned()),
            Signature::UnknownKey => self.here("is a checkpoint that another key signed".to_owned()),
            Signature::Invalid => {
                self.suspects = None;
                let text = "has a wrong signature: this line, or lines since the checkpoint before it, were rewritten";
                self.problem(&here, &here, text.to_owned());
                // Its hash is not in the next line if it alone was altered.
                self.is_last_altered = true;
            }
        }
    }

    /// Requires that a checkpoint came shortly before a line, where checkpoints are verified.
    fn require_checkpoint(&mut self, line: &Line<'_>) {
        if self.keys.is_empty() || self.is_lack_said {
            return;
        }
        let time = OffsetDateTime::parse(line.time, &Rfc3339).ok();
        let is_covered = match (time, self.checkpoint_time) {
            (Some(time), Some(checkpoint)) => time - checkpoint <= MAX_UNSIGNED,
            (None, _) | (_, None) => false,
        };
        if !is_covered {
            self.is_lack_said = true;
            self.here("there is no checkpoint in the minutes before this line: it was removed".to_owned());
        }
    }

    fn here(&mut self, text: String) {
        let here = self.place.clone();
        self.problem(&here, &here, text);
    }

    fn problem(&mut self, first: &Place, last: &Place, text: String) {
        // Of two files the neighbours are the last and the first line.
        let first_line = if first.file == last.file { first.line } else { last.line };
        let problem = Problem { file: Arc::clone(&last.file), first: first_line, last: last.line, text };
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(problem);
        } else {
            self.report.further += 1;
        }
    }
}

const ALTERED: &str = "was altered";
const BROKEN: &str = "one of both was altered: the second does not hold the hash of the first";

#[cfg(test)]
mod tests;
