//! `provider = "gcp-kms"`: a key of Google Cloud KMS.
//! It must not know how the service is called.
//! It promises the full name of a key, and an endpoint to which no data key travels unencrypted.

use http::Uri;

use super::{later_file, later_secret, only, read_method, required_text};
use crate::config::error::Result;
use crate::config::reference::GCP_AUTH;
use crate::config::section::Section;
use crate::config::value;
use crate::keyring::{GcpKms, GcpLogin, KeyId, Provider};

const ENDPOINT: &str = "https://cloudkms.googleapis.com";
/// The metadata server, by the name that every virtual machine resolves to its own host.
/// <https://cloud.google.com/compute/docs/metadata/querying-metadata>
const METADATA: &str = "http://metadata.google.internal";
const KEY: &str = "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY";

#[derive(Clone, Copy)]
enum Method {
    ServiceAccount,
    Metadata,
    Token,
}

pub(super) fn read(section: &Section<'_>) -> Result<Provider> {
    only(section, "provider = \"gcp-kms\"", "provider key endpoint auth")?;
    let key = required_text(section, "key", KEY)?;
    let key_id = KeyId::parse(&key).ok().filter(|_| is_key_name(&key));
    let key_id = key_id.ok_or_else(|| {
        let fix = format!("write \"{KEY}\", without a version");
        section.refuse("key", &format!("is no name of a key: {key:?}"), fix)
    })?;
    let endpoint = section.parsed("endpoint", ENDPOINT, value::key_service)?;
    Ok(Provider::GcpKms(GcpKms {
        key_id,
        endpoint: endpoint.unwrap_or_else(|| Uri::from_static(ENDPOINT)),
        login: read_login(section)?,
        metadata: Uri::from_static(METADATA),
    }))
}

fn read_login(section: &Section<'_>) -> Result<GcpLogin> {
    let methods = [
        ("service-account", (Method::ServiceAccount, "key_file")),
        ("metadata", (Method::Metadata, "")),
        ("token", (Method::Token, "token_file")),
    ];
    let example = "method = \"service-account\", key_file = \"service-account.json\"";
    let (auth, method) = read_method(section, GCP_AUTH, &methods, example)?;
    Ok(match method {
        Method::ServiceAccount => {
            GcpLogin::ServiceAccount { key_file: later_secret(&auth, "key_file", "service-account.json")? }
        }
        Method::Metadata => GcpLogin::Metadata,
        Method::Token => GcpLogin::Token { token_file: later_file(&auth, "token_file", "/run/gcp/token")? },
    })
}

/// Whether this is `projects/*/locations/*/keyRings/*/cryptoKeys/*`. The parts become a URL's path.
fn is_key_name(key: &str) -> bool {
    // A project may have a domain before it: `example.com:project`.
    let is_part = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        !part.is_empty() && part.bytes().all(letter) && !part.bytes().all(|byte| byte == b'.')
    };
    match key.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key] => {
            [project, location, ring, key].into_iter().all(|part| is_part(part))
        }
        _ => false,
    }
}
