//! The house rules that a compiler does not check: which module may use which, how large files, functions and
//! folders grow, how comments are written, and that documents name what exists.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod circles;
mod documents;
mod edges;
mod sizes;
mod sources;
mod uses;
mod words;
