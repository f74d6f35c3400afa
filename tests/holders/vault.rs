//! OpenBao and Vault in the suite: a real OpenBao at `S3VEIL_TEST_VAULT_ADDRESS`, and a scripted one.

mod logins;
mod openbao_texts;
mod scripted;
mod server;

mod openbao {
    //! The suite with a real server. The module's name is what `scripts/test` leaves out where there is none.

    use s3veil::keyring::{KeyRule, KeyringError, Provider, VaultLogin, Wrappings};
    use serde_json::json;

    use super::server::{Admin, Key};
    use crate::bench::{Bench, Delete, Deny, Disable, IgnoreContext, Login, Name, Rotate};
    use crate::bench::{check, context, keyring, read, write, write_with};
    use crate::local::LocalBench;
    use crate::{cases, conformance};

    /// One derived key, and a token with the least policy for it.
    struct BaoBench {
        admin: Admin,
        key: Key,
    }

    impl Bench for BaoBench {
        async fn new() -> Self {
            let admin = Admin::new().await;
            let key = admin.new_key(true).await;
            Self { admin, key }
        }

        fn provider(&self) -> Provider {
            self.key.provider()
        }
    }

    impl Name for BaoBench {
        fn missing_key(&self) -> Provider {
            self.key.provider_with_root("s3veil-missing")
        }
    }

    impl Disable for BaoBench {
        async fn disable(&self) {
            self.admin.delete(&format!("transit/keys/{}/soft-delete", self.key.name)).await;
        }

        async fn enable(&self) {
            self.admin.post(&format!("transit/keys/{}/soft-delete-restore", self.key.name), &json!({})).await;
        }
    }

    impl Delete for BaoBench {
        const DELETED: KeyringError = KeyringError::KeyNotFound;

        async fn delete(&self) {
            let key = format!("transit/keys/{}", self.key.name);
            self.admin.post(&format!("{key}/config"), &json!({ "deletion_allowed": true })).await;
            self.admin.delete(&key).await;
        }
    }

    impl Rotate for BaoBench {
        async fn rotate(&self) {
            self.admin.post(&format!("transit/keys/{}/rotate", self.key.name), &json!({})).await;
        }
    }

    impl Deny for BaoBench {
        async fn without_right(&self) -> Provider {
            self.key.provider_with_token(&self.admin.token_without_rights().await)
        }
    }

    impl Login for BaoBench {
        async fn with_wrong_credentials(&self) -> Provider {
            self.key.provider_with_token("s.expired")
        }
    }

    impl IgnoreContext for BaoBench {
        async fn key_without_context(&self) -> Provider {
            let key = self.admin.new_key(false).await;
            self.key.provider_with_root(&key.name)
        }
    }

    conformance! { [ignore = "needs OpenBao"] cases::<BaoBench>:
        a_data_key_comes_back_in_another_process,
        another_realm_does_not_open,
        a_blob_of_another_key_does_not_open,
        an_altered_blob_does_not_open,
        what_is_no_blob_does_not_open,
        a_missing_key_neither_writes_nor_reads,
        a_check_makes_the_round_trip,
        a_disabled_key_neither_writes_nor_reads,
        a_deleted_key_neither_writes_nor_reads,
        rotation_keeps_old_blobs_readable,
        credentials_without_the_right_are_denied,
        wrong_credentials_are_told_apart,
        a_key_that_ignores_the_context_is_refused,
    }

    /// Makes an AppRole with the least policy for the key and a token lifetime in seconds. Returns its id.
    async fn new_role(bench: &BaoBench, settings: serde_json::Value) -> String {
        let (admin, name) = (&bench.admin, &bench.key.name);
        let mut role = json!({ "token_policies": [name] });
        role.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        admin.post(&format!("auth/approle/role/{name}"), &role).await;
        let path = format!("auth/approle/role/{name}/role-id");
        let (_, response) =
            admin.call(http::Method::GET, &path, super::server::ROOT, &serde_json::Value::Null).await;
        response["data"]["role_id"].as_str().expect("a role has an id").to_owned()
    }

    /// Writes a new secret id of the key's role to the file of [`approle`].
    async fn new_secret(bench: &BaoBench) {
        let path = format!("auth/approle/role/{}/secret-id", bench.key.name);
        let made = bench.admin.post(&path, &json!({})).await;
        let secret_id = made["data"]["secret_id"].as_str().expect("a secret id");
        std::fs::write(bench.key.directory().join("secret-id"), secret_id)
            .expect("the directory is writable");
    }

    fn approle(bench: &BaoBench, role_id: String) -> Provider {
        let secret_id_file = bench.key.directory().join("secret-id");
        bench.key.with_login(VaultLogin::AppRole { mount: "approle".to_owned(), role_id, secret_id_file })
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn an_approle_logs_in_with_both_kinds_of_tokens() {
        for kind in ["service", "batch"] {
            let bench = BaoBench::new().await;
            let role_id = new_role(&bench, json!({ "token_type": kind, "token_ttl": "1h" })).await;
            new_secret(&bench).await;
            let written = write(approle(&bench, role_id.clone())).await.expect(kind);
            let read = read(approle(&bench, role_id), &written.wrapped).await.expect(kind);
            assert_eq!(read.data_key.expose(), written.data_key.expose());
        }
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn tokens_that_end_are_replaced_while_the_keyring_is_used() {
        let bench = BaoBench::new().await;
        let role_id = new_role(&bench, json!({ "token_ttl": "2s", "token_max_ttl": "4s" })).await;
        new_secret(&bench).await;
        let keyring = keyring(approle(&bench, role_id)).await;
        let started = std::time::Instant::now();
        // Twice the longest life of a token.
        while started.elapsed() < std::time::Duration::from_secs(8) {
            keyring.check(0, None, &context()).await.expect("a valid token at any time");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn a_used_up_secret_is_refused_until_the_file_has_another() {
        let bench = BaoBench::new().await;
        let role = json!({ "token_ttl": "1h", "secret_id_num_uses": 1 });
        let role_id = new_role(&bench, role).await;
        new_secret(&bench).await;
        let provider = approle(&bench, role_id);
        write_with(&keyring(provider.clone()).await).await.expect("the first use");
        let failure = check(provider.clone()).await.expect_err("the second use");
        assert_eq!(failure.error, KeyringError::Credentials);
        assert_eq!(failure.cause.as_deref(), Some("invalid role or secret ID"));
        new_secret(&bench).await;
        check(provider).await.expect("another secret");
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn an_existing_data_key_is_wrapped() {
        let (bench, old) = (BaoBench::new().await, LocalBench::new().await);
        let new = bench.key.provider_with_root(&bench.key.name);
        cases::an_existing_data_key_is_wrapped_by(new, old.provider()).await;
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn many_data_keys_are_wrapped_again_and_one_that_is_refused_fails_alone() {
        let bench = BaoBench::new().await;
        let mut blobs = Vec::new();
        for _ in 0..30 {
            blobs.push(write(bench.provider()).await.expect("the key is usable"));
        }
        let other = BaoBench::new().await;
        let foreign = write(other.provider()).await.expect("the key is usable");
        bench.rotate().await;
        let rewrapping = keyring(bench.key.provider_with_root(&bench.key.name)).await;
        let key_id = rewrapping.allowed_keys(&KeyRule::default()).next().expect("the key").clone();
        let all = blobs.iter().map(|written| &written.wrapped).chain([&foreign.wrapped]);
        let mut running = tokio::task::JoinSet::new();
        for (number, blob) in all.cloned().enumerate() {
            let (rewrapping, key_id) = (rewrapping.clone(), key_id.clone());
            running.spawn(async move {
                (
                    number,
                    rewrapping.rewrap(0, &blob, &context(), &key_id).await.map_err(|failure| failure.error),
                )
            });
        }
        while let Some(done) = running.join_next().await {
            let (number, rewrapped) = done.expect("no panic");
            let Some(written) = blobs.get(number) else {
                assert_eq!(rewrapped.expect_err("another key's blob"), KeyringError::InvalidCiphertext);
                continue;
            };
            let rewrapped = rewrapped.expect("rewrap");
            assert!(rewrapped.starts_with(b"vault:v2:"), "{}", rewrapped.escape_ascii());
            let read = read(bench.provider(), &rewrapped).await.expect("the new version");
            assert_eq!(read.data_key.expose(), written.data_key.expose());
        }
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn a_rewrapped_data_key_survives_the_end_of_its_version() {
        let bench = BaoBench::new().await;
        let written = write(bench.provider()).await.expect("the key is usable");
        bench.rotate().await;
        let rewrapping = keyring(bench.key.provider_with_root(&bench.key.name)).await;
        let key_id = rewrapping.allowed_keys(&KeyRule::default()).next().expect("the key").clone();
        let rewrapped = rewrapping.rewrap(0, &written.wrapped, &context(), &key_id).await.expect("rewrap");
        assert!(rewrapped.starts_with(b"vault:v2:"), "{}", rewrapped.escape_ascii());
        let version = json!({ "min_decryption_version": 2 });
        bench.admin.post(&format!("transit/keys/{}/config", bench.key.name), &version).await;
        let read_again = read(bench.provider(), &rewrapped).await.expect("the new version");
        assert_eq!(read_again.data_key.expose(), written.data_key.expose());
        let too_old = read(bench.provider(), &written.wrapped).await.expect_err("the old version");
        assert_eq!(too_old, KeyringError::InvalidKeyState);
        let elsewhere = s3veil::keyring::EncryptionContext::native("other");
        let cold = keyring(bench.provider()).await;
        let refused = cold.unwrap(&KeyRule::default(), Wrappings::single(&rewrapped), &elsewhere).await;
        assert_eq!(refused.expect_err("This is a security issue."), KeyringError::InvalidCiphertext);
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn a_key_that_is_not_derived_is_named_with_the_remedy() {
        let bench = BaoBench::new().await;
        let key = bench.admin.new_key(false).await;
        let failure = check(key.provider()).await.expect_err("This is a security issue.");
        let expected = format!(
            "the key transit/{} is not derived: it would open data keys of every realm; create it with derived=true",
            key.name
        );
        assert_eq!(failure.cause.as_deref(), Some(expected.as_str()));
        // What another program made under such a key is not opened either.
        let path = format!("transit/datakey/plaintext/{}", key.name);
        let made = bench.admin.post(&path, &json!({})).await;
        let blob = made["data"]["ciphertext"].as_str().expect("a blob");
        let refused = read(key.provider(), blob.as_bytes()).await.expect_err("This is a security issue.");
        assert_eq!(refused, KeyringError::ContextIgnored);
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn a_mount_that_is_missing_is_named() {
        let bench = BaoBench::new().await;
        let Provider::Vault(mut settings) = bench.key.provider_with_root(&bench.key.name) else {
            unreachable!("the bench has no other provider");
        };
        settings.mount = "elsewhere".to_owned();
        let failure = check(Provider::Vault(settings)).await.expect_err("nothing is mounted there");
        assert_eq!(failure.error, KeyringError::KeyNotFound);
        let cause = failure.cause.unwrap_or_default();
        assert!(cause.contains("elsewhere/datakey/plaintext"), "{cause}");
        assert!(cause.ends_with("correct mount or namespace"), "{cause}");
    }

    #[tokio::test]
    #[ignore = "needs OpenBao"]
    async fn a_key_in_a_namespace_is_named_with_it() {
        let bench = BaoBench::new().await;
        let namespace = bench.key.name.clone();
        bench.admin.post(&format!("sys/namespaces/{namespace}"), &json!({})).await;
        bench.admin.post(&format!("{namespace}/sys/mounts/transit"), &json!({ "type": "transit" })).await;
        bench.admin.post(&format!("{namespace}/transit/keys/inner"), &json!({ "derived": true })).await;
        let Provider::Vault(mut settings) = bench.key.provider_with_root("inner") else {
            unreachable!("the bench has no other provider");
        };
        settings.namespace = Some(namespace.clone());
        let checked = check(Provider::Vault(settings)).await.expect("the key of the namespace");
        assert_eq!(*checked.key_id, *format!("{namespace}/transit/inner"));
    }
}
