//! `proxy.toml` and the environment, read once at the start; no other module reads the environment.
//! It must not know how the other modules use a value.
//! It promises that no returned value is invalid, and that every error names file, line, problem and remedy.

mod audit;
mod bucket;
mod client;
mod credentials;
mod environment;
mod error;
mod formats;
mod holder;
mod keyring;
mod listen;
mod log;
mod reference;
mod rule_keys;
mod secret_file;
mod section;

#[cfg(test)]
mod tests;
mod tls;
mod traces;
mod upstream;
mod value;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;
use zeroize::Zeroizing;

pub use client::DEMO_SECRET;
pub use environment::engine::{EngineError, NamedShard};
pub use environment::service_manager::ServiceManager;
pub use error::ConfigError;
pub use listen::RequestRules;
pub use log::metrics::MetricSettings;
pub use log::{LogFormat, LogSettings};
pub use reference::schema;

use error::{Refusal, Result, syntax};
use section::{Section, Source};

use crate::access::Client;
use crate::job::Shard;
use crate::object::rule::BucketRule;
use crate::upstream::{Route, Target};
use crate::{admin, audit as audit_log, server, trace};

/// The complete configuration, with defaults for absent keys.
#[derive(Debug)]
pub struct Config {
    /// `[listen]`: the listener for S3 clients.
    pub listen: server::Settings,
    /// `[listen]`: the requirements and limits of requests.
    pub requests: RequestRules,
    /// `[admin]`: the listener for operators, if configured.
    pub admin: Option<admin::Settings>,
    /// `[upstream]` or `[[upstream]]`: the storages, the default first. Never empty.
    pub upstreams: Vec<crate::upstream::Settings>,
    /// `[keyring]` and `[[holder]]`: the holders of wrapping keys, and the limits of cached data keys.
    pub keyring: crate::keyring::Settings,
    /// `[[client]]`: the clients by their unique access key ids. Never empty.
    pub clients: Vec<(String, Client)>,
    /// `[[bucket]]`: the rules for buckets, of which the first match applies. Never empty.
    pub buckets: Vec<BucketRule>,
    /// `[[bucket]]`: the storages that buckets are in, in the order of the rules.
    pub routes: Vec<Route>,
    /// `[log]`: format and level of the log.
    pub log: LogSettings,
    /// `[metrics]`: which metrics there are besides those of all requests.
    pub metrics: MetricSettings,
    /// `[audit]`: the audit log, if configured.
    pub audit: Option<audit_log::Settings>,
    /// `[traces]`: the collector of traces, if configured.
    pub traces: Option<trace::Settings>,
    /// A digest of all settings but the values of secrets, in hexadecimal digits.
    pub digest: String,
    /// Warnings about valid settings that should be changed. Each names file, line and key.
    pub warnings: Vec<String>,
    /// The files that hold the configuration: `proxy.toml`, and those whose content it refers to.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// The default storage.
    pub fn upstream(&self) -> &crate::upstream::Settings {
        &self.upstreams[0]
    }
}

/// Reads the file at `path`, and the environment variables that it names. Paths in the file are relative to
/// its directory.
pub fn load(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let (mut config, literal_secrets) = read(&Zeroizing::new(text), path, &environment)?;
    if let (Some(key), Some(exposure)) = (literal_secrets.first(), secret_file::exposure(path)) {
        let secret_file::Exposure { problem, fix } = exposure;
        config.warnings.push(format!(
            "{}: holds secrets such as `{key}`, and its mode {problem}: {fix}, or write \"env:NAME\" or {key}_file",
            path.display()
        ));
    }
    Ok(config)
}

/// The configuration of the file at `path`, as far as it is in effect, as TOML: with every default, and
/// without secrets, in whose place `<secret>` stands. What comes from the environment is `env:NAME`.
///
/// # Errors
/// As [`load`].
pub fn show(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    shown(&Zeroizing::new(text), path, &environment)
}

fn shown(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let (config, _) = read(text, file, env)?;
    let level = ("log.level", reference::quoted(&config.log.level));
    let document = DeTable::parse(text);
    // The text was read above.
    Ok(document.map(|document| reference::show(document.get_ref(), &[level])).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the service manager handed over and expects. It must be called once, before other threads start:
/// the sockets are taken out of the environment.
///
/// # Errors
/// When a handed-over file is no TCP socket.
pub fn service_manager() -> io::Result<ServiceManager> {
    ServiceManager::new(&environment, listenfd::ListenFd::from_env())
}

/// The shard of a job, by the arguments `--shard` and `--shards` and by the environment of the engine that
/// started the process. Without any of them it is the whole input.
///
/// # Errors
/// [`EngineError`] when what is given is incomplete, invalid or contradicts itself.
pub fn job_shard(shard: Option<u32>, shards: Option<u32>) -> Result<Shard, EngineError> {
    environment::engine::shard(NamedShard { shard, shards }, &environment)
}

/// Parses a time as the configuration writes it: a whole number and ms, s, m, h or d.
///
/// # Errors
/// The problem and its remedy.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    value::duration(text).map_err(|Refusal { problem, fix }| format!("{problem}: {fix}"))
}

/// Parses a number of bytes as the configuration writes it: a whole number and a unit such as MiB.
///
/// # Errors
/// The problem and its remedy.
pub fn parse_size(text: &str) -> Result<u64, String> {
    value::size(text).map_err(|Refusal { problem, fix }| format!("{problem}: {fix}"))
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let refusal = if error.kind() == io::ErrorKind::NotFound {
        let fix = "start s3veil in a directory that holds a proxy.toml, or name one with --config FILE";
        Refusal::new("missing configuration file", fix)
    } else {
        Refusal::new(format!("can't be read: {error}"), "make it a file that s3veil's user may read")
    };
    ConfigError::whole(path, refusal)
}

/// Parses `text` as the content of `file`; `environment` resolves `env:NAME` values and `RUST_LOG`.
pub fn parse(text: &str, file: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Config> {
    read(text, file, &environment).map(|(config, _)| config)
}

/// Parses like [`parse`], and also returns the keys whose secrets are literal values in the text.
fn read(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Vec<String>)> {
    let source = Source {
        file,
        text,
        environment: env,
        warnings: RefCell::default(),
        literal_secrets: RefCell::default(),
        secrets: RefCell::default(),
        files: RefCell::default(),
    };
    let document = DeTable::parse(text).map_err(|error| {
        let (offset, refusal) = syntax::refusal(text, &error);
        source.refuse(offset, refusal)
    })?;
    let root = Section::open(&source, String::new(), 0, document.get_ref(), reference::ROOT)?;

    let (listen, requests) = listen::read(&root)?;
    let admin = listen::read_admin(&root, &listen)?;
    let upstreams = upstream::read(&root, listen.address)?;
    let is_embedded =
        |upstream: &crate::upstream::Settings| matches!(upstream.target, Target::Embedded { .. });
    let surroundings = holder::Surroundings {
        upstream_region: &upstreams[0].region,
        is_trial: upstreams.iter().all(is_embedded),
    };
    let keyring = keyring::read(&root, surroundings)?;
    let clients = client::read(&root, listen.address)?;
    let (buckets, routes) = bucket::read(&root, &keyring.holders, requests.max_buffered, &upstreams)?;
    client::require_client_ca(&root, &listen)?;
    client::warn_of_unserved(&root, &clients, &buckets)?;
    let log = log::read(&root)?;
    let metrics = log::metrics::read(&root)?;
    let audit = audit::read(&root)?;
    let traces = traces::read(&root)?;
    let (warnings, mut files) = (source.warnings.take(), source.files.take());
    files.insert(0, file.to_owned());
    let digest = section::digest::digest(document.get_ref(), &source.secrets.take());
    let config = Config {
        listen,
        requests,
        admin,
        upstreams,
        keyring,
        clients,
        buckets,
        routes,
        log,
        metrics,
        audit,
        traces,
        digest,
        warnings,
        files,
    };
    Ok((config, source.literal_secrets.take()))
}

/// A required table.
fn required<'a>(root: &Section<'a>, name: &str, fix: &str) -> Result<Section<'a>> {
    let section = root.section(name)?;
    section
        .ok_or_else(|| ConfigError::whole(root.source.file, Refusal::new(format!("missing [{name}]"), fix)))
}
