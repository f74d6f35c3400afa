//! The errors of the keyring: at a request, at a check, and at the start.
//! They must not know how the proxy responds to them.
//! They promise to carry no key, blob or context, and to say which errors an outage excuses.

use std::path::PathBuf;

use super::KeyId;

/// A failure to generate or unwrap a data key. Carries no key, blob or context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The provider's policy denies these credentials access to the key.
    #[error("access to the wrapping key was denied")]
    Denied,
    /// No wrapping key has this name.
    #[error("the wrapping key was not found")]
    KeyNotFound,
    /// The wrapping key is disabled.
    #[error("the wrapping key is disabled")]
    KeyDisabled,
    /// The wrapping key is pending deletion or import, or its key store is disconnected.
    #[error("the wrapping key's state does not allow its use")]
    InvalidKeyState,
    /// The key exists, but is not a symmetric encryption key.
    #[error("the wrapping key is not for encryption and decryption")]
    InvalidKeyUsage,
    /// The blob was wrapped under a key other than the requested one.
    #[error("the data key was wrapped under another wrapping key")]
    IncorrectKey,
    /// The blob names a wrapping key that the local keyring does not hold.
    #[error("the data key was wrapped under {key_id}, which is not in {keyring}")]
    KeyMissing {
        /// The id in the blob, which nothing authenticates.
        key_id: KeyId,
        /// The keyring's file, and the ids that it holds.
        keyring: String,
    },
    /// No allowed wrapping key unwraps the blob.
    #[error("no wrapping key is allowed to unwrap the data key")]
    NotAllowed,
    /// The encryption context differs, or the blob is malformed or was tampered with.
    #[error("the wrapped data key is invalid, or its encryption context differs")]
    InvalidCiphertext,
    /// The provider throttled every attempt.
    #[error("the key provider is throttling")]
    Throttled,
    /// The provider could not be reached, timed out or failed.
    #[error("the key provider is unavailable")]
    Unavailable,
    /// There are no credentials for the provider, or it does not accept them.
    #[error("the credentials for the key provider are missing or were not accepted")]
    Credentials,
    /// The provider's response violates its API.
    #[error("the key provider's response is malformed: {0}")]
    Malformed(MalformedResponse),
    /// Neither the bucket nor the keyring names a wrapping key.
    #[error("no wrapping key is configured")]
    NoKeyNamed,
    /// The wrappings of one data key take more metadata than S3 stores with an object.
    #[error("the wrappings of all holders together are too long for an object's metadata")]
    TooManyWrappings,
    /// An error code of the provider that this version does not know: at most 64 ASCII letters and digits.
    #[error("the key provider refused: {0}")]
    Unexpected(String),
    /// The key opens data keys under any context: it would open those of every realm.
    #[error("the wrapping key ignores the encryption context")]
    ContextIgnored,
    /// The provider has no such operation.
    #[error("the key provider does not support this operation")]
    Unsupported,
    /// The call was cut off by a shutdown or a panic of the proxy.
    #[error("the call to the key provider was interrupted")]
    Interrupted,
}

/// The reason why [`Keyring::check`](super::Keyring::check) found that a wrapping key does not work: for
/// operators, not for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}", .cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default())]
pub struct CheckError {
    /// The error that requests receive.
    pub error: KeyringError,
    /// A description of the provider's response or of the failed connection. `None` if the error has no
    /// further cause.
    pub cause: Option<String>,
}

impl From<KeyringError> for CheckError {
    fn from(error: KeyringError) -> Self {
        Self { error, cause: None }
    }
}

/// How a provider's response violates its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedResponse {
    /// The data key has neither 256 bits nor a shorter length that the purpose accepts.
    #[error("the data key does not have the requested length")]
    DataKeyLength,
    /// All 256 bits of the data key are zero: a broken provider, and no protection at all.
    #[error("the data key is all zeros")]
    ZeroDataKey,
    /// The blob is missing or larger than AWS KMS allows.
    #[error("the wrapped data key is missing or too long")]
    WrappedKeyLength,
    /// The wrapping key's name is missing, or no [`KeyId`](super::KeyId).
    #[error("the wrapping key's id is missing or invalid")]
    KeyId,
    /// The response names a wrapping key other than the one requested by its id or ARN.
    #[error("it does not name the requested wrapping key")]
    OtherKey,
    /// The unwrapped data key differs from the one that was wrapped.
    #[error("the unwrapped data key is not the one that was wrapped")]
    RoundTrip,
    /// The response could not be parsed.
    #[error("it could not be parsed")]
    Unparsable,
}

/// What a failure concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The provider as a whole: it was unreachable or overloaded, and a later call may succeed.
    Provider,
    /// One wrapping key: another one may unwrap the blob.
    Key,
    /// This call, whatever its key.
    Call,
}

impl KeyringError {
    /// Whether the provider was unreachable or overloaded: a later attempt may succeed, and `stale_if_error`
    /// applies.
    pub fn is_unavailability(&self) -> bool {
        self.kind().1 == Scope::Provider
    }

    /// Whether the provider can't serve any key now, for which another holder may respond instead.
    pub(super) fn is_outage(&self) -> bool {
        self.is_unavailability() || matches!(self, Self::Credentials | Self::Malformed(_))
    }

    /// Whether the blob is one of another wrapping key or context, or was altered.
    pub fn is_of_another_key(&self) -> bool {
        matches!(self, Self::InvalidCiphertext | Self::IncorrectKey | Self::KeyMissing { .. })
    }

    /// Whether the error concerns one wrapping key only, so that another allowed key may unwrap the blob.
    pub(super) fn is_key_specific(&self) -> bool {
        self.kind().1 == Scope::Key
    }

    /// Whether `other` explains more. Among the errors of several keys and holders, that of an outage
    /// explains most, since a later attempt may succeed, and [`Self::IncorrectKey`] least.
    pub(super) fn is_less_specific_than(&self, other: &Self) -> bool {
        let rank = |error: &Self| {
            let is_vague = [Self::NotAllowed, Self::IncorrectKey].contains(error);
            (error.is_unavailability(), !is_vague, *error == Self::IncorrectKey)
        };
        rank(self) < rank(other)
    }

    /// The label of this outcome in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        self.kind().0
    }

    /// The label in metrics, and what the failure concerns.
    fn kind(&self) -> (&'static str, Scope) {
        match self {
            Self::Denied => ("denied", Scope::Key),
            Self::KeyNotFound => ("key_not_found", Scope::Key),
            Self::KeyDisabled => ("key_disabled", Scope::Key),
            Self::InvalidKeyState => ("invalid_key_state", Scope::Key),
            Self::InvalidKeyUsage => ("invalid_key_usage", Scope::Key),
            Self::IncorrectKey | Self::KeyMissing { .. } => ("incorrect_key", Scope::Key),
            Self::NotAllowed => ("not_allowed", Scope::Key),
            Self::ContextIgnored => ("context_ignored", Scope::Key),
            Self::InvalidCiphertext => ("invalid_ciphertext", Scope::Call),
            Self::Throttled => ("throttled", Scope::Provider),
            Self::Unavailable => ("unavailable", Scope::Provider),
            Self::Credentials => ("credentials", Scope::Call),
            Self::Malformed(_) => ("malformed", Scope::Call),
            Self::TooManyWrappings => ("too_many_wrappings", Scope::Call),
            Self::NoKeyNamed => ("no_key_named", Scope::Call),
            Self::Unexpected(_) => ("unexpected", Scope::Call),
            Self::Unsupported => ("unsupported", Scope::Call),
            Self::Interrupted => ("interrupted", Scope::Call),
        }
    }
}

/// A failure to open or create the keyring. Each message names its remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringSetupError {
    /// The file does not exist, and `create_if_missing` is off.
    #[error("missing keyring {}: create one with `s3veil keygen`, or correct keyring.file", .0.display())]
    Missing(PathBuf),
    /// A key generation would have overwritten a keyring.
    #[error(
        "{} exists and is not overwritten: objects written under its keys would be lost; `s3veil keygen --rotate` adds \
         a key to it",
        .0.display()
    )]
    Exists(PathBuf),
    /// Users other than the owner may read or write the file.
    #[error(
        "{} holds keys, but its mode is {mode:04o}: other users may access it; run `chmod 600 {}` (Kubernetes: \
         defaultMode: 0400 in the secret's volume)",
        .file.display(), .file.display()
    )]
    TooOpen {
        /// The keyring's file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file could not be read or written.
    #[error("{}: could not {action}: {kind}", .file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// The failed step.
        action: &'static str,
        /// The kind of the I/O error.
        kind: std::io::ErrorKind,
    },
    /// The file is larger than the maximum size of a keyring.
    #[error("{} is larger than {limit} bytes, so it is not a keyring: correct keyring.file", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The maximum size, in bytes.
        limit: u64,
    },
    /// The file's content is invalid.
    #[error(
        "{}{}: {problem}: restore it from its copy; do not make a new one, which can't open objects written under this \
         one",
        .file.display(), .line.map(|line| format!(":{line}")).unwrap_or_default()
    )]
    Invalid {
        /// The keyring's file.
        file: PathBuf,
        /// The line of the problem, from 1.
        line: Option<usize>,
        /// Description of the problem. Never contains the secret.
        problem: String,
    },
    /// Another rotation is running, or was interrupted: its lock file exists.
    #[error(
        "{} exists: another rotation is running, or was interrupted; if none is running, remove that file and rotate \
         again",
        .0.display()
    )]
    Locked(PathBuf),
    /// The endpoint is not a valid URL.
    #[error("invalid keyring.endpoint = {0:?}: requires a URL like \"http://127.0.0.1:4566\"")]
    Endpoint(String),
    /// The environment or the AWS profile names an endpoint that would receive data keys unencrypted.
    #[error(
        "AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL or the AWS profile names the endpoint {0:?} for KMS, which is invalid or \
         sends data keys unencrypted to another machine: write an https:// endpoint there, or in keyring.endpoint"
    )]
    InheritedEndpoint(String),
    /// No AWS region is known.
    #[error(
        "no AWS region is known for KMS: set keyring.region, AWS_REGION, or a full key ARN as keyring.key_id"
    )]
    NoRegion,
    /// A setting of a holder can't be used. The text names the setting, the problem and the remedy.
    #[error("{0}")]
    Setting(String),
    /// A PKCS#11 token, its login or its keys are not as configured.
    #[cfg(feature = "pkcs11")]
    #[error("{at}: {problem}: {fix}")]
    Token {
        /// The token.
        at: String,
        /// The problem, with the token's own words.
        problem: String,
        /// The remedy.
        fix: &'static str,
    },
    /// The work was cut off by a shutdown or a panic of the proxy.
    #[error("opening the keyring was interrupted")]
    Interrupted,
}
