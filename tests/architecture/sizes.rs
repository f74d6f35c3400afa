//! How large files, functions and folders may grow. Items under `#[cfg(test)]` do not count.

use std::collections::BTreeMap;
use std::path::Path;

use crate::sources;

const MAX_FILE_LINES: usize = 450;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_FOLDER_FILES: usize = 20;

/// Folders that list what another table lists too: the modules at the top of the crate, and the fuzzing
/// targets.
const EXEMPT: &[&str] = &["src", "fuzz/fuzz_targets"];

#[test]
fn files_stay_small() {
    let files =
        sources::everything().filter(|source| !source.is_for_tests && !source.path.starts_with("tests"));
    let long: Vec<_> = files
        .filter(|source| source.facts.product_lines > MAX_FILE_LINES)
        .map(|source| format!("{}: {} lines", source.path.display(), source.facts.product_lines))
        .collect();
    assert!(long.is_empty(), "more than {MAX_FILE_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_stay_small() {
    let mut long = Vec::new();
    for source in sources::everything().filter(|source| !source.is_for_tests) {
        for (name, lines) in &source.facts.functions {
            if *lines > MAX_FUNCTION_LINES {
                long.push(format!("{}: {name} has {lines} lines", source.path.display()));
            }
        }
    }
    assert!(long.is_empty(), "more than {MAX_FUNCTION_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn folders_stay_small() {
    let mut folders: BTreeMap<_, usize> = BTreeMap::new();
    for source in sources::everything() {
        *folders.entry(source.path.parent().unwrap()).or_default() += 1;
    }
    folders.retain(|folder, files| {
        !EXEMPT.iter().any(|exempt| *folder == Path::new(exempt)) && *files > MAX_FOLDER_FILES
    });
    assert!(folders.is_empty(), "more than {MAX_FOLDER_FILES} files in a folder: {folders:?}");
}
