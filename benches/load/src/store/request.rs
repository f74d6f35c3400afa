//! A request, as far as the store looks at it.

use std::io;

use crate::http::{Framing, invalid, number};

/// The head of a request.
pub(super) struct Request {
    pub(super) method: String,
    /// Percent-encoded, as sent.
    pub(super) path: String,
    /// As sent; empty if there is none.
    pub(super) query: String,
    /// Bytes of the body, aws-chunked framing included; 0 where the body is in HTTP's chunks.
    pub(super) length: u64,
    /// Bytes of the content, where the request says so.
    pub(super) decoded_length: Option<u64>,
    is_chunked: bool,
    pub(super) is_aws_chunked: bool,
    pub(super) expects_continue: bool,
    /// First and last byte, as asked; what is missing on either side is `None`.
    pub(super) range: Option<(Option<u64>, Option<u64>)>,
    /// Header lines that an object keeps.
    pub(super) metadata: Vec<u8>,
}

/// What a request is about.
pub(super) enum Target<'a> {
    Service,
    Bucket(&'a str),
    Object(&'a str, &'a str),
}

impl Request {
    pub(super) fn parse(parsed: &httparse::Request<'_, '_>) -> io::Result<Self> {
        let target = parsed.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            length: 0,
            decoded_length: None,
            is_chunked: false,
            is_aws_chunked: false,
            expects_continue: false,
            range: None,
            metadata: Vec::new(),
        };
        for field in parsed.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                request.length = number(field.value)?;
            } else if is("x-amz-decoded-content-length") {
                request.decoded_length = Some(number(field.value)?);
            } else if is("content-encoding") {
                request.is_aws_chunked = field.value.starts_with(b"aws-chunked");
            } else if is("expect") {
                request.expects_continue = true;
            } else if is("range") {
                request.range = Some(range(field.value)?);
            } else if is("transfer-encoding") {
                request.is_chunked = true;
            } else if is("content-type")
                || field.name.get(..11).is_some_and(|name| name.eq_ignore_ascii_case("x-amz-meta-"))
            {
                request.metadata.extend_from_slice(field.name.as_bytes());
                request.metadata.extend_from_slice(b": ");
                request.metadata.extend_from_slice(field.value);
                request.metadata.extend_from_slice(b"\r\n");
            }
        }
        Ok(request)
    }

    /// How the body ends.
    pub(super) fn framing(&self) -> Framing {
        if self.is_chunked { Framing::Chunked } else { Framing::Length(self.length) }
    }

    pub(super) fn target(&self) -> Target<'_> {
        let path = self.path.trim_start_matches('/');
        match path.split_once('/') {
            _ if path.is_empty() => Target::Service,
            None | Some((_, "")) => Target::Bucket(path.trim_end_matches('/')),
            Some((bucket, key)) => Target::Object(bucket, key),
        }
    }

    /// The value of a query parameter, percent-encoded as sent; empty for a bare name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    /// The S3 operation, by its name.
    pub(super) fn operation(&self) -> &'static str {
        let in_upload = self.parameter("uploadId").is_some();
        match (self.method.as_str(), self.target()) {
            ("GET", Target::Object(..)) if in_upload => "ListParts",
            ("GET", Target::Object(..)) => "GetObject",
            ("HEAD", Target::Object(..)) => "HeadObject",
            ("PUT", Target::Object(..)) if in_upload => "UploadPart",
            ("PUT", Target::Object(..)) => "PutObject",
            ("POST", Target::Object(..)) if in_upload => "CompleteMultipartUpload",
            ("POST", Target::Object(..)) => "CreateMultipartUpload",
            ("DELETE", Target::Object(..)) => "DeleteObject",
            ("GET", Target::Bucket(_)) => "ListObjects",
            ("HEAD", Target::Bucket(_)) => "HeadBucket",
            _ => "other",
        }
    }
}

fn range(value: &[u8]) -> io::Result<(Option<u64>, Option<u64>)> {
    let text = str::from_utf8(value).map_err(invalid)?;
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .ok_or_else(|| invalid("a range the store does not know"))?;
    let bound = |text: &str| if text.is_empty() { Ok(None) } else { number(text.as_bytes()).map(Some) };
    Ok((bound(first)?, bound(last)?))
}
