//! Moves the plaintext of an object part by part: each part is read by a range of its own, and once more if
//! the storage failed meanwhile. It must not know how parts are sealed. It promises that the parts together
//! are the whole object, of one ETag, and that a part counts only when it was stored.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, RANGE};
use http::{Method, StatusCode};

use super::digest::{CONTENT_DIGEST, Digest, Digested, OtherChecksum, continuing, digesting, exhaust};
use super::ending::Stop;
use super::in_place::Written;
use super::seen::Seen;
use super::split::SplitBody;
use crate::body::BoxBody;
use crate::envelope::native::multipart::PartNumber;
use crate::error::{Error, Result, UnexpectedResponse, with_causes};
use crate::job::row::Row;
use crate::object::location::{ObjectLocation, ReceivedRange};
use crate::object::lost_response::Expected;
use crate::object::range::{RequestedRange, stored_range};
use crate::object::read::{ReadRequest, open_object};
use crate::object::upstream_response::pass;
use crate::s3::{BucketName, ByteRange, Checksum, ChecksumAlgorithm, ObjectKey};
use crate::timer;
use crate::upload::Resources;
use crate::upload::planned_upload::PlannedUpload;
use crate::upload::session::take_conditions;
use crate::upload::storage::{CompletedUpload, StorageUpload, announce_checksum};
use crate::upstream::{UpstreamBody, UpstreamError, UpstreamRequest};

/// How often a part is tried.
const ATTEMPTS: u32 = 4;

/// The pause before a part is tried again, doubled each time.
const PAUSE: Duration = Duration::from_millis(500);

/// The bytes that are read back by one range.
pub(super) const READ_BACK: u64 = 1 << 30;

/// The plaintext of an object, and the digest of the parts that were moved.
pub(super) struct PartSource<'a> {
    resources: &'a Resources,
    name: (&'a BucketName, &'a ObjectKey),
    version_id: Option<&'a str>,
    etag: &'a HeaderValue,
    /// Bytes of plaintext.
    length: u64,
    /// The whole object in one stream, where its ranges are not read: then no part is tried again.
    stream: Option<SplitBody>,
    digest: Digest,
    /// The first byte of the next part.
    first: u64,
    /// Whether the object is plaintext that is read as it is stored, without a rule.
    is_bare: bool,
    /// The key that wrapped the data key, once a part was read.
    pub(super) key_id: Option<Arc<str>>,
}

/// The upload that parts go into.
pub(super) enum PartSink {
    /// One that seals them.
    Sealed(PlannedUpload),
    /// One of plaintext.
    Plain(PlainUpload),
}

/// An upload of plaintext.
pub(super) struct PlainUpload {
    storage: StorageUpload,
    /// The number of each stored part, and its ETag without quotes.
    etags: Vec<(u16, String)>,
    conditions: HeaderMap,
    expected: Expected,
}

impl<'a> PartSource<'a> {
    /// The object `seen` of this name, of `length` bytes of plaintext, which is expected to have these
    /// checksums.
    pub(super) fn new(
        resources: &'a Resources,
        name: (&'a BucketName, &'a ObjectKey),
        seen: &'a Seen,
        (length, expected): (u64, &[Checksum]),
    ) -> Self {
        Self {
            resources,
            name,
            version_id: seen.version_id.as_deref(),
            etag: &seen.etag,
            length,
            stream: None,
            digest: Digest::new(CONTENT_DIGEST, expected),
            first: 0,
            is_bare: false,
            key_id: None,
        }
    }

    /// Reads the stored bytes as they are.
    pub(super) fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// Reads the object in one stream: for a format that authenticates no ranges.
    ///
    /// # Errors
    /// As a read.
    pub(super) async fn in_one_stream(mut self) -> Result<Self> {
        self.stream = Some(SplitBody::new(self.open(RequestedRange::Whole, self.length).await?));
        Ok(self)
    }

    /// Stores all parts, of these lengths, and completes the upload. `composite` is the checksum that the
    /// checksums of the parts are expected to have. What was written, and what the plaintext was.
    ///
    /// # Errors
    /// That of the last attempt at a part, and [`Error::Replaced`] when the object changed meanwhile. The
    /// upload is aborted.
    pub(super) async fn store(
        mut self,
        (row, seen): (&Row, &Seen),
        lengths: &[u64],
        mut sink: PartSink,
        composite: Option<Checksum>,
    ) -> Result<(Written, Digested, Option<Arc<str>>), Stop> {
        let abort = sink.storage().abort_on_drop();
        let made = async {
            let algorithm = composite.map(|value| value.algorithm());
            let values = self.move_all(lengths, Some(&mut sink), algorithm).await?;
            if let Some(value) = composite
                && Checksum::composite(value.algorithm(), &values) != value
            {
                return Err(OtherChecksum(value.algorithm()).into());
            }
            let (resources, key_id) = (self.resources, self.key_id.take());
            let digested = self.finish()?;
            seen.require_unchanged(resources, row).await?;
            Ok::<_, Error>((sink.complete().await?, digested, key_id))
        };
        let (completed, digested, key_id) = abort.settle(made.await).await?;
        Ok((Written::new(&completed.headers, completed.result.etag()), digested, key_id))
    }

    /// Moves all parts, of these lengths, without a sink to drop them. The checksums of the parts, if an
    /// algorithm is named.
    ///
    /// # Errors
    /// That of the last attempt at a part; [`Error::Replaced`] when the object was replaced meanwhile.
    pub(super) async fn move_all(
        &mut self,
        lengths: &[u64],
        mut sink: Option<&mut PartSink>,
        algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<Vec<Checksum>> {
        let mut values = Vec::new();
        for (at, length) in lengths.iter().enumerate() {
            let is_last = at + 1 == lengths.len();
            let mut attempt = 1;
            loop {
                match self.move_one(*length, is_last, sink.as_deref_mut(), algorithm).await {
                    Ok((digest, value)) => {
                        self.digest = digest;
                        self.first += length;
                        values.extend(value);
                        break;
                    }
                    Err(error) if attempt < ATTEMPTS && self.stream.is_none() && is_passing(&error) => {
                        tracing::debug!(error = %with_causes(&error), attempt, "a part is tried again");
                        timer::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
                        attempt += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(values)
    }

    async fn move_one(
        &mut self,
        length: u64,
        is_last: bool,
        sink: Option<&mut PartSink>,
        algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<(Digest, Option<Checksum>)> {
        let body = match &self.stream {
            Some(stream) => stream.next_part(length, is_last),
            None if length == 0 => BoxBody::default(),
            None => {
                let range =
                    ByteRange::from_length(self.first, length).ok_or(UnexpectedResponse::WrongLength)?;
                self.open(RequestedRange::Range(range.into()), length).await?
            }
        };
        let (body, digest) = continuing(body, self.digest.clone());
        let (body, value) = match algorithm {
            Some(algorithm) => {
                let (body, value) = digesting(body, algorithm, &[]);
                (body, Some(value))
            }
            None => (body, None),
        };
        match sink {
            Some(sink) => sink.store(length, body).await?,
            None => exhaust(body).await?,
        }
        let value = value.map(|value| value.take()).transpose()?;
        Ok((digest.take()?, value.map(|digested| digested.value)))
    }

    /// The digest of the whole object.
    ///
    /// # Errors
    /// [`UnexpectedResponse::WrongLength`] if the parts were not all of it; the error of another checksum
    /// than the expected one.
    pub(super) fn finish(self) -> Result<Digested> {
        let digested = self.digest.finish()?;
        if digested.length == self.length {
            Ok(digested)
        } else {
            Err(UnexpectedResponse::WrongLength.into())
        }
    }

    /// Opens a part of the object, of `length` bytes.
    async fn open(&mut self, wanted: RequestedRange, length: u64) -> Result<BoxBody> {
        if self.is_bare {
            return self.open_bare(length).await;
        }
        let (bucket, object_key) = self.name;
        let version = self.version_id.map(|version| ("versionId".to_owned(), Some(version.to_owned())));
        let read = ReadRequest {
            bucket,
            object_key,
            wanted,
            query: version.into_iter().collect(),
            headers: HeaderMap::from_iter([(IF_MATCH, self.etag.clone())]),
            needs_checksum: false,
            if_range: None,
            customer_key: None,
        };
        let opened = open_object(self.resources, read).await?;
        // Not every storage supports If-Match.
        if opened.head.headers.get(ETAG) != Some(self.etag) {
            return Err(Error::Replaced);
        }
        if (opened.plaintext_total, opened.length) != (self.length, length) {
            return Err(UnexpectedResponse::WrongLength.into());
        }
        self.key_id.clone_from(&opened.key_id);
        Ok(opened.body)
    }

    /// The next `length` stored bytes.
    async fn open_bare(&self, length: u64) -> Result<BoxBody> {
        let (bucket, object_key) = self.name;
        let at =
            ObjectLocation { bucket, object_key, version_id: self.version_id, headers: HeaderMap::new() };
        let mut request = at.request(Method::GET);
        request.headers.insert(IF_MATCH, self.etag.clone());
        if length < self.length {
            request.headers.insert(RANGE, stored_range(self.first, self.first + length - 1));
        }
        let (head, body) = pass(self.resources.upstreams.send(request).await?).await?.into_parts();
        let run = ReceivedRange::from_response(head.status, &head.headers, &body)?;
        let is_wanted = (run.total, run.first) == (self.length, self.first);
        if is_wanted && run.partial == (length < self.length) {
            Ok(body)
        } else {
            Err(UnexpectedResponse::WrongRange.into())
        }
    }
}

impl PartSink {
    fn storage(&self) -> &StorageUpload {
        match self {
            Self::Sealed(upload) => upload.storage(),
            Self::Plain(upload) => &upload.storage,
        }
    }

    async fn store(&mut self, length: u64, plaintext: BoxBody) -> Result<()> {
        match self {
            Self::Sealed(upload) => upload.store_next(plaintext).await,
            Self::Plain(upload) => upload.store_next(length, plaintext).await,
        }
    }

    async fn complete(&mut self) -> Result<CompletedUpload> {
        match self {
            Self::Sealed(upload) => upload.complete().await,
            Self::Plain(upload) => {
                let parts = upload.etags.iter().map(|(number, etag)| (*number, etag.as_str()));
                upload.storage.complete(parts, &upload.conditions, &upload.expected).await
            }
        }
    }
}

impl PlainUpload {
    /// Creates an upload with these headers. Conditions among them apply when it is completed.
    ///
    /// # Errors
    /// The storage's.
    pub(super) async fn create(
        resources: &Resources,
        (bucket, object_key): (&BucketName, &ObjectKey),
        headers: HeaderMap,
    ) -> Result<Self> {
        let mut request = UpstreamRequest::new(Method::POST, bucket, object_key);
        request.headers = headers;
        let conditions = take_conditions(&mut request.headers);
        announce_checksum(&resources.upstreams, bucket, &mut request.headers);
        let (storage, _) = StorageUpload::create(&resources.upstreams, request).await?;
        // A plaintext has no envelope by which it could be found.
        let nothing = HeaderValue::from_static("no object has this envelope");
        let expected = Expected::new(bucket, object_key, nothing, HeaderMap::new());
        Ok(Self { storage, etags: Vec::new(), conditions, expected })
    }

    async fn store_next(&mut self, length: u64, plaintext: BoxBody) -> Result<()> {
        let number = u16::try_from(self.etags.len() + 1).ok().and_then(PartNumber::new);
        let number = number.ok_or(UnexpectedResponse::WrongLength)?;
        let body = UpstreamBody::StreamedContent { body: plaintext, length };
        let (etag, _) = self.storage.put_part(number, body).await?;
        self.etags.push((number.value(), etag));
        Ok(())
    }
}

/// The lengths by which an object of `length` bytes is read back, if it is too long for one stream.
pub(super) fn read_back_lengths(length: u64) -> Vec<u64> {
    (0..length.div_ceil(READ_BACK)).map(|piece| READ_BACK.min(length - piece * READ_BACK)).collect()
}

/// Whether another attempt may succeed.
fn is_passing(error: &Error) -> bool {
    let is_passing = |status: StatusCode| {
        (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
            || status == StatusCode::TOO_MANY_REQUESTS
    };
    match error.unshared() {
        Error::Upstream(cause) => !matches!(cause, UpstreamError::Address(_) | UpstreamError::Body(_)),
        Error::UpstreamBody(_) | Error::UpstreamFailed { .. } => true,
        Error::PassThrough(refusal) => is_passing(refusal.status),
        Error::Refused(refused) => is_passing(refused.status()),
        Error::Unauthenticated(_)
        | Error::Ingest(_)
        | Error::Keyring(_)
        | Error::UnexpectedResponse(_)
        | Error::Unsettled
        | Error::UpstreamRedirect { .. }
        | Error::UpstreamCredentials { .. }
        | Error::UpstreamDenied { .. }
        | Error::Format(_)
        | Error::Stream(_)
        | Error::S3ec(_)
        | Error::Unreadable(_)
        | Error::NotReadable { .. }
        | Error::MalformedWrappedKey
        | Error::Replaced
        | Error::PartsUnknown
        | Error::Panicked
        | Error::Shared(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_all_of_it() {
        assert_eq!(read_back_lengths(0), Vec::<u64>::new());
        assert_eq!(read_back_lengths(READ_BACK), [READ_BACK]);
        assert_eq!(read_back_lengths(2 * READ_BACK + 1), [READ_BACK, READ_BACK, 1]);
    }
}
