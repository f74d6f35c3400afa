//! Gathers the blobs that are to be wrapped again at the same time into one request of Transit.
//! It must not know tokens, nor how a request is sent.
//! It promises that every caller gets the result for its own blob, and that a blob which is refused does not
//! fail the others.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::client::HttpResponse;
use super::refusal::item_failure;
use crate::keyring::{CheckError, KeyringError, MalformedResponse};

/// The maximum number of blobs in one request. Servers limit the length of a body only (32 MiB), but work on
/// a request as a whole, within its timeout.
pub(super) const MAX_BATCH: usize = 100;

/// The new blob, or why there is none.
pub(super) type Rewrapped = Result<String, CheckError>;

/// A blob to be wrapped again, as `batch_input` has it.
/// <https://developer.hashicorp.com/vault/api-docs/secret/transit#rewrap-data>
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    /// The blob.
    pub(super) ciphertext: String,
    /// Its encryption context, base64.
    pub(super) context: String,
}

/// The body of a request.
#[derive(Serialize)]
pub(super) struct BatchRequest<'a> {
    pub(super) batch_input: &'a [Item],
}

#[derive(Deserialize)]
struct BatchResponse<'a> {
    #[serde(borrow)]
    data: BatchData<'a>,
}

#[derive(Deserialize)]
struct BatchData<'a> {
    #[serde(borrow)]
    batch_results: Vec<BatchResult<'a>>,
}

#[derive(Deserialize)]
struct BatchResult<'a> {
    #[serde(borrow)]
    ciphertext: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

/// The results in the response to a request of `count` items, in their order; `None` if it is no such
/// response.
pub(super) fn results(response: &HttpResponse, count: usize) -> Option<Vec<Rewrapped>> {
    let parsed = serde_json::from_slice::<BatchResponse<'_>>(&response.body).ok()?;
    let results = parsed.data.batch_results;
    let result = |BatchResult { ciphertext, error }: BatchResult<'_>| match error {
        Some(text) if !text.is_empty() => Err(item_failure(&text)),
        Some(_) | None => match ciphertext {
            Some(blob) if !blob.is_empty() => Ok(blob.into_owned()),
            Some(_) | None => Err(KeyringError::Malformed(MalformedResponse::WrappedKeyLength).into()),
        },
    };
    (results.len() == count).then(|| results.into_iter().map(result).collect())
}

/// The blobs that wait for a request. One request is in flight at a time; those that come meanwhile share the
/// next one.
#[derive(Debug, Default)]
pub(super) struct Batches {
    waiting: Mutex<VecDeque<Waiting>>,
    in_flight: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    item: Item,
    /// Takes `None` where the request was refused as a whole.
    result: oneshot::Sender<Option<Rewrapped>>,
}

impl Batches {
    /// Has the item sent together with those that wait. `send` gives a result for each of up to
    /// [`MAX_BATCH`] items, or `None` if their request failed as a whole, which each caller then gets.
    pub(super) async fn run<F>(&self, item: &Item, send: impl Fn(Vec<Item>) -> F) -> Option<Rewrapped>
    where
        F: Future<Output = Option<Vec<Rewrapped>>>,
    {
        let mut result = self.add(item);
        loop {
            let turn = tokio::select! {
                biased;
                received = &mut result => match received {
                    Ok(result) => return result,
                    // The caller that sent the request was cancelled before the response.
                    Err(_) => {
                        result = self.add(item);
                        continue;
                    }
                },
                turn = self.in_flight.lock() => turn,
            };
            let (items, senders) = self.take();
            if !items.is_empty() {
                let mut results = send(items).await.map(Vec::into_iter);
                for sender in senders {
                    // A receiver is gone if its caller was cancelled.
                    drop(sender.send(results.as_mut().and_then(Iterator::next)));
                }
            }
            drop(turn);
        }
    }

    fn add(&self, item: &Item) -> oneshot::Receiver<Option<Rewrapped>> {
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting { item: item.clone(), result: sender };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(waiting);
        receiver
    }

    /// The items of the next request, without those whose callers were cancelled.
    fn take(&self) -> (Vec<Item>, Vec<oneshot::Sender<Option<Rewrapped>>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|waiting| !waiting.result.is_closed());
        let count = waiting.len().min(MAX_BATCH);
        waiting.drain(..count).map(|Waiting { item, result }| (item, result)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{HeaderValue, StatusCode};
    use tokio::sync::Semaphore;
    use zeroize::Zeroizing;

    use super::*;

    fn item(number: usize) -> Item {
        Item { ciphertext: format!("vault:v1:{number}"), context: String::new() }
    }

    /// A service that wraps again all blobs but those that end with 7, as soon as it has a permit for a
    /// request.
    struct Service {
        permits: Semaphore,
        requests: AtomicUsize,
        largest: AtomicUsize,
    }

    impl Default for Service {
        fn default() -> Self {
            Self { permits: Semaphore::new(0), requests: AtomicUsize::new(0), largest: AtomicUsize::new(0) }
        }
    }

    impl Service {
        async fn send(&self, items: Vec<Item>) -> Option<Vec<Rewrapped>> {
            self.requests.fetch_add(1, Ordering::SeqCst);
            self.largest.fetch_max(items.len(), Ordering::SeqCst);
            self.permits.acquire().await.unwrap().forget();
            let result = |item: Item| {
                if item.ciphertext.ends_with('7') {
                    return Err(item_failure("cipher: message authentication failed"));
                }
                Ok(item.ciphertext.replace("v1", "v2"))
            };
            Some(items.into_iter().map(result).collect())
        }
    }

    async fn rewrap(batches: &Batches, service: &Service, number: usize) -> Rewrapped {
        batches.run(&item(number), |items| service.send(items)).await.unwrap()
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn each_caller_gets_the_result_of_its_own_blob() {
        let (batches, service) = (Arc::new(Batches::default()), Arc::new(Service::default()));
        let calls = (0..250).map(|number| {
            let (batches, service) = (Arc::clone(&batches), Arc::clone(&service));
            tokio::spawn(async move { rewrap(&batches, &service, number).await })
        });
        let calls: Vec<_> = calls.collect();
        until(|| batches.waiting.lock().unwrap().len() == 249).await;
        service.permits.add_permits(10);
        for (number, call) in calls.into_iter().enumerate() {
            let result = call.await.unwrap();
            if number % 10 == 7 {
                assert_eq!(result.unwrap_err().error, KeyringError::InvalidCiphertext);
            } else {
                assert_eq!(result.unwrap(), format!("vault:v2:{number}"));
            }
        }
        assert_eq!(service.largest.load(Ordering::SeqCst), MAX_BATCH);
        // One of the first blob alone, and those of the 249 that came meanwhile.
        assert_eq!(service.requests.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_cancelled_caller_takes_no_other_with_it() {
        let (batches, service) = (Arc::new(Batches::default()), Arc::new(Service::default()));
        let spawn = |number| {
            let (batches, service) = (Arc::clone(&batches), Arc::clone(&service));
            tokio::spawn(async move { rewrap(&batches, &service, number).await })
        };
        let first = spawn(0);
        until(|| service.requests.load(Ordering::SeqCst) == 1).await;
        let others: Vec<_> = (1..4).map(spawn).collect();
        until(|| batches.waiting.lock().unwrap().len() == 3).await;
        service.permits.add_permits(1);
        first.await.unwrap().unwrap();
        // The request for the three others is sent by the first of them.
        until(|| service.requests.load(Ordering::SeqCst) == 2).await;
        others[0].abort();
        service.permits.add_permits(10);
        for (number, other) in (1..).zip(others).skip(1) {
            assert_eq!(other.await.unwrap().unwrap(), format!("vault:v2:{number}"));
        }
        assert_eq!(service.requests.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_request_that_fails_as_a_whole_is_told_to_every_caller() {
        let batches = Batches::default();
        assert!(batches.run(&item(1), |_| std::future::ready(None)).await.is_none());
    }

    #[test]
    fn a_response_has_a_result_for_each_item() {
        let response = |body: &str| HttpResponse {
            status: StatusCode::OK,
            content_type: Some(HeaderValue::from_static("application/json")),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        };
        let body = r#"{"data":{"batch_results":[{"ciphertext":"vault:v2:AA","key_version":2},
            {"error":"invalid ciphertext: no prefix"},{"ciphertext":""}]}}"#;
        let found = results(&response(body), 3).unwrap();
        assert_eq!(found[0].as_deref(), Ok("vault:v2:AA"));
        let errors: Vec<_> = found[1..].iter().map(|result| result.clone().unwrap_err().error).collect();
        let no_blob = KeyringError::Malformed(MalformedResponse::WrappedKeyLength);
        assert_eq!(errors, [KeyringError::InvalidCiphertext, no_blob]);
        for (body, count) in [(body, 2), (body, 4), ("<html>", 1), (r#"{"data":{}}"#, 0)] {
            assert!(results(&response(body), count).is_none(), "{count}");
        }
    }
}
