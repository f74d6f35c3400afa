use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{Random, TARGETS, Target};

/// Mutations of the seeds of each target.
const MUTATIONS: usize = 250;
/// Longest input: a seed that is mutated for long must not grow without end.
const MAX_INPUT: usize = 16 << 10;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

fn names_in(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(path)).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder("seeds").join(target)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Alters `input` in one to four places; takes bytes of `other` too.
fn mutated(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    const TOKENS: [&[u8]; 8] = [
        b"\0",
        b"\r\n",
        b"%",
        b"\"",
        b"<!--",
        b"18446744073709551615",
        b"\xff\xfe",
        b"9999-12-31T23:59:59-23:59",
    ];
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(1 + (bytes.len() - at).min(64));
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let repeated = bytes[at..end].to_vec();
                bytes.splice(at..at, repeated);
            }
            3 => {
                let from = random.below(other.len() + 1);
                let to = from + random.below(1 + (other.len() - from).min(64));
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            4 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            _ => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
        }
    }
    bytes.truncate(MAX_INPUT);
    bytes
}

fn run(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        panic!("the target {name} fails for b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn every_target_holds_for_its_seeds_and_mutations_of_them() {
    for (name, target) in TARGETS {
        let mut inputs = seeds(name);
        assert!(!inputs.is_empty(), "{name} has no seed");
        inputs.push(Vec::new());
        inputs.iter().for_each(|input| run(name, *target, input));
        let mut random = Random::new(name.as_bytes());
        for _ in 0..MUTATIONS {
            let (one, other) = (random.below(inputs.len()), random.below(inputs.len()));
            let input = mutated(&mut random, &inputs[one], &inputs[other]);
            run(name, *target, &input);
            // One in eight is a seed from then on, so that alterations add up.
            if random.below(8) == 0 {
                inputs.push(input);
            }
        }
    }
}

#[test]
fn every_target_is_built_and_has_seeds() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len());
    assert_eq!(names_in("fuzz_targets"), names);
    assert_eq!(names_in("seeds"), names);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let source = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(source.contains(&format!("s3veil::fuzzing::{name}(data)")), "{name}");
    }
}
