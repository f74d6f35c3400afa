//! How long the storage takes to respond, by operation and outcome, for the metrics.
//! It must not know how a request is sent, nor what its content means.
//! It promises a bounded number of labels, whatever a client asks for, and no work to find a handle.

use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::Histogram;

use super::{UpstreamError, UpstreamRequest};
use crate::s3::headers::COPY_SOURCE;

/// The query parameters of a listing of objects, in both versions.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
const LISTING: &[&str] = &[
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "list-type",
    "marker",
    "max-keys",
    "prefix",
    "start-after",
];

/// The operation of a request to the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateMultipartUpload,
    DeleteObject,
    DeleteObjects,
    GetObject,
    HeadBucket,
    HeadObject,
    ListBuckets,
    /// Both versions.
    ListObjects,
    ListParts,
    PutObject,
    UploadPart,
    UploadPartCopy,
    /// Every other operation: those on configurations of buckets, ACLs, tags, ...
    Other,
}

/// The number of operations, and of outcomes.
const KINDS: usize = Kind::Other as usize + 1;
const OUTCOMES: usize = Ending::Broken as usize + 1;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A status below 400.
    Ok,
    Status4xx,
    Status5xx,
    Timeout,
    /// No connection.
    Unreachable,
    /// No response, or none of HTTP.
    Broken,
}

impl Kind {
    pub(super) fn new(request: &UpstreamRequest) -> Self {
        let UpstreamRequest { method, bucket, object, query, headers, .. } = request;
        let has = |wanted: &str| query.iter().any(|(name, _)| name == wanted);
        let has_only =
            |known: fn(&str) -> bool| query.iter().all(|(name, _)| known(name.as_str()) || name == "x-id");
        let is_copy = || headers.contains_key(COPY_SOURCE);
        match (object.is_some(), bucket.is_some()) {
            (true, _) if *method == Method::GET => {
                let is_content =
                    |name: &str| name == "versionId" || name == "partNumber" || name.starts_with("response-");
                if has("uploadId") {
                    Self::ListParts
                } else if has_only(is_content) {
                    Self::GetObject
                } else {
                    Self::Other
                }
            }
            (true, _) if *method == Method::HEAD => Self::HeadObject,
            (true, _) if *method == Method::PUT => match (has("partNumber"), is_copy()) {
                (true, false) => Self::UploadPart,
                (true, true) => Self::UploadPartCopy,
                (false, _) if !has_only(|_| false) => Self::Other,
                (false, true) => Self::CopyObject,
                (false, false) => Self::PutObject,
            },
            (true, _) if *method == Method::POST => match (has("uploads"), has("uploadId")) {
                (true, _) => Self::CreateMultipartUpload,
                (false, true) => Self::CompleteMultipartUpload,
                (false, false) => Self::Other,
            },
            (true, _) if *method == Method::DELETE && has("uploadId") => Self::AbortMultipartUpload,
            (true, _) if *method == Method::DELETE && has_only(|name| name == "versionId") => {
                Self::DeleteObject
            }
            (false, true) if *method == Method::GET && has_only(|name| LISTING.contains(&name)) => {
                Self::ListObjects
            }
            (false, true) if *method == Method::HEAD => Self::HeadBucket,
            (false, true) if *method == Method::POST && has("delete") => Self::DeleteObjects,
            (false, false) if *method == Method::GET => Self::ListBuckets,
            (true | false, true | false) => Self::Other,
        }
    }

    /// The operation's name at S3.
    fn name(self) -> &'static str {
        match self {
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::CopyObject => "CopyObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::GetObject => "GetObject",
            Self::HeadBucket => "HeadBucket",
            Self::HeadObject => "HeadObject",
            Self::ListBuckets => "ListBuckets",
            Self::ListObjects => "ListObjects",
            Self::ListParts => "ListParts",
            Self::PutObject => "PutObject",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::Other => "other",
        }
    }
}

impl Ending {
    fn new(outcome: Result<StatusCode, &UpstreamError>) -> Option<Self> {
        Some(match outcome {
            Ok(status) if status.is_server_error() => Self::Status5xx,
            Ok(status) if status.is_client_error() => Self::Status4xx,
            Ok(_) => Self::Ok,
            Err(UpstreamError::Timeout { .. }) => Self::Timeout,
            Err(UpstreamError::Connect(_)) => Self::Unreachable,
            Err(UpstreamError::Protocol(_) | UpstreamError::HeadTooLarge) => Self::Broken,
            // The storage has no part in these.
            Err(
                UpstreamError::Body(_)
                | UpstreamError::Length(_)
                | UpstreamError::Credentials(_)
                | UpstreamError::Sign(_)
                | UpstreamError::Address(_),
            ) => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status4xx => "4xx",
            Self::Status5xx => "5xx",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
        }
    }
}

/// The histograms of one storage, each registered when it is first needed.
pub(super) struct Timings([[OnceLock<Histogram>; OUTCOMES]; KINDS]);

impl Default for Timings {
    fn default() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())))
    }
}

impl Timings {
    /// Records one attempt of a request to the storage with this name, which took this long until the head of
    /// its response, or until it failed.
    pub(super) fn record(
        &self,
        upstream: &str,
        kind: Kind,
        outcome: Result<StatusCode, &UpstreamError>,
        taken: Duration,
    ) {
        let Some(ending) = Ending::new(outcome) else { return };
        let register = || {
            metrics::histogram!(
                "s3veil_upstream_request_duration_seconds",
                "upstream" => upstream.to_owned(),
                "operation" => kind.name(),
                "outcome" => ending.name()
            )
        };
        self.0[kind as usize][ending as usize].get_or_init(register).record(taken.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{BucketName, ObjectKey};

    fn kind(method: Method, path: &str, query: &[&str]) -> &'static str {
        let (bucket, object) = path.split_once('/').unwrap_or((path, ""));
        let bucket = BucketName::parse(bucket).ok();
        let object = ObjectKey::parse(object).ok();
        let mut request = UpstreamRequest::new(method, bucket.as_ref(), object.as_ref());
        for name in query {
            match name.strip_prefix('+') {
                Some("copy") => _ = request.headers.insert(COPY_SOURCE, "b/k".parse().unwrap()),
                Some(_) | None => request.query.push(((*name).to_owned(), None)),
            }
        }
        Kind::new(&request).name()
    }

    #[test]
    fn requests_have_the_names_of_their_operations() {
        let (get, head, put) = (Method::GET, Method::HEAD, Method::PUT);
        let (post, delete) = (Method::POST, Method::DELETE);
        for (method, path, query, expected) in [
            (&get, "", &[][..], "ListBuckets"),
            (&get, "bucket", &[], "ListObjects"),
            (&get, "bucket", &["list-type", "prefix", "max-keys"], "ListObjects"),
            (&get, "bucket", &["versioning"], "other"),
            (&head, "bucket", &[], "HeadBucket"),
            (&put, "bucket", &[], "other"),
            (&post, "bucket", &["delete"], "DeleteObjects"),
            (&get, "bucket/k", &["versionId", "response-content-type"], "GetObject"),
            (&get, "bucket/k", &["tagging"], "other"),
            (&get, "bucket/k", &["uploadId", "max-parts"], "ListParts"),
            (&head, "bucket/k", &["versionId"], "HeadObject"),
            (&put, "bucket/k", &[], "PutObject"),
            (&put, "bucket/k", &["+copy"], "CopyObject"),
            (&put, "bucket/k", &["acl"], "other"),
            (&put, "bucket/k", &["partNumber", "uploadId"], "UploadPart"),
            (&put, "bucket/k", &["partNumber", "uploadId", "+copy"], "UploadPartCopy"),
            (&post, "bucket/k", &["uploads"], "CreateMultipartUpload"),
            (&post, "bucket/k", &["uploadId"], "CompleteMultipartUpload"),
            (&post, "bucket/k", &["restore"], "other"),
            (&delete, "bucket/k", &["versionId"], "DeleteObject"),
            (&delete, "bucket/k", &["tagging"], "other"),
            (&delete, "bucket/k", &["uploadId"], "AbortMultipartUpload"),
        ] {
            assert_eq!(kind(method.clone(), path, query), expected, "{method} {path} {query:?}");
        }
    }

    #[test]
    fn attempts_are_counted_by_upstream_operation_and_outcome() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let timings = Timings::default();
        let refused = UpstreamError::Connect("no route".into());
        timings.record("main", Kind::GetObject, Err(&refused), Duration::from_millis(3));
        timings.record("main", Kind::GetObject, Err(&refused), Duration::from_millis(4));
        let cut = UpstreamError::Body("the client left".into());
        timings.record("main", Kind::PutObject, Err(&cut), Duration::from_millis(3));
        let shown = recorder.handle().render();
        let labels = r#"{upstream="main",operation="GetObject",outcome="unreachable"}"#;
        let line = format!("s3veil_upstream_request_duration_seconds_count{labels} 2\n");
        assert!(shown.contains(&line) && !shown.contains("PutObject"), "{shown}");
    }
}
