use std::path::{Path, PathBuf};

use crate::config::{ConfigError, parse};
use crate::keyring::{Provider, Vault, VaultLogin};

const APPROLE: &str = r#"auth = { method = "approle", role_id = "id", secret_id_file = "secret-id" }"#;

/// The settings of a `[[holder]]` with these lines; they begin at line 7 of the file.
fn read(lines: &str) -> Result<Vault, ConfigError> {
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:8333\"\n[upstream]\nendpoint = \"embedded:./data\"\nregion = \"us-east-1\"\n\
         [[holder]]\n{lines}\nname = \"bao\"\nprovider = \"vault\"\n\
         [[client]]\naccess_key_id = \"app\"\nsecret_access_key = \"hunter2\"\n[[bucket]]\nname = \"*\"\n"
    );
    let config = parse(&text, Path::new("etc/proxy.toml"), |_| None)?;
    let Provider::Vault(vault) = &config.keyring.holders[0].provider else { panic!("Vault was configured") };
    Ok(vault.clone())
}

fn refused(lines: &str) -> String {
    read(lines).expect_err(lines).to_string()
}

#[test]
fn the_least_and_the_most_that_a_holder_has() {
    let least = read(&format!("address = \"https://bao:8200\"\nkey = \"k\"\n{APPROLE}")).expect("valid");
    let login = VaultLogin::AppRole {
        mount: "approle".to_owned(),
        role_id: "id".to_owned(),
        secret_id_file: PathBuf::from("etc/secret-id"),
    };
    assert_eq!((least.mount.as_str(), least.key.as_str(), &least.login), ("transit", "k", &login));
    assert_eq!((least.namespace, least.ca_file), (None, None));
    let most = "address = \"http://127.0.0.1:8200\"\nkey = \"k-1_a.b\"\nmount = \"teams/transit/\"\n\
                namespace = \"a/b\"\n\
                auth = { method = \"kubernetes\", role = \"r\", mount = \"k8s\", jwt_file = \"/run/jwt\" }";
    let most = read(most).expect("valid");
    assert_eq!((most.mount.as_str(), most.namespace.as_deref()), ("teams/transit", Some("a/b")));
    let (mount, role, jwt_file) = ("k8s".to_owned(), "r".to_owned(), PathBuf::from("/run/jwt"));
    assert_eq!(most.login, VaultLogin::Kubernetes { mount, role, jwt_file });
}

#[test]
fn each_method_has_its_files_and_defaults() {
    let login = |auth: &str| {
        read(&format!("address = \"https://bao:8200\"\nkey = \"k\"\nauth = {auth}")).expect(auth).login
    };
    assert_eq!(
        login(r#"{ method = "token", token_file = "/run/token" }"#),
        VaultLogin::Token { token_file: "/run/token".into() }
    );
    let (mount, role) = ("kubernetes".to_owned(), "r".to_owned());
    let jwt_file = "/var/run/secrets/kubernetes.io/serviceaccount/token".into();
    assert_eq!(
        login(r#"{ method = "kubernetes", role = "r" }"#),
        VaultLogin::Kubernetes { mount, role, jwt_file }
    );
    assert_eq!(
        login(r#"{ method = "cert", certificate_file = "c.pem", key_file = "k.pem" }"#),
        VaultLogin::Certificate {
            mount: "cert".to_owned(),
            name: None,
            certificate_file: "etc/c.pem".into(),
            key_file: "etc/k.pem".into(),
        }
    );
}

#[test]
fn each_mistake_says_what_to_write() {
    let address = "address = \"https://bao:8200\"";
    let cases = [
        (
            format!("key = \"k\"\n{APPROLE}"),
            "6: `holder.address` is missing: write address = \"https://bao.internal:8200\"",
        ),
        (
            format!("address = \"http://bao:8200\"\nkey = \"k\"\n{APPROLE}"),
            "7: `holder.address` sends data keys unencrypted to another machine: \"http://bao:8200\": write an https:// \
             endpoint, or http:// with a host of this machine such as 127.0.0.1",
        ),
        (format!("{address}\n{APPROLE}"), "6: `holder.key` is missing: write key = \"s3veil\""),
        (
            format!("{address}\nkey = \"a/b\"\n{APPROLE}"),
            "8: `holder.key` is an invalid key name: \"a/b\": write the name in Transit: letters, digits, '-', '_' and \
             '.', such as \"s3veil\"",
        ),
        (
            format!("{address}\nkey = \"k\"\nmount = \"a/../b\"\n{APPROLE}"),
            "9: `holder.mount` is an invalid path: \"a/../b\": write a path such as \"transit\" or \"teams/storage\": \
             letters, digits, '-', '_', '.' and '/'",
        ),
        (
            format!("{address}\nkey = \"k\""),
            "6: `holder.auth` is missing, and provider = \"vault\" requires it: write auth = { method = \"approle\", \
             role_id = \"...\", secret_id_file = \"secret-id\" }",
        ),
        (
            format!("{address}\nkey = \"k\"\nauth = {{ role_id = \"id\" }}"),
            "9: `holder.auth.method` is missing: write method = \"approle\"",
        ),
        (
            format!("{address}\nkey = \"k\"\nauth = {{ method = \"approle\", role_id = \"id\" }}"),
            "9: `holder.auth.secret_id_file` is missing: write secret_id_file = \"secret-id\"",
        ),
        (
            format!(
                "{address}\nkey = \"k\"\nauth = {{ method = \"token\", token_file = \"t\", role = \"r\" }}"
            ),
            "9: `holder.auth.role` has no effect with this method: remove it",
        ),
        (
            format!("{address}\nkey = \"k\"\nkey_id = \"alias/a\"\n{APPROLE}"),
            "9: `holder.key_id` has no effect with provider = \"vault\": remove it",
        ),
        (
            "address = \"http://127.0.0.1:8200\"\nkey = \"k\"\n\
             auth = { method = \"cert\", certificate_file = \"c\", key_file = \"k\" }"
                .to_owned(),
            "9: `holder.auth.method` is \"cert\", which requires TLS: write an https:// address",
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(refused(&lines), format!("etc/proxy.toml:{expected}"));
    }
    let missing = refused(&format!("{address}\nkey = \"k\"\nca_file = \"missing.pem\"\n{APPROLE}"));
    assert!(missing.contains("`holder.ca_file` names etc/missing.pem, which can't be read"), "{missing}");
}
