//! Buckets in other regions than the configured one: at AWS, and at storages with one host.

use std::sync::{Arc, Mutex};

use http::StatusCode;

use super::fake::{header, serve};
use super::*;

const REGION_HEADER: &str = "x-amz-bucket-region";

/// How a region refuses a request for a bucket of another one.
#[derive(Clone, Copy)]
enum Refusal {
    Permanent,
    Temporary,
    Malformed,
    Incompatible,
}

/// AWS with one bucket.
struct Aws {
    region: Mutex<&'static str>,
    refusal: Refusal,
    /// Method, host, and the region that the request was signed for.
    seen: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct InProcess(Arc<Aws>);

impl Transport for InProcess {
    fn send(&self, request: Request<BoxBody>, _: HeadRoom) -> Sending<'_> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let host = head.uri.host().unwrap().to_owned();
            let authorization = head.headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
            let signed_for = authorization.split('/').nth(2).unwrap().to_owned();
            self.0.seen.lock().unwrap().push(format!("{} {host} {signed_for}", head.method));
            body.collect().await.map_err(UpstreamError::Protocol)?;
            let region = *self.0.region.lock().unwrap();
            Ok(self.0.respond(&head.method, &host, &signed_for, region))
        })
    }
}

impl Aws {
    fn respond(&self, method: &Method, host: &str, signed_for: &str, region: &str) -> Response<BoxBody> {
        let is_here = host == format!("demo.s3.{region}.amazonaws.com") && signed_for == region;
        let (status, is_named, document) = match self.refusal {
            _ if is_here => (200, true, String::new()),
            Refusal::Permanent => (301, true, "<Error><Code>PermanentRedirect</Code></Error>".to_owned()),
            Refusal::Temporary => (
                307,
                true,
                "<Error><Code>TemporaryRedirect</Code><Endpoint>evil.example</Endpoint></Error>".to_owned(),
            ),
            Refusal::Malformed => (
                400,
                *method == Method::HEAD,
                format!("<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>"),
            ),
            Refusal::Incompatible => (
                400,
                *method == Method::HEAD,
                "<Error><Code>IllegalLocationConstraintException</Code></Error>".to_owned(),
            ),
        };
        let document = if *method == Method::HEAD { String::new() } else { document };
        let body = http_body_util::Full::from(document).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("location", "https://evil.example/".parse().unwrap());
        if is_named {
            response.headers_mut().insert(REGION_HEADER, region.parse().unwrap());
        }
        response
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn aws(region: &'static str, refusal: Refusal) -> (Arc<Aws>, Upstream) {
    let aws = Arc::new(Aws { region: Mutex::new(region), refusal, seen: Mutex::default() });
    let settings = Settings { credentials: static_credentials(SECRET), ..Settings::new(Target::Aws) };
    let upstream = Upstream::with_transport(settings, Box::new(InProcess(Arc::clone(&aws)))).await.unwrap();
    (aws, upstream)
}

fn sent(method: &str, region: &str) -> String {
    format!("{method} demo.s3.{region}.amazonaws.com {region}")
}

#[tokio::test]
async fn a_bucket_of_another_region_is_found_once() {
    for refusal in [Refusal::Permanent, Refusal::Temporary, Refusal::Malformed, Refusal::Incompatible] {
        let (aws, upstream) = aws("eu-west-1", refusal).await;
        assert_eq!(upstream.send(get("k")).await.unwrap().status(), 200);
        let seen = aws.seen();
        assert_eq!(seen.first(), Some(&sent("GET", "us-east-1")));
        assert_eq!(seen.last(), Some(&sent("GET", "eu-west-1")));
        let asked = usize::from(matches!(refusal, Refusal::Incompatible));
        assert_eq!(seen.len(), 2 + asked, "{seen:?}");
        for (method, request) in [("GET", get("k")), ("PUT", put("k", UpstreamBody::Content(pattern(9))))] {
            assert_eq!(upstream.send(request).await.unwrap().status(), 200);
            assert_eq!(aws.seen(), [sent(method, "eu-west-1")]);
        }
    }
}

#[tokio::test]
async fn a_region_is_learned_before_a_body_streams() {
    for region in ["us-east-1", "eu-west-1"] {
        let (aws, upstream) = aws(region, Refusal::Permanent).await;
        let content = pattern(200_000);
        for begins in [vec![sent("HEAD", "us-east-1")], Vec::new()] {
            let response = upstream.send(put("k", stream(&content, 50_000))).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(aws.seen(), [begins, vec![sent("PUT", region)]].concat());
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_made_anew_elsewhere_is_found_again() {
    let (aws, upstream) = aws("eu-west-1", Refusal::Permanent).await;
    upstream.send(get("k")).await.unwrap();
    aws.seen();
    *aws.region.lock().unwrap() = "ap-south-1";
    assert_eq!(upstream.send(get("k")).await.unwrap().status(), 200);
    assert_eq!(aws.seen(), [sent("GET", "eu-west-1"), sent("GET", "ap-south-1")]);
    *aws.region.lock().unwrap() = "us-east-1";
    assert_eq!(upstream.send(get("k")).await.unwrap().status(), 200);
    assert_eq!(aws.seen(), [sent("GET", "ap-south-1"), sent("GET", "us-east-1")]);
}

#[tokio::test]
async fn a_bucket_is_made_where_the_request_says() {
    let (aws, upstream) = aws("eu-west-1", Refusal::Permanent).await;
    upstream.send(get("k")).await.unwrap();
    aws.seen();
    let made = upstream.send(request(Method::PUT, None, UpstreamBody::Empty)).await.unwrap();
    assert_eq!(made.status(), 301);
    assert_eq!(aws.seen(), [sent("PUT", "us-east-1")]);
}

/// The regions that the requests of one connection were signed for.
async fn signed_for(responses: &'static [&'static str], requests: usize) -> (Vec<u16>, Vec<String>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let (endpoint, _) = serve(move |_, mut peer| {
        let kept = Arc::clone(&kept);
        async move {
            while let Some(head) = peer.head().await {
                let authorization = header(&head, "authorization").unwrap();
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(authorization.split('/').nth(2).unwrap().to_owned());
                    kept.len() - 1
                };
                peer.say(responses[number.min(responses.len() - 1)]).await;
            }
        }
    })
    .await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(upstream.send(get("k")).await.unwrap().status().as_u16());
    }
    let seen = seen.lock().unwrap().clone();
    (statuses, seen)
}

const TEMPORARY: &str = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\n\
                         x-amz-bucket-region: eu-1\r\ncontent-length: 0\r\n\r\n";

const UNNAMED: &str = "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_storage_with_one_host_receives_the_signature_of_the_region_that_it_names() {
    let (statuses, regions) = signed_for(&[TEMPORARY, fake::EMPTY_200], 2).await;
    assert_eq!(
        (statuses, regions),
        (vec![200, 200], ["us-east-1", "eu-1", "eu-1"].map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn redirects_that_lead_nowhere_end() {
    let (statuses, regions) = signed_for(&[TEMPORARY], 1).await;
    assert_eq!((statuses, regions), (vec![307], vec!["us-east-1".to_owned(), "eu-1".to_owned()]));
    let (statuses, regions) = signed_for(&[UNNAMED], 1).await;
    assert_eq!((statuses, regions.len()), (vec![301], 1));
}
