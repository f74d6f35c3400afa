//! The current token: one task logs in, renews the token at half of its life, and logs in again where it
//! can't be renewed. It must not know what a token is used for. It promises at most one request of the task a
//! second, however many calls want a token, and that the task ends with the [`Sessions`] that started it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::login::{Login, Renewal, Session};
use crate::keyring::holder::repetition::random_part;
use crate::keyring::{CheckError, KeyringError};
use crate::timer;

/// Shortest time between two requests of the task: a service that rejects every token is not overrun.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest random addition to [`MIN_INTERVAL`], so that many processes do not log in in step.
const MAX_JITTER: Duration = Duration::from_millis(500);
/// How long an AppRole login that was refused is not repeated with its secret. Vault locks a role out
/// for a quarter of an hour after five wrong secrets; a new secret in the file is tried at once.
const REFUSED_LOGIN_PAUSE: Duration = Duration::from_secs(60);
/// After a failed renewal or early login, while the token is still valid.
const UPKEEP_RETRY: Duration = Duration::from_secs(5);

/// The sessions with one service, one after the other.
pub(super) struct Sessions {
    /// The number of the login that calls wait for.
    wanted: watch::Sender<u64>,
    latest: watch::Receiver<Latest>,
    task: AbortHandle,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The outcome of the latest login that a call has to know of.
#[derive(Debug, Clone)]
struct Latest {
    /// Counts logins, from 1.
    number: u64,
    outcome: Result<Arc<Session>, CheckError>,
}

/// What is due to keep a token, and when.
#[derive(Debug, Clone, Copy)]
struct Upkeep {
    at: Instant,
    action: Action,
    /// When the token ends.
    end: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Renew,
    LogIn,
}

/// The state of the task.
struct Keeper {
    login: Login,
    latest: watch::Sender<Latest>,
    upkeep: Option<Upkeep>,
    /// When the last request of the task began.
    last_request: Option<Instant>,
    /// The last AppRole login that was refused.
    refused: Option<RefusedLogin>,
}

struct RefusedLogin {
    fingerprint: [u8; 32],
    at: Instant,
    failure: CheckError,
}

impl Sessions {
    /// Starts the task, which logs in when the first session is requested.
    pub(super) fn start(login: Login) -> Self {
        let (wanted, wanted_of_task) = watch::channel(0);
        let none = Latest { number: 0, outcome: Err(KeyringError::Interrupted.into()) };
        let (sender, latest) = watch::channel(none);
        let keeper = Keeper { login, latest: sender, upkeep: None, last_request: None, refused: None };
        let task = tokio::spawn(keeper.run(wanted_of_task)).abort_handle();
        Self { wanted, latest, task }
    }

    /// The current session, unless the token of the session `rejected` or of an earlier one was refused: then
    /// the next. All calls that wait for a login share its outcome.
    ///
    /// # Errors
    /// The failure of the next login.
    pub(super) async fn newer_than(&self, rejected: Option<u64>) -> Result<Arc<Session>, CheckError> {
        let mut latest = self.latest.clone();
        let seen = {
            let Latest { number, outcome } = &*latest.borrow_and_update();
            match outcome {
                Ok(session) if rejected.is_none_or(|rejected| session.number > rejected) => {
                    return Ok(Arc::clone(session));
                }
                Ok(_) | Err(_) => *number,
            }
        };
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted <= seen;
            *wanted = (*wanted).max(seen + 1);
            is_new
        });
        let next = latest.wait_for(|latest| latest.number > seen).await;
        next.map_err(|_ended| CheckError::from(KeyringError::Interrupted))?.outcome.clone()
    }
}

impl Keeper {
    async fn run(mut self, mut wanted: watch::Receiver<u64>) {
        loop {
            let number = self.latest.borrow().number;
            let upkeep = self.upkeep;
            // The future must not hold the channel's lock.
            let demand = async { wanted.wait_for(|wanted| *wanted > number).await.is_ok() };
            let due = async {
                match upkeep {
                    Some(upkeep) => {
                        timer::sleep_until(upkeep.at).await;
                        upkeep
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                is_wanted = demand => {
                    if !is_wanted {
                        return;
                    }
                    let outcome = self.log_in(number + 1).await;
                    self.publish(number + 1, outcome);
                }
                upkeep = due => self.keep(upkeep, number).await,
            }
        }
    }

    /// Renews or replaces the token while it is valid. A failure concerns no call yet.
    async fn keep(&mut self, upkeep: Upkeep, number: u64) {
        let session = self.latest.borrow().outcome.clone();
        let Ok(session) = session else {
            self.upkeep = None;
            return;
        };
        let failure = match upkeep.action {
            Action::Renew => match self.renew(&session).await {
                Ok(renewal) => return self.upkeep = Some(Upkeep::after_renewal(renewal)),
                Err(failure) => failure,
            },
            Action::LogIn => match self.log_in(number + 1).await {
                Ok(session) => return self.publish(number + 1, Ok(session)),
                Err(failure) => failure,
            },
        };
        tracing::warn!(at = %self.login.place(), "could not keep the token of the key provider: {failure}");
        self.upkeep = upkeep.after_failure(&failure.error);
    }

    fn publish(&mut self, number: u64, outcome: Result<Session, CheckError>) {
        self.upkeep = outcome.as_ref().ok().and_then(Upkeep::after_login);
        self.latest.send_replace(Latest { number, outcome: outcome.map(Arc::new) });
    }

    async fn log_in(&mut self, number: u64) -> Result<Session, CheckError> {
        let prepared = self.login.prepare().await?;
        let fingerprint = prepared.fingerprint;
        if let Some(refused) = &self.refused
            && Some(refused.fingerprint) == fingerprint
            && refused.at.elapsed() < REFUSED_LOGIN_PAUSE
        {
            return Err(refused.failure.clone());
        }
        self.pace().await;
        let outcome = self.login.log_in(number, prepared).await;
        let label = outcome.as_ref().err().map_or("ok", |failure| failure.error.outcome());
        metrics::counter!("s3veil_keyring_logins_total", "outcome" => label).increment(1);
        tracing::debug!(at = %self.login.place(), outcome = label, "logged in to the key provider");
        self.refused = match (&outcome, fingerprint) {
            (Err(failure), Some(fingerprint)) if failure.error == KeyringError::Credentials => {
                Some(RefusedLogin { fingerprint, at: Instant::now(), failure: failure.clone() })
            }
            (Ok(_) | Err(_), _) => None,
        };
        outcome
    }

    async fn renew(&mut self, session: &Session) -> Result<Renewal, CheckError> {
        self.pace().await;
        self.login.renew(session).await
    }

    /// Waits until the next request is allowed.
    async fn pace(&mut self) {
        if let Some(last) = self.last_request {
            timer::sleep_until(last + MIN_INTERVAL + random_part(MAX_JITTER)).await;
        }
        self.last_request = Some(Instant::now());
    }
}

impl Upkeep {
    /// At half of the lease a renewal, at two thirds a login. `None` for a token that never ends.
    fn after_login(session: &Session) -> Option<Self> {
        let (lease, now) = (session.lease?, Instant::now());
        let (part, action) =
            if session.is_renewable { (lease / 2, Action::Renew) } else { (lease * 2 / 3, Action::LogIn) };
        Some(Self { at: now + part, action, end: now + lease })
    }

    fn after_renewal(renewal: Renewal) -> Self {
        let Renewal { lease, is_capped } = renewal;
        let now = Instant::now();
        let (at, action) = if is_capped { (now, Action::LogIn) } else { (now + lease / 2, Action::Renew) };
        Self { at, action, end: now + lease }
    }

    /// Another attempt while the token is valid; afterwards calls request a login.
    fn after_failure(self, error: &KeyringError) -> Option<Self> {
        let at = Instant::now() + UPKEEP_RETRY.min(self.end.saturating_duration_since(Instant::now()) / 2);
        let action = if error.is_unavailability() { self.action } else { Action::LogIn };
        (at + MIN_INTERVAL < self.end).then_some(Self { at, action, ..self })
    }
}
