//! Seals and stores a new object, for every operation that writes objects.
//!
//! It must not know operations, nor where a plaintext comes from. No plaintext reaches the storage, and what
//! is stored can be opened under the object's own name only, as far as its format binds names.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response};

use super::lost_response::{Sent, send_write};
use super::plaintext::Plaintext;
use super::rule::BucketRule;
use super::rule::counted::count_sealed;
use super::rule::formats::{Multipart, WriteFormat};
use super::selected_key::selected_key;
use super::{foreign, native, response_headers, upstream_response};
use crate::body::{BoxBody, IngestBody, SealBody, boxed};
use crate::envelope::native::{
    Attributes, BodyKind, CHUNK, ChunkSealer, Entropy, Envelope, EnvelopeKeys, ObjectName, SEALED_CHUNK,
    SealRequest, Sealed, SseAlgorithm, TAG, ciphertext_length,
};
use crate::error::Error;
use crate::keyring::{EncryptionContext, KeyId, WriteKey};
use crate::object::Resources;
use crate::s3::headers::{self, CustomerKeys, SseRequest};
use crate::s3::{
    BucketName, ChecksumAlgorithm, CustomerKey, DeclaredIntegrity, EtagStyle, Hashed, ObjectKey, S3Error,
};
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// Maximum bytes of a body that is buffered: one chunk. A buffered body is verified before any byte is sent,
/// so an invalid request costs the storage nothing, and a request that the storage can't serve now can be
/// sent again.
pub(crate) const BUFFERED: u64 = CHUNK as u64;

/// Makes the body compute S3's default checksum where the client declared no checksum.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
pub(crate) fn or_default(body: IngestBody, promised: &DeclaredIntegrity) -> IngestBody {
    match promised.algorithm() {
        Some(_) => body,
        None => body.computing(ChecksumAlgorithm::DEFAULT),
    }
}

/// A new object: its name, rule and key, and the headers that are stored with its ciphertext.
pub(crate) struct NewObject<'a> {
    rule: &'a BucketRule,
    bucket: &'a BucketName,
    object_key: &'a ObjectKey,
    key_id: Option<KeyId>,
    customer_key: Option<CustomerKey>,
    /// The algorithm that response headers report, for an object in the native format.
    pub(crate) sse: SseAlgorithm,
    /// The client's headers that are sent upstream.
    pub(crate) headers: HeaderMap,
}

impl<'a> NewObject<'a> {
    /// An object that is stored by a client's request with these headers and customer keys.
    ///
    /// # Errors
    /// When no rule serves the name, the rule does not allow the requested key, or a header requests a
    /// feature that is not implemented.
    pub(crate) async fn new(
        resources: &'a Resources,
        bucket: &'a BucketName,
        object_key: &'a ObjectKey,
        (request, customer_keys): (&HeaderMap, &CustomerKeys),
    ) -> Result<Self, Error> {
        let rule = resources.policies.for_object(bucket, object_key)?;
        foreign::refuse_reserved(rule, request)?;
        let key_id = selected_key(resources, rule, bucket, request).await?;
        let customer_key = customer_keys.object.clone();
        let sse = requested_sse(request, customer_key.as_ref())?;
        let headers = headers::put_headers(request)?;
        Ok(Self { rule, bucket, object_key, key_id, customer_key, sse, headers })
    }

    /// A copy under this rule and key, with the headers that are sent upstream.
    ///
    /// # Errors
    /// `InvalidArgument` when the metadata would be read as those of the written format.
    pub(crate) fn for_copy(
        (bucket, object_key): (&'a BucketName, &'a ObjectKey),
        rule: &'a BucketRule,
        (key_id, customer_key, sse): (Option<KeyId>, Option<CustomerKey>, SseAlgorithm),
        headers: HeaderMap,
    ) -> Result<Self, Error> {
        foreign::refuse_reserved(rule, &headers)?;
        Ok(Self { rule, bucket, object_key, key_id, customer_key, sse, headers })
    }

    /// Seals the plaintext and stores it by one PUT. Returns the response for the client.
    pub(crate) async fn put(
        mut self,
        resources: &Resources,
        plaintext: Plaintext,
    ) -> Result<Response<BoxBody>, Error> {
        refuse_customer_key(self.rule.formats.write, self.customer_key.as_ref())?;
        let mut headers = std::mem::take(&mut self.headers);
        let (sse, key_id, body) = match (foreign::Target::from_format(self.rule.formats.write), plaintext) {
            (Some(target), plaintext) => {
                let key_id = self.key_id.as_ref();
                let sealing = foreign::seal(resources, self.rule, target, key_id, plaintext, &mut headers);
                let (body, key_id) = Box::pin(sealing).await?;
                // Foreign formats can't record another algorithm.
                (SseAlgorithm::AwsKms, key_id, body)
            }
            (None, Plaintext::Whole(plaintext, checksums)) => {
                let plaintext_length = plaintext.len() as u64;
                let write_key = self.write_key(resources, plaintext_length).await?;
                let attributes = Attributes::new(checksums);
                let kind = BodyKind::Put { plaintext_length };
                let sealed = self.seal(&write_key, kind, &attributes, &mut headers)?;
                let chunks = ChunkSealer::for_put(&sealed.content_key);
                let body = UpstreamBody::Content(seal_whole(&[], chunks, plaintext));
                (self.sse, Some(write_key.key_id), body)
            }
            (None, Plaintext::Streaming(body, length, checksums)) => {
                let write_key = self.write_key(resources, length).await?;
                let attributes = Attributes::new(checksums);
                let kind = BodyKind::Put { plaintext_length: length };
                let sealed = self.seal(&write_key, kind, &attributes, &mut headers)?;
                let body = boxed(SealBody::new(body, length, ChunkSealer::for_put(&sealed.content_key)));
                let length = ciphertext_length(length).expect("it was compared with 5 GiB");
                (self.sse, Some(write_key.key_id), UpstreamBody::StreamedContent { body, length })
            }
        };
        let request = UpstreamRequest { headers, body, ..self.request(Method::PUT) };
        let response = match send_write(&resources.upstreams, request).await? {
            Sent::Response(response) => response,
            Sent::Found(written) => written.put_response()?,
        };
        let mut response = upstream_response::pass(response).await?;
        count_sealed(self.rule.formats.write);
        let hashed = if key_id.is_some() { Hashed::Ciphertext } else { Hashed::Plaintext };
        if let Some(key_id) = key_id {
            response_headers::set_sse(response.headers_mut(), sse, Some(&key_id));
        }
        response_headers::set_etag(response.headers_mut(), self.rule.etag, hashed);
        Ok(response)
    }

    /// The style in which clients see the object's ETag.
    pub(crate) fn etag_style(&self) -> EtagStyle {
        self.rule.etag
    }

    /// Whether the object may be written in parts, which only the native format has.
    ///
    /// # Errors
    /// `NotImplemented` where the bucket's objects are written in another format.
    pub(crate) fn admit_parts(&self) -> Result<(), Error> {
        admit_parts(self.rule)
    }

    /// A data key for `length` bytes of plaintext of a native object.
    pub(crate) async fn write_key(&self, resources: &Resources, length: u64) -> Result<WriteKey, Error> {
        let context = EncryptionContext::native(self.rule.realm(self.bucket));
        Ok(resources.keyring.for_write(&self.rule.keys, self.key_id.as_ref(), &context, length).await?)
    }

    /// A new request to the storage about this object.
    pub(crate) fn request(&self, method: Method) -> UpstreamRequest {
        UpstreamRequest::new(method, self.bucket, self.object_key)
    }

    /// Seals a new envelope and inserts the metadata entries of a native object into the request.
    pub(crate) fn seal(
        &self,
        write_key: &WriteKey,
        body: BodyKind,
        attributes: &Attributes,
        request: &mut HeaderMap,
    ) -> Result<Sealed, Error> {
        let seal_request = SealRequest {
            keys: EnvelopeKeys { data_key: &write_key.data_key, customer_key: self.customer_key.as_ref() },
            binding: self.rule.binding,
            body,
            sse: self.sse,
            name: ObjectName { realm: self.rule.realm(self.bucket), object_key: self.object_key.as_bytes() },
            attributes,
        };
        let sealed = Envelope::seal(&seal_request, Entropy::fresh());
        native::write_keys(write_key, &sealed.envelope, request)?;
        Ok(sealed)
    }
}

/// Refuses a customer key for an object in a format that has none.
///
/// # Errors
/// `NotImplemented`, which names the format.
pub(crate) fn refuse_customer_key(
    format: WriteFormat,
    customer_key: Option<&CustomerKey>,
) -> Result<(), S3Error> {
    if format == WriteFormat::Native || customer_key.is_none() {
        return Ok(());
    }
    Err(S3Error::not_implemented(format!(
        "The bucket's objects are written in the format \"{}\", which has no customer keys (SSE-C). Send no customer \
         key, or set formats.write = \"native\" in the proxy's configuration.",
        format.name()
    )))
}

/// Whether objects under this rule may be written in parts. With `cbc_multipart = "native"`, uploads to a
/// bucket of the format "cbc" are written as native objects.
///
/// # Errors
/// `NotImplemented` where the bucket's objects are written in a format that has no parts.
pub(crate) fn admit_parts(rule: &BucketRule) -> Result<(), Error> {
    let message = match (rule.formats.write, rule.formats.cbc.multipart) {
        (WriteFormat::Native, _) | (WriteFormat::Cbc, Multipart::Native) => return Ok(()),
        (WriteFormat::Cbc, Multipart::Refuse) => {
            "The bucket's objects are written in the format \"cbc\", which has no parts. Use a single PUT (at \
             most 5 GiB), or set cbc_multipart = \"native\" in the proxy's configuration."
        }
        (WriteFormat::Plaintext, _) => {
            "The bucket's objects are stored as they are (formats.write = \"plaintext\"), by a single PUT (at most 5 GiB). \
             Uploads in parts are not implemented there."
        }
        (WriteFormat::S3ecV2 | WriteFormat::S3ecV3, _) => {
            "The bucket's objects are written in the S3 Encryption Client's format, which is one message with one \
             tag at its end and has no parts. Use a single PUT (at most 5 GiB)."
        }
    };
    Err(S3Error::not_implemented(message).into())
}

/// Seals a buffered plaintext in place into `header | sealed chunks`: the chunks are moved apart to make room
/// for the tags. Allocates nothing if the buffer has the capacity of [`room_to_seal`].
pub(crate) fn seal_whole(header: &[u8], mut chunks: ChunkSealer, mut plaintext: BytesMut) -> Bytes {
    let length = plaintext.len();
    plaintext.resize(room_to_seal(header.len(), length), 0);
    for index in (0..length.div_ceil(CHUNK)).rev() {
        let chunk = index * CHUNK..length.min((index + 1) * CHUNK);
        plaintext.copy_within(chunk, header.len() + index * SEALED_CHUNK);
    }
    plaintext[..header.len()].copy_from_slice(header);

    let mut sealed = plaintext.split_to(header.len());
    while plaintext.len() > SEALED_CHUNK {
        let mut chunk = plaintext.split_to(SEALED_CHUNK);
        chunk.truncate(CHUNK);
        chunks.seal_next(&mut chunk);
        sealed.unsplit(chunk);
    }
    plaintext.truncate(plaintext.len() - TAG);
    chunks.seal_last(&mut plaintext);
    sealed.unsplit(plaintext);
    sealed.freeze()
}

/// The length of `header | sealed chunks` for `length` bytes of plaintext.
pub(crate) fn room_to_seal(header: usize, length: usize) -> usize {
    header + length + TAG * length.div_ceil(CHUNK).max(1)
}

/// The algorithm that response headers report for an object that is stored by a request with these headers
/// and this customer key.
///
/// # Errors
/// The errors of [`headers::sse_request`].
pub(crate) fn requested_sse(
    request: &HeaderMap,
    customer_key: Option<&CustomerKey>,
) -> Result<SseAlgorithm, Error> {
    Ok(match headers::sse_request(request)? {
        _ if customer_key.is_some() => SseAlgorithm::CustomerKey,
        SseRequest::S3Managed => SseAlgorithm::Aes256,
        SseRequest::Kms { .. } | SseRequest::None => SseAlgorithm::AwsKms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{new_object, open_all, pattern};

    #[test]
    fn what_is_sealed_in_place_is_what_chunks_sealed_one_by_one_are() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
            for header in [&b""[..], &[7; 80]] {
                let (content_key, sealer) = new_object();
                let content = pattern(length);
                let mut plaintext = BytesMut::with_capacity(room_to_seal(header.len(), length));
                plaintext.extend_from_slice(&content);
                let before = plaintext.as_ptr();
                let sealed = seal_whole(header, sealer, plaintext);
                assert_eq!(sealed.as_ptr(), before, "it was sealed elsewhere");
                assert_eq!(sealed.len(), room_to_seal(header.len(), length));
                assert_eq!(&sealed[..header.len()], header);
                assert_eq!(open_all(&content_key, &sealed[header.len()..]), content);
            }
        }
    }
}
