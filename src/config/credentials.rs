//! Credentials in the configuration: literal, from the environment, or from a file.
//! It must not know what the credentials are used for.
//! It promises that no error and no formatter shows a secret.

use std::path::Path;

use zeroize::Zeroizing;

use super::error::{Refusal, Result};
use super::section::Section;
use crate::upstream;

/// The proxy's own credentials for the storage or for KMS.
#[derive(Debug)]
pub(super) enum Credentials {
    /// Credentials of the configuration file.
    Static {
        /// The access key id.
        access_key_id: String,
        /// The secret.
        secret_access_key: Secret,
    },
    /// The AWS default chain: environment, profile, web identity, container, instance.
    DefaultChain,
}

impl Credentials {
    /// The credentials in the type of the storage's client.
    pub(super) fn for_storage(self) -> upstream::Credentials {
        match self {
            Self::DefaultChain => upstream::Credentials::DefaultChain,
            Self::Static { access_key_id, secret_access_key } => upstream::Credentials::Static {
                access_key_id,
                secret_access_key: secret_access_key.into_inner(),
                session_token: None,
            },
        }
    }

    /// The credentials in the type of the KMS client; `None` for the default chain.
    #[cfg(feature = "aws")]
    pub(super) fn for_kms(self) -> Option<aws_credential_types::Credentials> {
        match self {
            Self::DefaultChain => None,
            Self::Static { access_key_id, secret_access_key } => {
                let secret = secret_access_key.expose();
                Some(aws_credential_types::Credentials::new(access_key_id, secret, None, None, "proxy.toml"))
            }
        }
    }
}

/// A configured secret. Zeroed when dropped; can't be formatted or cloned.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, to sign or verify with.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    fn has_blank_edge(&self) -> bool {
        self.0.trim().len() != self.0.len()
    }

    /// The secret itself, still zeroed when dropped.
    pub(super) fn into_inner(self) -> Zeroizing<String> {
        self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// The keys that [`read`] looks at.
pub(super) const KEYS: [&str; 3] = ["access_key_id", LITERAL, FILE];

const LITERAL: &str = "secret_access_key";
const FILE: &str = "secret_access_key_file";

/// Reads an access key id and its secret: both, or neither for the default chain.
pub(super) fn read(section: &Section<'_>) -> Result<Credentials> {
    let id = section.parsed("access_key_id", "AKIA...", access_key_id)?;
    match (id, read_secret(section)?) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Credentials::Static { access_key_id, secret_access_key })
        }
        (None, None) => Ok(Credentials::DefaultChain),
        (Some(_), None) => {
            let fix =
                "add secret_access_key or secret_access_key_file, or remove it to use the AWS default chain";
            Err(section.refuse("access_key_id", "requires a secret", fix))
        }
        (None, Some(_)) => {
            let problem = format!("requires `{}`", section.path("access_key_id"));
            Err(section.refuse(secret_key(section), &problem, "add access_key_id"))
        }
    }
}

/// Reads `secret_access_key`, a literal or `env:NAME`, or the content of `secret_access_key_file` without its
/// final line break.
pub(super) fn read_secret(section: &Section<'_>) -> Result<Option<Secret>> {
    read_secret_of(section, LITERAL, FILE)
}

/// Reads the secret under the key `literal`, or in the file that the key `file` names.
pub(super) fn read_secret_of(section: &Section<'_>, literal: &str, file: &str) -> Result<Option<Secret>> {
    let key = literal;
    if section.has(key) && section.has(file) {
        return Err(section.refuse(file, &format!("conflicts with `{key}`"), "keep one of the two"));
    }
    let fix = "name a file that holds the secret alone";
    if let Some((path, content)) = section.secret_file(file, "secret.txt", fix)? {
        return from_file(section, file, &path, &content).map(Some);
    }
    let Some(literal) = section.literal(key, "env:NAME")? else { return Ok(None) };
    section.note_secret(key);
    let secret = section.source.expand(literal).map(|text| Secret::new(text.into_owned()));
    let secret = secret.map_err(|refusal| {
        let fix = format!("{}; a secret that begins with $ goes into {file}", refusal.fix);
        section.refuse(key, &refusal.problem, if literal.starts_with('$') { fix } else { refusal.fix })
    })?;
    if secret.has_blank_edge() {
        let problem = "begins or ends with a blank or a line break";
        return Err(section.refuse(key, problem, "remove it: clients would have to sign with it"));
    }
    if !literal.starts_with("env:") && literal != super::DEMO_SECRET {
        section.source.literal_secrets.borrow_mut().push(section.path(key));
    }
    Ok(Some(secret))
}

/// The key of a section's secret: `secret_access_key_file` or `secret_access_key`.
pub(super) fn secret_key(section: &Section<'_>) -> &'static str {
    if section.has(FILE) { FILE } else { LITERAL }
}

fn from_file(section: &Section<'_>, key: &str, path: &Path, content: &[u8]) -> Result<Secret> {
    let mut secret = std::str::from_utf8(content).map(|text| Secret::new(text.to_owned())).map_err(|_| {
        let problem = format!("names {}, which is not UTF-8 text", path.display());
        section.refuse(key, &problem, "name a file that holds the secret alone")
    })?;
    let line_end = if secret.0.ends_with("\r\n") { 2 } else { usize::from(secret.0.ends_with('\n')) };
    let length = secret.0.len() - line_end;
    secret.0.truncate(length);
    if secret.0.is_empty() {
        let problem = format!("names {}, which is empty", path.display());
        return Err(section.refuse(key, &problem, "write the secret into it"));
    }
    if secret.has_blank_edge() {
        let problem =
            format!("names {}, whose content begins or ends with a blank or a line break", path.display());
        let fix = "write the secret alone into it, and one line break at most";
        return Err(section.refuse(key, &problem, fix));
    }
    Ok(secret)
}

/// Parses an access key id that fits into a credential scope, whose separator is `/`.
pub(super) fn access_key_id(text: &str) -> Result<String, Refusal> {
    /// AWS documents 16 to 128 characters; other systems use shorter ones.
    const MAX: usize = 128;
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/,=&".contains(&byte);
    if text.len() <= MAX && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    let fix = format!("write up to {MAX} visible ASCII characters, none of / , = &");
    Err(Refusal::new("is an invalid access key id", fix))
}
