//! Why there is no data key, and why there is no keyring.

use std::fmt;
use std::path::PathBuf;

use super::KeyId;

/// Why a data key could not be generated or unwrapped. Carries no key, blob or context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The provider's policy denies it to these credentials.
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
    /// The key exists, but is no symmetric encryption key.
    #[error("the wrapping key is not for encryption and decryption")]
    InvalidKeyUsage,
    /// The blob was made under another key than the one that was to open it.
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
    /// No wrapping key is allowed to open it.
    #[error("no wrapping key is allowed to unwrap the data key")]
    NotAllowed,
    /// The encryption context is another, or the blob is no blob or was tampered with.
    #[error("the wrapped data key is invalid, or its encryption context is another")]
    InvalidCiphertext,
    /// The provider went on throttling through all retries.
    #[error("the key provider is throttling")]
    Throttled,
    /// The provider could not be reached, timed out or failed.
    #[error("the key provider is unavailable")]
    Unavailable,
    /// There are no credentials for the provider, or it does not accept them.
    #[error("the key provider accepts no credentials of ours, or there are none")]
    Credentials,
    /// The provider answered what it never may.
    #[error("the key provider's answer is malformed: {0}")]
    Malformed(MalformedAnswer),
    /// Neither the bucket nor the keyring names a wrapping key.
    #[error("no wrapping key is configured")]
    NoKeyNamed,
    /// An error that this version does not know, by the provider's own code.
    #[error("the key provider refused: {code}")]
    Unexpected {
        /// At most 64 ASCII letters and digits.
        code: String,
    },
    /// The call was cut off by a shutdown or a bug on our side.
    #[error("the call of the key provider was interrupted")]
    Interrupted,
}

/// The reason why [`Keyring::check`](super::Keyring::check) found that a wrapping key does not work: for
/// operators, not for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckError {
    /// What it means for requests.
    pub error: KeyringError,
    /// What the provider answered, or what broke on the way to it. `None` where the error says it all.
    pub cause: Option<String>,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for CheckError {}

impl From<KeyringError> for CheckError {
    fn from(error: KeyringError) -> Self {
        Self { error, cause: None }
    }
}

/// What was wrong with a provider's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAnswer {
    /// The data key is not 256 bits, or as short as was asked for.
    #[error("the data key is not of the length that was asked for")]
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
    /// The answer names another wrapping key than was asked for by its id or ARN.
    #[error("it names another wrapping key than was asked for")]
    OtherKey,
    /// What was wrapped came back as something else.
    #[error("the data key that came back is another one")]
    RoundTrip,
    /// The answer could not be parsed.
    #[error("it could not be parsed")]
    Unparsable,
}

impl KeyringError {
    /// The provider gave no verdict: trying later may help, and `stale_if_error` applies.
    pub fn is_unavailability(&self) -> bool {
        match self {
            Self::Throttled | Self::Unavailable => true,
            Self::Denied
            | Self::KeyNotFound
            | Self::KeyDisabled
            | Self::InvalidKeyState
            | Self::InvalidKeyUsage
            | Self::IncorrectKey
            | Self::KeyMissing { .. }
            | Self::NotAllowed
            | Self::InvalidCiphertext
            | Self::Credentials
            | Self::Malformed(_)
            | Self::NoKeyNamed
            | Self::Unexpected { .. }
            | Self::Interrupted => false,
        }
    }

    /// Another allowed key may still open the blob.
    pub(super) fn concerns_one_key(&self) -> bool {
        match self {
            Self::Denied
            | Self::KeyNotFound
            | Self::KeyDisabled
            | Self::InvalidKeyState
            | Self::InvalidKeyUsage
            | Self::IncorrectKey
            | Self::KeyMissing { .. }
            | Self::NotAllowed => true,
            Self::InvalidCiphertext
            | Self::Throttled
            | Self::Unavailable
            | Self::Credentials
            | Self::Malformed(_)
            | Self::NoKeyNamed
            | Self::Unexpected { .. }
            | Self::Interrupted => false,
        }
    }

    /// Of the refusals of several keys, "another key's blob" explains least.
    pub(super) fn says_less_than(&self, other: &Self) -> bool {
        *self == Self::NotAllowed || (*self == Self::IncorrectKey && *other != Self::IncorrectKey)
    }

    /// The label of this outcome in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::KeyNotFound => "key_not_found",
            Self::KeyDisabled => "key_disabled",
            Self::InvalidKeyState => "invalid_key_state",
            Self::InvalidKeyUsage => "invalid_key_usage",
            Self::IncorrectKey | Self::KeyMissing { .. } => "incorrect_key",
            Self::NotAllowed => "not_allowed",
            Self::InvalidCiphertext => "invalid_ciphertext",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Credentials => "credentials",
            Self::Malformed(_) => "malformed",
            Self::NoKeyNamed => "no_key_named",
            Self::Unexpected { .. } => "unexpected",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Why the keyring could not be opened: each message says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringSetupError {
    /// There is no file, and none was to be created.
    #[error("there is no keyring at {}: create one with `s3veil keygen`, or correct keyring.file", .file.display())]
    Missing {
        /// Where the file should be.
        file: PathBuf,
    },
    /// A key generation would have overwritten a keyring.
    #[error(
        "{} exists and is not overwritten: objects written under its keys would be lost; `s3veil keygen --rotate` adds \
         a key to it",
        .file.display()
    )]
    Exists {
        /// The file that is there.
        file: PathBuf,
    },
    /// Others than the owner may read the file, or write to it.
    #[error(
        "{} holds keys, but its mode is {mode:04o}: others may read it; run `chmod 600 {}`",
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
        /// What was tried.
        action: &'static str,
        /// How it failed.
        kind: std::io::ErrorKind,
    },
    /// The file is larger than any keyring.
    #[error("{} is larger than {limit} bytes: this is no keyring; correct keyring.file", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// What a keyring's file may have, in bytes.
        limit: u64,
    },
    /// The file is no keyring.
    #[error(
        "{}{}: {problem}: restore it from its copy; do not make a new one, which opens nothing that was written under this",
        .file.display(), .line.map(|line| format!(":{line}")).unwrap_or_default()
    )]
    Invalid {
        /// The keyring's file.
        file: PathBuf,
        /// Where in the file, from 1.
        line: Option<usize>,
        /// What is wrong with it. Never the secret.
        problem: String,
    },
    /// Another rotation is at work, or died.
    #[error(
        "{} exists: another rotation is at work; if none is, it was interrupted: remove that file and rotate again",
        .lock.display()
    )]
    Locked {
        /// The file that a rotation writes.
        lock: PathBuf,
    },
    /// The endpoint is no URL.
    #[error("keyring.endpoint = {endpoint:?} is no URL like \"http://127.0.0.1:4566\"")]
    Endpoint {
        /// What was configured.
        endpoint: String,
    },
    /// No AWS region is known.
    #[error(
        "no AWS region is known for KMS: set keyring.region, AWS_REGION, or a full key ARN as keyring.key_id"
    )]
    NoRegion,
    /// The work was cut off by a shutdown.
    #[error("opening the keyring was interrupted")]
    Interrupted,
}
