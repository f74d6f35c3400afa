//! `[[holder]]`: the services and files that have wrapping keys. `[keyring]` describes one alike, where there
//! is only one. It must not know how a holder is called. It promises that holders have unique names, and that
//! no key of a table is without effect.

#[cfg(feature = "aws")]
mod aws_kms;
#[cfg(feature = "azure-key-vault")]
mod azure_key_vault;
#[cfg(feature = "gcp-kms")]
mod gcp_kms;
mod local;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(test)]
mod tests;
mod vault;

use super::error::suggest::nearest;
use super::error::{Refusal, Result};
#[cfg(any(feature = "gcp-kms", feature = "azure-key-vault"))]
use super::reference::Keys;
use super::reference::PROVIDER;
use super::section::Section;
use super::value;
use crate::keyring::{HolderSettings, Provider};

/// The name of the holder that `[keyring]` describes.
pub(super) const SINGLE: &str = "keyring";

/// The facts of the rest of the configuration that a holder depends on.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The region of the default storage.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only AWS KMS has regions"))]
    pub(super) upstream_region: &'a str,
    /// Whether the storages are embedded stores. Only then a missing keyring file is created: with another
    /// storage, a mistyped path would silently become a new key.
    pub(super) is_trial: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    AwsKms,
    AzureKeyVault,
    GcpKms,
    Local,
    Pkcs11,
    Vault,
}

const KINDS: [(&str, Kind); 6] = [
    ("aws-kms", Kind::AwsKms),
    ("local", Kind::Local),
    ("vault", Kind::Vault),
    ("pkcs11", Kind::Pkcs11),
    ("gcp-kms", Kind::GcpKms),
    ("azure-key-vault", Kind::AzureKeyVault),
];

/// Reads every `[[holder]]`.
pub(super) fn read(root: &Section<'_>, surroundings: Surroundings<'_>) -> Result<Vec<HolderSettings>> {
    let sections = root.sections("holder")?;
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
            "write provider = \"aws-kms\", \"vault\", \"pkcs11\", \"gcp-kms\", \"azure-key-vault\" or \"local\"",
        )),
        #[cfg(feature = "aws")]
        Some(Kind::AwsKms) => aws_kms::read(section, surroundings),
        #[cfg(not(feature = "aws"))]
        Some(Kind::AwsKms) => Err(left_out(section, "aws-kms", "aws")),
        Some(Kind::Local) => local::read(section, surroundings),
        Some(Kind::Vault) => vault::read(section, surroundings),
        #[cfg(feature = "pkcs11")]
        Some(Kind::Pkcs11) => pkcs11::read(section),
        #[cfg(not(feature = "pkcs11"))]
        Some(Kind::Pkcs11) => Err(left_out(section, "pkcs11", "pkcs11")),
        #[cfg(feature = "gcp-kms")]
        Some(Kind::GcpKms) => gcp_kms::read(section),
        #[cfg(not(feature = "gcp-kms"))]
        Some(Kind::GcpKms) => Err(left_out(section, "gcp-kms", "gcp-kms")),
        #[cfg(feature = "azure-key-vault")]
        Some(Kind::AzureKeyVault) => azure_key_vault::read(section),
        #[cfg(not(feature = "azure-key-vault"))]
        Some(Kind::AzureKeyVault) => Err(left_out(section, "azure-key-vault", "azure-key-vault")),
    }
}

/// The refusal of a provider whose feature is off.
#[cfg(not(all(feature = "aws", feature = "pkcs11", feature = "gcp-kms", feature = "azure-key-vault")))]
fn left_out(section: &Section<'_>, provider: &str, feature: &str) -> super::ConfigError {
    let problem = format!("is {provider:?}, which this s3veil was built without");
    let fix = format!("build s3veil with the feature {feature}, or choose another provider");
    section.refuse("provider", &problem, fix)
}

/// The `method` of the table `auth`, and a refusal of the keys that this method does not read.
#[cfg(any(feature = "gcp-kms", feature = "azure-key-vault"))]
fn read_method<'a, T: Copy>(
    section: &Section<'a>,
    known: Keys,
    methods: &[(&'static str, (T, &str))],
    example: &str,
) -> Result<(Section<'a>, T)> {
    let auth = section.section_with("auth", known)?;
    let auth =
        auth.ok_or_else(|| section.refuse("auth", "is missing", format!("write auth = {{ {example} }}")))?;
    let choices: Vec<_> = methods.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    let method = auth.choice("method", &choices)?;
    let method =
        method.ok_or_else(|| auth.refuse("method", "is missing", format!("write auth = {{ {example} }}")))?;
    let (method, words) = methods[method].1;
    for key in
        known.iter().filter(|key| key.name != "method" && !words.split(' ').any(|read| read == key.name))
    {
        auth.absent(key.name, "has no effect with this method")?;
    }
    Ok((auth, method))
}

/// The path of a file with a secret that is read later, at each login. Adds a warning if other users may read
/// or change the file.
#[cfg(any(feature = "pkcs11", feature = "gcp-kms", feature = "azure-key-vault"))]
fn later_secret(section: &Section<'_>, word: &str, example: &str) -> Result<std::path::PathBuf> {
    let path = section.secret_file_path(word, example)?;
    path.ok_or_else(|| section.refuse(word, "is missing", format!("write {word} = \"{example}\"")))
}

/// The path of a file with a token that another program replaces, and that is read later, at each login.
#[cfg(any(feature = "gcp-kms", feature = "azure-key-vault"))]
fn later_file(section: &Section<'_>, word: &str, example: &str) -> Result<std::path::PathBuf> {
    let file = required_text(section, word, example)?;
    Ok(section.source.resolve(&file))
}

#[cfg(any(feature = "pkcs11", feature = "gcp-kms", feature = "azure-key-vault"))]
fn required_text(section: &Section<'_>, word: &str, example: &str) -> Result<String> {
    let text = section.text(word, example)?;
    let text =
        text.ok_or_else(|| section.refuse(word, "is missing", format!("write {word} = \"{example}\"")))?;
    Ok(text.into_owned())
}

/// The place of the holder that the `place`th holder is a replica of.
fn read_replica(section: &Section<'_>, place: usize, holders: &[HolderSettings]) -> Result<Option<usize>> {
    let original = section.parsed("replica_of", "aws", |name| holder_named(name, holders))?;
    let Some(original) = original else { return Ok(None) };
    let are_kms = [place, original]
        .iter()
        .map(|place| &holders[*place].provider)
        .all(|provider| provider.is_aws_kms() && provider.names_key());
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
    for key in PROVIDER.iter().filter(|key| !known.split(' ').any(|known| known == key.name)) {
        section.absent(key.name, &format!("has no effect with {provider}"))?;
    }
    Ok(())
}
