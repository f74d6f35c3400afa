//! s3veil: an S3-compatible transparent encrypting proxy.
//!
//! S3 clients use the proxy like S3, without changes; the storage behind it receives ciphertext only. Modules
//! depend downwards: `cli` → `config`, `server`, `service` → `operation` → `upload` → `object` → `upstream`,
//! `keyring`, `body` → `envelope`, `sigv4`, `s3` → `wire`. `envelope`, `sigv4`, `s3` and `wire` do no input
//! or output, and the first three do not depend on each other.

pub mod access;
pub(crate) mod admin;
pub mod admission;
pub mod audit;
pub(crate) mod body;
pub(crate) mod buffers;
pub mod cli;
pub(crate) mod clock;
pub mod config;
pub mod envelope;
pub(crate) mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod job;
pub mod keyring;
pub mod log;
pub(crate) mod meter;
pub mod metric;
pub(crate) mod object;
pub(crate) mod operation;
pub(crate) mod recent;
pub mod s3;
pub mod server;
pub mod service;
pub mod sigv4;
#[cfg(test)]
pub(crate) mod test_support;
pub(crate) mod timer;
pub mod trace;
pub(crate) mod upload;
pub(crate) mod upstream;
pub(crate) mod wakes;
pub(crate) mod wire;
