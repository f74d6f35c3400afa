use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LOCATION};
use proptest::prelude::*;

use super::*;
use crate::s3::name::BucketName;
use crate::wire::limits::MAX_FORM_FIELDS;

const CONTENT_TYPE_OF_FORM: &str = "multipart/form-data; boundary=bound";
const DELIMITER: &[u8] = b"\r\n--bound";

/// A form of these fields, the file, and whatever comes after it.
fn encode(fields: &[(&str, &str)], file: &[u8], after: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--bound\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(b"--bound\r\nContent-Disposition: form-data; name=\"file\"; filename=\"dir/a.txt\"\r\n\r\n");
    body.extend(file);
    body.extend(DELIMITER);
    body.extend(after);
    body.extend(b"--\r\n");
    body
}

/// Feeds `body` in frames that end at `cuts`.
fn decode(body: &[u8], cuts: &[usize]) -> Result<(Form, Vec<u8>), S3Error> {
    let mut parser = FormParser::new(&HeaderValue::from_static(CONTENT_TYPE_OF_FORM))?;
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(body.len());
    let (mut start, mut form, mut file) = (0, None, Vec::new());
    for cut in cuts {
        let mut frame = Bytes::copy_from_slice(&body[start..cut]);
        start = cut;
        loop {
            match parser.decode(&mut frame)? {
                FormPiece::Form(found) => assert!(form.replace(found).is_none(), "a form comes once"),
                FormPiece::Data(data) => {
                    assert!(form.is_some() && !data.is_empty());
                    file.extend_from_slice(&data);
                }
                FormPiece::NeedMore => break,
            }
        }
        assert!(frame.is_empty(), "NeedMore has taken everything");
    }
    parser.finish()?;
    Ok((form.expect("a whole form has a file"), file))
}

fn form(fields: &[(&str, &str)]) -> Form {
    let fields = fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()));
    Form::new(fields.collect(), "a.txt").unwrap()
}

fn refused(body: &[u8]) -> ErrorCode {
    decode(body, &[]).unwrap_err().code
}

#[test]
fn fields_then_the_file_then_nothing_that_counts() {
    let fields = [("key", "up/${filename}"), ("X-Amz-Meta-A", ""), ("policy", "${filename}\r\n-- ü")];
    let after = b"\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nother\r\n--bound\r\nwhatever\r\n\r\n\r\n--bound";
    for after in [&b""[..], after, b" \t\r\n\r\n--bound"] {
        let (form, file) = decode(&encode(&fields, b"content", after), &[]).unwrap();
        assert_eq!(file, b"content");
        let read: Vec<_> = form.iter().collect();
        assert_eq!(
            read,
            [("key", "up/a.txt"), ("x-amz-meta-a", ""), ("policy", "${filename}\r\n-- ü")],
            "the fields of the signature are taken as sent"
        );
    }
    let with_preamble =
        [b"a preamble\r\n", &encode(&fields, b"", b"")[..], b"an epilogue\r\n--bound"].concat();
    assert_eq!(decode(&with_preamble, &[]).unwrap().1, b"");
}

proptest! {
    /// Whatever the frames, and however much of a boundary the content has in it, the form does not change.
    #[test]
    fn any_framing_is_the_same_form(
        pieces in prop::collection::vec(
            prop_oneof![
                (0..DELIMITER.len()).prop_map(|length| DELIMITER[..length].to_vec()),
                (0..DELIMITER.len()).prop_map(|from| DELIMITER[from..].to_vec()),
                prop::collection::vec(any::<u8>(), 0..40),
                Just(b"\r".to_vec()),
            ],
            0..12,
        ),
        after in prop_oneof![Just(&b""[..]), Just(&b"\r\nx: y\r\n\r\n\r\n--boun\r\n--bound"[..])],
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let file = pieces.concat();
        prop_assume!(!file.windows(DELIMITER.len()).any(|window| window == DELIMITER));
        let body = encode(&[("key", "k"), ("acl", "private")], &file, after);
        let expected = (form(&[("key", "k"), ("acl", "private")]), file);
        prop_assert_eq!(decode(&body, &cuts).unwrap(), expected.clone());
        let every_byte: Vec<usize> = (0..body.len()).collect();
        prop_assert_eq!(decode(&body, &every_byte).unwrap(), expected);
    }

    /// No bytes make it panic, and what is not whole is refused, wherever it is cut.
    #[test]
    fn a_form_that_is_cut_or_spoilt_is_refused_or_read(
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in prop::collection::vec(any::<usize>(), 0..4),
    ) {
        let body = encode(&[("key", "k")], b"content", b"");
        let whole = body.len() - b"\r\n".len();
        prop_assert!(decode(&body[..cut.index(whole)], &cuts).is_err());
        let mut spoilt = body.clone();
        spoilt[at.index(body.len())] = byte;
        drop(decode(&spoilt, &cuts));
    }
}

#[test]
fn what_is_no_form_is_refused_by_its_name() {
    let head = |head: &str| format!("--bound\r\n{head}\r\n\r\nv\r\n--bound--\r\n").into_bytes();
    assert_eq!(refused(b""), ErrorCode::MalformedPOSTRequest);
    assert_eq!(refused(b"key=a&file=b"), ErrorCode::MalformedPOSTRequest);
    assert_eq!(refused(&head("Content-Type: text/plain")), ErrorCode::MalformedPOSTRequest);
    assert_eq!(refused(&head("")), ErrorCode::MalformedPOSTRequest);
    assert_eq!(refused(b"--bound\r\n\r\nv\r\n--bound--"), ErrorCode::MalformedPOSTRequest);
    assert_eq!(refused(b"--bounded\r\n"), ErrorCode::MalformedPOSTRequest);
    assert_eq!(refused(b"--bound \t --\r\n"), ErrorCode::MalformedPOSTRequest);
    assert_eq!(refused(&head("Content-Disposition: form-data; name=\"key\"")), ErrorCode::InvalidArgument);
    assert_eq!(refused(b"--bound--"), ErrorCode::InvalidArgument);
    let not_text = [b"--bound\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff", DELIMITER].concat();
    assert_eq!(refused(&not_text), ErrorCode::MalformedPOSTRequest);
    let twice = encode(&[("key", "a"), ("x-ignore-a", "1"), ("X-Ignore-A", "2"), ("KEY", "a")], b"", b"");
    assert_eq!(refused(&twice), ErrorCode::InvalidArgument);
    assert_eq!(refused(&encode(&[], b"content", b"ed")), ErrorCode::MalformedPOSTRequest);
    let padding = " ".repeat(300);
    assert_eq!(refused(&encode(&[], b"content", padding.as_bytes())), ErrorCode::MalformedPOSTRequest);
}

#[test]
fn what_comes_before_the_file_is_bounded() {
    let empty = encode(&[("policy", "")], b"", b"").len() - b"\r\n--bound--\r\n".len();
    let longest = "x".repeat(MAX_FORM_FIELDS - empty);
    let file = vec![7; 100_000];
    assert_eq!(decode(&encode(&[("policy", &longest)], &file, b""), &[]).unwrap().1, file);
    let too_long = encode(&[("policy", &format!("{longest}x"))], &file, b"");
    assert_eq!(refused(&too_long), ErrorCode::MaxPostPreDataLengthExceededError);
    assert_eq!(refused(&vec![b'x'; MAX_FORM_FIELDS + 1]), ErrorCode::MaxPostPreDataLengthExceededError);
}

#[test]
fn the_boundary_is_read_from_the_content_type() {
    let parser = |value: &str| FormParser::new(&HeaderValue::from_str(value).unwrap());
    for good in [
        "multipart/form-data; boundary=bound",
        "Multipart/Form-Data;charset=utf-8; BOUNDARY=\"with space:/?\"",
        &format!("multipart/form-data; boundary={}", "b".repeat(70)),
    ] {
        assert!(parser(good).is_ok(), "{good}");
    }
    for bad in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a\u{e9}",
        "multipart/mixed; boundary=a",
        &format!("multipart/form-data; boundary={}", "b".repeat(71)),
    ] {
        assert_eq!(parser(bad).err().map(|error| error.code), Some(ErrorCode::MalformedPOSTRequest), "{bad}");
    }
}

#[test]
fn a_key_is_needed() {
    assert_eq!(form(&[("key", "a/${filename}${filename}")]).object_key().unwrap().as_str(), "a/a.txta.txt");
    for fields in [&[][..], &[("key", "")]] {
        assert_eq!(form(fields).object_key().unwrap_err().code, ErrorCode::InvalidArgument);
    }
    let backslash = Form::new(vec![("key".into(), "${filename}".into())], "C:\\dir/x\\b.txt").unwrap();
    assert_eq!(backslash.field("key"), Some("b.txt"));
}

#[test]
fn a_signature_is_not_printed() {
    let printed =
        format!("{:?}", form(&[("key", "shown"), ("X-Amz-Signature", "secret"), ("policy", "secret")]));
    assert!(printed.contains("shown") && !printed.contains("secret"), "This is a security issue: {printed}");
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn policy(conditions: &str) -> Result<PostPolicy, S3Error> {
    let json = format!("{{\"expiration\": \"1970-01-01T00:00:10.000Z\", \"conditions\": [{conditions}]}}");
    PostPolicy::parse(&STANDARD.encode(json))
}

fn check(conditions: &str, fields: &[(&str, &str)]) -> Result<ContentLengthRange, S3Error> {
    policy(&format!("{{\"bucket\": \"b\"}}, {conditions}"))?.check(
        &form(fields),
        &BucketName::parse("b")?,
        NOW,
    )
}

#[test]
fn conditions_that_are_met() {
    for (conditions, fields) in [
        (r#"{"key": "a"}"#, &[("key", "a")][..]),
        (r#"{"KEY": "a", "acl": "private"}"#, &[("Key", "a"), ("ACL", "private")]),
        (r#"["eq", "$key", "a"]"#, &[("key", "a"), ("x-ignore-b", "c")]),
        (r#"["Starts-With", "$Key", "user/"]"#, &[("key", "user/${filename}")]),
        (r#"["eq", "$key", "user/a.txt"]"#, &[("key", "user/${filename}")]),
        (r#"["starts-with", "$key", ""]"#, &[("key", "")]),
        (r#"["starts-with", "$key", "\\$"]"#, &[("key", "\\$a")]),
        (
            r#"["starts-with", "$Content-Type", "image/"]"#,
            &[("content-type", "image/png, image/gif,image/x")],
        ),
        (r#"["starts-with", "$acl", "a"]"#, &[("acl", "a,b")]),
        (
            r#"{"bucket": "b"}"#,
            &[("bucket", "b"), ("policy", "p"), ("AWSAccessKeyId", "i"), ("Signature", "s")],
        ),
    ] {
        assert_eq!(check(conditions, fields), Ok(ContentLengthRange::ANY), "{conditions}");
    }
}

#[test]
fn conditions_that_are_not_met() {
    for (conditions, fields) in [
        (r#"{"key": "a"}"#, &[("key", "A")][..]),
        (r#"{"key": "a"}"#, &[]),
        (r#"{"key": "a"}"#, &[("key", "a"), ("acl", "private")]),
        (r#"{"key": "a"}"#, &[("key", "a"), ("anything", "")]),
        (r#"{"key": "a"}"#, &[("key", "a"), ("x-amz-date", "")]),
        (r#"{"key": "a"}, ["starts-with", "$key", "b"]"#, &[("key", "a")]),
        (r#"["starts-with", "$key", "user/"]"#, &[("key", "user")]),
        (r#"["starts-with", "$key", ""]"#, &[]),
        (r#"["starts-with", "$Content-Type", "image/"]"#, &[("content-type", "image/png,text/html")]),
        (r#"{"bucket": "c"}"#, &[]),
        (r#"{"bucket": "b"}"#, &[("bucket", "c")]),
        (r#"["content-length-range", 0, 1]"#, &[("content-length-range", "0")]),
    ] {
        let refused = check(conditions, fields).unwrap_err();
        assert_eq!(
            refused.code,
            ErrorCode::AccessDenied,
            "This is a security issue: {conditions} {fields:?}"
        );
        assert!(refused.message.starts_with("Invalid according to Policy: "), "{refused}");
    }
    let no_bucket = policy(r#"{"key": "a"}"#).unwrap();
    let refused = no_bucket.check(&form(&[("key", "a")]), &BucketName::parse("b").unwrap(), NOW);
    assert_eq!(
        refused.unwrap_err().code,
        ErrorCode::AccessDenied,
        "This is a security issue: any bucket is taken."
    );
}

#[test]
fn a_policy_expires() {
    let (policy, bucket) = (policy(r#"{"bucket": "b"}"#).unwrap(), BucketName::parse("b").unwrap());
    let after = |seconds| NOW + Duration::try_from_secs_f64(seconds).unwrap();
    let at = |seconds: f64| policy.check(&form(&[]), &bucket, after(seconds));
    assert!(at(9.9).is_ok());
    for late in [10.0, 11.0, 1e9] {
        assert_eq!(at(late).unwrap_err().code, ErrorCode::AccessDenied, "This is a security issue: {late}.");
    }
}

#[test]
fn lengths_are_held_to_every_range() {
    let range = check(r#"["content-length-range", 2, 10], ["content-length-range", "1", "9"]"#, &[]).unwrap();
    assert_eq!(range, ContentLengthRange { min: 2, max: 9 });
    assert!(range.check(2).is_ok() && range.check(9).is_ok() && range.check_so_far(0).is_ok());
    assert_eq!(range.check(1).unwrap_err().code, ErrorCode::EntityTooSmall);
    assert_eq!(range.check(10).unwrap_err().code, ErrorCode::EntityTooLarge);
    assert_eq!(range.check_so_far(10).unwrap_err().code, ErrorCode::EntityTooLarge);
}

#[test]
fn policies_that_are_none() {
    for conditions in [
        "3",
        "{}",
        "[]",
        r#"["eq", "$key"]"#,
        r#"["eq", "key", "a"]"#,
        r#"["eq", "$key", 3]"#,
        r#"["eq", "$key", "a", "b"]"#,
        r#"["ends-with", "$key", "a"]"#,
        r#"{"key": 3}"#,
        r#"["content-length-range", 0]"#,
        r#"["content-length-range", -1, 0]"#,
        r#"["content-length-range", 0, 1.5]"#,
        r#"["content-length-range", 0, "x"]"#,
    ] {
        assert_eq!(policy(conditions).unwrap_err().code, ErrorCode::InvalidPolicyDocument, "{conditions}");
    }
    for document in [
        "",
        "null",
        r#"{"expiration": "2999-01-01T00:00:00Z"}"#,
        r#"{"conditions": []}"#,
        r#"{"expiration": "2999-01-01 00:00", "conditions": []}"#,
        r#"{"expiration": "2999-01-01T00:00:00Z", "conditions": [], "conditions": []}"#,
        r#"{"expiration": "2999-01-01T00:00:00Z", "conditions": [], "more": 1}"#,
    ] {
        let refused = PostPolicy::parse(&STANDARD.encode(document)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidPolicyDocument, "{document}");
    }
    for expiration in [
        "2030-01-01T00:00:00+00:00",
        "2030-01-01T00:00:00",
        "2030-01-01 00:00:00Z",
        "2030-01-01T00:00:00z",
        "2030-01-01t00:00:00Z",
        "Fri, 24 May 2030 00:00:00 GMT",
        "9999-12-31T23:59:59-01:00",
        "",
    ] {
        let document = format!(r#"{{"expiration": "{expiration}", "conditions": []}}"#);
        let refused = PostPolicy::parse(&STANDARD.encode(document)).unwrap_err();
        let message = format!("Invalid Policy: Invalid 'expiration' value: '{expiration}'");
        assert_eq!((refused.code, &*refused.message), (ErrorCode::InvalidPolicyDocument, &*message));
    }
    assert_eq!(PostPolicy::parse("*").unwrap_err().code, ErrorCode::InvalidPolicyDocument);
    let wrapped = STANDARD.encode(r#"{"expiration": "2999-01-01T00:00:00Z", "conditions": []}"#);
    assert!(PostPolicy::parse(&format!("{}\r\n{}", &wrapped[..8], &wrapped[8..])).is_ok());
}

#[test]
fn fields_become_the_headers_of_a_put() {
    let fields = [
        ("key", "k"),
        ("acl", "private"),
        ("Content-Type", " text/plain "),
        ("x-amz-meta-b", "v"),
        ("x-amz-meta-a", "é"),
        ("tagging", "<Tagging><TagSet><Tag><Key>a b</Key><Value>c</Value></Tag></TagSet></Tagging>"),
        ("success_action_status", "201"),
        ("x-ignore-x-amz-acl", "public-read"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-credential", "c"),
        ("submit", "Upload"),
    ];
    let headers = form(&fields).upload_headers().unwrap();
    let expected = [
        ("x-amz-acl", "private"),
        ("content-type", "text/plain"),
        ("x-amz-meta-b", "v"),
        ("x-amz-meta-a", "é"),
        ("x-amz-tagging", "a%20b=c"),
    ];
    assert_eq!(headers.len(), expected.len(), "{headers:?}");
    for (name, value) in expected {
        assert_eq!(headers[name].as_bytes(), value.as_bytes());
    }
    for (fields, code) in [
        (&[("x-amz-meta-a", "line\nbreak")][..], ErrorCode::InvalidArgument),
        (&[("x-amz-meta-a b", "v")], ErrorCode::InvalidArgument),
        (&[("acl", "private"), ("x-amz-acl", "public-read")], ErrorCode::InvalidArgument),
        (&[("tagging", "a=b")], ErrorCode::MalformedXML),
        (&[("x-amz-trailer", "x-amz-checksum-crc32")], ErrorCode::NotImplemented),
        (&[("x-amz-decoded-content-length", "3")], ErrorCode::NotImplemented),
    ] {
        assert_eq!(form(fields).upload_headers().unwrap_err().code, code, "{fields:?}");
    }
}

#[test]
fn the_answer_is_the_one_that_was_asked_for() {
    let (bucket, object_key) = (BucketName::parse("b").unwrap(), ObjectKey::parse("a&b/é").unwrap());
    let stored = Stored {
        location: "http://s3/b/a%26b/%C3%A9",
        bucket: &bucket,
        object_key: &object_key,
        etag: "\"e\"",
    };
    let response = |fields: &[(&str, &str)]| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/of-the-storage"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(3));
        headers.insert("x-amz-version-id", HeaderValue::from_static("v"));
        Success::from_form(&form(fields)).response(&stored, headers)
    };
    for (status, expected) in [("200", 200), ("201", 201), ("204", 204), ("303", 204), ("", 204), ("x", 204)]
    {
        let response = response(&[("success_action_status", status)]);
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers()[LOCATION], stored.location);
        assert_eq!(response.headers()[ETAG], "\"e\"");
        assert_eq!(response.headers()["x-amz-version-id"], "v");
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>http://s3/b/a%26b/%C3%A9</Location>\
                        <Bucket>b</Bucket><Key>a&amp;b/é</Key><ETag>\"e\"</ETag></PostResponse>";
        assert_eq!(response.body(), if expected == 201 { document } else { "" });
        assert_eq!(response.headers().contains_key(CONTENT_TYPE), expected == 201);
    }
    let named = "bucket=b&key=a%26b%2F%C3%A9&etag=%22e%22";
    for (address, expected) in [
        ("http://page", format!("http://page/?{named}")),
        ("https://page:1/a?b=c#fragment", format!("https://page:1/a?b=c&{named}")),
    ] {
        let response = response(&[("success_action_redirect", address), ("success_action_status", "201")]);
        assert_eq!(
            (response.status().as_u16(), response.headers()[LOCATION].to_str().unwrap()),
            (303, &*expected)
        );
        assert_eq!(response.body(), "");
    }
    assert_eq!(response(&[("redirect", "http://page/")]).status(), 303);
    for address in
        ["", "/page", "page", "javascript:alert(1)", "ftp://page/", "//page", "http://", "http://a b/"]
    {
        assert_eq!(response(&[("success_action_redirect", address)]).status(), 204, "{address}");
    }
}
