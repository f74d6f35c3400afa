//! The messages of errors: S3's own, and for what the store lacks, that a real storage has it.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, Limited};
use s3s::dto::ObjectCannedACL;
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::MessageOf;

/// Maximum bytes of an error document that is read; those of s3s are under 2 KiB.
const MAX_ERROR_DOCUMENT: usize = 64 << 10;

/// How s3s ends its message about an operation that the store does not implement.
const UNIMPLEMENTED: &str = " is not implemented yet";

/// The refusal of a feature that would otherwise be dropped silently.
pub(super) fn lacks(feature: &str) -> S3Error {
    let message =
        format!("The embedded store, which is for trying s3veil out, has no {feature}; a real storage does.");
    S3Error::with_message(S3ErrorCode::NotImplemented, message)
}

/// The settings of a request that the store would not keep.
#[derive(Debug, Default)]
pub(super) struct UnkeptSettings {
    pub(super) acl: Option<ObjectCannedACL>,
    pub(super) has_grants: bool,
    pub(super) has_object_lock: bool,
}

impl UnkeptSettings {
    /// Refuses every such setting. The two ACLs that change nothing for a bucket with one owner pass.
    pub(super) fn refuse(&self) -> S3Result<()> {
        let is_own = |acl: &ObjectCannedACL| matches!(acl.as_str(), "private" | "bucket-owner-full-control");
        if self.has_grants || self.acl.as_ref().is_some_and(|acl| !is_own(acl)) {
            return Err(lacks("ACLs"));
        }
        if self.has_object_lock { Err(lacks("Object Lock")) } else { Ok(()) }
    }
}

/// Refuses an input of PutObject, CreateMultipartUpload or CopyObject with a setting that the store would not
/// keep.
macro_rules! refuse_unkept {
    ($input:expr) => {
        $crate::refusals::UnkeptSettings {
            acl: $input.acl.clone(),
            has_grants: $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write_acp.is_some(),
            has_object_lock: $input.object_lock_legal_hold_status.is_some()
                || $input.object_lock_mode.is_some()
                || $input.object_lock_retain_until_date.is_some(),
        }
        .refuse()
    };
}
pub(super) use refuse_unkept;

/// The error with a message, if it has none.
pub(super) fn explained(mut error: S3Error, message_of: MessageOf) -> S3Error {
    if let Some(message) = message(error.code().as_str(), error.message().unwrap_or_default(), message_of) {
        error.set_message(message);
    }
    error
}

/// The message for an error without one, and for an operation that is not implemented. `None`: the message
/// that is there remains.
fn message(code: &str, message: &str, message_of: MessageOf) -> Option<String> {
    if let Some(operation) = message.strip_suffix(UNIMPLEMENTED) {
        return lacks(operation).message().map(str::to_owned);
    }
    if message.is_empty() { message_of(code).map(str::to_owned) } else { None }
}

/// An error response of s3s, with a message: errors of s3s itself have none.
pub(super) async fn explain(response: Response<s3s::Body>, message_of: MessageOf) -> Response<s3s::Body> {
    let (mut head, body) = response.into_parts();
    let Ok(document) = Limited::new(body, MAX_ERROR_DOCUMENT).collect().await else {
        return Response::from_parts(head, s3s::Body::empty());
    };
    let document = document.to_bytes();
    let explained = rewritten(&document, message_of).map_or(document, Bytes::from);
    if head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(explained.len()));
    }
    Response::from_parts(head, s3s::Body::from(explained))
}

/// The document with a message; `None` where it has one, or is not an error document as s3s writes it.
fn rewritten(document: &[u8], message_of: MessageOf) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    let (_, error) = text.split_once("<Error>")?;
    let old = element(error, "Message").unwrap_or_default();
    let new = message(element(error, "Code")?, old, message_of)?;
    let (before, rest) = text.split_once("</Code>")?;
    let rest = match (rest.find("<Message>"), rest.find("</Message>")) {
        (Some(start), Some(end)) => format!("{}{}", &rest[..start], &rest[end + "</Message>".len()..]),
        (_, _) => rest.replacen("<Message/>", "", 1),
    };
    let escaped = new.replace('&', "&amp;").replace('<', "&lt;");
    Some(format!("{before}</Code><Message>{escaped}</Message>{rest}"))
}

/// The text between the tags of the first element `name`. Escapes remain: neither codes nor the names of
/// operations have any.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    fn rewritten(document: &[u8]) -> Option<String> {
        super::rewritten(document, |code| {
            (code == "NoSuchKey").then_some("The specified key does not exist.")
        })
    }

    #[test]
    fn a_code_without_a_sentence_gets_that_of_aws() {
        let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>NoSuchKey</Code><RequestId>r</RequestId></Error>";
        let rewritten_once = rewritten(document.as_bytes()).unwrap();
        assert_eq!(
            rewritten_once,
            document.replace("</Code>", "</Code><Message>The specified key does not exist.</Message>")
        );
        assert_eq!(rewritten(rewritten_once.as_bytes()), None);
        assert_eq!(rewritten(b"<Error><Code>Strange</Code></Error>"), None);
    }

    #[test]
    fn what_is_not_implemented_says_whose_lack_it_is() {
        let document = "<Error><Code>NotImplemented</Code><Message>GetBucketWebsite is not implemented yet</Message></Error>";
        let rewritten_once = rewritten(document.as_bytes()).unwrap();
        let expected = "<Message>The embedded store, which is for trying s3veil out, has no GetBucketWebsite; a real storage \
                        does.</Message>";
        assert_eq!(rewritten_once, format!("<Error><Code>NotImplemented</Code>{expected}</Error>"));
    }
}
