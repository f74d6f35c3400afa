//! Which module at the top of the crate may use which.

use std::collections::BTreeSet;

use crate::sources;

/// Each module with the modules that it may use, from the ground up: every one of them stands above it in
/// this table. An edge that no file uses is not allowed either, so the table is what the code is.
const MAY_USE: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("timer", &["clock"]),
    ("buffers", &[]),
    ("meter", &[]),
    ("metric", &[]),
    ("recent", &[]),
    ("wakes", &[]),
    ("wire", &[]),
    ("log", &["wire"]),
    ("audit", &["log", "wire"]),
    ("trace", &["timer", "log", "wire"]),
    ("store", &[]),
    ("s3", &["wire"]),
    ("sigv4", &["wire"]),
    ("envelope", &["wire"]),
    ("keyring", &["timer", "clock", "metric", "audit", "trace", "wire", "envelope"]),
    ("upstream", &["timer", "clock", "buffers", "wakes", "trace", "wire", "s3", "sigv4"]),
    ("body", &["timer", "meter", "s3", "sigv4", "envelope"]),
    ("error", &["s3", "sigv4", "envelope", "keyring", "upstream", "body"]),
    (
        "object",
        &["clock", "buffers", "metric", "wire", "s3", "envelope", "keyring", "upstream", "body", "error"],
    ),
    ("access", &["s3", "sigv4"]),
    ("admission", &["timer", "meter", "metric", "s3", "object"]),
    ("upload", &["timer", "wire", "s3", "envelope", "upstream", "body", "error", "object"]),
    ("job", &["timer", "wire", "s3", "envelope", "keyring", "upstream", "body", "error", "object", "upload"]),
    (
        "operation",
        &[
            "timer",
            "audit",
            "trace",
            "buffers",
            "wire",
            "s3",
            "sigv4",
            "envelope",
            "keyring",
            "upstream",
            "body",
            "error",
            "object",
            "access",
            "admission",
            "upload",
        ],
    ),
    (
        "service",
        &[
            "timer",
            "clock",
            "meter",
            "metric",
            "recent",
            "audit",
            "log",
            "wire",
            "s3",
            "sigv4",
            "trace",
            "body",
            "error",
            "object",
            "access",
            "admission",
            "operation",
        ],
    ),
    ("server", &["timer", "clock", "buffers", "meter", "metric", "wakes"]),
    ("admin", &["timer", "recent", "server"]),
    (
        "config",
        &[
            "audit", "log", "trace", "wire", "s3", "sigv4", "envelope", "keyring", "upstream", "object",
            "access", "job", "server", "admin",
        ],
    ),
    (
        "cli",
        &[
            "timer",
            "audit",
            "metric",
            "log",
            "trace",
            "buffers",
            "wire",
            "store",
            "s3",
            "sigv4",
            "envelope",
            "keyring",
            "upstream",
            "body",
            "error",
            "object",
            "upload",
            "job",
            "operation",
            "access",
            "service",
            "server",
            "admin",
            "config",
        ],
    ),
    ("fuzzing", &["audit", "wire", "s3", "sigv4", "envelope", "keyring", "config"]),
    ("main", &["cli"]),
];

/// What every operation may use of its own folder.
const SHARED_BY_OPERATIONS: &[&str] = &["request", "response"];

#[test]
fn modules_use_only_what_is_below_them() {
    for (at, (module, others)) in MAY_USE.iter().enumerate() {
        let below: Vec<_> = MAY_USE[..at].iter().map(|(name, _)| name).collect();
        for other in *others {
            assert!(below.contains(&other), "{module} → {other} leads upwards: order the table");
        }
    }
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for source in sources::product() {
        let Some(module) = source.facts.module.first() else { continue };
        let allowed = MAY_USE
            .iter()
            .find(|(name, _)| name == module)
            .unwrap_or_else(|| panic!("{} is of a module that this table lacks", source.path.display()))
            .1;
        for path in &source.facts.uses {
            let Some(other) = path.first().filter(|other| *other != module) else { continue };
            if !MAY_USE.iter().any(|(name, _)| name == other) {
                continue;
            }
            used.insert((module.as_str(), other.as_str()));
            if !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}: {module} must not use {}", source.path.display(), path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let edges = MAY_USE.iter().flat_map(|(module, others)| others.iter().map(move |other| (*module, *other)));
    let unused: Vec<_> = edges.filter(|edge| !used.contains(edge)).collect();
    assert!(unused.is_empty(), "edges that no file uses: {unused:?}");
}

/// The operation that a module belongs to, by its path within the crate.
fn operation(path: &[String]) -> Option<&str> {
    let name = match path {
        [first, multipart, name, ..] if first == "operation" && multipart == "multipart" => name,
        [first, name, ..] if first == "operation" && name != "multipart" => name,
        _ => return None,
    };
    let is_module = name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    is_module.then_some(name)
}

#[test]
fn operations_do_not_use_each_other() {
    let mut wrong = Vec::new();
    for source in sources::product() {
        let Some(own) = operation(&source.facts.module) else { continue };
        for path in &source.facts.uses {
            if let Some(other) = operation(path)
                && other != own
                && !SHARED_BY_OPERATIONS.contains(&other)
            {
                wrong.push(format!("{}: {}", source.path.display(), path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "one operation uses another:\n{}", wrong.join("\n"));
}

/// Functions of Tokio's timers that are called, or imported, before the tests of a file.
fn timers_made(text: &str) -> impl Iterator<Item = &str> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let after = product.split("tokio::time::").skip(1);
    let words = after.map(|rest| rest.split([';', '(']).next().unwrap_or_default());
    words
        .flat_map(|names| names.split(['{', '}', ',', ' ']))
        .filter(|name| name.starts_with(char::is_lowercase))
}

#[test]
fn timers_are_made_in_one_place() {
    let text = "use tokio::time::{Instant, sleep};\nfn f() { tokio::time::timeout(a, b) }\n";
    assert_eq!(timers_made(text).collect::<Vec<_>>(), ["sleep", "timeout"]);
    let others = sources::product().filter(|source| !source.path.ends_with("src/timer.rs"));
    let wrong: Vec<_> = others.filter(|source| timers_made(&source.text).next().is_some()).collect();
    let wrong: Vec<_> = wrong.iter().map(|source| source.path.display().to_string()).collect();
    assert!(wrong.is_empty(), "the runtimes of connections have no timers, use crate::timer: {wrong:?}");
}
