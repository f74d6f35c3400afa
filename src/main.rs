//! The process: arguments and exit codes.

fn main() {}
