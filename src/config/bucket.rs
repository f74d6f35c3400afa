//! `[[bucket]]`: the rules for buckets, and the routes to their storages.
//! It must not know how a rule is applied.
//! It promises that every rule can match, has a wrapping key, that no bucket joins a realm by chance, and
//! that no two buckets are plainly one stored bucket.

use super::error::suggest::nearest;
use super::error::{ConfigError, Refusal, Result};
use super::section::Section;
use super::{rule_keys, value};
use crate::keyring::HolderSettings;
use crate::object::rule::{Binding, BucketRule, CustomerKeyRule};
use crate::s3::{BucketName, EtagStyle};
use crate::upstream::{Conflict, InvalidStoredName, Route, Routes, Settings, StoredName};

/// Maximum length of a prefix in bytes: that of an object's key.
const MAX_PREFIX: usize = 1024;

/// Whether `earlier` applies to everything that `later` would apply to.
fn hides(earlier: &BucketRule, later: &BucketRule) -> bool {
    earlier.name.covers(&later.name) && later.prefix.starts_with(&earlier.prefix)
}

/// The rules, and the routes of those that are for whole buckets.
pub(super) fn read(
    root: &Section<'_>,
    holders: &[HolderSettings],
    max_buffered: u64,
    upstreams: &[Settings],
) -> Result<(Vec<BucketRule>, Vec<Route>)> {
    let sections = root.sections("bucket")?;
    if sections.is_empty() {
        let fix = "write [[bucket]] and below it name = \"*\", for every bucket";
        return Err(ConfigError::whole(root.source.file, Refusal::new("missing [[bucket]]", fix)));
    }
    let mut rules = Vec::with_capacity(sections.len());
    for section in &sections {
        let rule = read_one(section, holders, max_buffered)?;
        if let Some(earlier) = rules.iter().find(|earlier| hides(earlier, &rule)) {
            let problem =
                format!("can never match: the rule {:?} above it does first", earlier.name.as_str());
            return Err(section.refuse("name", &problem, "move this [[bucket]] above that one"));
        }
        rules.push(rule);
    }
    for (section, rule) in sections.iter().zip(&rules) {
        refuse_chance_realm(section, rule, &rules)?;
    }
    let routes = read_routes(&sections, &rules, upstreams)?;
    Ok((rules, routes))
}

/// The routes of the rules for whole buckets, in their order: a bucket is in one storage as a whole.
fn read_routes(sections: &[Section<'_>], rules: &[BucketRule], upstreams: &[Settings]) -> Result<Vec<Route>> {
    let mut routed = Vec::new();
    let mut routes = Vec::new();
    for (section, rule) in sections.iter().zip(rules) {
        if rule.prefix.is_empty() {
            routes.push(read_route(section, rule, upstreams)?);
            routed.push(section);
            continue;
        }
        for word in ["upstream", "stored_as"] {
            if section.has(word) {
                let fix = "write it in the [[bucket]] without a prefix that serves the rest of the bucket";
                return Err(section.refuse(
                    word,
                    "can't be set with a `prefix`: a bucket is in one upstream",
                    fix,
                ));
            }
        }
    }
    if let Some(Conflict { route, other, stored }) = Routes::new(routes.clone()).conflict() {
        let word = if routed[route].has("stored_as") { "stored_as" } else { "name" };
        let problem = format!("is stored as {stored}, and the bucket {other} too");
        let fix = "choose another stored_as for one of them, or another upstream";
        return Err(routed[route].refuse(word, &problem, fix));
    }
    Ok(routes)
}

fn read_route(section: &Section<'_>, rule: &BucketRule, upstreams: &[Settings]) -> Result<Route> {
    let names: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let upstream = section.parsed("upstream", names[0], |text| {
        names.iter().position(|name| *name == text).ok_or_else(|| {
            let fix = match nearest(text, &names) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!(
                    "write one of \"{}\", or add an [[upstream]] with this name",
                    names.join("\", \"")
                ),
            };
            Refusal::new(format!("names no upstream: {text:?}"), fix)
        })
    })?;
    let stored_as = section.parsed("stored_as", "company-{bucket}", |text| {
        StoredName::parse(text, &rule.name).map_err(|error| {
            let fix = match error {
                InvalidStoredName::Unchanged => "remove it",
                InvalidStoredName::OneForAll | InvalidStoredName::Characters => {
                    "write for example \"company-{bucket}\", in which {bucket} stands for the name that clients use"
                }
            };
            Refusal::new(format!("{error}: {text:?}"), fix)
        })
    })?;
    Ok(Route { buckets: rule.name.clone(), upstream: upstream.unwrap_or(0), stored_as })
}

/// Refuses a realm that a bucket could share by chance. A bucket with the realm's name that is served by a
/// pattern without a realm of its own has its name as its realm, so any client that may create this bucket
/// would join the realm. A rule that gives the bucket's full name, with or without a realm, states that this
/// is intended.
fn refuse_chance_realm(section: &Section<'_>, rule: &BucketRule, rules: &[BucketRule]) -> Result<()> {
    let Some(realm) = rule.realm.as_deref() else { return Ok(()) };
    if BucketName::parse(realm).is_err() {
        return Ok(());
    }
    for other in rules.iter().filter(|other| other.name.matches(realm)) {
        if other.realm.is_none() && !other.name.is_name() {
            let problem = format!(
                "{realm:?} is also the realm of a bucket named so, which the rule {:?} serves",
                other.name.as_str()
            );
            let fix = format!(
                "write above that rule a [[bucket]] with name = {realm:?} and the realm it shall have, or choose another \
                 realm if no object is bound to this one yet"
            );
            return Err(section.refuse("realm", &problem, &fix));
        }
        if other.prefix.is_empty() {
            // This rule serves the whole bucket, so later rules never apply to it.
            return Ok(());
        }
    }
    Ok(())
}

/// The prefix of keys that a table is for; empty without one.
pub(super) fn read_prefix(section: &Section<'_>) -> Result<String> {
    let prefix = section.parsed("prefix", "logs/", |text| match text.len() {
        ..=MAX_PREFIX => Ok(text.to_owned()),
        _ => Err(Refusal::new("is longer than an object's key", format!("write at most {MAX_PREFIX} bytes"))),
    })?;
    if prefix.as_ref().is_some_and(|prefix| prefix.ends_with('*')) {
        let fix = "remove the *: a prefix matches every key that begins with it";
        section.warn("prefix", "ends in a *, which is a character of the key here", fix);
    }
    Ok(prefix.unwrap_or_default())
}

fn read_one(section: &Section<'_>, holders: &[HolderSettings], max_buffered: u64) -> Result<BucketRule> {
    let name = section.parsed("name", "*", value::bucket_pattern)?;
    let name = name.ok_or_else(|| {
        section.refuse("name", "is missing", "write the bucket's name, or \"*\" for every bucket")
    })?;
    let bindings = [("realm+key", Binding::RealmAndKey), ("realm", Binding::Realm), ("none", Binding::None)];
    let customer_keys =
        [("off", CustomerKeyRule::Off), ("tls", CustomerKeyRule::Tls), ("any", CustomerKeyRule::Any)];
    let etags = [("opaque", EtagStyle::Opaque), ("storage", EtagStyle::Storage)];
    Ok(BucketRule {
        name,
        prefix: read_prefix(section)?,
        realm: section.parsed("realm", "my-realm", value::name)?,
        keys: rule_keys::read(section, holders)?,
        formats: super::formats::read(section, max_buffered)?,
        binding: section.choice("binding", &bindings)?.unwrap_or(Binding::RealmAndKey),
        etag: section.choice("etag", &etags)?.unwrap_or_default(),
        customer_keys: section.choice("sse_c", &customer_keys)?.unwrap_or_default(),
    })
}
