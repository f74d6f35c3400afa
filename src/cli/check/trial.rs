//! Trial objects that are written, read, listed, copied and deleted through a proxy in this process:
//! authentication, rules, key service and storage take part as in `serve`. It must not know the storage
//! behind that proxy. It promises that nothing stays behind, also after a failed step or an interrupt.

mod steps;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::report::{Finding, Report};
use crate::access::{Client, Right, Rights};
use crate::body::{BoxBody, read_bounded};
use crate::cli::Failure;
use crate::config::Config;
use crate::error::with_causes;
use crate::object::rule::BucketRule;
use crate::object::rule::formats::{Multipart, WriteFormat};
use crate::s3::{BucketName, BucketPattern, ObjectKey, xml};
use crate::server::{self, ConnectionInfo, RequestBody, Server, Workers};
use crate::service::{Arrival, Service};
use crate::sigv4::SecretAccessKey;
use crate::upstream::{Credentials, Settings, Target, Timeouts, Upstream, UpstreamBody, UpstreamRequest};
use crate::wire::checksum::ChecksumAlgorithm;
use crate::wire::header::VERSION_ID;

/// The access key id of the trial, accepted only by the proxy of this check.
const ACCESS_KEY_ID: &str = "s3veil-check";

/// The prefix of trial objects, below the prefix of their rule.
pub(super) const PREFIX: &str = ".s3veil-check/";

/// Timeout of each response's head.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum bytes of a response's body.
const MAX_RESPONSE: usize = 8 << 20;

/// The trial objects, and the credentials of their client.
pub(super) struct Trial {
    bucket: BucketName,
    /// The prefix of the trial objects: random, so that two checks do not meet.
    prefix: String,
    /// Why the rule has no multipart uploads.
    without_parts: Option<&'static str>,
    region: String,
    secret: String,
    leftovers: Mutex<Leftovers>,
}

/// What the trial has written, or may have written.
#[derive(Default)]
struct Leftovers {
    /// The objects, with the version that a versioned bucket has made.
    objects: Vec<(ObjectKey, Option<String>)>,
    /// The uploads that are not complete, with their ids.
    uploads: Vec<(ObjectKey, String)>,
}

/// A request of the trial.
struct TrialRequest {
    method: Method,
    object: Option<ObjectKey>,
    query: Vec<(String, Option<String>)>,
    headers: HeaderMap,
    body: UpstreamBody,
}

/// A successful response.
struct TrialResponse {
    headers: HeaderMap,
    body: Bytes,
}

/// A request without a successful response.
struct TrialError {
    /// `None` without a response.
    status: Option<StatusCode>,
    text: String,
}

impl TrialRequest {
    fn new(method: Method, object: &ObjectKey) -> Self {
        Self { object: Some(object.clone()), ..Self::on_bucket(method) }
    }

    fn on_bucket(method: Method) -> Self {
        Self { method, object: None, query: Vec::new(), headers: HeaderMap::new(), body: UpstreamBody::Empty }
    }

    fn query(mut self, name: &str, value: impl Into<Option<String>>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    fn content(self, content: &Bytes) -> Self {
        Self { body: UpstreamBody::Content(content.clone()), ..self }
    }
}

impl Trial {
    /// Trial objects with random keys in `bucket`, under the prefix of the first rule for that bucket.
    ///
    /// # Errors
    /// [`Failure::Usage`] if no rule matches the bucket.
    pub(super) fn new(config: &Config, bucket: &BucketName) -> Result<Self, Failure> {
        let rule = config.buckets.iter().find(|rule| rule.name.matches(bucket.as_str()));
        let missing = || format!("--bucket {bucket}: no [[bucket]] rule is for it: add one, or name another");
        let rule = rule.ok_or_else(|| Failure::Usage(missing()))?;
        let prefix = format!("{}{PREFIX}{}/", rule.prefix, Uuid::new_v4().simple());
        ObjectKey::parse(prefix.as_str()).map_err(|error| Failure::Usage(error.message.into()))?;
        let mut secret = [0; 20];
        rand::fill(&mut secret).map_err(|_| Failure::Internal("the system has no randomness".to_owned()))?;
        Ok(Self {
            bucket: bucket.clone(),
            prefix,
            without_parts: without_parts(rule),
            region: config.requests.region.clone().unwrap_or_else(|| config.upstream().region.clone()),
            secret: secret.iter().map(|byte| format!("{byte:02x}")).collect(),
            leftovers: Mutex::default(),
        })
    }

    /// The bucket of the trial objects.
    pub(super) fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The client that may use the proxy of this check.
    pub(super) fn client(&self) -> (String, Client) {
        let bucket = BucketPattern::parse(self.bucket.as_str()).unwrap_or_else(|_| BucketPattern::any());
        let rights = Rights::new(&[Right::Read, Right::List, Right::Write, Right::Delete]);
        let client = Client::new(SecretAccessKey::new(self.secret.clone()), vec![bucket], rights);
        (ACCESS_KEY_ID.to_owned(), client)
    }

    /// Serves on a loopback port during the trial, and reports each step.
    ///
    /// # Errors
    /// [`Failure`] if no server can be started on the loopback address.
    pub(super) async fn run(self, service: Arc<Service>, report: &mut Report) -> Result<(), Failure> {
        let server = Server::bind(settings()).await?;
        let client = self.connect(server.local_address()).await?;
        let response = move |request: Request<RequestBody>, connection: ConnectionInfo| {
            let service = Arc::clone(&service);
            async move {
                let ConnectionInfo { peer, tls_version, certificate_names, is_surplus, meter } = connection;
                let arrival = Arrival { peer, tls_version, certificate_names, is_surplus, meter };
                service.call(request, arrival).await
            }
        };
        let (ended, wait) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server.serve(&Workers::current(), response, async { drop(wait.await) }).await
        });
        let is_interrupted = tokio::select! {
            () = self.steps(&client, report) => false,
            _ = tokio::signal::ctrl_c() => true,
        };
        if is_interrupted {
            report.add("interrupted", "interrupted", None, Finding::failed("the trial was not finished"));
        }
        self.clean_up(&client, report).await;
        drop((client, ended));
        serving.await.map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(())
    }

    async fn connect(&self, address: SocketAddr) -> Result<Upstream, Failure> {
        let endpoint = format!("http://{address}").parse::<http::Uri>();
        let endpoint = endpoint.map_err(|error| Failure::Internal(error.to_string()))?;
        let settings = Settings {
            region: self.region.clone(),
            credentials: Credentials::Static {
                access_key_id: ACCESS_KEY_ID.to_owned(),
                secret_access_key: self.secret.clone().into(),
                session_token: None,
            },
            checksum: Some(ChecksumAlgorithm::DEFAULT),
            timeouts: Timeouts { head: TIMEOUT, ..Timeouts::default() },
            max_retries: 0,
            ..Settings::new(Target::Endpoint(endpoint))
        };
        Upstream::build(settings).await.map_err(|error| Failure::Internal(with_causes(&error)))
    }

    /// The key of a trial object.
    fn object(&self, name: &str) -> ObjectKey {
        let key = format!("{}{name}", self.prefix);
        ObjectKey::parse(key).expect("the prefix is a key, and far below the limit of 1,024 bytes")
    }

    fn leftovers(&self) -> MutexGuard<'_, Leftovers> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, client: &Upstream, request: TrialRequest) -> Result<TrialResponse, TrialError> {
        let TrialRequest { method, object, query, headers, body } = request;
        let mut request = UpstreamRequest::new(method, &self.bucket, object.as_ref());
        (request.query, request.headers, request.body) = (query, headers, body);
        let sent = client.send(request).await;
        let failed = |text| TrialError { status: None, text };
        successful(sent.map_err(|error| failed(with_causes(&error)))?).await
    }

    /// Sends a request that makes an object, which is removed at the end whatever the response is.
    async fn write(&self, client: &Upstream, request: TrialRequest) -> Result<TrialResponse, TrialError> {
        let Some(object) = request.object.clone() else { return self.send(client, request).await };
        self.leftovers().objects.push((object.clone(), None));
        let written = self.send(client, request).await;
        if let Some(version) = written.as_ref().ok().and_then(|response| version_id(&response.headers)) {
            self.leftovers().objects.push((object, Some(version)));
        }
        written
    }

    /// Removes everything that was written and not removed yet. Reports only what may have stayed.
    async fn clean_up(&self, client: &Upstream, report: &mut Report) {
        let Leftovers { objects, uploads } = std::mem::take(&mut *self.leftovers());
        let mut stayed = Vec::new();
        for (object, id) in uploads {
            let abort = TrialRequest::new(Method::DELETE, &object).query("uploadId", id);
            stayed.extend(self.send(client, abort).await.err());
        }
        for (object, version) in objects {
            stayed.extend(self.remove(client, &object, version).await.err());
        }
        let is_gone = |error: &TrialError| error.status == Some(StatusCode::NOT_FOUND);
        if let Some(error) = stayed.iter().find(|error| !is_gone(error)) {
            let why = format!("objects under {} may have stayed: {}", self.prefix, error.text);
            report.add("leftovers", "leftovers", Some(self.bucket.as_str()), Finding::warning(why));
        }
    }

    /// Deletes an object or one version of it; in a versioned bucket also the delete marker that this makes.
    async fn remove(
        &self,
        client: &Upstream,
        object: &ObjectKey,
        version: Option<String>,
    ) -> Result<(), TrialError> {
        let delete = || TrialRequest::new(Method::DELETE, object);
        let Some(version) = version else {
            let deleted = self.send(client, delete()).await?;
            if let Some(marker) = version_id(&deleted.headers) {
                self.send(client, delete().query("versionId", marker)).await?;
            }
            return Ok(());
        };
        self.send(client, delete().query("versionId", version)).await.map(drop)
    }
}

/// The version that a versioned bucket has made.
fn version_id(headers: &HeaderMap) -> Option<String> {
    let version = headers.get(VERSION_ID)?.to_str().ok()?;
    (version != "null").then(|| version.to_owned())
}

/// Why objects under the rule are not uploaded in parts.
fn without_parts(rule: &BucketRule) -> Option<&'static str> {
    match (rule.formats.write, rule.formats.cbc.multipart) {
        (WriteFormat::Native, _) | (WriteFormat::Cbc, Multipart::Native) => None,
        (WriteFormat::Cbc, Multipart::Refuse) => Some("the rule writes \"cbc\", which has no parts"),
        (WriteFormat::Plaintext, _) => Some("the rule writes \"plaintext\", by a single PUT alone"),
        (WriteFormat::S3ecV2 | WriteFormat::S3ecV3, _) => {
            Some("the rule writes \"s3ec\", which has no parts")
        }
    }
}

fn settings() -> server::Settings {
    server::Settings {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        address_key: "127.0.0.1",
        tls: None,
        reuse_port: false,
        max_connections: 16,
        header_timeout: TIMEOUT,
        idle_timeout: TIMEOUT,
        min_rate: 1,
        drain_delay: Duration::ZERO,
        is_counted: false,
        drain_timeout: Duration::ZERO,
    }
}

/// The response if it is a success, otherwise the message of its error document.
async fn successful(response: Response<BoxBody>) -> Result<TrialResponse, TrialError> {
    let (head, body) = response.into_parts();
    let status = Some(head.status);
    let body = read_bounded(body, MAX_RESPONSE).await;
    let body =
        body.map_err(|error| TrialError { status, text: format!("the response broke off: {error}") })?;
    if head.status.is_success() {
        return Ok(TrialResponse { headers: head.headers, body });
    }
    let text = match xml::parse_error_document(&body) {
        Ok(document) => format!("{} {}: {}", head.status.as_u16(), document.code, document.message),
        Err(_) => head.status.to_string(),
    };
    Err(TrialError { status, text })
}
