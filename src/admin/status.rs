//! What the status page says of the configuration.
//! It must not know how a configuration is read.
//! It promises to hold no secret, and that every text comes from the setting itself.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use crate::server::Validity;

/// The configuration, as far as operators see it. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The proxy's version.
    pub version: &'static str,
    /// The commit that the program was built from, or `unknown`.
    pub commit: &'static str,
    /// The URL for S3 clients.
    pub listen: String,
    /// The certificates of the listeners, of their clients' authorities, and of the storages' authorities.
    pub certificates: Vec<Certificate>,
    /// The storages in words, in one line.
    pub upstream: String,
    /// The storages, the default one first.
    pub storages: Vec<Named>,
    /// The holders of wrapping keys in words, in one line.
    pub keyring: String,
    /// The holders of wrapping keys.
    pub holders: Vec<Named>,
    /// How long a data key is used, in words.
    pub caching: String,
    /// The buckets that the anonymous client may read, and its rights; `None` without such a client.
    pub anonymous: Option<String>,
    /// The bucket rules, in the order of matching.
    pub rules: Vec<Rule>,
    /// Whether clients are counted one by one.
    pub by_client: bool,
    /// Whether rules are counted one by one.
    pub by_rule: bool,
    /// SHA-256 of `proxy.toml` without the values of secrets, in hexadecimal digits.
    pub digest: String,
    /// When the configuration was last loaded.
    pub loaded_at: SystemTime,
    /// When a later configuration was refused, and why.
    pub reload_failure: Option<(SystemTime, String)>,
}

/// A storage or a holder of keys: its name in the configuration, and where it is, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name in the configuration, which labels of metrics have too.
    pub name: String,
    /// The service or file.
    pub place: String,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its configuration key, such as `listen.tls.certificate`.
    pub setting: String,
    /// Its subject in the form of RFC 4514.
    pub subject: String,
    /// Its subject alternative names, such as `DNS:s3.example.com`.
    pub names: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
}

/// A bucket rule: what it writes, reads and binds, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The objects that it applies to: `logs-*/a/*`.
    pub rule: String,
    /// The format of new objects, with a note where nothing authenticates it.
    pub writes: String,
    /// The formats that are read, with such notes.
    pub reads: Vec<String>,
    /// Further ways in which content is released that was not authenticated before.
    pub notes: Vec<String>,
    /// What native envelopes are bound to; `None` where none are read.
    pub bound: Option<String>,
    /// Realm, holders and keys, where the rule names them.
    pub keys: Vec<String>,
    /// Whether content may be read or written that nothing authenticates.
    pub is_unauthenticated: bool,
}

/// One line, such as `logs/a/*  writes native; reads native, cbc; bound to realm and key; realm r; key k`.
impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, writes, reads, notes, bound, keys, is_unauthenticated: _ } = self;
        write!(out, "{rule}  writes {writes}; reads {}", reads.join(", "))?;
        for note in notes {
            write!(out, "; {note}")?;
        }
        if let Some(bound) = bound {
            write!(out, "; bound to {bound}")?;
        }
        keys.iter().try_for_each(|key| write!(out, "; {key}"))
    }
}

impl Status {
    /// Adds the default key to the line of the keyring.
    pub fn name_default_key(&mut self, key_id: &str) {
        self.keyring.push_str(&format!(", {key_id}"));
    }
}
