//! The house rules that a compiler does not check: which room may know which, and how large a file may grow.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Each room and the rooms it may name. `error` maps the errors of all rooms below it and is seen from `object` up.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("buffers", &[]),
    ("meter", &[]),
    ("s3", &[]),
    ("sigv4", &[]),
    ("envelope", &[]),
    ("keyring", &["envelope"]),
    ("upstream", &["s3", "sigv4", "buffers"]),
    ("body", &["s3", "sigv4", "envelope", "meter"]),
    ("error", &["s3", "sigv4", "envelope", "keyring", "upstream", "body"]),
    ("object", &["buffers", "s3", "envelope", "keyring", "upstream", "body", "error"]),
    ("upload", &["s3", "envelope", "keyring", "upstream", "body", "error", "object"]),
    (
        "operation",
        &["buffers", "s3", "sigv4", "envelope", "keyring", "upstream", "body", "error", "object", "upload"],
    ),
    ("service", &["meter", "s3", "sigv4", "body", "keyring", "upstream", "object", "operation", "error"]),
    ("server", &["body", "buffers", "meter"]),
    ("admin", &["server", "body"]),
    ("log", &["config"]),
    ("config", &["s3", "sigv4", "envelope", "keyring", "upstream", "object", "service", "server", "admin"]),
    (
        "cli",
        &[
            "buffers",
            "s3",
            "sigv4",
            "envelope",
            "keyring",
            "upstream",
            "body",
            "error",
            "object",
            "upload",
            "operation",
            "service",
            "server",
            "admin",
            "config",
        ],
    ),
    ("fuzzing", &["s3", "sigv4", "envelope", "keyring", "config"]),
    ("lib", &[]),
    ("main", &["cli", "config", "log", "server", "service"]),
];

const MAX_FILE_LINES: usize = 450;
const MAX_FUNCTION_LINES: usize = 70;

fn sources() -> Vec<(PathBuf, String, syn::File)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let parsed = syn::parse_file(&text).unwrap();
            (path.strip_prefix(&root).unwrap().to_owned(), text, parsed)
        })
        .collect()
}

fn room_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    })
}

/// Files reached only through `#[cfg(test)] mod …;`.
fn is_test_file(path: &Path) -> bool {
    path.iter().any(|part| {
        let name = part.to_str().unwrap().trim_end_matches(".rs");
        ["tests", "tests_support", "test_support", "vectors"].contains(&name)
    })
}

#[derive(Default)]
struct Rooms(BTreeSet<String>);

impl Rooms {
    fn note(&mut self, segments: &[String]) {
        if let [first, second, ..] = segments
            && (first == "crate" || first == "s3veil")
        {
            self.0.insert(second.clone());
        }
    }

    fn note_use(&mut self, tree: &syn::UseTree, before: &[String]) {
        match tree {
            syn::UseTree::Path(path) => {
                let mut segments = before.to_vec();
                segments.push(path.ident.to_string());
                self.note(&segments);
                self.note_use(&path.tree, &segments);
            }
            syn::UseTree::Name(name) => {
                let mut segments = before.to_vec();
                segments.push(name.ident.to_string());
                self.note(&segments);
            }
            syn::UseTree::Rename(rename) => {
                let mut segments = before.to_vec();
                segments.push(rename.ident.to_string());
                self.note(&segments);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(tree, before);
                }
            }
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Rooms {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.note_use(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&segments);
        visit::visit_path(self, path);
    }
}

#[test]
fn rooms_depend_downwards_only() {
    let mut wrong = Vec::new();
    for (path, _, parsed) in sources() {
        if is_test_file(&path) {
            continue;
        }
        let room = room_of(&path);
        let allowed = MAY_KNOW
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{} is in a room this test does not know", path.display()))
            .1;
        let mut seen = Rooms::default();
        seen.visit_file(&parsed);
        for other in seen.0 {
            let is_room = MAY_KNOW.iter().any(|(name, _)| *name == other);
            if is_room && other != room && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}: {room} must not know {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_itself_sees_forbidden_imports() {
    for forbidden in
        ["use crate::keyring::Keyring;", "fn f() { crate::keyring::f() }", "use crate::{keyring};"]
    {
        let mut seen = Rooms::default();
        seen.visit_file(&syn::parse_file(forbidden).unwrap());
        assert!(seen.0.contains("keyring"), "{forbidden}");
    }
}

/// Lines before the tests that close a file.
fn lines_without_tests(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

#[test]
fn files_stay_small() {
    let mut long = Vec::new();
    for (path, text, _) in sources() {
        let lines = lines_without_tests(&text);
        if !is_test_file(&path) && lines > MAX_FILE_LINES {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "more than {MAX_FILE_LINES} lines:\n{}", long.join("\n"));
}

#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.brace_token.span.close().start().line - signature.fn_token.span.start().line;
        self.0.push((signature.ident.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn functions_stay_small() {
    let mut long = Vec::new();
    for (path, _, parsed) in sources() {
        if is_test_file(&path) {
            continue;
        }
        let mut functions = Functions::default();
        functions.visit_file(&parsed);
        for (name, lines) in functions.0 {
            if lines > MAX_FUNCTION_LINES {
                long.push(format!("{}: {name} has {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "more than {MAX_FUNCTION_LINES} lines:\n{}", long.join("\n"));
}

/// Every rule of the format is cited by the code or a test, and every citation is a rule.
#[test]
fn every_rule_of_the_format_is_cited() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = citations(&fs::read_to_string(root.join("docs/FORMAT.md")).unwrap());
    assert!(rules.len() > 20, "docs/FORMAT.md lost its rules");
    let mut cited = BTreeSet::new();
    for (_, text, _) in sources() {
        cited.append(&mut citations(&text.replace("f_", "F-")));
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
