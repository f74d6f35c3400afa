//! From a request's method, path, query and headers to its [`Operation`], or to a refusal.
//!
//! A parameter that this module does not know may be a subresource S3 invented yesterday. So a write with one
//! is refused (501) rather than taken for a PutObject, and so is a read whose unknown parameter looks like a
//! subresource.

use http::{HeaderMap, HeaderName, Method};

use super::error::{ErrorCode, Result, S3Error};
use super::operation::{Effect, Operation, Subresource, Target, Verb};
use super::path::S3Path;
use super::query::{Query, is_hoisted};
use crate::wire::header::name;

/// Finds the operation of a request.
///
/// # Errors
/// `MethodNotAllowed` for a known subresource with the wrong method or resource; `NotImplemented` for what is
/// unknown; `InvalidArgument` for conflicting, repeated, missing or impossible parameters;
/// `PreconditionFailed` for a POST to a bucket that is not a form.
pub fn route(method: &Method, path: &S3Path, query: &Query, headers: &HeaderMap) -> Result<Operation> {
    let verb = verb(method)?;
    let target = match path {
        S3Path::Root => Target::Root,
        S3Path::Bucket(_) => Target::Bucket,
        S3Path::Object(..) => Target::Object,
    };
    if verb == Verb::Options {
        return if target == Target::Root { Err(not_allowed(method)) } else { Ok(Operation::CorsPreflight) };
    }
    let request = Request { verb, target, subresource: subresource(query)?, query, headers };
    let operation = request.special_case()?.or_else(|| request.row()).ok_or_else(|| not_allowed(method))?;
    check_parameters(operation, query)?;
    check_hint(operation, query)?;
    Ok(operation)
}

fn verb(method: &Method) -> Result<Verb> {
    match method.as_str() {
        "GET" => Ok(Verb::Get),
        "HEAD" => Ok(Verb::Head),
        "PUT" => Ok(Verb::Put),
        "POST" => Ok(Verb::Post),
        "DELETE" => Ok(Verb::Delete),
        "OPTIONS" => Ok(Verb::Options),
        _ => Err(not_allowed(method)),
    }
}

fn not_allowed(method: &Method) -> S3Error {
    S3Error::from(ErrorCode::MethodNotAllowed).with("Method", method.as_str())
}

/// The one subresource of a query.
fn subresource(query: &Query) -> Result<Subresource> {
    let mut found = Subresource::Itself;
    for candidate in query.iter().filter_map(|(name, _)| Subresource::parse(name)) {
        if found != Subresource::Itself {
            let names = format!("{}, {}", found.name(), candidate.name());
            let message = format!("Conflicting query string parameters: {names}");
            return Err(S3Error::invalid_argument("ResourceType", names, message));
        }
        found = candidate;
    }
    Ok(found)
}

/// The parts of a request that the table is searched for.
struct Request<'a> {
    verb: Verb,
    target: Target,
    subresource: Subresource,
    query: &'a Query,
    headers: &'a HeaderMap,
}

impl Request<'_> {
    /// The table's row for this verb, target and subresource. Of two rows the first lists what the other
    /// reads, if the query names one.
    fn row(&self) -> Option<Operation> {
        let mut rows = Operation::ALL.iter().copied().filter(|operation| {
            let row = operation.row();
            (row.verb, row.target, row.subresource) == (self.verb, self.target, self.subresource)
        });
        if self.query.is_empty() {
            return rows.next();
        }
        let is_named = |operation: &Operation| {
            let parameters = operation.row().parameters;
            ["id", "annotationName"].iter().any(|name| self.query.has(name) && parameters.contains(name))
        };
        rows.clone().find(is_named).or_else(|| rows.next())
    }

    /// Where S3 gives one verb, target and subresource to several operations, what distinguishes them.
    fn special_case(&self) -> Result<Option<Operation>> {
        let operation = match (self.verb, self.target, self.subresource) {
            (Verb::Get, Target::Root, Subresource::Itself) => self.list_buckets(),
            (Verb::Get, Target::Bucket, Subresource::Itself) => self.list_objects()?,

            (Verb::Post, Target::Bucket, Subresource::Itself) => self.post_to_bucket()?,
            (Verb::Put, Target::Object, Subresource::Itself) => self.put_object()?,
            (Verb::Put, Target::Object, Subresource::UploadId) => self.upload_part()?,
            _ => return Ok(None),
        };
        Ok(Some(operation))
    }

    fn list_buckets(&self) -> Operation {
        let named = self.query.first("x-id") == Some(Operation::ListDirectoryBuckets.name());
        let directory = named || self.query.has("max-directory-buckets");
        if directory { Operation::ListDirectoryBuckets } else { Operation::ListBuckets }
    }

    fn list_objects(&self) -> Result<Operation> {
        match self.query.first("list-type") {
            None => Ok(Operation::ListObjects),
            Some("2") => Ok(Operation::ListObjectsV2),
            Some(other) => {
                Err(S3Error::invalid_argument("list-type", other, "Invalid List Type specified in Request"))
            }
        }
    }

    fn post_to_bucket(&self) -> Result<Operation> {
        if ["x-amz-request-route", "x-amz-request-token"].iter().any(|name| self.headers.contains_key(*name))
        {
            return Ok(Operation::WriteGetObjectResponse);
        }
        let form = self.headers.get(http::header::CONTENT_TYPE).is_some_and(|value| {
            let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data")
        });
        let condition = "Bucket POST must be of the enclosure-type multipart/form-data";
        let refused = || S3Error::from(ErrorCode::PreconditionFailed).with("Condition", condition);
        if form { Ok(Operation::PostObject) } else { Err(refused()) }
    }

    fn put_object(&self) -> Result<Operation> {
        if let Some(part) = self.query.first("partNumber") {
            return Err(S3Error::invalid_argument("partNumber", part, "A part number needs an uploadId"));
        }
        if let Some(version) = self.query.first("versionId") {
            let message = "This operation does not accept a version-id.";
            return Err(S3Error::invalid_argument("versionId", version, message));
        }
        match (self.says(&name::COPY_SOURCE), self.says(&name::WRITE_OFFSET_BYTES)) {
            (false, false) => Ok(Operation::PutObject),
            (true, false) => Ok(Operation::CopyObject),
            (false, true) => Ok(Operation::AppendObject),
            (true, true) => Err(S3Error::invalid_request("A copy cannot have a write offset")),
        }
    }

    fn upload_part(&self) -> Result<Operation> {
        if !self.query.has("partNumber") {
            return Err(S3Error::invalid_argument("partNumber", "", "This operation requires a partNumber"));
        }
        if self.says(&name::WRITE_OFFSET_BYTES) {
            return Err(S3Error::invalid_request("A part cannot have a write offset"));
        }
        let copy = self.says(&name::COPY_SOURCE);
        Ok(if copy { Operation::UploadPartCopy } else { Operation::UploadPart })
    }

    /// Whether a header is there, or hoisted into a presigned URL.
    fn says(&self, header: &HeaderName) -> bool {
        self.headers.contains_key(header)
            || self.query.iter().any(|(name, _)| name.eq_ignore_ascii_case(header.as_str()))
    }
}

/// Refuses what the operation does not take: every unknown parameter of a write, and of a read those without
/// a value, which is what subresources look like. An unknown parameter with a value does nothing to a read,
/// in S3 too.
fn check_parameters(operation: Operation, query: &Query) -> Result<()> {
    let row = operation.row();
    for (index, (name, value)) in query.iter().enumerate() {
        let known = name == "x-id" || Subresource::parse(name).is_some() || row.parameters.contains(&name);
        if known {
            if query.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(S3Error::invalid_argument(name, value, "A query parameter is given twice"));
            }
            continue;
        }
        let of_signature = is_hoisted(name) || query.is_sigv2(name);
        let harmless = operation.effect() == Effect::Read && !value.is_empty();
        if !of_signature && !harmless {
            let message = format!("{operation} does not take the query parameter {name:?}, or not yet");
            return Err(S3Error::not_implemented(message).with("Parameter", name));
        }
    }
    Ok(())
}

/// SDKs name the operation they mean in `x-id`. A write under another name is one this room mistakes for
/// something else. (An append is called PutObject there.)
fn check_hint(operation: Operation, query: &Query) -> Result<()> {
    let Some(hint) = query.first("x-id") else { return Ok(()) };
    let agreed = hint == operation.name() || (operation == Operation::AppendObject && hint == "PutObject");
    if operation.effect() == Effect::Write && !agreed {
        let message = format!("The request says x-id={hint:?} but asks for {operation}");
        return Err(S3Error::not_implemented(message).with("Parameter", "x-id"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
