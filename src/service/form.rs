//! A browser's form: it carries its signature in its fields, so nothing of it is known, and nothing acted on, before
//! those were read and verified.

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap};
use http::request::Parts;
use http::{Method, Response};

use super::access_log::Record;
use super::{Arrival, Client, Inner};
use crate::body::{BoxBody, FormBody, boxed};
use crate::error::Error;
use crate::operation;
use crate::operation::post_object::FormUpload;
use crate::s3::{
    BucketName, ErrorCode, ObjectKey, Operation, PostPolicy, Query, S3Error, S3Path, encode_path, route,
};
use crate::sigv4::{access_key_id, authenticate_form};

/// Headers that begin with `x-amz-` and change nothing about a form.
const HARMLESS: [&str; 4] = ["x-amz-cf-id", "x-amz-content-sha256", "x-amz-date", "x-amz-user-agent"];

/// How long the fields before a form's file may take in all: 20 KiB, of a sender that is not known yet.
const FIELDS_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a form was sent to.
pub(super) struct Sent<'a> {
    /// The request before its body.
    pub(super) parts: &'a Parts,
    /// The bucket.
    pub(super) bucket: &'a BucketName,
    /// Whether the host named the bucket.
    pub(super) is_virtual_host: bool,
    /// How it arrived.
    pub(super) arrival: &'a Arrival,
}

/// Whether a request is a form that authenticates itself. One with an `Authorization` header or a query is not: it is
/// judged by these, as every other request.
pub(super) fn is_form(parts: &Parts, path: &S3Path, query: &Query) -> bool {
    parts.method == Method::POST
        && query.is_empty()
        && !parts.headers.contains_key(AUTHORIZATION)
        && matches!(route(&parts.method, path, query, &parts.headers), Ok(Operation::PostObject))
}

impl Sent<'_> {
    pub(super) async fn answer(
        &self,
        inner: &Inner,
        body: BoxBody,
        record: &mut Record,
    ) -> Result<Response<BoxBody>, Error> {
        let headers = &self.parts.headers;
        let request_length = content_length(headers)?;
        refuse_settings(headers)?;
        let content_type =
            headers.get(CONTENT_TYPE).ok_or(ErrorCode::MalformedPOSTRequest).map_err(S3Error::from)?;
        let guest = inner.unsigned.forms.enter(self.arrival.peer)?;
        let patience = FIELDS_TIMEOUT.min(inner.resources.client_idle_timeout);
        let (form, file) = FormBody::open(body, content_type, patience).await?;

        let now = SystemTime::now();
        let secret_of = |id: &str| inner.clients.secret_of(id);
        let signed = authenticate_form(|name| form.field(name), &inner.verification, now, secret_of);
        let signed = signed.inspect_err(|error| {
            let claimed = form.field("x-amz-credential").or_else(|| form.field("awsaccesskeyid"));
            record.refused_login(error, claimed.map(access_key_id), Some(Operation::PostObject));
        })?;
        record.authenticated(signed.access_key_id.as_str(), Operation::PostObject);
        let policy = PostPolicy::parse(signed.policy)?;
        let object_key = form.object_key()?;
        let path = S3Path::Object(self.bucket.clone(), object_key.clone());
        record.asked_for(&path);
        let length = policy.check(&form, self.bucket, now)?;
        let (_, number): (&Client, usize) =
            inner.clients.authorize(&signed.access_key_id, Operation::PostObject, &path, None)?;
        record.admitted(inner.admission.admit(number, &self.arrival.meter)?);
        drop(guest);

        let upload = FormUpload {
            location: self.location(&object_key),
            bucket: self.bucket.clone(),
            object_key,
            form,
            length,
            file: boxed(file),
            request_length,
        };
        operation::post_object(&inner.resources, upload).await
    }

    /// The object's URL, as its sender reaches this server.
    fn location(&self, object_key: &ObjectKey) -> String {
        let scheme = if self.arrival.is_tls { "https" } else { "http" };
        let host = self.parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let bucket = (!self.is_virtual_host).then_some(self.bucket);
        format!("{scheme}://{host}{}", encode_path(bucket, Some(object_key)))
    }
}

/// S3 wants a form's length, too.
fn content_length(headers: &HeaderMap) -> Result<u64, S3Error> {
    let length = headers.get(CONTENT_LENGTH).ok_or(ErrorCode::MissingContentLength)?;
    let length = length.to_str().ok().and_then(|length| length.parse().ok());
    length.ok_or_else(|| S3Error::invalid_argument("Content-Length", "", "Content-Length must be a number."))
}

/// What a header would ask for is not signed, and S3 does not look at it; ignored in silence it could be taken for done.
fn refuse_settings(headers: &HeaderMap) -> Result<(), S3Error> {
    let setting = headers.keys().map(|name| name.as_str()).find(|name| {
        let is_condition = ["if-match", "if-none-match", "content-md5"].contains(name);
        is_condition || (name.starts_with("x-amz-") && !HARMLESS.contains(name))
    });
    match setting {
        None => Ok(()),
        Some(name) => {
            let message = format!(
                "A form says this in a field, where the policy covers it, and not in the header {name}"
            );
            Err(S3Error::not_implemented(message).with("Header", name))
        }
    }
}
