//! The latest failed requests of this process, for the status page.
//! It must not know why a request failed, nor who looks at it.
//! It promises bounded memory, no secret, and no wait: refusals of clients may be left out while another one
//! is written down.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How many requests of each kind are kept.
pub const KEPT: usize = 50;

/// How many objects that failed authentication are kept.
pub const KEPT_INTEGRITY: usize = 5;

/// Maximum number of characters of a text.
const MAX_TEXT: usize = 300;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRequest {
    /// When its response ended.
    pub at: SystemTime,
    /// The id that the client was told.
    pub request_id: String,
    /// The access key id of an authenticated request, else the one that the request claims.
    pub client: String,
    /// Whether the request was authenticated.
    pub is_authenticated: bool,
    /// The S3 operation; `-` where none was recognised.
    pub operation: &'static str,
    /// Empty for none.
    pub bucket: String,
    /// Empty for none.
    pub object_key: String,
    /// The status of the response, which is a success where the response broke off.
    pub status: u16,
    /// The S3 error code; empty where the response broke off.
    pub code: String,
    /// Whose side failed: `client`, `proxy`, `storage` or `keys`.
    pub side: &'static str,
    /// Why, for operators.
    pub cause: String,
    /// From the request's head to its response's end.
    pub duration: Duration,
    /// The request id in the storage's latest response; empty for none.
    pub storage_request_id: String,
    /// Whether a stored object failed authentication.
    pub is_integrity_failure: bool,
}

/// Why a request is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A status of 500 or more, or a response that broke off.
    Failure,
    /// A status of 400 to 499.
    Refusal,
}

/// The requests that are kept, the newest last.
#[derive(Debug, Clone, Default)]
pub struct Latest {
    /// Those with a status of 500 or more, and those whose response broke off.
    pub failures: VecDeque<Arc<FailedRequest>>,
    /// Those with a status of 400 to 499.
    pub refusals: VecDeque<Arc<FailedRequest>>,
    /// Those that met a stored object which failed authentication. Each is among the failures too, as long as
    /// it is one of the latest.
    pub integrity: VecDeque<Arc<FailedRequest>>,
}

static IS_KEPT: AtomicBool = AtomicBool::new(false);
static LATEST: Mutex<Latest> =
    Mutex::new(Latest { failures: VecDeque::new(), refusals: VecDeque::new(), integrity: VecDeque::new() });

/// Keeps failed requests from now on. For a process whose status page shows them.
pub fn keep() {
    IS_KEPT.store(true, Ordering::Relaxed);
}

/// Whether failed requests are kept.
pub fn is_kept() -> bool {
    IS_KEPT.load(Ordering::Relaxed)
}

/// Keeps a failed request, in place of the oldest one of its kind.
pub fn record(kind: Kind, failed: FailedRequest) {
    match kind {
        Kind::Failure => lock().add(kind, failed),
        // There may be thousands in a second, such as HEAD requests for what does not exist.
        Kind::Refusal => {
            if let Ok(mut latest) = LATEST.try_lock() {
                latest.add(kind, failed);
            }
        }
    }
}

/// The requests that are kept now.
pub fn latest() -> Latest {
    lock().clone()
}

fn lock() -> MutexGuard<'static, Latest> {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Latest {
    fn add(&mut self, kind: Kind, mut failed: FailedRequest) {
        let FailedRequest { client, object_key, code, cause, storage_request_id, .. } = &mut failed;
        [client, object_key, code, cause, storage_request_id].into_iter().for_each(shorten);
        let failed = Arc::new(failed);
        if failed.is_integrity_failure {
            push(&mut self.integrity, Arc::clone(&failed), KEPT_INTEGRITY);
        }
        match kind {
            Kind::Failure => push(&mut self.failures, failed, KEPT),
            Kind::Refusal => push(&mut self.refusals, failed, KEPT),
        }
    }
}

fn push(kept: &mut VecDeque<Arc<FailedRequest>>, failed: Arc<FailedRequest>, limit: usize) {
    if kept.len() == limit {
        kept.pop_front();
    }
    kept.push_back(failed);
}

/// Shortens a text to [`MAX_TEXT`] characters; an ellipsis ends a text that was shortened.
fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(MAX_TEXT)
        && let Some((last, _)) = text[..at].char_indices().next_back()
    {
        text.truncate(last);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(number: usize, is_integrity_failure: bool) -> FailedRequest {
        FailedRequest {
            at: SystemTime::UNIX_EPOCH,
            request_id: number.to_string(),
            client: "client".to_owned(),
            is_authenticated: true,
            operation: "GetObject",
            bucket: "bucket".to_owned(),
            object_key: "k".repeat(number),
            status: 502,
            code: "IntegrityCheckFailed".to_owned(),
            side: "storage",
            cause: String::new(),
            duration: Duration::ZERO,
            storage_request_id: String::new(),
            is_integrity_failure,
        }
    }

    #[test]
    fn the_latest_of_each_kind_are_kept_and_long_texts_are_cut() {
        let mut latest = Latest::default();
        for number in 0..1_000 {
            latest.add(Kind::Failure, failed(number, number % 2 == 0));
        }
        latest.add(Kind::Refusal, failed(7, false));
        let ids = |kept: &VecDeque<Arc<FailedRequest>>| {
            kept.iter().map(|failed| failed.request_id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(latest.failures.len(), KEPT);
        assert_eq!(ids(&latest.failures)[KEPT - 1], "999");
        assert_eq!(ids(&latest.integrity), ["990", "992", "994", "996", "998"]);
        assert_eq!(ids(&latest.refusals), ["7"]);
        let key = &latest.failures[0].object_key;
        assert!(key.ends_with("k…") && key.chars().count() == MAX_TEXT, "{key}");
        let mut text = "ü".repeat(MAX_TEXT);
        shorten(&mut text);
        assert_eq!(text, "ü".repeat(MAX_TEXT));
    }
}
