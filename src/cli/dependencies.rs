//! Checks of the key service and the storage, for `check`, for `serve`'s log and for `/readyz`.
//! They must not know how often a check runs, nor what follows from it.
//! They promise that every failure names the dependency, its response, and the setting to change.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, Method, StatusCode};

use crate::body::read_bounded;
use crate::config::Config;
use crate::error::with_causes;
use crate::keyring::{self, CheckError, EncryptionContext, KeyId, KeyringError, Provider, Reuse, RoundTrip};
use crate::object::rule::BucketRule;
use crate::operation::Resources;
use crate::s3::{BucketName, xml};
use crate::upstream::{self, Target, UpstreamRequest};

/// A listing of 10,000 buckets, the most that AWS gives an account, has under 2 MiB.
const MAX_LISTING: usize = 8 << 20;

/// Descriptions of the key service and the storage.
#[derive(Debug, Clone)]
pub struct DependencyNames {
    /// The storage in words: `http://127.0.0.1:9000 (us-east-1)`.
    pub storage: String,
    /// The key service in words: `AWS KMS in us-east-1`.
    pub keys: String,
    /// Every key that a rule writes with; `None` is the keyring's default key.
    pub key_ids: Vec<Option<KeyId>>,
    trusts_a_file: bool,
}

/// The key service and the storage, ready for checks.
#[derive(Clone)]
pub struct Dependencies {
    resources: Arc<Resources>,
    names: DependencyNames,
}

/// The failure of a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyError {
    /// A message for operators, without secrets.
    pub message: String,
    /// Whether the failure may end without a change of configuration: refused connections, timeouts, 5xx.
    pub may_pass: bool,
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

impl DependencyNames {
    /// Describes the key service and the storage of `config`.
    pub fn new(config: &Config) -> Self {
        let mut key_ids = Vec::new();
        for rule in &config.buckets {
            if !key_ids.contains(&rule.key_id) {
                key_ids.push(rule.key_id.clone());
            }
        }
        Self {
            storage: storage_place(config.upstream()),
            keys: key_place(&config.keyring),
            key_ids,
            trusts_a_file: config.upstream().extra_root_ca.is_some(),
        }
    }
}

fn storage_place(upstream: &upstream::Settings) -> String {
    match &upstream.target {
        Target::Embedded { path } => format!("embedded store in {}", path.display()),
        Target::Endpoint(endpoint) => {
            format!("{} ({})", endpoint.to_string().trim_end_matches('/'), upstream.region)
        }
        Target::Aws => format!("AWS S3 in {}", upstream.region),
    }
}

fn key_place(keyring: &keyring::Settings) -> String {
    match &keyring.provider {
        Provider::Local(local) => format!("local keyring {}", local.file.display()),
        Provider::AwsKms(kms) => {
            let region = kms.region.as_deref().unwrap_or("the default region");
            let place = kms.endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
            format!("AWS KMS in {region}{}", place.trim_end_matches('/'))
        }
    }
}

impl Dependencies {
    /// Dependencies of `resources` at their `places`.
    pub fn new(resources: Arc<Resources>, names: DependencyNames) -> Self {
        Self { resources, names }
    }

    /// The descriptions of the dependencies.
    pub fn names(&self) -> &DependencyNames {
        &self.names
    }

    /// Generates and unwraps one data key, bypassing the cache.
    pub async fn key(&self, key_id: Option<&KeyId>) -> Result<RoundTrip, DependencyError> {
        let context = EncryptionContext::native("s3veil-check");
        self.resources.keyring.check(key_id, &context).await.map_err(|failure| self.key_error(&failure))
    }

    fn key_error(&self, failure: &CheckError) -> DependencyError {
        let advice = match &failure.error {
            KeyringError::Credentials => {
                "; set keyring.access_key_id and keyring.secret_access_key, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or attach a role to this machine or pod"
            }
            KeyringError::Denied => "; the role requires kms:GenerateDataKey and kms:Decrypt of this key",
            KeyringError::KeyNotFound => "; correct key_id, or keyring.region",
            KeyringError::Malformed(_) | KeyringError::Unexpected(_) => "; correct keyring.endpoint",
            KeyringError::KeyDisabled => "; enable it in AWS KMS, or correct key_id",
            KeyringError::InvalidKeyState => "; cancel its deletion in AWS KMS, or correct key_id",
            KeyringError::InvalidKeyUsage => "; name a symmetric key for encryption in key_id",
            KeyringError::IncorrectKey
            | KeyringError::KeyMissing { .. }
            | KeyringError::NotAllowed
            | KeyringError::InvalidCiphertext
            | KeyringError::Throttled
            | KeyringError::Unavailable
            | KeyringError::NoKeyNamed
            | KeyringError::Interrupted => "",
        };
        DependencyError {
            message: format!("{}: {failure}{advice}", self.names.keys),
            may_pass: failure.error.is_unavailability(),
        }
    }

    /// Lists the buckets. A storage that denies only this to the proxy's role works too.
    pub async fn storage(&self) -> Result<StorageStatus, DependencyError> {
        let (status, headers, body) = self.send(Method::GET, None).await?;
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let found = |text| StorageStatus { text, is_throttling: false, date };
        if status.is_success() {
            return match xml::retain_buckets(&body, |_| true) {
                Ok(_) => Ok(found("lists its buckets")),
                Err(_) => Err(self.permanent(format!(
                    "responds to a listing of buckets with a document of another kind ({}), as no S3 storage does: \
                     correct upstream.endpoint",
                    content_type(&headers)
                ))),
            };
        }
        let Ok(document) = xml::parse_error_document(&body) else {
            let tls =
                if status == StatusCode::BAD_REQUEST { "; if it expects TLS, write https://" } else { "" };
            let message = format!(
                "responds {status} to a listing of buckets, without an error document of S3 ({}): if this persists, \
                 correct upstream.endpoint{tls}",
                content_type(&headers)
            );
            let may_pass = status.is_server_error();
            return Err(DependencyError { may_pass, ..self.permanent(message) });
        };
        match document.code.as_str() {
            "AccessDenied" => Ok(found("responds; the proxy's role may not list buckets, and need not")),
            "NotImplemented" | "MethodNotAllowed" => Ok(found("responds; it has no listing of buckets")),
            "SlowDown" => Ok(StorageStatus { is_throttling: true, ..found("asks for fewer requests") }),
            _ => Err(self.refused(status, &document)),
        }
    }

    /// The status of a HEAD request for a bucket.
    pub async fn bucket(&self, bucket: &BucketName) -> Result<StatusCode, DependencyError> {
        self.send(Method::HEAD, Some(bucket)).await.map(|(status, _, _)| status)
    }

    async fn send(
        &self,
        method: Method,
        bucket: Option<&BucketName>,
    ) -> Result<(StatusCode, HeaderMap, bytes::Bytes), DependencyError> {
        let request = UpstreamRequest::new(method, bucket, None);
        let sent = self.resources.upstreams.send(request).await;
        let response = sent.map_err(|error| {
            let advice = error.advice(self.names.trusts_a_file);
            let advice = advice.map_or_else(String::new, |advice| format!(": {advice}"));
            let message = format!("{}: {}{advice}", self.names.storage, with_causes(&error));
            DependencyError { message, may_pass: error.is_retryable() }
        })?;
        let (head, body) = response.into_parts();
        let read = read_bounded(body, MAX_LISTING).await;
        let body = read.map_err(|error| DependencyError {
            message: format!("{}: its response can't be read: {error}", self.names.storage),
            may_pass: true,
        })?;
        Ok((head.status, head.headers, body))
    }

    fn permanent(&self, message: impl std::fmt::Display) -> DependencyError {
        DependencyError { message: format!("{} {message}", self.names.storage), may_pass: false }
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
        let message = format!(
            "responds {} to a listing of buckets: {}: {}{advice}",
            status.as_u16(),
            shown(code),
            shown(message)
        );
        DependencyError { may_pass: status.is_server_error(), ..self.permanent(message) }
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
    format!("Content-Type: {}", value.chars().take(60).collect::<String>())
}

/// The line of the storages on the status page.
pub fn storage_line(config: &Config) -> String {
    let line = |upstream: &upstream::Settings| {
        let is_trial = matches!(upstream.target, Target::Embedded { .. });
        storage_place(upstream) + if is_trial { ", for trying it out" } else { "" }
    };
    match config.upstreams.as_slice() {
        [only] => line(only),
        several => {
            several.iter().map(|it| format!("{}: {}", it.name, line(it))).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The key service's line on the status page.
pub fn keyring_line(config: &Config) -> String {
    let is_shared = config.keyring.reuse == Reuse::Bucket;
    key_place(&config.keyring) + if is_shared { "" } else { ", a data key per object" }
}

/// The bucket's name of a rule without wildcards.
pub fn exact_bucket(rule: &BucketRule) -> Option<BucketName> {
    BucketName::parse(rule.name.as_str()).ok().filter(|_| rule.name.is_name())
}

/// Timeout of one check for readiness.
pub const PROBE_LIMIT: Duration = Duration::from_secs(5);
