//! `proxy.toml` and the environment, read once.
//! It knows what a value may be, not what the rooms do with it; it is the only one that reads the environment.
//! What it returns holds no invalid value, and what it refuses it refuses with file, line and the way out.

mod bucket;
mod client;
mod credentials;
mod error;
mod formats;
mod keyring;
mod listen;
mod log;
mod section;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod upstream;
mod value;

use std::cell::RefCell;
use std::io;
use std::path::Path;

use toml::de::DeTable;
use zeroize::Zeroizing;

pub use client::DEMO_SECRET;
pub use error::ConfigError;
pub use listen::RequestRules;
pub use log::{LogFormat, LogSettings};

use error::Refusal;
use section::{Section, Source};

use crate::object::rule::BucketRule;
use crate::service::Client;
use crate::{admin, server};

/// Everything `proxy.toml` says, with the defaults filled in.
#[derive(Debug)]
pub struct Config {
    /// `[listen]`: where and how S3 clients are answered.
    pub listen: server::Settings,
    /// `[listen]`: what a request must be like, whatever connection it comes on.
    pub requests: RequestRules,
    /// `[admin]`, if there is one.
    pub admin: Option<admin::Settings>,
    /// `[upstream]`: the storage.
    pub upstream: crate::upstream::Settings,
    /// `[keyring]`: where wrapping keys come from.
    pub keyring: crate::keyring::Settings,
    /// `[[client]]`: who may ask. Never empty, no access key id twice.
    pub clients: Vec<(String, Client)>,
    /// `[[bucket]]`: which rules hold where, the first match first. Never empty.
    pub buckets: Vec<BucketRule>,
    /// `[log]`.
    pub log: LogSettings,
    /// What is valid and yet to be changed, each in a sentence that names file, line and key.
    pub warnings: Vec<String>,
}

/// Reads the file at `path`, and the environment where it says so. Paths in it are relative to its directory.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let (mut config, literal_secrets) = read(&Zeroizing::new(text), path, &environment)?;
    if let (Some(key), Some(mode)) = (literal_secrets.first(), mode_for_others(path)) {
        config.warnings.push(format!(
            "{}: holds secrets such as `{key}`, and its mode {mode:04o} lets others read them: run chmod 640, or write \
             \"env:NAME\" or secret_access_key_file",
            path.display()
        ));
    }
    Ok(config)
}

/// The mode of a file that users beside its owner and group may read.
fn mode_for_others(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
        (mode & 0o004 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let refusal = if error.kind() == io::ErrorKind::NotFound {
        let fix = "start s3veil in a directory that holds a proxy.toml, or name one with --config FILE";
        Refusal::new("there is no such configuration file", fix)
    } else {
        Refusal::new(format!("can't be read: {error}"), "make it a file that s3veil's user may read")
    };
    ConfigError::whole(path, refusal)
}

/// Reads `text` as the file `file`; `environment` answers for `env:NAME` values and `RUST_LOG`.
pub fn parse(
    text: &str,
    file: &Path,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    read(text, file, &environment).map(|(config, _)| config)
}

/// [`parse`], and the keys whose secrets stand in the text itself.
fn read(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<String>), ConfigError> {
    const TABLES: &[&str] = &["listen", "admin", "upstream", "keyring", "client", "bucket", "log"];
    let source =
        Source { file, text, environment, warnings: RefCell::default(), literal_secrets: RefCell::default() };
    let document = DeTable::parse(text).map_err(|error| {
        let (offset, refusal) = syntax::refusal(text, &error);
        source.refuse(offset, refusal)
    })?;
    let root = Section::open(&source, String::new(), 0, document.get_ref(), TABLES)?;

    let (listen, requests) = listen::read(&root)?;
    let admin = listen::read_admin(&root, listen.address)?;
    let upstream = upstream::read(&root, listen.address)?;
    let is_trial = matches!(upstream.target, crate::upstream::Target::Embedded { .. });
    let keyring = keyring::read(&root, &upstream.region, is_trial)?;
    let clients = client::read(&root, listen.address)?;
    let buckets = bucket::read(&root, &keyring.provider, requests.max_buffered)?;
    let log = log::read(&root)?;
    let warnings = source.warnings.take();
    let config = Config { listen, requests, admin, upstream, keyring, clients, buckets, log, warnings };
    Ok((config, source.literal_secrets.take()))
}

/// A table that must be there.
fn required<'a>(
    root: &Section<'a>,
    name: &'static str,
    known: &'static [&'static str],
    fix: &str,
) -> Result<Section<'a>, ConfigError> {
    let section = root.section(name, known)?;
    section.ok_or_else(|| ConfigError::whole(root.source.file, Refusal::new(format!("has no [{name}]"), fix)))
}
