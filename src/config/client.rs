//! `[[client]]`: access keys and rights.
//! It must not know how a signature is verified, nor which rights an operation needs.
//! It promises unique access key ids, the published secret on loopback addresses only, and a client without a
//! secret that may only read.

use std::net::SocketAddr;

use super::error::{ConfigError, Refusal, Result};
use super::section::{Section, chosen};
use super::{bucket, credentials, value};
use crate::access::{ANONYMOUS, ANONYMOUS_RIGHTS, Client, Grant, Grants, Right, Rights, SHORT_FORMS};
use crate::object::rule::BucketRule;
use crate::s3::BucketPattern;
use crate::server::{self, Tls};
use crate::sigv4::SecretAccessKey;

/// An example of a list of grants, for errors.
const GRANTS: &str = "grants = [{ buckets = [\"logs-*\"], rights = [\"read\", \"list\"] }]";

/// The secret of the published `proxy.toml`. It is public, so it is accepted on loopback addresses only.
pub const DEMO_SECRET: &str = "s3veil-secret";

/// Minimum length of a secret in bytes: a shorter one can be guessed offline from one signed request.
const MIN_SECRET: usize = 16;

pub(super) fn read(root: &Section<'_>, listen: SocketAddr) -> Result<Vec<(String, Client)>> {
    let sections = root.sections("client")?;
    if sections.is_empty() {
        let fix =
            "write [[client]] and below it access_key_id and secret_access_key, which clients sign with";
        return Err(ConfigError::whole(root.source.file, Refusal::new("missing [[client]]", fix)));
    }
    let mut clients = Vec::with_capacity(sections.len());
    for section in &sections {
        let (access_key_id, client) = read_one(section, listen)?;
        if clients.iter().any(|(other, _)| *other == access_key_id) {
            if client.is_anonymous() {
                let fix = "write all grants in one [[client]] with anonymous = true";
                return Err(section.refuse("anonymous", "is the name of another client", fix));
            }
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
    for (section, (_, client)) in root.sections("client")?.iter().zip(clients) {
        let tables = section.sections("grants")?;
        for (index, grant) in client.grants.iter().enumerate() {
            let table = tables.get(index).unwrap_or(section);
            for pattern in grant.buckets.iter().filter(|pattern| !is_served(pattern)) {
                let problem = format!("has {:?}, which no [[bucket]] serves", pattern.as_str());
                table.warn("buckets", &problem, "correct the name here or there, or remove it");
            }
        }
    }
    Ok(())
}

/// Refuses a client that is bound to a certificate, where the listener verifies none.
pub(super) fn require_client_ca(root: &Section<'_>, listen: &server::Settings) -> Result<()> {
    let verifies_clients = listen.tls.as_ref().is_some_and(Tls::verifies_clients);
    let mut sections = root.sections("client")?.into_iter();
    match sections.find(|section| !verifies_clients && section.has("certificate_subject")) {
        Some(section) => {
            let fix = "write client_ca = \"ca.pem\" into [listen.tls], or remove it";
            Err(section.refuse("certificate_subject", "requires `listen.tls.client_ca`", fix))
        }
        None => Ok(()),
    }
}

fn read_one(section: &Section<'_>, listen: SocketAddr) -> Result<(String, Client)> {
    if section.boolean("anonymous")? == Some(true) {
        return read_anonymous(section, listen);
    }
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
    let client = Client {
        secret: Some(SecretAccessKey::new(secret_access_key.into_inner())),
        grants: read_grants(section)?,
        certificate_subject: section.parsed(
            "certificate_subject",
            "CN=backup,O=Example",
            value::certificate_name,
        )?,
    };
    Ok((access_key_id, client))
}

/// The client of requests without a signature, which may only read and list.
fn read_anonymous(section: &Section<'_>, listen: SocketAddr) -> Result<(String, Client)> {
    for key in credentials::KEYS {
        section.absent(key, "has no effect: a request without a signature has no access key")?;
    }
    section.absent("certificate_subject", "has no effect on requests without a signature")?;
    if !section.has("grants") && !section.has("access") {
        let fix = format!("write access = \"read-only\" and buckets, or {GRANTS}");
        return Err(section.refuse("anonymous", "requires grants", fix));
    }
    let grants = read_grants(section)?;
    let excess = grants.anywhere().without(ANONYMOUS_RIGHTS);
    if excess != Rights::NONE {
        let key = if section.has("grants") { "grants" } else { "access" };
        let problem = format!("gives the anonymous client more than {ANONYMOUS_RIGHTS}: {excess}");
        return Err(section.refuse(key, &problem, "give these rights to a client with an access key"));
    }
    let buckets: Vec<_> = grants.iter().flat_map(|grant| &grant.buckets).map(BucketPattern::as_str).collect();
    let problem = format!(
        "lets every sender that reaches {listen} read without a signature from the buckets {}",
        buckets.join(", ")
    );
    section.warn("anonymous", &problem, "remove it unless this is intended");
    Ok((ANONYMOUS.to_owned(), Client { secret: None, grants, certificate_subject: None }))
}

/// The grants, or the one that `buckets` and `access` describe.
fn read_grants(section: &Section<'_>) -> Result<Grants> {
    if !section.has("grants") {
        let rights = section.choice("access", &SHORT_FORMS)?.unwrap_or(SHORT_FORMS[0].1);
        return Ok(Grants::new([Grant { buckets: read_buckets(section)?, prefix: String::new(), rights }]));
    }
    for key in ["buckets", "access"] {
        let fix = "move it into the grants, as buckets and rights, or remove the grants";
        if section.has(key) {
            return Err(section.refuse(key, &format!("conflicts with `{}`", section.path("grants")), fix));
        }
    }
    let tables = section.sections("grants")?;
    if tables.is_empty() {
        return Err(section.refuse("grants", "is empty", format!("write {GRANTS}")));
    }
    tables.iter().map(read_grant).collect::<Result<Vec<_>>>().map(Grants::new)
}

fn read_grant(section: &Section<'_>) -> Result<Grant> {
    let choices = Right::ALL.map(|right| (right.name(), right));
    let rights = section.list("rights", "read", |text| chosen(text, &choices))?;
    let rights = rights.ok_or_else(|| {
        let fix = format!("write rights = [\"read\", \"list\"], of {}", Rights::ALL);
        section.refuse("rights", "is missing", fix)
    })?;
    let prefix = bucket::read_prefix(section)?;
    Ok(Grant { buckets: read_buckets(section)?, prefix, rights: Rights::new(&rights) })
}

fn read_buckets(section: &Section<'_>) -> Result<Vec<BucketPattern>> {
    let buckets = section.list("buckets", "logs-*", value::bucket_pattern)?;
    Ok(buckets.unwrap_or_else(|| vec![BucketPattern::any()]))
}
