//! The meaning of a failed PKCS#11 function for the keyring.
//! It must not know sessions or keys.
//! It promises that an outage of the token is never taken for a refusal, nor the reverse.
//!
//! Sources: PKCS #11 v3.1, section 5.1 "Function return values", and what SoftHSM 2.6.1 returns.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use crate::keyring::{CheckError, KeyringError};

/// A failure of work on a session.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: KeyringError,
    /// The function and its return value.
    pub(super) cause: String,
    /// Whether the session or the key handle is invalid, so that the work may succeed with a new one.
    pub(super) is_stale: bool,
}

impl Failure {
    pub(super) fn new(error: KeyringError, cause: impl Into<String>) -> Self {
        Self { error, cause: cause.into(), is_stale: false }
    }
}

impl From<Failure> for CheckError {
    fn from(failure: Failure) -> Self {
        Self { error: failure.error, cause: Some(failure.cause) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let cause = error.to_string();
        match error {
            Error::Pkcs11(value, function) => {
                Self { error: classify(value, function), cause, is_stale: STALE.contains(&value) }
            }
            Error::LibraryLoading(_) | Error::MissingSymbol(_) | Error::NullFunctionPointer => {
                Self::new(KeyringError::Unavailable, cause)
            }
            Error::NotSupported
            | Error::TryFromInt(_)
            | Error::TryFromSlice(_)
            | Error::ParseInt(_)
            | Error::Utf8(_)
            | Error::NulError(_)
            | Error::InvalidValue
            | Error::PinNotSet => Self::new(KeyringError::Unexpected("Pkcs11Library".to_owned()), cause),
        }
    }
}

/// The session ended, the user was logged out, or the handle of the key is invalid.
const STALE: &[RvError] = &[
    RvError::SessionHandleInvalid,
    RvError::SessionClosed,
    RvError::OperationActive,
    RvError::DeviceRemoved,
    RvError::DeviceError,
    RvError::TokenNotPresent,
    RvError::UserNotLoggedIn,
    RvError::ObjectHandleInvalid,
    RvError::KeyHandleInvalid,
];

/// Return values by which a login fails for its PIN or its user: to repeat it could lock the token.
pub(super) const PIN_REFUSED: &[RvError] = &[
    RvError::PinIncorrect,
    RvError::PinInvalid,
    RvError::PinLenRange,
    RvError::PinExpired,
    RvError::PinLocked,
    RvError::UserPinNotInitialized,
];

const UNAVAILABLE: &[RvError] = &[
    RvError::HostMemory,
    RvError::GeneralError,
    RvError::FunctionFailed,
    RvError::FunctionCanceled,
    RvError::SlotIdInvalid,
    RvError::DeviceError,
    RvError::DeviceMemory,
    RvError::DeviceRemoved,
    RvError::TokenNotPresent,
    RvError::TokenNotRecognized,
    RvError::SessionClosed,
    RvError::SessionCount,
    RvError::SessionHandleInvalid,
    RvError::OperationActive,
    RvError::CryptokiNotInitialized,
    RvError::LibraryLoadFailed,
];

/// CKR_AEAD_DECRYPT_FAILED of PKCS #11 v3.0, which the binding does not name.
const AEAD_DECRYPT_FAILED: RvError = RvError::UnknownErrorCode(0x35);

const INVALID_CIPHERTEXT: &[RvError] = &[
    RvError::EncryptedDataInvalid,
    RvError::EncryptedDataLenRange,
    RvError::DataInvalid,
    RvError::DataLenRange,
    AEAD_DECRYPT_FAILED,
];

const INVALID_KEY_USAGE: &[RvError] =
    &[RvError::KeyTypeInconsistent, RvError::KeySizeRange, RvError::MechanismInvalid];

/// Return values that tokens give where a ciphertext is not authentic, and for faults of their own alike.
const AMBIGUOUS_DECRYPT: &[RvError] = &[RvError::GeneralError, RvError::FunctionFailed];

/// Whether a failed decryption may mean that the ciphertext is not authentic, or that the token has a fault.
pub(super) fn is_ambiguous_decrypt(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(value, Function::Decrypt) if AMBIGUOUS_DECRYPT.contains(value))
}

fn classify(value: RvError, function: Function) -> KeyringError {
    let is = |values: &[RvError]| values.contains(&value);
    if is(PIN_REFUSED) || is(&[RvError::UserNotLoggedIn, RvError::UserAnotherAlreadyLoggedIn]) {
        KeyringError::Credentials
    } else if is(&[RvError::ObjectHandleInvalid, RvError::KeyHandleInvalid]) {
        KeyringError::KeyNotFound
    } else if is(&[RvError::KeyFunctionNotPermitted]) {
        KeyringError::KeyDisabled
    } else if is(INVALID_KEY_USAGE) {
        KeyringError::InvalidKeyUsage
    } else if matches!(function, Function::Decrypt) && is(INVALID_CIPHERTEXT) {
        KeyringError::InvalidCiphertext
    } else if is(UNAVAILABLE) {
        KeyringError::Unavailable
    } else {
        let name = format!("{value:?}");
        KeyringError::Unexpected(name.chars().filter(char::is_ascii_alphanumeric).take(64).collect())
    }
}
