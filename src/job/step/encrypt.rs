//! Encrypt: objects in plaintext and in other formats become objects of the rule's format. It must not know
//! how a format is opened or sealed. It promises that what was sealed is the content that was read, to its
//! last byte, and that an object of parts stays one of as many.

use std::sync::Arc;

use http::header::{HeaderMap, IF_MATCH};

use super::carried::{Carried, Tags};
use super::digest::{CONTENT_DIGEST, Digested, digesting};
use super::ending::{Known, Stop, Success};
use super::in_place::Written;
use super::parts::{PartSink, PartSource};
use super::plan::{Kept, Plan, kept_checksums};
use super::read_back::{read_back, reading};
use super::seen::{Restored, Seen, StoredChecksums};
use super::target::{Means, Target, is_done_before};
use crate::body::BoxBody;
use crate::envelope::native::SseAlgorithm;
use crate::envelope::native::multipart::Layout;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::job::row::Row;
use crate::job::step::Destination;
use crate::object::foreign::{self, DetectedFormat, ForeignEnvelope, Source};
use crate::object::head::{DescribeRequest, describe_object};
use crate::object::location::etag_of;
use crate::object::opened::OpenedObject;
use crate::object::plaintext::Plaintext;
use crate::object::rule::BucketRule;
use crate::object::rule::formats::{ReadFormat, WriteFormat};
use crate::object::selected_key::selected_key;
use crate::object::write::{BUFFERED, NewObject, room_to_seal};
use crate::s3::Checksum;
use crate::upload::Resources;
use crate::upload::part::read_all;
use crate::upload::planned_upload::PlannedUpload;

/// An object to encrypt, and where it goes.
struct Encrypt<'a> {
    resources: &'a Resources,
    row: &'a Row,
    seen: &'a Seen,
    target: &'a Target,
    /// The rule of the target.
    rule: &'a BucketRule,
    /// The format of the object.
    format: ReadFormat,
}

pub(super) async fn encrypt(
    resources: &Resources,
    row: &Row,
    destination: &Destination,
    dry_run: bool,
    known: &mut Known,
) -> Result<Success, Stop> {
    let Some(target) = Target::new(destination, row)? else {
        return Err(Stop::Refused("encrypt writes to a bucket, not to a directory".to_owned()));
    };
    let source_rule = resources.policies.for_object(&row.bucket, &row.object_key)?;
    let rule = resources.policies.for_object(&target.bucket, &target.object_key)?;
    if rule.formats.write == WriteFormat::Plaintext {
        return Err(Stop::Skipped("the bucket's rule stores objects unencrypted".to_owned()));
    }
    let seen = Seen::newest(resources, row, StoredChecksums::Requested).await?;
    let detected = seen.detect(source_rule, known)?;
    let mut metadata = seen.headers.clone();
    let at = seen.location(row);
    let foreign = match detected {
        DetectedFormat::Native(_) => return Ok(Success::Unchanged(String::new())),
        DetectedFormat::Foreign(claims) => {
            let source = Source { resources, rule: source_rule, at: &at };
            ForeignEnvelope::resolve(&source, claims, seen.stored).await?
        }
    };
    known.format = Some(foreign.format().name());
    if foreign.is_encrypted() && foreign.format() == rule.formats.write.read_as() {
        return Ok(Success::Unchanged(String::new()));
    }
    if matches!(foreign, ForeignEnvelope::InstructionFile) {
        let reason = "an instruction file of the S3 Encryption Client: its object would lose its key";
        return Err(Stop::Skipped(reason.to_owned()));
    }
    seen.refuse_archived(Restored::Unusable)?;
    foreign::hide(&foreign, &mut metadata);
    let source = Source { resources, rule: source_rule, at: &at };
    let etag = etag_of(&seen.headers).unwrap_or_default();
    let length = foreign.length(&source, etag, seen.stored).await?;
    known.bytes = length;
    let format = foreign.format();
    let work = Encrypt { resources, row, seen: &seen, target: &target, rule, format };
    if let Some(success) = work.is_done(length).await? {
        return Ok(success);
    }
    let plan = Plan::new(resources, row, &seen, rule, length).await?;
    let carried = Carried::read(resources, &at, &metadata, Tags::Sent).await?;
    if dry_run {
        let (place, format) = (work.place(), rule.formats.write.name());
        return Ok(Success::Done(format!("would be stored as {format}{place}, {}", plan.described())));
    }
    let (written, digested) = work.write(&reading(resources, source_rule), &carried, plan, known).await?;
    if digested.length != length {
        return Err(Error::from(UnexpectedResponse::WrongLength).into());
    }
    read_back(resources, &target, &written, (&digested, &carried), known).await?;
    Ok(Success::Done(String::new()))
}

impl Encrypt<'_> {
    /// Whether another bucket has the object already.
    ///
    /// # Errors
    /// [`Stop::Refused`] if another object has its name there.
    async fn is_done(&self, length: u64) -> Result<Option<Success>, Stop> {
        let Target { bucket, object_key, is_in_place } = self.target;
        if *is_in_place {
            return Ok(None);
        }
        let Some(present) = self.target.present(self.resources).await? else { return Ok(None) };
        let description = DescribeRequest {
            bucket,
            object_key,
            query: Vec::new(),
            headers: HeaderMap::from_iter([(IF_MATCH, present.etag.clone())]),
            needs_layout: false,
            needs_checksum: false,
            customer_key: None,
        };
        let described = describe_object(self.resources, description).await;
        let is_done = described.is_ok_and(|described| {
            let is_encrypted = described.keys.is_encrypted();
            is_encrypted && is_done_before(&present, described.plaintext_total, self.seen, length)
        });
        if is_done {
            return Ok(Some(Success::Unchanged("stored by an earlier run".to_owned())));
        }
        let reason =
            format!("another object, or an older copy, is {bucket}/{object_key}: nothing was overwritten");
        Err(Stop::Refused(reason))
    }

    /// The place of the new object, for messages.
    fn place(&self) -> String {
        let Target { bucket, object_key, is_in_place } = self.target;
        if *is_in_place { " in its place".to_owned() } else { format!(" in {bucket}/{object_key}") }
    }

    /// Seals and stores the object. What was written, and what the plaintext was.
    async fn write(
        &self,
        reading: &Resources,
        carried: &Carried,
        plan: Plan,
        known: &mut Known,
    ) -> Result<(Written, Digested), Stop> {
        let Self { resources, row, seen, target, rule, .. } = self;
        let means = if matches!(plan, Plan::Whole) { Means::Put } else { Means::Upload };
        target.require_conditions(resources, means).await?;
        let key_id = selected_key(resources, rule, &target.bucket, &HeaderMap::new()).await?;
        let mut headers = carried.headers();
        headers.extend([target.condition(seen)]);
        let name = (&target.bucket, &target.object_key);
        let object = NewObject::for_copy(name, rule, (key_id, None, SseAlgorithm::AwsKms), headers)?;
        let kept = kept_checksums(seen, self.format);
        let (written, digested, key_id) = match plan {
            Plan::Whole => {
                let OpenedObject { body, length, key_id, .. } = *seen.open(reading, row).await?;
                let (body, pending) = digesting(body, CONTENT_DIGEST, &kept.whole);
                let written = self.put(object, body, length, kept.whole).await?;
                (written, pending.take()?, key_id)
            }
            Plan::Parts(layout) => self.upload(reading, &object, layout, &kept).await?,
        };
        known.key_before = key_id;
        Ok((written, digested))
    }

    /// Seals and stores the parts of the object.
    async fn upload(
        &self,
        reading: &Resources,
        object: &NewObject<'_>,
        layout: Layout,
        kept: &Kept,
    ) -> Result<(Written, Digested, Option<Arc<str>>), Stop> {
        let Self { resources, row, seen, .. } = self;
        let lengths: Vec<_> = layout.parts().iter().map(|part| part.length).collect();
        let (attributes, composite) = kept.attributes(lengths.len());
        let content = (layout.plaintext_total(), &kept.whole[..]);
        let mut source = PartSource::new(reading, (&row.bucket, &row.object_key), seen, content);
        if self.format == ReadFormat::S3ec {
            // One message with one tag at its end.
            source = source.in_one_stream().await?;
        }
        let upload = PlannedUpload::create(resources, object, layout, (&attributes, composite)).await?;
        source.store((row, seen), &lengths, PartSink::Sealed(upload), composite).await
    }

    async fn put(
        &self,
        object: NewObject<'_>,
        body: BoxBody,
        length: u64,
        checksums: Vec<Checksum>,
    ) -> Result<Written, Stop> {
        let plaintext = if length > BUFFERED {
            Plaintext::Streaming(body, length, checksums)
        } else {
            let room = room_to_seal(0, usize::try_from(length).expect("a chunk fits in memory"));
            Plaintext::Whole(read_all(body, length, room).await?, checksums)
        };
        let response = object.put(self.resources, plaintext).await?;
        let etag = etag_of(response.headers()).unwrap_or_default();
        Ok(Written::new(response.headers(), self.rule.etag.to_storage(etag)))
    }
}
