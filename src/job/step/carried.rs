//! What an object has beside its content, and that its successor has as well: metadata, storage class,
//! website redirect, lock, tags and grants. It must not know content or keys. It promises that an object
//! whose metadata can't be carried is left alone, and that what the storage kept of them is compared.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ending::Stop;
use super::seen::Seen;
use crate::error::{Error, UnexpectedResponse};
use crate::object::location::ObjectLocation;
use crate::object::upstream_response::{parse_body, refusal};
use crate::s3::{headers, xml};
use crate::upload::Resources;
use crate::upload::tags::object_tags;
use crate::wire::header::TAGGING;

const LOCK_MODE: &str = "x-amz-object-lock-mode";
const LOCK_UNTIL: &str = "x-amz-object-lock-retain-until-date";
const LEGAL_HOLD: &str = "x-amz-object-lock-legal-hold";

/// The headers of an object that a copy does not take from its source by itself. S3 names them alike in
/// requests and responses.
const OWN: [&str; 5] =
    ["x-amz-storage-class", "x-amz-website-redirect-location", LOCK_MODE, LOCK_UNTIL, LEGAL_HOLD];

/// What is carried from an object to its successor.
pub(super) struct Carried {
    /// Metadata, and the headers of [`OWN`].
    headers: HeaderMap,
    /// The grants, as headers; none where the object has but those of every object.
    grants: Vec<(&'static str, String)>,
    /// The tags, encoded as a query; empty for none.
    tags: String,
}

/// How the successor comes to its tags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// The storage copies them with the object.
    Copied,
    /// They are sent with the object.
    Sent,
}

impl Carried {
    /// Reads what `seen`, the object at this location, has beside its content. `metadata` are its headers
    /// without those of its format.
    ///
    /// # Errors
    /// [`Stop::Skipped`] for metadata that the storage can't give as headers; the storage's refusal of the
    /// tags or the ACL.
    pub(super) async fn read(
        resources: &Resources,
        at: &ObjectLocation<'_>,
        metadata: &HeaderMap,
        tags: Tags,
    ) -> Result<Self, Stop> {
        if metadata.contains_key("x-amz-missing-meta") {
            let reason = "it has metadata that the storage can't give as headers (x-amz-missing-meta)";
            return Err(Stop::Skipped(reason.to_owned()));
        }
        let is_carried =
            |name: &HeaderName| headers::is_copied_metadata(name) || OWN.contains(&name.as_str());
        let carried = metadata.iter().filter(|(name, _)| is_carried(name));
        let mut carried: HeaderMap = carried.map(|(name, value)| (name.clone(), value.clone())).collect();
        drop_expired_lock(&mut carried, OffsetDateTime::now_utc());
        let tags = match tags {
            Tags::Copied => String::new(),
            Tags::Sent => object_tags(&resources.upstreams, at)
                .await
                .map_err(|error| Stop::During("reading its tags (s3:GetObjectTagging)", Box::new(error)))?,
        };
        Ok(Self { headers: carried, grants: object_grants(resources, at).await?, tags })
    }

    /// The headers of the request that stores the successor.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut request = self.headers.clone();
        for (name, grantees) in &self.grants {
            let value = HeaderValue::try_from(grantees.as_str()).expect("grantees are visible text");
            request.insert(HeaderName::from_static(name), value);
        }
        if !self.tags.is_empty() {
            let tags = HeaderValue::try_from(self.tags.as_str()).expect("tags are percent-encoded");
            request.insert(HeaderName::from_static(TAGGING), tags);
        }
        request
    }

    /// The first header that the stored successor lacks, or has with another value.
    pub(super) fn first_lost(&self, successor: &Seen) -> Option<&HeaderName> {
        let values = |headers: &HeaderMap, name: &HeaderName| {
            headers.get_all(name).iter().cloned().collect::<Vec<HeaderValue>>()
        };
        self.headers.keys().find(|name| match name.as_str() {
            // Times of one instant may be spelled in several ways.
            LOCK_UNTIL => !successor.headers.contains_key(*name),
            _ => values(&self.headers, name) != values(&successor.headers, name),
        })
    }
}

/// Removes a retention that has ended, which no new object can have.
fn drop_expired_lock(headers: &mut HeaderMap, now: OffsetDateTime) {
    let until = headers.get(LOCK_UNTIL).and_then(|value| value.to_str().ok());
    let until = until.and_then(|value| OffsetDateTime::parse(value, &Rfc3339).ok());
    if until.is_some_and(|until| until <= now) {
        headers.remove(LOCK_MODE);
        headers.remove(LOCK_UNTIL);
    }
}

/// The grants of an object as headers; none where it has but those of every object, or the storage has no
/// ACLs.
async fn object_grants(
    resources: &Resources,
    at: &ObjectLocation<'_>,
) -> Result<Vec<(&'static str, String)>, Stop> {
    if !resources.has_acls(at.bucket).await {
        return Ok(Vec::new());
    }
    let mut request = at.request(Method::GET);
    request.query.push(("acl".to_owned(), None));
    let response = resources.upstreams.fetch(request).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_IMPLEMENTED => {
            resources.acls.note_none(at.bucket).await;
            return Ok(Vec::new());
        }
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => return Ok(Vec::new()),
        _ => {
            return Err(Stop::During("reading its ACL (s3:GetObjectAcl)", Box::new(refusal(response).await)));
        }
    }
    let (body, limit, root) = (response.into_body(), xml::MAX_ACL_DOCUMENT, "AccessControlPolicy");
    parse_body(body, limit, root, xml::grants_to_headers).await.map_err(|error| {
        if matches!(error, Error::UnexpectedResponse(UnexpectedResponse::Document(_))) {
            return Stop::Skipped("its ACL has grants that can't be written with an object".to_owned());
        }
        error.into()
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_retention_that_has_ended_is_not_carried() {
        let now = datetime!(2026-11-29 12:00 UTC);
        for (until, is_kept) in
            [("2026-11-29T12:00:00.000Z", false), ("2026-11-29T12:00:01Z", true), ("nonsense", true)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(LOCK_MODE, HeaderValue::from_static("COMPLIANCE"));
            headers.insert(LOCK_UNTIL, HeaderValue::from_static(until));
            headers.insert(LEGAL_HOLD, HeaderValue::from_static("ON"));
            drop_expired_lock(&mut headers, now);
            assert_eq!(headers.contains_key(LOCK_MODE), is_kept, "{until}");
            assert_eq!(headers.contains_key(LOCK_UNTIL), is_kept, "{until}");
            assert!(headers.contains_key(LEGAL_HOLD));
        }
    }
}
