//! How many round trips to the storage the ranges of a multipart object take.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::*;
use crate::test_support::resources;

/// Requests that come within this time of each other count as sent at once.
const QUIET: Duration = Duration::from_millis(150);

/// A way to the storage that holds requests until no more come. Gives its URL, and the number of times that
/// it forwarded what it held.
async fn serve_in_rounds(storage: &str) -> (String, Arc<AtomicUsize>) {
    let storage = storage.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rounds);
    let (hold, mut held) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    tokio::spawn(async move {
        while let Some(first) = held.recv().await {
            let mut together = vec![first];
            while let Ok(Some(next)) = timeout(QUIET, held.recv()).await {
                together.push(next);
            }
            counted.fetch_add(1, Ordering::Relaxed);
            together.into_iter().for_each(|request| _ = request.send(()));
        }
    });
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, storage.clone(), hold.clone()));
        }
    });
    (endpoint, rounds)
}

/// Forwards one connection. Requests without a body are read at once.
async fn forward(client: TcpStream, storage: String, hold: mpsc::UnboundedSender<oneshot::Sender<()>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_storage, mut to_storage) = TcpStream::connect(storage).await.unwrap().into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_storage, &mut to_client).await });
    let mut request = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from_client.read(&mut request).await {
        let (release, released) = oneshot::channel();
        hold.send(release).unwrap();
        released.await.unwrap();
        if to_storage.write_all(&request[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn the_first_range_takes_three_round_trips_and_later_ones_one() {
    let (storage, ..) = Storage::serve().await;
    let (endpoint, rounds) = serve_in_rounds(&storage.endpoint).await;
    let (resources, _folder) = resources(&endpoint, &[("b", "")]).await;
    let parts = [4 * CHUNK_U64, 4 * CHUNK_U64, 4 * CHUNK_U64, CHUNK_U64 + 9];
    let irregular = [5 * CHUNK_U64, 4 * CHUNK_U64, 4 * CHUNK_U64, CHUNK_U64 + 9];
    for (index, shape) in
        [layout(&parts, true), layout(&parts, false), layout(&irregular, true)].iter().enumerate()
    {
        let uploaded = upload(&resources, "k", shape).await;
        storage.keep("k", uploaded.kept(&index.to_string()));
        for (first, expected) in [(CHUNK * 6 + 7, 3), (CHUNK * 6 + 9, 1), (CHUNK * 9 + 1, 1), (CHUNK * 12, 1)]
        {
            let range = format!("bytes={first}-{}", first + CHUNK);
            let got = get(&resources, "", &[("range", &range)]).await.unwrap();
            assert!(
                got.is_whole && got.body == uploaded.content[first..=first + CHUNK],
                "{range} of {shape:?}"
            );
            assert_eq!(rounds.swap(0, Ordering::Relaxed), expected, "{range} of {shape:?}");
        }
    }
}

/// The response to the first request begins with the first header.
#[tokio::test]
async fn a_first_range_from_the_beginning_takes_two_round_trips() {
    let (storage, ..) = Storage::serve().await;
    let (endpoint, rounds) = serve_in_rounds(&storage.endpoint).await;
    let (resources, _folder) = resources(&endpoint, &[("b", "")]).await;
    for (index, terminated) in [true, false].into_iter().enumerate() {
        let shape = layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, CHUNK_U64 + 9], terminated);
        let uploaded = upload(&resources, "k", &shape).await;
        storage.keep("k", uploaded.kept(&index.to_string()));
        let got = get(&resources, "", &[("range", "bytes=5-200000")]).await.unwrap();
        assert!(got.is_whole && got.body == uploaded.content[5..=200_000]);
        assert_eq!(rounds.swap(0, Ordering::Relaxed), 2);
        assert_eq!(storage.requests().len(), 3, "the guess, the last header, the range");
    }
}

/// A last part that is longer than the others makes the guess of a layout wrong, and no byte is read by it.
#[tokio::test]
async fn a_layout_that_was_expected_and_is_not_proven_opens_nothing() {
    let (storage, resources, _folder) = Storage::serve().await;
    let parts = [CHUNK_U64, CHUNK_U64, 3 * CHUNK_U64 + 9];
    let uploaded = upload(&resources, "k", &layout(&parts, true)).await;
    for (index, (first, last)) in
        [(CHUNK, CHUNK), (0, 5 * CHUNK + 8), (3 * CHUNK + 9, 4 * CHUNK)].into_iter().enumerate()
    {
        storage.keep("k", uploaded.kept(&index.to_string()));
        for _ in 0..2 {
            let got = get(&resources, "", &[("range", &format!("bytes={first}-{last}"))]).await.unwrap();
            assert!(got.is_whole && got.body == uploaded.content[first..=last], "{first} to {last}");
        }
        let got = get(&resources, "partNumber=3", &[]).await.unwrap();
        assert!(got.is_whole && got.body == uploaded.content[2 * CHUNK..]);
    }
}
