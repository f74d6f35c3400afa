//! Writes, reads, lists and deletes a trial object through a proxy in this process: authentication, rules,
//! key service and storage take part as in `serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Finding, Report};
use crate::access::{Client, ClientAccess};
use crate::body::{BoxBody, read_bounded};
use crate::cli::Failure;
use crate::config::Config;
use crate::error::with_causes;
use crate::s3::{BucketName, BucketPattern, ObjectKey, xml};
use crate::server::{self, ConnectionInfo, RequestBody, Server, Workers};
use crate::service::{Arrival, Service};
use crate::sigv4::SecretAccessKey;
use crate::upstream::{Credentials, Settings, Target, Timeouts, Upstream, UpstreamBody, UpstreamRequest};
use crate::wire::checksum::ChecksumAlgorithm;

/// The access key id of the trial, accepted only by the proxy of this check.
const ACCESS_KEY_ID: &str = "s3veil-check";

/// More than one chunk of 64 KiB, so that a range can cross a boundary.
const OBJECT_LENGTH: usize = 100_000;
const CROSSING_RANGE: std::ops::RangeInclusive<usize> = 65_530..=65_545;

/// Timeout of each response's head.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum bytes of a response's body.
const MAX_RESPONSE: usize = 1 << 20;

/// The trial object, and the credentials of its client.
pub(crate) struct Trial {
    bucket: BucketName,
    object: ObjectKey,
    region: String,
    secret: String,
}

type TrialResponse = (StatusCode, HeaderMap, Bytes);

impl Trial {
    /// A trial object with a random key in `bucket`, under the prefix of the first rule for that bucket.
    ///
    /// # Errors
    /// [`Failure::Usage`] if no rule matches the bucket.
    pub(crate) fn new(config: &Config, bucket: &BucketName) -> Result<Self, Failure> {
        let rule = config.buckets.iter().find(|rule| rule.name.matches(bucket.as_str()));
        let missing = || format!("--bucket {bucket}: no [[bucket]] rule is for it: add one, or name another");
        let rule = rule.ok_or_else(|| Failure::Usage(missing()))?;
        let object = format!("{}s3veil-check-{}", rule.prefix, Uuid::new_v4().simple());
        let object = ObjectKey::parse(object).map_err(|error| Failure::Usage(error.message.into()))?;
        let mut secret = [0; 20];
        rand::fill(&mut secret).map_err(|_| Failure::Internal("the system has no randomness".to_owned()))?;
        Ok(Self {
            bucket: bucket.clone(),
            object,
            region: config.requests.region.clone().unwrap_or_else(|| config.upstream().region.clone()),
            secret: secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// The client that may use the proxy of this check.
    pub(crate) fn client(&self) -> (String, Client) {
        let bucket = BucketPattern::parse(self.bucket.as_str()).unwrap_or_else(|_| BucketPattern::any());
        let client = Client {
            secret: SecretAccessKey::new(self.secret.clone()),
            buckets: vec![bucket],
            access: ClientAccess::ReadWrite,
        };
        (ACCESS_KEY_ID.to_owned(), client)
    }

    /// Serves on a loopback port during the trial, and reports each step.
    pub(crate) async fn run(self, service: Arc<Service>, report: &mut Report) -> Result<(), Failure> {
        let server = Server::bind(settings()).await?;
        let client = self.connect(server.local_address()).await?;
        let response = move |request: Request<RequestBody>, connection: ConnectionInfo| {
            let service = Arc::clone(&service);
            async move {
                let ConnectionInfo { peer, is_tls, is_surplus, meter } = connection;
                service.call(request, Arrival { peer, is_tls, is_surplus, meter }).await
            }
        };
        let (ended, wait) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server.serve(&Workers::current(), response, async { drop(wait.await) }).await
        });
        self.steps(&client, report).await;
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

    /// Writes, reads and lists the trial object. A written object is removed even if another step fails.
    async fn steps(&self, client: &Upstream, report: &mut Report) {
        let content: Bytes = (0..OBJECT_LENGTH).map(|at| (at % 251) as u8).collect();
        let step = |name: &str| format!("object {}/{} {name}", self.bucket, self.object.as_str());
        let written =
            self.send(client, Method::PUT, HeaderMap::new(), UpstreamBody::Content(content.clone())).await;
        let is_written = written.is_ok();
        report.line(&step("write"), &finding(written, |_| Ok(format!("{OBJECT_LENGTH} bytes"))));
        if !is_written {
            return;
        }
        let read = self.send(client, Method::GET, HeaderMap::new(), UpstreamBody::Empty).await;
        report.line(&step("read"), &finding(read, |response| same(&response.2, &content)));
        let range = format!("bytes={}-{}", CROSSING_RANGE.start(), CROSSING_RANGE.end());
        let range = HeaderMap::from_iter([(RANGE, HeaderValue::try_from(range).expect("digits are text"))]);
        let read = self.send(client, Method::GET, range, UpstreamBody::Empty).await;
        report.line(&step("range"), &finding(read, |response| same(&response.2, &content[CROSSING_RANGE])));
        let head = self.send(client, Method::HEAD, HeaderMap::new(), UpstreamBody::Empty).await;
        let length = |(_, headers, _): TrialResponse| match headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
        {
            Some(length) if length == OBJECT_LENGTH.to_string() => Ok(format!("{length} bytes")),
            length => Err(format!("Content-Length is {}", length.unwrap_or("missing"))),
        };
        report.line(&step("head"), &finding(head, length));
        report.line(&step("list"), &finding(self.list(client).await, |response| listed(&response.2)));
        let removed = self.send(client, Method::DELETE, HeaderMap::new(), UpstreamBody::Empty).await;
        report.line(&step("remove"), &finding(removed, |_| Ok("done".to_owned())));
    }

    async fn send(
        &self,
        client: &Upstream,
        method: Method,
        headers: HeaderMap,
        body: UpstreamBody,
    ) -> Result<TrialResponse, String> {
        let mut request = UpstreamRequest::new(method, &self.bucket, &self.object);
        request.headers = headers;
        request.body = body;
        successful(client.send(request).await.map_err(|error| with_causes(&error))?).await
    }

    async fn list(&self, client: &Upstream) -> Result<TrialResponse, String> {
        let parameter = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        let mut request = UpstreamRequest::new(Method::GET, &self.bucket, None);
        request.query = vec![parameter("list-type", "2"), parameter("prefix", self.object.as_str())];
        successful(client.send(request).await.map_err(|error| with_causes(&error))?).await
    }
}

fn settings() -> server::Settings {
    server::Settings {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        address_key: "127.0.0.1",
        tls: None,
        max_connections: 16,
        header_timeout: TIMEOUT,
        idle_timeout: TIMEOUT,
        min_rate: 1,
        drain_timeout: Duration::ZERO,
    }
}

/// The response if it is a success, otherwise the message of its error document.
async fn successful(response: Response<BoxBody>) -> Result<TrialResponse, String> {
    let (head, body) = response.into_parts();
    let body =
        read_bounded(body, MAX_RESPONSE).await.map_err(|error| format!("the response broke off: {error}"))?;
    if head.status.is_success() {
        return Ok((head.status, head.headers, body));
    }
    Err(match xml::parse_error_document(&body) {
        Ok(document) => format!("{} {}: {}", head.status.as_u16(), document.code, document.message),
        Err(_) => head.status.to_string(),
    })
}

fn finding(
    response: Result<TrialResponse, String>,
    judge: impl FnOnce(TrialResponse) -> Result<String, String>,
) -> Finding {
    match response.and_then(judge) {
        Ok(text) => Finding::good(text),
        Err(why) => Finding::failed(why),
    }
}

fn same(read: &[u8], written: &[u8]) -> Result<String, String> {
    if read == written {
        Ok(format!("{} bytes, as they were written", read.len()))
    } else {
        Err(format!("{} bytes, which are not those that were written", read.len()))
    }
}

/// Checks that the listing contains the object with its plaintext's size.
fn listed(document: &[u8]) -> Result<String, String> {
    let size = format!("<Size>{OBJECT_LENGTH}</Size>");
    if String::from_utf8_lossy(document).contains(&size) {
        Ok(format!("{OBJECT_LENGTH} bytes"))
    } else {
        Err(format!("the listing has no object of {OBJECT_LENGTH} bytes"))
    }
}
