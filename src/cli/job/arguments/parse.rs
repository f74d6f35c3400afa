//! The values of a job's arguments.
//! They must not know which argument has them.
//! They promise that an error names what to write instead.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::ManifestFormat;
use crate::cli::Failure;
use crate::config;
use crate::envelope::native::Binding;
use crate::job::step::Destination;
use crate::job::{JobError, Location, Place};
use crate::keyring::KeyId;
use crate::s3::{BucketName, ObjectKey};
use crate::upstream::Upstreams;

const MANIFEST: &str = "manifest.json";

/// A job's input, where it is an argument of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputArgument {
    /// `s3://BUCKET[/PREFIX]`
    Listing(BucketName, String),
    /// `s3://…/manifest.json`
    Manifest(Location),
    /// `-`
    StandardInput,
}

impl FromStr for InputArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::StandardInput);
        }
        let (bucket, key) = bucket_url(text).ok_or(
            "write s3://BUCKET[/PREFIX], s3://BUCKET/…/manifest.json or -; for a file, --manifest FILE",
        )?;
        if key == MANIFEST || key.ends_with(&format!("/{MANIFEST}")) {
            let object_key = ObjectKey::parse(key).map_err(|error| error.message.into_owned())?;
            return Ok(Self::Manifest(Location::Object(bucket, object_key)));
        }
        Ok(Self::Listing(bucket, key.to_owned()))
    }
}

/// Bucket and rest of `s3://BUCKET[/…]`.
fn bucket_url(text: &str) -> Option<(BucketName, &str)> {
    let path = text.strip_prefix("s3://")?;
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    Some((BucketName::parse(bucket).ok()?, key))
}

/// A limit, or a share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub(in crate::cli::job) f64);

pub(super) fn rate(text: &str) -> Result<Share, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    let number = number.filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    number.map(Share).ok_or_else(|| "write objects in a second, such as 500/s".to_owned())
}

pub(super) fn bandwidth(text: &str) -> Result<Share, String> {
    let size = config::parse_size(text.strip_suffix("/s").unwrap_or(text));
    let advice = |_| "write bytes in a second, such as 200MiB/s".to_owned();
    size.map(|bytes| Share(bytes as f64)).map_err(advice)
}

pub(super) fn sample(text: &str) -> Result<Share, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0).ok(),
        None => text.parse().ok(),
    };
    let share = share.filter(|share| *share > 0.0 && *share <= 1.0);
    share.map(Share).ok_or_else(|| "write a share of the objects, such as 1%".to_owned())
}

pub(super) fn key_id(text: &str) -> Result<KeyId, String> {
    let key = KeyId::parse(text).map_err(|error| error.to_string())?;
    if key.is_alias() {
        return Err("an alias does not say which key objects are under: write the key's id or ARN".to_owned());
    }
    Ok(key)
}

pub(super) fn bucket(text: &str) -> Result<BucketName, String> {
    BucketName::parse(text)
        .map_err(|_| "invalid bucket name: write the name alone, without s3:// and without a key".to_owned())
}

pub(super) fn binding(text: &str) -> Result<Binding, String> {
    match text {
        "realm+key" => Ok(Binding::RealmAndKey),
        "realm" => Ok(Binding::Realm),
        "none" => Ok(Binding::None),
        _ => Err("write realm+key, realm or none".to_owned()),
    }
}

/// Where a file is: `s3://BUCKET/KEY`, or a path.
pub(in crate::cli::job) fn location(text: &str) -> Result<Location, Failure> {
    if !text.starts_with("s3://") {
        return Ok(Location::File(text.into()));
    }
    let found = bucket_url(text).and_then(|(bucket, key)| Some((bucket, ObjectKey::parse(key).ok()?)));
    let (bucket, object_key) =
        found.ok_or_else(|| Failure::Usage(format!("{text}: write s3://BUCKET/KEY")))?;
    Ok(Location::Object(bucket, object_key))
}

/// A location for people.
pub(in crate::cli::job) fn shown(location: &Location) -> String {
    match location {
        Location::File(path) if path.as_os_str() == "-" => "standard input".to_owned(),
        Location::File(path) => path.display().to_string(),
        Location::Object(bucket, object_key) => format!("s3://{bucket}/{object_key}"),
    }
}

/// How a manifest of this name is written.
pub(in crate::cli::job) fn manifest_format(name: &str) -> ManifestFormat {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    if name.ends_with(".json") {
        ManifestFormat::Inventory
    } else if name.ends_with(".csv") {
        ManifestFormat::Csv
    } else {
        ManifestFormat::Lines
    }
}

/// Where a report is, before the storage is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceArgument {
    /// A directory.
    Directory(PathBuf),
    /// A bucket, and what precedes the names of files: empty, or a text that ends with a slash.
    Bucket(BucketName, String),
}

impl fmt::Display for PlaceArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket(bucket, prefix) => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl PlaceArgument {
    pub(in crate::cli::job) fn parse(text: &str) -> Result<Self, Failure> {
        if !text.starts_with("s3://") {
            return Ok(Self::Directory(text.into()));
        }
        let (bucket, prefix) = bucket_url(text)
            .ok_or_else(|| Failure::Usage(format!("--report {text}: write DIR or s3://BUCKET/PREFIX")))?;
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        Ok(Self::Bucket(bucket, format!("{prefix}{slash}")))
    }

    /// The place, with the storages.
    pub(in crate::cli::job) fn at(&self, upstreams: &Upstreams) -> Place {
        match self {
            Self::Directory(path) => Place::Directory(path.clone()),
            Self::Bucket(bucket, prefix) => {
                Place::Bucket { upstreams: upstreams.clone(), bucket: bucket.clone(), prefix: prefix.clone() }
            }
        }
    }

    /// A file of the place.
    pub(in crate::cli::job) fn file(&self, name: &str) -> Result<Location, JobError> {
        match self {
            Self::Directory(path) => Ok(Location::File(path.join(name))),
            Self::Bucket(bucket, prefix) => {
                let object_key = ObjectKey::parse(format!("{prefix}{name}"));
                let object_key = object_key.map_err(|error| JobError::Invalid(error.message.into_owned()))?;
                Ok(Location::Object(bucket.clone(), object_key))
            }
        }
    }
}

/// Where `--to` leads.
#[derive(Debug)]
pub(in crate::cli::job) struct Destined(pub(in crate::cli::job) Destination);

impl Destined {
    pub(in crate::cli::job) fn parse(text: &str) -> Result<Self, Failure> {
        if !text.starts_with("s3://") {
            return Ok(Self(Destination::Directory(text.into())));
        }
        let (bucket, prefix) = bucket_url(text)
            .ok_or_else(|| Failure::Usage(format!("--to {text}: write s3://BUCKET[/PREFIX]")))?;
        Ok(Self(Destination::Bucket { bucket, prefix: prefix.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_told_apart() {
        let bucket = || BucketName::parse("b").unwrap();
        let listing = |prefix: &str| Ok(InputArgument::Listing(bucket(), prefix.to_owned()));
        assert_eq!("s3://b".parse(), listing(""));
        assert_eq!("s3://b/".parse(), listing(""));
        assert_eq!("s3://b/p/q".parse(), listing("p/q"));
        assert_eq!("-".parse(), Ok(InputArgument::StandardInput));
        let manifest = ObjectKey::parse("i/manifest.json").unwrap();
        let manifest = InputArgument::Manifest(Location::Object(bucket(), manifest));
        assert_eq!("s3://b/i/manifest.json".parse(), Ok(manifest));
        for bad in ["b", "file.csv", "s3://", "s3:///k", "s3://b_/../"] {
            assert_eq!(bad.parse::<InputArgument>().is_err(), bad != "s3://b_/../", "{bad}");
        }
    }

    #[test]
    fn limits_and_shares_have_units() {
        assert_eq!((rate("500/s"), rate("0.5")), (Ok(Share(500.0)), Ok(Share(0.5))));
        assert_eq!(bandwidth("1MiB/s"), Ok(Share(1_048_576.0)));
        assert_eq!(
            (sample("1%"), sample("0.5"), sample("100%")),
            (Ok(Share(0.01)), Ok(Share(0.5)), Ok(Share(1.0)))
        );
        for bad in ["", "0", "-1", "x/s", "nan", "inf"] {
            assert!(rate(bad).is_err() && sample(bad).is_err() && bandwidth(bad).is_err(), "{bad}");
        }
        assert!(sample("101%").is_err());
    }

    #[test]
    fn an_alias_names_no_key_of_objects() {
        assert!(key_id("alias/x").is_err() && key_id("").is_err());
        assert!(key_id("arn:aws:kms:us-east-1:1:key/k").is_ok());
    }
}
