//! One storage, and requests that show whether it works: a listing of buckets, HEAD of a bucket.
//! It must not know the key service, nor what follows from a failure.
//! It promises to take nothing for S3 that does not respond as S3 does.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, Method, StatusCode};

use super::DependencyError;
use crate::body::read_bounded;
use crate::error::with_causes;
use crate::s3::{BucketName, xml};
use crate::upstream::{Settings, Target, Upstream, UpstreamRequest, Upstreams};

/// A listing of 10,000 buckets, the most that AWS gives an account, has under 2 MiB.
const MAX_LISTING: usize = 8 << 20;

/// Maximum number of characters that are shown of what is no S3 document.
const SHOWN_BODY: usize = 60;

/// The name of a storage, and its address in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageName {
    /// The name in the configuration.
    pub name: String,
    /// The address: `http://127.0.0.1:9000 (us-east-1)`.
    pub place: String,
    trusts_a_file: bool,
}

impl StorageName {
    /// The name of a storage with these settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            name: settings.name.clone(),
            place: place(settings),
            trusts_a_file: settings.extra_root_ca.is_some(),
        }
    }
}

pub(super) fn place(settings: &Settings) -> String {
    match &settings.target {
        Target::Embedded { path } => format!("embedded store in {}", path.display()),
        Target::Endpoint(endpoint) => {
            format!("{} ({})", endpoint.to_string().trim_end_matches('/'), settings.region)
        }
        Target::Aws => format!("AWS S3 in {}", settings.region),
    }
}

/// The storage in words, for the log.
pub(super) fn line(settings: &Settings) -> String {
    let is_trial = matches!(settings.target, Target::Embedded { .. });
    place(settings) + if is_trial { ", for trying it out" } else { "" }
}

/// The response of a working storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageStatus {
    /// The response in words: `lists its buckets`.
    pub text: &'static str,
    /// Whether the storage works, but responds with `SlowDown`.
    pub is_throttling: bool,
    /// The `Date` of the response.
    pub date: Option<SystemTime>,
}

/// A storage, ready for checks.
pub struct Storage {
    name: StorageName,
    upstream: Upstream,
    /// All storages, for requests about buckets, which this one may have under other names.
    upstreams: Upstreams,
}

impl Storage {
    /// A storage behind `upstream`, which is one of `upstreams`.
    pub fn new(name: StorageName, upstream: Upstream, upstreams: Upstreams) -> Self {
        Self { name, upstream, upstreams }
    }

    /// The name of the storage.
    pub fn name(&self) -> &StorageName {
        &self.name
    }

    /// Lists the buckets. A storage that denies only this to the proxy's role works too.
    pub async fn probe(&self) -> Result<StorageStatus, DependencyError> {
        let (status, headers, body) = self.send(UpstreamRequest::new(Method::GET, None, None)).await?;
        self.judge(status, &headers, &body)
    }

    /// The status of a HEAD request for a bucket.
    pub async fn bucket(&self, bucket: &BucketName) -> Result<StatusCode, DependencyError> {
        self.send(UpstreamRequest::new(Method::HEAD, bucket, None)).await.map(|(status, _, _)| status)
    }

    /// The body of a successful response to a request about objects, or `None` for any other status.
    pub async fn read(
        &self,
        request: UpstreamRequest,
    ) -> Result<Option<(HeaderMap, Bytes)>, DependencyError> {
        let (status, headers, body) = self.send(request).await?;
        Ok(status.is_success().then_some((headers, body)))
    }

    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<StorageStatus, DependencyError> {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let found = |text| StorageStatus { text, is_throttling: false, date };
        if status.is_success() {
            return match xml::retain_buckets(body, |_| true) {
                Ok(_) => Ok(found("lists its buckets")),
                Err(_) => Err(self.not_s3(status, headers, body)),
            };
        }
        let Ok(document) = xml::parse_error_document(body) else {
            return Err(self.not_s3(status, headers, body));
        };
        match document.code.as_str() {
            "AccessDenied" => Ok(found("responds; the proxy's role may not list buckets, and need not")),
            "NotImplemented" | "MethodNotAllowed" => Ok(found("responds; it has no listing of buckets")),
            "SlowDown" => Ok(StorageStatus { is_throttling: true, ..found("asks for fewer requests") }),
            _ => Err(self.refused(status, &document)),
        }
    }

    async fn send(
        &self,
        request: UpstreamRequest,
    ) -> Result<(StatusCode, HeaderMap, Bytes), DependencyError> {
        let place = &self.name.place;
        let sent = match &request.bucket {
            Some(_) => self.upstreams.send(request).await,
            None => self.upstream.send(request).await,
        };
        let response = sent.map_err(|error| {
            let advice = error.advice(self.name.trusts_a_file);
            let advice = advice.map_or_else(String::new, |advice| format!(": {advice}"));
            DependencyError { message: format!("{place}: {}{advice}", with_causes(&error)) }
        })?;
        let (head, body) = response.into_parts();
        let read = read_bounded(body, MAX_LISTING).await;
        let body = read.map_err(|error| DependencyError {
            message: format!("{place}: its response can't be read: {error}"),
        })?;
        Ok((head.status, head.headers, body))
    }

    /// The failure for a response that no S3 storage gives.
    fn not_s3(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> DependencyError {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
        let content_type: String = content_type.chars().take(SHOWN_BODY).collect();
        let shown = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN_BODY)]);
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = shown.chars().filter(|c| !c.is_control()).take(SHOWN_BODY).collect();
        let seen = if shown.is_empty() { "an empty body".to_owned() } else { format!("{shown:?}") };
        let is_outage = status.is_server_error();
        let advice = match status {
            StatusCode::BAD_REQUEST => "correct upstream.endpoint; if it expects TLS, write https://",
            _ if is_outage => "if this persists, correct upstream.endpoint",
            _ => "correct upstream.endpoint",
        };
        DependencyError {
            message: format!(
                "{} responds, but not as S3: {status} to a listing of buckets, Content-Type: {content_type}, {seen}: \
                 {advice}",
                self.name.place
            ),
        }
    }

    /// The failure for an error document that shows an invalid configuration.
    fn refused(&self, status: StatusCode, document: &xml::ErrorDocument) -> DependencyError {
        let xml::ErrorDocument { code, message, region, endpoint, .. } = document;
        let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
        let advice = match (code.as_str(), region, endpoint) {
            ("InvalidAccessKeyId", _, _) => "; correct upstream.access_key_id".to_owned(),
            ("SignatureDoesNotMatch", _, _) => "; correct upstream.secret_access_key".to_owned(),
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _, _) => {
                "; renew the session that the credentials are of".to_owned()
            }
            ("RequestTimeTooSkewed", _, _) => "; correct this machine's clock".to_owned(),
            (_, Some(region), _) => format!("; write upstream.region = {:?}", shown(region)),
            (_, None, Some(endpoint)) => {
                format!("; the storage names {:?}: correct upstream.endpoint", shown(endpoint))
            }
            (_, None, None) => String::new(),
        };
        DependencyError {
            message: format!(
                "{} responds {} to a listing of buckets: {}: {}{advice}",
                self.name.place,
                status.as_u16(),
                shown(code),
                shown(message)
            ),
        }
    }
}
