//! The storage: sends signed requests, over pooled connections or in process, and repeats those that are safe
//! to repeat. It knows HTTP and S3's addressing, and must not know what objects mean, how they are sealed, or
//! which client sent the request. A body that fails or is not of its announced length never becomes a
//! complete request, nor a short response a complete one.

mod address;
mod advice;
mod carrier;
mod connector;
mod credentials;
mod error;
mod follow;
mod incoming;
mod outcome;
mod outgoing;
mod pool;
mod regions;
mod request;
mod retry;
mod router;
mod settings;
#[cfg(test)]
mod tests;
mod time_limits;
mod timings;
mod transport;

use std::error::Error as StdError;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_credential_types::Credentials as AwsCredentials;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use self::carrier::Carrier;
use self::connector::Connector;
use self::credentials::CredentialSource;
pub use self::error::{AddressError, UpstreamError, UpstreamSetupError};
use self::incoming::{Incoming, promised_length};
pub use self::outcome::is_repeated;
use self::outcome::{classify, failure, is_unclear, marked, read_ahead, read_refusal};
pub use self::outgoing::UpstreamBody;
use self::pool::{Pool, Unsent};
use self::regions::{Regions, Site};
use self::request::{Prepared, TransportSecurity, attempt_span, ended};
use self::retry::{Budget, FailureClass, Pace};
pub use self::router::{Conflict, InvalidStoredName, Route, Routes, StoredName, Upstreams};
pub use self::settings::{
    CONNECT_TIMEOUT, Credentials, Embedded, HEAD_TIMEOUT, IDLE_TIMEOUT, MAX_IDLE_CONNECTIONS, MAX_RETRIES,
    NAME, POOL_IDLE_TIMEOUT, Settings, Target, Timeouts,
};
use self::time_limits::{supervise, within};
use self::timings::Timings;
pub use self::transport::{HeadRoom, Transport};
#[cfg(feature = "embedded-store")]
pub use self::transport::{OriginalHeaders, Sending};
use crate::buffers::{ConnectionCounter, PacedBody};
use crate::clock;
use crate::s3::{BucketName, ObjectKey};
use crate::timer;
use crate::trace::{self, OpenSpan};
use crate::wire::checksum::ChecksumAlgorithm;
use crate::wire::header::name::REQUEST_ID;

/// The error of a body.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A body of bytes.
pub type BoxBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Maximum bytes of a response body that [`Upstream::fetch`] reads ahead: more than S3 writes in one
/// configuration or error document.
pub const MAX_SMALL_BODY: usize = 64 * 1024;

/// The name of s3veil in `Via`.
pub const VIA: &str = "1.1 s3veil";

/// Max changes of a request's region: a remembered one may be wrong, and be corrected.
const MAX_MOVES: u32 = 2;

/// A request to the storage, unsigned.
#[derive(Debug)]
pub struct UpstreamRequest {
    /// The method.
    pub method: Method,
    /// The bucket, unless the request is for the service itself (ListBuckets).
    pub bucket: Option<BucketName>,
    /// The object, decoded; only with a bucket.
    pub object: Option<ObjectKey>,
    /// Query parameters, decoded, in order; `None` is a bare name (`?acl`).
    pub query: Vec<(String, Option<String>)>,
    /// End-to-end headers. Those of the connection (host, length, framing, signature) are replaced.
    pub headers: HeaderMap,
    /// The body.
    pub body: UpstreamBody,
}

impl UpstreamRequest {
    /// A request on a bucket or an object, without query, headers and body.
    pub fn new<'a>(
        method: Method,
        bucket: impl Into<Option<&'a BucketName>>,
        object: impl Into<Option<&'a ObjectKey>>,
    ) -> Self {
        Self {
            method,
            bucket: bucket.into().cloned(),
            object: object.into().cloned(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: UpstreamBody::Empty,
        }
    }
}

/// A request to the storage, and its response.
pub trait Exchange: Future<Output = Result<Response<BoxBody>, UpstreamError>> + Send {}

impl<F: Future<Output = Result<Response<BoxBody>, UpstreamError>> + Send> Exchange for F {}

/// The client of the storage. Cloning shares pool and credentials.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    regions: Regions,
    security: TransportSecurity,
    carrier: Carrier,
    /// The responses in flight.
    crowd: ConnectionCounter,
    credentials: CredentialSource,
    checksum: Option<ChecksumAlgorithm>,
    timeouts: Timeouts,
    max_retries: u32,
    via: Option<HeaderValue>,
    counts: Counts,
    timings: Timings,
}

/// The requests that were sent, retries included.
#[derive(Debug, Default)]
struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Upstream {
    /// Sets up a client that connects to the target of `settings`: reads root certificates, asks for the
    /// first credentials. Connects to nothing yet.
    ///
    /// # Errors
    /// [`UpstreamSetupError`]; `NoTransport` for [`Target::Embedded`], which is reached
    /// with a transport of its own.
    pub async fn build(settings: Settings) -> Result<Self, UpstreamSetupError> {
        match settings.target {
            Target::Embedded { .. } => return Err(UpstreamSetupError::NoTransport),
            Target::Endpoint(_) | Target::Aws => {}
        }
        let regions = Regions::new(&settings.target, &settings.region, settings.path_style)?;
        let is_tls = regions.home().address.is_tls();
        let crowd = ConnectionCounter::default();
        let pool = network(&settings, is_tls, crowd.clone())?;
        let security = if is_tls { TransportSecurity::Encrypted } else { TransportSecurity::Plaintext };
        Self::assemble(settings, regions, Carrier::Network(pool), security, crowd).await
    }

    /// Sets up a client whose requests stay within the process: `transport` carries them, signed with the
    /// credentials of `settings`. Failures are not repeated, since they would repeat themselves.
    ///
    /// # Errors
    /// As [`Self::build`].
    #[cfg(feature = "embedded-store")]
    pub async fn with_transport(
        settings: Settings,
        transport: Box<dyn Transport>,
    ) -> Result<Self, UpstreamSetupError> {
        let regions = Regions::new(&settings.target, &settings.region, settings.path_style)?;
        let settings = Settings { max_retries: 0, ..settings };
        Self::assemble(
            settings,
            regions,
            Carrier::InProcess(transport),
            TransportSecurity::Encrypted,
            ConnectionCounter::default(),
        )
        .await
    }

    async fn assemble(
        settings: Settings,
        regions: Regions,
        carrier: Carrier,
        security: TransportSecurity,
        crowd: ConnectionCounter,
    ) -> Result<Self, UpstreamSetupError> {
        let Settings { name, region, credentials, checksum, timeouts, max_retries, via, .. } = settings;
        let credentials = CredentialSource::new(credentials, &region).await?;
        let via = via.map(HeaderValue::from_static);
        let shared = Shared {
            name,
            regions,
            security,
            carrier,
            crowd,
            credentials,
            checksum,
            timeouts,
            max_retries,
            via,
            counts: Counts::default(),
            timings: Timings::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The storage's name in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The configured region.
    pub fn region(&self) -> &str {
        self.shared.regions.home().region()
    }

    /// The algorithm of the checksum that is sent with ciphertext.
    pub fn checksum_algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.shared.checksum
    }

    /// How many requests were sent, retries included: those that read (GET, HEAD), and others.
    pub fn request_counts(&self) -> (u64, u64) {
        let Counts { reads, writes } = &self.shared.counts;
        (reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed))
    }

    /// The connections to the storage: those that wait for a request, and those in use. In process there are
    /// none, and the requests in flight count as in use.
    pub fn connections(&self) -> (usize, usize) {
        (self.shared.carrier.idle_connections(), self.shared.crowd.count())
    }

    /// Signs and sends a request; repeats it if it can be repeated. Any status is a response. The
    /// response's body fails with an [`UpstreamError`] when it breaks off, exceeds the idle timeout, or
    /// does not have its announced length. [`is_repeated`] reports for a response whether an earlier
    /// attempt may have been carried out.
    pub fn send(&self, request: UpstreamRequest) -> impl Exchange {
        self.exchange(request, Reading::Head)
    }

    /// Like [`Self::send`], mostly for reads of small documents: up to [`MAX_SMALL_BODY`] bytes of the
    /// response's body are read ahead, and a body that breaks off within them is a reason to send the
    /// request again.
    pub fn fetch(&self, request: UpstreamRequest) -> impl Exchange {
        self.exchange(request, Reading::SmallBody)
    }

    /// The request is prepared before the future is made, which otherwise has room for both.
    fn exchange(&self, mut request: UpstreamRequest, reading: Reading) -> impl Exchange {
        let Shared { name, regions, security, checksum, max_retries, .. } = &*self.shared;
        let (site, empty) = (self.find_site(&request), request.body.take_empty_stream());
        let request = Prepared::new(request, *security, *checksum);
        async move {
            let mut site = match site {
                Ok(site) => site,
                Err(bucket) => Box::pin(self.learn_site(&bucket)).await,
            };
            if let Some(body) = empty {
                Box::pin(ended(body)).await?;
            }
            let mut budget = Budget::new(*max_retries);
            let (mut may_have_been_done, mut moves) = (false, 0);
            loop {
                let sent = self.attempt(&request, regions.site(&site), budget.time_left()).await;
                let mut outcome = match (reading, sent) {
                    (Reading::SmallBody, Ok(response)) => Box::pin(read_ahead(response)).await,
                    (Reading::Head | Reading::SmallBody, outcome) => outcome,
                };
                if let Ok(response) = &outcome
                    && moves < MAX_MOVES
                    && regions.may_redirect(response)
                {
                    match Box::pin(self.follow(outcome, &request, &site)).await {
                        Ok(moved) => {
                            (site, moves) = (moved, moves + 1);
                            continue;
                        }
                        Err(unmoved) => outcome = unmoved,
                    }
                }
                let class = classify(&outcome, &request);
                if class.is_none() || budget.is_spent() {
                    return marked(outcome, may_have_been_done);
                }
                let (outcome, class) = match outcome {
                    Ok(response) if is_unclear(&response, &request) => Box::pin(read_refusal(response)).await,
                    outcome => (outcome, class),
                };
                let allowed = class.filter(|class| class.allows(request.idempotency()));
                let Some((class, pause)) = allowed.and_then(|class| Some((class, budget.spend()?))) else {
                    return marked(outcome, may_have_been_done);
                };
                may_have_been_done |= class == FailureClass::Unsettled;
                trace::note_retry();
                metrics::counter!("s3veil_upstream_retries_total", "upstream" => name.clone()).increment(1);
                tracing::debug!(?class, ?pause, failure = %failure(&outcome), "repeating a request to the storage");
                drop(outcome);
                timer::sleep(pause).await;
            }
        }
    }

    /// Makes one attempt. A response with more header fields than usual fails at first: an object can have
    /// that many metadata entries. A read is then requested again, on a connection of its own that accepts
    /// more.
    async fn attempt(
        &self,
        request: &Prepared,
        site: &Site,
        time_left: Option<Duration>,
    ) -> Result<Response<BoxBody>, UpstreamError> {
        let begun = clock::now();
        let mut span = attempt_span::begin(&self.shared.name, request);
        let outcome = match self.attempt_within(request, site, time_left, HeadRoom::Usual, &mut span).await {
            Err(UpstreamError::HeadTooLarge) if request.is_read() => {
                Box::pin(self.attempt_within(request, site, time_left, HeadRoom::Large, &mut span)).await
            }
            outcome => outcome,
        };
        trace::note_storage_call(clock::since(begun));
        if let (Err(error), Some(span)) = (&outcome, &mut span) {
            span.fail(error.kind());
        }
        outcome
    }

    /// The request of one attempt, signed. A streamed body fails when the sender that is returned with it is
    /// dropped.
    fn signed(
        &self,
        request: &Prepared,
        site: &Site,
        credentials: &AwsCredentials,
        span: Option<&mut OpenSpan>,
    ) -> Result<(Unsent, Option<oneshot::Sender<()>>), UpstreamError> {
        let Shared { carrier, crowd, via, .. } = &*self.shared;
        let mut head = request.head(&site.address)?;
        let original = carrier.adapt(&mut head.headers);
        site.signer.sign(&mut head, request.signing(), credentials, clock::time_of_day())?;
        transport::restore(&mut head.headers, original);
        if let Some(via) = via {
            head.headers.insert(header::VIA, via.clone());
        }
        attempt_span::inject(span, &mut head);
        let (body, interest) = request.body();
        let body = PacedBody::new(body, crowd.clone());
        Ok((Unsent::new(Request::from_parts(head, body)), interest))
    }

    /// Every attempt has its own signature, since signatures age and credentials change.
    async fn attempt_within(
        &self,
        request: &Prepared,
        site: &Site,
        time_left: Option<Duration>,
        head_room: HeadRoom,
        span: &mut Option<OpenSpan>,
    ) -> Result<Response<BoxBody>, UpstreamError> {
        let Shared { carrier, crowd, credentials, timeouts, counts, .. } = &*self.shared;
        let count = if request.is_read() { &counts.reads } else { &counts.writes };
        count.fetch_add(1, Ordering::Relaxed);
        let timeouts = Timeouts { head: request.pace().limit(timeouts.head), ..*timeouts };
        let credentials = match credentials.known() {
            Some(credentials) => credentials,
            None => Box::pin(credentials.current()).await?,
        };
        let (mut unsent, interest) = self.signed(request, site, &credentials, span.as_mut())?;
        let (member, began) = (crowd.enter(), clock::now());
        let mut exchange = pin!(carrier.send(&mut unsent, head_room));
        let outcome = match request.upload() {
            Some(upload) => supervise(exchange.as_mut(), upload, timeouts).await,
            None => {
                let limit = timeouts.connect + timeouts.head;
                let is_short = request.pace() != Pace::Long;
                within(exchange.as_mut(), time_left.filter(|_| is_short).unwrap_or(limit).min(limit)).await
            }
        };
        if let Some(failure) = request.upload().and_then(|upload| upload.take_failure()) {
            return Err(failure);
        }
        let status = outcome.as_ref().map(Response::status);
        self.shared.timings.record(self.name(), request.kind(), status, clock::since(began));
        let response = outcome?;
        trace::note_storage_response(response.headers().get(&REQUEST_ID));
        attempt_span::respond(span.as_mut(), response.status(), response.headers());
        let is_early = request.upload().is_some_and(|upload| !upload.is_sent());
        if is_early && response.status().is_success() {
            // The body may still fail, so this is not a success.
            return Err(UpstreamError::Protocol(
                "the storage reported success before it had the whole body".into(),
            ));
        }
        let (head, body) = response.into_parts();
        let promised = promised_length(request.method(), head.status, &head.headers);
        let body = Incoming::new(body, promised, timeouts.idle, (interest, member, span.take()));
        Ok(Response::from_parts(head, body.boxed_unsync()))
    }
}

/// The connections to a storage that is reached over the network.
fn network(settings: &Settings, is_tls: bool, crowd: ConnectionCounter) -> Result<Pool, UpstreamSetupError> {
    let extra = settings.extra_root_ca.as_deref();
    let connector = Connector::new(is_tls, extra, settings.timeouts, crowd)?;
    Ok(Pool::new(connector, settings.max_idle_connections, POOL_IDLE_TIMEOUT))
}

/// How much of a response is part of its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Its head.
    Head,
    /// Its body too, if that is small.
    SmallBody,
}
