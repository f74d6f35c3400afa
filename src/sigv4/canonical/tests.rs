use percent_encoding::percent_decode;
use proptest::prelude::*;

use super::*;
use crate::sigv4::scope::Timestamp;
use crate::wire::percent::encode_path;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut buffer = Vec::new();
    write(&mut buffer);
    String::from_utf8(buffer).unwrap()
}

fn canonical_request(request: &CanonicalRequest<'_, '_>, folding: Folding) -> String {
    let time = Timestamp::parse_basic("20130524T000000Z").unwrap().basic();
    let scope = CredentialScope { date: "20130524", region: "us-east-1" };
    let mut buffer = b"what was there".to_vec();
    let text = request.write(&mut buffer, folding, &time, &scope);
    let hash = hex::encode(&sha256(text.canonical_request));
    assert_eq!(
        String::from_utf8_lossy(text.string_to_sign),
        format!("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n{hash}")
    );
    String::from_utf8(text.canonical_request.to_vec()).unwrap()
}

#[test]
fn a_path_is_encoded_once_and_never_normalised() {
    for (raw, canonical) in [
        ("", "/"),
        ("/b/a%20b", "/b/a%20b"),
        ("/b//.././/c", "/b//.././/c"),
        ("/b/%2e%2E/%7e", "/b/../~"),
        ("/b/a+b", "/b/a%2Bb"),
        ("/b/%c3%a9", "/b/%C3%A9"),
        ("/b/(1)!*'", "/b/%281%29%21%2A%27"),
        ("/b/100%", "/b/100%25"),
        ("/b/%2525", "/b/%2525"),
        ("/b/%FF%00", "/b/%FF%00"),
    ] {
        assert_eq!(written(|path| push_path(path, raw)), canonical, "{raw}");
    }
}

#[test]
fn a_query_is_sorted_as_encoded() {
    let canonical =
        |raw: &str, except| written(|query| push_query(query, &Query::parse(raw).unwrap(), except));
    assert_eq!(canonical("b=2&a=1&a=0&acl", None), "a=0&a=1&acl=&b=2");
    assert_eq!(canonical("x=a+b%2B/c", None), "x=a%20b%2B%2Fc");
    // Decoded, DEL sorts after the tilde; encoded, before it.
    assert_eq!(canonical("~=2&%7F=1", None), "%7F=1&~=2");
    assert_eq!(
        canonical("X-Amz-Signature=1&z=2&x-amz-signature=3", Some("X-Amz-Signature")),
        "x-amz-signature=3&z=2"
    );
}

#[test]
fn header_values_are_trimmed_folded_and_joined() {
    let mut headers = HeaderMap::new();
    headers.append("host", "h".parse().unwrap());
    headers.append("x-amz-meta-a", "  one   two ".parse().unwrap());
    headers.append("x-amz-meta-a", "a\tb".parse().unwrap());
    headers.append("x-amz-meta-empty", "".parse().unwrap());
    let names = SignedNames::parse("x-amz-meta-empty;host;x-amz-meta-a").unwrap();
    let request = CanonicalRequest {
        method: "GET",
        raw_path: "/",
        query: &Query::parse("").unwrap(),
        unsigned_parameter: None,
        headers: &names.find(&headers).unwrap().complete().unwrap(),
        content_sha256: b"UNSIGNED-PAYLOAD",
    };
    for (folding, tab) in [(Folding::Spaces, "\t"), (Folding::WhiteSpace, " ")] {
        assert_eq!(
            canonical_request(&request, folding),
            format!(
                "GET\n/\n\nhost:h\nx-amz-meta-a:one two,a{tab}b\nx-amz-meta-empty:\n\n\
                 host;x-amz-meta-a;x-amz-meta-empty\nUNSIGNED-PAYLOAD"
            )
        );
    }
}

#[test]
fn runs_of_white_space_are_one_space() {
    let folded = |value: &str, folding| {
        let headers = HeaderMap::from_iter([(http::header::HOST, value.parse().unwrap())]);
        let lines = written(|lines| SignedHeaders::new(&headers, |_| true).push_lines(lines, folding));
        lines.strip_prefix("host:").and_then(|line| line.strip_suffix('\n')).unwrap().to_owned()
    };
    for (value, spaces, white_space) in [
        ("a\t\tb \t c", "a\t\tb \t c", "a b c"),
        ("a  \tb", "a \tb", "a b"),
        ("a     b   c", "a b c", "a b c"),
        ("\ta\t", "a", "a"),
        ("", "", ""),
    ] {
        assert_eq!(folded(value, Folding::Spaces), spaces, "{value:?}");
        assert_eq!(folded(value, Folding::WhiteSpace), white_space, "{value:?}");
    }
}

#[test]
fn signed_header_lists_of_another_shape_are_refused() {
    for list in ["", "host;", ";host", "Host", "host;host", "host;x amz", "host;a:b", "host;é"] {
        assert_eq!(SignedNames::parse(list), Err(AuthFault::SignedHeadersShape), "{list}");
    }
    let long = |count: usize| (0..count).map(|n| format!("h{n}")).collect::<Vec<_>>().join(";");
    assert!(SignedNames::parse(&long(MAX_SIGNED_HEADERS)).is_ok());
    assert_eq!(
        SignedNames::parse(&long(MAX_SIGNED_HEADERS + 1)),
        Err(AuthFault::TooManySignedHeaders { limit: MAX_SIGNED_HEADERS })
    );
}

#[test]
fn a_missing_header_is_named() {
    let mut headers = HeaderMap::new();
    headers.append("b", "1".parse().unwrap());
    headers.append("b", "2".parse().unwrap());
    headers.append("d", "3".parse().unwrap());
    headers.append("host", "h".parse().unwrap());
    for (list, missing) in [("b;d", None), ("d;b;a", Some("a")), ("c;b;d", Some("c")), ("e;d;b", Some("e"))] {
        let list = format!("{list};host");
        let names = SignedNames::parse(&list).unwrap();
        let complete = names.find(&headers).unwrap().complete();
        assert_eq!(complete.err(), missing.map(|name| AuthError::SignedHeaderMissing(name.into())), "{list}");
    }
}

/// The canonical request by lookups, copies and joins, without the short cuts of the product.
fn canonical_request_slowly(raw_path: &str, query: &Query, headers: &HeaderMap, names: &[&str]) -> String {
    let raw_path = if raw_path.is_empty() { "/" } else { raw_path };
    let path: Vec<u8> = percent_decode(raw_path.as_bytes()).collect();
    let encode = |bytes: &[u8]| encode_query(bytes).to_string();
    let mut parameters: Vec<(String, String)> =
        query.iter().map(|parameter| (encode(&parameter.name), encode(parameter.value()))).collect();
    parameters.sort();
    let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut names = names.to_vec();
    names.sort_unstable();
    let mut lines = String::new();
    for name in &names {
        let values = headers.get_all(*name).iter().map(|value| value.to_str().unwrap().trim());
        let values: Vec<String> = values
            .map(|value| value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
            .collect();
        lines.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    format!("PUT\n{}\n{}\n{lines}\n{}\nword", encode_path(&path), query.join("&"), names.join(";"))
}

proptest! {
    #[test]
    fn a_request_is_written_as_without_short_cuts(
        raw_path in "(\\PC|%[0-9A-Fa-f]{2}|[%+/]){0,20}",
        raw_query in "([a-c~=&+]|%[0-9A-Fa-f]{2}|%|\\PC){0,30}",
        fields in prop::collection::vec(("host|range|x-amz-[a-c]|x-amz", "[ -~]{0,8}( [a-z ]{0,8})?"), 1..12),
        shuffle in any::<usize>(),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        headers.entry("host").or_insert(HeaderValue::from_static("example"));
        let names = headers.keys().map(HeaderName::as_str).filter(|name| *name != "range");
        let mut names: Vec<&str> = names.collect();
        let turns = shuffle % names.len().max(1);
        names.rotate_left(turns);
        let list = names.join(";");
        let query = Query::parse(&raw_query).unwrap();
        let request = CanonicalRequest {
            method: "PUT",
            raw_path: &raw_path,
            query: &query,
            unsigned_parameter: None,
            headers: &SignedNames::parse(&list).unwrap().find(&headers).unwrap().complete().unwrap(),
            content_sha256: b"word",
        };
        let slowly = canonical_request_slowly(&raw_path, &query, &headers, &names);
        prop_assert_eq!(canonical_request(&request, Folding::Spaces), slowly);
    }
}
