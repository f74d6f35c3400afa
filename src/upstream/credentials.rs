//! The credentials of requests to the storage: fixed, or from AWS's chain and renewed before they expire.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials as AwsCredentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::CredentialsError;
use super::settings::Credentials;
use crate::timer;

/// Renewal begins this long before the expiry: AWS issues the next role credentials five minutes ahead.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// The minimum time between two attempts to renew, so that requests do not overload a failing source.
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);

/// Timeout of one attempt: the chain tries several sources in turn, and the instance's responds within a
/// second or not at all.
const LOAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The source of credentials. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) enum CredentialSource {
    Fixed(AwsCredentials),
    Renewed(Arc<Renewal>),
}

impl CredentialSource {
    /// Sets the source up. A chain that finds no credentials is an error at once, before anything listens.
    pub(super) async fn new(settings: Credentials, region: &str) -> Result<Self, CredentialsError> {
        match settings {
            Credentials::Static { access_key_id, secret_access_key, session_token } => {
                let token = session_token.map(|token| token.to_string());
                let secret = secret_access_key.to_string();
                Ok(Self::Fixed(AwsCredentials::new(
                    access_key_id,
                    secret,
                    token,
                    None,
                    "s3veil configuration",
                )))
            }
            Credentials::DefaultChain => {
                let provider = default_chain(region).await?;
                let source = Self::Renewed(Arc::new(Renewal::new(provider)));
                source.current().await?;
                Ok(source)
            }
        }
    }

    /// Credentials that are valid now, if none have to be waited for.
    pub(super) fn known(&self) -> Option<AwsCredentials> {
        match self {
            Self::Fixed(credentials) => Some(credentials.clone()),
            Self::Renewed(renewal) => renewal.known(),
        }
    }

    /// Credentials that are valid now.
    pub(super) async fn current(&self) -> Result<AwsCredentials, CredentialsError> {
        match self {
            Self::Fixed(credentials) => Ok(credentials.clone()),
            Self::Renewed(renewal) => renewal.current().await,
        }
    }
}

/// The chain of places where AWS's programs find credentials.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>
#[cfg(feature = "aws")]
async fn default_chain(region: &str) -> Result<SharedCredentialsProvider, CredentialsError> {
    let region = aws_config::Region::new(region.to_owned());
    let chain = aws_config::defaults(aws_config::BehaviorVersion::latest()).region(region).load().await;
    let provider = chain.credentials_provider();
    provider.ok_or_else(|| CredentialsError { reason: "the default chain is empty".to_owned() })
}

#[cfg(not(feature = "aws"))]
async fn default_chain(_region: &str) -> Result<SharedCredentialsProvider, CredentialsError> {
    let reason = "this s3veil was built without the feature aws: write access_key_id and its secret";
    Err(CredentialsError { reason: reason.to_owned() })
}

/// The provider's latest credentials, and the latest attempt to renew them.
#[derive(Debug)]
pub(super) struct Renewal {
    provider: SharedCredentialsProvider,
    cached: RwLock<Option<AwsCredentials>>,
    /// Locked while the provider is called; holds the outcome of the latest attempt.
    latest_attempt: Arc<Mutex<Option<Attempt>>>,
}

#[derive(Debug)]
struct Attempt {
    at: Instant,
    error: Option<CredentialsError>,
}

enum Freshness {
    Fresh,
    Ageing,
    Expired,
}

impl Renewal {
    fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, cached: RwLock::new(None), latest_attempt: Arc::default() }
    }

    /// Fresh credentials, or ageing ones, which one task renews meanwhile.
    fn known(self: &Arc<Self>) -> Option<AwsCredentials> {
        let cached = self.cached()?;
        match freshness(&cached) {
            Freshness::Fresh => Some(cached),
            Freshness::Ageing => {
                self.renew_in_background();
                Some(cached)
            }
            Freshness::Expired => None,
        }
    }

    /// Returns known credentials at once, and waits for the renewal of expired ones.
    async fn current(self: &Arc<Self>) -> Result<AwsCredentials, CredentialsError> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let latest_attempt = Arc::clone(&self.latest_attempt).lock_owned().await;
        // The previous holder of the lock may have renewed the credentials, or may have failed.
        if let Some(cached) = self.cached().filter(|cached| !matches!(freshness(cached), Freshness::Expired))
        {
            return Ok(cached);
        }
        if let Some(Attempt { at, error: Some(error) }) = &*latest_attempt
            && at.elapsed() < RENEWAL_PAUSE
        {
            return Err(error.clone());
        }
        self.renew(latest_attempt).await
    }

    fn renew_in_background(self: &Arc<Self>) {
        let Ok(latest_attempt) = Arc::clone(&self.latest_attempt).try_lock_owned() else { return };
        if latest_attempt.as_ref().is_some_and(|last| last.at.elapsed() < RENEWAL_PAUSE) {
            return;
        }
        let renewal = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = renewal.renew(latest_attempt).await {
                tracing::warn!(reason = error.reason, "upstream credentials could not be renewed yet");
            }
        });
    }

    async fn renew(
        &self,
        mut latest_attempt: OwnedMutexGuard<Option<Attempt>>,
    ) -> Result<AwsCredentials, CredentialsError> {
        let loading = timer::with_tokio_timers(self.provider.provide_credentials());
        let outcome = match timer::timeout(LOAD_TIMEOUT, loading).await {
            Ok(Ok(credentials)) => Ok(credentials),
            Ok(Err(error)) => Err(reason(&error)),
            Err(_) => Err(format!("no response within {LOAD_TIMEOUT:?}")),
        };
        let outcome = outcome.map_err(|reason| CredentialsError { reason });
        *latest_attempt = Some(Attempt { at: Instant::now(), error: outcome.as_ref().err().cloned() });
        if let Ok(credentials) = &outcome {
            *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
        }
        outcome
    }

    fn cached(&self) -> Option<AwsCredentials> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn freshness(credentials: &AwsCredentials) -> Freshness {
    let Some(expiry) = credentials.expiry() else { return Freshness::Fresh };
    match expiry.duration_since(SystemTime::now()) {
        Ok(left) if left > RENEW_BEFORE => Freshness::Fresh,
        Ok(left) if left > Duration::ZERO => Freshness::Ageing,
        Ok(_) | Err(_) => Freshness::Expired,
    }
}

/// The error with its causes, which hold the reason in AWS's errors.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::provider::error::CredentialsError as ProviderError;
    use aws_credential_types::provider::future::ProvideCredentials as Answer;

    use super::*;

    /// Provides credentials of these lifetimes in turn (`None`: an error), then errors.
    #[derive(Debug, Default)]
    struct Script {
        lifetimes: StdMutex<Vec<Option<Duration>>>,
        calls: AtomicUsize,
    }

    #[derive(Debug, Clone, Default)]
    struct Scripted(Arc<Script>);

    impl Scripted {
        fn new(lifetimes: &[Option<Duration>]) -> Self {
            let script = Script::default();
            *script.lifetimes.lock().unwrap() = lifetimes.iter().rev().copied().collect();
            Self(Arc::new(script))
        }
        fn calls(&self) -> usize {
            self.0.calls.load(Ordering::SeqCst)
        }
    }

    impl ProvideCredentials for Scripted {
        fn provide_credentials<'a>(&'a self) -> Answer<'a>
        where
            Self: 'a,
        {
            Answer::new(async {
                let number = self.0.calls.fetch_add(1, Ordering::SeqCst);
                let lifetime = self.0.lifetimes.lock().unwrap().pop().flatten();
                tokio::time::sleep(Duration::from_millis(20)).await;
                match lifetime {
                    Some(lifetime) => {
                        let expiry = SystemTime::now() + lifetime;
                        Ok(AwsCredentials::new(format!("AK{number}"), "secret", None, Some(expiry), "script"))
                    }
                    None => Err(ProviderError::not_loaded("the script has no more")),
                }
            })
        }
    }

    fn renewal(script: &Scripted) -> Arc<Renewal> {
        Arc::new(Renewal::new(SharedCredentialsProvider::new(script.clone())))
    }

    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));
    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));
    const OVER: Option<Duration> = Some(Duration::ZERO);

    #[tokio::test]
    async fn fresh_credentials_are_asked_for_once_however_many_ask() {
        let script = Scripted::new(&[HOUR]);
        let renewal = renewal(&script);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let renewal = Arc::clone(&renewal);
                tokio::spawn(async move { renewal.current().await.unwrap().access_key_id().to_owned() })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), "AK0");
        }
        assert_eq!(script.calls(), 1);
    }

    #[tokio::test]
    async fn ageing_credentials_serve_while_they_are_renewed() {
        let script = Scripted::new(&[MINUTE, HOUR]);
        let renewal = renewal(&script);
        assert_eq!(renewal.current().await.unwrap().access_key_id(), "AK0");
        renewal.latest_attempt.lock().await.as_mut().unwrap().at -= RENEWAL_PAUSE;
        assert_eq!(renewal.current().await.unwrap().access_key_id(), "AK0");
        drop(renewal.latest_attempt.lock().await);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(renewal.current().await.unwrap().access_key_id(), "AK1");
        assert_eq!(script.calls(), 2);
    }

    #[tokio::test]
    async fn valid_credentials_outlive_a_failed_renewal() {
        let script = Scripted::new(&[MINUTE, None]);
        let renewal = renewal(&script);
        for _ in 0..3 {
            assert_eq!(renewal.current().await.unwrap().access_key_id(), "AK0");
            if let Some(last) = renewal.latest_attempt.lock().await.as_mut() {
                last.at -= RENEWAL_PAUSE;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        assert!(script.calls() >= 2);
    }

    #[tokio::test]
    async fn expired_credentials_are_never_used() {
        let script = Scripted::new(&[OVER, HOUR]);
        let renewal = renewal(&script);
        renewal.current().await.unwrap();
        assert_eq!(renewal.current().await.unwrap().access_key_id(), "AK1");
    }

    #[tokio::test]
    async fn failure_names_the_fix_and_is_not_repeated_at_once() {
        let script = Scripted::new(&[]);
        let renewal = renewal(&script);
        let text = renewal.current().await.unwrap_err().to_string();
        assert!(text.contains("the script has no more"), "{text}");
        assert!(text.contains("AWS_PROFILE"), "{text}");
        renewal.current().await.unwrap_err();
        assert_eq!(script.calls(), 1);
    }

    #[test]
    fn secrets_do_not_print() {
        let settings = Credentials::Static {
            access_key_id: "AKID".to_owned(),
            secret_access_key: zeroize::Zeroizing::new("hush".to_owned()),
            session_token: Some(zeroize::Zeroizing::new("hush".to_owned())),
        };
        let text = format!("{settings:?}");
        assert!(text.contains("AKID") && !text.contains("hush"), "{text}");
    }
}
