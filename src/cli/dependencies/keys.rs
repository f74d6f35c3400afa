//! The wrapping keys that checks ask for, and what a failure of one means.
//! It must not know how often a check runs.
//! It promises that every failure names the service, the call, the key, the cause and the setting to change.

use super::DependencyError;
use crate::config::Config;
use crate::keyring::{CheckError, HolderSettings, KeyId, KeyringError, Provider, Reuse, RoundTripError};

/// A wrapping key of a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderKey {
    /// The place of the holder in the keyring's settings.
    pub holder: usize,
    /// The service or file that has the key: `AWS KMS in us-east-1`.
    pub place: String,
    /// Whether it is AWS KMS, whose words are used then.
    pub is_aws: bool,
    /// The key that a rule names; `None`: the holder's default.
    pub key_id: Option<KeyId>,
}

/// Every key that a rule of `config` writes or reads with, and the replicas of these keys.
pub(super) fn all(config: &Config) -> Vec<HolderKey> {
    let holders = &config.keyring.holders;
    let mut keys = Vec::new();
    let mut add = |holder: usize, key_id: Option<&KeyId>| {
        let key = HolderKey {
            holder,
            place: holder_place(&holders[holder]),
            is_aws: holders[holder].provider.is_aws_kms(),
            key_id: key_id.cloned(),
        };
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    for rule in config.buckets.iter().map(|rule| &rule.keys) {
        add(rule.first(), rule.key_id.as_ref());
        for holder in rule.wrapping[1..].iter().chain(&rule.unwrapping) {
            add(*holder, None);
        }
    }
    for (place, holder) in holders.iter().enumerate() {
        if holder.replica_of.is_some() {
            add(place, None);
        }
    }
    keys
}

/// A holder in words, such as `AWS KMS in eu-west-1`.
pub fn holder_place(holder: &HolderSettings) -> String {
    match &holder.provider {
        Provider::Local(local) => format!("local keyring {}", local.file.display()),
        #[cfg(feature = "aws")]
        Provider::AwsKms(kms) => {
            let region = kms.region.as_deref().unwrap_or("the default region");
            let place = kms.endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
            format!("AWS KMS in {region}{}", place.trim_end_matches('/'))
        }
        Provider::Vault(vault) => format!("Vault at {}", vault.address.to_string().trim_end_matches('/')),
        #[cfg(feature = "pkcs11")]
        Provider::Pkcs11(settings) => settings.token.to_string(),
        #[cfg(feature = "gcp-kms")]
        Provider::GcpKms(settings) => format!("Google Cloud KMS at {}", settings.endpoint),
        #[cfg(feature = "azure-key-vault")]
        Provider::AzureKeyVault(settings) => format!("Azure Key Vault at {}", settings.vault),
    }
}

/// The line of the key services in the log.
pub fn keyring_line(config: &Config) -> String {
    let is_shared = config.keyring.reuse == Reuse::Bucket;
    let places = match config.keyring.holders.as_slice() {
        [only] => holder_place(only),
        several => {
            let named = several.iter().map(|holder| format!("{}: {}", holder.name, holder_place(holder)));
            named.collect::<Vec<_>>().join("; ")
        }
    };
    places + if is_shared { "" } else { ", a data key per object" }
}

/// The failure of a round trip through the key service at `place`: the call, the key, the cause, and what to
/// change.
pub(super) fn failure(place: &str, is_aws: bool, failed: &RoundTripError) -> DependencyError {
    let RoundTripError { call, key_id, failure } = failed;
    let key = key_id.as_ref().map_or_else(String::new, |key_id| format!(" for key {key_id}"));
    let verb = match (is_refusal(&failure.error), is_aws) {
        (true, _) => "refused",
        (false, true) => "failed at",
        (false, false) => "failed",
    };
    let call = if is_aws { call.action() } else { call.described() };
    let advice = if is_aws { advice_for_aws(failure) } else { advice(failure) };
    DependencyError { message: format!("{place} {verb} {}{key}: {failure}{advice}", call) }
}

/// Whether the key service responded, and the response says no.
fn is_refusal(error: &KeyringError) -> bool {
    match error {
        KeyringError::Denied
        | KeyringError::KeyNotFound
        | KeyringError::KeyDisabled
        | KeyringError::InvalidKeyState
        | KeyringError::InvalidKeyUsage
        | KeyringError::IncorrectKey
        | KeyringError::KeyMissing { .. }
        | KeyringError::NotAllowed
        | KeyringError::InvalidCiphertext
        | KeyringError::Throttled
        | KeyringError::ContextIgnored
        | KeyringError::Unsupported
        | KeyringError::Unexpected(_) => true,
        KeyringError::Unavailable
        | KeyringError::Credentials
        | KeyringError::Malformed(_)
        | KeyringError::NoKeyNamed
        | KeyringError::TooManyWrappings
        | KeyringError::Interrupted => false,
    }
}

fn advice(failure: &CheckError) -> &'static str {
    let error = &failure.error;
    if *error == KeyringError::KeyNotFound {
        "; correct the name of the key, or keyring.file"
    } else if is_refusal(error) || *error == KeyringError::Credentials {
        "; docs/HOLDERS.md lists the key, the rights and the logins that it requires"
    } else {
        ""
    }
}

fn advice_for_aws(failure: &CheckError) -> &'static str {
    match &failure.error {
        KeyringError::Credentials => {
            "; set keyring.access_key_id and keyring.secret_access_key, or AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or attach a role to this machine or pod"
        }
        KeyringError::Denied => "; the role requires kms:GenerateDataKey and kms:Decrypt of this key",
        KeyringError::KeyNotFound => "; correct key_id, or keyring.region or keyring.file",
        KeyringError::Malformed(_) | KeyringError::Unexpected(_) => "; correct keyring.endpoint",
        KeyringError::KeyDisabled => "; enable it in AWS KMS, or correct key_id",
        KeyringError::InvalidKeyState => "; cancel its deletion in AWS KMS, or correct key_id",
        KeyringError::InvalidKeyUsage => "; name a symmetric key for encryption in key_id",
        KeyringError::IncorrectKey
        | KeyringError::KeyMissing { .. }
        | KeyringError::NotAllowed
        | KeyringError::InvalidCiphertext
        | KeyringError::Throttled
        | KeyringError::Unavailable
        | KeyringError::NoKeyNamed
        | KeyringError::ContextIgnored
        | KeyringError::Unsupported
        | KeyringError::Interrupted => "",
        KeyringError::TooManyWrappings => "; name fewer holders or recovery keys in the bucket's rule",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::KeyCall;

    #[test]
    fn a_failure_names_endpoint_call_key_cause_and_remedy() {
        let failed = RoundTripError {
            call: KeyCall::Generate,
            key_id: Some(KeyId::parse("alias/logs").expect("a key id")),
            failure: CheckError {
                error: KeyringError::Denied,
                cause: Some("AccessDeniedException: no policy allows it".to_owned()),
            },
        };
        let expected = "AWS KMS in eu-west-1 at https://kms.example refused kms:GenerateDataKey for key alias/logs: access \
                        to the wrapping key was denied: AccessDeniedException: no policy allows it; the role requires \
                        kms:GenerateDataKey and kms:Decrypt of this key";
        let message = failure("AWS KMS in eu-west-1 at https://kms.example", true, &failed).message;
        assert_eq!(message, expected);
        let away = RoundTripError {
            call: KeyCall::Unwrap,
            failure: CheckError { error: KeyringError::Unavailable, cause: None },
            ..failed
        };
        let message = failure("AWS KMS in eu-west-1", true, &away).message;
        assert!(
            message.starts_with("AWS KMS in eu-west-1 failed at kms:Decrypt for key alias/logs"),
            "{message}"
        );
    }
}
