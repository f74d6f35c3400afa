//! The holder for Google Cloud KMS: `encrypt` and `decrypt` of its REST API, bound to the encryption context
//! by `additionalAuthenticatedData`. It must not know caches or other holders. It promises that the checksums
//! of request and response are compared, and that a data key is opened by the configured key alone.
//!
//! <https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/encrypt>,
//! <https://cloud.google.com/kms/docs/data-integrity-guidelines>. Written from this documentation; never run
//! against the service.

mod login;
mod refusal;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use self::login::GcpTokens;
use self::refusal::{Call, refusal};
use super::bearer_service::{BearerService, secret};
use super::http_client::HttpResponse;
use super::{DecryptedKey, GeneratedKey, KeyProvider, Response, WrappedKey, require_own_key};
use crate::envelope::native::HolderKind;
use crate::envelope::{DataKey, fill_random};
use crate::keyring::settings::GcpKms;
use crate::keyring::{
    CheckError, EncryptionContext, KeyId, KeyringError, KeyringSetupError, MalformedResponse,
};

#[derive(Debug)]
pub(in crate::keyring) struct GcpKmsHolder {
    endpoint: String,
    /// `projects/*/locations/*/keyRings/*/cryptoKeys/*`, the only key of this holder.
    key_id: KeyId,
    encrypt: Uri,
    decrypt: Uri,
    service: BearerService,
}

/// The body of `encrypt`. Bytes are base64; checksums are CRC32C in decimal digits, as JSON has 64-bit
/// integers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncryptRequest<'a> {
    plaintext: &'a str,
    plaintext_crc32c: String,
    #[serde(flatten)]
    context: BoundContext,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecryptRequest<'a> {
    ciphertext: &'a str,
    ciphertext_crc32c: String,
    #[serde(flatten)]
    context: BoundContext,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BoundContext {
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncryptResponse {
    /// The version of the key that encrypted.
    name: String,
    ciphertext: String,
    ciphertext_crc32c: Option<Value>,
    #[serde(default)]
    verified_plaintext_crc32c: bool,
    #[serde(default)]
    verified_additional_authenticated_data_crc32c: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DecryptResponse {
    #[serde(deserialize_with = "secret")]
    plaintext: Zeroizing<String>,
    plaintext_crc32c: Option<Value>,
}

impl GcpKmsHolder {
    pub(super) fn build(settings: GcpKms) -> Result<Self, KeyringSetupError> {
        let GcpKms { key_id, endpoint, login, metadata } = settings;
        let endpoint = endpoint.to_string().trim_end_matches('/').to_owned();
        let uri = |call: &str| {
            format!("{endpoint}/v1/{key_id}:{call}").parse::<Uri>().map_err(|error| {
                KeyringSetupError::Setting(format!("invalid endpoint or key of {endpoint}: {error}"))
            })
        };
        let (encrypt, decrypt) = (uri("encrypt")?, uri("decrypt")?);
        let service = BearerService::new(Box::new(GcpTokens::new(login, &metadata)?))?;
        Ok(Self { endpoint, key_id, encrypt, decrypt, service })
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedKey, CheckError> {
        let mut data_key = Zeroizing::new([0; 32]);
        fill_random(data_key.as_mut_slice());
        let WrappedKey { wrapped, key_id } = self.wrap(data_key.as_slice(), context).await?;
        Ok(GeneratedKey { data_key: DataKey::try_from_slice(data_key.as_slice()), wrapped, key_id })
    }

    async fn wrap(&self, data_key: &[u8], context: &EncryptionContext) -> Result<WrappedKey, CheckError> {
        let plaintext = Zeroizing::new(STANDARD.encode(data_key));
        let request = EncryptRequest {
            plaintext: &plaintext,
            plaintext_crc32c: crc32c(data_key).to_string(),
            context: BoundContext::new(context),
        };
        let read = |response: &HttpResponse| self.read_encrypted(response);
        let wrapped = self.service.call(&self.encrypt, body(&request), read).await?;
        Ok(WrappedKey { wrapped, key_id: Some(self.key_id.as_str().to_owned()) })
    }

    fn read_encrypted(&self, response: &HttpResponse) -> Result<Bytes, CheckError> {
        if !response.status.is_success() {
            return Err(refusal(response, Call::Encrypt));
        }
        let encrypted: EncryptResponse =
            serde_json::from_slice(&response.body).map_err(|_| response.malformed())?;
        let version = encrypted.name.strip_prefix(self.key_id.as_str());
        if !version.is_some_and(|version| version.starts_with("/cryptoKeyVersions/")) {
            return Err(KeyringError::Malformed(MalformedResponse::OtherKey).into());
        }
        if !encrypted.verified_plaintext_crc32c || !encrypted.verified_additional_authenticated_data_crc32c {
            return Err(corrupted("the service received no checksum of the request"));
        }
        let ciphertext = STANDARD.decode(&encrypted.ciphertext).map_err(|_| response.malformed())?;
        check_crc32c(&ciphertext, encrypted.ciphertext_crc32c.as_ref())?;
        Ok(ciphertext.into())
    }

    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<DecryptedKey, CheckError> {
        let request = DecryptRequest {
            ciphertext: &STANDARD.encode(wrapped),
            ciphertext_crc32c: crc32c(wrapped).to_string(),
            context: BoundContext::new(context),
        };
        let data_key = self.service.call(&self.decrypt, body(&request), read_decrypted).await?;
        Ok(DecryptedKey { data_key, key_id: Some(self.key_id.as_str().to_owned()) })
    }
}

impl KeyProvider for GcpKmsHolder {
    fn kind(&self) -> HolderKind {
        HolderKind::GcpKms
    }

    fn may_have_wrapped(&self, blob: &[u8]) -> bool {
        // The blobs are opaque, but not text, as those of Vault are.
        !blob.starts_with(b"vault:")
    }

    fn place(&self) -> String {
        self.endpoint.clone()
    }

    fn key_ids(&self) -> &[KeyId] {
        std::slice::from_ref(&self.key_id)
    }

    fn generate<'a>(
        &'a self,
        key_id: &'a KeyId,
        context: &'a EncryptionContext,
    ) -> Response<'a, GeneratedKey> {
        Box::pin(async move {
            require_own_key(&self.key_id, key_id)?;
            self.generate(context).await
        })
    }

    fn decrypt<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, DecryptedKey> {
        Box::pin(async move {
            require_own_key(&self.key_id, key_id)?;
            self.decrypt(wrapped, context).await
        })
    }

    fn wrap<'a>(
        &'a self,
        data_key: &'a DataKey,
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(async move {
            require_own_key(&self.key_id, key_id)?;
            self.wrap(data_key.as_slice(), context).await
        })
    }
}

impl BoundContext {
    fn new(context: &EncryptionContext) -> Self {
        Self {
            additional_authenticated_data: STANDARD.encode(context.canonical()),
            additional_authenticated_data_crc32c: crc32c(context.canonical()).to_string(),
        }
    }
}

fn body(request: &impl Serialize) -> Bytes {
    Bytes::from_owner(Zeroizing::new(serde_json::to_vec(request).expect("texts are JSON")))
}

/// The data key; `None` if it has neither 256 nor 128 bits.
fn read_decrypted(response: &HttpResponse) -> Result<Option<DataKey>, CheckError> {
    if !response.status.is_success() {
        return Err(refusal(response, Call::Decrypt));
    }
    let decrypted: DecryptResponse =
        serde_json::from_slice(&response.body).map_err(|_| response.malformed())?;
    let plaintext =
        Zeroizing::new(STANDARD.decode(decrypted.plaintext.as_bytes()).map_err(|_| response.malformed())?);
    check_crc32c(&plaintext, decrypted.plaintext_crc32c.as_ref())?;
    Ok(DataKey::try_from_slice(&plaintext).or_else(|| DataKey::short_from_slice(&plaintext)))
}

fn crc32c(bytes: &[u8]) -> u32 {
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(checksum).expect("CRC-32C has 32 bits")
}

/// Compares the checksum of a response. The documentation has it as a decimal text; a number is taken too.
fn check_crc32c(bytes: &[u8], received: Option<&Value>) -> Result<(), CheckError> {
    let received = received.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    if received == Some(u64::from(crc32c(bytes))) {
        Ok(())
    } else {
        Err(corrupted("the checksum of the response is missing or differs"))
    }
}

/// Damage on the way, after which the documentation asks for a limited number of retries.
fn corrupted(cause: &str) -> CheckError {
    CheckError { error: KeyringError::Unavailable, cause: Some(cause.to_owned()) }
}
