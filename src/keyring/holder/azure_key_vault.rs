//! The holder for Azure Key Vault and Managed HSM: `wrapkey` and `unwrapkey` of their REST API, version 7.4.
//! It must not know caches or other holders. It promises that a blob opens only in the encryption context
//! that it was made in, and by the configured key alone.
//!
//! <https://learn.microsoft.com/en-us/rest/api/keyvault/keys/wrap-key/wrap-key>,
//! <https://learn.microsoft.com/en-us/azure/key-vault/general/rest-error-codes>. Written from this
//! documentation; never run against the service.

mod blob;
mod login;
mod refusal;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Uri;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::blob::{Blob, is_key_version};
use self::login::AzureTokens;
use self::refusal::{Call, refusal};
use super::bearer_service::{BearerService, secret};
use super::http_client::HttpResponse;
use super::{DecryptedKey, GeneratedKey, KeyProvider, Response, WrappedKey, require_own_key};
use crate::envelope::native::HolderKind;
use crate::envelope::{DataKey, fill_random};
use crate::keyring::settings::{AzureAlgorithm, AzureKeyVault};
use crate::keyring::{
    CheckError, EncryptionContext, KeyId, KeyringError, KeyringSetupError, MalformedResponse,
};

#[derive(Debug)]
pub(in crate::keyring) struct AzureKeyVaultHolder {
    /// `https://<vault>/keys/<name>`, the only key of this holder, without its version.
    key_id: KeyId,
    /// `wrapkey` under the newest version.
    wrap: Uri,
    algorithm: AzureAlgorithm,
    service: BearerService,
}

/// The body of both calls, and their response.
#[derive(Serialize)]
struct KeyOperation<'a> {
    alg: &'static str,
    /// Base64url without padding.
    value: &'a str,
}

#[derive(Deserialize)]
struct KeyOperationResult {
    /// The key's identifier with its version.
    kid: String,
    #[serde(deserialize_with = "secret")]
    value: Zeroizing<String>,
}

impl AzureKeyVaultHolder {
    pub(super) fn build(settings: AzureKeyVault) -> Result<Self, KeyringSetupError> {
        let AzureKeyVault { vault, key, algorithm, login, authority, metadata } = settings;
        let name = format!("{}/keys/{key}", vault.to_string().trim_end_matches('/'));
        let invalid =
            |error: String| KeyringSetupError::Setting(format!("invalid vault or key {name}: {error}"));
        let key_id = KeyId::parse(&name).map_err(|error| invalid(error.to_string()))?;
        let wrap = operation(&name, "", "wrapkey").map_err(|error| invalid(error.to_string()))?;
        if algorithm == AzureAlgorithm::RsaOaep256 {
            tracing::warn!(
                %key_id,
                "data keys are wrapped by RSA: whoever knows the public key can make some; do not let the storage's \
                 operators read it, or use A256KW of a Managed HSM"
            );
        }
        let tokens = AzureTokens::new(login, &vault, &authority, &metadata)?;
        Ok(Self { key_id, wrap, algorithm, service: BearerService::new(Box::new(tokens))? })
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedKey, CheckError> {
        let mut data_key = Zeroizing::new([0; 32]);
        fill_random(data_key.as_mut_slice());
        let data_key = DataKey::from_bytes(*data_key);
        let WrappedKey { wrapped, key_id } = self.wrap(&data_key, context).await?;
        Ok(GeneratedKey { data_key: Some(data_key), wrapped, key_id })
    }

    async fn wrap(&self, data_key: &DataKey, context: &EncryptionContext) -> Result<WrappedKey, CheckError> {
        let read = |response: &HttpResponse| self.read(response, Call::Wrap);
        let body = body(self.algorithm, data_key.as_slice());
        let (version, wrapped) = self.service.call(&self.wrap, body, read).await?;
        let blob = Blob::new(self.algorithm, version.as_bytes(), &wrapped);
        let blob = blob.ok_or(KeyringError::Malformed(MalformedResponse::WrappedKeyLength))?;
        let wrapped = blob.encode(data_key, context).into();
        Ok(WrappedKey { wrapped, key_id: Some(self.key_id.as_str().to_owned()) })
    }

    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<DecryptedKey, CheckError> {
        let (blob, mac) = Blob::parse(wrapped).ok_or(KeyringError::InvalidCiphertext)?;
        let uri = operation(self.key_id.as_str(), blob.version_text(), "unwrapkey")
            .map_err(|_invalid| KeyringError::InvalidCiphertext)?;
        let read = |response: &HttpResponse| self.read(response, Call::Unwrap);
        let (version, plaintext) = self.service.call(&uri, body(blob.algorithm, blob.wrapped), read).await?;
        if version != blob.version_text() {
            return Err(KeyringError::Malformed(MalformedResponse::OtherKey).into());
        }
        let data_key = DataKey::try_from_slice(&plaintext);
        if let Some(data_key) = &data_key
            && !blob.is_bound(data_key, context, mac)
        {
            let cause = Some("the blob was made in another encryption context, or altered".to_owned());
            return Err(CheckError { error: KeyringError::InvalidCiphertext, cause });
        }
        Ok(DecryptedKey { data_key, key_id: Some(self.key_id.as_str().to_owned()) })
    }

    /// The version of the key that a response names, and the bytes.
    fn read(&self, response: &HttpResponse, call: Call) -> Result<(String, Zeroizing<Vec<u8>>), CheckError> {
        if !response.status.is_success() {
            return Err(refusal(response, call));
        }
        let result: KeyOperationResult =
            serde_json::from_slice(&response.body).map_err(|_| response.malformed())?;
        let version = result.kid.strip_prefix(self.key_id.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let Some(version) = version.filter(|version| is_key_version(version.as_bytes())) else {
            return Err(KeyringError::Malformed(MalformedResponse::OtherKey).into());
        };
        let value =
            URL_SAFE_NO_PAD.decode(result.value.trim_end_matches('=')).map_err(|_| response.malformed())?;
        Ok((version.to_owned(), Zeroizing::new(value)))
    }
}

impl KeyProvider for AzureKeyVaultHolder {
    fn kind(&self) -> HolderKind {
        HolderKind::AzureKeyVault
    }

    fn may_have_wrapped(&self, blob: &[u8]) -> bool {
        Blob::parse(blob).is_some()
    }

    fn place(&self) -> String {
        self.key_id.as_str().to_owned()
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
            self.wrap(data_key, context).await
        })
    }

    /// The key's identifier with its version.
    fn claimed_key(&self, blob: &[u8]) -> Option<String> {
        let (blob, _) = Blob::parse(blob)?;
        Some(format!("{}/{}", self.key_id, blob.version_text()))
    }
}

/// The address of an operation; an empty version means the newest, spelled as Microsoft's SDKs do.
fn operation(key: &str, version: &str, operation: &str) -> Result<Uri, http::uri::InvalidUri> {
    format!("{key}/{version}/{operation}?api-version=7.4").parse()
}

fn body(algorithm: AzureAlgorithm, value: &[u8]) -> Bytes {
    let value = Zeroizing::new(URL_SAFE_NO_PAD.encode(value));
    let request = KeyOperation { alg: algorithm.name(), value: &value };
    Bytes::from_owner(Zeroizing::new(serde_json::to_vec(&request).expect("texts are JSON")))
}
