#![cfg_attr(fuzzing, no_main)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s3veil::fuzzing::audit_log(data));

/// Without libFuzzer it is only checked, never run.
#[cfg(not(fuzzing))]
fn main() {}
