//! Requests to several storages, and what storages know under other names.

use std::sync::{Arc, Mutex};

use super::fake::{header, serve};
use super::*;
use crate::s3::BucketPattern;

const REFUSAL: &str = "<Error><Code>NoSuchKey</Code><BucketName>company-demo</BucketName><Resource>/company-demo/k</Resource></Error>";

/// A storage that refuses everything, and the heads that it receives.
async fn storage() -> (Upstream, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let (endpoint, _) = serve(move |_, mut peer| {
        let kept = Arc::clone(&kept);
        async move {
            while let Some(head) = peer.head().await {
                let is_head = head.starts_with("head ");
                kept.lock().unwrap().push(head);
                let length = REFUSAL.len();
                let arn = "x-amz-bucket-arn: arn:aws:s3:::company-demo";
                peer.say(&format!("HTTP/1.1 404 Not Found\r\n{arn}\r\ncontent-length: {length}\r\n\r\n"))
                    .await;
                if !is_head {
                    peer.say(REFUSAL).await;
                }
            }
        }
    })
    .await;
    (Upstream::build(settings(&endpoint)).await.unwrap(), heads)
}

fn route(buckets: &str, upstream: usize, stored_as: Option<&str>) -> Route {
    let buckets = BucketPattern::parse(buckets).unwrap();
    let stored_as = stored_as.map(|text| StoredName::parse(text, &buckets).unwrap());
    Route { buckets, upstream, stored_as }
}

fn lines(heads: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut *heads.lock().unwrap())
        .iter()
        .map(|head| head.lines().next().unwrap().to_owned())
        .collect()
}

fn get_from(bucket: &str) -> UpstreamRequest {
    UpstreamRequest { bucket: Some(BucketName::parse(bucket).unwrap()), ..get("k") }
}

#[tokio::test]
async fn a_request_goes_to_the_storage_of_its_bucket() {
    let ((first, first_heads), (second, second_heads)) = (storage().await, storage().await);
    let routes = vec![route("logs-*", 1, None), route("demo", 1, Some("company-{bucket}"))];
    let upstreams = Upstreams::new(first, vec![second], routes);
    assert_eq!(upstreams.all().count(), 2);
    for bucket in ["other", "logs-1", "demo"] {
        upstreams.send(get_from(bucket)).await.unwrap();
    }
    upstreams.send(UpstreamRequest::new(Method::GET, None, None)).await.unwrap();
    assert_eq!(lines(&first_heads), ["get /other/k http/1.1", "get / http/1.1"]);
    assert_eq!(lines(&second_heads), ["get /logs-1/k http/1.1", "get /company-demo/k http/1.1"]);
    let name = |name| BucketName::parse(name).unwrap();
    assert!(upstreams.is_one(&name("demo"), &name("logs-x")) && !upstreams.is_one(&name("demo"), &name("x")));
    assert!(upstreams.is_renamed(&name("demo")) && !upstreams.is_renamed(&name("logs-1")));
}

#[tokio::test]
async fn a_refusal_does_not_show_the_stored_name() {
    let (upstream, heads) = storage().await;
    let upstreams = Upstreams::new(upstream, Vec::new(), vec![route("demo", 0, Some("company-{bucket}"))]);
    for method in [Method::GET, Method::HEAD] {
        let request = request(method.clone(), Some("k"), UpstreamBody::Empty);
        let response = upstreams.send(request).await.unwrap();
        assert!(response.headers().get("x-amz-bucket-arn").is_none());
        let body = String::from_utf8(read(response).await.to_vec()).unwrap();
        let shown = REFUSAL.replace("company-demo", "demo");
        let shown = if method == Method::HEAD { String::new() } else { shown };
        assert!(body.ends_with(&shown) && !body.contains("company"), "{body}");
    }
    assert_eq!(lines(&heads), ["get /company-demo/k http/1.1", "head /company-demo/k http/1.1"]);
}

#[tokio::test]
async fn the_source_of_a_copy_is_named_as_the_storage_does() {
    let ((first, heads), (second, _)) = (storage().await, storage().await);
    let routes = vec![route("demo", 0, Some("company-{bucket}")), route("far", 1, None)];
    let upstreams = Upstreams::new(first, vec![second], routes);
    let copy = |source: &'static str, to: &str| {
        let mut copy = UpstreamRequest { method: Method::PUT, ..get_from(to) };
        copy.headers.insert("x-amz-copy-source", HeaderValue::from_static(source));
        copy
    };
    upstreams.send(copy("demo/a%20b?versionId=1", "other")).await.unwrap();
    upstreams.send(copy("other/c", "demo")).await.unwrap();
    let sent = std::mem::take(&mut *heads.lock().unwrap());
    let sources: Vec<_> = sent.iter().map(|head| header(head, "x-amz-copy-source").unwrap()).collect();
    assert_eq!(sources, ["company-demo/a%20b?versionid=1", "other/c"]);
    let refused = upstreams.send(copy("far/k", "demo")).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Address(AddressError::AnotherStorage)), "{refused:?}");
    let refused = upstreams.send(get_from("company-demo")).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Address(AddressError::AnotherBucket(_))), "{refused:?}");
    assert!(heads.lock().unwrap().is_empty());
}
