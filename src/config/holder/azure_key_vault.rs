//! `provider = "azure-key-vault"`: a key of Azure Key Vault or a Managed HSM.
//! It must not know how the service is called.
//! It promises a name that fits a URL, and addresses to which no secret travels unencrypted.

use http::Uri;

use super::{later_file, later_secret, only, read_method, required_text};
use crate::config::error::Result;
use crate::config::reference::AZURE_AUTH;
use crate::config::section::Section;
use crate::config::value;
use crate::keyring::{AzureAlgorithm, AzureKeyVault, AzureLogin, Provider};

const ADDRESS: &str = "https://NAME.vault.azure.net";
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// The service for managed identities, at the address that every virtual machine has for its own host.
/// <https://learn.microsoft.com/en-us/azure/virtual-machines/instance-metadata-service>
const METADATA: &str = "http://169.254.169.254";
/// Where the webhook of Azure Workload Identity puts the pod's token.
/// <https://azure.github.io/azure-workload-identity/docs/quick-start.html>
const FEDERATED_TOKEN: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
/// Maximum length of a key's name in Key Vault.
const MAX_KEY_LEN: usize = 127;

#[derive(Clone, Copy)]
enum Method {
    ClientSecret,
    Federated,
    ManagedIdentity,
    Token,
}

pub(super) fn read(section: &Section<'_>) -> Result<Provider> {
    only(section, "provider = \"azure-key-vault\"", "provider address key algorithm auth")?;
    let vault = section.parsed("address", ADDRESS, value::key_service)?;
    let vault = vault
        .ok_or_else(|| section.refuse("address", "is missing", format!("write address = \"{ADDRESS}\"")))?;
    let key = required_text(section, "key", "s3veil")?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if key.len() > MAX_KEY_LEN || !key.bytes().all(letter) {
        let fix = "write the key's name, without vault and version: letters, digits and '-'";
        return Err(section.refuse("key", &format!("is an invalid name: {key:?}"), fix));
    }
    let algorithms = [("RSA-OAEP-256", AzureAlgorithm::RsaOaep256), ("A256KW", AzureAlgorithm::A256Kw)];
    let (login, authority) = read_login(section)?;
    Ok(Provider::AzureKeyVault(AzureKeyVault {
        vault,
        key,
        algorithm: section.choice("algorithm", &algorithms)?.unwrap_or(AzureAlgorithm::RsaOaep256),
        login,
        authority,
        metadata: Uri::from_static(METADATA),
    }))
}

fn read_login(section: &Section<'_>) -> Result<(AzureLogin, Uri)> {
    let methods = [
        ("client-secret", (Method::ClientSecret, "authority tenant client_id client_secret_file")),
        ("federated", (Method::Federated, "authority tenant client_id federated_token_file")),
        ("managed-identity", (Method::ManagedIdentity, "client_id")),
        ("token", (Method::Token, "token_file")),
    ];
    let example =
        "method = \"client-secret\", tenant = \"...\", client_id = \"...\", client_secret_file = \"secret\"";
    let (auth, method) = read_method(section, AZURE_AUTH, &methods, example)?;
    let authority = auth.parsed("authority", AUTHORITY, value::key_service)?;
    let tenant = || required_text(&auth, "tenant", "00000000-0000-0000-0000-000000000000");
    let client_id = || required_text(&auth, "client_id", "00000000-0000-0000-0000-000000000000");
    let login = match method {
        Method::ClientSecret => AzureLogin::ClientSecret {
            tenant: tenant()?,
            client_id: client_id()?,
            secret_file: later_secret(&auth, "client_secret_file", "/etc/s3veil/client-secret")?,
        },
        Method::Federated => AzureLogin::Federated {
            tenant: tenant()?,
            client_id: client_id()?,
            assertion_file: if auth.has("federated_token_file") {
                later_file(&auth, "federated_token_file", FEDERATED_TOKEN)?
            } else {
                FEDERATED_TOKEN.into()
            },
        },
        Method::ManagedIdentity => AzureLogin::ManagedIdentity {
            client_id: auth.text("client_id", "00000000-0000-0000-0000-000000000000")?.map(Into::into),
        },
        Method::Token => {
            AzureLogin::Token { token_file: later_file(&auth, "token_file", "/run/azure/token")? }
        }
    };
    Ok((login, authority.unwrap_or_else(|| Uri::from_static(AUTHORITY))))
}
