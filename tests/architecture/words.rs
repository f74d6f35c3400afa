//! How comments are written: within the width of code, and in words that say what they mean without their
//! neighbours.

use crate::sources;

/// As `rustfmt.toml` says for code; rustfmt leaves comments alone.
const MAX_COLUMNS: usize = 110;

/// Words that lean on a sentence elsewhere, or on a person that is not named.
const UNCLEAR: &[&str] = &[
    "the same",
    "as there",
    "as here",
    "whoever",
    "nobody",
    "somebody",
    "one of them",
    "none of them",
    "so many",
    "so much",
    "anew",
    "side by side",
    "held whole",
    "under way",
];

/// The number of comment lines in a thousand that may have one: "the same bucket" can be what is meant.
const MAX_UNCLEAR_PER_MILLE: usize = 5;

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter))
}

#[test]
fn comments_are_as_narrow_as_code() {
    let wide: Vec<_> = sources::everything()
        .flat_map(|source| source.comments().map(move |(at, line)| (source.at(at), line)))
        .filter(|(_, line)| line.chars().count() > MAX_COLUMNS)
        .map(|(at, _)| at)
        .collect();
    assert!(
        wide.is_empty(),
        "{} comments of more than {MAX_COLUMNS} columns:\n{}",
        wide.len(),
        wide.join("\n")
    );
}

#[test]
fn comments_say_what_they_mean() {
    let comments: Vec<_> = sources::everything()
        .flat_map(|source| source.comments().map(move |(at, line)| (source, at, line)))
        .collect();
    let unclear: Vec<_> = comments
        .iter()
        .filter(|(_, _, line)| UNCLEAR.iter().any(|word| has_word(&line.to_lowercase(), word)))
        .map(|(source, at, line)| format!("{}: {}", source.at(*at), line.trim()))
        .collect();
    let max = comments.len() * MAX_UNCLEAR_PER_MILLE / 1000;
    assert!(unclear.len() <= max, "{} of at most {max}:\n{}", unclear.len(), unclear.join("\n"));
}

/// A constructor is `new`, `parse`, `from_…` or `TryFrom`; `of` says neither what from nor whether it can
/// fail.
#[test]
fn no_function_is_named_of() {
    let mut found = Vec::new();
    for source in sources::everything() {
        for (at, line) in source.text.lines().enumerate() {
            let declared = line.split_once("fn of").filter(|(before, _)| !before.contains(['/', '"']));
            if declared.is_some_and(|(_, after)| after.starts_with(['(', '<'])) {
                found.push(source.at(at + 1));
            }
        }
    }
    assert!(found.is_empty(), "{} functions named of:\n{}", found.len(), found.join("\n"));
}
