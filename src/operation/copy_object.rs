//! CopyObject: the storage copies the ciphertext; the proxy makes a new envelope, for the name of the copy
//! (F-53). Where source or copy is not in the native format, the content is opened and sealed again
//! (`reseal`), and also where another storage has the source.
//!
//! The content of native objects does not pass through the proxy, unless the copy needs a checksum that the
//! source does not have (`checksum`). A multipart object is copied part by part, so that it stays one. The
//! copy is pinned to the ETag whose envelope was read, so an object that is overwritten meanwhile never
//! gets the envelope of another.

mod checksum;
mod parts;
mod reseal;

use http::header::{ETAG, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};

use super::Resources;
use super::request::Call;
use super::request::copy_source::refuse_body;
use super::response::deferred::{DocumentResponse, respond_or_defer};
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::{EnvelopeKeys, EnvelopeSalt, ObjectName, RewrapRequest, SseAlgorithm};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::keyring::{EncryptionContext, KeyId, WriteKey};
use crate::object::caches::ProvenLayout;
use crate::object::lost_response::{Expected, Sent, send_write};
use crate::object::native::OpenedNative;
use crate::object::rule::BucketRule;
use crate::object::rule::formats::{ReadFormat, WriteFormat};
use crate::object::selected_key::selected_key;
use crate::object::{checksums, native, response_headers, upstream_response, write};
use crate::operation::request::copy_source::{NativeSource, SourceKind, SourceMetadata, SourceReader};
use crate::s3::checksum::ObjectChecksum;
use crate::s3::headers::{
    self, COPY_SOURCE, COPY_SOURCE_IF_MATCH, Directive, METADATA_DIRECTIVE, SOURCE_OWNER, SseRequest,
    TAGGING_DIRECTIVE,
};
use crate::s3::{
    BucketName, Checksum, ChecksumAlgorithm, CopySource, CustomerKey, DeclaredIntegrity, Hashed, ObjectKey,
    S3Error, xml,
};
use crate::upstream::UpstreamRequest;

const REPLACE: HeaderValue = HeaderValue::from_static("REPLACE");
/// S3's message for a copy of an object to itself that changes nothing.
const COPY_TO_ITSELF: &str = "This copy request is illegal because it is trying to copy an object to itself without \
                              changing the object's metadata, storage class, website redirect location or encryption \
                              attributes.";
/// Max attempts at a copy whose source is overwritten in the meantime.
const ATTEMPTS: u32 = 3;

pub(crate) async fn copy_object(resources: &Resources, mut call: Box<Call>) -> Result<Response<BoxBody>> {
    let mut copy = ObjectCopy::from_call(resources, &call)?;
    copy.key_id = selected_key(resources, &copy.rule, &copy.bucket, &call.headers).await?;
    let resource = format!("/{}/{}", copy.bucket, copy.object);
    refuse_body(resources, &mut call).await?;
    let sse = match copy.rule.formats.write {
        WriteFormat::Native => Some(copy.sse),
        WriteFormat::Cbc | WriteFormat::S3ecV2 | WriteFormat::S3ecV3 => Some(SseAlgorithm::AwsKms),
        WriteFormat::Plaintext => None,
    };
    respond_or_defer(copy.run(), call.permit, resource, sse).await
}

/// A copy, with all that it needs to continue when the client has disconnected.
struct ObjectCopy {
    resources: Resources,
    source: SourceReader,
    bucket: BucketName,
    object: ObjectKey,
    rule: BucketRule,
    /// The key that the request selects; `None`: the keyring's default.
    key_id: Option<KeyId>,
    /// The customer key of the copy.
    customer_key: Option<CustomerKey>,
    /// The encryption that responses name for the copy, if its format is the native one.
    sse: SseAlgorithm,
    /// The algorithm of the checksum that the client requests for the copy; `None`: the source's checksums
    /// are kept.
    checksum: Option<ChecksumAlgorithm>,
    /// The request's headers about the destination.
    headers: HeaderMap,
    source_owner: Option<HeaderValue>,
    metadata: Directive,
    tagging: Directive,
    /// Whether an object may be copied onto itself in this way.
    changes_something: bool,
}

impl ObjectCopy {
    fn from_call(resources: &Resources, call: &Call) -> Result<Self> {
        let (bucket, object) = call.object()?;
        let rule = resources.policies.for_object(bucket, object)?;
        let headers = headers::copy_headers(&call.headers)?;
        let metadata = Directive::for_metadata(&call.headers)?;
        let is_of_the_copy = headers.contains_key("x-amz-storage-class")
            || headers.contains_key("x-amz-website-redirect-location")
            || headers::sse_request(&call.headers)? != SseRequest::None
            || call.customer_keys.is_used();
        let customer_key = call.customer_keys.object.clone();
        write::refuse_customer_key(rule.formats.write, customer_key.as_ref())?;
        Ok(Self {
            resources: resources.clone(),
            source: SourceReader::from_call(resources, call)?,
            key_id: None,
            sse: write::requested_sse(&call.headers, customer_key.as_ref())?,
            customer_key,
            checksum: DeclaredIntegrity::algorithm_of_copy(&call.headers)?,
            bucket: bucket.clone(),
            object: object.clone(),
            rule: rule.clone(),
            headers,
            source_owner: call.headers.get(SOURCE_OWNER).cloned(),
            metadata,
            tagging: Directive::for_tagging(&call.headers)?,
            changes_something: metadata == Directive::Replace || is_of_the_copy,
        })
    }

    /// Copies, and starts again when the source is not the one that was examined.
    async fn run(self) -> Result<DocumentResponse> {
        let is_one_storage = self.resources.upstreams.is_one(&self.source.named.bucket, &self.bucket);
        let is_copied_there = is_one_storage && self.rule.formats.write == WriteFormat::Native;
        let mut found = match self.source.examine().await? {
            SourceKind::Native(found) if is_copied_there => found,
            SourceKind::Native(_) => return self.reseal(ReadFormat::Native).await,
            SourceKind::Foreign(format) => return self.reseal(format).await,
        };
        self.refuse_copy_to_itself()?;
        for _ in 0..ATTEMPTS {
            let unmet = match self.make(&found).await {
                Ok(completed) => return Ok(completed),
                Err(error) if is_unmet(&error) => Some(error),
                Err(error) if error.is_replaced() => None,
                Err(error) => return Err(error),
            };
            found = match (self.source.examine().await?, unmet) {
                // The source is unchanged, so a condition on the destination does not hold.
                (SourceKind::Native(again), Some(unmet)) if again.etag == found.etag => return Err(unmet),
                (SourceKind::Native(again), _) => again,
                (SourceKind::Foreign(format), _) => return self.reseal(format).await,
            };
        }
        Err(Error::Replaced)
    }

    /// Whether the copy replaces its source.
    fn is_in_place(&self) -> bool {
        let CopySource { bucket, object, version_id } = &self.source.named;
        (bucket, object) == (&self.bucket, &self.object) && version_id.is_none()
    }

    fn refuse_copy_to_itself(&self) -> Result<()> {
        if self.is_in_place() && !self.changes_something {
            return Err(S3Error::invalid_request(COPY_TO_ITSELF).into());
        }
        Ok(())
    }

    async fn make(&self, found: &NativeSource) -> Result<DocumentResponse> {
        let SourceReader { named, rule, .. } = &self.source;
        let keyring = &self.resources.keyring;
        let (name, customer_key) = ((&named.bucket, &named.object), self.source.customer_key.as_ref());
        let unlocked = found.keys.unlock(keyring, rule, name, customer_key).await?;
        let put_length = unlocked.opened.body.put_length(found.identity.stored_total)?;
        let own = self.own_checksum(&found.etag, &unlocked.checksums()).await?;
        match put_length {
            None => self.copy_parts(found, &unlocked, own).await,
            Some(length) => self.copy_whole(found, &unlocked, own, length).await,
        }
    }

    /// The storage's own CopyObject of `length` bytes of plaintext, under a new envelope.
    async fn copy_whole(
        &self,
        found: &NativeSource,
        unlocked: &OpenedNative,
        own: Option<Checksum>,
        length: u64,
    ) -> Result<DocumentResponse> {
        let (mut request, write_key) = self.request(found, unlocked, own, length).await?;
        request.headers.insert(METADATA_DIRECTIVE, REPLACE);
        if self.tagging == Directive::Replace {
            request.headers.insert(TAGGING_DIRECTIVE, REPLACE);
        }
        self.name_source(found, &mut request.headers);
        let expected = Expected::from_request(&request);
        let (mut headers, mut result) = match send_write(&self.resources.upstreams, request).await? {
            Sent::Found(written) => (written.version(), written.copy_result()?),
            Sent::Response(response) if response.status() != StatusCode::OK => {
                return Err(upstream_response::refusal(response).await);
            }
            Sent::Response(response) => self.read_result(response, expected).await?,
        };
        response_headers::retain_s3(&mut headers);
        headers.remove(ETAG);
        response_headers::set_sse(&mut headers, self.sse, Some(&write_key.key_id));
        result.etag = self.rule.etag.to_client(&result.etag, Hashed::Ciphertext);
        let told = response_checksums(unlocked, own, None)?;
        Ok(DocumentResponse { headers, document: result.to_object_xml(&told) })
    }

    /// Reads the storage's response to a copy that it made. If the response breaks off, or has no ETag, the
    /// copy itself is looked up.
    async fn read_result(
        &self,
        response: Response<BoxBody>,
        expected: Option<Expected>,
    ) -> Result<(HeaderMap, xml::CopyResult)> {
        let (head, body) = response.into_parts();
        let trouble = match read_bounded(body, xml::MAX_COPY_RESPONSE).await.map_err(Error::UpstreamBody) {
            Ok(document) => match upstream_response::parse_copy(&document)? {
                xml::CopyResponse::Failed(error) => return Err(upstream_response::failed(error)),
                xml::CopyResponse::Copied(result) if !result.etag.is_empty() => {
                    return Ok((head.headers, result));
                }
                xml::CopyResponse::Copied(_) => UnexpectedResponse::Missing("ETag").into(),
            },
            Err(error) => error,
        };
        let Some(expected) = expected else { return Err(trouble) };
        match expected.find(&self.resources.upstreams).await? {
            Some(written) => Ok((head.headers, written.copy_result()?)),
            None => Err(trouble),
        }
    }

    /// A request that writes the copy, under its own envelope and with the metadata it is to have.
    async fn request(
        &self,
        found: &NativeSource,
        unlocked: &OpenedNative,
        own: Option<Checksum>,
        plaintext_length: u64,
    ) -> Result<(UpstreamRequest, WriteKey)> {
        let realm = self.rule.realm(&self.bucket);
        let context = EncryptionContext::native(realm);
        let key_id = self.key_id.as_ref();
        let write_key =
            self.resources.keyring.for_write(&self.rule.keys, key_id, &context, plaintext_length).await?;
        let rewrap = RewrapRequest {
            keys: EnvelopeKeys { data_key: &write_key.data_key, customer_key: self.customer_key.as_ref() },
            binding: self.rule.binding,
            sse: self.sse,
            name: ObjectName { realm, object_key: self.object.as_bytes() },
            checksum: own,
        };
        let envelope = unlocked.opened.rewrap(&rewrap, EnvelopeSalt::fresh());
        let mut request = UpstreamRequest::new(Method::PUT, &self.bucket, &self.object);
        request.headers = self.copied_headers(&found.metadata)?;
        native::write_keys(&write_key, &envelope, &mut request.headers)?;
        Ok((request, write_key))
    }

    /// The client's headers for the copy, and the source's metadata unless the client replaces them.
    fn copied_headers(&self, metadata: &SourceMetadata) -> Result<HeaderMap> {
        if self.metadata == Directive::Replace {
            return Ok(self.headers.clone());
        }
        if metadata.is_incomplete {
            let message = "The source has metadata that the storage can't give as headers (x-amz-missing-meta); \
                           they would be lost.";
            return Err(S3Error::not_implemented(message).into());
        }
        let own = self.headers.iter().filter(|(name, _)| !headers::is_copied_metadata(name));
        Ok(own.chain(&metadata.headers).map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Sets the headers that name the source and pin it to the ETag that was examined.
    fn name_source(&self, found: &NativeSource, headers: &mut HeaderMap) {
        let source = HeaderValue::try_from(self.source.named.to_header()).expect("it is percent-encoded");
        headers.insert(COPY_SOURCE, source);
        headers.insert(COPY_SOURCE_IF_MATCH, found.etag.clone());
        if let Some(owner) = &self.source_owner {
            headers.insert(HeaderName::from_static(SOURCE_OWNER), owner.clone());
        }
    }
}

/// The checksums in the response to a copy: the copy's own one, else those that are kept from the source.
fn response_checksums(
    unlocked: &OpenedNative,
    own: Option<Checksum>,
    layout: Option<&ProvenLayout>,
) -> Result<Vec<ObjectChecksum>> {
    match own {
        Some(own) => Ok(vec![own.into()]),
        None => Ok(checksums::kept_checksums(&unlocked.opened.attributes, layout)?),
    }
}

/// Whether a condition did not hold: that the source is the one that was examined, or one of the client's.
fn is_unmet(error: &Error) -> bool {
    error.refusal_status() == Some(StatusCode::PRECONDITION_FAILED)
}

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
