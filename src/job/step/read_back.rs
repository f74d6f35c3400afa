//! Reads what a step wrote, as a reader would.
//! It must not know how it was written.
//! It promises that a written object counts only if all of its plaintext came back as it was sealed, and with
//! all that was carried.

use http::header::HeaderMap;

use super::carried::Carried;
use super::digest::Digested;
use super::ending::{Known, Stop};
use super::in_place::Written;
use super::parts::{PartSource, READ_BACK, read_back_lengths};
use super::seen::Seen;
use super::target::Target;
use crate::error::{Error, UnexpectedResponse};
use crate::object::location::ObjectLocation;
use crate::object::rule::formats::{Large, ReadFormat};
use crate::object::rule::{BucketRule, Policies};
use crate::upload::Resources;

/// The resources to read an object of a rule whatever its length: what a job reads counts only after its end
/// was verified, so a message needs not be verified before its first byte is used.
pub(super) fn reading(resources: &Resources, rule: &BucketRule) -> Resources {
    let mut reading = resources.clone();
    if rule.formats.reads(ReadFormat::S3ec) {
        let mut rule = rule.clone();
        rule.formats.s3ec.large = Large::Stream;
        reading.object.policies = Policies::new(vec![rule]);
    }
    reading
}

/// Reads a sealed object that was written, and compares it with what was sealed. Takes note of its key and
/// version.
///
/// # Errors
/// [`Stop::Refused`] if the storage stored something else than it was given; [`Stop::Raced`] if another
/// object has taken its place; the failure of the read.
pub(super) async fn read_back(
    resources: &Resources,
    target: &Target,
    written: &Written,
    (sealed, carried): (&Digested, &Carried),
    known: &mut Known,
) -> Result<(), Stop> {
    let now = look(resources, target, written).await?;
    let rule = resources.policies.for_object(&target.bucket, &target.object_key)?;
    let differs = |what: &str| written.differs(&now, what);
    let failed = |error: Error| {
        if matches!(error, Error::Format(_) | Error::Stream(_) | Error::S3ec(_) | Error::Unreadable(_)) {
            differs(&format!("it does not open ({error}): its content"))
        } else if matches!(error, Error::UnexpectedResponse(UnexpectedResponse::WrongLength)) {
            differs("its length")
        } else {
            error.into()
        }
    };
    if let Some(lost) = carried.first_lost(&now) {
        return Err(differs(lost.as_str()));
    }
    let reading = reading(resources, rule);
    let name = (&target.bucket, &target.object_key);
    let mut source = PartSource::new(&reading, name, &now, (sealed.length, &[]));
    let is_one_message = rule.formats.write.read_as() == ReadFormat::S3ec;
    let lengths = if is_one_message || sealed.length <= READ_BACK {
        source = source.in_one_stream().await.map_err(failed)?;
        vec![sealed.length]
    } else {
        read_back_lengths(sealed.length)
    };
    source.move_all(&lengths, None, None).await.map_err(failed)?;
    known.key_after = source.key_id.take();
    if known.key_after.is_none() {
        return Err(differs("its encryption"));
    }
    let digested = source.finish().map_err(failed)?;
    if digested != *sealed {
        return Err(differs("its content"));
    }
    known.version_after = now.version_id;
    Ok(())
}

/// The object that was written, by its version where it has one.
pub(super) async fn look(resources: &Resources, target: &Target, written: &Written) -> Result<Seen, Stop> {
    let at = ObjectLocation {
        bucket: &target.bucket,
        object_key: &target.object_key,
        version_id: written.version_id.as_deref(),
        headers: HeaderMap::new(),
    };
    Seen::at(resources, &at).await
}
