use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;

use super::*;
use crate::access::{Grant, Grants, Right, Rights};
use crate::s3::{ErrorCode, Operation, S3Path};
use crate::test_support::{resources, serve};
use crate::upstream::{Credentials, Route, Settings, StoredName, Target};

/// A storage that lists these buckets, two on a page, or fails.
async fn storage(names: &'static [&'static str], status: u16) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::Endpoint(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    serve(listener, move |request| {
        let query = request.uri().query().unwrap_or_default();
        let token = query.split_once("continuation-token=").map_or("0", |(_, token)| token);
        let from: usize = token.parse().unwrap();
        let bucket = |name: &&str| format!("<Bucket><Name>{name}</Name></Bucket>");
        let page: String = names.iter().skip(from).take(2).map(bucket).collect();
        let next = if from + 2 < names.len() {
            format!("<ContinuationToken>{}</ContinuationToken>", from + 2)
        } else {
            String::new()
        };
        let document =
            format!("<ListAllMyBucketsResult><Buckets>{page}</Buckets>{next}</ListAllMyBucketsResult>");
        let document =
            if status == 200 { document } else { "<Error><Code>AccessDenied</Code></Error>".to_owned() };
        Response::builder().status(status).body(Full::from(document)).unwrap()
    });
    let credentials = Credentials::Static {
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned().into(),
        session_token: None,
    };
    Upstream::build(Settings { credentials, max_retries: 0, ..Settings::new(target) }).await.unwrap()
}

fn route(buckets: &str, upstream: usize, stored_as: Option<&str>) -> Route {
    let buckets = BucketPattern::parse(buckets).unwrap();
    let stored_as = stored_as.map(|text| StoredName::parse(text, &buckets).unwrap());
    Route { buckets, upstream, stored_as }
}

async fn merged(failing: bool) -> (Resources, tempfile::TempDir) {
    let (mut resources, folder) = resources("http://127.0.0.1:1", &[("*", "")]).await;
    let default = storage(&["a", "logs-hidden", "zoo", "company-data-own"], 200).await;
    let second =
        storage(&["company-data-1", "company-data-2", "company-other", "b", "logs-1", "logs-2"], 200);
    let third = storage(&["c-1"], if failing { 403 } else { 200 });
    let others = vec![second.await, third.await];
    let routes = vec![
        route("logs-*", 1, None),
        route("data-*", 1, Some("company-{bucket}")),
        route("c-*", 2, None),
        route("*", 0, None),
    ];
    resources.upload.object.upstreams = Upstreams::new(default, others, routes);
    (resources, folder)
}

fn call(query: &str, visible: Option<&[&str]>) -> Box<Call> {
    let granted = |names: &[&str]| {
        let buckets = names.iter().map(|name| BucketPattern::parse(name).unwrap()).collect();
        Grants::new([Grant { buckets, prefix: String::new(), rights: Rights::new(&[Right::List]) }])
    };
    let mut call = crate::test_support::call(Operation::ListBuckets, "k", query, &[]);
    call.path = S3Path::Root;
    call.grants = visible.map_or_else(Grants::unlimited, granted);
    Box::new(call)
}

/// The names that are listed, and the token to go on with.
async fn list(resources: &Resources, query: &str, visible: Option<&[&str]>) -> (Vec<String>, Option<String>) {
    let response = list_buckets(resources, call(query, visible)).await.unwrap();
    let document = response.into_body().collect().await.unwrap().to_bytes();
    let page = xml::parse_buckets(&document).unwrap();
    (page.buckets.into_iter().map(|bucket| bucket.name).collect(), page.next)
}

const ALL: [&str; 8] = ["a", "c-1", "company-data-own", "data-1", "data-2", "logs-1", "logs-2", "zoo"];

#[tokio::test]
async fn each_bucket_is_shown_once_where_its_route_leads() {
    let (resources, _folder) = merged(false).await;
    assert_eq!(list(&resources, "", None).await, (ALL.map(str::to_owned).to_vec(), None));
    assert_eq!(list(&resources, "prefix=data", None).await.0, ["data-1", "data-2"]);
    assert_eq!(list(&resources, "", Some(&["logs-*", "zoo"])).await.0, ["logs-1", "logs-2", "zoo"]);
    assert_eq!(list(&resources, "bucket-region=eu-west-1", None).await.0, [""; 0]);
}

#[tokio::test]
async fn pages_together_are_the_list() {
    let (resources, _folder) = merged(false).await;
    for max in 1..=9 {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) =
                list(&resources, &format!("max-buckets={max}&continuation-token={token}"), None).await;
            assert!((1..=max).contains(&page.len()));
            found.extend(page);
            match next {
                Some(next) => token = next,
                None => break,
            }
        }
        assert_eq!(found, ALL, "{max} on a page");
    }
}

#[tokio::test]
async fn a_storage_that_fails_is_not_left_out() {
    let (resources, _folder) = merged(true).await;
    let error = list_buckets(&resources, call("", None)).await.unwrap_err();
    assert_eq!(error.to_s3().code, ErrorCode::AccessDenied);
    // A client that can't reach it is not concerned.
    assert_eq!(list(&resources, "", Some(&["logs-1"])).await.0, ["logs-1"]);
}

#[tokio::test]
async fn invalid_parameters_are_refused() {
    let (resources, _folder) = merged(false).await;
    for query in [
        "max-buckets=0",
        "max-buckets=10001",
        "max-buckets=x",
        "continuation-token=!",
        "continuation-token=Lw",
    ] {
        let error = list_buckets(&resources, call(query, None)).await.unwrap_err();
        assert_eq!(error.to_s3().code, ErrorCode::InvalidArgument, "{query}");
    }
}
