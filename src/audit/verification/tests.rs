use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::audit::SigningKey;
use crate::audit::entry::{self, Entry};
use crate::log::field;

/// A log without files: its lines, and the key of its checkpoints.
struct Log {
    lines: Vec<Vec<u8>>,
    key: SigningKey,
    end: Position,
}

fn body(kind: &'static str, time: SystemTime, fields: impl FnOnce(&mut Entry)) -> Vec<u8> {
    entry::format(kind, time, fields, |line| line[..line.len() - 1].to_vec())
}

impl Log {
    /// Requests `interval` apart, and a checkpoint behind every thousandth line and at the end.
    fn new(lines: u64, interval: Duration) -> Self {
        let (key, _) = SigningKey::generate().unwrap();
        let (mut position, mut text, mut written) = (Position::ORIGIN, Vec::new(), Vec::new());
        for number in 1..=lines {
            let time =
                UNIX_EPOCH + Duration::from_secs(1_700_000_000) + interval * u32::try_from(number).unwrap();
            let checkpoint = match number {
                2 => Some("start"),
                _ if number == lines => Some("end"),
                _ if number % 1_000 == 0 => Some("minute"),
                _ => None,
            };
            text.clear();
            position = match checkpoint {
                Some(reason) => {
                    let body = body("checkpoint", time, |entry| entry.text(field!("reason"), reason));
                    position.seal_checkpoint(&body, Some(&key), &mut text)
                }
                None if number == 1 => position.seal(&body("begin", time, |_| {}), &mut text),
                None => {
                    let fields = |entry: &mut Entry| {
                        entry.text(field!("operation"), "GetObject");
                        entry.text(field!("bucket"), "bucket");
                        entry.text(field!("key"), &format!("key \"{number}\" \u{e4}"));
                        entry.number(field!("status"), 200);
                    };
                    position.seal(&body("request", time, fields), &mut text)
                }
            };
            text.pop();
            written.push(text.clone());
        }
        Self { lines: written, key, end: position }
    }

    fn verifier(&self) -> Verifier {
        let mut verifier = Verifier::new(vec![self.key.public_key()]).at_least(Some(self.end)).ended(true);
        verifier.begin_file("log");
        verifier
    }

    /// All lines from `from` on, counted from 1, chained again without the signing key.
    fn chain_again(&self, lines: &mut [Vec<u8>], from: usize) {
        let mut before = Line::parse(&lines[from - 2]).unwrap().position();
        for line in &mut lines[from - 1..] {
            let at = line.windows(8).position(|window| window == b",\"type\":").unwrap();
            let mut text = Vec::new();
            before = before.seal(&line[at + 1..], &mut text);
            text.pop();
            *line = text;
        }
    }
}

fn verified(mut verifier: Verifier, lines: &[Vec<u8>]) -> Report {
    lines.iter().for_each(|line| verifier.line(line));
    verifier.finish()
}

fn texts(report: &Report) -> Vec<String> {
    report.problems.iter().map(ToString::to_string).collect()
}

/// SplitMix64: the same edits in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

/// What was done to the lines, with indices from 0.
#[derive(Debug)]
enum Attack {
    Edit { at: usize, offset: usize, to: u8 },
    Delete { at: usize, number: usize },
    Swap(usize, usize),
    Insert { at: usize, copied: usize },
    Cut { left: usize },
    CutWithin { left: usize },
}

impl Attack {
    fn new(random: &mut Random, lines: &[Vec<u8>]) -> Self {
        let at = random.below(lines.len());
        match random.below(6) {
            0 => loop {
                let (offset, to) = (random.below(lines[at].len()), u8::try_from(random.below(256)).unwrap());
                if to != lines[at][offset] && to != b'\n' {
                    return Self::Edit { at, offset, to };
                }
            },
            1 => Self::Delete { at, number: 1 + random.below(3).min(lines.len() - 1 - at) },
            2 => {
                let other = random.below(lines.len());
                if other == at { Self::Swap(0, 1) } else { Self::Swap(at.min(other), at.max(other)) }
            }
            3 => Self::Insert { at: random.below(lines.len() + 1), copied: at },
            4 => Self::Cut { left: at },
            _ => Self::CutWithin { left: at },
        }
    }

    /// The first line that differs.
    fn begins_at(&self) -> usize {
        match self {
            Self::Edit { at, .. } | Self::Delete { at, .. } | Self::Insert { at, .. } => *at,
            Self::Swap(first, _) => *first,
            Self::Cut { left } | Self::CutWithin { left } => *left,
        }
    }

    /// The altered line at an index, or `None` at the end.
    fn line(&self, lines: &[Vec<u8>], index: usize) -> Option<Vec<u8>> {
        let line = |index: usize| lines.get(index).cloned();
        match *self {
            Self::Edit { at, offset, to } if index == at => {
                let mut edited = line(at)?;
                edited[offset] = to;
                Some(edited)
            }
            Self::Delete { at, number } if index >= at => line(index + number),
            Self::Swap(first, second) if index == first => line(second),
            Self::Swap(first, second) if index == second => line(first),
            Self::Insert { at, copied } if index == at => line(copied),
            Self::Insert { at, .. } if index > at => line(index - 1),
            Self::Cut { left } if index >= left => None,
            Self::CutWithin { left } if index == left => {
                line(left).map(|line| line[..line.len() / 2].to_vec())
            }
            Self::CutWithin { left } if index > left => None,
            Self::Edit { .. }
            | Self::Delete { .. }
            | Self::Swap(..)
            | Self::Insert { .. }
            | Self::Cut { .. }
            | Self::CutWithin { .. } => line(index),
        }
    }

    /// The numbers, from 1, of the lines that a report may name.
    fn expected(&self, lines: usize) -> RangeInclusive<u64> {
        let number = |index: usize| index as u64 + 1;
        match *self {
            Self::Edit { at, .. } => number(at)..=number(at),
            // The line that is there now; behind the last one there is none.
            Self::Delete { at, number: deleted } if at + deleted == lines => at as u64..=at as u64,
            Self::Delete { at, .. } => number(at)..=number(at),
            Self::Swap(first, _) => number(first)..=number(first),
            // A copy beside its original: either is the inserted one.
            Self::Insert { at, copied } if copied == at => number(at)..=number(at) + 1,
            Self::Insert { at, .. } => number(at)..=number(at),
            Self::Cut { left } => left as u64..=left as u64,
            Self::CutWithin { left } => number(left)..=number(left),
        }
    }
}

#[test]
fn of_a_thousand_random_changes_to_a_hundred_thousand_lines_each_is_found_and_its_line_named() {
    const INTERVAL: usize = 500;
    let log = Log::new(100_000, Duration::from_millis(1));
    let mut verifier = log.verifier();
    let mut snapshots = Vec::new();
    for (index, line) in log.lines.iter().enumerate() {
        if index % INTERVAL == 0 {
            snapshots.push(verifier.clone());
        }
        verifier.line(line);
    }
    let report = verifier.finish();
    assert_eq!(texts(&report), Vec::<String>::new());
    assert_eq!((report.lines, report.sequences, report.checkpoints), (100_000, Some((1, 100_000)), 101));
    assert!(report.is_ended);

    let mut random = Random(7);
    for _ in 0..1_000 {
        let attack = Attack::new(&mut random, &log.lines);
        // What is before the change was verified above.
        let begin = attack.begins_at().min(log.lines.len() - 1) / INTERVAL;
        let mut verifier = snapshots[begin].clone();
        let mut index = begin * INTERVAL;
        while let Some(line) = attack.line(&log.lines, index).filter(|_| verifier.first_problem().is_none()) {
            verifier.line(&line);
            index += 1;
        }
        let report = verifier.finish();
        let found = report
            .problems
            .first()
            .unwrap_or_else(|| panic!("This is a security issue: not found: {attack:?}"));
        let expected = attack.expected(log.lines.len());
        let is_named = found.first <= *expected.end() && *expected.start() <= found.last;
        assert!(
            is_named && found.last - found.first <= 1,
            "{attack:?}: {expected:?} expected, found {found}"
        );
    }
}

#[test]
fn lines_that_are_chained_again_do_not_have_the_signature() {
    let log = Log::new(3_000, Duration::from_millis(1));
    let mut random = Random(8);
    for _ in 0..50 {
        let at = 3 + random.below(2_900);
        let mut lines = log.lines.clone();
        if lines[at - 1].windows(6).any(|window| window == b"reason") {
            continue;
        }
        let text = String::from_utf8(lines[at - 1].clone()).unwrap().replace("200", "403");
        lines[at - 1] = text.into_bytes();
        log.chain_again(&mut lines, at);
        let report = verified(log.verifier(), &lines);
        let next = (at as u64).div_ceil(1_000) * 1_000;
        let expected = format!("log:{next}: has a wrong signature");
        assert!(texts(&report)[0].starts_with(&expected), "{at}: {:?}", report.problems);
        let without_keys = verified(Verifier::new(Vec::new()), &lines);
        assert!(without_keys.problems.is_empty(), "only signatures show it: {:?}", without_keys.problems);
    }
}

#[test]
fn checkpoints_that_were_left_out_are_missed() {
    let log = Log::new(2_500, Duration::from_secs(1));
    let is_checkpoint = |line: &&Vec<u8>| line.windows(6).any(|window| window == b"reason");
    // There is one in a thousand seconds: too few for a log that this process wrote.
    let report = verified(log.verifier(), &log.lines);
    assert!(
        texts(&report)[0].starts_with("log:183: there is no checkpoint in the minutes before"),
        "{report:?}"
    );
    let mut lines: Vec<_> = log.lines.iter().filter(|line| !is_checkpoint(line)).cloned().collect();
    log.chain_again(&mut lines, 2);
    let report = verified(Verifier::new(vec![log.key.public_key()]), &lines);
    assert!(texts(&report)[0].contains("there is no checkpoint"), "{report:?}");
    assert!(verified(Verifier::new(Vec::new()), &lines).problems.is_empty());
}

#[test]
fn a_cut_that_nothing_else_shows_is_shown_by_a_position() {
    let log = Log::new(2_500, Duration::from_millis(1));
    let cut = &log.lines[..2_000];
    let keys = || vec![log.key.public_key()];
    let report = verified(Verifier::new(keys()), cut);
    assert!(report.problems.is_empty() && !report.is_ended && report.after_checkpoint == 0);
    assert_eq!(texts(&verified(Verifier::new(keys()).ended(true), cut)).len(), 1);
    let report = verified(Verifier::new(keys()).at_least(Some(log.end)), cut);
    assert!(texts(&report)[0].contains("ends before line number 2500"), "{report:?}");
    let other = Position { hash: [7; 32], ..log.end };
    let report = verified(Verifier::new(keys()).at_least(Some(other)), &log.lines);
    assert!(texts(&report)[0].contains("is another line than the one that --at-least names"), "{report:?}");
}

#[test]
fn a_cut_line_is_fine_if_the_next_line_names_it() {
    let time = UNIX_EPOCH;
    let mut text = Vec::new();
    let position = Position::ORIGIN.seal(&body("begin", time, |_| {}), &mut text);
    let torn = b"{\"seq\":2,\"prev\":\"00";
    let named = vec![hex::encode(&hash(torn))];
    let mut gap = Vec::new();
    let _ = position.seal(&body("gap", time, |entry| entry.list(field!("torn"), &named)), &mut gap);
    let (begin, gap) = (text.trim_ascii_end().to_vec(), gap.trim_ascii_end().to_vec());
    let report = verified(Verifier::new(Vec::new()), &[begin.clone(), torn.to_vec(), gap.clone()]);
    assert!(report.problems.is_empty() && report.notes.len() == 1, "{report:?}");
    let report = verified(Verifier::new(Vec::new()), &[begin.clone(), gap.clone()]);
    assert!(texts(&report)[0].contains("names cut lines before it, which are not there"), "{report:?}");
    let report = verified(Verifier::new(Vec::new()), &[begin, b"other".to_vec(), gap]);
    assert!(texts(&report)[0].starts_with(":2: is no line of an audit log"), "{report:?}");
}

#[test]
fn nothing_is_no_log() {
    assert_eq!(texts(&verified(Verifier::new(Vec::new()), &[])).len(), 1);
}
