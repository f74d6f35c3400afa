//! GetObject, HeadObject, GetObjectAttributes.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, StatusCode};
use httpdate::HttpDate;
use s3s::dto::{
    Checksum, ChecksumMode, ChecksumType, GetObjectAttributesInput, GetObjectAttributesOutput,
    GetObjectAttributesParts, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ObjectPart,
    PartNumber, StorageClass,
};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use time::OffsetDateTime;

use super::conditions::{ReadConditions, Unmet};
use super::content::body_of;
use super::digest::{Checksums, with_checksums};
use super::directory::{Directory, failed};
use super::metadata::take_headers;
use super::record::{Attributes, Record, StoredFile};

/// S3's maximum of parts on a page.
pub(super) const MAX_PARTS: i32 = 1000;

/// Refuses every version id but `null`: there are no versions.
pub(super) fn refuse_versions(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(InvalidArgument, "Invalid version id specified")),
    }
}

/// The part of an object that a request is about.
#[derive(Debug, PartialEq, Eq)]
struct Selection {
    span: Range<u64>,
    /// Content-Range, with a 206.
    content_range: Option<String>,
    parts_count: Option<i32>,
}

impl Selection {
    fn new(record: &Record, range: Option<s3s::dto::Range>, part: Option<PartNumber>) -> S3Result<Self> {
        let size = record.size;
        let partial = |span: Range<u64>, parts_count| {
            // An empty span has no Content-Range.
            let content_range =
                (!span.is_empty()).then(|| format!("bytes {}-{}/{size}", span.start, span.end - 1));
            Self { span, content_range, parts_count }
        };
        match (range, part) {
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            )),
            (None, None) => Ok(Self { span: 0..size, content_range: None, parts_count: None }),
            (Some(range), None) => {
                let span = range.check(size).map_err(|_| unsatisfiable(S3ErrorCode::InvalidRange, size))?;
                // A suffix of an empty object.
                let is_empty = span.is_empty();
                if is_empty {
                    Err(unsatisfiable(S3ErrorCode::InvalidRange, size))
                } else {
                    Ok(partial(span, None))
                }
            }
            (None, Some(part)) => {
                let code = || unsatisfiable(S3ErrorCode::Custom("InvalidPartNumber".into()), size);
                let span = span_of_part(record, part).ok_or_else(code)?;
                let parts_count = i32::try_from(record.parts.len()).ok().filter(|count| *count > 0);
                Ok(partial(span, parts_count))
            }
        }
    }
}

/// The bytes of a part. An object of one PUT is its own part 1.
fn span_of_part(record: &Record, number: PartNumber) -> Option<Range<u64>> {
    if record.parts.is_empty() {
        return (number == 1).then_some(0..record.size);
    }
    let mut start = 0;
    for part in &record.parts {
        if part.number == number {
            return Some(start..start + part.size);
        }
        start += part.size;
    }
    None
}

fn unsatisfiable(code: S3ErrorCode, size: u64) -> S3Error {
    let mut error = S3Error::new(code);
    error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
    if let Ok(content_range) = HeaderValue::try_from(format!("bytes */{size}")) {
        error.set_headers(HeaderMap::from_iter([(http::header::CONTENT_RANGE, content_range)]));
    }
    error
}

fn refusal(unmet: Unmet, record: &Record) -> S3Error {
    match unmet {
        Unmet::Failed => s3_error!(PreconditionFailed),
        Unmet::Unchanged => {
            let mut error = s3_error!(NotModified);
            let modified =
                HttpDate::from(std::time::SystemTime::from(OffsetDateTime::from(record.modified.clone())));
            let headers = [
                (http::header::ETAG, format!("\"{}\"", record.etag)),
                (http::header::LAST_MODIFIED, modified.to_string()),
            ];
            let Attributes { cache_control, expires, .. } = &record.attributes;
            let expires = expires
                .clone()
                .map(|at| HttpDate::from(std::time::SystemTime::from(OffsetDateTime::from(at))));
            // RFC 9110, 15.4.5: header fields of a 200 that caches need.
            let further = [
                (http::header::CACHE_CONTROL, cache_control.clone()),
                (http::header::EXPIRES, expires.map(|at| at.to_string())),
            ];
            let further = further.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let headers = headers
                .into_iter()
                .chain(further)
                .filter_map(|(name, value)| Some((name, value.try_into().ok()?)));
            error.set_headers(headers.collect());
            error
        }
    }
}

/// The object and its bytes that GetObject or HeadObject responds with.
struct SelectedObject {
    stored: StoredFile,
    selection: Selection,
}

/// Opens the object that an input of GetObject or HeadObject names, and checks its conditions and range.
macro_rules! read {
    ($directory:expr, $input:expr) => {{
        let input = $input;
        refuse_versions(input.version_id.as_deref())?;
        let stored = $directory.object(&input.bucket, &input.key)?;
        let conditions = ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        conditions.check(&stored.record).map_err(|unmet| refusal(unmet, &stored.record))?;
        let selection = Selection::new(&stored.record, input.range, input.part_number)?;
        SelectedObject { stored, selection }
    }};
}

/// The output, and the response headers beside it.
macro_rules! describe {
    ($selected:expr, $checksums:expr, $output:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let SelectedObject { stored, selection } = $selected;
        let record = &stored.record;
        let mut attributes = record.attributes.clone();
        let headers = take_headers(&mut attributes.metadata);
        let checksums: Checksums = $checksums;
        let output = with_checksums!(checksums.clone(), $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: attributes.cache_control,
            checksum_type: checksums.crc64nvme.map(|_| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            content_disposition: attributes.content_disposition,
            content_encoding: attributes.content_encoding,
            content_language: attributes.content_language,
            content_length: i64::try_from(selection.span.end - selection.span.start).ok(),
            content_range: selection.content_range.clone(),
            content_type: attributes.content_type,
            e_tag: Some(record.etag()),
            expires: attributes.expires,
            last_modified: Some(record.modified.clone()),
            metadata: Some(attributes.metadata.into_iter().collect()),
            parts_count: selection.parts_count,
            storage_class: attributes.storage_class.map(StorageClass::from),
            website_redirect_location: attributes.website_redirect_location,
            $($field: $value,)*
            ..Default::default()
        });
        (output, headers)
    }};
}

/// The checksums for the response: only if the client requests them, and only for a whole object.
fn requested_checksums(mode: Option<&ChecksumMode>, selected: &SelectedObject) -> Checksums {
    let is_requested = mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    let is_whole = selected.selection.content_range.is_none();
    if is_requested && is_whole { selected.stored.record.checksums.clone() } else { Checksums::default() }
}

pub(super) fn get_object(
    directory: &Directory,
    input: GetObjectInput,
) -> S3Result<(GetObjectOutput, HeaderMap)> {
    let mode = input.checksum_mode.clone();
    let selected = read!(directory, input);
    let checksums = requested_checksums(mode.as_ref(), &selected);
    let tag_count = i32::try_from(selected.stored.record.attributes.tags.len()).ok();
    let tag_count = tag_count.filter(|count| *count > 0);
    let (output, headers) = describe!(&selected, checksums, GetObjectOutput { tag_count: tag_count });
    let SelectedObject { stored, selection } = selected;
    let body = body_of(stored.file, selection.span).map_err(failed)?;
    Ok((GetObjectOutput { body: Some(body), ..output }, headers))
}

pub(super) fn head_object(
    directory: &Directory,
    input: HeadObjectInput,
) -> S3Result<(HeadObjectOutput, HeaderMap)> {
    let mode = input.checksum_mode.clone();
    let mut overrides = (
        input.response_cache_control.clone(),
        input.response_content_disposition.clone(),
        input.response_content_encoding.clone(),
        input.response_content_language.clone(),
        input.response_content_type.clone(),
        input.response_expires.clone(),
    );
    let selected = read!(directory, input);
    let checksums = requested_checksums(mode.as_ref(), &selected);
    let (mut output, headers) = describe!(&selected, checksums, HeadObjectOutput {});
    // s3s itself does this for GetObject alone.
    output.cache_control = overrides.0.take().or(output.cache_control);
    output.content_disposition = overrides.1.take().or(output.content_disposition);
    output.content_encoding = overrides.2.take().or(output.content_encoding);
    output.content_language = overrides.3.take().or(output.content_language);
    output.content_type = overrides.4.take().or(output.content_type);
    output.expires = overrides.5.take().or(output.expires);
    Ok((output, headers))
}

pub(super) fn get_object_attributes(
    directory: &Directory,
    input: GetObjectAttributesInput,
) -> S3Result<GetObjectAttributesOutput> {
    refuse_versions(input.version_id.as_deref())?;
    let StoredFile { record, .. } = directory.object(&input.bucket, &input.key)?;
    // s3s does not split a list in one header.
    let requested = input.object_attributes.iter().flat_map(|names| names.as_str().split(',').map(str::trim));
    let requested: Vec<_> = requested.collect();
    let is_requested = |name: &str| requested.contains(&name);
    let full = ChecksumType::from_static(ChecksumType::FULL_OBJECT);
    let checksum = with_checksums!(record.checksums.clone(), Checksum { checksum_type: Some(full) });
    let standard = || StorageClass::from_static(StorageClass::STANDARD);
    let storage_class = record.attributes.storage_class.clone().map_or_else(standard, StorageClass::from);
    let has_parts = !record.parts.is_empty();
    let object_parts =
        if is_requested("ObjectParts") && has_parts { Some(parts(&record, &input)?) } else { None };
    Ok(GetObjectAttributesOutput {
        checksum: is_requested("Checksum").then_some(checksum),
        e_tag: is_requested("ETag").then(|| record.etag()),
        last_modified: Some(record.modified.clone()),
        object_parts,
        object_size: is_requested("ObjectSize").then(|| i64::try_from(record.size).ok()).flatten(),
        storage_class: is_requested("StorageClass").then_some(storage_class),
        ..Default::default()
    })
}

fn parts(record: &Record, input: &GetObjectAttributesInput) -> S3Result<GetObjectAttributesParts> {
    let max_parts = input.max_parts.unwrap_or(MAX_PARTS).min(MAX_PARTS);
    let limit =
        usize::try_from(max_parts).map_err(|_| s3_error!(InvalidArgument, "max-parts is negative"))?;
    let marker = input.part_number_marker.unwrap_or(0);
    let mut rest = record.parts.iter().filter(|part| part.number > marker);
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let is_truncated = rest.next().is_some();
    let next = page.last().map(|part| part.number).filter(|_| is_truncated);
    let part = |part: &&super::record::PartRecord| ObjectPart {
        part_number: Some(part.number),
        size: i64::try_from(part.size).ok(),
        ..Default::default()
    };
    Ok(GetObjectAttributesParts {
        is_truncated: Some(is_truncated),
        max_parts: Some(max_parts),
        next_part_number_marker: next,
        part_number_marker: Some(marker),
        parts: Some(page.iter().map(part).collect()),
        total_parts_count: i32::try_from(record.parts.len()).ok(),
    })
}
