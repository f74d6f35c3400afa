//! The life of one request: parse, verify, authorize, handle, respond, and one log line when the body has ended.
//!
//! It must not know how requests arrive or how objects are sealed. Nothing of a request is acted on before its
//! signature (a form's is in its fields) was verified, and whatever goes wrong becomes an S3 error document here and
//! nowhere else.

mod access_log;
mod admission;
mod clients;
mod form;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderValue, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::{Body, Incoming};

use self::access_log::Record;
use self::admission::Admission;
pub use self::clients::{Client, ClientAccess, Clients};
use crate::body::{BoxBody, ReclaimableBody, boxed};
use crate::error::Error;
use crate::handler::{self, Call, Reached, Resources, UnderWay};
use crate::s3::{
    CopySource, ErrorCode, Operation, Query, S3Error, S3Path, headers, is_parameter, route,
    virtual_host_bucket,
};
use crate::sigv4::{RequestHead, VerifyPolicy, authenticate};

/// The header that names a request, in S3's answers and in ours.
const REQUEST_ID: &str = "x-amz-request-id";

/// Everything a request needs. Cheap to clone; every clone serves the same clients.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    resources: Arc<Resources>,
    clients: Clients,
    verification: VerifyPolicy,
    domains: Vec<String>,
    admission: Admission,
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
        let admission = Admission::new(max_requests);
        Self(Arc::new(Inner { resources, clients, verification, domains, admission }))
    }

    /// What the handlers work with, for health checks.
    pub fn resources(&self) -> Arc<Resources> {
        Arc::clone(&self.0.resources)
    }

    /// Answers one request. `peer` is where it came from, for the log; `is_tls`, whether it came encrypted; `is_surplus`,
    /// whether it came on a connection too many, so that it is refused.
    pub async fn call(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        is_tls: bool,
        is_surplus: bool,
    ) -> Response<BoxBody> {
        let (parts, body) = request.into_parts();
        let expects_continue = parts.headers.contains_key(EXPECT);
        let asks_in_vain = expects_continue && body.is_end_stream();
        let mut record = Record::begin(&parts, peer);
        let (body, leftover) = ReclaimableBody::new(body);
        let (admitted, answer) = match self.0.admission.admit(is_surplus).map(Arc::new) {
            Ok(admitted) => {
                let under_way = UnderWay::counted_by(admitted.clone());
                let answer = self.answer(&parts, boxed(body), is_tls, under_way, &mut record).await;
                (Some(admitted), answer)
            }
            Err(too_many) => (None, Err(too_many.into())),
        };
        let mut response = answer.unwrap_or_else(|error| {
            let response = refusal(&error, parts.uri.path(), record.request_id());
            record.failed(error);
            response
        });
        if !parts.headers.contains_key(ORIGIN) {
            headers::remove_cors(response.headers_mut());
        }
        let was_never_asked = leftover.drain(expects_continue);
        if asks_in_vain || was_never_asked || is_surplus {
            // The answer comes without a 100 before it. botocore then takes the next answer on this connection for
            // headers; and a body that was not asked for ends the connection anyway, which the client should know.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        record.finish(response, admitted)
    }

    async fn answer(
        &self,
        parts: &http::request::Parts,
        body: BoxBody,
        is_tls: bool,
        under_way: UnderWay,
        record: &mut Record,
    ) -> Result<Response<BoxBody>, Error> {
        let Inner { resources, clients, verification, domains, admission: _ } = &*self.0;
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let path = S3Path::parse(parts.uri.path(), host, domains)?;
        record.asked_for(&path);
        headers::refuse_nominations(&parts.headers)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        if parts.method == Method::OPTIONS {
            // On the heap, as forms and handlers are: every request's future would have room for the largest.
            return Box::pin(handler::preflight(resources, &path, &parts.headers)).await;
        }

        let virtual_host = host.and_then(|host| virtual_host_bucket(host, domains));
        if let S3Path::Bucket(bucket) = &path
            && form::is_form(parts, &path, &query)
        {
            let sent = form::Sent { parts, bucket, is_virtual_host: virtual_host.is_some(), is_tls };
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
        let authenticated = authenticate(&head, verification, SystemTime::now(), |id| clients.secret_of(id))?;
        let mut headers = parts.headers.clone();
        headers::unhoist(&query, &mut headers)?;
        let query = query.without_signature().without_log_parameters();
        let operation = route(&parts.method, &path, &query, &headers)?;
        record.authenticated(authenticated.access_key_id.as_str(), operation);
        let copy_source = copy_source(operation, &headers)?;
        let client =
            clients.authorize(&authenticated.access_key_id, operation, &path, copy_source.as_ref())?;

        let call = Call {
            operation,
            reached: Reached { is_tls, is_virtual_host: virtual_host.is_some() },
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
        handler::handle(resources, call).await
    }
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
