//! Access tokens of Google Cloud: by the key of a service account, from the metadata server, or from a file.
//! It must not know Cloud KMS. It promises that a private key goes nowhere: a login is a signature.
//!
//! <https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests>,
//! <https://cloud.google.com/compute/docs/access/authenticate-workloads#applications>

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keyring::holder::Response;
use crate::keyring::holder::bearer_service::{
    AccessToken, TokenSource, form_request, is_safe_for_secrets, metadata_request, read_secret, secret,
    unusable,
};
use crate::keyring::holder::http_client::HttpClient;
use crate::keyring::settings::GcpLogin;
use crate::keyring::{CheckError, KeyringSetupError};

const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// `urn:ietf:params:oauth:grant-type:jwt-bearer`, RFC 7523, percent-encoded.
const JWT_BEARER: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// The longest that Google allows, in seconds.
const ASSERTION_LIFETIME: u64 = 3_600;

#[derive(Debug)]
pub(super) struct GcpTokens {
    login: GcpLogin,
    metadata: Uri,
}

/// The file that Google makes for a service account's key.
#[derive(Deserialize)]
struct ServiceAccountKey {
    client_email: String,
    private_key_id: String,
    /// PKCS #8 in PEM.
    #[serde(deserialize_with = "secret")]
    private_key: Zeroizing<String>,
    token_uri: String,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

impl GcpTokens {
    pub(super) fn new(login: GcpLogin, metadata: &Uri) -> Result<Self, KeyringSetupError> {
        let metadata = format!("{}{METADATA_PATH}", metadata.to_string().trim_end_matches('/'));
        let metadata = metadata.parse().map_err(|error| {
            KeyringSetupError::Setting(format!("invalid address of the metadata server: {error}"))
        })?;
        Ok(Self { login, metadata })
    }
}

impl TokenSource for GcpTokens {
    fn fetch<'a>(&'a self, client: &'a HttpClient) -> Response<'a, AccessToken> {
        Box::pin(async move {
            match &self.login {
                GcpLogin::Token { token_file } => AccessToken::from_file(token_file).await,
                GcpLogin::Metadata => {
                    let request = metadata_request(&self.metadata, ("metadata-flavor", "Google"));
                    AccessToken::from_response(&client.send(request).await?)
                }
                GcpLogin::ServiceAccount { key_file } => {
                    let text = read_secret("key_file", key_file).await?;
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                    let (uri, assertion) = assertion(&text, key_file, now)?;
                    let fields = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
                    AccessToken::from_response(&client.send(form_request(&uri, &fields)).await?)
                }
            }
        })
    }
}

/// The login service that a key's file names, and a signed assertion for it (RFC 7523): a JWT with RS256.
pub(super) fn assertion(text: &str, file: &Path, now: u64) -> Result<(Uri, String), CheckError> {
    let refuse = |problem: &str| unusable("key_file", file, problem);
    let key: ServiceAccountKey = serde_json::from_str(text).map_err(|_| {
        refuse("it is no key of a service account: requires JSON with client_email and private_key")
    })?;
    let uri = key.token_uri.parse::<Uri>().ok().filter(is_safe_for_secrets);
    let uri = uri.ok_or_else(|| refuse("its token_uri is no https:// address"))?;
    let pem = PrivateKeyDer::from_pem_slice(key.private_key.as_bytes());
    let pair = match &pem {
        Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        _ => None,
    };
    let pair = pair.ok_or_else(|| refuse("its private_key is no RSA key in PKCS #8"))?;
    let header = Header { alg: "RS256", typ: "JWT", kid: &key.private_key_id };
    let claims = Claims {
        iss: &key.client_email,
        scope: SCOPE,
        aud: &key.token_uri,
        iat: now,
        exp: now + ASSERTION_LIFETIME,
    };
    let mut jwt = format!("{}.{}", encode_json(&header), encode_json(&claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), jwt.as_bytes(), &mut signature)
        .map_err(|_unspecified| refuse("its private_key can't sign"))?;
    jwt.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
    Ok((uri, jwt))
}

fn encode_json(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("texts and numbers are JSON"))
}
