//! ListObjects (both versions), ListObjectVersions, ListMultipartUploads.

use std::fs;

use s3s::dto::{
    CommonPrefix, CommonPrefixList, EncodingType, Initiator, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, Object, ObjectStorageClass,
    ObjectVersion, ObjectVersionStorageClass, Owner,
};
use s3s::{S3Result, s3_error};

use super::directory::{Directory, failed};
use super::listing::{Page, Query, page};
use super::names::{as_token, from_token, object_of};
use super::record::{Record, StoredFile};
use super::uploads::{self, UploadRecord};

/// S3's maximum of entries on a page of a listing.
const MAX_KEYS: i32 = 1000;

/// The file names of all objects of a bucket, in the order of their keys. Files of other kinds may be among
/// them.
fn inventory(directory: &Directory, bucket: &str) -> S3Result<Vec<(String, String)>> {
    let path = directory.bucket(bucket)?;
    let mut objects = Vec::new();
    for entry in fs::read_dir(&path).map_err(failed)? {
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        let object = match object_of(&name) {
            Some(object) => Some(object),
            None => StoredFile::open(&path.join(&name)).map_err(failed)?.map(|stored| stored.record.key),
        };
        if let Some(object) = object {
            objects.push((object, name));
        }
    }
    objects.sort();
    Ok(objects)
}

/// Whether a bucket has no objects.
pub(super) fn is_empty(directory: &Directory, bucket: &str) -> S3Result<bool> {
    Ok(inventory(directory, bucket)?.is_empty())
}

/// A page of the records of a bucket.
fn list(directory: &Directory, bucket: &str, query: &Query<'_>) -> S3Result<Page<Record>> {
    let path = directory.bucket(bucket)?;
    let inventory = inventory(directory, bucket)?;
    let Page { entries, common_prefixes, next } =
        page(inventory, query, |object, _| query.after.is_some_and(|after| object <= after));
    let mut records = Vec::with_capacity(entries.len());
    for name in entries {
        match StoredFile::open(&path.join(&name)) {
            Ok(Some(stored)) => records.push(stored.record),
            // Deleted since the directory was read.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, bucket, name, "a file in the embedded store is not an object, and not listed");
            }
        }
    }
    Ok(Page { entries: records, common_prefixes, next })
}

fn object(record: Record, url: bool, owner: Option<Owner>) -> Object {
    let standard = || ObjectStorageClass::from_static(ObjectStorageClass::STANDARD);
    Object {
        e_tag: Some(record.etag()),
        size: i64::try_from(record.size).ok(),
        storage_class: Some(record.attributes.storage_class.map_or_else(standard, ObjectStorageClass::from)),
        key: Some(url_encoded(&record.key, url)),
        last_modified: Some(record.modified),
        owner,
        ..Default::default()
    }
}

/// The only version of an object, the null version.
fn version(record: Record, url: bool) -> ObjectVersion {
    let Object { e_tag, size, storage_class, key, last_modified, .. } = object(record, url, None);
    let class = storage_class.map(|class| ObjectVersionStorageClass::from(class.as_str().to_owned()));
    ObjectVersion {
        e_tag,
        size,
        storage_class: class,
        key,
        last_modified,
        is_latest: Some(true),
        owner: Some(owner()),
        version_id: Some("null".to_owned()),
        ..Default::default()
    }
}

/// A name, percent-encoded where `encoding-type=url` asks for it: XML 1.0 can't hold most control characters.
fn url_encoded(name: &str, url: bool) -> String {
    const SET: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');
    if url { percent_encoding::utf8_percent_encode(name, SET).to_string() } else { name.to_owned() }
}

fn is_url(encoding_type: Option<&EncodingType>) -> bool {
    encoding_type.is_some_and(|encoding| encoding.as_str() == EncodingType::URL)
}

fn page_size(max_keys: i32) -> S3Result<usize> {
    usize::try_from(max_keys.min(MAX_KEYS))
        .map_err(|_| s3_error!(InvalidArgument, "the size of a page is negative"))
}

fn prefixes(names: &[String], url: bool) -> CommonPrefixList {
    names.iter().map(|prefix| CommonPrefix { prefix: Some(url_encoded(prefix, url)) }).collect()
}

pub(super) fn list_objects(directory: &Directory, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
    let max_keys = input.max_keys.unwrap_or(MAX_KEYS);
    let url = is_url(input.encoding_type.as_ref());
    let query = Query {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        after: input.marker.as_deref(),
        max: page_size(max_keys)?,
    };
    let Page { entries, common_prefixes, next } = list(directory, &input.bucket, &query)?;
    let encode = |name: &Option<String>| name.as_deref().map(|name| url_encoded(name, url));
    Ok(ListObjectsOutput {
        prefix: encode(&input.prefix).or(Some(String::new())),
        marker: encode(&input.marker).or(Some(String::new())),
        delimiter: encode(&input.delimiter),
        encoding_type: input.encoding_type,
        max_keys: Some(max_keys),
        is_truncated: Some(next.is_some()),
        next_marker: encode(&next),
        contents: Some(entries.into_iter().map(|record| object(record, url, Some(owner()))).collect()),
        common_prefixes: Some(prefixes(&common_prefixes, url)),
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(super) fn list_objects_v2(
    directory: &Directory,
    input: ListObjectsV2Input,
) -> S3Result<ListObjectsV2Output> {
    let max_keys = input.max_keys.unwrap_or(MAX_KEYS);
    let url = is_url(input.encoding_type.as_ref());
    let token = input.continuation_token.as_deref();
    let resumed =
        token.map(|token| from_token(token).ok_or_else(|| s3_error!(InvalidArgument))).transpose()?;
    let query = Query {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        after: resumed.as_deref().or(input.start_after.as_deref()),
        max: page_size(max_keys)?,
    };
    let Page { entries, common_prefixes, next } = list(directory, &input.bucket, &query)?;
    let shown_owner = input.fetch_owner.unwrap_or(false).then(owner);
    let encode = |name: &Option<String>| name.as_deref().map(|name| url_encoded(name, url));
    let count = entries.len() + common_prefixes.len();
    Ok(ListObjectsV2Output {
        prefix: encode(&input.prefix).or(Some(String::new())),
        start_after: encode(&input.start_after),
        delimiter: encode(&input.delimiter),
        encoding_type: input.encoding_type,
        max_keys: Some(max_keys),
        key_count: i32::try_from(count).ok(),
        is_truncated: Some(next.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: next.as_deref().map(as_token),
        contents: Some(entries.into_iter().map(|record| object(record, url, shown_owner.clone())).collect()),
        common_prefixes: Some(prefixes(&common_prefixes, url)),
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(super) fn list_versions(
    directory: &Directory,
    input: ListObjectVersionsInput,
) -> S3Result<ListObjectVersionsOutput> {
    let max_keys = input.max_keys.unwrap_or(MAX_KEYS);
    let url = is_url(input.encoding_type.as_ref());
    let query = Query {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        after: input.key_marker.as_deref().filter(|marker| !marker.is_empty()),
        max: page_size(max_keys)?,
    };
    let Page { entries, common_prefixes, next } = list(directory, &input.bucket, &query)?;
    let encode = |name: &Option<String>| name.as_deref().map(|name| url_encoded(name, url));
    // The page may end with a common prefix, which has no version.
    let ends_with_version = entries.last().is_some_and(|record| next.as_ref() == Some(&record.key));
    Ok(ListObjectVersionsOutput {
        prefix: encode(&input.prefix).or(Some(String::new())),
        key_marker: encode(&input.key_marker).or(Some(String::new())),
        version_id_marker: input.version_id_marker.or(Some(String::new())),
        delimiter: encode(&input.delimiter),
        encoding_type: input.encoding_type,
        max_keys: Some(max_keys),
        is_truncated: Some(next.is_some()),
        next_key_marker: encode(&next),
        next_version_id_marker: ends_with_version.then(|| "null".to_owned()),
        versions: Some(entries.into_iter().map(|record| version(record, url)).collect()),
        common_prefixes: Some(prefixes(&common_prefixes, url)),
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(super) fn list_uploads(
    directory: &Directory,
    input: ListMultipartUploadsInput,
) -> S3Result<ListMultipartUploadsOutput> {
    let max_uploads = input.max_uploads.unwrap_or(MAX_KEYS);
    let url = is_url(input.encoding_type.as_ref());
    let key_marker = input.key_marker.as_deref().filter(|marker| !marker.is_empty());
    // An upload id marker has no effect unless there is a key marker.
    let id_marker = input.upload_id_marker.as_deref().filter(|id| !id.is_empty() && key_marker.is_some());
    let query = Query {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        after: key_marker,
        max: page_size(max_uploads)?,
    };
    let uploads = uploads::in_bucket(directory, &input.bucket)?;
    let uploads = uploads.into_iter().map(|(id, record)| (record.key.clone(), (id, record))).collect();
    // With an upload id marker, the younger uploads of the marked key follow.
    let is_before = |object: &str, (id, _): &(String, UploadRecord)| match (key_marker, id_marker) {
        (Some(marker), Some(id_marker)) if object == marker => id.as_str() <= id_marker,
        (Some(marker), _) => object <= marker,
        (None, _) => false,
    };
    let Page { entries, common_prefixes, next } = page(uploads, &query, is_before);
    // The page may end with a common prefix, which has no upload id.
    let last_id = entries.last().filter(|(_, record)| next.as_ref() == Some(&record.key));
    let last_id = last_id.map(|(id, _)| id.clone());
    let encode = |name: &Option<String>| name.as_deref().map(|name| url_encoded(name, url));
    let upload = |(id, record): (String, UploadRecord)| MultipartUpload {
        initiated: Some(record.initiated),
        initiator: Some(Initiator { display_name: owner().display_name, id: owner().id }),
        owner: Some(owner()),
        key: Some(url_encoded(&record.key, url)),
        upload_id: Some(id),
        ..Default::default()
    };
    Ok(ListMultipartUploadsOutput {
        prefix: encode(&input.prefix).or(Some(String::new())),
        key_marker: encode(&input.key_marker).or(Some(String::new())),
        upload_id_marker: input.upload_id_marker.clone().or(Some(String::new())),
        delimiter: encode(&input.delimiter),
        encoding_type: input.encoding_type,
        max_uploads: Some(max_uploads),
        is_truncated: Some(next.is_some()),
        next_key_marker: encode(&next),
        next_upload_id_marker: last_id,
        uploads: Some(entries.into_iter().map(upload).collect()),
        common_prefixes: Some(prefixes(&common_prefixes, url)),
        bucket: Some(input.bucket),
        ..Default::default()
    })
}

/// Of the form of AWS's canonical user ids: 64 hexadecimal digits.
pub(super) const OWNER_ID: &str = "0000000000000000000000000000000000000000000000000000000073337665";

/// Everything has one owner.
pub(super) fn owner() -> Owner {
    Owner { display_name: Some("s3veil".to_owned()), id: Some(OWNER_ID.to_owned()) }
}
