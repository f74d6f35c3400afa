//! Maps the client's ETags in the conditions of requests to the storage's, before any operation reads them.
//!
//! It must not evaluate a condition. Every condition remains one, and the storage evaluates it in the step in
//! which it reads or writes the object.

use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{Response, StatusCode};

use crate::body::BoxBody;
use crate::object::response_headers;
use crate::object::rule::BucketRule;
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::headers::{COPY_SOURCE_IF_MATCH, COPY_SOURCE_IF_NONE_MATCH};
use crate::s3::xml::ObjectIdentifier;
use crate::s3::{BucketName, EtagStyle, Hashed};

/// Conditions on the object that a request names.
static ON_THE_OBJECT: [HeaderName; 3] = [IF_MATCH, IF_NONE_MATCH, IF_RANGE];
/// Conditions on the source of a copy.
static ON_THE_SOURCE: [HeaderName; 2] =
    [HeaderName::from_static(COPY_SOURCE_IF_MATCH), HeaderName::from_static(COPY_SOURCE_IF_NONE_MATCH)];

/// How a request names ETags, to map the ETag of a response without an object.
pub(crate) struct ClientEtags {
    style: EtagStyle,
    if_none_match: Option<HeaderValue>,
}

impl ClientEtags {
    /// Replaces the client's ETags in a call's conditions by the storage's.
    pub(crate) fn map_request(resources: &Resources, call: &mut Call) -> Self {
        let rule = match (call.path.bucket(), call.path.object()) {
            (Some(bucket), Some(object_key)) => resources.policies.for_object(bucket, object_key).ok(),
            (_, None) | (None, _) => None,
        };
        let style = rule.map_or(EtagStyle::Storage, |rule| rule.etag);
        let mut if_none_match = None;
        // Few requests have a condition, and one look at the names is less work than one for each condition.
        if call.headers.keys().any(|name| name.as_str().starts_with("if-")) {
            if_none_match = call.headers.get(IF_NONE_MATCH).cloned();
            map_conditions(&ON_THE_OBJECT, style, &mut call.headers);
        }
        let source = call.copy_source.as_ref();
        let source = source.and_then(|at| resources.policies.for_object(&at.bucket, &at.object).ok());
        if let Some(rule) = source {
            map_conditions(&ON_THE_SOURCE, rule.etag, &mut call.headers);
        }
        Self { style, if_none_match }
    }

    /// Maps the ETag in a response without an object. A 304 does not say which format the object has, so an
    /// ETag that the client named is returned as the client wrote it.
    pub(crate) fn map_response(&self, response: &mut Response<BoxBody>) {
        let status = response.status();
        if status.is_success() {
            return;
        }
        let headers = response.headers_mut();
        let etag =
            headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(crate::object::location::unquoted);
        let listed = self.if_none_match.as_ref().filter(|_| status == StatusCode::NOT_MODIFIED);
        let named = listed.zip(etag).and_then(|(list, etag)| self.style.find_listed(list, etag));
        match named {
            Some(named) => _ = headers.insert(ETAG, named),
            None => response_headers::set_etag(headers, self.style, Hashed::Ciphertext),
        }
    }
}

/// Replaces the client's ETags in the conditions that a form's fields make by the storage's.
pub(crate) fn map_form_conditions(rule: &BucketRule, headers: &mut HeaderMap) {
    map_conditions(&ON_THE_OBJECT, rule.etag, headers);
}

/// Replaces the client's ETags in the conditions of objects to delete by the storage's. Returns whether a
/// condition was changed.
pub(crate) fn map_deletions(
    resources: &Resources,
    bucket: &BucketName,
    objects: &mut [ObjectIdentifier],
) -> bool {
    let mut is_changed = false;
    for object in objects {
        let Some(etag) = &mut object.etag else { continue };
        let Ok(rule) = resources.policies.for_object(bucket, &object.object) else { continue };
        let Ok(value) = HeaderValue::try_from(etag.trim()) else { continue };
        let mapped = rule.etag.condition_to_storage(&value);
        if mapped != value {
            *etag = String::from_utf8_lossy(mapped.as_bytes()).into_owned();
            is_changed = true;
        }
    }
    is_changed
}

fn map_conditions(names: &[HeaderName], style: EtagStyle, headers: &mut HeaderMap) {
    for name in names {
        if !headers.contains_key(name) {
            continue;
        }
        let mapped = headers.get_all(name).iter().map(|value| style.condition_to_storage(value));
        let mapped: Vec<_> = mapped.collect();
        headers.remove(name);
        for value in mapped {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests;
