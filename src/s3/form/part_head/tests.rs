use super::*;
use crate::s3::ErrorCode;

fn parse(disposition: &str) -> Result<PartHead, S3Error> {
    PartHead::parse(format!("Content-Disposition: {disposition}").as_bytes())
}

#[test]
fn names_however_they_are_written() {
    for (disposition, name, file_name) in [
        ("form-data; name=\"key\"", "key", None),
        ("form-data; name=key", "key", None),
        ("Form-Data;NAME=\"X-Amz-Meta-A\" ; filename=b", "x-amz-meta-a", Some("b")),
        ("form-data; name=\"file\"; filename=\"a;b=c.txt\"", "file", Some("a;b=c.txt")),
        ("form-data; filename=\"say \\\"hi\\\".txt\"; name=\"file\"", "file", Some("say \"hi\".txt")),
        ("form-data; name=\"file\"; filename=\"C:\\dir\\new.txt\"", "file", Some("C:\\dir\\new.txt")),
        ("form-data; name=\"file\"; filename=\"%22a%22\"", "file", Some("%22a%22")),
        ("form-data; name=\"file\"; filename=\"日本 é.txt\"", "file", Some("日本 é.txt")),
        ("form-data; name=\"file\"; filename=\"x\"; filename*=utf-8''%C3%A9", "file", Some("é")),
        ("form-data; name=\"file\"; filename=\"\"", "file", Some("")),
        ("form-data; name=\"file\"; size=3", "file", None),
    ] {
        let head = parse(disposition).unwrap();
        assert_eq!((head.name.as_str(), head.file_name.as_deref()), (name, file_name), "{disposition}");
    }
}

#[test]
fn what_is_no_field_is_refused() {
    for disposition in [
        "attachment; name=\"key\"",
        "form-data",
        "form-data; name=\"\"",
        "form-data; name=\"key",
        "form-data; name=\"key\" filename=\"x\"",
        "form-data; name=\"key\"; name=\"acl\"",
        "form-data; name=\"key\"; filename",
        "form-data; name=\"file\"; filename*=latin1''%E9",
        "form-data; name=\"file\"; filename*=utf-8''%E9",
    ] {
        assert_eq!(parse(disposition).unwrap_err().code, ErrorCode::MalformedPOSTRequest, "{disposition}");
    }
    for lines in [
        "Content-Type: text/plain",
        "no colon",
        "",
        "Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b",
        "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
    ] {
        assert!(PartHead::parse(lines.as_bytes()).is_err(), "{lines:?}");
    }
    let binary = "content-transfer-encoding: Binary\r\ncontent-disposition: form-data; name=a";
    assert_eq!(PartHead::parse(binary.as_bytes()).unwrap().name, "a");
}
