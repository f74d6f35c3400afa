use http_body_util::BodyExt;

use super::*;
use crate::body::test_support::{Arriving, frames};
use crate::body::{IngestBody, boxed};
use crate::s3::{DeclaredIntegrity, ErrorCode};

const IDLE: Duration = Duration::from_secs(1);
const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\ncontent\r\n--b--\r\n";

fn content_type() -> HeaderValue {
    HeaderValue::from_static("multipart/form-data; boundary=b")
}

async fn read(wire: BoxBody) -> (Result<Bytes, IngestError>, bool) {
    let (form, file) = FormBody::open(wire, &content_type(), IDLE).await.unwrap();
    assert_eq!(form.field("key"), Some("k"));
    let declared = DeclaredIntegrity::default();
    let (body, verdict) = IngestBody::delimited(boxed(file), &declared, IDLE);
    let read = body.collect().await.map(|body| body.to_bytes());
    (read, verdict.checksums().is_some())
}

#[tokio::test]
async fn the_file_comes_out_and_ends_with_the_form() {
    let (read, verified) = read(boxed(frames(FORM.as_bytes(), &[3, 50, 140, 150]))).await;
    assert_eq!(read.unwrap(), "content");
    assert!(verified);
}

#[tokio::test]
async fn a_form_that_is_cut_is_no_file() {
    for cut in ["\r\n--b--\r\n", "--\r\n", "content\r\n--b--\r\n"] {
        let form = FORM.strip_suffix(cut).unwrap();
        let (read, verified) = read(boxed(frames(form.as_bytes(), &[]))).await;
        assert_eq!(read.unwrap_err().to_s3().code, ErrorCode::MalformedPOSTRequest, "{cut:?}");
        assert!(!verified, "This is a security issue: a form without {cut:?} has a verdict.");
    }
    let (read, verified) = read(boxed(frames(FORM.as_bytes(), &[]).then_an_error())).await;
    assert_eq!(read.unwrap_err().to_s3().code, ErrorCode::IncompleteBody);
    assert!(!verified, "This is a security issue: a broken wire has a verdict.");
}

#[tokio::test]
async fn a_form_that_does_not_come_times_out() {
    let (wire, body) = Arriving::new();
    wire.send(Bytes::from_static(&FORM.as_bytes()[..40])).unwrap();
    let opened = FormBody::open(boxed(body), &content_type(), IDLE / 20).await;
    assert!(matches!(opened, Err(IngestError::Idle(_))));
    drop(wire);
}
