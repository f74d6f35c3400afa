//! Targets for what an operator writes: the configuration and the keyring's file.
//!
//! They must not know more than `config` and `keyring`. They promise that every refusal says why, and that a
//! keyring that was read and written reads as before.

use std::path::Path;

use crate::{config, keyring};

/// `proxy.toml`, with an environment that has one variable.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let environment = |name: &str| (name == "SECRET").then(|| "0123456789abcdef".to_owned());
    // Paths in it are relative to a folder that is not there.
    match config::parse(text, Path::new("/nonexistent/s3veil/proxy.toml"), environment) {
        Ok(config) => assert!(!config.clients.is_empty() && !config.buckets.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A keyring's file: what is read is written so that it reads as itself.
pub fn keyring_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(written) = keyring::local::reserialize(text) {
        assert_eq!(keyring::local::reserialize(&written), Some(written));
    }
}
