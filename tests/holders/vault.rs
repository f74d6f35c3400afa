//! OpenBao and Vault in the suite: a real OpenBao at `S3VEIL_TEST_VAULT_ADDRESS`, and a scripted one.

mod server;

mod openbao {
    //! The suite with a real server. The module's name is what `scripts/test` leaves out where there is none.

    use s3veil::keyring::{KeyringError, Provider};

    use super::server::{Admin, Key};
    use crate::bench::{Bench, Delete, Deny, Disable, IgnoreContext, Login, Name, Rotate};
    use crate::conformance;

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
            self.admin.post(&format!("transit/keys/{}/soft-delete-restore", self.key.name), "{}").await;
        }
    }

    impl Delete for BaoBench {
        const DELETED: KeyringError = KeyringError::KeyNotFound;

        async fn delete(&self) {
            let key = format!("transit/keys/{}", self.key.name);
            self.admin.post(&format!("{key}/config"), r#"{"deletion_allowed":true}"#).await;
            self.admin.delete(&key).await;
        }
    }

    impl Rotate for BaoBench {
        async fn rotate(&self) {
            self.admin.post(&format!("transit/keys/{}/rotate", self.key.name), "{}").await;
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
            self.admin.new_key(false).await.provider()
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
}
