//! Which connections are used again, and which are closed.

use std::sync::atomic::Ordering;

use super::fake::{EMPTY_200, Peer, serve};
use super::*;
use crate::upstream::pool::Pool;
use tokio::sync::mpsc;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";

/// Answers every request on every connection, and tells when a connection has ended.
async fn storage(answer: &'static str) -> (Uri, Arc<std::sync::atomic::AtomicUsize>, mpsc::Receiver<usize>) {
    let (closed, seen) = mpsc::channel(100);
    let (endpoint, connections) = serve(move |number, mut peer: Peer| {
        let closed = closed.clone();
        async move {
            while peer.head().await.is_some() {
                peer.say(answer).await;
            }
            closed.send(number).await.unwrap();
        }
    })
    .await;
    (endpoint, connections, seen)
}

/// A client, and the connections that it has.
async fn pooled(endpoint: &Uri) -> (Upstream, Pool) {
    let settings = settings(endpoint);
    let regions = Regions::new(&settings.target, &settings.region, settings.path_style).unwrap();
    let crowd = ConnectionCounter::default();
    let pool = network(&settings, false, crowd.clone()).unwrap();
    let carrier = Carrier::Network(pool.clone());
    (Upstream::assemble(settings, regions, carrier, TransportSecurity::Plaintext, crowd).await.unwrap(), pool)
}

#[tokio::test]
async fn one_request_after_the_other_takes_one_connection() {
    for (method, answer) in [
        (Method::GET, ANSWER),
        (Method::GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n"),
        (Method::GET, EMPTY_200),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
        (Method::DELETE, "HTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        let (endpoint, connections, _) = storage(answer).await;
        let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
        for _ in 0..5 {
            let asked = request(method.clone(), Some("k"), UpstreamBody::Empty);
            let response = upstream.send(asked).await.unwrap();
            // An empty body need not be polled.
            if response.body().is_end_stream() { drop(response) } else { drop(read(response).await) }
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{method} {answer}");
    }
}

#[tokio::test]
async fn a_connection_is_nobodys_before_the_answer_was_read() {
    let (endpoint, connections, mut closed) = storage(ANSWER).await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    let first = upstream.send(get("k")).await.unwrap();
    let second = upstream.send(get("k")).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert_eq!(read(second).await, "0123456789");
    drop(first);
    assert_eq!(closed.recv().await, Some(0), "an answer that nobody reads can't be followed by another");
    read(upstream.send(get("k")).await.unwrap()).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn no_more_are_kept_than_may_be_idle() {
    let (endpoint, connections, mut closed) = storage(ANSWER).await;
    let max_idle_connections = 2 * std::thread::available_parallelism().unwrap().get();
    let upstream = Upstream::build(Settings { max_idle_connections, ..settings(&endpoint) }).await.unwrap();
    let mut responses = Vec::new();
    for _ in 0..5 {
        responses.push(upstream.send(get("k")).await.unwrap());
    }
    for response in responses {
        read(response).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 5);
    let mut ended = [closed.recv().await, closed.recv().await, closed.recv().await];
    ended.sort_unstable();
    assert_eq!(ended, [Some(2), Some(3), Some(4)]);
}

/// The thread of another runtime would be woken for each byte that a connection brings.
#[tokio::test]
async fn a_connection_is_used_by_the_runtime_that_opened_it() {
    let (endpoint, connections, _closed) = storage(ANSWER).await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    read(upstream.send(get("k")).await.unwrap()).await;
    // More threads than there are places for.
    let threads = 2 + 2 * std::thread::available_parallelism().unwrap().get();
    for number in 0..threads {
        let upstream = upstream.clone();
        let elsewhere = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for _ in 0..3 {
                    read(upstream.send(get("k")).await.unwrap()).await;
                }
            });
        };
        tokio::task::spawn_blocking(elsewhere).await.unwrap();
        assert_eq!(connections.load(Ordering::SeqCst), 2 + number);
    }
    read(upstream.send(get("k")).await.unwrap()).await;
    assert_eq!(connections.load(Ordering::SeqCst), 1 + threads, "the first one is still there");
}

#[tokio::test]
async fn idle_connections_grow_old() {
    let (endpoint, connections, mut closed) = storage(ANSWER).await;
    let (upstream, pool) = pooled(&endpoint).await;
    read(upstream.send(get("k")).await.unwrap()).await;
    pool.sweep(Instant::now() + POOL_IDLE_TIMEOUT / 2);
    read(upstream.send(get("k")).await.unwrap()).await;
    assert_eq!(connections.load(Ordering::SeqCst), 1, "it is young enough");
    pool.sweep(Instant::now() + POOL_IDLE_TIMEOUT);
    assert_eq!(closed.recv().await, Some(0));
    read(upstream.send(get("k")).await.unwrap()).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// Else a storage that closes first would leave us with sockets that are half closed.
#[tokio::test]
async fn what_the_storage_closed_is_not_kept() {
    let (told, mut seen) = mpsc::channel(1);
    let (endpoint, _) = serve(move |_, mut peer: Peer| {
        let told = told.clone();
        async move {
            peer.head().await.unwrap();
            peer.say(ANSWER).await;
            peer.end().await;
            told.send(peer.rest().await.len()).await.unwrap();
        }
    })
    .await;
    let (upstream, pool) = pooled(&endpoint).await;
    read(upstream.send(get("k")).await.unwrap()).await;
    let sweeping = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            pool.sweep(Instant::now());
        }
    };
    tokio::select! {
        rest = seen.recv() => assert_eq!(rest, Some(0)),
        () = sweeping => {}
    }
}

fn many_headers(count: usize) -> String {
    let lines: String = (0..count).map(|number| format!("x-amz-meta-{number:x}: v\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{lines}\r\n")
}

/// The responses have up to as many metadata entries as S3 keeps, and the headers that a storage adds. A
/// first connection finds that there are too many headers for it, and a second one reads them; neither is
/// kept.
#[tokio::test]
async fn responses_with_many_headers_are_read_on_a_connection_apart() {
    for (count, connections_taken) in [(99, 1), (100, 2), (1_049 + 100, 2)] {
        for method in [Method::GET, Method::HEAD] {
            let body = if method == Method::GET { "ok" } else { "" };
            let answer: &'static str = (many_headers(count) + body).leak();
            let (endpoint, connections, _) = storage(answer).await;
            let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
            let asked = request(method.clone(), Some("k"), UpstreamBody::Empty);
            let response = upstream.send(asked).await.unwrap();
            assert_eq!(response.headers().len(), count + 1);
            assert_eq!(read(response).await, body);
            assert_eq!(connections.load(Ordering::SeqCst), connections_taken, "{method} {count}");
        }
    }
}

#[tokio::test]
async fn a_response_with_more_headers_is_one_error_and_not_asked_for_again_and_again() {
    let (endpoint, connections, _) = storage(many_headers(2_000).leak()).await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    let refused = upstream.send(get("k")).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::HeadTooLarge), "{refused:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    let refused = upstream.send(put("k", UpstreamBody::Empty)).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::HeadTooLarge), "{refused:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}
