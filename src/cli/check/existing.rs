//! Whether the objects that a bucket holds already can be opened under the configured keys: a keyring that
//! was lost or mixed up makes only new objects readable. It must not know how an object's body is read. It
//! promises to read metadata only, of the first objects of the bucket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};

use super::report::Finding;
use super::trial::PREFIX;
use crate::cli::dependencies::{Dependencies, DependencyError};
use crate::error::{Error, with_causes};
use crate::object::foreign::{StoredFormat, unlock_stored};
use crate::operation::Resources;
use crate::s3::xml::{ListRewriter, ListingPiece, NameEncoding};
use crate::s3::{BucketName, ObjectKey};
use crate::upstream::UpstreamRequest;

/// The number of objects that are listed.
const MAX_LISTED: usize = 20;

/// The time within which further objects are tried, if those before are of formats without a key.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Tries to unlock the first objects of `bucket` until one is unlocked, or its key is refused.
///
/// # Errors
/// The storage's failure.
pub(super) async fn existing(
    resources: &Resources,
    dependencies: &Dependencies,
    bucket: &BucketName,
) -> Result<Finding, DependencyError> {
    let Some(storage) = dependencies.storages().first() else {
        return Ok(Finding::skipped("there is no storage"));
    };
    let mut listing = UpstreamRequest::new(Method::GET, bucket, None);
    listing.query = vec![
        ("list-type".to_owned(), Some("2".to_owned())),
        ("max-keys".to_owned(), Some(MAX_LISTED.to_string())),
    ];
    let Some((_, document)) = storage.read(listing).await? else {
        return Ok(Finding::skipped("the bucket can't be listed with the proxy's role"));
    };
    let deadline = Instant::now() + MAX_TIME;
    for object_key in object_keys(&document) {
        if Instant::now() > deadline {
            break;
        }
        let head = UpstreamRequest::new(Method::HEAD, bucket, &object_key);
        let Some((headers, _)) = storage.read(head).await? else { continue };
        match unlock(resources, bucket, &object_key, &headers).await {
            Ok(Some(key_id)) => {
                return Ok(Finding::good(format!("{} opens under {key_id}", object_key.as_str())));
            }
            Ok(None) => {}
            Err(Error::Keyring(error)) => {
                let why = with_causes(&error);
                return Ok(Finding::failed(format!("{} does not open: {why}", object_key.as_str())));
            }
            // An object that is damaged, or of a format that the rule does not read, says nothing about keys.
            Err(_) => {}
        }
    }
    Ok(Finding::skipped("none that could show whether the keys are the right ones"))
}

/// The keys of a listing's objects, without those of other checks.
fn object_keys(document: &[u8]) -> Vec<ObjectKey> {
    let mut rewriter = ListRewriter::new(NameEncoding::Verbatim);
    rewriter.push(document);
    let mut keys = Vec::new();
    while let Ok(Some(piece)) = rewriter.next_piece() {
        match piece {
            ListingPiece::Entry(entry) if !entry.object().contains(PREFIX) => keys.push(entry.object_key()),
            ListingPiece::Entry(_) | ListingPiece::Passed(_) => {}
        }
    }
    keys
}

/// The key that unlocks an object; `None` if the object has none.
async fn unlock(
    resources: &Resources,
    bucket: &BucketName,
    object_key: &ObjectKey,
    headers: &HeaderMap,
) -> Result<Option<Arc<str>>, Error> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let rule = resources.policies.for_object(bucket, object_key)?;
    let length = length.unwrap_or_default();
    match unlock_stored(resources, bucket, object_key, headers, length).await? {
        StoredFormat::Foreign(object) => Ok(object.key_id),
        StoredFormat::Native(stored) => {
            Ok(Some(stored.authenticate(&resources.keyring, rule, (bucket, object_key)).await?))
        }
    }
}
