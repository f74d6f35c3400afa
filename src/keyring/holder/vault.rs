//! The holder for Transit of OpenBao and HashiCorp Vault: `datakey/plaintext`, `decrypt`, `encrypt` and
//! `rewrap`, bound to the encryption context by the key's derivation. It must not know caches or other
//! holders. It promises that no data key is returned before the key was proved to be derived, and that every
//! call ends within [`OPERATION_TIMEOUT`].

mod batches;
mod client;
mod login;
mod refusal;
mod sessions;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Uri;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::batches::{BatchRequest, Batches, Item, Rewrapped, results};
use self::client::{Client, HttpResponse};
use self::login::Login;
use self::refusal::Refusal;
use self::sessions::Sessions;
use super::repetition::{MAX_ATTEMPTS, OPERATION_TIMEOUT, backoff};
use super::{DecryptedKey, GeneratedKey, KeyProvider, Response, WrappedKey, require_own_key};
use crate::envelope::DataKey;
use crate::envelope::native::HolderKind;
use crate::keyring::settings::Vault;
use crate::keyring::{
    CheckError, EncryptionContext, KeyId, KeyringError, KeyringSetupError, MalformedResponse,
};
use crate::timer;

/// What the blobs of Transit begin with, in OpenBao and in Vault: `vault:v<version>:<base64>`.
const BLOB_PREFIX: &str = "vault:v";

#[derive(Debug)]
pub(in crate::keyring) struct VaultHolder {
    address: String,
    /// `[namespace/]mount/key`, the only key of this holder.
    key_id: KeyId,
    generate: Uri,
    decrypt: Uri,
    encrypt: Uri,
    rewrap: Uri,
    sessions: Sessions,
    /// The blobs that are to be wrapped again.
    batches: Batches,
    /// Whether a data key was refused in another context than its own, so that the key is derived.
    is_proved: AtomicBool,
}

/// The body of a request; `context` is base64.
#[derive(Serialize)]
struct TransitRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    context: &'a str,
}

/// What an operation works on.
#[derive(Clone, Copy)]
enum Input<'a> {
    Nothing,
    /// A blob.
    Ciphertext(&'a str),
    /// A data key, base64.
    Plaintext(&'a str),
}

#[derive(Deserialize)]
struct TransitResponse<'a> {
    #[serde(borrow)]
    data: TransitData<'a>,
}

/// The fields that a response may have. Base64 is not escaped in JSON, so no copy of the data key is made.
#[derive(Deserialize)]
struct TransitData<'a> {
    #[serde(borrow)]
    plaintext: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ciphertext: Option<Cow<'a, str>>,
}

impl VaultHolder {
    /// Reads the root certificates, and starts the task that logs in when a token is needed.
    pub(super) fn build(settings: Vault) -> Result<Self, KeyringSetupError> {
        let Vault { address, mount, key, namespace, ca_file, login } = settings;
        let address = address.to_string().trim_end_matches('/').to_owned();
        let roots = if address.starts_with("https:") {
            root_certificates(ca_file.as_deref())?
        } else {
            RootCertStore::empty()
        };
        let invalid = |setting: &str, problem: &str| {
            KeyringSetupError::Setting(format!("invalid {setting} of {address}: {problem}"))
        };
        let client = Client::new(Arc::new(roots), namespace.as_deref())
            .map_err(|problem| invalid("namespace or TLS settings", &problem))?;
        let name = match &namespace {
            Some(namespace) => format!("{namespace}/{mount}/{key}"),
            None => format!("{mount}/{key}"),
        };
        let key_id = KeyId::parse(&name).map_err(|error| invalid("mount or key", &error.to_string()))?;
        let uri = |operation: &str| {
            let uri = format!("{address}/v1/{mount}/{operation}/{key}").parse::<Uri>();
            uri.map_err(|error| invalid("address, mount or key", &error.to_string()))
        };
        let (generate, decrypt) = (uri("datakey/plaintext")?, uri("decrypt")?);
        let (encrypt, rewrap) = (uri("encrypt")?, uri("rewrap")?);
        let login = Login::new(&address, login, client).map_err(|problem| invalid("auth", &problem))?;
        let (sessions, batches) = (Sessions::start(login), Batches::default());
        let is_proved = AtomicBool::new(false);
        Ok(Self { address, key_id, generate, decrypt, encrypt, rewrap, sessions, batches, is_proved })
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedKey, CheckError> {
        let response = self.call(&self.generate, Input::Nothing, context.canonical()).await?;
        let TransitData { plaintext, ciphertext } = parse(&response)?;
        let blob = ciphertext.ok_or(KeyringError::Malformed(MalformedResponse::WrappedKeyLength))?;
        let data_key = take_data_key(plaintext).filter(|data_key| !data_key.is_short());
        self.prove_with(&blob, context).await?;
        let wrapped = Bytes::copy_from_slice(blob.as_bytes());
        Ok(GeneratedKey { data_key, wrapped, key_id: Some(self.key_id.as_str().to_owned()) })
    }

    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<DecryptedKey, CheckError> {
        let blob = parse_blob(wrapped)?;
        let response = self.call(&self.decrypt, Input::Ciphertext(blob), context.canonical()).await?;
        let data_key = take_data_key(parse(&response)?.plaintext);
        self.prove_with(blob, context).await?;
        Ok(DecryptedKey { data_key, key_id: Some(self.key_id.as_str().to_owned()) })
    }

    async fn rewrap(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<WrappedKey, CheckError> {
        let ciphertext = parse_blob(wrapped)?.to_owned();
        let item = Item { ciphertext, context: STANDARD.encode(context.canonical()) };
        let blob = match self.batches.run(&item, |items| self.rewrap_all(items)).await {
            Some(result) => result?,
            None => self.rewrap_one(&item).await?,
        };
        Ok(WrappedKey { wrapped: blob.into(), key_id: Some(self.key_id.as_str().to_owned()) })
    }

    /// Wraps several blobs again by one request. `None` if the request was refused as a whole: each blob
    /// then has to be sent by itself to find the one that the server refuses.
    async fn rewrap_all(&self, items: Vec<Item>) -> Option<Vec<Rewrapped>> {
        if let [item] = &items[..] {
            return Some(vec![self.rewrap_one(item).await]);
        }
        let body = json(&BatchRequest { batch_input: &items });
        match self.send(&self.rewrap, body).await {
            Ok(response) => results(&response, items.len()),
            Err(failure) if failure.error == KeyringError::Throttled => Some(vec![Err(failure); items.len()]),
            Err(_) => None,
        }
    }

    async fn rewrap_one(&self, item: &Item) -> Rewrapped {
        let Item { ciphertext, context } = item;
        let request = TransitRequest { ciphertext: Some(ciphertext), plaintext: None, context };
        let response = self.send(&self.rewrap, json(&request)).await?;
        Ok(parse(&response)?.ciphertext.unwrap_or_default().into_owned())
    }

    async fn wrap(&self, data_key: &DataKey, context: &EncryptionContext) -> Result<WrappedKey, CheckError> {
        let plaintext = Zeroizing::new(STANDARD.encode(data_key.as_slice()));
        let response = self.call(&self.encrypt, Input::Plaintext(&plaintext), context.canonical()).await?;
        let wrapped = self.wrapped(&response)?;
        self.prove_with(parse_blob(&wrapped.wrapped)?, context).await?;
        Ok(wrapped)
    }

    fn wrapped(&self, response: &HttpResponse) -> Result<WrappedKey, CheckError> {
        let blob = parse(response)?.ciphertext.unwrap_or_default();
        let wrapped = Bytes::copy_from_slice(blob.as_bytes());
        Ok(WrappedKey { wrapped, key_id: Some(self.key_id.as_str().to_owned()) })
    }

    /// Proves, once in the life of this holder, that `blob` of `context` does not open in another context. A
    /// key that is not derived ignores the context without a word, in OpenBao 2.7 and in Vault.
    async fn prove_with(&self, blob: &str, context: &EncryptionContext) -> Result<(), CheckError> {
        if self.is_proved.load(Ordering::Acquire) {
            return Ok(());
        }
        let other = [context.canonical(), b"\0"].concat();
        match self.call(&self.decrypt, Input::Ciphertext(blob), &other).await {
            Err(CheckError { error: KeyringError::InvalidCiphertext, .. }) => {
                self.is_proved.store(true, Ordering::Release);
                Ok(())
            }
            Err(failure) => Err(failure),
            Ok(_opened) => Err(CheckError {
                error: KeyringError::ContextIgnored,
                cause: Some(format!(
                    "the key {} is not derived: it would open data keys of every realm; create it with derived=true",
                    self.key_id
                )),
            }),
        }
    }

    /// Calls an operation of Transit.
    async fn call(&self, uri: &Uri, input: Input<'_>, context: &[u8]) -> Result<HttpResponse, CheckError> {
        let context = STANDARD.encode(context);
        let (ciphertext, plaintext) = match input {
            Input::Nothing => (None, None),
            Input::Ciphertext(blob) => (Some(blob), None),
            Input::Plaintext(data_key) => (None, Some(data_key)),
        };
        self.send(uri, json(&TransitRequest { ciphertext, plaintext, context: &context })).await
    }

    /// Sends a request, repeatedly if the service is overloaded or unavailable.
    async fn send(&self, uri: &Uri, body: Bytes) -> Result<HttpResponse, CheckError> {
        let mut last = None;
        let calling = timer::timeout(OPERATION_TIMEOUT, self.attempts(uri, &body, &mut last)).await;
        calling.unwrap_or_else(|_elapsed| {
            let seconds = OPERATION_TIMEOUT.as_secs();
            Err(last.unwrap_or_else(|| CheckError {
                error: KeyringError::Unavailable,
                cause: Some(format!("no response within {seconds} s")),
            }))
        })
    }

    /// Attempts until one succeeds, fails for good, or is the last. `last` is the failure that is repeated. A
    /// rejected token is replaced once by a new login.
    async fn attempts(
        &self,
        uri: &Uri,
        body: &Bytes,
        last: &mut Option<CheckError>,
    ) -> Result<HttpResponse, CheckError> {
        let mut rejected = None;
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(uri, body, rejected).await {
                Ok(response) => return Ok(response),
                Err(Refusal::TokenRejected { session, .. }) if rejected.is_none() => {
                    rejected = Some(session);
                    continue;
                }
                Err(Refusal::TokenRejected { words, .. }) => {
                    return Err(CheckError { error: KeyringError::Credentials, cause: Some(words) });
                }
                Err(Refusal::Failed(failure)) => failure,
            };
            if attempt == MAX_ATTEMPTS || !failure.error.is_unavailability() {
                return Err(failure);
            }
            *last = Some(failure);
            timer::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, uri: &Uri, body: &Bytes, rejected: Option<u64>) -> Result<HttpResponse, Refusal> {
        let session = self.sessions.newer_than(rejected).await?;
        let response = session.client.send(uri, Some(&session.token), Some(body.clone())).await?;
        if response.status.is_success() { Ok(response) } else { Err(response.refusal(session.number)) }
    }
}

impl KeyProvider for VaultHolder {
    fn kind(&self) -> HolderKind {
        HolderKind::Vault
    }

    fn may_have_wrapped(&self, blob: &[u8]) -> bool {
        blob.starts_with(BLOB_PREFIX.as_bytes())
    }

    fn place(&self) -> String {
        self.address.clone()
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

    fn prove(&self) -> Response<'_, ()> {
        Box::pin(async move {
            if !self.is_proved.load(Ordering::Acquire) {
                self.generate(&EncryptionContext::native("")).await?;
            }
            Ok(())
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

    /// `mount/key:v<version>`.
    fn claimed_key(&self, blob: &[u8]) -> Option<String> {
        let blob = parse_blob(blob).ok()?;
        let (version, _) = blob.strip_prefix(BLOB_PREFIX)?.split_once(':')?;
        Some(format!("{}:v{version}", self.key_id))
    }

    fn rewrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        from: &'a KeyId,
        to: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(async move {
            require_own_key(&self.key_id, from)?;
            require_own_key(&self.key_id, to)?;
            self.rewrap(wrapped, context).await
        })
    }
}

/// The blob as Transit spells it. What is none is refused without a call, and so is the version 0, another
/// spelling of 1 that Transit also opens.
fn parse_blob(wrapped: &[u8]) -> Result<&str, CheckError> {
    let is_version = |version: &str| {
        !version.is_empty() && !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit())
    };
    std::str::from_utf8(wrapped)
        .ok()
        .filter(|blob| blob.bytes().all(|byte| byte.is_ascii_graphic()))
        .filter(|blob| {
            blob.strip_prefix(BLOB_PREFIX)
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(version, _)| is_version(version))
        })
        .ok_or_else(|| KeyringError::InvalidCiphertext.into())
}

/// The body of a request, which is zeroed once it was sent.
fn json(request: &impl Serialize) -> Bytes {
    Bytes::from_owner(Zeroizing::new(serde_json::to_vec(request).expect("texts are JSON")))
}

fn parse(response: &HttpResponse) -> Result<TransitData<'_>, CheckError> {
    let parsed = serde_json::from_slice::<TransitResponse<'_>>(&response.body);
    parsed.map(|response| response.data).map_err(|_syntax| response.unparsable())
}

/// A data key of 256 or 128 bits; `None` for any other length, and for what is not base64.
fn take_data_key(plaintext: Option<Cow<'_, str>>) -> Option<DataKey> {
    let bytes = Zeroizing::new(STANDARD.decode(plaintext?.as_bytes()).ok()?);
    DataKey::try_from_slice(&bytes).or_else(|| DataKey::short_from_slice(&bytes))
}

/// The certificates of `ca_file` alone, or else those of the system.
fn root_certificates(ca_file: Option<&Path>) -> Result<RootCertStore, KeyringSetupError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return if roots.is_empty() {
            let problem =
                "the system has no root certificates: install them (Debian: ca-certificates), or set ca_file";
            Err(KeyringSetupError::Setting(problem.to_owned()))
        } else {
            Ok(roots)
        };
    };
    let refuse = |problem: String| {
        let fix = "name a PEM file of the certificates that signed the server's";
        KeyringSetupError::Setting(format!("invalid ca_file {}: {problem}: {fix}", path.display()))
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))? {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() { Err(refuse("it has no certificate".to_owned())) } else { Ok(roots) }
}
