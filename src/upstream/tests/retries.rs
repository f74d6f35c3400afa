//! What is sent again, how often, and what never is.

use std::sync::atomic::Ordering;

use super::fake::{EMPTY_200, Peer, content_length, header, serve};
use super::*;
use tokio::sync::mpsc;

const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code></Error>";
const UNAVAILABLE: &str = "<Error><Code>ServiceUnavailable</Code></Error>";

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Answers `first` `times` times (an empty one hangs up without a word), then 200. Returns the status that
/// came of it and the number of requests.
async fn outcome(
    request: UpstreamRequest,
    first: String,
    times: usize,
) -> (Result<u16, UpstreamError>, usize) {
    let (endpoint, connections) = serve(move |number, mut peer| {
        let first = first.clone();
        async move {
            let Some(head) = peer.head().await else { return };
            assert!(header(&head, "authorization").is_some(), "every attempt is signed");
            if header(&head, "content-length").is_some() {
                peer.body(content_length(&head)).await;
            }
            if number >= times {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            } else if !first.is_empty() {
                peer.say(&first).await;
            }
        }
    })
    .await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    let status = upstream.send(request).await.map(|response| response.status().as_u16());
    (status, connections.load(Ordering::SeqCst))
}

fn conditional(mut request: UpstreamRequest) -> UpstreamRequest {
    request.headers.insert("if-none-match", "*".parse().unwrap());
    request
}

fn content() -> UpstreamBody {
    UpstreamBody::Content(Bytes::from_static(b"ciphertext"))
}

fn post() -> UpstreamRequest {
    request(Method::POST, Some("k"), UpstreamBody::Buffered(Bytes::from_static(b"<xml/>")))
}

#[tokio::test]
async fn repeatable_requests_are_repeated() {
    for (request, first) in [
        (get("k"), answer(503, SLOW_DOWN)),
        (get("k"), answer(500, "")),
        (get("k"), answer(502, "")),
        (get("k"), answer(504, "")),
        (get("k"), answer(429, "")),
        (get("k"), String::new()),
        (put("k", content()), answer(503, UNAVAILABLE)),
        (put("k", content()), String::new()),
        (super::request(Method::DELETE, Some("k"), UpstreamBody::Empty), String::new()),
        (conditional(put("k", content())), answer(503, SLOW_DOWN)),
        (post(), answer(503, SLOW_DOWN)),
    ] {
        let label = format!("{request:?} {first}");
        let (status, requests) = outcome(request, first, 2).await;
        assert_eq!((status.unwrap(), requests), (200, 3), "{label}");
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    for (request, first, status) in [
        (conditional(put("k", content())), answer(503, UNAVAILABLE), Some(503)),
        (conditional(put("k", content())), answer(500, ""), Some(500)),
        (conditional(put("k", content())), String::new(), None),
        (post(), answer(503, UNAVAILABLE), Some(503)),
        (post(), answer(500, ""), Some(500)),
        (post(), String::new(), None),
        (put("k", stream(&pattern(1000), 100)), answer(503, SLOW_DOWN), Some(503)),
        (put("k", stream(&pattern(1000), 100)), String::new(), None),
        (get("k"), answer(404, ""), Some(404)),
        (get("k"), answer(501, ""), Some(501)),
    ] {
        let label = format!("{request:?} {first}");
        let (outcome, requests) = outcome(request, first, 1).await;
        assert_eq!((outcome.ok(), requests), (status, 1), "{label}");
    }
}

#[tokio::test]
async fn retries_are_bounded_and_the_last_answer_stands() {
    let (status, requests) = outcome(get("k"), answer(503, SLOW_DOWN), usize::MAX).await;
    assert_eq!((status.unwrap(), requests), (503, 1 + MAX_RETRIES as usize));
}

#[tokio::test]
async fn refusal_that_is_passed_on_keeps_its_body() {
    let (endpoint, _) = serve(|_, mut peer| async move {
        let head = peer.head().await.unwrap();
        peer.body(content_length(&head)).await;
        peer.say(&answer(503, UNAVAILABLE)).await;
    })
    .await;
    let response = Upstream::build(settings(&endpoint)).await.unwrap().send(post()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(read(response).await, UNAVAILABLE);
}

/// The store closes idle connections; no request pays for that, not even one that streams.
#[tokio::test]
async fn connections_closed_between_requests_go_unnoticed() {
    for is_reset in [false, true] {
        let (closed, mut seen) = mpsc::channel(1);
        let (endpoint, connections) = serve(move |_, mut peer| {
            let closed = closed.clone();
            async move {
                let head = peer.head().await.unwrap();
                if header(&head, "content-length").is_some() {
                    peer.body(content_length(&head)).await;
                }
                peer.say(EMPTY_200).await;
                if is_reset {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    peer.reset();
                } else {
                    drop(peer);
                }
                closed.send(()).await.unwrap();
            }
        })
        .await;
        let upstream = Upstream::build(Settings { max_retries: 0, ..settings(&endpoint) }).await.unwrap();
        for round in 0..10 {
            for request in [get("k"), put("k", stream(&pattern(1000), 100)), conditional(put("k", content()))]
            {
                let response =
                    upstream.send(request).await.unwrap_or_else(|error| panic!("{round}: {error:?}"));
                assert_eq!(read(response).await, "");
                seen.recv().await.unwrap();
                // The news still has to reach the pool.
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        }
        assert_eq!(connections.load(Ordering::SeqCst), 30);
    }
}

#[tokio::test]
async fn connections_are_reused() {
    let (endpoint, connections) = serve(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            if header(&head, "content-length").is_some() {
                peer.body(content_length(&head)).await;
            }
            peer.say(EMPTY_200).await;
        }
    })
    .await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    for _ in 0..10 {
        read(upstream.send(get("k")).await.unwrap()).await;
        read(upstream.send(put("k", stream(&pattern(1000), 100))).await.unwrap()).await;
        tokio::task::yield_now().await;
    }
    assert!(connections.load(Ordering::SeqCst) <= 2);
}

/// A stream whose connection never came about is whole, and is sent on another.
#[tokio::test]
async fn untouched_streams_survive_a_failed_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = format!("http://{address}").parse().unwrap();
    let upstream = Upstream::build(Settings { max_retries: 50, ..settings(&endpoint) }).await.unwrap();
    let sending = tokio::spawn(async move { upstream.send(put("k", stream(&pattern(1000), 100))).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let mut peer = Peer::accept(&listener).await;
    let head = peer.head().await.unwrap();
    peer.body(content_length(&head)).await;
    peer.say(EMPTY_200).await;
    assert_eq!(sending.await.unwrap().unwrap().status(), 200);
}

/// A refusal may result from an earlier attempt of the same request; the caller must be able to detect that.
#[tokio::test]
async fn a_response_says_whether_an_earlier_attempt_may_have_been_carried_out() {
    for (request, first, is_expected) in [
        (put("k", content()), answer(500, ""), true),
        (put("k", content()), String::new(), true),
        (super::request(Method::DELETE, Some("k"), UpstreamBody::Empty), answer(503, UNAVAILABLE), true),
        (put("k", content()), answer(429, ""), false),
        (post(), answer(503, SLOW_DOWN), false),
    ] {
        let label = format!("{request:?} {first}");
        let (endpoint, _) = serve(move |number, mut peer| {
            let first = first.clone();
            async move {
                let Some(head) = peer.head().await else { return };
                if header(&head, "content-length").is_some() {
                    peer.body(content_length(&head)).await;
                }
                let said = if number == 0 { first } else { answer(404, "") };
                if !said.is_empty() {
                    peer.say(&said).await;
                }
            }
        })
        .await;
        let response = Upstream::build(settings(&endpoint)).await.unwrap().send(request).await.unwrap();
        assert_eq!((response.status().as_u16(), is_repeated(&response)), (404, is_expected), "{label}");
    }
    let (endpoint, _) = serve(|_, mut peer| async move {
        peer.head().await;
        peer.say(&answer(404, "")).await;
    })
    .await;
    let response = Upstream::build(settings(&endpoint)).await.unwrap().send(get("k")).await.unwrap();
    assert!(!is_repeated(&response), "the first attempt");
}

/// Gives `first` on the first connection and `then` on the others; both hang up after it.
async fn two_answers(
    first: String,
    then: String,
) -> (Upstream, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let (endpoint, connections) = serve(move |number, mut peer| {
        let said = if number == 0 { first.clone() } else { then.clone() };
        async move {
            peer.head().await;
            peer.say(&said).await;
        }
    })
    .await;
    (Upstream::build(settings(&endpoint)).await.unwrap(), connections)
}

#[tokio::test]
async fn a_small_body_that_breaks_off_is_fetched_again() {
    let whole = answer(200, "0123456789");
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n";
    for first in [whole[..whole.len() - 1].to_owned(), chunked.to_owned()] {
        let (upstream, connections) = two_answers(first.clone(), whole.clone()).await;
        let response = upstream.fetch(get("k")).await.unwrap();
        assert_eq!(read(response).await, "0123456789");
        assert_eq!(connections.load(Ordering::SeqCst), 2);
        // Of what is sent for the sake of its head, the body is the reader's.
        let (upstream, connections) = two_answers(first, whole.clone()).await;
        upstream.send(get("k")).await.unwrap().into_body().collect().await.unwrap_err();
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_large_body_is_read_ahead_and_streams_on() {
    let body: String = (0..30_000).map(|number| format!("{number:09}\n")).collect();
    for head in ["content-length: 300000\r\n\r\n", "connection: close\r\n\r\n"] {
        let (upstream, _) = two_answers(format!("HTTP/1.1 200 OK\r\n{head}{body}"), String::new()).await;
        let response = upstream.fetch(get("k")).await.unwrap();
        let known = response.body().size_hint().exact();
        assert_eq!(known, Some(300_000).filter(|_| head.starts_with("content-length")));
        assert_eq!(read(response).await, body);
    }
    let (upstream, connections) =
        two_answers(format!("HTTP/1.1 200 OK\r\ncontent-length: 300001\r\n\r\n{body}"), String::new()).await;
    let response = upstream.fetch(get("k")).await.unwrap();
    assert!(response.into_body().collect().await.is_err(), "what breaks off later is an error");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
