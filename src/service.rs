//! The life of one request: parse, verify, authorize, handle, respond, and one log line when the body has ended.
//!
//! It must not know how requests arrive or how objects are sealed. Nothing of a request is acted on before its
//! signature (a form's is in its fields) was verified, and whatever goes wrong becomes an S3 error document here and
//! nowhere else.

mod access_log;
mod admission;
mod caught;
mod clients;
mod form;
mod round_trip;
mod unsigned;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderValue, ORIGIN, RETRY_AFTER,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::{Body, Incoming};

use self::access_log::Record;
use self::admission::Admission;
use self::caught::{Panicked, caught};
pub use self::clients::{Client, ClientAccess, Clients};
use self::unsigned::Unsigned;
use crate::body::{BoxBody, MeteredBody, ReclaimableBody, boxed};
use crate::error::Error;
use crate::meter::Meter;
use crate::object::slow_down;
use crate::operation::request::{Call, Reached};
use crate::operation::response::cors::{Asker, CorsRequest};
use crate::operation::{self, Resources};
use crate::s3::headers::SDK_CHECKSUM_ALGORITHM;
use crate::s3::{
    CopySource, ErrorCode, Operation, Query, S3Error, S3Path, headers, is_parameter, route,
    virtual_host_bucket,
};
use crate::sigv4::{RequestHead, VerifyPolicy, authenticate, claimed_access_key_id};
use crate::upstream::{latest_id, watched};

/// Everything a request needs. Cheap to clone; every clone serves the same clients.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    resources: Arc<Resources>,
    clients: Clients,
    verification: VerifyPolicy,
    domains: Vec<String>,
    admission: Admission,
    unsigned: Unsigned,
}

/// How a request arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Where from.
    pub peer: SocketAddr,
    /// Whether it came encrypted.
    pub is_tls: bool,
    /// Whether it came on a connection too many, so that it is refused.
    pub is_surplus: bool,
    /// How slow its client is.
    pub meter: Meter,
}

impl Service {
    /// Serves `clients` with what `resources` hold; `domains` are those of virtual-hosted-style requests. More than
    /// `max_requests` at once are answered with `SlowDown`.
    pub fn new(
        resources: Arc<Resources>,
        clients: Clients,
        verification: VerifyPolicy,
        domains: Vec<String>,
        max_requests: usize,
    ) -> Self {
        let admission = Admission::new(max_requests, clients.len());
        let unsigned = Unsigned::default();
        Self(Arc::new(Inner { resources, clients, verification, domains, admission, unsigned }))
    }

    /// Cuts off, as long as there is a clone of this service, every client that has kept it waiting for
    /// `patience` longer than its bytes were worth at the least rate.
    pub fn cut_slow_clients(&self, patience: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.0.admission.cut_slow_clients(patience)
    }

    /// What the handlers work with, for health checks.
    pub fn resources(&self) -> Arc<Resources> {
        Arc::clone(&self.0.resources)
    }

    /// Answers one request.
    pub async fn call(&self, request: Request<Incoming>, arrival: Arrival) -> Response<BoxBody> {
        let (parts, body) = request.into_parts();
        let expects_continue = parts.headers.contains_key(EXPECT);
        let asks_in_vain = expects_continue && body.is_end_stream();
        let mut record = Record::begin(&parts, arrival.peer);
        let (body, leftover) = ReclaimableBody::new(body);
        let answer = match arrival.is_surplus {
            true => Err(slow_down().into()),
            false => {
                let body = boxed(MeteredBody::new(body, &arrival.meter));
                let (answer, storage_id) = {
                    let mut work = pin!(watched(caught(self.answer(&parts, body, &arrival, &mut record))));
                    (work.as_mut().await, latest_id(work.as_mut()))
                };
                record.heard(storage_id);
                answer.unwrap_or_else(|Panicked| Err(Error::Panicked))
            }
        };
        let mut response = answer.unwrap_or_else(|error| {
            let response = refusal(&error, parts.uri.path(), record.request_id());
            record.failed(error);
            response
        });
        self.settle_cors(&parts, &mut response, record.is_authenticated()).await;
        let was_never_asked = leftover.drain(expects_continue);
        if asks_in_vain || was_never_asked || arrival.is_surplus {
            // The answer comes without a 100 before it. botocore then takes the next answer on this connection for
            // headers; and a body that was not asked for ends the connection anyway, which the client should know.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        record.finish(response)
    }

    /// Adds the CORS headers that let a page read the response, where the bucket's CORS rules allow it and
    /// the storage has not set them. The response to a request without `Origin` has no CORS headers.
    async fn settle_cors(&self, parts: &Parts, response: &mut Response<BoxBody>, is_signed: bool) {
        let Some(origin) = parts.headers.get(ORIGIN) else {
            headers::remove_cors(response.headers_mut());
            return;
        };
        if parts.method == Method::OPTIONS || response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let Ok(path) = S3Path::parse(parts.uri.path(), host, &self.0.domains) else { return };
        let Some(bucket) = path.bucket() else { return };
        let request = CorsRequest { bucket, method: &parts.method, origin };
        let asker = if is_signed { Asker::Signed } else { Asker::Unsigned };
        // On the heap, as handlers are.
        let told =
            Box::pin(operation::response::cors::cors_headers(&self.0.resources, &request, asker)).await;
        for (name, value) in told.iter() {
            response.headers_mut().append(name, value.clone());
        }
    }

    async fn answer(
        &self,
        parts: &http::request::Parts,
        body: BoxBody,
        arrival: &Arrival,
        record: &mut Record,
    ) -> Result<Response<BoxBody>, Error> {
        let Inner { resources, clients, verification, domains, admission, unsigned } = &*self.0;
        round_trip::refuse(&parts.headers)?;
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let path = S3Path::parse(parts.uri.path(), host, domains)?;
        record.asked_for(&path);
        headers::refuse_nominations(&parts.headers)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        if parts.method == Method::OPTIONS {
            let _guest = unsigned.preflights.enter(arrival.peer)?;
            // On the heap, as forms and handlers are: every request's future would have room for the largest.
            return Box::pin(operation::preflight(resources, &path, &parts.headers)).await;
        }

        let virtual_host = host.and_then(|host| virtual_host_bucket(host, domains));
        if let S3Path::Bucket(bucket) = &path
            && form::is_form(parts, &path, &query)
        {
            let sent = form::Sent { parts, bucket, is_virtual_host: virtual_host.is_some(), arrival };
            return Box::pin(sent.answer(&self.0, body, record)).await;
        }
        let head = RequestHead {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            raw_query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            virtual_host_bucket: virtual_host.as_deref(),
            is_parameter,
        };
        let authenticated = authenticate(&head, verification, SystemTime::now(), |id| clients.secret_of(id));
        let authenticated = authenticated.inspect_err(|error| {
            let claimed = claimed_access_key_id(head.headers, head.raw_query);
            record.refused_login(error, claimed, route(&parts.method, &path, &query, &parts.headers).ok());
        })?;
        let mut headers = parts.headers.clone();
        headers::unhoist(&query, &mut headers)?;
        let query = query.without_signature().without_log_parameters();
        let operation = route(&parts.method, &path, &query, &headers)?;
        if operation.is_without_content() {
            // S3 reads it where a body comes: on PutObject and UploadPart, and for documents.
            headers.remove(SDK_CHECKSUM_ALGORITHM);
        }
        record.authenticated(authenticated.access_key_id.as_str(), operation);
        let copy_source = copy_source(operation, &headers)?;
        let (client, number) =
            clients.authorize(&authenticated.access_key_id, operation, &path, copy_source.as_ref())?;
        refuse_unread_body(&parts.method, &body)?;
        let under_way = record.admitted(admission.admit(number, &arrival.meter)?);

        let call = Call {
            operation,
            reached: Reached { is_tls: arrival.is_tls, is_virtual_host: virtual_host.is_some() },
            method: parts.method.clone(),
            path,
            query,
            headers,
            payload: authenticated.payload,
            body,
            visible_buckets: client.visible_buckets(),
            copy_source,
            under_way,
        };
        operation::handle(resources, call).await
    }
}

/// A body of a request that has none by its method would be read, and held, for nothing.
///
/// # Errors
/// `InvalidRequest`.
fn refuse_unread_body(method: &Method, body: &BoxBody) -> Result<(), S3Error> {
    let takes_none = [Method::GET, Method::HEAD, Method::DELETE].contains(method);
    if takes_none && !body.is_end_stream() {
        return Err(S3Error::invalid_request(format!("A {method} request takes no body.")));
    }
    Ok(())
}

/// What a copy reads beside the object it writes.
fn copy_source(operation: Operation, headers: &HeaderMap) -> Result<Option<CopySource>, S3Error> {
    match operation.is_copy() {
        true => CopySource::from_headers(headers).map(Some),
        false => Ok(None),
    }
}

/// The error document of S3.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
fn refusal(error: &Error, resource: &str, request_id: &str) -> Response<BoxBody> {
    let told = error.to_s3();
    let document = told.to_xml(resource, request_id, "s3veil");
    let mut response = Response::new(boxed(http_body_util::Full::from(document)));
    *response.status_mut() = told.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if told.code == ErrorCode::SlowDown {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests;
