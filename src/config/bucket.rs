use super::error::{ConfigError, Refusal};
use super::section::{Section, chosen};
use super::value;
use crate::handler::{Binding, BucketRule};
use crate::keyring::{AwsKms, Provider};

const KEYS: &[&str] = &["name", "prefix", "realm", "key_id", "allowed_key_ids", "formats", "binding"];

/// What this version writes and reads; a format is lifted by adding it here.
const WRITTEN: &[WriteFormat] = &[WriteFormat::Native];
const READ: &[ReadFormat] = &[ReadFormat::Native];

const WRITE_FORMATS: [WriteFormat; 4] =
    [WriteFormat::Native, WriteFormat::Cbc, WriteFormat::S3ecV2, WriteFormat::S3ecV3];
const READ_FORMATS: [ReadFormat; 4] =
    [ReadFormat::Native, ReadFormat::Cbc, ReadFormat::S3ec, ReadFormat::Plaintext];

/// An object's key has at most 1,024 bytes.
const MAX_PREFIX: usize = 1024;

/// The format of new objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteFormat {
    /// `native`
    Native,
    /// `cbc`
    Cbc,
    /// `s3ec-v2`
    S3ecV2,
    /// `s3ec-v3`
    S3ecV3,
}

/// A kind of object that may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadFormat {
    /// `native`
    Native,
    /// `cbc`
    Cbc,
    /// `s3ec`
    S3ec,
    /// `plaintext`
    Plaintext,
}

/// Whether everything `later` applies to is taken by `earlier` before.
fn hides(earlier: &BucketRule, later: &BucketRule) -> bool {
    earlier.name.covers(&later.name) && later.prefix.starts_with(&earlier.prefix)
}

pub(super) fn read(root: &Section<'_>, provider: &Provider) -> Result<Vec<BucketRule>, ConfigError> {
    let sections = root.sections("bucket", KEYS)?;
    if sections.is_empty() {
        let fix = "write [[bucket]] and below it name = \"*\", for every bucket";
        return Err(ConfigError::whole(root.source.file, Refusal::new("has no [[bucket]]", fix)));
    }
    let mut rules = Vec::with_capacity(sections.len());
    for section in &sections {
        let rule = read_one(section)?;
        if let Provider::AwsKms(AwsKms { key_id: None, .. }) = provider
            && rule.key_id.is_none()
        {
            let fix = "write key_id here, or in [keyring] for every bucket";
            return Err(section.refuse("key_id", "is missing, and `keyring.key_id` too", fix));
        }
        if let Some(earlier) = rules.iter().find(|earlier| hides(earlier, &rule)) {
            let problem =
                format!("can never match: the rule {:?} above it does first", earlier.name.as_str());
            return Err(section.refuse("name", &problem, "move this [[bucket]] above that one"));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn read_one(section: &Section<'_>) -> Result<BucketRule, ConfigError> {
    let name = section.parsed("name", "*", value::bucket_pattern)?;
    let name = name.ok_or_else(|| {
        section.refuse("name", "is missing", "write the bucket's name, or \"*\" for every bucket")
    })?;
    let prefix = section.parsed("prefix", "logs/", |text| match text.len() {
        ..=MAX_PREFIX => Ok(text.to_owned()),
        _ => Err(Refusal::new("is longer than an object's key", format!("write at most {MAX_PREFIX} bytes"))),
    })?;
    check_formats(section)?;
    let bindings = [("realm+key", Binding::RealmAndKey), ("realm", Binding::Realm), ("none", Binding::None)];
    Ok(BucketRule {
        name,
        prefix: prefix.unwrap_or_default(),
        realm: section.parsed("realm", "my-realm", value::name)?,
        key_id: section.parsed("key_id", "alias/s3veil", value::key_id)?,
        allowed_key_ids: section.list("allowed_key_ids", "alias/s3veil", value::key_id)?.unwrap_or_default(),
        binding: section.choice("binding", &bindings)?.unwrap_or(Binding::RealmAndKey),
    })
}

fn check_formats(bucket: &Section<'_>) -> Result<(), ConfigError> {
    let Some(section) = bucket.section("formats", &["write", "read"])? else { return Ok(()) };
    let known = WRITE_FORMATS.map(|format| (format.name(), format));
    let write = section.parsed("write", "native", |text| supported(text, &known, WRITTEN))?;
    let own = write.unwrap_or(WriteFormat::Native).read_as();
    let known = READ_FORMATS.map(|format| (format.name(), format));
    let read = section.list("read", "native", |text| supported(text, &known, READ))?;
    if read.is_some_and(|read| !read.contains(&own)) {
        let fix = format!("add \"{}\"", own.name());
        return Err(section.refuse("read", "lacks the format that is written", fix));
    }
    Ok(())
}

fn supported<F: Copy + PartialEq>(
    text: &str,
    formats: &[(&'static str, F)],
    supported: &[F],
) -> Result<F, Refusal> {
    let format = chosen(text, formats)?;
    if supported.contains(&format) {
        return Ok(format);
    }
    let names = formats.iter().filter(|(_, format)| supported.contains(format)).map(|(name, _)| *name);
    let fix = format!("write \"{}\"", names.collect::<Vec<_>>().join("\" or \""));
    Err(Refusal::new(format!("asks for {text:?}, which this version does not support"), fix))
}

impl WriteFormat {
    /// As it is written in `formats.write`.
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cbc => "cbc",
            Self::S3ecV2 => "s3ec-v2",
            Self::S3ecV3 => "s3ec-v3",
        }
    }

    /// The kind that objects written so are read as.
    fn read_as(self) -> ReadFormat {
        match self {
            Self::Native => ReadFormat::Native,
            Self::Cbc => ReadFormat::Cbc,
            Self::S3ecV2 | Self::S3ecV3 => ReadFormat::S3ec,
        }
    }
}

impl ReadFormat {
    /// As it is written in `formats.read`, for messages that name the setting.
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cbc => "cbc",
            Self::S3ec => "s3ec",
            Self::Plaintext => "plaintext",
        }
    }
}
