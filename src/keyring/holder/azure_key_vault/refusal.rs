//! What an error of Azure Key Vault means. It must not know how a request is sent.
//! It promises that the service's own words are the cause.
//!
//! <https://learn.microsoft.com/en-us/azure/key-vault/general/rest-error-codes>,
//! <https://learn.microsoft.com/en-us/azure/key-vault/general/common-error-codes>.

use std::borrow::Cow;

use serde::Deserialize;

use crate::keyring::holder::http_client::HttpResponse;
use crate::keyring::{CheckError, KeyringError};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Wrap,
    Unwrap,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    error: KeyVaultError<'a>,
}

#[derive(Deserialize)]
struct KeyVaultError<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    innererror: Option<InnerError<'a>>,
}

#[derive(Deserialize)]
struct InnerError<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

/// Converts an error response.
pub(super) fn refusal(response: &HttpResponse, call: Call) -> CheckError {
    let parsed = serde_json::from_slice::<ErrorBody<'_>>(&response.body).ok().map(|body| body.error);
    let Some(KeyVaultError { code, message, innererror }) = parsed else {
        return CheckError { error: response.classify_status(), cause: Some(response.quote(None)) };
    };
    let inner = innererror.and_then(|inner| inner.code).unwrap_or_default();
    let error = classify(&code, &inner, call).unwrap_or_else(|| response.classify_status());
    let text =
        if inner.is_empty() { format!("{code}: {message}") } else { format!("{code}, {inner}: {message}") };
    CheckError { error, cause: Some(response.quote(Some(&text))) }
}

pub(super) fn classify(code: &str, inner: &str, call: Call) -> Option<KeyringError> {
    Some(match (code, inner) {
        ("Forbidden", "KeyDisabled") => KeyringError::KeyDisabled,
        ("Forbidden", "KeyNotYetValid" | "KeyExpired") => KeyringError::InvalidKeyState,
        ("Forbidden", "KeyOperationNotPermitted" | "OperationNotAllowed") => KeyringError::InvalidKeyUsage,
        ("Forbidden" | "AccessDenied", _) => KeyringError::Denied,
        ("KeyNotFound" | "ResourceNotFound" | "NotFound", _) => KeyringError::KeyNotFound,
        // A key that was deleted, or is being deleted or recovered.
        (
            "Conflict" | "ObjectIsDeletedButRecoverable" | "ObjectIsBeingDeleted" | "ObjectIsBeingRecovered",
            _,
        ) => KeyringError::InvalidKeyState,
        ("KeyOperationNotSupported" | "NotSupported", _) => KeyringError::InvalidKeyUsage,
        ("Throttled" | "TooManyRequests", _) => KeyringError::Throttled,
        ("BadParameter", _) if call == Call::Unwrap => KeyringError::InvalidCiphertext,
        _ => return None,
    })
}
