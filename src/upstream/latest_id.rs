//! The request id in the storage's latest response, for a log line of which no response is left.

use std::cell::RefCell;
use std::pin::Pin;

use http::{HeaderMap, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

use crate::wire::header::name::REQUEST_ID;

tokio::task_local! {
    static LATEST: RefCell<Option<HeaderValue>>;
}

/// Work during which the request id in the storage's latest response is kept.
pub type Watched<F> = TaskLocalFuture<RefCell<Option<HeaderValue>>, F>;

/// Keeps the request id in the latest response that the storage sends for `work`.
pub fn watched<F: Future>(work: F) -> Watched<F> {
    LATEST.scope(RefCell::default(), work)
}

/// The request id that was kept, which is text. `None` when no response came, or the latest had none.
pub fn latest_id<F: Future>(work: Pin<&mut Watched<F>>) -> Option<HeaderValue> {
    work.take_value().and_then(RefCell::into_inner)
}

/// Keeps the request id in the headers of a response.
pub(super) fn note(headers: &HeaderMap) {
    let id = headers.get(&REQUEST_ID).filter(|id| id.to_str().is_ok()).cloned();
    // Work in the background has no line in the log.
    let _ = LATEST.try_with(|latest| latest.replace(id));
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn headers(id: Option<&'static str>) -> HeaderMap {
        id.map(|id| (REQUEST_ID.clone(), HeaderValue::from_static(id))).into_iter().collect()
    }

    #[tokio::test]
    async fn the_latest_response_counts_and_each_request_has_its_own() {
        note(&headers(Some("without a request")));
        let mut one = pin!(watched(async {
            note(&headers(Some("1")));
            tokio::task::yield_now().await;
            note(&headers(Some("2")));
            7
        }));
        let mut other = pin!(watched(async {
            note(&headers(Some("3")));
            tokio::task::yield_now().await;
            note(&headers(None));
        }));
        let mut none = pin!(watched(async {}));
        assert_eq!(tokio::join!(one.as_mut(), other.as_mut(), none.as_mut()), (7, (), ()));
        assert_eq!(
            (latest_id(one), latest_id(other), latest_id(none)),
            (Some(HeaderValue::from_static("2")), None, None)
        );
    }
}
