//! The steps of a trial, in order. They must not know how a request reaches the proxy. They promise a finding
//! with its time for each step that ran, and that content is compared byte by byte.

use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::super::report::{Finding, Report};
use super::{Trial, TrialError, TrialRequest};
use crate::s3::{ObjectKey, xml};
use crate::upstream::{Upstream, UpstreamBody};
use crate::wire::header::COPY_SOURCE;
use crate::wire::percent;

/// More than one chunk of 64 KiB, so that a range can cross a boundary.
const OBJECT_LENGTH: usize = 100_000;
const CROSSING_RANGE: std::ops::RangeInclusive<usize> = 65_530..=65_545;

/// The smallest part that S3 accepts before the last one.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const PART_LENGTH: usize = 5 << 20;

/// What a step found, or why it failed.
type Outcome = Result<Finding, String>;

impl Trial {
    /// Runs all steps. Those after the first PUT run even if one before has failed.
    pub(super) async fn steps(&self, client: &Upstream, report: &mut Report) {
        let content = pattern(OBJECT_LENGTH);
        if !self.step(report, "object_put", "put", self.put(client, &content)).await {
            return;
        }
        self.step(report, "object_head", "head", self.head(client)).await;
        self.step(report, "object_get", "get", self.get(client, &self.object("object"), &content)).await;
        self.step(report, "object_range", "range", self.range(client, &content)).await;
        self.step(report, "object_list", "list", self.list(client)).await;
        self.step(report, "object_multipart", "multipart", self.multipart(client)).await;
        self.step(report, "object_copy", "copy", self.copy(client, &content)).await;
        self.step(report, "object_condition", "conditional write", self.condition(client)).await;
        self.step(report, "object_delete", "delete", self.delete(client)).await;
    }

    /// Reports the outcome of a step, and returns whether it was a success.
    async fn step(
        &self,
        report: &mut Report,
        check: &'static str,
        name: &str,
        work: impl Future<Output = Outcome>,
    ) -> bool {
        let started = Instant::now();
        let outcome = work.await;
        let (is_success, found) = (outcome.is_ok(), outcome.unwrap_or_else(Finding::failed));
        let subject = format!("{}/{}", self.bucket, self.prefix);
        report.add_timed(check, &format!("{subject} {name}"), Some(&subject), found, started.elapsed());
        is_success
    }

    async fn put(&self, client: &Upstream, content: &Bytes) -> Outcome {
        let request = TrialRequest::new(Method::PUT, &self.object("object")).content(content);
        self.write(client, request).await?;
        Ok(Finding::good(format!("ok, {OBJECT_LENGTH} bytes")))
    }

    async fn head(&self, client: &Upstream) -> Outcome {
        let found = self.send(client, TrialRequest::new(Method::HEAD, &self.object("object"))).await?;
        let length = found.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if length == Some(OBJECT_LENGTH.to_string().as_str()) {
            return Ok(Finding::good(format!("ok, {OBJECT_LENGTH} bytes")));
        }
        Err(format!("Content-Length is {}", length.unwrap_or("missing")))
    }

    async fn get(&self, client: &Upstream, object: &ObjectKey, content: &[u8]) -> Outcome {
        let read = self.send(client, TrialRequest::new(Method::GET, object)).await?;
        compare(&read.body, content)
    }

    async fn range(&self, client: &Upstream, content: &[u8]) -> Outcome {
        let mut request = TrialRequest::new(Method::GET, &self.object("object"));
        let range = format!("bytes={}-{}", CROSSING_RANGE.start(), CROSSING_RANGE.end());
        request.headers = header(RANGE, &range)?;
        let read = self.send(client, request).await?;
        compare(&read.body, &content[CROSSING_RANGE])
    }

    /// Lists the objects and looks for the plaintext's length.
    async fn list(&self, client: &Upstream) -> Outcome {
        let request = TrialRequest::on_bucket(Method::GET).query("list-type", "2".to_owned());
        let listed = self.send(client, request.query("prefix", self.prefix.clone())).await?;
        let size = format!("<Size>{OBJECT_LENGTH}</Size>");
        if String::from_utf8_lossy(&listed.body).contains(&size) {
            return Ok(Finding::good(format!("ok, {OBJECT_LENGTH} bytes")));
        }
        Err(format!("the listing has no object of {OBJECT_LENGTH} bytes"))
    }

    /// Uploads an object in two parts, and reads it back.
    async fn multipart(&self, client: &Upstream) -> Outcome {
        if let Some(why) = self.without_parts {
            return Ok(Finding::skipped(why));
        }
        let (object, content) = (self.object("parts"), pattern(PART_LENGTH + OBJECT_LENGTH));
        let create = TrialRequest::new(Method::POST, &object).query("uploads", None);
        let created = self.send(client, create).await?;
        let id = xml::parse_upload_id(&created.body).map_err(|error| error.to_string())?;
        self.leftovers().uploads.push((object.clone(), id.clone()));
        let mut parts = Vec::new();
        for (number, part) in [(1, content.slice(..PART_LENGTH)), (2, content.slice(PART_LENGTH..))] {
            let request = TrialRequest::new(Method::PUT, &object).content(&part);
            let request = request.query("partNumber", number.to_string()).query("uploadId", id.clone());
            let uploaded = self.send(client, request).await?;
            let etag = uploaded.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
            parts.push((number, etag.ok_or("a part has no ETag")?.to_owned()));
        }
        let parts = parts.iter().map(|(number, etag)| (*number, etag.as_str()));
        let document = xml::write_complete_request(parts);
        let mut complete = TrialRequest::new(Method::POST, &object).query("uploadId", id);
        complete.body = UpstreamBody::Buffered(document.into());
        let completed = self.write(client, complete).await?;
        match xml::parse_completion_response(&completed.body).map_err(|error| error.to_string())? {
            xml::CompletionResponse::Done(_) => self.leftovers().uploads.clear(),
            xml::CompletionResponse::Failed(document) => {
                return Err(format!("{}: {}", document.code, document.message));
            }
        }
        self.get(client, &object, &content).await
    }

    async fn copy(&self, client: &Upstream, content: &[u8]) -> Outcome {
        let (source, object) = (self.object("object"), self.object("copy"));
        let source = format!("/{}/{}", self.bucket, percent::encode_path(source.as_str()));
        let mut request = TrialRequest::new(Method::PUT, &object);
        request.headers = header(HeaderName::from_static(COPY_SOURCE), &source)?;
        let copied = self.write(client, request).await?;
        if let Ok(document) = xml::parse_error_document(&copied.body) {
            return Err(format!("{}: {}", document.code, document.message));
        }
        self.get(client, &object, content).await
    }

    /// Writes an object twice, on the condition that there is none.
    async fn condition(&self, client: &Upstream) -> Outcome {
        let (object, content) = (self.object("conditional"), pattern(10));
        let request = || -> Result<TrialRequest, String> {
            let headers = header(IF_NONE_MATCH, "*")?;
            Ok(TrialRequest { headers, ..TrialRequest::new(Method::PUT, &object).content(&content) })
        };
        let unsupported = "writes on a condition (If-None-Match: *) are not supported by the storage";
        match self.write(client, request()?).await {
            Ok(_) => {}
            Err(error) if error.status == Some(StatusCode::NOT_IMPLEMENTED) => {
                return Ok(Finding::warning(unsupported));
            }
            Err(error) => return Err(error.text),
        }
        match self.write(client, request()?).await {
            Ok(_) => Ok(Finding::warning(format!("{unsupported}: an object was overwritten nevertheless"))),
            Err(error) if error.status == Some(StatusCode::PRECONDITION_FAILED) => {
                Ok(Finding::good("ok, a second write is refused"))
            }
            Err(error) => Err(error.text),
        }
    }

    async fn delete(&self, client: &Upstream) -> Outcome {
        let object = self.object("object");
        self.remove(client, &object, None).await?;
        let versions = std::mem::take(&mut self.leftovers().objects);
        let (own, others): (Vec<_>, Vec<_>) = versions.into_iter().partition(|(name, _)| *name == object);
        self.leftovers().objects = others;
        for (_, version) in own.into_iter().filter(|(_, version)| version.is_some()) {
            self.remove(client, &object, version).await?;
        }
        match self.send(client, TrialRequest::new(Method::HEAD, &object)).await {
            Ok(_) => Err("the object is still there".to_owned()),
            Err(error) if error.status == Some(StatusCode::NOT_FOUND) => Ok(Finding::good("ok")),
            // Without s3:ListBucket, S3 returns 403 for a missing object.
            Err(error) if error.status == Some(StatusCode::FORBIDDEN) => Ok(Finding::good("ok")),
            Err(error) => Err(error.text),
        }
    }
}

impl From<TrialError> for String {
    fn from(error: TrialError) -> Self {
        error.text
    }
}

/// Bytes whose position can be told.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn header(name: HeaderName, value: &str) -> Result<HeaderMap, String> {
    let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
    Ok(HeaderMap::from_iter([(name, value)]))
}

fn compare(read: &[u8], written: &[u8]) -> Outcome {
    if read == written {
        return Ok(Finding::good(format!("ok, {} bytes as they were written", read.len())));
    }
    Err(format!("{} bytes, which are not those that were written", read.len()))
}
