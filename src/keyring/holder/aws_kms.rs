//! The AWS KMS holder: GenerateDataKey and Decrypt through aws-sdk-kms, and the meaning of their errors.
//! It must not know caches or other holders.
//! It promises that Decrypt always names the wrapping key, and that every call ends within
//! [`OPERATION_TIMEOUT`].

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, EncryptionAlgorithmSpec};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use zeroize::Zeroizing;

use super::{DecryptedKey, GeneratedKey, KeyProvider, Response, WrappedKey, causes};
use crate::envelope::DataKey;
use crate::envelope::native::HolderKind;
use crate::keyring::settings::AwsKms;
use crate::keyring::{
    CheckError, EncryptionContext, KeyId, KeyringError, KeyringSetupError, MalformedResponse,
    is_private_endpoint,
};

/// KMS is in the same region: a connection that takes longer will not succeed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// KMS responds within milliseconds; an attempt that takes longer than this is retried on another connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// For all attempts together: S3 clients wait a minute for the head of a response, and retry a 503
/// themselves.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// The first attempt and three retries after throttling or an outage: with the backoff below they end well
/// before the operation's timeout, and the load on an overloaded KMS is at most quadrupled.
const MAX_ATTEMPTS: u32 = 4;
/// The backoff before the second attempt, doubled before each further one, with jitter.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// Maximum length of an unknown error code in an error, in characters.
const MAX_CODE_LEN: usize = 64;

#[derive(Debug)]
pub(in crate::keyring) struct AwsKmsHolder {
    client: aws_sdk_kms::Client,
    key_id: Option<KeyId>,
    /// The endpoint, or the region whose own endpoint is used, for the log.
    place: String,
}

impl AwsKmsHolder {
    pub(super) async fn build(settings: AwsKms) -> Result<Self, KeyringSetupError> {
        let AwsKms { key_id, endpoint, region, credentials } = settings;
        let endpoint = endpoint.map(checked_endpoint).transpose()?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        let shared = loader.load().await;
        let arn_region = key_id.as_ref().and_then(KeyId::region).map(|region| Region::new(region.to_owned()));
        let region = shared.region().cloned().or(arn_region).ok_or(KeyringSetupError::NoRegion)?;
        let default_place = || format!("AWS KMS in {region}");
        let inherited = if endpoint.is_none() { inherited_endpoint(&shared)? } else { None };
        let place = endpoint.clone().or(inherited).unwrap_or_else(default_place);
        let mut config = aws_sdk_kms::config::Builder::from(&shared)
            .region(region)
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(OPERATION_TIMEOUT)
                    .build(),
            )
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(MAX_ATTEMPTS)
                    .with_initial_backoff(INITIAL_BACKOFF)
                    .with_max_backoff(MAX_BACKOFF),
            );
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Self { client: aws_sdk_kms::Client::from_conf(config.build()), key_id, place })
    }

    async fn generate(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<GeneratedKey, CheckError> {
        let response = self
            .client
            .generate_data_key()
            .key_id(key_id.as_str())
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(Some(kms_context(context)))
            .send()
            .await
            .map_err(|error| check_error(&error))?;
        Ok(GeneratedKey {
            data_key: take_data_key(response.plaintext).filter(|data_key| !data_key.is_short()),
            wrapped: take_blob(response.ciphertext_blob),
            key_id: response.key_id,
        })
    }

    async fn decrypt(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<DecryptedKey, CheckError> {
        let response = self
            .client
            .decrypt()
            .ciphertext_blob(Blob::new(wrapped))
            // Without it KMS takes the key that the blob names, which may be an attacker's.
            .key_id(key_id.as_str())
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .set_encryption_context(Some(kms_context(context)))
            .send()
            .await
            .map_err(|error| check_error(&error))?;
        Ok(DecryptedKey { data_key: take_data_key(response.plaintext), key_id: response.key_id })
    }

    /// ReEncrypt: the data key stays in KMS, and the newest material of the key `to` wraps it.
    /// <https://docs.aws.amazon.com/kms/latest/APIReference/API_ReEncrypt.html>
    async fn rewrap(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        from: &KeyId,
        to: &KeyId,
    ) -> Result<WrappedKey, CheckError> {
        let response = self
            .client
            .re_encrypt()
            .ciphertext_blob(Blob::new(wrapped))
            // Without it KMS takes the key that the blob names, which may be an attacker's.
            .source_key_id(from.as_str())
            .destination_key_id(to.as_str())
            .set_source_encryption_context(Some(kms_context(context)))
            .set_destination_encryption_context(Some(kms_context(context)))
            .send()
            .await
            .map_err(|error| check_error(&error))?;
        Ok(WrappedKey { wrapped: take_blob(response.ciphertext_blob), key_id: response.key_id })
    }

    async fn wrap(
        &self,
        data_key: &DataKey,
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<WrappedKey, CheckError> {
        let response = self
            .client
            .encrypt()
            .key_id(key_id.as_str())
            .plaintext(Blob::new(data_key.as_slice()))
            .set_encryption_context(Some(kms_context(context)))
            .send()
            .await
            .map_err(|error| check_error(&error))?;
        Ok(WrappedKey { wrapped: take_blob(response.ciphertext_blob), key_id: response.key_id })
    }
}

impl KeyProvider for AwsKmsHolder {
    fn kind(&self) -> HolderKind {
        HolderKind::AwsKms
    }

    fn may_have_wrapped(&self, blob: &[u8]) -> bool {
        // The blobs of AWS KMS are opaque, but not text, as those of Vault are.
        !blob.starts_with(b"vault:")
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn key_ids(&self) -> &[KeyId] {
        self.key_id.as_slice()
    }

    fn generate<'a>(
        &'a self,
        key_id: &'a KeyId,
        context: &'a EncryptionContext,
    ) -> Response<'a, GeneratedKey> {
        Box::pin(self.generate(key_id, context))
    }

    fn decrypt<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, DecryptedKey> {
        Box::pin(self.decrypt(wrapped, context, key_id))
    }

    fn wrap<'a>(
        &'a self,
        data_key: &'a DataKey,
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(self.wrap(data_key, context, key_id))
    }

    fn rewrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        from: &'a KeyId,
        to: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(self.rewrap(wrapped, context, from, to))
    }
}

/// The endpoint that the SDK takes from `AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL` or the AWS profile.
///
/// # Errors
/// [`KeyringSetupError::InheritedEndpoint`] if data keys would leave this machine unencrypted.
fn inherited_endpoint(shared: &SdkConfig) -> Result<Option<String>, KeyringSetupError> {
    let key = ServiceConfigKey::builder().service_id("KMS").env("AWS_ENDPOINT_URL").profile("endpoint_url");
    let key = key.build().expect("every field is set");
    let own = shared.service_config().and_then(|services| services.load_config(key));
    let Some(url) = own.or_else(|| shared.endpoint_url().map(str::to_owned)) else { return Ok(None) };
    if url.parse().is_ok_and(|endpoint| is_private_endpoint(&endpoint)) {
        return Ok(Some(url));
    }
    Err(KeyringSetupError::InheritedEndpoint(url))
}

/// Refuses an invalid URL at once: later it would look like an outage, at every call.
fn checked_endpoint(endpoint: String) -> Result<String, KeyringSetupError> {
    let is_url = endpoint.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_url { Ok(endpoint) } else { Err(KeyringSetupError::Endpoint(endpoint)) }
}

fn kms_context(context: &EncryptionContext) -> std::collections::HashMap<String, String> {
    context.pairs().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn take_blob(blob: Option<Blob>) -> Bytes {
    blob.map(|blob| Bytes::from(blob.into_inner())).unwrap_or_default()
}

/// A data key of 256 or 128 bits; `None` for any other length.
fn take_data_key(plaintext: Option<Blob>) -> Option<DataKey> {
    let bytes = Zeroizing::new(plaintext?.into_inner());
    DataKey::try_from_slice(&bytes).or_else(|| DataKey::short_from_slice(&bytes))
}

/// An error that KMS responds to one of its operations.
trait ServiceError: ProvideErrorMetadata + Error + 'static {}

impl<E: ProvideErrorMetadata + Error + 'static> ServiceError for E {}

/// The meaning of an error, with a description of the response or of the failed connection.
fn check_error(error: &SdkError<impl ServiceError, HttpResponse>) -> CheckError {
    let cause = describe_foreign_response(error)
        .or_else(|| describe_response(error))
        .unwrap_or_else(|| causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": "));
    CheckError { error: classify(error), cause: Some(cause) }
}

/// Describes a response that did not come from a key service: the responses of KMS are JSON, and its errors
/// have a code.
fn describe_foreign_response(error: &SdkError<impl ServiceError, HttpResponse>) -> Option<String> {
    let response = error.raw_response()?;
    let content_type = response.headers().get("content-type").unwrap_or("none");
    let has_code = error.as_service_error().and_then(ProvideErrorMetadata::code).is_some();
    (!has_code && !content_type.contains("json")).then(|| {
        let content_type: String = content_type.chars().take(MAX_CODE_LEN).collect();
        let status = response.status().as_u16();
        format!(
            "HTTP status {status} and the Content-Type {content_type:?}, which no response of AWS KMS has"
        )
    })
}

/// The code and the message of an error response: `AccessDeniedException: User … is not authorized …`.
fn describe_response(error: &SdkError<impl ServiceError, HttpResponse>) -> Option<String> {
    let response = error.as_service_error()?;
    let code = response.code()?;
    let message = response.message().map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("{code}{message}"))
}

fn classify(error: &SdkError<impl ServiceError, HttpResponse>) -> KeyringError {
    match causes(error).find_map(|cause| cause.downcast_ref()) {
        Some(CredentialsError::ProviderTimedOut(_)) => return KeyringError::Unavailable,
        Some(_) => return KeyringError::Credentials,
        None => {}
    }
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    // No response means a timeout or a broken connection.
    error.raw_response().map_or(KeyringError::Unavailable, |response| {
        classify_code(code.unwrap_or_default(), response.status().as_u16())
    })
}

/// The errors of GenerateDataKey and Decrypt, and those common to all of AWS, by their codes on the wire.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors>,
/// <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>
fn classify_code(code: &str, status: u16) -> KeyringError {
    match code {
        "AccessDeniedException"
        | "AccessDenied"
        | "NotAuthorized"
        | "OptInRequired"
        | "InvalidGrantTokenException" => KeyringError::Denied,
        "NotFoundException" => KeyringError::KeyNotFound,
        "DisabledException" => KeyringError::KeyDisabled,
        "KMSInvalidStateException" => KeyringError::InvalidKeyState,
        "InvalidKeyUsageException" => KeyringError::InvalidKeyUsage,
        "IncorrectKeyException" => KeyringError::IncorrectKey,
        "InvalidCiphertextException" => KeyringError::InvalidCiphertext,
        "ThrottlingException"
        | "Throttling"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => KeyringError::Throttled,
        "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "KMSInternalException"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout" => KeyringError::Unavailable,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired" => KeyringError::Credentials,
        unknown => match status {
            200..=299 => KeyringError::Malformed(MalformedResponse::Unparsable),
            429 => KeyringError::Throttled,
            500.. => KeyringError::Unavailable,
            _ if unknown.is_empty() => KeyringError::Unexpected(format!("HTTP{status}")),
            _ => KeyringError::Unexpected(
                unknown.chars().filter(char::is_ascii_alphanumeric).take(MAX_CODE_LEN).collect(),
            ),
        },
    }
}

#[cfg(test)]
mod tests;
