//! `[[client]]`: access keys and rights.
//! It must not know how a signature is verified.
//! It promises unique access key ids, and the published secret on loopback addresses only.

use std::net::SocketAddr;

use super::error::{ConfigError, Refusal, Result};
use super::section::Section;
use super::{credentials, value};
use crate::access::{Client, ClientAccess};
use crate::object::rule::BucketRule;
use crate::s3::BucketPattern;
use crate::server::{self, Tls};
use crate::sigv4::SecretAccessKey;

const KEYS: &str =
    "access_key_id secret_access_key secret_access_key_file buckets access certificate_subject";

/// The secret of the published `proxy.toml`. It is public, so it is accepted on loopback addresses only.
pub const DEMO_SECRET: &str = "s3veil-secret";

/// Minimum length of a secret in bytes: a shorter one can be guessed offline from one signed request.
const MIN_SECRET: usize = 16;

pub(super) fn read(root: &Section<'_>, listen: SocketAddr) -> Result<Vec<(String, Client)>> {
    let sections = root.sections("client", KEYS)?;
    if sections.is_empty() {
        let fix =
            "write [[client]] and below it access_key_id and secret_access_key, which clients sign with";
        return Err(ConfigError::whole(root.source.file, Refusal::new("missing [[client]]", fix)));
    }
    let mut clients = Vec::with_capacity(sections.len());
    for section in &sections {
        let (access_key_id, client) = read_one(section, listen)?;
        if clients.iter().any(|(other, _)| *other == access_key_id) {
            let problem = format!("is used twice: {access_key_id:?}");
            return Err(section.refuse("access_key_id", &problem, "give each client an id of its own"));
        }
        clients.push((access_key_id, client));
    }
    Ok(clients)
}

/// Warns of buckets that a client may use and no rule serves.
pub(super) fn warn_of_unserved(
    root: &Section<'_>,
    clients: &[(String, Client)],
    rules: &[BucketRule],
) -> Result<()> {
    let is_served = |pattern: &BucketPattern| {
        // Two patterns with wildcards may have a name in common.
        let meets = |rule: &BucketPattern| {
            rule.covers(pattern) || pattern.covers(rule) || !(rule.is_name() || pattern.is_name())
        };
        rules.iter().any(|rule| meets(&rule.name))
    };
    for (section, (_, client)) in root.sections("client", KEYS)?.iter().zip(clients) {
        for pattern in client.buckets.iter().filter(|pattern| !is_served(pattern)) {
            let problem = format!("has {:?}, which no [[bucket]] serves", pattern.as_str());
            section.warn("buckets", &problem, "correct the name here or there, or remove it");
        }
    }
    Ok(())
}

/// Refuses a client that is bound to a certificate, where the listener verifies none.
pub(super) fn require_client_ca(root: &Section<'_>, listen: &server::Settings) -> Result<()> {
    let verifies_clients = listen.tls.as_ref().is_some_and(Tls::verifies_clients);
    let mut sections = root.sections("client", KEYS)?.into_iter();
    match sections.find(|section| !verifies_clients && section.has("certificate_subject")) {
        Some(section) => {
            let fix = "write client_ca = \"ca.pem\" into [listen.tls], or remove it";
            Err(section.refuse("certificate_subject", "requires `listen.tls.client_ca`", fix))
        }
        None => Ok(()),
    }
}

fn read_one(section: &Section<'_>, listen: SocketAddr) -> Result<(String, Client)> {
    let access_key_id = section.parsed("access_key_id", "my-app", credentials::access_key_id)?;
    let access_key_id = access_key_id.ok_or_else(|| {
        section.refuse("access_key_id", "is missing", "write an id of your choice, such as \"my-app\"")
    })?;
    let secret_access_key = credentials::read_secret(section)?.ok_or_else(|| {
        let fix = "write secret_access_key = \"env:NAME\" or secret_access_key_file = \"secret.txt\"";
        section.refuse("secret_access_key", "is missing", fix)
    })?;
    if secret_access_key.expose() == DEMO_SECRET && !listen.ip().to_canonical().is_loopback() {
        let problem = format!("is the published demo secret, and {listen} can be reached from outside");
        let fix = "choose a secret of your own, or set listen.address to 127.0.0.1";
        return Err(section.refuse("secret_access_key", &problem, fix));
    }
    if secret_access_key.expose().len() < MIN_SECRET && secret_access_key.expose() != DEMO_SECRET {
        let problem = format!("has fewer than {MIN_SECRET} bytes, which can be guessed");
        let fix = "choose a longer one at random, such as `openssl rand -hex 20` prints";
        section.warn(credentials::secret_key(section), &problem, fix);
    }
    let accesses = [
        ("read-write", ClientAccess::ReadWrite),
        ("read-only", ClientAccess::ReadOnly),
        ("write-only", ClientAccess::WriteOnly),
    ];
    let client = Client {
        secret: SecretAccessKey::new(secret_access_key.into_inner()),
        buckets: section
            .list("buckets", "logs-*", value::bucket_pattern)?
            .unwrap_or_else(|| vec![BucketPattern::any()]),
        access: section.choice("access", &accesses)?.unwrap_or(ClientAccess::ReadWrite),
        certificate_subject: section.parsed(
            "certificate_subject",
            "CN=backup,O=Example",
            value::certificate_name,
        )?,
    };
    Ok((access_key_id, client))
}
