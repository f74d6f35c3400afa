//! AWS KMS in the suite: LocalStack at `S3VEIL_TEST_KMS_ENDPOINT`. `tests/keyring_kms.rs` has what concerns
//! AWS alone, such as aliases and ARNs.

use aws_credential_types::Credentials;
use s3veil::keyring::{AwsKms, KeyId, KeyringError, Provider};

use crate::bench::{Bench, Delete, Disable, Name, Rotate, is_refusal_of_blob};
use crate::conformance;

const REGION: &str = "us-east-1";

struct KmsBench {
    client: aws_sdk_kms::Client,
    arn: String,
}

#[expect(clippy::disallowed_methods, reason = "where the KMS is, only the environment knows")]
fn endpoint() -> String {
    std::env::var("S3VEIL_TEST_KMS_ENDPOINT")
        .expect("S3VEIL_TEST_KMS_ENDPOINT names no KMS to test against, such as http://127.0.0.1:4566")
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "tests")
}

fn provider(key_id: &str) -> Provider {
    Provider::AwsKms(AwsKms {
        key_id: Some(KeyId::parse(key_id).expect("a key id")),
        endpoint: Some(endpoint()),
        region: Some(REGION.to_owned()),
        credentials: Some(credentials()),
    })
}

impl Bench for KmsBench {
    async fn new() -> Self {
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(REGION))
            .credentials_provider(credentials())
            .endpoint_url(endpoint())
            .load()
            .await;
        let client = aws_sdk_kms::Client::new(&config);
        let created = client.create_key().send().await.expect("the endpoint creates keys");
        let arn = created.key_metadata().and_then(|key| key.arn()).expect("a key has an ARN").to_owned();
        Self { client, arn }
    }

    fn provider(&self) -> Provider {
        provider(&self.arn)
    }

    fn is_refusal_of_blob(error: &KeyringError) -> bool {
        // LocalStack finds a key by the blob's first bytes, where AWS responds InvalidCiphertextException.
        is_refusal_of_blob(error) || *error == KeyringError::KeyNotFound
    }
}

impl Name for KmsBench {
    fn missing_key(&self) -> Provider {
        provider("alias/s3veil-missing")
    }
}

impl Disable for KmsBench {
    async fn disable(&self) {
        self.client.disable_key().key_id(&self.arn).send().await.expect("the key is enabled");
    }

    async fn enable(&self) {
        self.client.enable_key().key_id(&self.arn).send().await.expect("the key is disabled");
    }
}

impl Delete for KmsBench {
    const DELETED: KeyringError = KeyringError::InvalidKeyState;

    async fn delete(&self) {
        let deletion = self.client.schedule_key_deletion().key_id(&self.arn).pending_window_in_days(7);
        deletion.send().await.expect("the key is there");
    }
}

impl Rotate for KmsBench {
    async fn rotate(&self) {
        self.client.rotate_key_on_demand().key_id(&self.arn).send().await.expect("the key is enabled");
    }
}

conformance! { [ignore = "needs LocalStack"] cases::<KmsBench>:
    a_data_key_comes_back_in_another_process,
    an_existing_data_key_is_wrapped,
    another_realm_does_not_open,
    a_blob_of_another_key_does_not_open,
    an_altered_blob_does_not_open,
    what_is_no_blob_does_not_open,
    a_missing_key_neither_writes_nor_reads,
    a_check_makes_the_round_trip,
    a_disabled_key_neither_writes_nor_reads,
    a_deleted_key_neither_writes_nor_reads,
    rotation_keeps_old_blobs_readable,
}

mod scripted {
    //! KMS played by a script: `TrentService.GenerateDataKey` and `TrentService.Decrypt`.

    use std::path::Path;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use http::Request;
    use s3veil::keyring::{AwsKms, KeyId, Provider};

    use crate::conformance;
    use crate::fault_cases::Scripted;
    use crate::scripted_server::{Reply, json};

    const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000";

    struct ScriptedKms;

    impl Scripted for ScriptedKms {
        fn provider(address: &str, _directory: &Path) -> Provider {
            Provider::AwsKms(AwsKms {
                key_id: Some(KeyId::parse(ARN).expect("a key id")),
                endpoint: Some(format!("http://{address}")),
                region: Some(super::REGION.to_owned()),
                credentials: Some(super::credentials()),
            })
        }

        fn respond(_request: &Request<Bytes>, data_key: &[u8]) -> Reply {
            let (plaintext, blob) = (STANDARD.encode(data_key), STANDARD.encode(Self::blob()));
            json(200, format!(r#"{{"Plaintext":"{plaintext}","CiphertextBlob":"{blob}","KeyId":"{ARN}"}}"#))
        }

        fn is_login(_request: &Request<Bytes>) -> bool {
            false
        }

        fn blob() -> Vec<u8> {
            b"a blob".to_vec()
        }

        fn throttled() -> Reply {
            json(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#)
        }
    }

    conformance! { fault_cases::<ScriptedKms>:
        the_script_is_a_healthy_service,
        a_throttling_service_is_throttling,
        a_failing_service_is_unavailable,
        a_service_that_hangs_up_is_unavailable,
        a_silent_service_is_unavailable,
        a_response_that_is_none_gives_no_key,
        an_endless_response_gives_no_key,
        a_redirect_is_not_followed,
        a_data_key_of_zeros_or_of_another_length_is_refused,
    }
}
