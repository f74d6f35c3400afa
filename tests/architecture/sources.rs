//! Reads every file once and keeps what the checks need.
//!
//! It must not know any rule. Its facts are about the product: items under `#[cfg(test)]`, and the files that
//! such an item declares, are marked or left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;

use crate::uses::{self, Facts};

/// One Rust file.
pub struct Source {
    /// From the root of the checkout.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
    /// Reached only through `#[cfg(test)] mod …;`.
    pub is_for_tests: bool,
    /// What the parsed file says.
    pub facts: Facts,
}

impl Source {
    /// Lines whose first characters begin a comment, without their indentation.
    pub fn comments(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.filter(|(_, line)| line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
    }

    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// The library and the binary.
pub static PRODUCT: LazyLock<Vec<Source>> = LazyLock::new(|| read(&["src"]));

/// Every other Rust file of the checkout: its other crates, tests, benchmarks and fuzzing targets.
pub static BESIDE: LazyLock<Vec<Source>> =
    LazyLock::new(|| read(&["crates", "tests", "benches", "fuzz/fuzz_targets"]));

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn everything() -> impl Iterator<Item = &'static Source> {
    PRODUCT.iter().chain(BESIDE.iter())
}

pub fn product() -> impl Iterator<Item = &'static Source> {
    PRODUCT.iter().filter(|source| !source.is_for_tests)
}

/// The embedded store, whose modules are in no table.
pub fn store() -> impl Iterator<Item = &'static Source> {
    BESIDE.iter().filter(|source| !source.is_for_tests && source.path.starts_with("crates/store/src"))
}

/// The folder of the crate's root module: `src`, `crates/store/src`; `tests` and the like for what has none.
pub fn crate_folder(path: &Path) -> &Path {
    let folders = path.ancestors().skip(1);
    folders.filter(|folder| folder.ends_with("src")).last().unwrap_or_else(|| path.parent().unwrap())
}

/// The path of the module that a file is: `src/s3/xml.rs` is `["s3", "xml"]`.
pub fn module_of(path: &Path) -> Vec<String> {
    let path = path.strip_prefix(crate_folder(path)).unwrap();
    let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    match parts.as_slice() {
        [only] if only == "lib.rs" => Vec::new(),
        _ => parts.iter().map(|part| part.trim_end_matches(".rs").to_owned()).collect(),
    }
}

pub fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        files_under(&root().join(folder), &mut paths);
    }
    paths.retain(|path| !path.iter().any(|part| part == "target"));
    paths.sort();
    let per_thread = paths.len() / 4 + 1;
    let mut sources: Vec<Source> = thread::scope(|scope| {
        let readers: Vec<_> = paths
            .chunks(per_thread)
            .map(|paths| scope.spawn(|| paths.iter().map(|path| read_file(path)).collect::<Vec<_>>()))
            .collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    let test_modules: Vec<_> = sources
        .iter()
        .flat_map(|source| {
            source.facts.test_modules.iter().map(|module| (source.path.clone(), module.clone()))
        })
        .collect();
    for source in &mut sources {
        source.is_for_tests = test_modules.iter().any(|(path, tests)| {
            crate_folder(path) == crate_folder(&source.path) && source.facts.module.starts_with(tests)
        });
    }
    sources
}

fn read_file(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let path = path.strip_prefix(root()).unwrap().to_owned();
    let facts = uses::facts_of_file(&text, module_of(&path));
    Source { path, text, is_for_tests: false, facts }
}
