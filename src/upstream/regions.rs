//! The regions of buckets: what a storage's redirects and refusals say about them, and which address and
//! signature each region needs.
//!
//! It must not know operations or send requests. It promises that a request goes to no other host than the
//! configured one, or AWS's own for a region of the configured partition, whatever a response says; and that
//! what it keeps is bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::BytesMut;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::address::Address;
use super::error::UpstreamSetupError;
use super::settings::Target;
use super::{BoxBody, UpstreamError};
use crate::s3::xml::{self, MAX_ERROR_DOCUMENT};
use crate::s3::{BucketName, ErrorCode, ObjectKey};
use crate::sigv4::Signer;

/// The header that names the region of a bucket.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// Buckets whose region is remembered. With more, all are forgotten and learned again.
const MAX_BUCKETS: usize = 10_000;

/// Max length of a region's name: AWS's longest has 14 characters.
const MAX_REGION: usize = 64;

/// The error code of a request that was signed for another region than the storage expects; `<Region>` is
/// the expected one.
const MALFORMED: ErrorCode = ErrorCode::AuthorizationHeaderMalformed;

/// The error code of a request to a region that its account has to enable, for a bucket of another one.
const INCOMPATIBLE: &str = "IllegalLocationConstraintException";

/// Where requests for one region go, and how they are signed.
pub(super) struct Site {
    region: String,
    pub(super) address: Address,
    pub(super) signer: Signer,
}

impl Site {
    fn new(target: &Target, region: &str, path_style: Option<bool>) -> Result<Self, UpstreamSetupError> {
        let address = Address::new(target, region, path_style)?;
        Ok(Self { region: region.to_owned(), address, signer: Signer::new(region) })
    }

    /// The region that requests are signed for.
    pub(super) fn region(&self) -> &str {
        &self.region
    }
}

/// The site of a bucket.
#[derive(Clone)]
pub(super) enum BucketSite {
    /// That of the configured region.
    Home,
    /// That of another region.
    Away(Arc<Site>),
}

/// The sites of one storage.
pub(super) struct Regions {
    target: Target,
    path_style: Option<bool>,
    home: Site,
    known: RwLock<KnownRegions>,
    /// Whether a bucket is known to be in another region. While none is, requests need no lock.
    is_any_away: AtomicBool,
}

#[derive(Default)]
struct KnownRegions {
    buckets: HashMap<BucketName, BucketSite>,
    sites: HashMap<String, Arc<Site>>,
}

impl Regions {
    /// The sites of `target`, whose buckets are in `region` until a response says otherwise.
    ///
    /// # Errors
    /// [`UpstreamSetupError::Endpoint`] and [`UpstreamSetupError::Region`].
    pub(super) fn new(
        target: &Target,
        region: &str,
        path_style: Option<bool>,
    ) -> Result<Self, UpstreamSetupError> {
        Ok(Self {
            target: target.clone(),
            path_style,
            home: Site::new(target, region, path_style)?,
            known: RwLock::default(),
            is_any_away: AtomicBool::new(false),
        })
    }

    /// The site of the configured region.
    pub(super) fn home(&self) -> &Site {
        &self.home
    }

    /// The site that `site` stands for.
    pub(super) fn site<'a>(&'a self, site: &'a BucketSite) -> &'a Site {
        match site {
            BucketSite::Home => &self.home,
            BucketSite::Away(site) => site,
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, KnownRegions> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where requests about a bucket go.
    pub(super) fn for_bucket(&self, bucket: Option<&BucketName>) -> BucketSite {
        match bucket {
            Some(bucket) if self.is_any_away.load(Ordering::Relaxed) => {
                self.known().buckets.get(bucket).cloned().unwrap_or(BucketSite::Home)
            }
            Some(_) | None => BucketSite::Home,
        }
    }

    /// Whether the storage has buckets of several regions, and the bucket's is not known yet.
    pub(super) fn is_unknown(&self, bucket: &BucketName) -> bool {
        self.target == Target::Aws && !self.known().buckets.contains_key(bucket)
    }

    /// Remembers the region of a bucket, and returns its site. `None`, and nothing is remembered, for what
    /// can't be the name of a region, or is one of another partition of AWS.
    pub(super) fn learn(&self, bucket: &BucketName, region: &str) -> Option<BucketSite> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let site = if region == self.home.region {
            BucketSite::Home
        } else if let Some(site) = known.sites.get(region) {
            BucketSite::Away(Arc::clone(site))
        } else {
            BucketSite::Away(Arc::new(self.other_site(region)?))
        };
        if known.buckets.len() >= MAX_BUCKETS && !known.buckets.contains_key(bucket) {
            *known = KnownRegions::default();
        }
        if let BucketSite::Away(site) = &site {
            known.sites.insert(region.to_owned(), Arc::clone(site));
            self.is_any_away.store(true, Ordering::Relaxed);
        }
        known.buckets.insert(bucket.clone(), site.clone());
        Some(site)
    }

    /// Forgets a bucket, which may be created again in another region.
    pub(super) fn forget(&self, bucket: &BucketName) {
        if self.is_any_away.load(Ordering::Relaxed) {
            self.known.write().unwrap_or_else(PoisonError::into_inner).buckets.remove(bucket);
        }
    }

    fn other_site(&self, region: &str) -> Option<Site> {
        let is_name = (1..=MAX_REGION).contains(&region.len())
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let is_here = self.target != Target::Aws || partition(region) == partition(&self.home.region);
        if !is_name || !is_here {
            return None;
        }
        Site::new(&self.target, region, self.path_style).ok()
    }

    /// Whether a response may say that the bucket is in another region. AWS says it in headers or in the
    /// document; of other storages, headers alone are believed.
    pub(super) fn may_redirect(&self, response: &Response<BoxBody>) -> bool {
        is_redirect(response.status())
            && (self.target == Target::Aws || response.headers().contains_key(BUCKET_REGION))
    }
}

/// The part of a region's name by which AWS's partitions differ in their hosts.
fn partition(region: &str) -> bool {
    region.starts_with("cn-")
}

/// 301 PermanentRedirect, 307 TemporaryRedirect, 400 AuthorizationHeaderMalformed; 302 and 308 come from
/// other storages.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 307 | 308 | 400)
}

/// Whether a request makes a bucket: this one is in the region that the request says.
pub(super) fn makes_bucket<Q>(method: &Method, object: Option<&ObjectKey>, query: &[Q]) -> bool {
    *method == Method::PUT && object.is_none() && query.is_empty()
}

/// What a response says about the region of its bucket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RegionHint {
    /// The bucket is in this region.
    Region(String),
    /// The bucket is in another region than the request was for.
    Elsewhere,
    /// Nothing.
    None,
}

/// The region that headers name.
pub(super) fn named_region(headers: &HeaderMap) -> Option<String> {
    headers.get(BUCKET_REGION).and_then(|region| region.to_str().ok()).map(str::to_owned)
}

/// Reads what a response for which [`Regions::may_redirect`] is true says about the region of its bucket.
/// The response is returned whole.
///
/// # Errors
/// [`UpstreamError::Protocol`] when the document breaks off, or is longer than [`MAX_ERROR_DOCUMENT`].
pub(super) async fn region_hint(
    response: Response<BoxBody>,
) -> Result<(Response<BoxBody>, RegionHint), UpstreamError> {
    if let Some(region) = named_region(response.headers()) {
        return Ok((response, RegionHint::Region(region)));
    }
    let (head, mut body) = response.into_parts();
    let mut document = BytesMut::new();
    while let Some(frame) = body.frame().await {
        document.extend_from_slice(&frame.map_err(UpstreamError::Protocol)?.into_data().unwrap_or_default());
        if document.len() > MAX_ERROR_DOCUMENT {
            return Err(UpstreamError::Protocol("an endless error document".into()));
        }
    }
    let is_refusal = head.status == StatusCode::BAD_REQUEST;
    let hint = match xml::parse_error_document(&document) {
        Ok(error) if is_refusal && error.code == INCOMPATIBLE => RegionHint::Elsewhere,
        Ok(error) if is_refusal && error.code != MALFORMED.code() => RegionHint::None,
        Ok(xml::ErrorDocument { region: Some(region), .. }) => RegionHint::Region(region),
        // A response to HEAD has no document.
        Ok(_) | Err(_) if is_refusal && !document.is_empty() => RegionHint::None,
        Ok(_) | Err(_) => RegionHint::Elsewhere,
    };
    let body = Full::new(document.freeze()).map_err(|never| match never {}).boxed_unsync();
    Ok((Response::from_parts(head, body), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(name: &str) -> BucketName {
        BucketName::parse(name).unwrap()
    }

    fn host(regions: &Regions, name: &str) -> String {
        let bucket = bucket(name);
        let site = regions.for_bucket(Some(&bucket));
        let (uri, _) = regions.site(&site).address.locate(Some(&bucket), None, &[]).unwrap();
        uri.host().unwrap().to_owned()
    }

    #[test]
    fn a_bucket_of_another_region_is_at_the_host_of_its_region() {
        let regions = Regions::new(&Target::Aws, "us-east-1", None).unwrap();
        assert_eq!(host(&regions, "b"), "b.s3.us-east-1.amazonaws.com");
        assert!(regions.is_unknown(&bucket("b")));
        regions.learn(&bucket("b"), "eu-west-1").unwrap();
        assert_eq!(host(&regions, "b"), "b.s3.eu-west-1.amazonaws.com");
        assert_eq!(host(&regions, "c"), "c.s3.us-east-1.amazonaws.com");
        assert!(!regions.is_unknown(&bucket("b")) && regions.is_unknown(&bucket("c")));
        regions.learn(&bucket("b"), "us-east-1").unwrap();
        assert_eq!(host(&regions, "b"), "b.s3.us-east-1.amazonaws.com");
        assert!(!regions.is_unknown(&bucket("b")));
        regions.forget(&bucket("b"));
        assert!(regions.is_unknown(&bucket("b")));
    }

    #[test]
    fn no_response_leads_to_a_host_that_is_not_of_aws() {
        let regions = Regions::new(&Target::Aws, "us-east-1", None).unwrap();
        let long = "a".repeat(MAX_REGION + 1);
        for region in ["", "evil.example/", "eu-west-1.evil.example", "EU", "cn-north-1", "a@b", &long] {
            assert!(regions.learn(&bucket("b"), region).is_none(), "This is a security issue: {region}.");
            assert_eq!(host(&regions, "b"), "b.s3.us-east-1.amazonaws.com");
        }
        let endpoint = Target::Endpoint("http://one.example:9000".parse().unwrap());
        let regions = Regions::new(&endpoint, "us-east-1", None).unwrap();
        assert!(!regions.is_unknown(&bucket("b")));
        regions.learn(&bucket("b"), "eu-1").unwrap();
        assert_eq!(host(&regions, "b"), "one.example");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let regions = Regions::new(&Target::Aws, "us-east-1", None).unwrap();
        for number in 0..=MAX_BUCKETS {
            regions.learn(&bucket(&format!("b-{number}")), &format!("eu-{}", number % 5000)).unwrap();
        }
        let known = regions.known();
        assert_eq!((known.buckets.len(), known.sites.len()), (1, 1));
    }

    #[tokio::test]
    async fn what_a_response_says_about_the_region() {
        let document = |code: &str, more: &str| format!("<Error><Code>{code}</Code>{more}</Error>");
        let region = "<Region>eu-west-1</Region>";
        let (here, elsewhere) = (RegionHint::Region("eu-west-1".to_owned()), RegionHint::Elsewhere);
        for (status, header, document, expected) in [
            (301, "eu-west-1", document("PermanentRedirect", ""), &here),
            (307, "", document("TemporaryRedirect", "<Endpoint>b.evil.example</Endpoint>"), &elsewhere),
            (301, "", String::new(), &elsewhere),
            (400, "eu-west-1", String::new(), &here),
            (400, "", String::new(), &elsewhere),
            (400, "", document("AuthorizationHeaderMalformed", region), &here),
            (400, "", document("AuthorizationHeaderMalformed", ""), &RegionHint::None),
            (400, "", document("IllegalLocationConstraintException", ""), &elsewhere),
            (400, "", document("InvalidArgument", region), &RegionHint::None),
            (400, "", "<html/>".to_owned(), &RegionHint::None),
        ] {
            let mut response =
                Response::new(Full::from(document.clone()).map_err(|e| match e {}).boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if !header.is_empty() {
                response.headers_mut().insert(BUCKET_REGION, header.parse().unwrap());
            }
            let (response, hint) = region_hint(response).await.unwrap();
            assert_eq!(&hint, expected, "{status} {header} {document}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), document);
        }
    }
}
