//! Rewrap of objects in other formats: the one wrapping of their data key is made again under the rule's key,
//! in the encryption context that it has. It must not know how a holder wraps. It promises that content and
//! all other entries of the format stay byte for byte, and a reason for each object that is left alone.

use http::header::{HeaderMap, HeaderName};

use super::Writes;
use super::carried::{Carried, Tags};
use super::ending::{Known, Stop, Success};
use super::in_place::{InPlace, would_be_copied};
use super::part_lengths::{part_lengths, ranges};
use super::seen::{Restored, Seen};
use crate::envelope::s3ec::{Claim, Wrapping};
use crate::error::{Error, Result};
use crate::job::row::Row;
use crate::keyring::{Rewrapping, Wrappings};
use crate::object::foreign::{self, DetectedFormat, ForeignEnvelope, ForeignMetadata, Source};
use crate::object::rule::BucketRule;
use crate::object::selected_key::selected_key;
use crate::s3::headers::{ENCRYPTION_KEY, ENCRYPTION_LENGTH, METADATA, check_metadata_size};
use crate::upload::Resources;
use crate::upload::part_copies::PartRanges;

pub(super) async fn rewrap_foreign(
    (resources, row, rule): (&Resources, &Row, &BucketRule),
    seen: &Seen,
    claims: ForeignMetadata,
    writes: Writes<'_>,
    known: &mut Known,
) -> Result<Success, Stop> {
    let at = seen.location(row);
    let source = Source { resources, rule, at: &at };
    let envelope = resolved(&source, claims, seen.stored).await?;
    let name = key_entry(&envelope)?;
    seen.refuse_archived(Restored::Usable)?;
    let made = rewrapped((resources, row, rule), &envelope).await?;
    known.key_before = Some(made.key_before.as_str().into());
    known.key_after = Some(made.key_after.as_str().into());
    if made.is_unchanged {
        return Ok(Success::Unchanged(String::new()));
    }
    check_data_key(&envelope, &made)?;
    let entries = entries(seen, &name, &made)?;
    let parts = parts(resources, row, seen).await?;
    let tags = if parts.is_some() { Tags::Sent } else { Tags::Copied };
    let mut metadata = seen.headers.clone();
    metadata.remove(&name);
    let carried = Carried::read(resources, &at, &metadata, tags).await?;
    let Writes::Copies(copies) = writes else {
        return Ok(would_be_copied(parts.as_ref()));
    };
    let names: Vec<_> = entries.keys().map(ToString::to_string).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let in_place = InPlace { resources, row, seen, carried: &carried, entries };
    let written = in_place.copy(parts.as_ref(), copies).await;
    let now = in_place.read_back(written, &names).await?;
    if made.data_key.is_some() {
        open(&source, &now).await?;
    }
    known.version_after = now.version_id;
    Ok(Success::Done(String::new()))
}

/// The envelope of an object whose wrapped key is among its own metadata.
async fn resolved(
    source: &Source<'_>,
    claims: ForeignMetadata,
    stored: u64,
) -> Result<ForeignEnvelope, Stop> {
    match &claims {
        ForeignMetadata::Cbc { .. } | ForeignMetadata::S3ec(_, Claim::Whole) => {
            Ok(ForeignEnvelope::resolve(source, claims, stored).await?)
        }
        ForeignMetadata::S3ec(_, Claim::KeyElsewhere | Claim::Nothing) => {
            let reason = "its wrapped key is in an instruction file, which is an object of its own: `encrypt` stores \
                          it in another format";
            Err(Stop::Skipped(reason.to_owned()))
        }
        ForeignMetadata::Unmarked(_) => {
            let reason = "its format is plaintext, or its wrapped key is in an instruction file: there is no \
                          wrapping; `encrypt` stores it in another format";
            Err(Stop::Skipped(reason.to_owned()))
        }
    }
}

/// The header of the entry that holds the wrapped key.
///
/// # Errors
/// [`Stop::Skipped`] for a wrapping that names its key in its context.
fn key_entry(envelope: &ForeignEnvelope) -> Result<HeaderName, Stop> {
    match envelope {
        ForeignEnvelope::S3ec(envelope) if envelope.wrapping() == Wrapping::Legacy => {
            let reason = "its wrapping is `kms`, whose encryption context (kms_cmk_id) names the key that wrapped \
                          it: under another key it would name the wrong one; `encrypt` stores it in another format";
            Err(Stop::Skipped(reason.to_owned()))
        }
        ForeignEnvelope::S3ec(envelope) => {
            let name = format!("{METADATA}{}", envelope.key_entry());
            Ok(HeaderName::try_from(name).expect("the entries' names are header names"))
        }
        ForeignEnvelope::Cbc { .. } => Ok(HeaderName::from_static(ENCRYPTION_KEY)),
        ForeignEnvelope::Plaintext | ForeignEnvelope::InstructionFile => {
            Err(Stop::Skipped("it has no wrapped key".to_owned()))
        }
    }
}

async fn rewrapped(
    (resources, row, rule): (&Resources, &Row, &BucketRule),
    envelope: &ForeignEnvelope,
) -> Result<Rewrapping, Stop> {
    let Some((purpose, wrapped, context)) = envelope.wrapping() else {
        return Err(Stop::Skipped("it has no wrapped key".to_owned()));
    };
    let key_id = selected_key(resources, rule, &row.bucket, &HeaderMap::new()).await?;
    let (keys, wrappings) = (rule.keys.with_one_wrapping(), Wrappings::single(wrapped));
    let made = resources.keyring.rewrap_as(purpose, &keys, key_id.as_ref(), wrappings, &context).await;
    made.map_err(Stop::NotRewrapped)
}

/// Checks that the data key is the object's, where it was unwrapped and the format tells.
fn check_data_key(envelope: &ForeignEnvelope, made: &Rewrapping) -> Result<(), Stop> {
    if let (ForeignEnvelope::S3ec(envelope), Some(data_key)) = (envelope, &made.data_key) {
        envelope.unlock(data_key).map_err(Error::from)?;
    }
    Ok(())
}

/// The entries that are not carried with the metadata of clients: the new wrapped key, and the length in the
/// `cbc` format.
///
/// # Errors
/// `MetadataTooLarge`, if the object's own metadata leave too little room.
fn entries(seen: &Seen, name: &HeaderName, made: &Rewrapping) -> Result<HeaderMap, Stop> {
    let mut entries = HeaderMap::from_iter([(name.clone(), made.wrapped.header_value().clone())]);
    if let Some(length) = seen.headers.get(ENCRYPTION_LENGTH) {
        entries.insert(HeaderName::from_static(ENCRYPTION_LENGTH), length.clone());
    }
    let mut all = seen.headers.clone();
    all.extend(entries.clone());
    check_metadata_size(&all)?;
    Ok(entries)
}

/// The ranges of the parts of an object that was uploaded in parts.
async fn parts(resources: &Resources, row: &Row, seen: &Seen) -> Result<Option<PartRanges>, Stop> {
    let Some(count) = seen.parts() else { return Ok(None) };
    match part_lengths(resources, row, seen, count).await? {
        Some(lengths) => Ok(Some(ranges(&lengths))),
        None => Err(Stop::Refused("the storage does not tell the lengths of its parts".to_owned())),
    }
}

/// Opens the envelope of the object that was written.
async fn open(source: &Source<'_>, now: &Seen) -> Result<(), Stop> {
    let Source { resources, rule, .. } = source;
    let DetectedFormat::Foreign(claims) = foreign::detect(rule, &now.headers)? else {
        return Err(Error::Replaced.into());
    };
    let envelope = ForeignEnvelope::resolve(source, claims, now.stored).await?;
    envelope.unlock(&resources.keyring, rule).await?;
    Ok(())
}
