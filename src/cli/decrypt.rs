//! `decrypt`: decrypts a stored object from files, with the keyring or a recovery key and without proxy or
//! storage.
//! It must not know how an object is fetched.
//! It promises to write only authenticated bytes, except for formats without authentication.

mod foreign;
mod recovery;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Decrypt, Failure, startup};
use crate::body::BoxOpener;
use crate::config::Config;
use crate::envelope::native::multipart::{BodyClaim, MultipartOpener};
use crate::envelope::native::{ChunkOpener, FormatError, Opened};
use crate::error::with_causes;
use crate::object::foreign::{StoredFormat, unlock_files};
use crate::object::rule::Policies;
use crate::s3::{BucketName, ObjectKey, S3Error};

/// Writes the plaintext to `output`. A native object is written chunk by chunk, each after its
/// authentication; a message of the S3 Encryption Client after the authentication of the whole message. Other
/// formats are not authenticated.
///
/// # Errors
/// [`Failure::Unavailable`] if the object is not authentic or its key is not available. The bytes
/// written until then are authentic but incomplete.
pub async fn decrypt(config: Config, arguments: &Decrypt, output: &mut dyn Write) -> Result<(), Failure> {
    let keyring = startup::keyring(config.keyring).await?;
    let policies = Policies::new(config.buckets);
    let (bucket, object_key) = name(arguments)?;
    let rule =
        policies.for_object(&bucket, &object_key).map_err(|error| Failure::Usage(error.to_string()))?;

    let (body, length) = stored_body(arguments)?;
    let file = arguments.instruction_file.as_deref().map(std::fs::read).transpose();
    let file = file.map_err(failed("reading the instruction file"))?;
    let metadata = metadata(arguments)?;
    let found = unlock_files(&keyring, rule, &metadata, file.as_deref(), length).await;
    let stored = match found.map_err(refused)? {
        StoredFormat::Native(stored) => stored,
        StoredFormat::Foreign(object) => return foreign::open(&object.content, body, length, output),
    };
    let unlocked = stored.unlock(&keyring, rule, (&bucket, &object_key), None).await.map_err(refused)?;

    let opener = opener(unlocked.opened, length).map_err(refused)?;
    write_plaintext(opener, body, output)
}

/// Writes the plaintext of a native object to `output` as [`decrypt`] does, by the recovery key in `file`:
/// no configuration, keyring or network is needed.
///
/// # Errors
/// [`Failure::Unavailable`] if the object is not authentic, or has no entry that the key opens.
pub fn decrypt_by_recovery_key(
    file: &Path,
    arguments: &Decrypt,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let private_key = recovery::read_private_key(file)?;
    let (bucket, object_key) = name(arguments)?;
    let (body, length) = stored_body(arguments)?;
    let metadata = metadata(arguments)?;
    let object = recovery::Object {
        metadata: &metadata,
        realm: arguments.realm.as_deref().unwrap_or(bucket.as_str()),
        object_key: &object_key,
        least_binding: arguments.binding,
    };
    let opened = object.unlock(file, &private_key)?;
    write_plaintext(opener(opened, length).map_err(refused)?, body, output)
}

fn name(arguments: &Decrypt) -> Result<(BucketName, ObjectKey), Failure> {
    let bucket = BucketName::parse(arguments.bucket.clone());
    let object_key = ObjectKey::parse(arguments.object_key.clone());
    let usage = |error: S3Error| Failure::Usage(error.message.into());
    Ok((bucket.map_err(usage)?, object_key.map_err(usage)?))
}

fn stored_body(arguments: &Decrypt) -> Result<(File, u64), Failure> {
    let body = File::open(&arguments.body).map_err(failed("opening the body"))?;
    let length = body.metadata().map_err(failed("reading the body's length"))?.len();
    Ok((body, length))
}

/// Writes chunk by chunk, each after its authentication.
fn write_plaintext(mut opener: BoxOpener, body: File, output: &mut dyn Write) -> Result<(), Failure> {
    let mut body = BufReader::new(body);
    while let Some(length) = opener.next_length() {
        let mut piece = BytesMut::zeroed(length);
        match body.read_exact(&mut piece) {
            Err(cut) if cut.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(refused(FormatError::BodyLength));
            }
            outcome => outcome.map_err(failed("reading the body"))?,
        }
        opener.open_next(&mut piece).map_err(refused)?;
        output.write_all(&piece).map_err(failed("writing the plaintext"))?;
    }
    output.flush().map_err(failed("writing the plaintext"))
}

/// The failure for an object that is not authentic, or whose key is not available.
fn refused(error: impl std::error::Error) -> Failure {
    Failure::Unavailable(with_causes(&error))
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::Io { action: action.to_owned(), source }
}

/// Opener for a whole stored body of `length` bytes, which the envelope of one PUT must name (F-24); the part
/// count of an upload is read from the body.
fn opener(opened: Opened, length: u64) -> Result<BoxOpener, FormatError> {
    if let Some(plaintext_length) = opened.body.put_length(length)? {
        return Ok(Box::new(ChunkOpener::for_put(&opened.content_key, plaintext_length, 0)?));
    }
    let claim = BodyClaim { ciphertext_total: length, parts: None };
    Ok(Box::new(MultipartOpener::new(Arc::new(opened.content_key), claim, None)?))
}

/// Reads the metadata as headers. Names may have their `x-amz-meta-` prefix or not.
fn metadata(arguments: &Decrypt) -> Result<HeaderMap, Failure> {
    let text = std::fs::read_to_string(&arguments.metadata).map_err(failed("reading the metadata"))?;
    let usage = |why: String| Failure::Usage(format!("{}: {why}", arguments.metadata.display()));
    let entries: BTreeMap<String, String> = serde_json::from_str(&text)
        .map_err(|error| usage(format!("must be a JSON object of strings ({error})")))?;
    let mut headers = HeaderMap::new();
    for (name, value) in entries {
        let name = name.to_ascii_lowercase();
        let name = if name.starts_with("x-amz-meta-") { name } else { format!("x-amz-meta-{name}") };
        let name = HeaderName::try_from(name).map_err(|error| usage(error.to_string()))?;
        headers.append(name, HeaderValue::try_from(value).map_err(|error| usage(error.to_string()))?);
    }
    Ok(headers)
}
