//! A long file of a form: an upstream multipart upload of the proxy's own, one part in memory at a time.

use crate::object::response_headers;
use bytes::{Bytes, BytesMut};
use http::header::{ETAG, HeaderMap, HeaderValue};
use http::{Method, Response};
use tokio::task::JoinHandle;

use super::file::{Filled, FormFile, PART};
use crate::body::{BoxBody, BoxError, Verdict, read_bounded};
use crate::envelope::ContentKey;
use crate::envelope::native::multipart::{
    Layout, MIN_PART, Part, PartNumber, SegmentEnd, SegmentEntropy, SegmentSealer, seal_terminator,
};
use crate::envelope::native::{Attributes, UploadChecksum};
use crate::error::Error;
use crate::object::location::for_every_question;
use crate::object::lost_response::Expected;
use crate::object::upstream_response::{buffered, pass};
use crate::object::write::{NewObject, seal_whole};
use crate::operation::Resources;
use crate::s3::xml::{self, CompletionAnswer};
use crate::s3::{Checksum, ChecksumAlgorithm, Hashed};
use crate::upload::session::take_conditions;
use crate::upload::stored_parts::etag_of_part;
use crate::upstream::{Upstream, UpstreamBody, UpstreamRequest};

/// S3's answers about an upload have a few hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

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
) -> Result<Response<BoxBody>, Error> {
    let write_key = object.write_key(resources, length).await?;
    let mut create = object.request(Method::POST);
    create.query = vec![("uploads".to_owned(), None)];
    create.headers = object.headers.clone();
    let conditions = take_conditions(&mut create.headers);
    let attributes = match promised.is_empty() {
        true => Attributes::default().announcing(UploadChecksum::FullObject(ChecksumAlgorithm::DEFAULT)),
        false => Attributes::new(promised.clone()),
    };
    let content_key = object.seal(&write_key, true, &attributes, &mut create.headers).content_key;
    let expected = Expected::of_request(&create).expect("a native object has an envelope");
    let response = pass(resources.upstream.send(create).await?).await?;
    if !response.status().is_success() {
        return Ok(response);
    }
    let document = read_bounded(response.into_body(), MAX_ANSWER).await.map_err(Error::upstream_body)?;
    let id = xml::parse_upload_id(&document).map_err(unreadable)?;

    let mut upload = Upload {
        resources,
        object: &object,
        content_key,
        id,
        conditions,
        expected,
        computed: promised.is_empty().then_some(verdict),
        layout: Vec::new(),
        etags: Vec::new(),
    };
    let mut abort = Abort { upstream: resources.upstream.clone(), request: Some(upload.abort_request()) };
    let outcome = upload.run(first, file).await;
    match outcome {
        Ok(mut response) if response.status().is_success() => {
            abort.request = None;
            response_headers::set_sse(response.headers_mut(), object.sse, Some(&write_key.key_id));
            response_headers::set_etag(response.headers_mut(), object.etag_style(), Hashed::Ciphertext);
            Ok(response)
        }
        refused => {
            if let Some(aborting) = abort.begin() {
                // Nobody is told that it failed: what counts is why it had to be.
                let _ = aborting.await;
            }
            refused
        }
    }
}

struct Upload<'a> {
    resources: &'a Resources,
    object: &'a NewObject<'a>,
    content_key: ContentKey,
    id: String,
    /// On the object that is to be.
    conditions: HeaderMap,
    /// The object that it will be.
    expected: Expected,
    /// Of the whole file, once it was read; `None` where the envelope has its checksum.
    computed: Option<Verdict>,
    layout: Vec<Part>,
    /// By part number, without quotes.
    etags: Vec<(u16, String)>,
}

impl Upload<'_> {
    /// The answer to the completed upload, or to the first request that was refused.
    async fn run(&mut self, first: BytesMut, mut file: FormFile) -> Result<Response<BoxBody>, Error> {
        let mut part = first;
        let last = loop {
            if let Some(refusal) = self.store_part(part, SegmentEnd::Middle).await? {
                return Ok(refusal);
            }
            match file.fill(PART).await? {
                Filled::Part(next) => part = next,
                Filled::ToTheEnd(last) => break last,
            }
        };
        // F-45: only a part below S3's least one is sealed as the last.
        let is_small = (last.len() as u64) < MIN_PART;
        let end = if is_small { SegmentEnd::Last } else { SegmentEnd::Middle };
        if let Some(refusal) = self.store_part(last, end).await? {
            return Ok(refusal);
        }
        if !is_small && let Some(refusal) = self.store_terminator().await? {
            return Ok(refusal);
        }
        self.complete().await
    }

    async fn store_part(
        &mut self,
        plaintext: BytesMut,
        end: SegmentEnd<'_>,
    ) -> Result<Option<Response<BoxBody>>, Error> {
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

    async fn store_terminator(&mut self) -> Result<Option<Response<BoxBody>>, Error> {
        let layout = Layout::terminated(self.layout.clone())?;
        let object = self.object_checksum();
        let sealed = seal_terminator(&self.content_key, &layout, object.as_ref(), SegmentEntropy::fresh())?;
        self.send_part(PartNumber::TERMINATOR, sealed.into()).await
    }

    fn object_checksum(&self) -> Option<Checksum> {
        let checksums = self.computed.as_ref()?.checksums()?;
        checksums.first().copied()
    }

    /// The storage's answer, if it refuses the part.
    async fn send_part(
        &mut self,
        number: PartNumber,
        sealed: Bytes,
    ) -> Result<Option<Response<BoxBody>>, Error> {
        let mut request = self.request(Method::PUT);
        request.query.insert(0, ("partNumber".to_owned(), Some(number.value().to_string())));
        request.body = UpstreamBody::Content(sealed);
        let response = pass(self.resources.upstream.send(request).await?).await?;
        if !response.status().is_success() {
            return Ok(Some(response));
        }
        self.etags.push((number.value(), etag_of_part(response.headers())?.to_owned()));
        Ok(None)
    }

    async fn complete(&self) -> Result<Response<BoxBody>, Error> {
        let mut request = self.request(Method::POST);
        request.headers.extend(self.conditions.clone());
        let parts = self.etags.iter().map(|(number, etag)| (*number, etag.as_str()));
        request.body = UpstreamBody::Buffered(xml::write_complete_request(parts).into());
        let response = match self.resources.upstream.send(request).await {
            Ok(response) => pass(response).await?,
            Err(error) if error.may_have_been_done() => return self.find().await,
            Err(error) => return Err(error.into()),
        };
        if !response.status().is_success() {
            return Ok(response);
        }
        let (mut head, body) = response.into_parts();
        let Ok(document) = read_bounded(body, MAX_ANSWER).await else { return self.find().await };
        let result = match xml::completion_answer(&document).map_err(unreadable)? {
            CompletionAnswer::Done(result) => result,
            CompletionAnswer::Failed => {
                return Err(Error::UnexpectedAnswer("that it could not complete the upload"));
            }
        };
        if result.etag().is_empty() {
            return self.find().await;
        }
        let etag = HeaderValue::try_from(result.etag());
        head.headers.insert(ETAG, etag.map_err(|_| Error::UnexpectedAnswer("with a malformed ETag"))?);
        Ok(Response::from_parts(head, buffered("")))
    }

    /// The answer where the storage's does not say it: from the object, if it is there.
    async fn find(&self) -> Result<Response<BoxBody>, Error> {
        let found = self.expected.find(&self.resources.upstream).await?;
        found.ok_or(Error::Unsettled)?.put_answer()
    }

    /// A request on this upload.
    fn request(&self, method: Method) -> UpstreamRequest {
        let mut request = self.object.request(method);
        request.query = vec![("uploadId".to_owned(), Some(self.id.clone()))];
        request.headers = for_every_question(&self.object.headers);
        request
    }

    fn abort_request(&self) -> UpstreamRequest {
        self.request(Method::DELETE)
    }
}

/// Aborts an upload when it is dropped, as it is when the client goes away and nobody polls its request any more.
struct Abort {
    upstream: Upstream,
    request: Option<UpstreamRequest>,
}

impl Abort {
    fn begin(&mut self) -> Option<JoinHandle<()>> {
        let (request, upstream) = (self.request.take()?, self.upstream.clone());
        Some(tokio::spawn(async move {
            match upstream.send(request).await {
                Ok(response) if response.status().is_success() => {}
                Ok(response) => {
                    tracing::warn!(status = %response.status(), "a form's upload could not be aborted")
                }
                Err(error) => tracing::warn!(%error, "a form's upload could not be aborted"),
            }
        }))
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        drop(self.begin());
    }
}

fn unreadable(error: xml::XmlError) -> Error {
    let error: BoxError = Box::new(error);
    Error::upstream_body(error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::s3::{BucketName, ObjectKey};
    use crate::upstream::{Settings, Target};

    fn request(method: Method, object: bool, query: &[(&str, Option<&str>)]) -> UpstreamRequest {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
        UpstreamRequest {
            method,
            bucket: Some(BucketName::parse("bucket").unwrap()),
            object: object.then(|| ObjectKey::parse("object").unwrap()),
            query: query.collect(),
            headers: HeaderMap::new(),
            body: UpstreamBody::Empty,
        }
    }

    async fn answered(upstream: &Upstream, request: UpstreamRequest) -> String {
        let response = upstream.send(request).await.unwrap();
        let body = read_bounded(response.into_body(), MAX_ANSWER).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[cfg(feature = "embedded-store")]
    /// As when the task of a request is dropped while it waits for the storage.
    #[tokio::test]
    async fn an_upload_that_is_dropped_is_aborted() {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings::new(Target::Embedded { path: root.path().to_owned() });
        let upstream = crate::cli::embedded_store::open(settings).await.unwrap();
        answered(&upstream, request(Method::PUT, false, &[])).await;
        let started = answered(&upstream, request(Method::POST, true, &[("uploads", None)])).await;
        let id = xml::parse_upload_id(started.as_bytes()).unwrap();
        let listed = async || answered(&upstream, request(Method::GET, false, &[("uploads", None)])).await;
        assert!(listed().await.contains("<Upload>"));

        let abort = request(Method::DELETE, true, &[("uploadId", Some(&id))]);
        drop(Abort { upstream: upstream.clone(), request: Some(abort) });
        for _ in 0..500 {
            if !listed().await.contains("<Upload>") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the upload is still there");
    }
}
