//! `provider = "vault"`: a key of Transit in OpenBao or HashiCorp Vault, and how to log in there.
//! It must not know how the service is called.
//! It promises paths that fit a URL, and an address to which no data key travels unencrypted.

use super::{Surroundings, only};
use crate::config::error::{Refusal, Result};
use crate::config::reference::VAULT_AUTH;
use crate::config::section::Section;
use crate::config::value;
use crate::keyring::{Provider, Vault, VaultLogin};

/// Where Kubernetes puts the token of a pod's service account.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[derive(Clone, Copy)]
enum Method {
    Token,
    AppRole,
    Kubernetes,
    Certificate,
}

const METHODS: [(&str, Method); 4] = [
    ("token", Method::Token),
    ("approle", Method::AppRole),
    ("kubernetes", Method::Kubernetes),
    ("cert", Method::Certificate),
];

pub(super) fn read(section: &Section<'_>, _surroundings: Surroundings<'_>) -> Result<Provider> {
    only(section, "provider = \"vault\"", "provider address mount key namespace ca_file auth")?;
    let address = section.parsed("address", "https://bao.internal:8200", value::key_service)?;
    let address = address.ok_or_else(|| missing(section, "address", "https://bao.internal:8200"))?;
    let key = section.parsed("key", "s3veil", key_name)?.ok_or_else(|| missing(section, "key", "s3veil"))?;
    let ca_file = section.file("ca_file", "bao-ca.pem", "name a PEM file of root certificates")?;
    Ok(Provider::Vault(Vault {
        address,
        mount: section.parsed("mount", "transit", path)?.unwrap_or_else(|| "transit".to_owned()),
        key,
        namespace: section.parsed("namespace", "storage/team", path)?,
        ca_file: ca_file.map(|(path, _content)| path),
        login: read_login(section)?,
    }))
}

fn read_login(section: &Section<'_>) -> Result<VaultLogin> {
    let Some(auth) = section.section_with("auth", VAULT_AUTH)? else {
        let fix = "write auth = { method = \"approle\", role_id = \"...\", secret_id_file = \"secret-id\" }";
        return Err(section.refuse("auth", "is missing, and provider = \"vault\" requires it", fix));
    };
    let method = auth.choice("method", &METHODS)?.ok_or_else(|| missing(&auth, "method", "approle"))?;
    let known = match method {
        Method::Token => "method token_file",
        Method::AppRole => "method mount role_id secret_id_file",
        Method::Kubernetes => "method mount role jwt_file",
        Method::Certificate => "method mount name certificate_file key_file",
    };
    for key in VAULT_AUTH.iter().filter(|key| !known.split(' ').any(|known| known == key.name)) {
        auth.absent(key.name, "has no effect with this method")?;
    }
    let mount = |default: &str| -> Result<String> {
        Ok(auth.parsed("mount", "approle", path)?.unwrap_or_else(|| default.to_owned()))
    };
    // Secrets are read at each login, so a file that another program has yet to write is no error here.
    let file = |word: &'static str, example: &str| -> Result<std::path::PathBuf> {
        let file = auth.text(word, example)?.ok_or_else(|| missing(&auth, word, example))?;
        Ok(auth.source.resolve(&file))
    };
    Ok(match method {
        Method::Token => VaultLogin::Token { token_file: file("token_file", "/run/bao/token")? },
        Method::AppRole => {
            let role_id = auth.text("role_id", "s3veil")?.ok_or_else(|| missing(&auth, "role_id", "..."))?;
            let secret_id_file = file("secret_id_file", "secret-id")?;
            VaultLogin::AppRole { mount: mount("approle")?, role_id: role_id.into_owned(), secret_id_file }
        }
        Method::Kubernetes => {
            let role = auth.text("role", "s3veil")?.ok_or_else(|| missing(&auth, "role", "s3veil"))?;
            let jwt_file = if auth.has("jwt_file") {
                file("jwt_file", SERVICE_ACCOUNT_TOKEN)?
            } else {
                SERVICE_ACCOUNT_TOKEN.into()
            };
            VaultLogin::Kubernetes { mount: mount("kubernetes")?, role: role.into_owned(), jwt_file }
        }
        Method::Certificate => {
            if section
                .parsed("address", "https://bao.internal:8200", value::key_service)?
                .is_some_and(|address| address.scheme_str() != Some("https"))
            {
                let fix = "write an https:// address";
                return Err(auth.refuse("method", "is \"cert\", which requires TLS", fix));
            }
            VaultLogin::Certificate {
                mount: mount("cert")?,
                name: auth.text("name", "s3veil")?.map(std::borrow::Cow::into_owned),
                certificate_file: file("certificate_file", "s3veil.pem")?,
                key_file: file("key_file", "s3veil.key")?,
            }
        }
    })
}

fn missing(section: &Section<'_>, word: &str, example: &str) -> crate::config::ConfigError {
    section.refuse(word, "is missing", format!("write {word} = \"{example}\""))
}

/// Parses a key's name: one segment of a path.
fn key_name(text: &str) -> Result<String, Refusal> {
    if is_segment(text) {
        return Ok(text.to_owned());
    }
    let fix = "write the name in Transit: letters, digits, '-', '_' and '.', such as \"s3veil\"";
    Err(Refusal::new(format!("is an invalid key name: {text:?}"), fix))
}

/// Parses a mount or a namespace: segments with slashes between, which may also end it.
fn path(text: &str) -> Result<String, Refusal> {
    let path = text.trim_end_matches('/');
    if path.split('/').all(is_segment) && path.len() <= 256 {
        return Ok(path.to_owned());
    }
    let fix = "write a path such as \"transit\" or \"teams/storage\": letters, digits, '-', '_', '.' and '/'";
    Err(Refusal::new(format!("is an invalid path: {text:?}"), fix))
}

fn is_segment(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(letter) && !text.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests;
