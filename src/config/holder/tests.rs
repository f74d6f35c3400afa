use std::path::Path;

use crate::config::{ConfigError, parse};
use crate::keyring::Provider;

/// The provider of a `[[holder]]` with these lines; they begin at line 8 of the file.
fn read(provider: &str, lines: &str) -> Result<Provider, ConfigError> {
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:8333\"\n[upstream]\nendpoint = \"embedded:./data\"\nregion = \"us-east-1\"\n\
         [[holder]]\nprovider = \"{provider}\"\n{lines}\nname = \"h\"\n\
         [[client]]\naccess_key_id = \"app\"\nsecret_access_key = \"hunter2\"\n[[bucket]]\nname = \"*\"\n"
    );
    let config = parse(&text, Path::new("etc/proxy.toml"), |_| None)?;
    Ok(config.keyring.holders[0].provider.clone())
}

/// Each pair of lines and part of the refusal.
fn assert_refused(provider: &str, base: &str, cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        // A key that a case changes takes the place of the base's.
        let changed = |line: &&str| {
            let key = line.split(' ').next().unwrap_or_default();
            !lines
                .lines()
                .any(|other| other.strip_prefix('!').unwrap_or(other).split(' ').next() == Some(key))
        };
        let kept: Vec<_> =
            base.lines().filter(changed).chain(lines.lines().filter(|line| !line.starts_with('!'))).collect();
        let refused = read(provider, &kept.join("\n")).expect_err(lines).to_string();
        assert!(refused.contains(expected), "{lines}: {refused}");
    }
}

#[cfg(feature = "pkcs11")]
#[test]
fn a_token_is_named_by_its_label_or_its_slot() {
    use crate::keyring::{Pkcs11, TokenName};

    let base = "library = \"lib/hsm.so\"\ntoken_label = \"HSM 1\"\npin_file = \"pin\"\nkey_label = \"wrap\"";
    let settings = Pkcs11 {
        library: "etc/lib/hsm.so".into(),
        token: TokenName::Label("HSM 1".to_owned()),
        pin_file: "etc/pin".into(),
        key_label: "wrap".to_owned(),
        key_id: None,
    };
    assert_eq!(read("pkcs11", base).expect("valid"), Provider::Pkcs11(settings.clone()));
    let by_slot = base.replace("token_label = \"HSM 1\"", "slot = 7\nkey_id = \"0aFF\"");
    let expected = Pkcs11 { token: TokenName::Slot(7), key_id: Some(vec![0x0a, 0xff]), ..settings };
    assert_eq!(read("pkcs11", &by_slot).expect("valid"), Provider::Pkcs11(expected));
    assert_refused(
        "pkcs11",
        base,
        &[
            ("!library", "`holder.library` is missing: write library = \"/usr/lib/softhsm/libsofthsm2.so\""),
            ("!pin_file", "`holder.pin_file` is missing"),
            ("!key_label", "`holder.key_label` is missing"),
            (
                "!token_label",
                "`holder.token_label` is missing: write token_label = \"...\", or the number of the slot",
            ),
            ("slot = 7", "`holder.slot` has no effect beside `token_label`"),
            (
                "token_label = \"123456789012345678901234567890123\"",
                "longer than the 32 bytes of a token's label",
            ),
            ("key_id = \"0\"", "`holder.key_id` is an invalid CKA_ID: \"0\""),
            ("key_id = \"wrap\"", "as `pkcs11-tool --list-objects` shows it"),
            ("endpoint = \"https://hsm\"", "`holder.endpoint` has no effect with provider = \"pkcs11\""),
        ],
    );
}

#[cfg(feature = "gcp-kms")]
#[test]
fn a_key_of_google_cloud_is_named_in_full() {
    use crate::keyring::{GcpKms, GcpLogin, KeyId};

    let key = "projects/example.com:p-1/locations/europe-west3/keyRings/r_1/cryptoKeys/k";
    let base = format!("key = \"{key}\"\nauth = {{ method = \"service-account\", key_file = \"sa.json\" }}");
    let settings = GcpKms {
        key_id: KeyId::parse(key).expect("a name"),
        endpoint: "https://cloudkms.googleapis.com".parse().expect("a URL"),
        login: GcpLogin::ServiceAccount { key_file: "etc/sa.json".into() },
        metadata: "http://metadata.google.internal".parse().expect("a URL"),
    };
    assert_eq!(read("gcp-kms", &base).expect("valid"), Provider::GcpKms(settings.clone()));
    let metadata = format!("key = \"{key}\"\nauth = {{ method = \"metadata\" }}");
    let expected = GcpKms { login: GcpLogin::Metadata, ..settings };
    assert_eq!(read("gcp-kms", &metadata).expect("valid"), Provider::GcpKms(expected));
    let version = format!("key = \"{key}/cryptoKeyVersions/1\"");
    assert_refused(
        "gcp-kms",
        &base,
        &[
            ("!key", "`holder.key` is missing"),
            (&version, "without a version"),
            ("key = \"projects/p/locations/l/keyRings/../cryptoKeys/k\"", "is no name of a key"),
            ("endpoint = \"http://kms.example\"", "sends data keys unencrypted"),
            ("!auth", "`holder.auth` is missing: write auth = { method = \"service-account\""),
            ("auth = { key_file = \"k\" }", "`holder.auth.method` is missing"),
            ("auth = { method = \"service-account\" }", "`holder.auth.key_file` is missing"),
            (
                "auth = { method = \"metadata\", token_file = \"t\" }",
                "`holder.auth.token_file` has no effect with this method",
            ),
            ("mount = \"transit\"", "`holder.mount` has no effect with provider = \"gcp-kms\""),
        ],
    );
}

#[cfg(feature = "azure-key-vault")]
#[test]
fn a_key_of_azure_has_a_vault_and_a_name() {
    use crate::keyring::{AzureAlgorithm, AzureKeyVault, AzureLogin};

    let base = "address = \"https://v.vault.azure.net\"\nkey = \"k-1\"\n\
                auth = { method = \"client-secret\", tenant = \"t\", client_id = \"c\", client_secret_file = \"s\" }";
    let (tenant, client_id) = ("t".to_owned(), "c".to_owned());
    let settings = AzureKeyVault {
        vault: "https://v.vault.azure.net".parse().expect("a URL"),
        key: "k-1".to_owned(),
        algorithm: AzureAlgorithm::RsaOaep256,
        login: AzureLogin::ClientSecret { tenant, client_id, secret_file: "etc/s".into() },
        authority: "https://login.microsoftonline.com".parse().expect("a URL"),
        metadata: "http://169.254.169.254".parse().expect("a URL"),
    };
    assert_eq!(read("azure-key-vault", base).expect("valid"), Provider::AzureKeyVault(settings.clone()));
    let identity = "address = \"https://v.vault.azure.net\"\nkey = \"k-1\"\nalgorithm = \"A256KW\"\n\
                    auth = { method = \"managed-identity\" }";
    let login = AzureLogin::ManagedIdentity { client_id: None };
    let expected = AzureKeyVault { algorithm: AzureAlgorithm::A256Kw, login, ..settings };
    assert_eq!(read("azure-key-vault", identity).expect("valid"), Provider::AzureKeyVault(expected));
    assert_refused(
        "azure-key-vault",
        base,
        &[
            ("!address", "`holder.address` is missing: write address = \"https://NAME.vault.azure.net\""),
            ("address = \"http://v.vault.azure.net\"", "sends data keys unencrypted"),
            ("key = \"k/1\"", "`holder.key` is an invalid name"),
            ("algorithm = \"RSA-OAEP\"", "write one of \"RSA-OAEP-256\", \"A256KW\""),
            (
                "auth = { method = \"token\", token_file = \"t\", authority = \"https://login\" }",
                "`holder.auth.authority` has no effect with this method",
            ),
            (
                "auth = { method = \"federated\", tenant = \"t\", client_id = \"c\", authority = \"http://login\" }",
                "sends data keys unencrypted",
            ),
        ],
    );
}

#[test]
fn a_provider_that_is_not_in_the_build_is_refused_by_name() {
    for (provider, is_there) in [
        ("pkcs11", cfg!(feature = "pkcs11")),
        ("gcp-kms", cfg!(feature = "gcp-kms")),
        ("azure-key-vault", cfg!(feature = "azure-key-vault")),
    ] {
        let refused = read(provider, "").expect_err("keys are missing").to_string();
        assert_eq!(refused.contains("which this s3veil was built without"), !is_there, "{refused}");
    }
}
