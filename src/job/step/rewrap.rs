//! Rewrap: the wrappings of an object's data key are made anew under the holders of its rule. It must not
//! know how a holder wraps. It promises that envelope and content stay byte for byte, and that a row succeeds
//! only if the stored object has the new wrappings, and opens by them where unwrapping is not denied.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::carried::{Carried, Tags};
use super::ending::{Known, Stop, Success};
use super::in_place::{InPlace, Written};
use super::part_lengths::{part_lengths, ranges};
use super::seen::{Restored, Seen, StoredChecksums};
use crate::envelope::native::{FormatError, ObjectName};
use crate::error::{Error, Result};
use crate::job::row::Row;
use crate::keyring::{EncryptionContext, Rewrapping};
use crate::object::foreign::DetectedFormat;
use crate::object::layout::layout_of;
use crate::object::location::{ObjectIdentity, ObjectLocation};
use crate::object::native::{NativeMetadata, wrapped_key_header};
use crate::object::rule::BucketRule;
use crate::object::selected_key::selected_key;
use crate::s3::headers::{ENCRYPTION_ENVELOPE, ENCRYPTION_HOLDERS, ENCRYPTION_KEY, check_metadata_size};
use crate::upload::Resources;
use crate::upload::part_copies::{PartRanges, segments};

/// The object, and its new wrappings.
struct Rewrap<'a> {
    resources: &'a Resources,
    row: &'a Row,
    rule: &'a BucketRule,
    seen: &'a Seen,
    stored: &'a NativeMetadata,
    made: Rewrapping,
}

pub(super) async fn rewrap(
    resources: &Resources,
    row: &Row,
    dry_run: bool,
    known: &mut Known,
) -> Result<Success, Stop> {
    let rule = resources.policies.for_object(&row.bucket, &row.object_key)?;
    let seen = Seen::newest(resources, row, StoredChecksums::Omitted).await?;
    let stored = match seen.detect(rule, known)? {
        DetectedFormat::Native(stored) => stored,
        DetectedFormat::Foreign(other) => {
            let format = other.format().name();
            return Err(Stop::Skipped(format!(
                "its format is {format}, which has no wrapping that is made anew; `encrypt` stores it in another \
                 format"
            )));
        }
    };
    seen.refuse_archived(Restored::Usable)?;
    let context = EncryptionContext::native(rule.realm(&row.bucket));
    let key_id = selected_key(resources, rule, &row.bucket, &HeaderMap::new()).await?;
    let made = resources.keyring.rewrap_for(&rule.keys, key_id.as_ref(), stored.wrappings(), &context).await;
    let made = made.map_err(Stop::NotRewrapped)?;
    known.key_before = Some(made.key_before.clone());
    known.key_after = Some(made.key_after.clone());
    if made.is_unchanged {
        return Ok(Success::Unchanged(String::new()));
    }
    let work = Rewrap { resources, row, rule, seen: &seen, stored: &stored, made };
    work.check_data_key()?;
    let is_multipart = stored.envelope().is_multipart();
    let tags = if is_multipart { Tags::Sent } else { Tags::Copied };
    let carried = Carried::read(resources, &seen.location(row), &seen.headers, tags).await?;
    let entries = work.entries()?;
    let in_place = InPlace { resources, row, seen: &seen, carried: &carried, entries: entries.clone() };
    let parts = if is_multipart { Some(work.parts().await?) } else { None };
    if dry_run {
        let parts = parts.map_or(String::new(), |parts| format!(" of {} parts", parts.len()));
        return Ok(Success::Done(format!("would be copied onto itself{parts} with new wrappings")));
    }
    let written = match &parts {
        Some(parts) => in_place.copy_parts(parts).await,
        None => in_place.copy_whole().await,
    };
    let version = work.read_back(written, &carried, &entries).await?;
    known.version_after = version;
    Ok(Success::Done(String::new()))
}

impl Rewrap<'_> {
    /// Checks that the data key is the object's, where it was unwrapped: a storage that exchanged the
    /// wrapping must not have another data key wrapped for further holders.
    fn check_data_key(&self) -> Result<(), Stop> {
        let Some(data_key) = &self.made.data_key else { return Ok(()) };
        let Row { bucket, object_key, .. } = self.row;
        let name = ObjectName { realm: self.rule.realm(bucket), object_key: object_key.as_bytes() };
        if self.stored.envelope().is_committed(data_key, name) {
            return Ok(());
        }
        Err(Stop::NotAuthentic(Error::from(FormatError::Commitment).to_string()))
    }

    /// The metadata entries of the object: the new wrappings, and its envelope as it is.
    ///
    /// # Errors
    /// `MetadataTooLarge`, if the object's own metadata leave too little room.
    fn entries(&self) -> Result<HeaderMap, Stop> {
        const BASE64: &str = "base64 is a header value";
        let Rewrapping { wrapped, further, .. } = &self.made;
        let envelope = self.seen.headers[ENCRYPTION_ENVELOPE].clone();
        let wrapped = HeaderValue::try_from(wrapped_key_header(wrapped)).expect(BASE64);
        let mut entries = HeaderMap::from_iter([
            (HeaderName::from_static(ENCRYPTION_KEY), wrapped),
            (HeaderName::from_static(ENCRYPTION_ENVELOPE), envelope),
        ]);
        if let Some(further) = further {
            let further = HeaderValue::from_maybe_shared(further.clone()).expect(BASE64);
            entries.insert(HeaderName::from_static(ENCRYPTION_HOLDERS), further);
        }
        let mut all = self.seen.headers.clone();
        all.remove(ENCRYPTION_HOLDERS);
        all.extend(entries.clone());
        check_metadata_size(&all)?;
        Ok(entries)
    }

    /// The ranges of the stored parts: as the storage tells them, else by the layout, for which the object
    /// has to be opened.
    async fn parts(&self) -> Result<PartRanges, Stop> {
        let at = self.seen.location(self.row);
        let identity = ObjectIdentity::from_headers(&self.seen.headers, self.stored, self.seen.stored)?;
        if let Some(count) = identity.parts()
            && let Some(lengths) = part_lengths(self.resources, self.row, self.seen, count).await?
        {
            return Ok(ranges(&lengths));
        }
        let Row { bucket, object_key, .. } = self.row;
        let opened = self.stored.unlock(&self.resources.keyring, self.rule, bucket, object_key).await?;
        let known = layout_of(self.resources, &at, &identity, &opened.opened.content_key).await?;
        Ok(segments(&known.layout))
    }

    /// Looks at the object that was written. Its version, where the bucket has versions.
    ///
    /// # Errors
    /// The error of the write, if it was not carried out; [`Stop::Refused`] if the storage stored something
    /// else than it was given; [`Stop::Raced`] if another object has taken its place.
    async fn read_back(
        &self,
        written: Result<Written, Stop>,
        carried: &Carried,
        entries: &HeaderMap,
    ) -> Result<Option<String>, Stop> {
        let (written, trouble) = match written {
            Ok(written) => (written, None),
            Err(raced @ Stop::Raced(_)) => return Err(raced),
            // A response may have been lost, and the repeated request be refused because of the first one.
            Err(stop) => (Written::default(), Some(stop)),
        };
        let Row { bucket, object_key, .. } = self.row;
        let version_id = written.version_id.as_deref();
        let at = ObjectLocation { bucket, object_key, version_id, headers: HeaderMap::new() };
        let (now, trouble) = match (Seen::at(self.resources, &at).await, trouble) {
            (Ok(now), trouble) => (now, trouble),
            (Err(_), Some(trouble)) => return Err(trouble),
            (Err(failure), None) => return Err(failure),
        };
        let names = [ENCRYPTION_KEY, ENCRYPTION_ENVELOPE, ENCRYPTION_HOLDERS];
        let other = names.into_iter().find(|name| now.headers.get(*name) != entries.get(*name));
        if let (Some(_), Some(trouble)) = (other, trouble) {
            return Err(trouble);
        }
        let other = other.map(str::to_owned).or_else(|| carried.first_lost(&now).map(ToString::to_string));
        let other = other.or_else(|| (now.stored != self.seen.stored).then(|| "Content-Length".to_owned()));
        let other = other.or_else(|| (now.parts() != self.seen.parts()).then(|| "ETag".to_owned()));
        if let Some(other) = other {
            return Err(written.differs(&now, &other));
        }
        if self.made.data_key.is_some() {
            let stored = NativeMetadata::from_headers(&now.headers)?;
            stored.unlock(&self.resources.keyring, self.rule, bucket, object_key).await?;
        }
        Ok(now.version_id)
    }
}
