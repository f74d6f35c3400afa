#![cfg_attr(fuzzing, no_main)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s3veil::fuzzing::recovery_key(data));

/// Without libFuzzer it is only checked, never run.
#[cfg(not(fuzzing))]
fn main() {}
