//! Rewrap: the wrappings of an object's data key are made anew under the holders of its rule. It must not
//! know how a holder wraps. It promises that envelope and content stay byte for byte, and that a row succeeds
//! only if the stored object has the new wrappings, and opens by them where unwrapping is not denied.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Writes;
use super::carried::{Carried, Tags};
use super::ending::{Known, Stop, Success};
use super::in_place::{InPlace, Written, would_be_copied};
use super::part_lengths::{part_lengths, ranges};
use super::rewrap_foreign::rewrap_foreign;
use super::seen::{Restored, Seen, StoredChecksums};
use crate::envelope::native::{FormatError, ObjectName};
use crate::error::{Error, Result};
use crate::job::row::Row;
use crate::keyring::{EncryptionContext, Rewrapping};
use crate::object::foreign::DetectedFormat;
use crate::object::layout::layout_of;
use crate::object::location::ObjectIdentity;
use crate::object::native::NativeMetadata;
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
    writes: Writes<'_>,
    known: &mut Known,
) -> Result<Success, Stop> {
    let rule = resources.policies.for_object(&row.bucket, &row.object_key)?;
    let seen = Seen::newest(resources, row, StoredChecksums::Omitted).await?;
    let stored = match seen.detect(rule, known)? {
        DetectedFormat::Native(stored) => stored,
        DetectedFormat::Foreign(claims) => {
            return Box::pin(rewrap_foreign((resources, row, rule), &seen, claims, writes, known)).await;
        }
    };
    seen.refuse_archived(Restored::Usable)?;
    let context = EncryptionContext::native(rule.realm(&row.bucket));
    let key_id = selected_key(resources, rule, &row.bucket, &HeaderMap::new()).await?;
    let made = resources.keyring.rewrap_for(&rule.keys, key_id.as_ref(), stored.wrappings(), &context).await;
    let made = made.map_err(Stop::NotRewrapped)?;
    known.key_before = Some(made.key_before.as_str().into());
    known.key_after = Some(made.key_after.as_str().into());
    if made.is_unchanged {
        return Ok(Success::Unchanged(String::new()));
    }
    let work = Rewrap { resources, row, rule, seen: &seen, stored: &stored, made };
    work.check_data_key()?;
    let is_multipart = stored.envelope().is_multipart();
    let tags = if is_multipart { Tags::Sent } else { Tags::Copied };
    let carried = Carried::read(resources, &seen.location(row), &seen.headers, tags).await?;
    let entries = work.entries()?;
    let in_place = InPlace { resources, row, seen: &seen, carried: &carried, entries };
    let parts = if is_multipart { Some(work.parts().await?) } else { None };
    let Writes::Copies(copies) = writes else {
        return Ok(would_be_copied(parts.as_ref()));
    };
    let written = in_place.copy(parts.as_ref(), copies).await;
    known.version_after = work.read_back(&in_place, written).await?;
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
        let Rewrapping { wrapped, further, .. } = &self.made;
        let envelope = self.seen.headers[ENCRYPTION_ENVELOPE].clone();
        let mut entries = HeaderMap::from_iter([
            (HeaderName::from_static(ENCRYPTION_KEY), wrapped.header_value().clone()),
            (HeaderName::from_static(ENCRYPTION_ENVELOPE), envelope),
        ]);
        if let Some(further) = further {
            let further = HeaderValue::from_maybe_shared(further.clone()).expect("base64 is a header value");
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
        if self.stored.envelope().has_customer_key() {
            let reason = "customer key: the storage does not tell the lengths of its parts, and its content opens with \
                          a key that its client has";
            return Err(Stop::Skipped(reason.to_owned()));
        }
        let name = (&self.row.bucket, &self.row.object_key);
        let opened = self.stored.unlock(&self.resources.keyring, self.rule, name, None).await?;
        let known = layout_of(self.resources, &at, &identity, &opened.opened.content_key).await?;
        Ok(segments(&known.layout))
    }

    /// Looks at the object that was written, and opens its envelope where the data key is known. Its version,
    /// where the bucket has versions.
    ///
    /// # Errors
    /// As [`InPlace::read_back`]; a wrapping that does not open.
    async fn read_back(
        &self,
        in_place: &InPlace<'_>,
        written: Result<Written, Stop>,
    ) -> Result<Option<String>, Stop> {
        let names = [ENCRYPTION_KEY, ENCRYPTION_ENVELOPE, ENCRYPTION_HOLDERS];
        let now = in_place.read_back(written, &names).await?;
        if self.made.data_key.is_some() {
            let Row { bucket, object_key, .. } = self.row;
            let stored = NativeMetadata::from_headers(&now.headers)?;
            let (keyring, name) = (&self.resources.keyring, (bucket, object_key));
            stored.authenticate(keyring, self.rule, name).await?;
        }
        Ok(now.version_id)
    }
}
