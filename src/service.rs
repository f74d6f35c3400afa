//! The life of one request: parse, verify, authorize, handle, respond, and one log line when the body has
//! ended. It must not know how requests arrive or how objects are encrypted. It promises that no part of a
//! request takes effect before its signature is verified (that of a form is in its fields), and that errors
//! become S3 error documents here and nowhere else.

mod access_log;
mod audited;
mod catch_panic;
mod details;
mod form;
mod forwarding_loop;
mod measured;
mod needless;
mod tally;
mod unsigned;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderValue, ORIGIN, RETRY_AFTER,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt;

use self::access_log::{Recorders, RequestRecord};
use self::catch_panic::{Panicked, catch_panic};
pub use self::measured::login_refusal_reasons;
use self::needless::{refuse_unread_body, remove_ignored};
pub use self::tally::{Tallies, TallySettings};
use self::unsigned::UnsignedLimits;
use crate::access::{ANONYMOUS, Authorized, Clients, Subject};
use crate::admission::Admission;
use crate::audit::{Audit, with_key_uses};
use crate::body::{BoxBody, BoxError, Leftover, MeteredBody, ReclaimableBody, boxed};
use crate::error::Error;
use crate::log::AccessLog;
use crate::meter::Meter;
use crate::object::slow_down;
use crate::operation::request::{Addressing, Call};
use crate::operation::response::cors::{CorsRequest, Requester};
use crate::operation::{self, Resources};
use crate::s3::headers::CustomerKeys;
use crate::s3::{
    CopySource, ErrorCode, Operation, Query, S3Error, S3Path, headers, is_parameter, route,
    virtual_host_bucket,
};
use crate::sigv4::{
    AccessKeyId, AuthError, Authenticated, Payload, RequestHead, VerifyPolicy, authenticate,
    claimed_access_key_id,
};
use crate::timer;
use crate::trace::{Tracer, internal_span, observed, take_facts};
use crate::wire::header::text;

/// S3's message for a request without a signature that sets headers of the response.
const OVERRIDES: &str = "Request specific response headers cannot be used for anonymous GET requests.";
/// So many logins in a row may be refused on a connection without delay: a client that has a wrong secret, or
/// several clients behind one balancer.
const FREE_REFUSALS: u32 = 10;
/// The delay of each further refusal, so that a flood of invalid signatures on a few connections takes no
/// time of other clients.
const REFUSAL_DELAY: Duration = Duration::from_millis(100);
/// How often clients that are too slow are searched for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Handles the requests of all clients. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

struct Shared {
    state: ArcSwap<State>,
    admission: Admission,
    unsigned: UnsignedLimits,
    audit: Option<Audit>,
    tracer: Option<Tracer>,
}

/// What a configuration decides about requests. A request keeps the state that it began with.
pub struct State {
    /// What operations work with.
    pub resources: Arc<Resources>,
    /// The clients and their rights.
    pub clients: Clients,
    /// The requirements of signatures.
    pub verification: VerifyPolicy,
    /// The domains of virtual-hosted-style requests.
    pub domains: Vec<String>,
    /// Maximum number of requests in flight; others receive `SlowDown`.
    pub max_requests: usize,
    /// A client whose delay, as measured by its meter, reaches this is cut off.
    pub max_delay: Option<Duration>,
    /// Which requests have a line in the log.
    pub access_log: AccessLog,
    /// The metrics of single clients and rules.
    pub tallies: Tallies,
}

/// Properties of the connection that a request was received on.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The client's address.
    pub peer: SocketAddr,
    /// The version of TLS, such as `TLSv1.3`; `None` without TLS.
    pub tls_version: Option<&'static str>,
    /// The names of the verified client certificate, if the client presented one: its subject in the form of
    /// RFC 4514, and its subject alternative names.
    pub certificate_names: Option<Arc<[String]>>,
    /// Whether the connection exceeds the limit of connections: its request is refused.
    pub is_surplus: bool,
    /// Measures the client's delay.
    pub meter: Meter,
}

impl Arrival {
    fn addressing(&self, virtual_host: bool) -> Addressing {
        let tls = self.tls_version.is_some();
        let is_private = tls || self.peer.ip().to_canonical().is_loopback();
        Addressing { tls, virtual_host, is_private }
    }
}

impl Service {
    /// Serves requests with `state`, without an audit log and traces.
    pub fn new(state: State) -> Self {
        Self::recorded(state, None, None)
    }

    /// Serves requests with `state`, records those that use keys in the audit log, if there is one, and makes
    /// traces, if there is a tracer.
    pub fn recorded(state: State, audit: Option<Audit>, tracer: Option<Tracer>) -> Self {
        let admission = Admission::new(state.max_requests, state.clients.numbers());
        let unsigned = UnsignedLimits::default();
        Self(Arc::new(Shared { state: ArcSwap::from_pointee(state), admission, unsigned, audit, tracer }))
    }

    /// Serves the requests that begin from now on with `state`, whose clients were numbered after those of
    /// the current one (`Clients::replacing`).
    pub fn replace(&self, state: State) {
        // The numbers of new clients are known before their first request.
        self.0.admission.resize(state.max_requests, state.clients.numbers());
        self.0.state.store(Arc::new(state));
    }

    /// The state of requests that begin now.
    pub fn state(&self) -> Arc<State> {
        self.0.state.load_full()
    }

    /// Cuts off every client whose delay reaches the `max_delay` of the state. Ends when the last clone of
    /// this service is dropped.
    pub fn cut_slow_clients(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::downgrade(&self.0);
        async move {
            let mut ticks = timer::interval(SWEEP_INTERVAL);
            loop {
                ticks.tick().await;
                let Some(shared) = shared.upgrade() else { return };
                if let Some(max_delay) = shared.state.load().max_delay {
                    shared.admission.cut_slower_than(max_delay);
                }
            }
        }
    }

    /// Responds to one request.
    pub async fn call<B>(&self, request: Request<B>, arrival: Arrival) -> Response<BoxBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let (mut parts, body) = request.into_parts();
        let expects_continue = parts.headers.contains_key(EXPECT);
        let expects_needless_continue = expects_continue && body.is_end_stream();
        let page = Page::from_parts(&parts);
        let state = self.state();
        let recorders = self.recorders(&state);
        let mut record = RequestRecord::begin(&parts, &arrival, state.tallies.unknown(), recorders);
        let (body, leftover) = received(body, &arrival.meter);
        let outcome = if arrival.is_surplus {
            Err(slow_down().into())
        } else {
            let (outcome, facts) = {
                let (uses, trace) = (record.key_uses(), record.trace());
                let work = self.respond(&state, &mut parts, body, &arrival, &mut record);
                let work = pin!(work);
                let work = pin!(with_key_uses(uses, work));
                let mut work = pin!(observed(trace, catch_panic(work)));
                (work.as_mut().await, take_facts(work.as_mut()))
            };
            record.set_facts(facts);
            outcome.unwrap_or_else(|Panicked| Err(Error::Panicked))
        };
        let mut response = outcome.unwrap_or_else(|error| {
            let response = error_response(&error, parts.uri.path(), record.request_id());
            record.failed(error);
            response
        });
        match page {
            Some(page) => add_cors_headers(&state, &page, &mut response, record.is_signed()).await,
            None => headers::remove_cors(response.headers_mut()),
        }
        let was_body_unrequested = leftover.is_some_and(|leftover| leftover.drain(expects_continue));
        if expects_needless_continue || was_body_unrequested || arrival.is_surplus {
            // The response is sent without a 100 before it. botocore then takes the next response on this
            // connection for headers; and an unrequested body ends the connection anyway, which the client
            // should know.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        record.finish(response)
    }

    fn recorders(&self, state: &State) -> Recorders<'_> {
        let Shared { audit, tracer, .. } = &*self.0;
        Recorders { audit: audit.as_ref(), tracer: tracer.as_ref(), access: state.access_log }
    }

    async fn respond(
        &self,
        state: &State,
        parts: &mut Parts,
        body: BoxBody,
        arrival: &Arrival,
        record: &mut RequestRecord,
    ) -> Result<Response<BoxBody>, Error> {
        let Shared { admission, unsigned, .. } = &*self.0;
        let State { resources, clients, domains, .. } = state;
        forwarding_loop::refuse(&parts.headers)?;
        let host = parts.headers.get(HOST).and_then(text);
        let virtual_host = host.and_then(|host| virtual_host_bucket(host, domains));
        let path = S3Path::in_namespace(virtual_host.as_deref(), parts.uri.path())?;
        record.set_target(&path);
        headers::refuse_nominations(&parts.headers)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        if parts.method == Method::OPTIONS {
            let _permit = unsigned.preflights.enter(arrival.peer)?;
            // On the heap, as forms and operations are, so that the future of every request stays small.
            return Box::pin(operation::preflight(resources, &path, &parts.headers)).await;
        }
        if let S3Path::Bucket(bucket) = &path
            && form::is_form(parts, &path, &query)
        {
            let form = form::FormRequest { parts, bucket, is_virtual_host: virtual_host.is_some(), arrival };
            return Box::pin(form.respond(&self.0, state, body, record)).await;
        }
        let identified = state.identify(parts, &path, virtual_host.as_deref(), &query, record);
        let authenticated = count_login(identified, &arrival.meter).await?;
        let mut headers = std::mem::take(&mut parts.headers);
        headers::unhoist(&query, &mut headers)?;
        let query = query.for_operation();
        let operation = route(&parts.method, &path, &query, &headers)?;
        remove_ignored(operation, &mut headers);
        state.authenticated(&authenticated.access_key_id, operation, &path, record);
        let copy_source = copy_source(operation, &headers)?;
        let customer_keys = CustomerKeys::take(operation, &mut headers)?;
        record.set_object(&query, copy_source.as_ref(), &customer_keys);
        let subject = Subject {
            operation,
            path: &path,
            query: &query,
            headers: &headers,
            copy_source: copy_source.as_ref(),
            certificate_names: arrival.certificate_names.as_deref(),
        };
        let Authorized { grants, number, is_append } =
            clients.authorize(&authenticated.access_key_id, subject)?;
        refuse_unread_body(&parts.method, &body)?;
        record.admit_to_audit(operation)?;
        let permit = record.admitted(admission.admit(number, &arrival.meter).await?);
        // On the heap, since it would be moved, and have room, in each future on the way to its operation.
        let call = Box::new(Call {
            operation,
            addressing: arrival.addressing(virtual_host.is_some()),
            method: parts.method.clone(),
            path,
            query,
            headers,
            payload: authenticated.payload,
            body,
            grants: grants.clone(),
            is_append,
            copy_source,
            customer_keys,
            permit: Some(permit),
        });
        operation::handle(resources, call).await
    }
}

impl State {
    /// A state with these resources and clients, and the usual limits.
    #[cfg(test)]
    pub(crate) fn new(resources: Resources, clients: Clients) -> Self {
        let (resources, verification) = (Arc::new(resources), VerifyPolicy::default());
        Self {
            resources,
            clients,
            verification,
            domains: Vec::new(),
            max_requests: 100,
            max_delay: None,
            access_log: AccessLog::default(),
            tallies: Tallies::default(),
        }
    }

    /// Names the client of a request and its operation in the record, and what it counts in.
    fn authenticated(
        &self,
        access_key_id: &AccessKeyId,
        operation: Operation,
        path: &S3Path,
        record: &mut RequestRecord,
    ) {
        record.authenticated(access_key_id, operation);
        let number = || self.clients.number(access_key_id);
        self.tallies.name(record.tallies(), number, &self.resources.policies, path);
    }

    /// The client of a request, by its signature; the anonymous client for a request without any, if there is
    /// such a client.
    ///
    /// # Errors
    /// [`AuthError`]; `InvalidRequest` for a request without a signature that sets response headers, as at
    /// S3.
    fn identify(
        &self,
        parts: &Parts,
        path: &S3Path,
        virtual_host: Option<&str>,
        query: &Query,
        record: &mut RequestRecord,
    ) -> Result<Authenticated, Error> {
        let _span = internal_span("authenticate");
        let Self { clients, verification, .. } = self;
        let head = RequestHead {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            raw_query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            virtual_host_bucket: virtual_host,
            is_parameter,
        };
        match authenticate(&head, verification, record.started_at(), |id| clients.secret(id)) {
            Ok(authenticated) => {
                record.details().set_signature(&authenticated);
                Ok(authenticated)
            }
            Err(AuthError::Anonymous) if clients.admit_anonymous() => {
                if query.iter().any(|(name, _)| name.starts_with("response-")) {
                    return Err(S3Error::invalid_request(OVERRIDES).into());
                }
                let access_key_id = AccessKeyId::new(ANONYMOUS);
                let anonymous = Authenticated { access_key_id, payload: Payload::Unsigned, presigned: false };
                record.details().set_signature(&anonymous);
                Ok(anonymous)
            }
            Err(error) => {
                let claimed = claimed_access_key_id(head.headers, head.raw_query);
                let operation = route(&parts.method, path, query, &parts.headers).ok();
                record.refused_login(&error, claimed, operation);
                Err(error.into())
            }
        }
    }
}

/// Counts a login on its connection. A refusal after many in a row takes [`REFUSAL_DELAY`].
async fn count_login(
    identified: Result<Authenticated, Error>,
    meter: &Meter,
) -> Result<Authenticated, Error> {
    if identified.is_ok() {
        meter.login_accepted();
    } else if meter.login_refused() > FREE_REFUSALS {
        // On the heap, so that the future of every request stays small.
        Box::pin(timer::sleep(REFUSAL_DELAY)).await;
    }
    identified
}

/// A request of a page, which a browser lets read the response only if CORS headers permit it.
struct Page {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    origin: HeaderValue,
}

impl Page {
    /// `None` for a request without `Origin`.
    fn from_parts(parts: &Parts) -> Option<Self> {
        let origin = parts.headers.get(ORIGIN)?.clone();
        let host = parts.headers.get(HOST).cloned();
        Some(Self { method: parts.method.clone(), uri: parts.uri.clone(), host, origin })
    }
}

/// Adds the CORS headers that let a page read the response, where the bucket's CORS rules allow it and
/// the storage has not set them.
async fn add_cors_headers(state: &State, page: &Page, response: &mut Response<BoxBody>, is_signed: bool) {
    let Page { method, uri, host, origin } = page;
    if *method == Method::OPTIONS || response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let Ok(path) = S3Path::parse(uri.path(), host, &state.domains) else { return };
    let Some(bucket) = path.bucket() else { return };
    let request = CorsRequest { bucket, method, origin };
    let requester = if is_signed { Requester::Signed } else { Requester::Unsigned };
    // On the heap, as operations are, so that the future of every request stays small.
    let cors = Box::pin(operation::response::cors::cors_headers(&state.resources, &request, requester)).await;
    for (name, value) in cors.iter() {
        response.headers_mut().append(name, value.clone());
    }
}

/// The body of a request, measured, and its unread rest. A request without a body has neither.
fn received<B>(body: B, meter: &Meter) -> (BoxBody, Option<Leftover<B>>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    if body.is_end_stream() {
        return (BoxBody::default(), None);
    }
    let (body, leftover) = ReclaimableBody::new(body);
    (MeteredBody::new(body, meter).boxed_unsync(), Some(leftover))
}

/// The source object of a copy; `None` for every other operation.
fn copy_source(operation: Operation, headers: &HeaderMap) -> Result<Option<CopySource>, S3Error> {
    if operation.is_copy() { CopySource::from_headers(headers).map(Some) } else { Ok(None) }
}

/// A response with the error document of S3.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
fn error_response(error: &Error, resource: &str, request_id: &str) -> Response<BoxBody> {
    let s3_error = error.to_s3();
    let document = s3_error.to_xml(resource, request_id, "s3veil");
    let mut response = Response::new(boxed(http_body_util::Full::from(document)));
    *response.status_mut() = s3_error.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if s3_error.code == ErrorCode::SlowDown {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests;
