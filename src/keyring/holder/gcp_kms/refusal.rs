//! What an error of Google Cloud KMS means. It must not know how a request is sent.
//! It promises that the service's own words are the cause.
//!
//! The codes are those of `google.rpc.Code`: <https://cloud.google.com/apis/design/errors>,
//! <https://cloud.google.com/kms/docs/key-states>.

use std::borrow::Cow;

use serde::Deserialize;

use crate::keyring::holder::http_client::HttpResponse;
use crate::keyring::{CheckError, KeyringError};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Encrypt,
    Decrypt,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    error: Status<'a>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Converts an error response.
pub(super) fn refusal(response: &HttpResponse, call: Call) -> CheckError {
    let parsed = serde_json::from_slice::<ErrorBody<'_>>(&response.body).ok().map(|body| body.error);
    let Some(Status { status, message }) = parsed else {
        return CheckError { error: response.classify_status(), cause: Some(response.quote(None)) };
    };
    let error = classify(&status, &message, call).unwrap_or_else(|| response.classify_status());
    CheckError { error, cause: Some(response.quote(Some(&format!("{status}: {message}")))) }
}

pub(super) fn classify(status: &str, message: &str, call: Call) -> Option<KeyringError> {
    Some(match status {
        "PERMISSION_DENIED" => KeyringError::Denied,
        "UNAUTHENTICATED" => KeyringError::Credentials,
        "NOT_FOUND" => KeyringError::KeyNotFound,
        "RESOURCE_EXHAUSTED" => KeyringError::Throttled,
        "UNAVAILABLE" | "INTERNAL" | "UNKNOWN" | "DEADLINE_EXCEEDED" | "ABORTED" | "CANCELLED" => {
            KeyringError::Unavailable
        }
        // The purpose of a key is named where it is not ENCRYPT_DECRYPT.
        "FAILED_PRECONDITION" | "INVALID_ARGUMENT" if message.contains("purpose") => {
            KeyringError::InvalidKeyUsage
        }
        // `... is not enabled, current state is: DISABLED.`, or DESTROYED, DESTROY_SCHEDULED and others.
        "FAILED_PRECONDITION" if message.contains("DISABLED") => KeyringError::KeyDisabled,
        "FAILED_PRECONDITION" => KeyringError::InvalidKeyState,
        // The request was damaged on its way.
        "INVALID_ARGUMENT" if message.contains("checksum") => KeyringError::Unavailable,
        // `Decryption failed: verify that 'name' refers to the correct CryptoKey.`
        "INVALID_ARGUMENT" if call == Call::Decrypt => KeyringError::InvalidCiphertext,
        _ => return None,
    })
}
