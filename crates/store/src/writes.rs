//! PutObject, DeleteObject(s), and the tags of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error,
    GetObjectTaggingInput, GetObjectTaggingOutput, PutObjectInput, PutObjectOutput, Tag, TagSet,
};
use s3s::{S3ErrorCode, S3Request, S3Result, s3_error};

use super::conditions::WriteConditions;
use super::digest::with_checksums;
use super::directory::{Directory, failed};
use super::reads::refuse_versions;
use super::receive::{blocking, incoming_body, receive};
use super::record::{Record, now};
use super::refusals::{explained, lacks, refuse_unkept};

/// S3's maximum of tags of an object, and of characters of their keys and values.
const MAX_TAGS: usize = 10;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

/// S3's maximum of keys in one DeleteObjects.
const MAX_DELETED: usize = 1000;

/// Attempts to change tags, each of which may meet another change of the object.
const RETAG_ATTEMPTS: usize = 10;

/// The attributes that an input of PutObject, CreateMultipartUpload or CopyObject carries.
macro_rules! attributes_of {
    ($input:expr) => {
        $crate::record::Attributes {
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::writes::without_framing($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            // S3's default.
            content_type: $input.content_type.take().or_else(|| Some("binary/octet-stream".to_owned())),
            expires: $input.expires.take(),
            website_redirect_location: $input.website_redirect_location.take(),
            storage_class: $crate::writes::storage_class($input.storage_class.take())?,
            metadata: $input.metadata.take().unwrap_or_default().into_iter().collect(),
            tags: $crate::writes::parse_tags($input.tagging.take().as_deref())?,
        }
    };
}
pub(super) use attributes_of;

/// A Content-Encoding without the framing of this hop.
pub(super) fn without_framing(coding: Option<String>) -> Option<String> {
    let codings = coding?;
    let kept: Vec<_> = codings.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    Some(kept.join(",")).filter(|kept| !kept.is_empty())
}

/// The storage class to record: classes with immediate access only; `None` for the default, which is not
/// shown.
pub(super) fn storage_class(class: Option<s3s::dto::StorageClass>) -> S3Result<Option<String>> {
    match class.as_ref().map(s3s::dto::StorageClass::as_str) {
        None | Some("STANDARD") => Ok(None),
        Some(class @ ("REDUCED_REDUNDANCY" | "STANDARD_IA" | "ONEZONE_IA" | "INTELLIGENT_TIERING")) => {
            Ok(Some(class.to_owned()))
        }
        Some(_) => Err(s3_error!(InvalidStorageClass)),
    }
}

/// Parses `x-amz-tagging`, a query string.
pub(super) fn parse_tags(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned);
        decoded.map_err(|error| s3_error!(error, InvalidArgument, "x-amz-tagging is not UTF-8"))
    };
    let pairs = header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(name)?, decoded(value)?))
    });
    checked_tags(pairs)
}

fn tags_of(set: TagSet) -> S3Result<BTreeMap<String, String>> {
    let pair = |tag: Tag| Ok((tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    checked_tags(set.into_iter().map(pair))
}

fn checked_tags(
    pairs: impl Iterator<Item = S3Result<(String, String)>>,
) -> S3Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for pair in pairs {
        let (name, value) = pair?;
        let is_sized = (1..=MAX_TAG_KEY).contains(&name.chars().count())
            && value.chars().count() <= MAX_TAG_VALUE
            && tags.len() < MAX_TAGS;
        if !is_sized || tags.insert(name, value).is_some() {
            return Err(s3_error!(
                InvalidTag,
                "at most 10 tags, each key once, of at most 128 and 256 characters"
            ));
        }
    }
    Ok(tags)
}

pub(super) async fn put_object(
    directory: Arc<Directory>,
    req: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    let S3Request { mut input, headers, trailing_headers, .. } = req;
    if input.write_offset_bytes.is_some() {
        return Err(lacks("appending to objects"));
    }
    refuse_unkept!(input)?;
    let attributes = attributes_of!(input);
    let conditions = WriteConditions { if_match: input.if_match, if_none_match: input.if_none_match };
    let body = incoming_body!(input, headers, trailing_headers);
    let (bucket, object) = (input.bucket, input.key);
    if body.is_large() {
        let (directory, bucket, object) = (Arc::clone(&directory), bucket.clone(), object.clone());
        let conditions = conditions.clone();
        blocking(move || {
            directory.bucket(&bucket)?;
            conditions.check(|| directory.lock_key(&bucket, &object)?.record())
        })
        .await?;
    }
    receive(directory, body, move |directory, mut received| {
        let record = Record {
            key: object.clone(),
            size: received.temp_file.size,
            etag: received.etag,
            modified: now(),
            attributes,
            checksums: received.checksums.clone(),
            parts: Vec::new(),
            upload_id: None,
        };
        received.temp_file.finish(&record)?;
        let lock = directory.lock_key(&bucket, &object)?;
        conditions.check(|| lock.record())?;
        lock.put(received.temp_file)?;
        let e_tag = Some(record.etag());
        Ok(with_checksums!(received.checksums, PutObjectOutput { e_tag, ..Default::default() }))
    })
    .await
}

pub(super) fn delete_object(directory: &Directory, input: DeleteObjectInput) -> S3Result<DeleteObjectOutput> {
    refuse_versions(input.version_id.as_deref())?;
    let lock = directory.lock_key(&input.bucket, &input.key)?;
    WriteConditions { if_match: input.if_match, if_none_match: None }.check(|| lock.record())?;
    lock.remove()?;
    Ok(DeleteObjectOutput::default())
}

pub(super) fn delete_objects(
    directory: &Directory,
    input: DeleteObjectsInput,
) -> S3Result<DeleteObjectsOutput> {
    directory.bucket(&input.bucket)?;
    if input.delete.objects.len() > MAX_DELETED {
        return Err(s3_error!(MalformedXML));
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in input.delete.objects {
        let one = DeleteObjectInput {
            bucket: input.bucket.clone(),
            key: object.key.clone(),
            version_id: object.version_id.clone(),
            if_match: object.e_tag.map(s3s::dto::ETagCondition::ETag),
            ..Default::default()
        };
        match delete_object(directory, one) {
            Ok(_) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
            Err(error) => {
                let error = explained(error, directory.message_of());
                errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: object.version_id,
                });
            }
        }
    }
    let is_quiet = input.delete.quiet.unwrap_or(false);
    Ok(DeleteObjectsOutput {
        deleted: (!is_quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..Default::default()
    })
}

pub(super) fn get_tags(
    directory: &Directory,
    input: &GetObjectTaggingInput,
) -> S3Result<GetObjectTaggingOutput> {
    refuse_versions(input.version_id.as_deref())?;
    let tags = directory.object(&input.bucket, &input.key)?.record.attributes.tags;
    let tag = |(key, value)| Tag { key: Some(key), value: Some(value) };
    Ok(GetObjectTaggingOutput { tag_set: tags.into_iter().map(tag).collect(), ..Default::default() })
}

/// Replaces the object's file by one with other tags, since files are not changed in place. Its content, ETag
/// and time remain.
pub(super) fn set_tags(directory: &Directory, bucket: &str, object: &str, tags: TagSet) -> S3Result<()> {
    let tags = tags_of(tags)?;
    for _ in 0..RETAG_ATTEMPTS {
        let mut stored = directory.object(bucket, object)?;
        let mut record = stored.record.clone();
        record.attributes.tags = tags.clone();
        let mut temp_file = directory.temp_file()?;
        temp_file.append(&mut stored.file, 0..record.size).map_err(failed)?;
        temp_file.finish(&record)?;
        let lock = directory.lock_key(bucket, object)?;
        if lock.record()?.as_ref() == Some(&stored.record) {
            return lock.put(temp_file);
        }
    }
    Err(s3s::S3Error::new(S3ErrorCode::OperationAborted))
}
