//! PKCS#11 tokens in the suite: SoftHSM2, where `S3VEIL_TEST_PKCS11_LIBRARY` names it. The unit tests of the
//! holder have what concerns tokens alone: logins, attributes of keys, lost sessions.

use s3veil::keyring::{KeyringError, Pkcs11, Provider, TokenName};

use crate::bench::{Bench, Delete, Disable, Name, read, write};

#[path = "../../src/keyring/holder/pkcs11/soft_hsm.rs"]
mod soft_hsm;

use soft_hsm::SoftToken;

const LABEL: &str = "wrap";

struct TokenBench(SoftToken);

impl TokenBench {
    fn settings(&self, key_label: &str, key_id: u8) -> Provider {
        Provider::Pkcs11(Pkcs11 {
            library: self.0.library.clone(),
            token: TokenName::Label(self.0.label.clone()),
            pin_file: self.0.pin_file(),
            key_label: key_label.to_owned(),
            key_id: Some(vec![key_id]),
        })
    }
}

impl Bench for TokenBench {
    async fn new() -> Self {
        let token = SoftToken::new().expect("S3VEIL_TEST_PKCS11_LIBRARY names SoftHSM2's library");
        token.make_key(LABEL, &[1], &[]);
        Self(token)
    }

    fn provider(&self) -> Provider {
        self.settings(LABEL, 1)
    }
}

impl Name for TokenBench {
    fn missing_key(&self) -> Provider {
        self.settings("missing", 1)
    }
}

impl Disable for TokenBench {
    async fn disable(&self) {
        self.0.allow_use(LABEL, &[1], false);
    }

    async fn enable(&self) {
        self.0.allow_use(LABEL, &[1], true);
    }
}

impl Delete for TokenBench {
    const DELETED: KeyringError = KeyringError::KeyNotFound;

    async fn delete(&self) {
        self.0.remove_key(LABEL, &[1]);
    }
}

/// The suite's cases, where SoftHSM2 is installed.
macro_rules! token_cases {
    ($($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            #[ignore = "needs SoftHSM2"]
            async fn $case() {
                if soft_hsm::is_installed() {
                    crate::cases::$case::<TokenBench>().await;
                }
            }
        )+
    };
}

token_cases! {
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
}

#[tokio::test]
#[ignore = "needs SoftHSM2"]
async fn a_further_key_of_the_label_keeps_old_blobs_readable() {
    if !soft_hsm::is_installed() {
        return;
    }
    let bench = TokenBench::new().await;
    let mut written = vec![write(bench.provider()).await.expect("the key is usable")];
    for id in 2..5 {
        bench.0.make_key(LABEL, &[id], &[]);
        written.push(write(bench.settings(LABEL, id)).await.expect("the key is usable"));
    }
    for key in written {
        let read = read(bench.settings(LABEL, 4), &key.wrapped).await.expect("every key of the label opens");
        assert_eq!(read.data_key.expose(), key.data_key.expose());
    }
}
