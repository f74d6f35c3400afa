//! Checks whether the key service and the storage work: for `check`, for `serve`'s log and for `/readyz`.
//! Every failure names the dependency, what it returned, and what to change.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, Method, StatusCode};

use crate::body::{BoxBody, read_bounded};
use crate::config::Config;
use crate::error::with_causes;
use crate::keyring::{self, CheckError, EncryptionContext, KeyId, KeyringError, Provider, Reuse, RoundTrip};
use crate::object::rule::BucketRule;
use crate::operation::Resources;
use crate::s3::{BucketName, xml};
use crate::upstream::{self, Target, UpstreamRequest};

/// A listing of 10,000 buckets, the most that AWS gives an account, has under 2 MiB.
const MAX_LISTING: usize = 8 << 20;

/// What the key service and the storage are, apart from the means to ask them.
#[derive(Debug, Clone)]
pub struct Places {
    /// The storage, for people: `http://127.0.0.1:9000 (us-east-1)`.
    pub storage: String,
    /// The key service, for people: `AWS KMS in us-east-1`.
    pub keys: String,
    /// Every key that a rule writes with; `None` is the keyring's own.
    pub key_ids: Vec<Option<KeyId>>,
    trusts_a_file: bool,
}

/// The key service and the storage, ready to be asked.
#[derive(Clone)]
pub struct Dependencies {
    resources: Arc<Resources>,
    places: Places,
}

/// Why a dependency does not do its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For people; free of secrets.
    pub message: String,
    /// Whether it may pass without a change of configuration: refused connections, silence, 5xx.
    pub may_pass: bool,
}

/// What the storage answered that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageFound {
    /// For people: `lists its buckets`.
    pub told: &'static str,
    /// It works, and asks for fewer requests.
    pub is_throttling: bool,
    /// Its `Date`.
    pub date: Option<SystemTime>,
}

impl Places {
    /// What `config` names.
    pub fn new(config: &Config) -> Self {
        let mut key_ids = Vec::new();
        for rule in &config.buckets {
            if !key_ids.contains(&rule.key_id) {
                key_ids.push(rule.key_id.clone());
            }
        }
        Self {
            storage: storage_place(&config.upstream),
            keys: key_place(&config.keyring),
            key_ids,
            trusts_a_file: config.upstream.extra_root_ca.is_some(),
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
    pub fn new(resources: Arc<Resources>, places: Places) -> Self {
        Self { resources, places }
    }

    /// Where they are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Generates and unwraps one data key, past the cache.
    pub async fn key(&self, key_id: Option<&KeyId>) -> Result<RoundTrip, Trouble> {
        let context = EncryptionContext::native("s3veil-check");
        self.resources.keyring.check(key_id, &context).await.map_err(|failure| self.key_trouble(&failure))
    }

    fn key_trouble(&self, failure: &CheckError) -> Trouble {
        let advice = match &failure.error {
            KeyringError::Credentials => {
                "; set keyring.access_key_id and keyring.secret_access_key, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or attach a role to this machine or pod"
            }
            KeyringError::Denied => "; the role requires kms:GenerateDataKey and kms:Decrypt of this key",
            KeyringError::KeyNotFound => "; correct key_id, or keyring.region",
            KeyringError::Malformed(_) | KeyringError::Unexpected { .. } => "; correct keyring.endpoint",
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
        Trouble {
            message: format!("{}: {failure}{advice}", self.places.keys),
            may_pass: failure.error.is_unavailability(),
        }
    }

    /// Lists the buckets. A storage that refuses exactly this to the proxy's role works too.
    pub async fn storage(&self) -> Result<StorageFound, Trouble> {
        let (status, headers, body) = self.ask(Method::GET, None).await?;
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let found = |told| StorageFound { told, is_throttling: false, date };
        if status.is_success() {
            return match xml::retain_buckets(&body, |_| true) {
                Ok(_) => Ok(found("lists its buckets")),
                Err(_) => Err(self.lasting(format!(
                    "answers a listing of buckets with a document of another kind ({}), as no S3 storage does: \
                     correct upstream.endpoint",
                    content_type(&headers)
                ))),
            };
        }
        let Ok(document) = xml::parse_error_document(&body) else {
            let tls =
                if status == StatusCode::BAD_REQUEST { "; if it expects TLS, write https://" } else { "" };
            let message = format!(
                "answers {status} to a listing of buckets, without an error document of S3 ({}): if this persists, \
                 correct upstream.endpoint{tls}",
                content_type(&headers)
            );
            let may_pass = status.is_server_error();
            return Err(Trouble { may_pass, ..self.lasting(message) });
        };
        match document.code.as_str() {
            "AccessDenied" => Ok(found("answers; the proxy's role may not list buckets, and need not")),
            "NotImplemented" | "MethodNotAllowed" => Ok(found("answers; it has no listing of buckets")),
            "SlowDown" => Ok(StorageFound { is_throttling: true, ..found("asks for fewer requests") }),
            _ => Err(self.refused(status, &document)),
        }
    }

    /// Whether a bucket is there, and its answer to HEAD.
    pub async fn bucket(&self, bucket: &BucketName) -> Result<StatusCode, Trouble> {
        self.ask(Method::HEAD, Some(bucket)).await.map(|(status, _, _)| status)
    }

    async fn ask(
        &self,
        method: Method,
        bucket: Option<&BucketName>,
    ) -> Result<(StatusCode, HeaderMap, bytes::Bytes), Trouble> {
        let request = UpstreamRequest::new(method, bucket, None);
        let sent = self.resources.upstream.send(request).await;
        let response = sent.map_err(|error| {
            let advice = error.advice(self.places.trusts_a_file);
            let advice = advice.map_or_else(String::new, |advice| format!(": {advice}"));
            let message = format!("{}: {}{advice}", self.places.storage, with_causes(&error));
            Trouble { message, may_pass: error.is_retryable() }
        })?;
        let (head, body) = response.into_parts();
        let body: BoxBody = body;
        let read = read_bounded(body, MAX_LISTING).await;
        let body = read.map_err(|error| Trouble {
            message: format!("{}: its answer can't be read: {error}", self.places.storage),
            may_pass: true,
        })?;
        Ok((head.status, head.headers, body))
    }

    fn lasting(&self, message: impl std::fmt::Display) -> Trouble {
        Trouble { message: format!("{} {message}", self.places.storage), may_pass: false }
    }

    /// An error document that says more about the configuration than that this listing is not allowed.
    fn refused(&self, status: StatusCode, document: &xml::ErrorDocument) -> Trouble {
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
            "answers {} to a listing of buckets: {}: {}{advice}",
            status.as_u16(),
            shown(code),
            shown(message)
        );
        Trouble { may_pass: status.is_server_error(), ..self.lasting(message) }
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
    format!("Content-Type: {}", value.chars().take(60).collect::<String>())
}

/// The storage as the status page names it.
pub fn storage_line(config: &Config) -> String {
    let place = storage_place(&config.upstream);
    match &config.upstream.target {
        Target::Embedded { .. } => format!("{place}, for trying it out"),
        Target::Endpoint(_) | Target::Aws => place,
    }
}

/// The key service as the status page names it.
pub fn keyring_line(config: &Config) -> String {
    let place = key_place(&config.keyring);
    match config.keyring.reuse {
        Reuse::Bucket => place,
        Reuse::Off => format!("{place}, a data key per object"),
    }
}

/// The name of a rule that is for one bucket alone.
pub fn exact_bucket(rule: &BucketRule) -> Option<BucketName> {
    let name = rule.name.as_str();
    if name.contains(['*', '?']) { None } else { BucketName::parse(name.to_owned()).ok() }
}

/// How long an answer about readiness may take.
pub const PROBE_LIMIT: Duration = Duration::from_secs(5);
