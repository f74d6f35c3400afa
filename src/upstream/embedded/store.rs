//! s3s-fs behind names that every key can have, and with the S3 behaviour it lacks where a client would notice:
//! missing buckets, conditional reads, listings in order and by page, buckets that are deleted only when empty.

use async_trait::async_trait;
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::listing::{Page, Query, page};
use super::names::{StoredName, as_metadata, from_metadata, object_of};

/// Where a key that does not fit into a file name is kept: in the user metadata of the stored object, hidden again.
const OBJECT_KEY: &str = "s3veil-embedded-object-key";

/// S3's limit to a page of a listing.
const MAX_KEYS: i32 = 1000;

/// The store.
#[derive(Debug)]
pub(super) struct NamedStore {
    files: FileSystem,
}

impl NamedStore {
    pub(super) fn new(files: FileSystem) -> Self {
        Self { files }
    }

    /// s3s-fs makes missing buckets on write and misses keys in them on read.
    async fn require_bucket<T>(&self, req: &S3Request<T>, bucket: &str) -> S3Result<()> {
        let input = HeadBucketInput { bucket: bucket.to_owned(), ..Default::default() };
        self.files.head_bucket(with(req, input)).await.map(drop)
    }

    async fn head<T>(&self, req: &S3Request<T>, bucket: &str, stored: &str) -> S3Result<HeadObjectOutput> {
        let input =
            HeadObjectInput { bucket: bucket.to_owned(), key: stored.to_owned(), ..Default::default() };
        Ok(self.files.head_object(with(req, input)).await?.output)
    }

    /// All objects of a bucket, in the order of their keys, each under its real key and with its stored one.
    async fn inventory<T>(&self, req: &S3Request<T>, bucket: &str) -> S3Result<Vec<(String, Object)>> {
        let input =
            ListObjectsV2Input { bucket: bucket.to_owned(), max_keys: Some(i32::MAX), ..Default::default() };
        let listed = self.files.list_objects_v2(with(req, input)).await?.output;
        let mut objects = Vec::new();
        for entry in listed.contents.unwrap_or_default() {
            let Some(stored) = entry.key.as_deref() else { continue };
            let object = match object_of(stored) {
                Some(object) => Some(object),
                None => {
                    let metadata = self.head(req, bucket, stored).await?.metadata;
                    metadata.and_then(|metadata| from_metadata(metadata.get(OBJECT_KEY)?))
                }
            };
            // A stray file in the directory is no object.
            let Some(object) = object else { continue };
            objects.push((object, entry));
        }
        objects.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(objects)
    }

    async fn list<T>(
        &self,
        req: &S3Request<T>,
        bucket: &str,
        query: &Query<'_>,
        url: bool,
    ) -> S3Result<Page<Object>> {
        let inventory = self.inventory(req, bucket).await?;
        let named = inventory.into_iter().map(|(object, entry)| (object.clone(), (object, entry))).collect();
        let Page { entries, common_prefixes, next } = page(named, query);
        let mut contents = Vec::with_capacity(entries.len());
        for (object, mut entry) in entries {
            if let Some(stored) = &entry.key {
                entry.e_tag = self.head(req, bucket, stored).await?.e_tag;
            }
            entry.key = Some(spelled(&object, url));
            entry.storage_class = Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD));
            contents.push(entry);
        }
        let common_prefixes = common_prefixes.iter().map(|prefix| spelled(prefix, url)).collect();
        Ok(Page { entries: contents, common_prefixes, next })
    }
}

/// The same request with another input.
fn with<T, U>(req: &S3Request<T>, input: U) -> S3Request<U> {
    S3Request {
        input,
        method: req.method.clone(),
        uri: req.uri.clone(),
        headers: req.headers.clone(),
        extensions: req.extensions.clone(),
        credentials: req.credentials.clone(),
        region: req.region.clone(),
        service: req.service.clone(),
        trailing_headers: req.trailing_headers.clone(),
    }
}

/// `encoding-type=url`: XML 1.0 has no way to write most control characters.
fn spelled(name: &str, url: bool) -> String {
    const SET: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');
    if url { percent_encoding::utf8_percent_encode(name, SET).to_string() } else { name.to_owned() }
}

fn is_url(encoding_type: Option<&EncodingType>) -> bool {
    encoding_type.is_some_and(|encoding| encoding.as_str() == EncodingType::URL)
}

/// Puts the key's stored name in its place, and the key itself into the metadata if the name cannot be turned back.
fn store_under(bucket: &str, object: &mut ObjectKey, metadata: &mut Option<Metadata>) {
    let stored = StoredName::of(bucket, object);
    if let StoredName::Hashed(_) = &stored {
        metadata.get_or_insert_default().insert(OBJECT_KEY.to_owned(), as_metadata(object));
    }
    *object = stored.as_str().to_owned();
}

fn stored(bucket: &str, object: &str) -> ObjectKey {
    StoredName::of(bucket, object).as_str().to_owned()
}

/// s3s-fs seeks to before a file's beginning when a suffix is longer than the file.
fn within(range: Range, length: u64) -> Range {
    match range {
        Range::Suffix { length: suffix } if suffix > length && length > 0 => {
            Range::Int { first: 0, last: None }
        }
        Range::Suffix { .. } | Range::Int { .. } => range,
    }
}

fn hide_ours(metadata: &mut Option<Metadata>) {
    if let Some(metadata) = metadata {
        metadata.remove(OBJECT_KEY);
    }
}

/// What is left of a Content-Encoding when the framing of this hop is taken away.
fn without_framing(coding: Option<String>) -> Option<String> {
    let codings = coding?;
    let kept: Vec<_> = codings.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    Some(kept.join(",")).filter(|kept| !kept.is_empty())
}

/// The conditions of a read (RFC 9110, 13.2.2: If-Match before If-Unmodified-Since, If-None-Match before
/// If-Modified-Since).
struct Conditions {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    fn check(&self, object: &HeadObjectOutput) -> S3Result<()> {
        let (Some(etag), Some(modified)) = (&object.e_tag, &object.last_modified) else { return Ok(()) };
        // HTTP dates have whole seconds.
        let is_after = |date: &Timestamp| seconds(modified) > seconds(date);
        let failed = match (&self.if_match, &self.if_unmodified_since) {
            (Some(ETagCondition::ETag(wanted)), _) => !etag.strong_cmp(wanted),
            (None, Some(date)) => is_after(date),
            (Some(ETagCondition::Any), _) | (None, None) => false,
        };
        if failed {
            return Err(s3_error!(PreconditionFailed));
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(ETagCondition::ETag(known)), _) => etag.weak_cmp(known),
            (Some(ETagCondition::Any), _) => true,
            (None, Some(date)) => !is_after(date),
            (None, None) => false,
        };
        if unchanged { Err(s3_error!(NotModified)) } else { Ok(()) }
    }
}

fn seconds(timestamp: &Timestamp) -> i64 {
    time::OffsetDateTime::from(timestamp.clone()).unix_timestamp()
}

#[async_trait]
impl S3 for NamedStore {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(req).await
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        if !self.inventory(&req, &req.input.bucket).await?.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        self.files.delete_bucket(req).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(req).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(req).await
    }

    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(req).await
    }

    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.require_bucket(&with(&req, ()), &req.input.bucket).await?;
        let PutObjectInput { bucket, key, metadata, content_encoding, .. } = &mut req.input;
        store_under(bucket, key, metadata);
        *content_encoding = without_framing(content_encoding.take());
        self.files.put_object(req).await
    }

    async fn get_object(&self, mut req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = &mut req.input;
        input.key = stored(&input.bucket, &input.key);
        let conditions = Conditions {
            if_match: input.if_match.take(),
            if_none_match: input.if_none_match.take(),
            if_modified_since: input.if_modified_since.take(),
            if_unmodified_since: input.if_unmodified_since.take(),
        };
        let overrides = (
            input.response_cache_control.take(),
            input.response_content_disposition.take(),
            input.response_content_encoding.take(),
            input.response_content_language.take(),
            input.response_content_type.take(),
            input.response_expires.take(),
        );
        let head = self.head(&req, &req.input.bucket, &req.input.key).await?;
        conditions.check(&head)?;
        let length = head.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        req.input.range = req.input.range.map(|range| within(range, length));
        let mut response = self.files.get_object(req).await?;
        let output = &mut response.output;
        hide_ours(&mut output.metadata);
        let (cache_control, disposition, encoding, language, content_type, expires) = overrides;
        output.cache_control = cache_control.or(output.cache_control.take());
        output.content_disposition = disposition.or(output.content_disposition.take());
        output.content_encoding = encoding.or(output.content_encoding.take());
        output.content_language = language.or(output.content_language.take());
        output.content_type = content_type.or(output.content_type.take());
        output.expires = expires.or(output.expires.take());
        output.accept_ranges = Some("bytes".to_owned());
        Ok(response)
    }

    async fn head_object(
        &self,
        mut req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = &mut req.input;
        input.key = stored(&input.bucket, &input.key);
        let conditions = Conditions {
            if_match: input.if_match.take(),
            if_none_match: input.if_none_match.take(),
            if_modified_since: input.if_modified_since.take(),
            if_unmodified_since: input.if_unmodified_since.take(),
        };
        let mut response = self.files.head_object(req).await?;
        conditions.check(&response.output)?;
        hide_ours(&mut response.output.metadata);
        response.output.accept_ranges = Some("bytes".to_owned());
        Ok(response)
    }

    async fn delete_object(
        &self,
        mut req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        req.input.key = stored(&req.input.bucket, &req.input.key);
        self.files.delete_object(req).await
    }

    async fn delete_objects(
        &self,
        mut req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.require_bucket(&with(&req, ()), &req.input.bucket).await?;
        let DeleteObjectsInput { bucket, delete, .. } = &mut req.input;
        let is_quiet = delete.quiet.unwrap_or(false);
        let asked: Vec<_> = delete.objects.iter().map(|object| object.key.clone()).collect();
        for object in &mut delete.objects {
            object.key = stored(bucket, &object.key);
        }
        let mut response = self.files.delete_objects(req).await?;
        let deleted = asked.into_iter().map(|key| DeletedObject { key: Some(key), ..Default::default() });
        response.output.deleted = (!is_quiet).then(|| deleted.collect());
        Ok(response)
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = &req.input;
        let max_keys = input.max_keys.unwrap_or(MAX_KEYS);
        let url = is_url(input.encoding_type.as_ref());
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref(),
            max: page_size(max_keys)?,
        };
        let Page { entries, common_prefixes, next } = self.list(&req, &input.bucket, &query, url).await?;
        let spell = |name: &Option<String>| name.as_deref().map(|name| spelled(name, url));
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket.clone()),
            prefix: spell(&input.prefix).or(Some(String::new())),
            marker: spell(&input.marker).or(Some(String::new())),
            delimiter: spell(&input.delimiter),
            encoding_type: input.encoding_type.clone(),
            max_keys: Some(max_keys),
            is_truncated: Some(next.is_some()),
            next_marker: spell(&next),
            contents: Some(entries),
            common_prefixes: Some(prefixes(common_prefixes)),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = &req.input;
        let max_keys = input.max_keys.unwrap_or(MAX_KEYS);
        let url = is_url(input.encoding_type.as_ref());
        let token = input.continuation_token.as_deref();
        let resumed = token.map(|token| from_metadata(token).ok_or(S3ErrorCode::InvalidArgument)).transpose();
        let resumed = resumed.map_err(S3Error::new)?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: resumed.as_deref().or(input.start_after.as_deref()),
            max: page_size(max_keys)?,
        };
        let Page { entries, common_prefixes, next } = self.list(&req, &input.bucket, &query, url).await?;
        let spell = |name: &Option<String>| name.as_deref().map(|name| spelled(name, url));
        let count = entries.len() + common_prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket.clone()),
            prefix: spell(&input.prefix).or(Some(String::new())),
            start_after: spell(&input.start_after),
            delimiter: spell(&input.delimiter),
            encoding_type: input.encoding_type.clone(),
            max_keys: Some(max_keys),
            key_count: i32::try_from(count).ok(),
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token.clone(),
            next_continuation_token: next.as_deref().map(as_metadata),
            contents: Some(entries),
            common_prefixes: Some(prefixes(common_prefixes)),
            ..Default::default()
        }))
    }
}

fn page_size(max_keys: i32) -> S3Result<usize> {
    usize::try_from(max_keys.min(MAX_KEYS)).map_err(|_| s3_error!(InvalidArgument, "max-keys is negative"))
}

fn prefixes(names: Vec<String>) -> CommonPrefixList {
    names.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect()
}
