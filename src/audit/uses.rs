//! The keys that were used during one piece of work, such as a request, also by tasks that outlive it. It
//! must not know what the work is. It promises that work without [`with_key_uses`] around it costs nothing
//! here, and that the end is reported once, when the last task of the work has let go.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::push_escaped;

tokio::task_local! {
    static USES: KeyUses;
}

/// What a data key was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// To open what is stored.
    Open,
    /// To seal something new.
    Seal,
}

impl KeyAction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Seal => "seal",
        }
    }
}

/// The uses of data keys by one piece of work, in the form that a line of the audit log has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KeyUseList {
    /// JSON objects, with commas in between.
    json: String,
}

/// Bytes of an object without the names of its key and its holder.
const USE_LEN: usize = 80;

impl KeyUseList {
    /// The use of a key to open an object.
    #[cfg(test)]
    pub(crate) fn for_test(key_id: &str) -> Self {
        let mut uses = Self::default();
        uses.add(KeyAction::Open, "native", key_id, "default");
        uses
    }

    /// Whether no key was used.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// JSON objects, with commas in between.
    pub(super) fn as_json(&self) -> &str {
        &self.json
    }

    /// Adds a use, unless the list has it: of `key_id`, the wrapping key as `holder` names it, for an object
    /// of the algorithm suite `format`.
    fn add(&mut self, action: KeyAction, format: &'static str, key_id: &str, holder: &str) {
        self.json.reserve(USE_LEN + key_id.len() + holder.len());
        let end = self.json.len();
        if end > 0 {
            self.json.push(',');
        }
        let begin = self.json.len();
        for constant in ["{\"use\":\"", action.name(), "\",\"format\":\"", format] {
            self.json.push_str(constant);
        }
        for (name, text) in [("\",\"key_id\":\"", key_id), ("\",\"holder\":\"", holder)] {
            self.json.push_str(name);
            push_escaped(&mut self.json, text);
        }
        self.json.push_str("\"}");
        // No text within an object can look as an object does: its quotes have backslashes.
        let (before, added) = self.json.split_at(begin);
        if before.contains(added) {
            self.json.truncate(end);
        }
    }
}

/// Called with the keys that were used, and the code of an error that came after the response had begun.
type OnEnd = Box<dyn FnOnce(KeyUseList, Option<String>) + Send>;

/// Collects the keys that one piece of work uses.
#[derive(Clone, Default)]
pub struct KeyUses(Arc<Collected>);

#[derive(Default)]
struct Collected(Mutex<Found>);

#[derive(Default)]
struct Found {
    uses: KeyUseList,
    failure: Option<String>,
    on_end: Option<OnEnd>,
}

impl KeyUses {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `report` when every task of the work has ended: at once, if there is no other task.
    pub fn end_with(self, report: impl FnOnce(KeyUseList, Option<String>) + Send + 'static) {
        match Arc::try_unwrap(self.0) {
            Ok(mut ended) => {
                let found = ended.found();
                report(std::mem::take(&mut found.uses), found.failure.take());
            }
            Err(shared) => Self(shared).lock().on_end = Some(Box::new(report)),
        }
    }
}

impl fmt::Debug for KeyUses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyUses").field(&self.lock().uses).finish()
    }
}

impl Collected {
    fn found(&mut self) -> &mut Found {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        let found = self.found();
        if let Some(report) = found.on_end.take() {
            report(std::mem::take(&mut found.uses), found.failure.take());
        }
    }
}

/// Collects the keys that `work` uses, if there is a collection. It must not be part of other work whose uses
/// of keys are collected. A large future had better be pinned before, since this one has room for it twice.
pub async fn with_key_uses<F: Future>(uses: Option<KeyUses>, work: F) -> F::Output {
    match uses {
        Some(uses) => USES.scope(uses, work).await,
        None => work.await,
    }
}

/// The collection of the current work, for a task that belongs to it.
pub fn current_key_uses() -> Option<KeyUses> {
    USES.try_with(Clone::clone).ok()
}

fn with_current(change: impl FnOnce(&mut Found)) {
    // Work in the background belongs to no request.
    let _ = USES.try_with(|uses| change(&mut uses.lock()));
}

/// Adds a use of a key by the current work. Each key counts once for each action.
pub fn note_key_use(action: KeyAction, format: &'static str, key_id: &str, holder: &str) {
    with_current(|found| found.uses.add(action, format, key_id, holder));
}

/// Keeps the code of an error of the current work.
pub fn note_failure(code: impl FnOnce() -> String) {
    with_current(|found| found.failure = Some(code()));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Seen = Arc<Mutex<Vec<(Vec<String>, Option<String>)>>>;

    fn report_to(seen: &Seen) -> impl FnOnce(KeyUseList, Option<String>) + Send + 'static {
        let seen = Arc::clone(seen);
        move |uses, failure| {
            let uses: Vec<BTreeMap<String, String>> =
                serde_json::from_str(&format!("[{}]", uses.as_json())).unwrap();
            let keys = uses.iter().map(|used| format!("{} {}", used["use"], used["key_id"])).collect();
            seen.lock().unwrap().push((keys, failure));
        }
    }

    #[tokio::test]
    async fn each_key_is_collected_once_and_reported_at_the_end() {
        let (uses, seen) = (KeyUses::default(), Seen::default());
        with_key_uses(Some(uses.clone()), async {
            note_key_use(KeyAction::Open, "native", "a", "default");
            tokio::task::yield_now().await;
            note_key_use(KeyAction::Open, "native", "a", "default");
            note_key_use(KeyAction::Seal, "native", "a", "default");
        })
        .await;
        note_key_use(KeyAction::Open, "native", "of no request", "default");
        uses.end_with(report_to(&seen));
        assert_eq!(*seen.lock().unwrap(), [(vec!["open a".to_owned(), "seal a".to_owned()], None)]);
    }

    #[tokio::test]
    #[expect(clippy::async_yields_async, reason = "the task is to go on after the response")]
    async fn a_task_that_outlives_the_response_belongs_to_it() {
        let (uses, seen) = (KeyUses::default(), Seen::default());
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let task = with_key_uses(Some(uses.clone()), async {
            tokio::spawn(with_key_uses(current_key_uses(), async {
                wait.await.unwrap();
                note_key_use(KeyAction::Seal, "native", "late", "default");
                note_failure(|| "NoSuchKey".to_owned());
            }))
        })
        .await;
        uses.end_with(report_to(&seen));
        assert!(seen.lock().unwrap().is_empty());
        go.send(()).unwrap();
        task.await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(vec!["seal late".to_owned()], Some("NoSuchKey".to_owned()))]);
    }

    #[test]
    fn a_key_that_looks_like_another_use_is_listed() {
        let mut uses = KeyUseList::default();
        uses.add(KeyAction::Open, "native", "a\"},{\"use\":\"open\"", "default");
        let first = uses.clone();
        uses.add(KeyAction::Open, "native", "a\"},{\"use\":\"open\"", "default");
        assert_eq!(uses, first);
        uses.add(KeyAction::Open, "native", "a", "default");
        let uses: Vec<BTreeMap<String, String>> =
            serde_json::from_str(&format!("[{}]", uses.as_json())).unwrap();
        assert_eq!((uses.len(), uses[1]["key_id"].as_str()), (2, "a"));
    }

    #[tokio::test]
    async fn work_that_is_not_recorded_collects_nothing() {
        with_key_uses(None, async {
            note_key_use(KeyAction::Open, "native", "a", "default");
            assert!(current_key_uses().is_none());
        })
        .await;
    }
}
