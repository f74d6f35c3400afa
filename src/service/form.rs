//! A browser's form upload, which carries its signature in its fields.
//! It must not know how an object is stored.
//! It promises that no field takes effect before the policy's signature is verified.

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use http::request::Parts;
use http::{Method, Response};

use super::access_log::RequestRecord;
use super::{Arrival, Shared, State};
use crate::access::{Authorized, Subject};
use crate::body::{BoxBody, FormBody, boxed};
use crate::error::Result;
use crate::operation;
use crate::operation::post_object::FormUpload;
use crate::operation::request::declared_length;
use crate::s3::headers::CustomerKeys;
use crate::s3::{
    BucketName, ErrorCode, ObjectKey, Operation, PostPolicy, Query, S3Error, S3Path, encode_path, route,
};
use crate::sigv4::{access_key_id, authenticate_form};

/// `x-amz-` headers that have no effect on a form.
const IGNORED_HEADERS: [&str; 4] = ["x-amz-cf-id", "x-amz-content-sha256", "x-amz-date", "x-amz-user-agent"];

/// Timeout for all fields before a form's file: 20 KiB, from a client that is not authenticated yet.
const FIELDS_TIMEOUT: Duration = Duration::from_secs(5);

/// A form upload without its body.
pub(super) struct FormRequest<'a> {
    /// The head of the request.
    pub(super) parts: &'a Parts,
    /// The target bucket.
    pub(super) bucket: &'a BucketName,
    /// Whether the host names the bucket.
    pub(super) is_virtual_host: bool,
    /// Properties of the connection.
    pub(super) arrival: &'a Arrival,
}

/// Whether a request is a form that is authenticated by its fields. A request with an `Authorization` header
/// or a query is authenticated by these, as every other request.
pub(super) fn is_form(parts: &Parts, path: &S3Path, query: &Query) -> bool {
    parts.method == Method::POST
        && query.is_empty()
        && !parts.headers.contains_key(AUTHORIZATION)
        && matches!(route(&parts.method, path, query, &parts.headers), Ok(Operation::PostObject))
}

impl FormRequest<'_> {
    pub(super) async fn respond(
        &self,
        shared: &Shared,
        state: &State,
        body: BoxBody,
        record: &mut RequestRecord,
    ) -> Result<Response<BoxBody>> {
        let headers = &self.parts.headers;
        let request_length =
            declared_length(headers)?.ok_or(S3Error::from(ErrorCode::MissingContentLength))?;
        refuse_unsigned_settings(headers)?;
        let content_type = headers.get(CONTENT_TYPE).ok_or(S3Error::from(ErrorCode::MalformedPOSTRequest))?;
        let permit = shared.unsigned.forms.enter(self.arrival.peer)?;
        let timeout = FIELDS_TIMEOUT.min(state.resources.client_idle_timeout);
        let (form, file) = FormBody::open(body, content_type, timeout).await?;

        let now = SystemTime::now();
        let secret_of = |id: &str| state.clients.secret(id);
        let signed = authenticate_form(|name| form.field(name), &state.verification, now, secret_of);
        let signed = signed.inspect_err(|error| {
            let claimed = form.field("x-amz-credential").or_else(|| form.field("awsaccesskeyid"));
            record.refused_login(error, claimed.map(access_key_id), Some(Operation::PostObject));
        })?;
        record.details().set_form();
        record.authenticated(&signed.access_key_id, Operation::PostObject);
        let policy = PostPolicy::parse(signed.policy)?;
        let object_key = form.object_key()?;
        let path = S3Path::Object(self.bucket.clone(), object_key.clone());
        record.set_target(&path);
        let client = || state.clients.number(&signed.access_key_id);
        state.tallies.name(record.tallies(), client, &state.resources.policies, &path);
        let length = policy.check(&form, self.bucket, now)?;
        let mut settings = form.upload_headers()?;
        let customer_keys = CustomerKeys::take(Operation::PostObject, &mut settings)?;
        record.set_object(&Query::default(), None, &customer_keys);
        let subject = Subject {
            operation: Operation::PostObject,
            path: &path,
            query: &Query::default(),
            headers: &settings,
            copy_source: None,
            certificate_names: self.arrival.certificate_names.as_deref(),
        };
        let Authorized { grants, number, is_append } =
            state.clients.authorize(&signed.access_key_id, subject)?;
        record.admit_to_audit(Operation::PostObject)?;
        record.admitted(shared.admission.admit(number, &self.arrival.meter).await?);
        drop(permit);

        let upload = FormUpload {
            location: self.location(&object_key),
            bucket: self.bucket.clone(),
            object_key,
            form,
            customer_keys,
            addressing: self.arrival.addressing(self.is_virtual_host),
            headers: settings,
            grants: grants.clone(),
            is_append,
            length,
            file: boxed(file),
            request_length,
        };
        operation::post_object(&state.resources, upload).await
    }

    /// The object's URL, with the scheme and host that the client used.
    fn location(&self, object_key: &ObjectKey) -> String {
        let scheme = if self.arrival.tls_version.is_some() { "https" } else { "http" };
        let host = self.parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let bucket = (!self.is_virtual_host).then_some(self.bucket);
        format!("{scheme}://{host}{}", encode_path(bucket, Some(object_key)))
    }
}

/// Refuses settings in headers: these are not signed, and S3 ignores them. Ignored silently, a setting could
/// be taken for effective.
fn refuse_unsigned_settings(headers: &HeaderMap) -> Result<(), S3Error> {
    let setting = headers.keys().map(|name| name.as_str()).find(|name| {
        let is_condition = ["if-match", "if-none-match", "content-md5"].contains(name);
        is_condition || (name.starts_with("x-amz-") && !IGNORED_HEADERS.contains(name))
    });
    let Some(name) = setting else { return Ok(()) };
    let place = "in a field, where the policy covers it, and not in the header";
    Err(S3Error::not_implemented(format!("A form sets this {place} {name}")).with("Header", name))
}
