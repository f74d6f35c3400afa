//! Documents name what exists: rules of the format, and paths of the checkout.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::sources::{self, root};

/// Every rule of the format is cited by the code or a test, and every citation is a rule.
#[test]
fn every_rule_of_the_format_is_cited() {
    let rules = citations(&fs::read_to_string(root().join("docs/FORMAT.md")).unwrap());
    assert!(rules.len() > 20, "docs/FORMAT.md lost its rules");
    let mut cited = BTreeSet::new();
    for source in sources::PRODUCT.iter() {
        cited.append(&mut citations(&source.text.replace("f_", "F-")));
    }
    let uncited: Vec<_> = rules.difference(&cited).collect();
    assert!(uncited.is_empty(), "rules nothing cites: {uncited:?}");
    let unknown: Vec<_> = cited.difference(&rules).collect();
    assert!(unknown.is_empty(), "citations of rules that do not exist: {unknown:?}");
}

/// The tokens `F-` followed by two digits.
fn citations(text: &str) -> BTreeSet<String> {
    let begins = |at: usize| !text[..at].ends_with(|before: char| before.is_ascii_alphanumeric());
    text.match_indices("F-")
        .filter(|(at, _)| begins(*at))
        .filter_map(|(at, _)| text.get(at..at + 4))
        .filter(|token| token[2..].bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

/// The folders that a path in a document can begin with.
const FOLDERS: &[&str] = &[
    "src/",
    "crates/",
    "tests/",
    "docs/",
    "scripts/",
    "benches/",
    "fuzz/",
    "deploy/",
    "examples/",
    ".ci/",
    ".cargo/",
    ".github/",
];

fn documents() -> impl Iterator<Item = (String, String)> {
    let mut documents: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    documents.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)));
    documents.into_iter().map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    })
}

#[test]
fn every_path_in_a_document_exists() {
    let mut dead = Vec::new();
    for (document, text) in documents() {
        let of_a_path =
            |character: char| character.is_ascii_alphanumeric() || "._/-<>{}*…".contains(character);
        for word in text.split(|character| !of_a_path(character)) {
            let path = word.trim_end_matches(['.', '/']);
            let is_pattern = path.contains(['<', '>', '{', '}', '*', '…']);
            let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder));
            if is_path && !is_pattern && !root().join(path).exists() {
                dead.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(dead.is_empty(), "{} paths that do not exist:\n{}", dead.len(), dead.join("\n"));
}

/// Where a document writes `` `src/file.rs`: `name` ``, the file has that name.
#[test]
fn every_name_that_a_document_places_in_a_file_is_there() {
    let mut dead = Vec::new();
    for (document, text) in documents() {
        let pieces: Vec<_> = text.split('`').collect();
        for piece in pieces.windows(3) {
            let [path, between, name] = piece else { continue };
            let is_placed = path.ends_with(".rs") && *between == ": " && !name.contains(' ');
            let Ok(file) = fs::read_to_string(root().join(path)) else { continue };
            let last = name.rsplit("::").next().unwrap();
            if is_placed && !file.contains(last) {
                dead.push(format!("{document}: {name} in {path}"));
            }
        }
    }
    assert!(dead.is_empty(), "{} names that do not exist:\n{}", dead.len(), dead.join("\n"));
}
