//! Seals a new object in the bucket's foreign format, for one PUT.
//!
//! It must not know how the request is sent. It promises that each object has a data key or a random value of
//! its own, and that a client cannot set metadata which a reader would take for the format's.

use std::sync::Arc;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{CBC, S3EC_COMMITTING, S3EC_GCM, is_reserved};
use crate::body::{SealStreamBody, boxed};
use crate::envelope::s3ec::{self, Version};
use crate::envelope::{StreamSealer, article_cbc, fill_random};
use crate::error::Result;
use crate::keyring::{EncryptionContext, KeyId, WriteKey};
use crate::object::Resources;
use crate::object::plaintext::Plaintext;
use crate::object::rule::BucketRule;
use crate::object::rule::formats::WriteFormat;
use crate::s3::{S3Error, headers};
use crate::upstream::UpstreamBody;
use crate::wire::header::METADATA;

/// A foreign format that new objects are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The CBC format of docs/FOREIGN.md.
    Cbc,
    /// The S3 Encryption Client's format, in this version.
    S3ec(Version),
    /// No encryption.
    Plaintext,
}

impl Target {
    /// The foreign target for a configured format; `None` for the native format.
    pub(crate) fn from_format(format: WriteFormat) -> Option<Self> {
        match format {
            WriteFormat::Native => None,
            WriteFormat::Cbc => Some(Self::Cbc),
            WriteFormat::S3ecV2 => Some(Self::S3ec(Version::V2)),
            WriteFormat::S3ecV3 => Some(Self::S3ec(Version::V3)),
            WriteFormat::Plaintext => Some(Self::Plaintext),
        }
    }
}

/// Refuses a client's metadata if a reader would take them for the format's.
///
/// # Errors
/// `InvalidArgument`, which names the metadata entry.
pub(crate) fn refuse_reserved(rule: &BucketRule, request: &HeaderMap) -> Result<()> {
    let written = Target::from_format(rule.formats.write);
    let reserved = request.keys().find(|name| is_reserved(name.as_str()));
    match (written, reserved) {
        (Some(Target::S3ec(_) | Target::Plaintext), Some(name)) => {
            let message = "This metadata name belongs to the format that the bucket's objects are written in";
            Err(S3Error::invalid_argument(name.as_str(), "", message).into())
        }
        (None | Some(_), _) => Ok(()),
    }
}

/// Seals a plaintext and inserts the format's metadata into the request headers. Returns the sealed body and
/// the wrapping key's name; `None` where the rule stores objects unencrypted.
///
/// # Errors
/// An error of the keyring when no data key can be had.
pub(crate) async fn seal(
    resources: &Resources,
    rule: &BucketRule,
    target: Target,
    key_id: Option<&KeyId>,
    plaintext: Plaintext,
    request: &mut HeaderMap,
) -> Result<(UpstreamBody, Option<Arc<str>>)> {
    let length = match &plaintext {
        Plaintext::Whole(content, _) => content.len() as u64,
        Plaintext::Streaming(_, length, _) => *length,
    };
    let (sealer, stored_length, key_id) = match target {
        Target::Cbc => seal_cbc(resources, rule, key_id, length, request).await?,
        Target::S3ec(version) => seal_s3ec(resources, rule, version, key_id, length, request).await?,
        Target::Plaintext => {
            let body = match plaintext {
                Plaintext::Whole(content, _) => UpstreamBody::Content(content.freeze()),
                Plaintext::Streaming(body, length, _) => UpstreamBody::StreamedContent { body, length },
            };
            return Ok((body, None));
        }
    };
    let body = match plaintext {
        Plaintext::Whole(content, _) => UpstreamBody::Content(seal_whole(sealer, &content).freeze()),
        Plaintext::Streaming(body, _, _) => {
            let body = boxed(SealStreamBody::new(body, sealer, stored_length));
            UpstreamBody::StreamedContent { body, length: stored_length }
        }
    };
    Ok((body, Some(key_id)))
}

fn seal_whole(mut sealer: StreamSealer, plaintext: &[u8]) -> BytesMut {
    let mut sealed = BytesMut::with_capacity(plaintext.len() + 2 * article_cbc::IV);
    sealer.update(plaintext, &mut sealed);
    sealer.finish(&mut sealed);
    sealed
}

async fn seal_cbc(
    resources: &Resources,
    rule: &BucketRule,
    key_id: Option<&KeyId>,
    length: u64,
    request: &mut HeaderMap,
) -> Result<(StreamSealer, u64, Arc<str>)> {
    let context = EncryptionContext::from_pairs::<&str, &str>([]);
    let write_key = resources.keyring.for_one_object(CBC, &rule.keys, key_id, &context).await?;
    let WriteKey { data_key, wrapped, key_id, .. } = write_key;
    request.insert(headers::ENCRYPTION_KEY, wrapped.header_value().clone());
    request.insert(headers::ENCRYPTION_LENGTH, HeaderValue::from(length));
    let sealer = article_cbc::sealer(&data_key, &random(), rule.formats.cbc.padding);
    let stored = article_cbc::ciphertext_length(length).expect("objects are at most 5 GiB long");
    Ok((sealer, stored, key_id))
}

async fn seal_s3ec(
    resources: &Resources,
    rule: &BucketRule,
    version: Version,
    key_id: Option<&KeyId>,
    length: u64,
    request: &mut HeaderMap,
) -> Result<(StreamSealer, u64, Arc<str>)> {
    let pairs = version.context(&rule.formats.s3ec.context);
    let context = EncryptionContext::from_pairs(pairs.clone());
    let keyring = &resources.keyring;
    let WriteKey { data_key, wrapped, key_id, .. } = match version {
        Version::V2 => keyring.for_one_object(S3EC_GCM, &rule.keys, key_id, &context).await?,
        Version::V3 => keyring.for_write_as(S3EC_COMMITTING, &rule.keys, key_id, &context, length).await?,
    };
    let new = s3ec::NewObject::new(version, &data_key, &wrapped, &pairs, &random());
    let s3ec::NewObject { entries, sealer } = new;
    for (name, value) in entries {
        let name = HeaderName::try_from(format!("{METADATA}{name}")).expect("the format's names are headers");
        request.insert(name, visible(&value));
    }
    let stored = s3ec::ciphertext_length(length).expect("objects are at most 5 GiB long");
    Ok((sealer, stored, key_id))
}

fn visible(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("base64, digits and escaped JSON are a header value")
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}
