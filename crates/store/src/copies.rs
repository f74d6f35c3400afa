//! CopyObject and UploadPartCopy: from one file to another within the store.

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition,
    MetadataDirective, TaggingDirective, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Result, s3_error};

use super::conditions::{ReadConditions, WriteConditions};
use super::digest::{Checksums, Claims, Digest, with_checksums};
use super::directory::{Directory, TempFile, failed};
use super::reads::refuse_versions;
use super::receive::BATCH;
use super::record::{Attributes, Record, StoredFile, now};
use super::refusals::{lacks, refuse_unkept};
use super::uploads;
use super::writes::attributes_of;

/// S3's maximum bytes of the source of one copy.
const MAX_COPY: u64 = 5 << 30;

fn source(directory: &Directory, source: &CopySource, conditions: &ReadConditions) -> S3Result<StoredFile> {
    let (bucket, object, version_id) = match source {
        CopySource::Bucket { bucket, key, version_id } => (bucket, key, version_id),
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
            return Err(lacks("access points"));
        }
    };
    refuse_versions(version_id.as_deref())?;
    let stored = directory.object(bucket, object)?;
    conditions.check(&stored.record).map_err(|_| s3_error!(PreconditionFailed))?;
    Ok(stored)
}

macro_rules! source_conditions {
    ($input:expr) => {
        ReadConditions {
            if_match: $input.copy_source_if_match.take(),
            if_none_match: $input.copy_source_if_none_match.take(),
            if_modified_since: $input.copy_source_if_modified_since.take(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.take(),
        }
    };
}

/// The conditions on the destination, which s3s does not parse for CopyObject.
fn destination_conditions(headers: &HeaderMap) -> S3Result<WriteConditions> {
    let condition = |name| {
        let value = headers.get(name).map(|value| ETagCondition::parse_http_header(value.as_bytes()));
        value.transpose().map_err(|error| s3_error!(error, InvalidArgument))
    };
    Ok(WriteConditions { if_match: condition(IF_MATCH)?, if_none_match: condition(IF_NONE_MATCH)? })
}

pub(super) fn copy_object(
    directory: &Directory,
    mut input: CopyObjectInput,
    headers: &HeaderMap,
) -> S3Result<CopyObjectOutput> {
    directory.bucket(&input.bucket)?;
    refuse_unkept!(input)?;
    let conditions = destination_conditions(headers)?;
    let mut stored = source(directory, &input.copy_source, &source_conditions!(input))?;
    let attributes = attributes_of_copy(&mut input, &stored.record)?;
    require_size(stored.record.size)?;
    let mut temp_file = directory.temp_file()?;
    let (etag, checksums) = if stored.record.parts.is_empty() {
        temp_file.append(&mut stored.file, 0..stored.record.size).map_err(failed)?;
        (stored.record.etag, stored.record.checksums)
    } else {
        // The ETag of an upload is not the MD5 of its content.
        append_hashed(&mut temp_file, &mut stored, None)?
    };
    let record = Record {
        key: input.key.clone(),
        size: temp_file.size,
        etag,
        modified: now(),
        attributes,
        checksums: checksums.clone(),
        parts: Vec::new(),
        upload_id: None,
    };
    temp_file.finish(&record)?;
    let lock = directory.lock_key(&input.bucket, &input.key)?;
    conditions.check(|| lock.record())?;
    lock.put(temp_file)?;
    let result = with_checksums!(
        checksums,
        CopyObjectResult {
            e_tag: Some(record.etag()),
            last_modified: Some(record.modified),
            ..Default::default()
        }
    );
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}

/// The attributes of the source or of the request, as the directives say. The storage class and the website
/// redirect are never copied.
fn attributes_of_copy(input: &mut CopyObjectInput, source: &Record) -> S3Result<Attributes> {
    let replaces = |directive: Option<&str>| match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "a directive is COPY or REPLACE")),
    };
    let replaces_metadata = replaces(input.metadata_directive.as_ref().map(MetadataDirective::as_str))?;
    let replaces_tags = replaces(input.tagging_directive.as_ref().map(TaggingDirective::as_str))?;
    let given = attributes_of!(input);
    let is_itself = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
        if **bucket == *input.bucket && **key == *input.key);
    let changes_nothing = !replaces_metadata
        && given.storage_class == source.attributes.storage_class
        && given.website_redirect_location.is_none()
        && input.server_side_encryption.is_none();
    if is_itself && changes_nothing {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    let Attributes { storage_class, website_redirect_location, .. } = given.clone();
    let tags = if replaces_tags { given.tags.clone() } else { source.attributes.tags.clone() };
    let copied = if replaces_metadata { given } else { source.attributes.clone() };
    Ok(Attributes { storage_class, website_redirect_location, tags, ..copied })
}

fn require_size(size: u64) -> S3Result<()> {
    if size <= MAX_COPY {
        return Ok(());
    }
    Err(s3_error!(InvalidRequest, "The specified copy source is larger than the maximum allowable size"))
}

pub(super) fn upload_part_copy(
    directory: &Directory,
    mut input: UploadPartCopyInput,
) -> S3Result<UploadPartCopyOutput> {
    uploads::open(directory, &input.bucket, &input.key, &input.upload_id)?;
    let mut stored = source(directory, &input.copy_source, &source_conditions!(input))?;
    let range = input.copy_source_range.as_deref();
    let range = range.map(|range| parse_range(range, stored.record.size)).transpose()?;
    require_size(range.as_ref().map_or(stored.record.size, |range| range.end - range.start))?;
    let mut temp_file = directory.temp_file()?;
    let (etag, checksums) = append_hashed(&mut temp_file, &mut stored, range)?;
    let part_id = uploads::PartId {
        bucket: input.bucket,
        object: input.key,
        upload_id: input.upload_id,
        number: input.part_number,
    };
    let record = part_id.put(directory, temp_file, etag, checksums)?;
    let result = with_checksums!(
        record.checksums.clone(),
        CopyPartResult { e_tag: Some(record.etag()), last_modified: Some(record.modified) }
    );
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

/// `x-amz-copy-source-range`: unlike a Range, `bytes=first-last` only, and inside the object.
fn parse_range(range: &str, size: u64) -> S3Result<Range<u64>> {
    let ends = range.strip_prefix("bytes=").and_then(|ends| ends.split_once('-'));
    let ends = ends.and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    match ends {
        Some((first, last)) if first <= last && last < size => Ok(first..last + 1),
        Some((first, last)) if first <= last => {
            Err(s3_error!(InvalidArgument, "Range specified is not valid for source object of size: {size}"))
        }
        Some(_) | None => Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
        )),
    }
}

/// Copies a range, or all; returns the ETag and checksums of what was copied.
fn append_hashed(
    temp_file: &mut TempFile,
    stored: &mut StoredFile,
    range: Option<Range<u64>>,
) -> S3Result<(String, Checksums)> {
    let claims = Claims::default();
    let mut digest = Digest::new(&claims);
    let range = range.unwrap_or(0..stored.record.size);
    stored.file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
    let mut remaining = range.end - range.start;
    let mut batch = vec![0; BATCH];
    while remaining > 0 {
        let size = usize::try_from(remaining).unwrap_or(BATCH).min(BATCH);
        let batch = &mut batch[..size];
        stored.file.read_exact(batch).map_err(failed)?;
        digest.update(batch);
        temp_file.file.write_all(batch).map_err(failed)?;
        remaining -= size as u64;
        temp_file.size += size as u64;
    }
    digest.finish(&claims)
}
