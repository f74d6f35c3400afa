//! Writes, reads, lists and deletes a trial object through a proxy in this process: authentication, rules,
//! key service and storage take part as in `serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Finding, Report};
use crate::body::{BoxBody, read_bounded};
use crate::cli::Failure;
use crate::config::Config;
use crate::error::with_causes;
use crate::s3::{BucketName, BucketPattern, ObjectKey, xml};
use crate::server::{self, ConnectionInfo, Server};
use crate::service::{Arrival, Client, ClientAccess, Service};
use crate::sigv4::SecretAccessKey;
use crate::upstream::{Credentials, Settings, Target, Timeouts, Upstream, UpstreamBody, UpstreamRequest};
use crate::wire::checksum::ChecksumAlgorithm;

/// Known to the proxy of this check alone.
const ACCESS_KEY_ID: &str = "s3veil-check";

/// More than one chunk of 64 KiB, so that a range can cross a boundary.
const LENGTH: usize = 100_000;
const CROSSING: std::ops::RangeInclusive<usize> = 65_530..=65_545;

/// Each answer has so long, and is so large at most.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 1 << 20;

/// What is to be tried, and as whom.
pub(crate) struct Trial {
    bucket: BucketName,
    object: ObjectKey,
    region: String,
    secret: String,
}

type Answer = (StatusCode, HeaderMap, Bytes);

impl Trial {
    /// An object of its own in `bucket`, where the first rule for that bucket applies.
    ///
    /// # Errors
    /// [`Failure::Usage`] when no rule is for the bucket.
    pub(crate) fn new(config: &Config, bucket: &BucketName) -> Result<Self, Failure> {
        let rule = config.buckets.iter().find(|rule| rule.name.matches(bucket.as_str()));
        let rule = rule.ok_or_else(|| {
            Failure::Usage(format!(
                "--bucket {bucket}: no [[bucket]] rule is for it: add one, or name another"
            ))
        })?;
        let object = format!("{}s3veil-check-{}", rule.prefix, Uuid::new_v4().simple());
        let object = ObjectKey::parse(object).map_err(|error| Failure::Usage(error.message.into()))?;
        let mut secret = [0; 20];
        rand::fill(&mut secret).map_err(|_| Failure::Internal("the system has no randomness".to_owned()))?;
        Ok(Self {
            bucket: bucket.clone(),
            object,
            region: config.requests.region.clone().unwrap_or_else(|| config.upstream.region.clone()),
            secret: secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Who may ask the proxy of this check for it.
    pub(crate) fn client(&self) -> (String, Client) {
        let bucket = BucketPattern::parse(self.bucket.as_str()).unwrap_or_else(|_| BucketPattern::any());
        let client = Client {
            secret: SecretAccessKey::new(self.secret.clone()),
            buckets: vec![bucket],
            access: ClientAccess::ReadWrite,
        };
        (ACCESS_KEY_ID.to_owned(), client)
    }

    /// Serves on a port of this machine for as long as it takes, and reports each step.
    pub(crate) async fn run(self, service: Arc<Service>, report: &mut Report) -> Result<(), Failure> {
        let server = Server::bind(settings()).await?;
        let client = self.connect(server.local_address()).await?;
        let answer = move |request: Request<Incoming>, connection: ConnectionInfo| {
            let service = Arc::clone(&service);
            async move {
                let ConnectionInfo { peer, tls, surplus, meter } = connection;
                service.call(request, Arrival { peer, is_tls: tls, is_surplus: surplus, meter }).await
            }
        };
        let (ended, wait) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(answer, async { drop(wait.await) }));
        self.steps(&client, report).await;
        drop((client, ended));
        serving.await.map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(())
    }

    async fn connect(&self, address: SocketAddr) -> Result<Upstream, Failure> {
        let endpoint = format!("http://{address}").parse();
        let endpoint =
            endpoint.map_err(|error: http::uri::InvalidUri| Failure::Internal(error.to_string()))?;
        let settings = Settings {
            region: self.region.clone(),
            credentials: Credentials::Static {
                access_key_id: ACCESS_KEY_ID.to_owned(),
                secret_access_key: self.secret.clone().into(),
                session_token: None,
            },
            checksum: Some(ChecksumAlgorithm::DEFAULT),
            timeouts: Timeouts { head: PATIENCE, ..Timeouts::default() },
            max_retries: 0,
            ..Settings::new(Target::Endpoint(endpoint))
        };
        Upstream::build(settings).await.map_err(|error| Failure::Internal(with_causes(&error)))
    }

    /// Writes first; what was written is removed whatever becomes of the other steps.
    async fn steps(&self, client: &Upstream, report: &mut Report) {
        let content: Bytes = (0..LENGTH).map(|at| (at % 251) as u8).collect();
        let step = |name: &str| format!("object {}/{} {name}", self.bucket, self.object.as_str());
        let written =
            self.ask(client, Method::PUT, HeaderMap::new(), UpstreamBody::Content(content.clone())).await;
        let is_written = written.is_ok();
        report.line(&step("write"), &judged(written, |_| Ok(format!("{LENGTH} bytes"))));
        if !is_written {
            return;
        }
        let read = self.ask(client, Method::GET, HeaderMap::new(), UpstreamBody::Empty).await;
        report.line(&step("read"), &judged(read, |answer| same(&answer.2, &content)));
        let range = format!("bytes={}-{}", CROSSING.start(), CROSSING.end());
        let range =
            HeaderMap::from_iter([(RANGE, HeaderValue::try_from(range).expect("digits are visible"))]);
        let read = self.ask(client, Method::GET, range, UpstreamBody::Empty).await;
        report.line(&step("range"), &judged(read, |answer| same(&answer.2, &content[CROSSING])));
        let head = self.ask(client, Method::HEAD, HeaderMap::new(), UpstreamBody::Empty).await;
        let length =
            |answer: Answer| match answer.1.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()) {
                Some(length) if length == LENGTH.to_string() => Ok(format!("{length} bytes")),
                length => Err(format!("Content-Length is {}", length.unwrap_or("missing"))),
            };
        report.line(&step("head"), &judged(head, length));
        report.line(&step("list"), &judged(self.list(client).await, |answer| listed(&answer.2)));
        let removed = self.ask(client, Method::DELETE, HeaderMap::new(), UpstreamBody::Empty).await;
        report.line(&step("remove"), &judged(removed, |_| Ok("done".to_owned())));
    }

    async fn ask(
        &self,
        client: &Upstream,
        method: Method,
        headers: HeaderMap,
        body: UpstreamBody,
    ) -> Result<Answer, String> {
        let mut request = UpstreamRequest::new(method, &self.bucket, &self.object);
        request.headers = headers;
        request.body = body;
        answered(client.send(request).await.map_err(|error| with_causes(&error))?).await
    }

    async fn list(&self, client: &Upstream) -> Result<Answer, String> {
        let parameter = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        let mut request = UpstreamRequest::new(Method::GET, &self.bucket, None);
        request.query = vec![parameter("list-type", "2"), parameter("prefix", self.object.as_str())];
        answered(client.send(request).await.map_err(|error| with_causes(&error))?).await
    }
}

fn settings() -> server::Settings {
    server::Settings {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        address_key: "127.0.0.1",
        tls: None,
        max_connections: 16,
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        min_rate: 1,
        drain_timeout: Duration::ZERO,
    }
}

/// An answer that is a success; else what its error document says.
async fn answered(response: Response<BoxBody>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let body =
        read_bounded(body, MAX_ANSWER).await.map_err(|error| format!("the answer broke off: {error}"))?;
    if head.status.is_success() {
        return Ok((head.status, head.headers, body));
    }
    Err(match xml::parse_error_document(&body) {
        Ok(document) => format!("{} {}: {}", head.status.as_u16(), document.code, document.message),
        Err(_) => head.status.to_string(),
    })
}

fn judged(answer: Result<Answer, String>, judge: impl FnOnce(Answer) -> Result<String, String>) -> Finding {
    match answer.and_then(judge) {
        Ok(told) => Finding::good(told),
        Err(why) => Finding::failed(why),
    }
}

fn same(read: &[u8], written: &[u8]) -> Result<String, String> {
    match read == written {
        true => Ok(format!("{} bytes, as they were written", read.len())),
        false => Err(format!("{} bytes, which are not those that were written", read.len())),
    }
}

/// The listing names the object with its plaintext's size.
fn listed(document: &[u8]) -> Result<String, String> {
    let size = format!("<Size>{LENGTH}</Size>");
    match String::from_utf8_lossy(document).contains(&size) {
        true => Ok(format!("{LENGTH} bytes")),
        false => Err(format!("the listing has no object of {LENGTH} bytes")),
    }
}
