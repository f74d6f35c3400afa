//! What the suite needs of a provider. It must not know any provider. A provider implements `Bench`, and the
//! further traits as far as its service has such states; a case names the trait that it needs.

use s3veil::keyring::{
    CacheSettings, CheckError, EncryptionContext, HolderSettings, KeyRule, Keyring, KeyringError, Provider,
    Reuse, RoundTrip, Settings, UnwrappedKey, Wrappings, WriteKey,
};

/// One wrapping key of its own at one service, and the settings of a provider for it.
pub(crate) trait Bench: Sized {
    /// Makes a new key.
    async fn new() -> Self;

    /// The provider's settings for this key, with credentials that may use it.
    fn provider(&self) -> Provider;

    /// Whether `error` is the right one for a blob that was altered, or is none.
    fn is_refusal_of_blob(error: &KeyringError) -> bool {
        is_refusal_of_blob(error)
    }
}

/// A blob that no holder may have wrapped is not sent to any, which is [`KeyringError::NotAllowed`].
pub(crate) fn is_refusal_of_blob(error: &KeyringError) -> bool {
    error.is_of_another_key() || *error == KeyringError::NotAllowed
}

/// A service whose keys are named in the settings.
pub(crate) trait Name: Bench {
    /// Settings for a key that the service does not have.
    fn missing_key(&self) -> Provider;
}

/// A service that can disable a key and enable it again.
pub(crate) trait Disable: Bench {
    /// Disables the key for every use.
    async fn disable(&self);
    /// Enables it again.
    async fn enable(&self);
}

/// A service that can delete a key.
pub(crate) trait Delete: Bench {
    /// What a use of a deleted key fails with.
    const DELETED: KeyringError;
    /// Deletes the key.
    async fn delete(&self);
}

/// A service that rotates inside one key.
pub(crate) trait Rotate: Bench {
    /// Makes new key material; the key's name stays.
    async fn rotate(&self);
}

/// A service with rights.
pub(crate) trait Deny: Bench {
    /// Settings with valid credentials that have no right to use the key.
    async fn without_right(&self) -> Provider;
}

/// A service with credentials.
pub(crate) trait Login: Bench {
    /// Settings with credentials that the service does not accept.
    async fn with_wrong_credentials(&self) -> Provider;
}

/// A service that has keys which ignore the encryption context.
pub(crate) trait IgnoreContext: Bench {
    /// Settings for such a key.
    async fn key_without_context(&self) -> Provider;
}

/// A keyring with one holder and with caches of its own: each one stands for another process.
pub(crate) async fn keyring(provider: Provider) -> Keyring {
    keyrings(vec![provider]).await
}

/// A keyring with these holders.
pub(crate) async fn keyrings(providers: Vec<Provider>) -> Keyring {
    let holders = (0..).zip(providers);
    let holders = holders.map(|(place, provider)| {
        let name = if place == 0 { "holder".to_owned() } else { format!("holder-{place}") };
        HolderSettings { name, provider, replica_of: None }
    });
    let holders = holders.collect();
    let settings = Settings { holders, cache: CacheSettings::default(), reuse: Reuse::Bucket };
    Keyring::build(settings).await.expect("the settings are complete")
}

/// The realm of the suite.
pub(crate) fn context() -> EncryptionContext {
    EncryptionContext::native("realm")
}

/// A new data key, made in another process.
pub(crate) async fn write(provider: Provider) -> Result<WriteKey, KeyringError> {
    write_with(&keyring(provider).await).await
}

/// A new data key, made by this keyring.
pub(crate) async fn write_with(keyring: &Keyring) -> Result<WriteKey, KeyringError> {
    keyring.for_write(&KeyRule::default(), None, &context(), 1).await
}

/// Unwraps a data key of the suite's realm in another process.
pub(crate) async fn read(provider: Provider, wrapped: &[u8]) -> Result<UnwrappedKey, KeyringError> {
    read_in(provider, wrapped, &context()).await
}

/// Unwraps a data key in another process.
pub(crate) async fn read_in(
    provider: Provider,
    wrapped: &[u8],
    context: &EncryptionContext,
) -> Result<UnwrappedKey, KeyringError> {
    let keyring = keyring(provider).await;
    keyring.unwrap(&KeyRule::default(), Wrappings::single(wrapped), context).await
}

/// Generates and unwraps a data key, as `check` does; a failure comes with its cause.
pub(crate) async fn check(provider: Provider) -> Result<RoundTrip, CheckError> {
    let checked = keyring(provider).await.check(0, None, &context()).await;
    checked.map_err(|failed| failed.failure)
}
