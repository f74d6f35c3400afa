//! Bodies on the wire against their plain description.

use bytes::BytesMut;
use http_body_util::BodyExt;

use super::super::tests::{Step, pattern, script};
use super::*;
use crate::wire::checksum::checksum;

async fn wire(steps: Vec<Step>, length: u64, algorithm: Option<ChecksumAlgorithm>) -> Result<Bytes, String> {
    let upload = Upload::new(script(steps));
    let (mut body, _interest) = Streamed::new(&upload, length, algorithm);
    let mut sent = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => sent.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => {
                let failure = upload.take_failure().expect("a cut body says why");
                assert!(
                    (sent.len() as u64) < wire_length(length, algorithm),
                    "all was sent before the verdict"
                );
                return Err(format!("{failure:?}"));
            }
        }
    }
    assert!(body.is_end_stream() && upload.is_sent());
    assert_eq!(sent.len() as u64, wire_length(length, algorithm));
    Ok(sent.freeze())
}

/// aws-chunked as it reads in AWS's documentation, built at once.
fn described(content: &[u8], algorithm: ChecksumAlgorithm) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in content.chunks(CHUNK_SIZE.get() as usize) {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(format!("0\r\n{}:{}\r\n\r\n", algorithm.header(), checksum(algorithm, content)).bytes());
    wire
}

#[tokio::test]
async fn any_framing_of_the_source_gives_the_same_wire() {
    let chunk = CHUNK_SIZE.get() as usize;
    for len in [1, 15, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 7] {
        let content = pattern(len);
        for frame in [1000, chunk - 1, chunk, chunk + 1, len] {
            let give = || {
                let frames = (0..len).step_by(frame).map(|at| content.slice(at..len.min(at + frame)));
                frames.flat_map(|data| [Step::Give(data), Step::Give(Bytes::new())]).collect::<Vec<_>>()
            };
            assert_eq!(wire(give(), len as u64, None).await.unwrap(), content);
            for algorithm in [ChecksumAlgorithm::Crc64Nvme, ChecksumAlgorithm::Crc32c] {
                let sent = wire(give(), len as u64, Some(algorithm)).await.unwrap();
                assert!(sent == described(&content, algorithm), "{len} in frames of {frame}");
            }
        }
    }
}

#[tokio::test]
async fn the_end_waits_for_the_verdict() {
    for algorithm in [None, Some(ChecksumAlgorithm::Crc64Nvme)] {
        for (steps, expected) in [
            (vec![Step::Give(pattern(10)), Step::Fail("verdict")], "verdict"),
            (vec![Step::Give(pattern(9))], "missing: 1"),
            (vec![Step::Give(pattern(10)), Step::Give(pattern(1))], "Long"),
            (vec![Step::Give(pattern(11))], "Long"),
            (vec![Step::Give(pattern(5)), Step::Fail("midway")], "midway"),
        ] {
            let failure = wire(steps, 10, algorithm).await.unwrap_err();
            assert!(failure.contains(expected), "{failure}");
        }
    }
}

#[tokio::test]
async fn stages_tell_who_is_waited_for() {
    // Long, so that a busy machine does not let the pause pass before the look at it.
    let steps =
        [Step::Give(pattern(5)), Step::Wait(std::time::Duration::from_secs(1)), Step::Give(pattern(5))];
    let upload = Upload::new(script(steps));
    assert!(upload.is_untouched() && matches!(upload.stage(), Stage::Unbegun(_)));
    let (mut body, _interest) = Streamed::new(&upload, 10, None);
    body.frame().await.unwrap().unwrap();
    assert!(!upload.is_untouched() && matches!(upload.stage(), Stage::AwaitingStore(_)));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(5), body.frame()).await;
    assert!(waited.is_err() && upload.stage() == Stage::AwaitingSource);
    body.frame().await.unwrap().unwrap();
    assert!(matches!(upload.stage(), Stage::Sent(_)));
}

#[tokio::test]
async fn nobody_waiting_cuts_the_body() {
    let upload = Upload::new(script([Step::Give(pattern(5)), Step::Stall]));
    let (mut body, interest) = Streamed::new(&upload, 10, None);
    body.frame().await.unwrap().unwrap();
    let next = tokio::spawn(async move { body.frame().await });
    tokio::task::yield_now().await;
    drop(interest);
    next.await.unwrap().unwrap().unwrap_err();
}
