//! Access tokens of Microsoft Entra ID for Key Vault: by a client secret, a federated token, a managed
//! identity, or from a file. It must not know Key Vault's operations. It promises that secrets are read at
//! each login, and sent to the login service alone.
//!
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>,
//! <https://learn.microsoft.com/en-us/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use http::Uri;

use crate::keyring::KeyringSetupError;
use crate::keyring::holder::Response;
use crate::keyring::holder::bearer_service::{
    AccessToken, TokenSource, form_request, metadata_request, read_secret,
};
use crate::keyring::holder::http_client::HttpClient;
use crate::keyring::settings::AzureLogin;
use crate::wire::percent::encode_query;

/// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`, RFC 7523, percent-encoded.
const JWT_BEARER: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
/// The resource of vaults whose host shows none.
const DEFAULT_RESOURCE: &str = "https://vault.azure.net";

#[derive(Debug)]
pub(super) struct AzureTokens {
    login: AzureLogin,
    /// The resource that tokens are for: the vault's host without its first label.
    resource: String,
    /// Where a token is requested; without meaning for a token from a file.
    uri: Uri,
}

impl AzureTokens {
    pub(super) fn new(
        login: AzureLogin,
        vault: &Uri,
        authority: &Uri,
        metadata: &Uri,
    ) -> Result<Self, KeyringSetupError> {
        let resource = resource(vault.host().unwrap_or_default());
        let base = |uri: &Uri| uri.to_string().trim_end_matches('/').to_owned();
        let uri = match &login {
            AzureLogin::ClientSecret { tenant, .. } | AzureLogin::Federated { tenant, .. } => {
                format!("{}/{}/oauth2/v2.0/token", base(authority), encode_query(tenant))
            }
            AzureLogin::ManagedIdentity { client_id } => {
                let client = client_id.as_ref().map(|id| format!("&client_id={}", encode_query(id)));
                format!(
                    "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}{}",
                    base(metadata),
                    encode_query(&resource),
                    client.unwrap_or_default()
                )
            }
            AzureLogin::Token { .. } => base(authority),
        };
        let uri = uri.parse().map_err(|error| {
            KeyringSetupError::Setting(format!("invalid authority, tenant or client_id: {error}"))
        })?;
        Ok(Self { login, resource, uri })
    }

    /// The fields of a request by the client credentials grant, but for the secret.
    fn scope(&self) -> String {
        encode_query(&format!("{}/.default", self.resource)).to_string()
    }
}

impl TokenSource for AzureTokens {
    fn fetch<'a>(&'a self, client: &'a HttpClient) -> Response<'a, AccessToken> {
        Box::pin(async move {
            let scope = self.scope();
            let request = match &self.login {
                AzureLogin::Token { token_file } => return AccessToken::from_file(token_file).await,
                AzureLogin::ManagedIdentity { .. } => metadata_request(&self.uri, ("metadata", "true")),
                AzureLogin::ClientSecret { client_id, secret_file, .. } => {
                    let secret = read_secret("client_secret_file", secret_file).await?;
                    let secret = zeroize::Zeroizing::new(encode_query(secret.as_str()).to_string());
                    let client_id = encode_query(client_id).to_string();
                    let fields = [
                        ("grant_type", "client_credentials"),
                        ("scope", scope.as_str()),
                        ("client_id", client_id.as_str()),
                        ("client_secret", secret.as_str()),
                    ];
                    form_request(&self.uri, &fields)
                }
                AzureLogin::Federated { client_id, assertion_file, .. } => {
                    let assertion = read_secret("federated_token_file", assertion_file).await?;
                    let assertion = zeroize::Zeroizing::new(encode_query(assertion.as_str()).to_string());
                    let client_id = encode_query(client_id).to_string();
                    let fields = [
                        ("grant_type", "client_credentials"),
                        ("scope", scope.as_str()),
                        ("client_id", client_id.as_str()),
                        ("client_assertion_type", JWT_BEARER),
                        ("client_assertion", assertion.as_str()),
                    ];
                    form_request(&self.uri, &fields)
                }
            };
            AccessToken::from_response(&client.send(request).await?)
        })
    }
}

/// `https://vault.azure.net` of `name.vault.azure.net`, and alike in other clouds and for Managed HSM.
pub(super) fn resource(host: &str) -> String {
    match host.split_once('.') {
        Some((_, domain)) if domain.contains('.') && host.parse::<std::net::IpAddr>().is_err() => {
            format!("https://{domain}")
        }
        Some(_) | None => DEFAULT_RESOURCE.to_owned(),
    }
}
