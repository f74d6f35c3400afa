use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::*;
use crate::error::UpstreamRefusal;

fn finished() -> DocumentResponse {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-version-id", HeaderValue::from_static("v1"));
    DocumentResponse { headers, document: "<CopyObjectResult/>".to_owned() }
}

fn refused(status: u16, document: &'static str) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    let refusal = UpstreamRefusal { status, headers: HeaderMap::new(), document: Bytes::from(document) };
    Error::PassThrough(Box::new(refusal))
}

async fn text(response: Response<BoxBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// An answer that began before the outcome was there.
async fn late(outcome: Result<DocumentResponse, Error>) -> (StatusCode, String) {
    let (sender, receiver) = oneshot::channel();
    let task = tokio::spawn(async move { receiver.await.unwrap() });
    let response = within(task, "/b/k".to_owned(), Some(SseAlgorithm::AwsKms), Duration::ZERO).await.unwrap();
    assert!(sender.send(outcome).is_ok());
    (response.status(), text(response).await)
}

#[tokio::test]
async fn what_is_done_in_time_has_its_headers_and_its_length() {
    let task = tokio::spawn(async { Ok(finished()) });
    let response =
        within(task, "/b/k".to_owned(), Some(SseAlgorithm::AwsKms), Duration::from_secs(60)).await.unwrap();
    assert_eq!(response.headers()["x-amz-version-id"], "v1");
    let length: usize = response.headers()[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
    let text = text(response).await;
    assert_eq!(text.len(), length);
    assert!(text.starts_with("<?xml ") && text.ends_with("<CopyObjectResult/>"));
}

#[tokio::test]
async fn what_fails_in_time_has_its_status() {
    let failing = tokio::spawn(async { Err(Error::MalformedWrappedKey) });
    let error = within(failing, "/b/k".to_owned(), Some(SseAlgorithm::AwsKms), Duration::from_secs(60))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::MalformedWrappedKey));
    let refusing = tokio::spawn(async { Err(refused(412, "<Error/>")) });
    let error = within(refusing, "/b/k".to_owned(), Some(SseAlgorithm::AwsKms), Duration::from_secs(60))
        .await
        .unwrap_err();
    let response = error.into_refusal().unwrap().into_response();
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn what_is_late_is_one_document_whatever_it_says() {
    let slow_down = "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>m</Message></Error>";
    for (outcome, expected) in [
        (Ok(finished()), "<CopyObjectResult/>"),
        (Err(Error::MalformedWrappedKey), "<Code>IntegrityCheckFailed</Code>"),
        (Err(refused(503, slow_down)), "<Code>SlowDown</Code><Message>m</Message>"),
        (Err(refused(502, "<html>")), "<Code>InternalError</Code>"),
    ] {
        let (status, text) = late(outcome).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains(expected), "{text}");
        assert_eq!(text.matches("<?xml").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn the_work_goes_on_when_the_client_is_gone() {
    let (sender, receiver) = oneshot::channel();
    let (done, seen) = oneshot::channel();
    let task = tokio::spawn(async move {
        receiver.await.unwrap();
        done.send(()).unwrap();
        Ok(finished())
    });
    drop(within(task, "/b/k".to_owned(), Some(SseAlgorithm::AwsKms), Duration::ZERO).await.unwrap());
    sender.send(()).unwrap();
    seen.await.unwrap();
}
