//! One suite for every holder of wrapping keys: what `Keyring` promises, kept by each provider. It must not
//! know how a provider works inside; a file for each one has the means to make, rotate, disable and delete
//! keys. It promises that a provider whose file names a case runs exactly the code that the others run.
//!
//! Cases with a real server are ignored unless requested, and need what the environment names:
//! `S3VEIL_TEST_KMS_ENDPOINT` (LocalStack), `S3VEIL_TEST_VAULT_ADDRESS` (OpenBao). `scripts/test` sets both.
//! PKCS#11 tokens need `S3VEIL_TEST_PKCS11_LIBRARY` and `SOFTHSM2_CONF`; their tests end at once where these
//! are not set. Google Cloud KMS and Azure Key Vault are played by fakes.

mod aws_kms;
#[cfg(feature = "azure-key-vault")]
mod azure_key_vault;
mod bench;
mod cases;
mod fault_cases;
#[cfg(feature = "gcp-kms")]
mod gcp_kms;
mod local;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod scripted_server;
mod vault;

/// The tests of one provider: `conformance! { [ignore = "needs ..."] cases::<Bench>: name, name }` makes one
/// test of each case, by the name of the case.
macro_rules! conformance {
    ([$ignored:meta] $cases:ident::<$bench:ty>: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            #[$ignored]
            async fn $case() {
                crate::$cases::$case::<$bench>().await;
            }
        )+
    };
    ($cases:ident::<$bench:ty>: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                crate::$cases::$case::<$bench>().await;
            }
        )+
    };
}
pub(crate) use conformance;
