//! Peers that are slow, silent, rude or early, and bodies that fail.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::fake::{EMPTY_200, content_length, header, serve};
use super::*;

async fn upstream(endpoint: &Uri) -> Upstream {
    Upstream::build(Settings { timeouts: impatient(), max_retries: 0, ..settings(endpoint) }).await.unwrap()
}

fn body_error(result: Result<http_body_util::Collected<Bytes>, BoxError>) -> UpstreamError {
    *result.unwrap_err().downcast::<UpstreamError>().expect("response bodies fail with an UpstreamError")
}

#[tokio::test]
async fn nobody_listens() {
    let endpoint = "http://127.0.0.1:1".parse().unwrap();
    let error = upstream(&endpoint).await.send(get("k")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect(_)), "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn tls_handshake_that_stalls_is_a_connect_timeout() {
    let (uri, _) = serve(|_, mut peer| async move { drop(peer.rest().await) }).await;
    let endpoint = uri.to_string().replace("http:", "https:").parse().unwrap();
    let error = upstream(&endpoint).await.send(get("k")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { phase: Phase::Connect, .. }), "{error:?}");
}

#[tokio::test]
async fn slow_head_is_a_timeout_and_hangs_up() {
    let (hung_up, mut seen) = mpsc::channel(1);
    let (endpoint, _) = serve(move |_, mut peer| {
        let hung_up = hung_up.clone();
        async move {
            peer.head().await.unwrap();
            peer.rest().await;
            hung_up.send(()).await.unwrap();
        }
    })
    .await;
    let error = upstream(&endpoint).await.send(get("k")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { phase: Phase::Head, .. }), "{error:?}");
    seen.recv().await.unwrap();
}

#[tokio::test]
async fn store_that_does_not_read_is_a_timeout() {
    let (endpoint, _) = serve(|_, peer| async move {
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let content = pattern(64 << 20);
    let error = upstream(&endpoint).await.send(put("k", stream(&content, 1 << 16))).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { phase: Phase::Send, .. }), "{error:?}");
}

#[tokio::test]
async fn slow_client_is_not_the_stores_fault() {
    let (endpoint, _) = serve(|_, mut peer| async move {
        let head = peer.head().await.unwrap();
        peer.body(content_length(&head)).await;
        peer.say(EMPTY_200).await;
    })
    .await;
    let pause = Step::Wait(impatient().idle * 3);
    let body = script([Step::Give(pattern(10)), pause, Step::Give(pattern(10))]);
    let body = UpstreamBody::StreamedContent { body, length: 20 };
    assert_eq!(upstream(&endpoint).await.send(put("k", body)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn silence_within_the_response_body_is_a_timeout() {
    let (endpoint, _) = serve(|_, mut peer| async move {
        peer.head().await.unwrap();
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await;
        peer.rest().await;
    })
    .await;
    let response = upstream(&endpoint).await.send(get("k")).await.unwrap();
    let error = body_error(response.into_body().collect().await);
    assert!(matches!(error, UpstreamError::Timeout { phase: Phase::Idle, .. }), "{error:?}");
}

#[tokio::test]
async fn broken_response_bodies_are_errors() {
    for (head, is_reset) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 10\r\n\r\n12345", false),
    ] {
        let (endpoint, _) = serve(move |_, mut peer| async move {
            peer.head().await.unwrap();
            peer.say(head).await;
            if is_reset {
                tokio::time::sleep(Duration::from_millis(50)).await;
                peer.reset();
            }
        })
        .await;
        let response = upstream(&endpoint).await.send(get("k")).await.unwrap();
        let error = body_error(response.into_body().collect().await);
        assert!(matches!(error, UpstreamError::Protocol(_)), "{head}: {error:?}");
    }
}

#[tokio::test]
async fn garbage_is_a_protocol_error() {
    let (endpoint, _) = serve(|_, mut peer| async move {
        peer.head().await.unwrap();
        peer.say("220 mail.example ESMTP\r\n\r\n").await;
    })
    .await;
    let error = upstream(&endpoint).await.send(get("k")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Protocol(_)), "{error:?}");
}

/// S3 refuses before it has read the body, and hangs up; the kernel resets the connection under our writing.
#[tokio::test]
async fn early_refusal_comes_through() {
    const REFUSAL: &str = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 6\r\n\r\ndenied";
    let (endpoint, _) = serve(|number, mut peer| async move {
        peer.head().await.unwrap();
        // Sometimes at once, sometimes with much of the body unread in the receive buffer.
        tokio::time::sleep(Duration::from_millis(number as u64 % 5 * 10)).await;
        peer.say(REFUSAL).await;
    })
    .await;
    let upstream = upstream(&endpoint).await;
    let content = pattern(16 << 20);
    for attempt in 0..40 {
        let response = upstream.send(put("k", stream(&content, 1 << 16))).await;
        let response = response.unwrap_or_else(|error| panic!("attempt {attempt}: {error:?}"));
        assert_eq!(response.status(), 403);
        assert_eq!(read(response).await, "denied");
    }
}

#[tokio::test]
async fn upload_ends_with_the_early_answer() {
    let (arrived, mut seen) = mpsc::channel(1);
    let (endpoint, _) = serve(move |_, mut peer| {
        let arrived = arrived.clone();
        async move {
            let head = peer.head().await.unwrap();
            peer.say("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
            let rest = peer.rest().await.len();
            arrived.send((rest, content_length(&head))).await.unwrap();
        }
    })
    .await;
    let trickle =
        (0..1_000_000).flat_map(|_| [Step::Wait(Duration::from_millis(1)), Step::Give(pattern(10))]);
    let body = UpstreamBody::StreamedContent { body: script(trickle), length: 10_000_000 };
    let response = upstream(&endpoint).await.send(put("k", body)).await.unwrap();
    assert_eq!(response.status(), 403);
    drop(response);
    let (arrived, announced) = seen.recv().await.unwrap();
    assert!(arrived < announced / 10, "{arrived} of {announced}");
}

#[tokio::test]
async fn early_success_is_none() {
    let (endpoint, _) = serve(|_, mut peer| async move {
        peer.head().await.unwrap();
        peer.say(EMPTY_200).await;
        peer.rest().await;
    })
    .await;
    let body = script([Step::Give(pattern(10)), Step::Stall]);
    let body = UpstreamBody::StreamedContent { body, length: 20 };
    let error = upstream(&endpoint).await.send(put("k", body)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Protocol(_)), "{error:?}");
}

/// What the store saw of a request whose body failed, and what the sender was told.
async fn cut_upload(
    checksum: Option<ChecksumAlgorithm>,
    steps: Vec<Step>,
    length: u64,
) -> (Vec<u8>, usize, UpstreamError) {
    let (arrived, mut seen) = mpsc::channel(1);
    let (endpoint, connections) = serve(move |_, mut peer| {
        let arrived = arrived.clone();
        async move {
            // Without a head nothing was announced, and all the less is whole.
            let announced = peer.head().await.map_or(usize::MAX, |head| content_length(&head));
            arrived.send((peer.rest().await, announced)).await.unwrap();
        }
    })
    .await;
    let settings = Settings { checksum, ..settings(&endpoint) };
    let upstream = Upstream::build(settings).await.unwrap();
    let body = UpstreamBody::StreamedContent { body: script(steps), length };
    let error = upstream.send(put("k", body)).await.unwrap_err();
    let (arrived, announced) = seen.recv().await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 1, "a failed body is not tried again");
    (arrived, announced, error)
}

/// This is a security issue: an object that the client's own checksum condemned must never be whole at the
/// store.
#[tokio::test]
async fn failing_bodies_cut_the_upload() {
    let give = |len| Step::Give(pattern(len));
    for checksum in [Some(ChecksumAlgorithm::Crc64Nvme), Some(ChecksumAlgorithm::Crc32c), None] {
        for (steps, length, is_expected) in [
            (vec![give(100_000), Step::Fail("midway")], 300_000, "midway"),
            (vec![Step::Fail("at once")], 300_000, "at once"),
            (vec![give(200_000), give(100_000), Step::Fail("the verdict")], 300_000, "the verdict"),
            (vec![give(300_000), Step::Wait(Duration::from_millis(20)), Step::Fail("late")], 300_000, "late"),
            (vec![give(299_999)], 300_000, "missing: 1"),
            (vec![], 300_000, "missing: 300000"),
            (vec![give(300_000), give(1)], 300_000, "Long"),
            (vec![give(300_001)], 300_000, "Long"),
        ] {
            let (arrived, announced, error) = cut_upload(checksum, steps, length).await;
            assert!(
                arrived.len() < announced,
                "{checksum:?} {is_expected}: {} of {announced}",
                arrived.len()
            );
            assert!(format!("{error:?}").contains(is_expected), "{error:?}");
            assert!(!error.is_retryable());
        }
    }
}

#[tokio::test]
async fn empty_bodies_have_a_verdict_too() {
    let (endpoint, connections) = serve(|_, mut peer| async move {
        peer.head().await.unwrap();
        peer.say(EMPTY_200).await;
    })
    .await;
    let upstream = upstream(&endpoint).await;
    for steps in [vec![Step::Fail("verdict")], vec![Step::Give(pattern(1))]] {
        let body = UpstreamBody::StreamedContent { body: script(steps), length: 0 };
        upstream.send(put("k", body)).await.unwrap_err();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let body = UpstreamBody::StreamedContent { body: script([]), length: 0 };
    assert_eq!(upstream.send(put("k", body)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_bodys_own_error_comes_back_as_it_was() {
    #[derive(Debug, thiserror::Error)]
    #[error("bad digest")]
    struct BadDigest;
    let (endpoint, _) = serve(|_, mut peer| async move { drop(peer.rest().await) }).await;
    let body = http_body_util::Empty::new().map_err(|never| match never {});
    let body =
        body.with_trailers(async { Some(Err::<HeaderMap, BoxError>(BadDigest.into())) }).boxed_unsync();
    let body = UpstreamBody::StreamedContent { body, length: 5 };
    let error = upstream(&endpoint).await.send(put("k", body)).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Body(cause) if cause.is::<BadDigest>()), "{error:?}");
}

#[tokio::test]
async fn dropping_the_request_hangs_up() {
    let (arrived, mut seen) = mpsc::channel(1);
    let (endpoint, _) = serve(move |_, mut peer| {
        let arrived = arrived.clone();
        async move {
            let head = peer.head().await.unwrap();
            let rest = peer.rest().await.len();
            arrived.send((rest, content_length(&head))).await.unwrap();
        }
    })
    .await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    let body = script([Step::Give(pattern(10)), Step::Stall]);
    let body = UpstreamBody::StreamedContent { body, length: 20 };
    let sending = upstream.send(put("k", body));
    assert!(tokio::time::timeout(Duration::from_millis(100), sending).await.is_err());
    let (arrived, announced) = seen.recv().await.unwrap();
    assert!(arrived < announced);
}

/// What goes over the wire, to the byte.
#[tokio::test]
async fn streamed_content_on_the_wire() {
    let (arrived, mut seen) = mpsc::channel(4);
    let arrived = Arc::new(arrived);
    let (endpoint, _) = serve(move |_, mut peer| {
        let arrived = Arc::clone(&arrived);
        async move {
            while let Some(head) = peer.head().await {
                let body = peer.body(content_length(&head)).await;
                arrived.send((head, String::from_utf8(body).unwrap())).await.unwrap();
                peer.say(EMPTY_200).await;
            }
        }
    })
    .await;
    let content = Bytes::from_static(b"123456789");
    for (checksum, expected) in [
        (
            Some(ChecksumAlgorithm::Crc64Nvme),
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc64nvme:rosUhgp5mIg=\r\n\r\n",
        ),
        (Some(ChecksumAlgorithm::Crc32c), "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:4waSgw==\r\n\r\n"),
        (None, "123456789"),
    ] {
        let upstream = Upstream::build(Settings { checksum, ..settings(&endpoint) }).await.unwrap();
        let mut request = put("k", stream(&content, 4));
        request.headers.insert("content-encoding", "gzip".parse().unwrap());
        request.headers.insert("transfer-encoding", "chunked".parse().unwrap());
        request.headers.insert("authorization", "of the client".parse().unwrap());
        request.headers.insert("x-amz-date", "20000101T000000Z".parse().unwrap());
        upstream.send(request).await.unwrap();
        let (head, body) = seen.recv().await.unwrap();
        assert_eq!(body, expected);
        assert_eq!(header(&head, "transfer-encoding"), None);
        assert!(
            header(&head, "authorization").unwrap().starts_with("aws4-hmac-sha256 credential=akidexample/20")
        );
        if checksum.is_none() {
            assert_eq!(header(&head, "content-encoding"), Some("gzip"));
            assert_eq!(header(&head, "x-amz-content-sha256"), Some("unsigned-payload"));
            assert_eq!(header(&head, "x-amz-trailer"), None);
        } else {
            assert_eq!(header(&head, "content-encoding"), Some("aws-chunked,gzip"));
            assert_eq!(header(&head, "x-amz-decoded-content-length"), Some("9"));
            assert_eq!(header(&head, "x-amz-content-sha256"), Some("streaming-unsigned-payload-trailer"));
        }
    }
}
