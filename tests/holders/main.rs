//! One suite for every holder of wrapping keys: what `Keyring` promises, kept by each provider. It must not
//! know how a provider works inside; a file for each one has the means to make, rotate, disable and delete
//! keys. It promises that a provider whose file names a case runs exactly the code that the others run.
//!
//! Cases with a real server are ignored unless requested, and need what the environment names:
//! `S3VEIL_TEST_KMS_ENDPOINT` (LocalStack), `S3VEIL_TEST_VAULT_ADDRESS` (OpenBao). `scripts/test` sets both.

mod aws_kms;
mod bench;
mod cases;
mod fault_cases;
mod local;
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
