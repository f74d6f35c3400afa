//! `[[holder]]`: the services and files that have wrapping keys. `[keyring]` describes one alike, where there
//! is only one. It must not know how a holder is called. It promises that holders have unique names, and that
//! no key of a table is without effect.

mod aws_kms;
mod local;
mod vault;

use super::error::{Refusal, Result};
use super::section::Section;
use super::suggest::nearest;
use super::value;
use crate::keyring::{HolderSettings, Provider};

/// The keys that describe a provider, with a space between two.
macro_rules! provider_keys {
    () => {
        "provider file key_id endpoint region access_key_id secret_access_key secret_access_key_file \
         address mount key namespace ca_file auth"
    };
}
pub(super) use provider_keys;

const KEYS: &str = concat!("name replica_of ", provider_keys!());

/// The name of the holder that `[keyring]` describes.
pub(super) const SINGLE: &str = "keyring";

/// The facts of the rest of the configuration that a holder depends on.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The region of the default storage.
    pub(super) upstream_region: &'a str,
    /// Whether the storages are embedded stores. Only then a missing keyring file is created: with another
    /// storage, a mistyped path would silently become a new key.
    pub(super) is_trial: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    AwsKms,
    Local,
    Vault,
}

const KINDS: [(&str, Kind); 3] = [("aws-kms", Kind::AwsKms), ("local", Kind::Local), ("vault", Kind::Vault)];

/// Reads every `[[holder]]`.
pub(super) fn read(root: &Section<'_>, surroundings: Surroundings<'_>) -> Result<Vec<HolderSettings>> {
    let sections = root.sections("holder", KEYS)?;
    let mut holders: Vec<HolderSettings> = Vec::with_capacity(sections.len());
    for section in &sections {
        let name = section.parsed("name", "aws", value::name)?.ok_or_else(|| {
            section.refuse("name", "is missing", "write name = \"aws\", or another name for this holder")
        })?;
        if holders.iter().any(|other| other.name == name) {
            return Err(section.refuse("name", "names another [[holder]] too", "choose another name"));
        }
        let provider = read_provider(section, surroundings)?;
        holders.push(HolderSettings { name, provider, replica_of: None });
    }
    for place in 0..holders.len() {
        holders[place].replica_of = read_replica(&sections[place], place, &holders)?;
    }
    Ok(holders)
}

/// Reads the only holder, which `[keyring]` describes.
pub(super) fn read_single(section: &Section<'_>, surroundings: Surroundings<'_>) -> Result<HolderSettings> {
    let provider = read_provider(section, surroundings)?;
    Ok(HolderSettings { name: SINGLE.to_owned(), provider, replica_of: None })
}

fn read_provider(section: &Section<'_>, surroundings: Surroundings<'_>) -> Result<Provider> {
    match section.choice("provider", &KINDS)? {
        None => Err(section.refuse(
            "provider",
            "is missing",
            "write provider = \"aws-kms\", \"vault\" or \"local\"",
        )),
        Some(Kind::AwsKms) => aws_kms::read(section, surroundings),
        Some(Kind::Local) => local::read(section, surroundings),
        Some(Kind::Vault) => vault::read(section, surroundings),
    }
}

/// The place of the holder that the `place`th holder is a replica of.
fn read_replica(section: &Section<'_>, place: usize, holders: &[HolderSettings]) -> Result<Option<usize>> {
    let original = section.parsed("replica_of", "aws", |name| holder_named(name, holders))?;
    let Some(original) = original else { return Ok(None) };
    let are_kms = [place, original]
        .iter()
        .all(|place| matches!(&holders[*place].provider, Provider::AwsKms(kms) if kms.key_id.is_some()));
    if original == place || !are_kms {
        let fix =
            "name another holder with provider = \"aws-kms\"; both require the key_id of a multi-Region key";
        return Err(section.refuse("replica_of", "names no holder of the original key", fix));
    }
    if holders[original].replica_of.is_some() {
        return Err(section.refuse("replica_of", "names a replica", "name the holder of the original key"));
    }
    Ok(Some(original))
}

/// The place of the holder with this name.
pub(super) fn holder_named(name: &str, holders: &[HolderSettings]) -> Result<usize, Refusal> {
    if let Some(place) = holders.iter().position(|holder| holder.name == name) {
        return Ok(place);
    }
    let names: Vec<_> = holders.iter().map(|holder| holder.name.as_str()).collect();
    let fix = match nearest(name, &names) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("write one of \"{}\", or add a [[holder]] with this name", names.join("\", \"")),
    };
    Err(Refusal::new(format!("names no holder: {name:?}"), fix))
}

/// Refuses every key of a provider that is not among those that this provider reads.
fn only(section: &Section<'_>, provider: &str, known: &str) -> Result<()> {
    for word in provider_keys!().split(' ').filter(|word| !known.split(' ').any(|known| known == *word)) {
        section.absent(word, &format!("has no effect with {provider}"))?;
    }
    Ok(())
}
