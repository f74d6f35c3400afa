//! Decrypt: the plaintext of objects is stored in another bucket, in a directory, or in their place.
//! It must not know how objects are sealed.
//! It promises that no byte is stored that was not authenticated as far as its format authenticates content,
//! and that a file or an object comes to be whole or not at all.

use std::sync::Arc;

use http::Method;
use http::header::HeaderMap;

use super::carried::{Carried, Tags};
use super::digest::{CONTENT_DIGEST, Digested, digesting};
use super::ending::{Known, Stop, Success};
use super::files;
use super::in_place::Written;
use super::parts::{PartSink, PartSource, PlainUpload, read_back_lengths};
use super::read_back::{look, reading};
use super::seen::{Restored, Seen, StoredChecksums, refuse_customer_key};
use super::target::{Means, Target, is_done_before};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::job::row::Row;
use crate::job::step::Destination;
use crate::object::foreign::{self, DetectedFormat, ForeignEnvelope, Source};
use crate::object::head::{DescribeRequest, describe_object};
use crate::object::location::etag_of;
use crate::object::opened::OpenedObject;
use crate::object::rule::BucketRule;
use crate::object::rule::formats::ReadFormat;
use crate::object::upstream_response::pass;
use crate::upload::Resources;
use crate::upstream::{UpstreamBody, UpstreamRequest};
use crate::wire::limits::{MAX_PARTS, MAX_PUT};

/// The length of parts where the object had none.
const PART_LENGTH: u64 = 64 << 20;

/// An object to decrypt.
struct Decrypt<'a> {
    resources: &'a Resources,
    row: &'a Row,
    rule: &'a BucketRule,
    seen: &'a Seen,
    /// Bytes of plaintext.
    length: u64,
    /// Whether only the whole content can be authenticated.
    is_one_message: bool,
}

pub(super) async fn decrypt(
    resources: &Resources,
    row: &Row,
    destination: &Destination,
    dry_run: bool,
    known: &mut Known,
) -> Result<Success, Stop> {
    let rule = resources.policies.for_object(&row.bucket, &row.object_key)?;
    let target = Target::new(destination, row)?;
    if target.as_ref().is_some_and(|target| target.is_in_place) && *destination != Destination::InPlace {
        let reason = "the destination is the object itself: decrypting in place has to be ordered";
        return Err(Stop::Refused(reason.to_owned()));
    }
    let is_elsewhere = target.as_ref().is_none_or(|target| !target.is_in_place);
    let seen = Seen::newest(resources, row, StoredChecksums::Omitted).await?;
    let mut metadata = seen.headers.clone();
    let at = seen.location(row);
    let mut is_plaintext = false;
    let detected = seen.detect(rule, known)?;
    refuse_customer_key(&detected)?;
    match detected {
        DetectedFormat::Native(_) => {}
        DetectedFormat::Foreign(claims) => {
            let source = Source { resources, rule, at: &at };
            let foreign = ForeignEnvelope::resolve(&source, claims, seen.stored).await?;
            known.format = Some(foreign.format().name());
            is_plaintext = !foreign.is_encrypted();
            foreign::hide(&foreign, &mut metadata);
        }
    }
    if is_plaintext && !is_elsewhere {
        return Ok(Success::Unchanged(String::new()));
    }
    let restored = if is_elsewhere { Restored::Usable } else { Restored::Unusable };
    seen.refuse_archived(restored)?;
    let (length, parts) = plaintext_parts(resources, row, &seen).await?;
    known.bytes = length;
    let is_one_message = known.format == Some(ReadFormat::S3ec.name());
    let work = Decrypt { resources, row, rule, seen: &seen, length, is_one_message };
    match (target, destination) {
        (Some(target), _) => {
            let carried = Carried::read(resources, &at, &metadata, Tags::Sent).await?;
            work.to_bucket(&target, carried, parts, dry_run, known).await
        }
        (None, Destination::Directory(directory)) => {
            let file = files::FileTarget::new(directory, &row.object_key)?;
            if file.is_done_before(length, &seen.headers).await? {
                return Ok(Success::Unchanged("stored by an earlier run".to_owned()));
            }
            if dry_run {
                return Ok(Success::Done(format!("would be stored as {}", file.path().display())));
            }
            let opened = *seen.open(&reading(resources, rule), row).await?;
            known.key_before.clone_from(&opened.key_id);
            file.store(opened.body, length, &seen.headers).await?;
            Ok(Success::Done(String::new()))
        }
        (None, Destination::InPlace | Destination::Bucket { .. }) => {
            unreachable!("a target is missing for a directory alone")
        }
    }
}

/// The plaintext's length, and the plaintext lengths of the parts of a multipart object.
async fn plaintext_parts(
    resources: &Resources,
    row: &Row,
    seen: &Seen,
) -> Result<(u64, Option<Vec<u64>>), Stop> {
    let version = seen.version_id.iter().map(|version| ("versionId".to_owned(), Some(version.clone())));
    let description = DescribeRequest {
        bucket: &row.bucket,
        object_key: &row.object_key,
        query: version.collect(),
        headers: HeaderMap::from_iter([(http::header::IF_MATCH, seen.etag.clone())]),
        needs_layout: seen.parts().is_some(),
        needs_checksum: false,
        customer_key: None,
    };
    let described = describe_object(resources, description).await?;
    let parts =
        described.layout.as_ref().map(|layout| layout.parts().iter().map(|part| part.length).collect());
    Ok((described.plaintext_total, parts))
}

/// The lengths of the parts of an object that is too long for one PUT.
fn even_lengths(length: u64) -> Vec<u64> {
    let usual = length.div_ceil(u64::from(MAX_PARTS)).max(PART_LENGTH);
    let parts = length.div_ceil(usual);
    (0..parts).map(|part| usual.min(length - part * usual)).collect()
}

/// What was written, what the plaintext was, and the key that wrapped the data key.
type Stored = (Written, Digested, Option<Arc<str>>);

impl Decrypt<'_> {
    async fn to_bucket(
        &self,
        target: &Target,
        carried: Carried,
        parts: Option<Vec<u64>>,
        dry_run: bool,
        known: &mut Known,
    ) -> Result<Success, Stop> {
        let Target { bucket, object_key, is_in_place } = target;
        if !is_in_place && let Some(present) = target.present(self.resources).await? {
            let is_plaintext = !present.headers.contains_key("x-amz-meta-encryption-key");
            if is_plaintext && is_done_before(&present, present.stored, self.seen, self.length) {
                return Ok(Success::Unchanged("stored by an earlier run".to_owned()));
            }
            let reason = format!(
                "another object, or an older copy, is {bucket}/{object_key}: nothing was overwritten"
            );
            return Err(Stop::Refused(reason));
        }
        let lengths = parts.or_else(|| (self.length > MAX_PUT).then(|| even_lengths(self.length)));
        if dry_run {
            return Ok(Success::Done(format!("would be stored in plaintext as {bucket}/{object_key}")));
        }
        let means = if lengths.is_some() { Means::Upload } else { Means::Put };
        target.require_conditions(self.resources, means).await?;
        let reading = reading(self.resources, self.rule);
        let (written, digested, key_id) = match lengths {
            None => self.put(&reading, target, &carried).await?,
            Some(lengths) => self.upload(&reading, target, &carried, &lengths).await?,
        };
        known.key_before = key_id;
        if digested.length != self.length {
            return Err(Error::from(UnexpectedResponse::WrongLength).into());
        }
        known.version_after = self.read_back(target, &written, &digested, &carried).await?;
        Ok(Success::Done(String::new()))
    }

    async fn put(&self, reading: &Resources, target: &Target, carried: &Carried) -> Result<Stored, Stop> {
        let OpenedObject { body, key_id, .. } = *self.seen.open(reading, self.row).await?;
        let (body, pending) = digesting(body, CONTENT_DIGEST, &[]);
        let mut request = UpstreamRequest::new(Method::PUT, &target.bucket, &target.object_key);
        request.headers = self.headers(target, carried);
        request.body = UpstreamBody::StreamedContent { body, length: self.length };
        let response = pass(self.resources.upstreams.send(request).await?).await?;
        let written = Written::new(response.headers(), etag_of(response.headers()).unwrap_or_default());
        Ok((written, pending.take()?, key_id))
    }

    async fn upload(
        &self,
        reading: &Resources,
        target: &Target,
        carried: &Carried,
        lengths: &[u64],
    ) -> Result<Stored, Stop> {
        let Self { resources, row, seen, length, .. } = self;
        let mut source = PartSource::new(reading, (&row.bucket, &row.object_key), seen, (*length, &[]));
        if self.is_one_message {
            source = source.in_one_stream().await?;
        }
        let name = (&target.bucket, &target.object_key);
        let upload = PlainUpload::create(resources, name, self.headers(target, carried)).await?;
        source.store((row, seen), lengths, PartSink::Plain(upload), None).await
    }

    /// The headers of the request that stores the plaintext.
    fn headers(&self, target: &Target, carried: &Carried) -> HeaderMap {
        let mut headers = carried.headers();
        headers.extend([target.condition(self.seen)]);
        headers
    }

    /// Reads the stored plaintext, and compares it with what was decrypted.
    async fn read_back(
        &self,
        target: &Target,
        written: &Written,
        decrypted: &Digested,
        carried: &Carried,
    ) -> Result<Option<String>, Stop> {
        let now = look(self.resources, target, written).await?;
        if let Some(lost) = carried.first_lost(&now) {
            return Err(written.differs(&now, lost.as_str()));
        }
        if now.stored != decrypted.length {
            return Err(written.differs(&now, "its length"));
        }
        let (name, content) = ((&target.bucket, &target.object_key), (decrypted.length, &[][..]));
        let mut source = PartSource::new(self.resources, name, &now, content).bare();
        source.move_all(&read_back_lengths(decrypted.length), None, None).await?;
        if source.finish()? != *decrypted {
            return Err(written.differs(&now, "its content"));
        }
        Ok(now.version_id)
    }
}
