//! The formats of a `[[bucket]]`, and the settings of each.
//! It must not know how a format is encoded.
//! It promises that a bucket reads what it writes, and that no setting is silently without effect.

use std::collections::BTreeMap;

use super::error::{Refusal, Result};
use super::section::Section;
use super::value;
use crate::envelope::article_cbc::Padding;
use crate::object::rule::formats::{Formats, Large, Multipart, Ranges, ReadFormat, S3ecRules, WriteFormat};

/// Maximum of `s3ec.buffer` in bytes: each read in flight may fill a buffer of that size.
const MAX_BUFFER: u64 = 1024 * 1024 * 1024;
/// Maximum length of an encryption context in bytes: AWS KMS accepts 8,192 characters, but S3 limits metadata
/// to 2,048 bytes, which must hold the wrapped key too.
const MAX_CONTEXT: usize = 1024;

/// Reads the formats of a `[[bucket]]`. No buffer may exceed `max_buffered`, the memory of all requests.
pub(super) fn read(bucket: &Section<'_>, max_buffered: u64) -> Result<Formats> {
    let mut formats = Formats::default();
    if let Some(section) = bucket.section("formats")? {
        let choices = WriteFormat::ALL.map(|format| (format.name(), format));
        formats.write = section.choice("write", &choices)?.unwrap_or(WriteFormat::Native);
        let own = formats.write.read_as();
        acknowledge_plaintext(&section, formats.write)?;
        let choices = ReadFormat::ALL.map(|format| (format.name(), format));
        let read = section.list("read", "native", |text| super::section::chosen(text, &choices))?;
        formats.read = read.unwrap_or_else(|| vec![own]);
        if !formats.read.contains(&own) {
            let problem = "does not include the format that is written";
            return Err(section.refuse("read", problem, format!("add \"{}\"", own.name())));
        }
    }
    if formats.write == WriteFormat::Cbc {
        read_cbc(bucket, &mut formats)?;
    } else {
        for word in ["cbc_padding", "cbc_multipart"] {
            bucket.absent(word, "has no effect unless `bucket.formats.write` is \"cbc\"")?;
        }
    }
    if formats.reads(ReadFormat::S3ec) {
        formats.s3ec = read_s3ec(bucket, max_buffered)?;
    } else {
        bucket.absent("s3ec", "has no effect unless `bucket.formats.read` names \"s3ec\"")?;
    }
    Ok(formats)
}

/// Requires that a rule which stores objects unencrypted says so twice, and warns of it, at every start and
/// reload and in `check`.
fn acknowledge_plaintext(section: &Section<'_>, write: WriteFormat) -> Result<()> {
    let is_acknowledged = section.boolean("store_unencrypted")?.unwrap_or(false);
    match (write, is_acknowledged) {
        (WriteFormat::Plaintext, true) => {
            let problem = "is \"plaintext\": OBJECTS UNDER THIS RULE ARE STORED UNENCRYPTED";
            let fix = "keep this only for what its clients encrypt themselves, such as restic repositories";
            section.warn("write", problem, fix);
            Ok(())
        }
        (WriteFormat::Plaintext, false) => {
            let problem = "\"plaintext\" would store objects unencrypted";
            let fix =
                "write \"native\"; or, for what its clients encrypt themselves, add store_unencrypted = true";
            Err(section.refuse("write", problem, fix))
        }
        (WriteFormat::Native | WriteFormat::Cbc | WriteFormat::S3ecV2 | WriteFormat::S3ecV3, true) => {
            let problem = "has no effect unless `bucket.formats.write` is \"plaintext\"";
            Err(section.refuse("store_unencrypted", problem, "remove it"))
        }
        (WriteFormat::Native | WriteFormat::Cbc | WriteFormat::S3ecV2 | WriteFormat::S3ecV3, false) => Ok(()),
    }
}

fn read_cbc(bucket: &Section<'_>, formats: &mut Formats) -> Result<()> {
    let paddings = [("pkcs7", Padding::Pkcs7), ("zero", Padding::Zero)];
    formats.cbc.padding = bucket.choice("cbc_padding", &paddings)?.unwrap_or(Padding::Pkcs7);
    let choices = [("refuse", Multipart::Refuse), ("native", Multipart::Native)];
    formats.cbc.multipart = bucket.choice("cbc_multipart", &choices)?.unwrap_or(Multipart::Refuse);
    if formats.cbc.multipart == Multipart::Native && !formats.reads(ReadFormat::Native) {
        let problem = "writes native objects, which `bucket.formats.read` does not accept";
        return Err(bucket.refuse("cbc_multipart", problem, "add \"native\" to bucket.formats.read"));
    }
    Ok(())
}

fn read_s3ec(bucket: &Section<'_>, max_buffered: u64) -> Result<S3ecRules> {
    let default = S3ecRules::default();
    let default = S3ecRules { buffer: default.buffer.min(max_buffered), ..default };
    let Some(section) = bucket.section("s3ec")? else { return Ok(default) };
    let large = [("refuse", Large::Refuse), ("stream", Large::Stream)];
    let ranges = [("verify", Ranges::Verify), ("unauthenticated", Ranges::Unauthenticated)];
    let buffer = section.parsed("buffer", "64MiB", |text| match value::size(text)? {
        bytes if bytes > MAX_BUFFER => {
            let fix = "write at most \"1GiB\": each read in flight may fill it";
            Err(Refusal::new("is more memory than a read should take", fix))
        }
        bytes if bytes > max_buffered => {
            let fix = "write less here, or more there: such a message could never be read";
            Err(Refusal::new("is more than `listen.max_buffered`, the memory of all requests", fix))
        }
        bytes => Ok(bytes),
    })?;
    Ok(S3ecRules {
        legacy: section.boolean("legacy")?.unwrap_or(default.legacy),
        buffer: buffer.unwrap_or(default.buffer),
        large: section.choice("large", &large)?.unwrap_or(default.large),
        ranges: section.choice("ranges", &ranges)?.unwrap_or(default.ranges),
        context: section.strings("context")?.map_or(Ok(default.context), |pairs| context(&section, pairs))?,
    })
}

fn context(section: &Section<'_>, pairs: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let reserved = |name: &&String| {
        name.starts_with("aws:") || name.starts_with("s3veil:") || name.as_str() == "kms_cmk_id"
    };
    if let Some(name) = pairs.keys().find(reserved) {
        let fix = "choose another name, without aws: or s3veil: before it";
        return Err(section.refuse("context", &format!("uses a name of the format's own, {name:?}"), fix));
    }
    let length: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if length > MAX_CONTEXT {
        let fix = format!("write at most {MAX_CONTEXT} bytes");
        return Err(section.refuse("context", "is longer than metadata may be", fix));
    }
    Ok(pairs)
}
