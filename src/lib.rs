//! s3veil: an S3-compatible transparent encrypting proxy.
//!
//! Unchanged S3 clients speak to it as to S3; the storage behind it sees ciphertext only.
//! Rooms depend downwards: `config`, `server` → `service` → `handler` → `upstream`, `keyring`, `body` →
//! `envelope`, `sigv4`, `s3`. The three leaves are pure and never see each other.

pub mod admin;
pub mod admission;
pub mod body;
pub mod buffers;
pub mod cli;
pub mod config;
pub mod envelope;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod keyring;
pub mod log;
pub mod meter;
pub mod object;
pub mod operation;
pub mod s3;
pub mod server;
pub mod service;
pub mod sigv4;
#[cfg(test)]
pub(crate) mod test_support;
pub mod upload;
pub mod upstream;
pub mod wire;
