//! Verify: every byte of an object is read and authenticated, as far as its format authenticates content.
//! It must not write.
//! It promises that an object is reported as authentic only if all of it was read to its end.

use super::digest::drain;
use super::ending::{Known, Stop, Success};
use super::read_back::reading;
use super::seen::{Restored, Seen, refuse_customer_key};
use crate::error::Result;
use crate::job::row::Row;
use crate::object::foreign::{DetectedFormat, ForeignMetadata};
use crate::object::rule::formats::ReadFormat;
use crate::upload::Resources;

pub(super) async fn verify(resources: &Resources, row: &Row, known: &mut Known) -> Result<Success, Stop> {
    let rule = resources.policies.for_object(&row.bucket, &row.object_key)?;
    let seen = Seen::named(resources, row).await?;
    let detected = seen.detect(rule, known)?;
    seen.refuse_archived(Restored::Usable)?;
    refuse_customer_key(&detected)?;
    let opened = seen.open(&reading(resources, rule), row).await?;
    let expected: Vec<_> =
        opened.checksums.iter().filter(|kept| kept.parts.is_none()).map(|kept| kept.value).collect();
    known.key_before.clone_from(&opened.key_id);
    let (length, is_encrypted) = (opened.length, opened.key_id.is_some());
    let digested = drain(opened.body, &expected).await?;
    known.bytes = digested.length;
    if digested.length != length {
        return Err(Stop::NotAuthentic(format!(
            "{length} bytes were announced, and {} came",
            digested.length
        )));
    }
    let message = match detected {
        DetectedFormat::Native(_) => "",
        DetectedFormat::Foreign(_) if !is_encrypted => "not encrypted: nothing authenticates it",
        DetectedFormat::Foreign(ForeignMetadata::Cbc { .. }) => "AES-CBC, which authenticates nothing",
        DetectedFormat::Foreign(ForeignMetadata::S3ec(..)) => "",
        DetectedFormat::Foreign(ForeignMetadata::Unmarked(_)) => {
            known.format = Some(ReadFormat::S3ec.name());
            "its key is in an instruction file"
        }
    };
    Ok(Success::Done(message.to_owned()))
}
