//! How often the provider logs in, and with what: a scripted server counts. A slow machine makes every count
//! smaller against its time, so none of these depends on speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use s3veil::keyring::{KeyRule, Keyring, KeyringError, UnwrappedKey, Wrappings};
use tempfile::TempDir;

use super::scripted::{ScriptedVault, token};
use crate::bench::{context, keyring, write_with};
use crate::fault_cases::{DATA_KEY, Scripted};
use crate::scripted_server::{Reply, ScriptedServer, json};

const LOGIN: &str = "/v1/auth/approle/login";
const RENEWAL: &str = "/v1/auth/token/renew-self";
/// Longest wait for something that has to happen.
const LIMIT: Duration = Duration::from_secs(60);

/// What the scripted server accepts, and how long its tokens are said to live.
struct Vault {
    /// The number of the newest login; its token is `s.<number>`.
    logins: AtomicU64,
    /// Tokens of logins up to this one are rejected.
    expired: AtomicU64,
    /// Whether logins fail, and tokens are rejected.
    is_down: AtomicBool,
    lease: u64,
    is_renewable: bool,
}

impl Vault {
    fn new(lease: u64, is_renewable: bool) -> Arc<Self> {
        let (logins, expired, is_down) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { logins, expired, is_down, lease, is_renewable })
    }

    fn reply(&self, request: &Request<Bytes>) -> Reply {
        if request.uri().path() == LOGIN {
            if self.is_down.load(Ordering::SeqCst) {
                return json(503, r#"{"errors":["internal error"]}"#);
            }
            let number = self.logins.fetch_add(1, Ordering::SeqCst) + 1;
            return token(&format!("s.{number}"), self.lease, self.is_renewable);
        }
        let given = request.headers().get("x-vault-token").and_then(|token| token.to_str().ok());
        let number =
            given.and_then(|token| token.strip_prefix("s.")).and_then(|number| number.parse::<u64>().ok());
        if number.is_none_or(|number| number <= self.expired.load(Ordering::SeqCst)) {
            return json(403, r#"{"errors":["permission denied"]}"#);
        }
        if request.uri().path() == RENEWAL {
            return token(given.unwrap_or_default(), self.lease, self.is_renewable);
        }
        ScriptedVault::respond(request, &DATA_KEY)
    }

    /// Rejects every token that was issued so far.
    fn expire(&self) {
        self.expired.store(self.logins.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

async fn start(vault: &Arc<Vault>) -> (ScriptedServer, TempDir, Keyring) {
    let vault = Arc::clone(vault);
    let server = ScriptedServer::start(move |request| vault.reply(request)).await;
    let directory = tempfile::tempdir().expect("a directory for files");
    let provider = ScriptedVault::provider(&server.address.to_string(), directory.path());
    let keyring = keyring(provider).await;
    (server, directory, keyring)
}

/// Unwraps a data key that is in no cache: each realm's blob is another one.
async fn open(keyring: &Keyring, realm: usize) -> Result<UnwrappedKey, KeyringError> {
    let context = s3veil::keyring::EncryptionContext::native(&format!("realm-{realm}"));
    let blob = format!("vault:v1:{}", base64(context.canonical()));
    keyring.unwrap(&KeyRule::default(), Wrappings::single(blob.as_bytes()), &context).await
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

/// All requests of the task that logs in are a second or more apart. The server's clock reads later than the
/// client's by the time of travel, so a tenth is allowed for it.
fn assert_paced(server: &ScriptedServer, paths: &str) {
    let received = server.received(paths);
    for pair in received.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart >= Duration::from_millis(900), "two logins within {apart:?}");
    }
}

/// Waits until `is_so`.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIMIT, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_login_serves_all_calls() {
    let vault = Vault::new(3600, true);
    let (server, _directory, keyring) = start(&vault).await;
    assert!(server.received("").is_empty(), "a login before the first call");
    let opened = open_all(&keyring, 0..100).await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    assert_eq!(server.received(LOGIN).len(), 1);
}

#[tokio::test]
async fn an_expired_token_costs_one_login_for_a_hundred_calls() {
    let vault = Vault::new(3600, true);
    let (server, _directory, keyring) = start(&vault).await;
    for round in 0..3 {
        let opened = open_all(&keyring, round * 100..(round + 1) * 100).await;
        assert!(opened.iter().all(Result::is_ok), "round {round}: {opened:?}");
        assert_eq!(server.received(LOGIN).len(), round + 1, "round {round}");
        vault.expire();
    }
    assert_paced(&server, LOGIN);
}

#[tokio::test]
async fn tokens_that_are_all_rejected_end_in_an_error_and_slow_logins() {
    let vault = Vault::new(3600, true);
    vault.expired.store(u64::MAX, Ordering::SeqCst);
    let (server, _directory, keyring) = start(&vault).await;
    let started = Instant::now();
    for refused in open_all(&keyring, 0..100).await {
        assert_eq!(refused.expect_err("no token is accepted"), KeyringError::Credentials);
    }
    let logins = server.received(LOGIN).len() as u64;
    assert!(logins <= 2 + started.elapsed().as_secs(), "{logins} logins");
    assert_paced(&server, LOGIN);
}

#[tokio::test]
async fn an_outage_gives_no_wrong_byte_and_few_logins() {
    let vault = Vault::new(3600, true);
    let (server, _directory, keyring) = start(&vault).await;
    open(&keyring, 0).await.expect("the service is up");
    vault.expire();
    vault.is_down.store(true, Ordering::SeqCst);
    let outage = Instant::now();
    let mut realm = 1;
    while outage.elapsed() < Duration::from_secs(3) {
        for refused in open_all(&keyring, realm..realm + 20).await {
            assert_eq!(refused.expect_err("the service is down"), KeyringError::Unavailable);
        }
        realm += 20;
    }
    vault.is_down.store(false, Ordering::SeqCst);
    let opened = open(&keyring, realm).await.expect("the service is back, and so is the first call");
    assert_eq!(opened.data_key.expose(), &DATA_KEY);
    assert_paced(&server, LOGIN);
}

#[tokio::test]
async fn a_token_is_renewed_by_one_task_before_it_ends() {
    let vault = Vault::new(2, true);
    let (server, _directory, keyring) = start(&vault).await;
    write_with(&keyring).await.expect("the service is up");
    until("the third renewal", || server.received(RENEWAL).len() >= 3).await;
    assert_eq!(server.received(LOGIN).len(), 1, "a renewed token needs no login");
    assert_paced(&server, "/v1/auth/");
}

#[tokio::test]
async fn a_token_that_can_not_be_renewed_is_replaced_before_it_ends() {
    let vault = Vault::new(3, false);
    let (server, _directory, keyring) = start(&vault).await;
    write_with(&keyring).await.expect("the service is up");
    until("the third login", || server.received(LOGIN).len() >= 3).await;
    assert!(server.received(RENEWAL).is_empty(), "a batch token can't be renewed");
    assert_paced(&server, "/v1/auth/");
}

#[tokio::test]
async fn a_token_of_no_time_at_all_does_not_overrun_the_server() {
    let vault = Vault::new(1, true);
    let (server, _directory, keyring) = start(&vault).await;
    write_with(&keyring).await.expect("the service is up");
    until("the third request", || server.received("/v1/auth/").len() >= 3).await;
    assert_paced(&server, "/v1/auth/");
}

#[tokio::test]
async fn a_capped_renewal_is_followed_by_a_login() {
    let vault = Vault::new(4, true);
    let inner = Arc::clone(&vault);
    let server = ScriptedServer::start(move |request| match request.uri().path() {
        RENEWAL => token("s.1", 2, true),
        _ => inner.reply(request),
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory for files");
    let keyring = keyring(ScriptedVault::provider(&server.address.to_string(), directory.path())).await;
    write_with(&keyring).await.expect("the service is up");
    until("the second login", || server.received(LOGIN).len() >= 2).await;
    assert_eq!(server.received("/v1/auth/")[1].path, RENEWAL);
}

#[tokio::test]
async fn a_secret_that_is_replaced_on_disk_is_used_at_the_next_login() {
    let vault = Vault::new(3600, true);
    let inner = Arc::clone(&vault);
    let server = ScriptedServer::start(move |request| {
        let is_old = request.body().windows(8).any(|part| part == b"\"secret\"");
        if request.uri().path() == LOGIN && is_old && inner.logins.load(Ordering::SeqCst) > 0 {
            return json(400, r#"{"errors":["invalid role or secret ID"]}"#);
        }
        inner.reply(request)
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory for files");
    let keyring = keyring(ScriptedVault::provider(&server.address.to_string(), directory.path())).await;
    open(&keyring, 0).await.expect("the first login");
    vault.expire();
    let refused = open(&keyring, 1).await.expect_err("the secret was used up");
    assert_eq!(refused, KeyringError::Credentials);
    let logins = server.received(LOGIN).len();
    for realm in 2..50 {
        open(&keyring, realm).await.expect_err("the secret was used up");
    }
    assert_eq!(server.received(LOGIN).len(), logins, "a refused secret is not sent again and again");
    std::fs::write(directory.path().join("secret-id"), "another").expect("the directory is writable");
    open(&keyring, 50).await.expect("the new secret is used at once");
}

#[tokio::test]
async fn a_missing_secret_names_its_file() {
    let vault = Vault::new(3600, true);
    let (_server, directory, keyring) = start(&vault).await;
    let file = directory.path().join("secret-id");
    for (content, problem) in [(None, "No such file"), (Some(" \n"), "it is empty")] {
        match content {
            None => std::fs::remove_file(&file).expect("the file is there"),
            Some(content) => std::fs::write(&file, content).expect("the directory is writable"),
        }
        let failed = keyring.check(0, None, &context()).await.expect_err("there is no secret").failure;
        assert_eq!(failed.error, KeyringError::Credentials);
        let cause = failed.cause.unwrap_or_default();
        let named = format!("secret_id_file {}: {problem}", file.display());
        assert!(cause.starts_with(&named), "{cause}");
    }
}

#[tokio::test]
async fn the_task_ends_with_the_keyring() {
    let vault = Vault::new(2, true);
    let (server, _directory, keyring) = start(&vault).await;
    write_with(&keyring).await.expect("the service is up");
    until("a renewal", || !server.received(RENEWAL).is_empty()).await;
    drop(keyring);
    let count = || server.received("/v1/auth/").len();
    let after = count();
    // Two renewals would be due in this time. One may have been sent just before the drop.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(count() <= after + 1, "{} requests after the end", count() - after);
}

/// Opens the blobs of these realms concurrently.
async fn open_all(
    keyring: &Keyring,
    realms: std::ops::Range<usize>,
) -> Vec<Result<UnwrappedKey, KeyringError>> {
    let mut calls = tokio::task::JoinSet::new();
    for realm in realms {
        let keyring = keyring.clone();
        calls.spawn(async move { open(&keyring, realm).await });
    }
    calls.join_all().await
}
