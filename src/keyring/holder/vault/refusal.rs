//! What a response of OpenBao or Vault that is no success means, by its status and its text: nearly every
//! refusal has the status 400. It must not know which request was refused. It promises that the server's own
//! words are the cause, shortened and on one line.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;

use super::client::HttpResponse;
use crate::keyring::{CheckError, KeyringError, MalformedResponse};

/// Maximum length of a server's words in an error, in characters.
const MAX_WORDS_LEN: usize = 400;

/// Why a request was not successful.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The token is missing, wrong, expired or revoked; a new login may help.
    TokenRejected {
        /// The number of the session that the token belongs to.
        session: u64,
        /// The server's words.
        words: String,
    },
    /// Anything else.
    Failed(CheckError),
}

impl From<CheckError> for Refusal {
    fn from(failure: CheckError) -> Self {
        Self::Failed(failure)
    }
}

/// The texts of OpenBao 2.7.2, which are Vault's, for the status 400: what the first error begins with or,
/// after a name that varies, ends with. tests/holders/vault/openbao_texts.rs compares them with a server.
const TEXTS: &[(Part, &str, KeyringError)] = &[
    // Wrong context, another key's blob or an altered one; before it stands the cipher's name.
    (Part::End, "message authentication failed", KeyringError::InvalidCiphertext),
    (Part::Start, "invalid ciphertext", KeyringError::InvalidCiphertext),
    (Part::Start, TOO_OLD, KeyringError::InvalidKeyState),
    (Part::Start, "encryption key not found", KeyringError::KeyNotFound),
    (Part::Start, "refusing to use soft-deleted key", KeyringError::KeyDisabled),
    (Part::Start, "message encryption not supported", KeyringError::InvalidKeyUsage),
];

/// The blob's version is below the key's `min_decryption_version`.
const TOO_OLD: &str = "ciphertext or signature version is disallowed by policy";
const TOO_OLD_ADVICE: &str = "rewrap, or lower min_decryption_version";
const NO_ROUTE: &str = "no handler for route";
const NO_ROUTE_ADVICE: &str = "correct mount or namespace";
/// The refusal of a token, where the refusal by a policy is a list of errors.
const TOKEN_REJECTED: &str = "permission denied";
/// What Vault adds to that list for a token that is invalid.
/// <https://developer.hashicorp.com/vault/docs/concepts/tokens#error-responses>
const INVALID_TOKEN: &str = "invalid token";

enum Part {
    Start,
    End,
}

#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow)]
    errors: Vec<Cow<'a, str>>,
}

impl HttpResponse {
    /// Converts an error response to a request with the token of this session.
    pub(super) fn refusal(&self, session: u64) -> Refusal {
        let texts = self.errors();
        let words = self.words(&texts);
        let first = texts.first().map_or("", |text| text.as_ref());
        let is_rejected = first == TOKEN_REJECTED || texts.iter().any(|text| text.contains(INVALID_TOKEN));
        if self.status == StatusCode::FORBIDDEN && is_rejected {
            return Refusal::TokenRejected { session, words };
        }
        Refusal::Failed(failure(self.status, first, words))
    }

    /// Converts an error response to a login or to a request about a token itself.
    pub(super) fn login_failure(&self) -> CheckError {
        let texts = self.errors();
        let error = classify(self.status, "");
        // `invalid role or secret ID`, `permission denied`, a method that is not mounted.
        let is_refused = matches!(error, KeyringError::Unexpected(_)) && !texts.is_empty();
        let error = if is_refused { KeyringError::Credentials } else { error };
        CheckError { error, cause: Some(self.words(&texts)) }
    }

    /// A success whose body is not what the API defines.
    pub(super) fn unparsable(&self) -> CheckError {
        let error = KeyringError::Malformed(MalformedResponse::Unparsable);
        CheckError { error, cause: Some(self.describe()) }
    }

    /// The texts of `{"errors": [...]}`; empty if the body is none.
    fn errors(&self) -> Vec<Cow<'_, str>> {
        serde_json::from_slice::<Errors<'_>>(&self.body).map(|body| body.errors).unwrap_or_default()
    }

    fn words(&self, texts: &[Cow<'_, str>]) -> String {
        let words = shortened(texts.iter().map(AsRef::as_ref));
        if words.is_empty() { self.describe() } else { words }
    }

    /// Status and kind of a response without words, so that a proxy before the server or a wrong address is
    /// recognised.
    fn describe(&self) -> String {
        let content_type = self.content_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("none");
        let content_type: String = content_type.chars().take(64).collect();
        format!("HTTP status {} with the Content-Type {content_type:?}", self.status.as_u16())
    }
}

/// Converts the error of one item of a batch, whose text is that of the refusal of a request for the item
/// alone.
pub(super) fn item_failure(text: &str) -> CheckError {
    failure(StatusCode::BAD_REQUEST, text, shortened([text].into_iter()))
}

/// The failure that a status and the first text mean, with what an operator can change.
fn failure(status: StatusCode, first: &str, words: String) -> CheckError {
    let error = classify(status, first);
    let cause = if error == KeyringError::InvalidKeyState {
        format!("{words}: {TOO_OLD_ADVICE}")
    } else if first.starts_with(NO_ROUTE) {
        format!("{words}: {NO_ROUTE_ADVICE}")
    } else {
        words
    };
    CheckError { error, cause: Some(cause) }
}

fn classify(status: StatusCode, text: &str) -> KeyringError {
    let unexpected = || KeyringError::Unexpected(format!("HTTP{}", status.as_u16()));
    match status.as_u16() {
        403 if text.contains(TOKEN_REJECTED) => KeyringError::Denied,
        404 if text.starts_with(NO_ROUTE) => KeyringError::KeyNotFound,
        400 => {
            let known = TEXTS.iter().find(|(part, known, _)| match part {
                Part::Start => text.starts_with(known),
                Part::End => text.ends_with(known),
            });
            known.map_or_else(unexpected, |(_, _, error)| error.clone())
        }
        429 => KeyringError::Throttled,
        // A standby that does not forward redirects to the active node (307); one that lags behind asks for a
        // repetition (412).
        307 | 412 | 500.. => KeyringError::Unavailable,
        _ => unexpected(),
    }
}

/// A server's words on one line, shortened.
fn shortened<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = texts.flat_map(str::split_whitespace).collect();
    words.join(" ").chars().take(MAX_WORDS_LEN).collect()
}
