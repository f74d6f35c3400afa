//! What a request says of itself besides its target: for its log line and its span.
//! It must not know what became of the request.
//! It promises no part of a signature.

use http::header::{HeaderMap, HeaderValue, RANGE, USER_AGENT};

use crate::access::ANONYMOUS;
use crate::log::{Line, field};
use crate::s3::Query;
use crate::sigv4::Authenticated;

/// Properties of a request.
#[derive(Debug, Default)]
pub(super) struct Details {
    user_agent: Option<HeaderValue>,
    range: Option<HeaderValue>,
    /// The version of TLS.
    tls_version: Option<&'static str>,
    /// Where the signature is.
    signature: Option<&'static str>,
    /// The version that the request names.
    version_id: Option<String>,
}

impl Details {
    pub(super) fn new(headers: &HeaderMap, tls_version: Option<&'static str>) -> Self {
        Self {
            user_agent: headers.get(USER_AGENT).cloned(),
            range: headers.get(RANGE).cloned(),
            tls_version,
            ..Self::default()
        }
    }

    /// Keeps where the signature of an authenticated request is.
    pub(super) fn set_signature(&mut self, authenticated: &Authenticated) {
        self.signature = Some(if authenticated.access_key_id.as_str() == ANONYMOUS {
            "none"
        } else if authenticated.presigned {
            "url"
        } else {
            "header"
        });
    }

    /// Keeps that the signature is in the fields of a form.
    pub(super) fn set_form(&mut self) {
        self.signature = Some("form");
    }

    pub(super) fn set_query(&mut self, query: &Query) {
        self.version_id = query.first("versionId").filter(|id| !id.is_empty()).map(str::to_owned);
    }

    /// The `User-Agent`, if it is text.
    pub(super) fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_ref().and_then(|agent| agent.to_str().ok())
    }

    /// Adds the parts of an object that are asked for. `response_version` is the version that the response
    /// names.
    pub(super) fn describe_target(&self, line: &mut Line, response_version: Option<&HeaderValue>) {
        let response_version = response_version.and_then(|version| version.to_str().ok());
        line.optional_text(field!("version_id"), response_version.or(self.version_id.as_deref()));
        line.optional_text(field!("range"), self.range.as_ref().and_then(|range| range.to_str().ok()));
    }

    /// Adds how the request came.
    pub(super) fn describe_arrival(&self, line: &mut Line) {
        line.optional_word(field!("signature"), self.signature);
        line.optional_word(field!("tls"), self.tls_version);
        line.optional_text(field!("user_agent"), self.user_agent());
    }
}
