//! A long file of a form: an upstream multipart upload of the proxy's own, with one part in memory at a time.
//!
//! It must not know fields or policies. If the form fails or is cancelled, its upload is aborted.

use bytes::{Bytes, BytesMut};
use http::header::{ETAG, HeaderMap, HeaderValue};
use http::{Method, Response};

use super::file::{FilePiece, FormFile, PART_LENGTH};
use crate::body::{BoxBody, Verdict};
use crate::envelope::ContentKey;
use crate::envelope::native::multipart::{
    Layout, MIN_PART, Part, PartNumber, SegmentEnd, SegmentEntropy, SegmentSealer, seal_terminator,
    seal_terminator_for_end_key,
};
use crate::envelope::native::{Attributes, BodyKind, SseAlgorithm, UploadChecksum};
use crate::error::{Result, UnexpectedResponse};
use crate::object::lost_response::Expected;
use crate::object::response_headers;
use crate::object::rule::counted::count_sealed;
use crate::object::rule::formats::WriteFormat;
use crate::object::upstream_response::buffered;
use crate::object::write::{NewObject, seal_whole};
use crate::operation::Resources;
use crate::s3::{Checksum, ChecksumAlgorithm, Hashed};
use crate::upload::session::take_conditions;
use crate::upload::storage::{CompletedUpload, StorageUpload};
use crate::upstream::UpstreamBody;

/// Stores a file that begins with `first`. `promised` holds its checksums; if it is empty, `verdict` has one
/// of all bytes at the end, which the last segment carries (F-54). `length` is that of the client's request.
/// If anything fails, or the client disconnects, nothing of the file stays upstream.
pub(crate) async fn upload(
    resources: &Resources,
    object: NewObject<'_>,
    (promised, verdict): (Vec<Checksum>, Verdict),
    first: BytesMut,
    file: FormFile,
    length: u64,
) -> Result<Response<BoxBody>> {
    let write_key = object.write_key(resources, length).await?;
    let mut create = object.request(Method::POST);
    create.headers = object.headers.clone();
    let conditions = take_conditions(&mut create.headers);
    let attributes = if promised.is_empty() {
        Attributes::default().announcing(UploadChecksum::FullObject(ChecksumAlgorithm::DEFAULT))
    } else {
        Attributes::new(promised.clone())
    };
    let content_key =
        object.seal(&write_key, BodyKind::Multipart, &attributes, &mut create.headers)?.content_key;
    let expected = Expected::from_request(&create).expect("a native object has an envelope");
    let (storage, _) = StorageUpload::create(&resources.upstreams, create).await?;
    let abort = storage.abort_on_drop();
    let mut upload = FormParts {
        storage,
        content_key,
        has_customer_key: object.sse == SseAlgorithm::CustomerKey,
        computed: promised.is_empty().then_some(verdict),
        layout: Vec::new(),
        etags: Vec::new(),
    };
    let completed = abort.settle(upload.run(first, file, &conditions, &expected).await).await?;
    let mut response = Response::new(buffered(""));
    *response.headers_mut() = completed.headers;
    let etag = HeaderValue::try_from(completed.result.etag());
    let etag = etag.map_err(|_| UnexpectedResponse::Invalid("ETag"))?;
    response.headers_mut().insert(ETAG, etag);
    response_headers::set_sse(response.headers_mut(), object.sse, Some(&write_key.key_id));
    response_headers::set_etag(response.headers_mut(), object.etag_style(), Hashed::Ciphertext);
    Ok(response)
}

/// The upload of one file.
struct FormParts {
    storage: StorageUpload,
    content_key: ContentKey,
    has_customer_key: bool,
    /// The verdict on the whole file once it was read; `None` if the envelope has the file's checksum.
    computed: Option<Verdict>,
    layout: Vec<Part>,
    /// The number of each stored part, and its ETag without quotes.
    etags: Vec<(u16, String)>,
}

impl FormParts {
    /// Stores all parts, and completes the upload.
    async fn run(
        &mut self,
        first: BytesMut,
        mut file: FormFile,
        conditions: &HeaderMap,
        expected: &Expected,
    ) -> Result<CompletedUpload> {
        let mut part = first;
        let last = loop {
            self.store_part(part, SegmentEnd::Middle).await?;
            match file.read_piece(PART_LENGTH).await? {
                FilePiece::Part(next) => part = next,
                FilePiece::Last(last) => break last,
            }
        };
        // F-45: only a part below S3's minimum is sealed as the last.
        let is_small = (last.len() as u64) < MIN_PART;
        let end = if is_small { SegmentEnd::Last } else { SegmentEnd::Middle };
        self.store_part(last, end).await?;
        if !is_small {
            self.store_terminator().await?;
        }
        let parts = self.etags.iter().map(|(number, etag)| (*number, etag.as_str()));
        let completed = self.storage.complete(parts, conditions, expected).await?;
        count_sealed(WriteFormat::Native);
        Ok(completed)
    }

    async fn store_part(&mut self, plaintext: BytesMut, end: SegmentEnd<'_>) -> Result<()> {
        let number = u16::try_from(self.layout.len() + 1).ok().and_then(PartNumber::new);
        let number = number.expect("5 GiB have 640 parts");
        let part = Part { number, length: plaintext.len() as u64 };
        let object = if matches!(end, SegmentEnd::Middle) { None } else { self.object_checksum() };
        let entropy = SegmentEntropy::fresh();
        let sealer = SegmentSealer::carrying(&self.content_key, part, end, object.as_ref(), entropy)?;
        let chunks = sealer.chunks.expect("no part of a form is empty");
        let sealed = seal_whole(&sealer.header, chunks, plaintext);
        self.layout.push(part);
        self.send_part(number, sealed).await
    }

    async fn store_terminator(&mut self) -> Result<()> {
        let layout = Layout::terminated(self.layout.clone())?;
        let object = self.object_checksum();
        let (content_key, entropy) = (&self.content_key, SegmentEntropy::fresh());
        let sealed = if self.has_customer_key {
            seal_terminator_for_end_key(content_key, &layout, object.as_ref(), entropy)?
        } else {
            seal_terminator(content_key, &layout, object.as_ref(), entropy)?
        };
        self.send_part(PartNumber::TERMINATOR, sealed.into()).await
    }

    fn object_checksum(&self) -> Option<Checksum> {
        let checksums = self.computed.as_ref()?.checksums()?;
        checksums.first().copied()
    }

    async fn send_part(&mut self, number: PartNumber, sealed: Bytes) -> Result<()> {
        let (etag, _) = self.storage.put_part(number, UpstreamBody::Content(sealed)).await?;
        self.etags.push((number.value(), etag));
        Ok(())
    }
}
