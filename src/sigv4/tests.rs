use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use serde_json::Value;

use super::canonical::{CanonicalRequest, Folding, SignedNames, push_path, push_query};
use super::claim::X_AMZ_SIGNATURE;
use super::query::Query;
use super::scope::{CredentialScope, Timestamp};
use super::signing_key::{Signature, SigningKey};
use super::*;

const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that owns its parts, to be bent out of shape.
#[derive(Clone, Debug)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    virtual_host_bucket: Option<String>,
}

impl Sent {
    fn authenticate_as(
        &self,
        policy: &VerifyPolicy,
        now: SystemTime,
        secret: &str,
    ) -> Result<Authenticated, AuthError> {
        let head = RequestHead {
            method: &self.method,
            raw_path: &self.path,
            raw_query: &self.query,
            headers: &self.headers,
            virtual_host_bucket: self.virtual_host_bucket.as_deref(),
            is_parameter: |name| !["anything", "x-user"].contains(&name),
        };
        let secret = SecretAccessKey::new(secret.to_owned());
        authenticate(&head, policy, now, |id| (id == ACCESS_KEY_ID).then_some(&secret))
    }

    fn authenticate(&self) -> Result<Authenticated, AuthError> {
        self.authenticate_as(&VerifyPolicy::default(), now(), SECRET)
    }

    fn error(&self) -> AuthError {
        self.authenticate().expect_err("the request must be refused")
    }

    fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    fn without_header(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn with_query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    fn replacing_in_authorization(self, from: &str, to: &str) -> Self {
        let authorization = self.headers["authorization"].to_str().unwrap();
        assert!(authorization.contains(from), "{authorization}");
        let replaced = authorization.replace(from, to);
        self.with_header("authorization", &replaced)
    }
}

/// Noon, so that an hour to either side is in one day.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600) + DAY / 2
}

/// The SDK's own signer, over the headers that ours covers.
fn sign_as_the_sdk_does(
    parts: &mut http::request::Parts,
    payload: PayloadSigning,
    credentials: &Credentials,
    time: SystemTime,
) {
    use aws_sigv4::http_request as sdk;
    let mut settings = sdk::SigningSettings::default();
    settings.percent_encoding_mode = sdk::PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = sdk::UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = sdk::PayloadChecksumKind::XAmzSha256;
    let identity = credentials.clone().into();
    let params = aws_sigv4::sign::v4::SigningParams::builder();
    let params = params.identity(&identity).region("us-east-1").name("s3").time(time).settings(settings);
    let params = params.build().unwrap().into();
    if !parts.headers.contains_key("host") {
        let authority = parts.uri.authority().unwrap().as_str();
        parts.headers.insert("host", HeaderValue::from_str(authority).unwrap());
    }
    let is_signed = |name: &str| {
        name.starts_with("x-amz-")
            || ["host", "content-type", "content-md5", "content-encoding"].contains(&name)
    };
    let headers = parts.headers.iter().filter(|(name, _)| is_signed(name.as_str()));
    let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let body = match payload {
        PayloadSigning::Empty => sdk::SignableBody::Bytes(b""),
        PayloadSigning::Sha256(hash) => sdk::SignableBody::Precomputed(crate::wire::hex::encode(&hash)),
        PayloadSigning::Unsigned => sdk::SignableBody::UnsignedPayload,
        PayloadSigning::StreamingUnsignedTrailer => sdk::SignableBody::StreamingUnsignedPayloadTrailer,
    };
    // Its own reading of a query drops what S3 keeps, so it is given the canonical one.
    let mut uri = b"http://host".to_vec();
    push_path(&mut uri, parts.uri.path());
    if let Some(query) = parts.uri.query() {
        uri.push(b'?');
        push_query(&mut uri, &Query::parse(query).unwrap(), None);
    }
    let uri = String::from_utf8(uri).unwrap();
    let request = sdk::SignableRequest::new(parts.method.as_str(), uri, headers.into_iter(), body).unwrap();
    let (instructions, _) = sdk::sign(request, &params).unwrap().into_parts();
    for header in instructions.into_parts().0 {
        parts
            .headers
            .insert(HeaderName::from_static(header.name()), HeaderValue::from_str(header.value()).unwrap());
    }
}

/// A request signed in the header, by the SDK's signer.
fn signed(method: &str, target: &str, headers: &[(&'static str, &str)], payload: PayloadSigning) -> Sent {
    let mut request = Request::builder().method(method).uri(format!("http://127.0.0.1:8333{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET, None, None, "test");
    sign_as_the_sdk_does(&mut parts, payload, &credentials, now());
    Sent {
        method: method.to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        virtual_host_bucket: None,
    }
}

fn signed_get() -> Sent {
    signed("GET", "/bucket/key?versionId=1", &[], PayloadSigning::Empty)
}

const SCOPE: CredentialScope<'static> = CredentialScope { date: "20130524", region: "us-east-1" };

/// The signature of a client, at [`now`] and for [`SCOPE`].
fn client_signature(
    (method, raw_path, raw_query): (&str, &str, &str),
    headers: &HeaderMap,
    signed_names: &str,
    content_sha256: &str,
    folding: Folding,
) -> String {
    let canonical = CanonicalRequest {
        method,
        raw_path,
        query: &Query::parse(raw_query).unwrap(),
        unsigned_parameter: None,
        headers: &SignedNames::parse(signed_names).unwrap().find(headers).unwrap().complete().unwrap(),
        content_sha256: content_sha256.as_bytes(),
    };
    let mut buffer = Vec::new();
    let text = canonical.write(&mut buffer, folding, &Timestamp::from(now()).basic(), &SCOPE);
    let key = SigningKey::derive(&SecretAccessKey::new(SECRET.to_owned()), &SCOPE);
    key.sign(text.string_to_sign).as_str().to_owned()
}

/// A presigned request over `query`, which holds every parameter but the signature.
fn presigned(query: &str, signed_headers: &str, content_sha256: &str) -> Sent {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1:8333"));
    let request = ("PUT", "/bucket/key", query);
    let signature = client_signature(request, &headers, signed_headers, content_sha256, Folding::Spaces);
    Sent {
        method: "PUT".into(),
        path: "/bucket/key".into(),
        query: format!("{query}&{X_AMZ_SIGNATURE}={signature}"),
        headers,
        virtual_host_bucket: None,
    }
}

const PRESIGNED_QUERY: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
    &X-Amz-Date=20130524T120000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host";

fn presigned_put() -> Sent {
    presigned(PRESIGNED_QUERY, "host", "UNSIGNED-PAYLOAD")
}

/// A presigned Version 2 request whose `resource` (path and signed parameters) is given as it is signed.
fn presigned_v2(method: &str, query: &str, amz_lines: &str, resource: &str) -> Sent {
    let expires = "1369400000";
    let to_sign = format!("{method}\n\n\n{expires}\n{amz_lines}{resource}");
    let signature = Signature::v2(&SecretAccessKey::new(SECRET.to_owned()), to_sign.as_bytes());
    let signature = signature.as_str().replace('+', "%2B");
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1:8333"));
    Sent {
        method: method.into(),
        path: "/bucket/key".into(),
        query: format!("{query}&AWSAccessKeyId={ACCESS_KEY_ID}&Signature={signature}&Expires={expires}"),
        headers,
        virtual_host_bucket: None,
    }
}

fn header_fault(sent: &Sent) -> AuthFault {
    let error = sent.error();
    let AuthError::Malformed { found_in: AuthSource::Header, fault } = error else {
        panic!("not a header fault: {error:?}");
    };
    fault
}

fn query_fault(sent: &Sent) -> AuthFault {
    let error = sent.error();
    let AuthError::Malformed { found_in: AuthSource::Query, fault } = error else {
        panic!("not a query fault: {error:?}");
    };
    fault
}

mod vectors {
    use super::*;

    fn load(prefix: &str) -> Vec<(String, Value)> {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sigv4");
        let mut vectors = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with(prefix) && name.ends_with(".json") {
                vectors.push((name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()));
            }
        }
        vectors
    }

    fn sent(vector: &Value) -> Sent {
        let request = &vector["request"];
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        for pair in request["headers"].as_array().unwrap() {
            let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
            headers.append(name, HeaderValue::from_str(pair[1].as_str().unwrap()).unwrap());
        }
        Sent {
            method: text("method"),
            path: text("path"),
            query: text("query"),
            headers,
            virtual_host_bucket: request["virtual_host_bucket"].as_str().map(str::to_owned),
        }
    }

    fn moment(vector: &Value) -> SystemTime {
        let epoch = Timestamp::from(SystemTime::UNIX_EPOCH);
        let moment = Timestamp::parse_basic(vector["now"].as_str().unwrap()).unwrap();
        SystemTime::UNIX_EPOCH + moment.distance(epoch)
    }

    fn bytes(pieces: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces.as_array().unwrap() {
            match piece["text"].as_str() {
                Some(text) => bytes.extend_from_slice(text.as_bytes()),
                None => {
                    let times = usize::try_from(piece["times"].as_u64().unwrap()).unwrap();
                    bytes.extend(piece["repeat"].as_str().unwrap().repeat(times).into_bytes());
                }
            }
        }
        bytes
    }

    fn check(name: &str, vector: &Value) {
        let (sent, expect) = (sent(vector), &vector["expect"]);
        let policy = VerifyPolicy { region: Some("us-east-1".to_owned()), ..VerifyPolicy::default() };
        let verdict = sent.authenticate_as(&policy, moment(vector), SECRET);
        let authenticated = verdict.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(authenticated.access_key_id.as_str(), expect["access_key_id"], "{name}");
        assert_eq!(authenticated.presigned, expect["presigned"], "{name}");
        let kind = match authenticated.payload {
            Payload::Unsigned => "unsigned",
            Payload::Sha256(_) => "sha256",
            Payload::Chunked(payload) => {
                let mut decoder = AwsChunkedDecoder::new(payload);
                let mut input = Bytes::from(bytes(&vector["body"]));
                let mut decoded = Vec::new();
                while let Decoded::Data(data) = decoder.decode(&mut input).unwrap() {
                    decoded.extend_from_slice(&data);
                }
                assert!(decoded == bytes(&expect["decoded"]), "{name}");
                let trailers = decoder.finish().unwrap();
                let trailers: Vec<[&str; 2]> = trailers.iter().map(|(name, value)| [name, value]).collect();
                assert_eq!(serde_json::to_value(trailers).unwrap(), expect["trailers"], "{name}");
                "chunked"
            }
        };
        assert_eq!(kind, expect["payload"], "{name}");

        // With another secret only the signature differs.
        match sent.authenticate_as(&policy, moment(vector), "another secret") {
            Err(AuthError::SignatureDoesNotMatch(mismatch)) => {
                if let Some(to_sign) = expect["string_to_sign"].as_str() {
                    assert_eq!(String::from_utf8(mismatch.string_to_sign).unwrap(), to_sign, "{name}");
                }
            }
            other => panic!("{name}: a wrong secret was not noticed: {other:?}"),
        }
    }

    #[test]
    fn the_published_examples_verify() {
        let vectors = load("aws_");
        assert_eq!(vectors.len(), 7);
        for (name, vector) in vectors {
            check(&name, &vector);
        }
    }

    #[test]
    fn what_boto3_signs_verifies() {
        let vectors = load("boto3_");
        assert_eq!(vectors.len(), 21);
        for (name, vector) in vectors {
            check(&name, &vector);
        }
    }

    /// An attacker on the network could have changed the path, the method or a signed parameter.
    #[test]
    fn what_boto3_signs_does_not_verify_once_altered() {
        for (name, vector) in load("boto3_") {
            let policy = VerifyPolicy::default();
            let original = sent(&vector);
            let method = if original.method == "GET" { "PUT" } else { "GET" };
            let altered = [
                Sent { path: format!("{}x", original.path), ..original.clone() },
                Sent { method: method.to_owned(), ..original.clone() },
                Sent { query: format!("{}&versionId=2", original.query), ..original.clone() },
            ];
            for sent in altered {
                let verdict = sent.authenticate_as(&policy, moment(&vector), SECRET);
                assert!(
                    matches!(verdict, Err(AuthError::SignatureDoesNotMatch(_))),
                    "{name}: {sent:?}: {verdict:?}"
                );
            }
        }
    }
}

mod header_signed {
    use super::*;

    #[test]
    fn our_own_signature_verifies() {
        let authenticated = signed_get().authenticate().unwrap();
        assert_eq!(authenticated.access_key_id, AccessKeyId::new(ACCESS_KEY_ID));
        assert!(!authenticated.presigned);
        assert!(matches!(authenticated.payload, Payload::Sha256(_)));
    }

    #[test]
    fn every_payload_word_arrives() {
        let payload = |signing| signed("PUT", "/b/k", &[], signing).authenticate().unwrap().payload;
        assert!(matches!(payload(PayloadSigning::Unsigned), Payload::Unsigned));
        assert!(matches!(payload(PayloadSigning::Sha256([7; 32])), Payload::Sha256(hash) if hash == [7; 32]));
        let headers = [("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "X-Amz-Checksum-Crc32")];
        let chunked = signed("PUT", "/b/k", &headers, PayloadSigning::StreamingUnsignedTrailer);
        let payload = chunked.authenticate().unwrap().payload;
        let Payload::Chunked(payload) = payload else { panic!("{payload:?}") };
        assert_eq!(payload.decoded_length(), Some(5));
        assert_eq!(payload.announced_trailers(), ["x-amz-checksum-crc32"]);
    }

    /// Some SDKs fold every white-space character into a space before they sign, others fold only spaces;
    /// both send the value as it is.
    #[test]
    fn a_tab_is_folded_or_not() {
        let names = "host;x-amz-content-sha256;x-amz-date;x-amz-meta-note";
        for value in ["left\tright", "a\t\tb \t c", "a  b", "plain"] {
            for folding in [Folding::Spaces, Folding::WhiteSpace] {
                let mut headers = HeaderMap::new();
                for (name, value) in [
                    ("host", "h"),
                    ("x-amz-date", "20130524T120000Z"),
                    ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
                    ("x-amz-meta-note", value),
                ] {
                    headers.insert(name, HeaderValue::from_str(value).unwrap());
                }
                let request = ("PUT", "/b/k", "");
                let signature = client_signature(request, &headers, names, "UNSIGNED-PAYLOAD", folding);
                let authorization = format!(
                    "AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{SCOPE},SignedHeaders={names},Signature={signature}"
                );
                let (method, path, query) = ("PUT".into(), "/b/k".into(), String::new());
                let sent = Sent { method, path, query, headers, virtual_host_bucket: None }
                    .with_header("authorization", &authorization);
                assert!(sent.authenticate().is_ok(), "{value:?} {folding:?}");
                let other = sent.with_header("x-amz-meta-note", "left\tother");
                assert!(
                    matches!(other.error(), AuthError::SignatureDoesNotMatch(_)),
                    "This is a security issue."
                );
            }
        }
    }

    #[test]
    fn fields_come_in_any_order_and_with_or_without_blanks() {
        let sent = signed_get();
        let authorization = sent.headers["authorization"].to_str().unwrap().to_owned();
        let mut fields: Vec<&str> =
            authorization.strip_prefix("AWS4-HMAC-SHA256 ").unwrap().split(", ").collect();
        fields.reverse();
        for separator in [",", ", ", " ,  "] {
            let value = format!("AWS4-HMAC-SHA256  {}", fields.join(separator));
            assert!(sent.clone().with_header("authorization", &value).authenticate().is_ok(), "{value}");
        }
    }

    #[test]
    fn a_date_header_will_do() {
        for date in ["Fri, 24 May 2013 12:00:00 GMT", "20130524T120000Z"] {
            a_date_header(date);
        }
    }

    fn a_date_header(date: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        headers.insert("date", HeaderValue::from_str(date).unwrap());
        headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
        let names = "date;host;x-amz-content-sha256";
        let signature =
            client_signature(("GET", "/", ""), &headers, names, "UNSIGNED-PAYLOAD", Folding::Spaces);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{SCOPE},SignedHeaders={names},Signature={signature}"
        );
        let sent = Sent {
            method: "GET".into(),
            path: "/".into(),
            query: String::new(),
            headers,
            virtual_host_bucket: None,
        }
        .with_header("authorization", &authorization);
        assert!(sent.authenticate().is_ok());
        let later = sent.clone().with_header("date", "Fri, 24 May 2013 12:00:01 GMT");
        assert!(matches!(later.error(), AuthError::SignatureDoesNotMatch(_)));
        for date in ["yesterday", "20130524", "Fri, 31 Dec 9999 23:59:59 -0100"] {
            assert_eq!(sent.clone().with_header("date", date).error(), AuthError::InvalidDate, "{date}");
        }
        assert_eq!(sent.without_header("date").error(), AuthError::InvalidDate);
        let malformed = signed_get().with_header("x-amz-date", "2013-05-24");
        assert_eq!(malformed.error(), AuthError::InvalidDate);
    }

    #[test]
    fn a_malformed_header_is_told_apart() {
        let with = |value: &str| signed_get().with_header("authorization", value);
        assert_eq!(with("Bearer abc").error(), AuthError::UnsupportedScheme);
        assert_eq!(with("").error(), AuthError::UnsupportedScheme);
        assert_eq!(with("AWS AKIAIOSFODNN7EXAMPLE:c2ln").error(), AuthError::SigV2NotAllowed);
        assert_eq!(
            with("AWS4-ECDSA-P256-SHA256 Credential=x").error(),
            AuthError::EcdsaNotImplemented("AWS4-ECDSA-P256-SHA256".into())
        );
        assert_eq!(header_fault(&with("AWS4-HMAC-SHA256")), AuthFault::UnknownField(String::new()));
        assert_eq!(
            header_fault(&with("AWS4-HMAC-SHA256 Credential=a,SignedHeaders=host")),
            AuthFault::Missing("Signature")
        );
        assert_eq!(
            header_fault(&with("AWS4-HMAC-SHA256 Credential=a,Credential=a")),
            AuthFault::Repeated("Credential")
        );
        assert_eq!(
            header_fault(&with("AWS4-HMAC-SHA256 Credential=a,Region=b")),
            AuthFault::UnknownField("Region".into())
        );
        let endless = format!("AWS4-HMAC-SHA256 Credential={}", "a".repeat(16 * 1024));
        assert_eq!(header_fault(&with(&endless)), AuthFault::TooLong { limit: 16 * 1024 });
    }

    #[test]
    fn a_scope_made_for_elsewhere_is_refused() {
        let fault = |from, to| header_fault(&signed_get().replacing_in_authorization(from, to));
        assert_eq!(fault("/s3/", "/ec2/"), AuthFault::Service("ec2".into()));
        assert_eq!(fault("aws4_request", "aws5_request"), AuthFault::Terminator("aws5_request".into()));
        assert_eq!(fault("/s3/aws4_request", ""), AuthFault::CredentialShape);
        assert_eq!(
            fault("/20130524/", "/20130525/"),
            AuthFault::ScopeDate { scope: "20130525".into(), request: "20130524".into() }
        );
        let policy = VerifyPolicy { region: Some("eu-west-1".into()), ..VerifyPolicy::default() };
        let region = AuthFault::Region { expected: "eu-west-1".into(), given: "us-east-1".into() };
        assert_eq!(
            signed_get().authenticate_as(&policy, now(), SECRET).unwrap_err(),
            AuthError::Malformed { found_in: AuthSource::Header, fault: region }
        );
    }

    #[test]
    fn clocks_may_differ_by_the_skew_and_no_more() {
        let (policy, sent) = (VerifyPolicy::default(), signed_get());
        let at = |now| sent.authenticate_as(&policy, now, SECRET);
        let second = Duration::from_secs(1);
        assert!(at(now() + policy.max_skew).is_ok());
        assert!(at(now() - policy.max_skew).is_ok());
        for moment in [now() + policy.max_skew + second, now() - policy.max_skew - second] {
            assert!(matches!(at(moment), Err(AuthError::RequestTimeTooSkewed { .. })));
        }
    }

    #[test]
    fn an_unknown_client_and_a_wrong_secret_are_told_apart() {
        let stranger = signed_get().replacing_in_authorization(ACCESS_KEY_ID, "AKSTRANGER");
        assert_eq!(stranger.error(), AuthError::UnknownAccessKeyId("AKSTRANGER".into()));
        let error =
            signed_get().authenticate_as(&VerifyPolicy::default(), now(), "another secret").unwrap_err();
        let AuthError::SignatureDoesNotMatch(mismatch) = error else { panic!("{error:?}") };
        assert_eq!(mismatch.access_key_id, ACCESS_KEY_ID);
        let canonical = String::from_utf8(mismatch.canonical_request.unwrap()).unwrap();
        assert!(canonical.starts_with("GET\n/bucket/key\nversionId=1\nhost:127.0.0.1:8333\n"), "{canonical}");
        assert!(
            mismatch.string_to_sign.starts_with(b"AWS4-HMAC-SHA256\n20130524T120000Z\n20130524/us-east-1/")
        );
    }

    /// This is a security issue if it fails: the decoy's secret must open nothing.
    #[test]
    fn the_decoy_secret_signs_for_nobody() {
        let mut request = Request::builder().uri("http://h/b/k").body(()).unwrap().into_parts().0;
        let credentials = Credentials::new("AKSTRANGER", "*".repeat(40), None, None, "test");
        Signer::new("us-east-1").sign(&mut request, PayloadSigning::Empty, &credentials, now()).unwrap();
        let sent = Sent {
            method: "GET".into(),
            path: "/b/k".into(),
            query: String::new(),
            headers: request.headers,
            virtual_host_bucket: None,
        };
        assert_eq!(sent.error(), AuthError::UnknownAccessKeyId("AKSTRANGER".into()));
    }

    #[test]
    fn headers_that_change_the_meaning_must_be_signed() {
        assert_eq!(
            signed_get().with_header("x-amz-b", "1").with_header("x-amz-a", "1").error(),
            AuthError::HeadersNotSigned(vec!["x-amz-a".into(), "x-amz-b".into()])
        );
        assert_eq!(
            signed_get().replacing_in_authorization("host;", "").error(),
            AuthError::HeadersNotSigned(vec!["host".into()])
        );
        assert!(signed_get().with_header("range", "bytes=0-1").authenticate().is_ok());
        assert_eq!(
            signed_get().replacing_in_authorization("host;", "host;range;").error(),
            AuthError::SignedHeaderMissing("range".into())
        );
        assert_eq!(
            header_fault(&signed_get().replacing_in_authorization("host;", "Host;")),
            AuthFault::SignedHeadersShape
        );
    }

    #[test]
    fn an_altered_header_is_noticed() {
        let sent = signed("PUT", "/b/k", &[("x-amz-meta-a", "1")], PayloadSigning::Unsigned);
        for altered in [
            sent.clone().with_header("x-amz-meta-a", "2"),
            sent.clone().with_header("host", "elsewhere"),
            sent.clone().with_header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            sent.with_header("x-amz-date", "20130524T120001Z"),
        ] {
            assert!(matches!(altered.error(), AuthError::SignatureDoesNotMatch(_)), "{altered:?}");
        }
    }

    #[test]
    fn the_payload_word_must_be_there_and_legal() {
        let sent = signed_get();
        assert_eq!(
            sent.clone().without_header("x-amz-content-sha256").error(),
            AuthError::MissingContentSha256
        );
        let with = |word| sent.clone().with_header("x-amz-content-sha256", word).error();
        assert_eq!(with("nonsense"), AuthError::InvalidContentSha256);
        assert_eq!(
            with("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"),
            AuthError::EcdsaNotImplemented("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD".into())
        );
    }

    #[test]
    fn lengths_and_trailers_must_make_sense() {
        let error = |headers: &[(&'static str, &str)]| {
            signed("PUT", "/b/k", headers, PayloadSigning::StreamingUnsignedTrailer).error()
        };
        for length in ["", "-1", "+1", "0x10", "18446744073709551616"] {
            let headers = [("x-amz-decoded-content-length", length)];
            assert_eq!(error(&headers), AuthError::InvalidDecodedLength, "{length}");
        }
        let many = (0..17).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(error(&[("x-amz-trailer", &many)]), AuthError::TooManyTrailers { limit: 16 });
    }

    #[test]
    fn repeated_headers_are_refused() {
        for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
            let mut sent = signed_get();
            let value = sent.headers[name].clone();
            sent.headers.append(name, value);
            assert_eq!(sent.error(), AuthError::AmbiguousHeader(name));
        }
    }

    #[test]
    fn session_tokens_are_refused() {
        assert_eq!(signed_get().with_header("x-amz-security-token", "t").error(), AuthError::SecurityToken);
        assert_eq!(signed_get().with_query("x-amz-security-token=t").error(), AuthError::SecurityToken);
    }

    #[test]
    fn one_mechanism_and_no_more() {
        assert_eq!(signed_get().without_header("authorization").error(), AuthError::Anonymous);
        let query = presigned_put().query;
        assert_eq!(signed_get().with_query(&query).error(), AuthError::SeveralMechanisms);
        assert_eq!(signed_get().with_query("AWSAccessKeyId=x").error(), AuthError::SeveralMechanisms);
        let both = format!("{query}&AWSAccessKeyId=x");
        assert_eq!(presigned_put().with_query(&both).error(), AuthError::SeveralMechanisms);
    }

    #[test]
    fn the_query_has_a_limit() {
        let endless = "a&".repeat(1_281);
        assert_eq!(
            signed_get().with_query(&endless).error(),
            AuthError::TooManyQueryParameters { limit: 1_280 }
        );
    }
}

mod presigned_v4 {
    use super::*;

    #[test]
    fn it_verifies_without_a_word_on_the_payload() {
        let authenticated = presigned_put().authenticate().unwrap();
        assert!(authenticated.presigned);
        assert!(matches!(authenticated.payload, Payload::Unsigned));
    }

    #[test]
    fn a_payload_hash_in_the_query_binds_the_body() {
        let hash = super::super::signing_key::EMPTY_SHA256;
        let sent = presigned(&format!("{PRESIGNED_QUERY}&X-Amz-Content-Sha256={hash}"), "host", hash);
        assert!(matches!(sent.authenticate().unwrap().payload, Payload::Sha256(_)));
        assert_eq!(
            sent.with_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD").error(),
            AuthError::HeadersNotSigned(vec!["x-amz-content-sha256".into()])
        );
        let twice =
            format!("{PRESIGNED_QUERY}&X-Amz-Content-Sha256={hash}&x-amz-content-sha256=UNSIGNED-PAYLOAD");
        assert_eq!(
            presigned(&twice, "host", hash).error(),
            AuthError::Contradiction("x-amz-content-sha256".into())
        );
    }

    #[test]
    fn it_holds_from_its_time_to_its_end() {
        let (policy, sent) = (VerifyPolicy::default(), presigned_put());
        let at = |now| sent.authenticate_as(&policy, now, SECRET);
        let second = Duration::from_secs(1);
        assert!(at(now() + Duration::from_secs(3600)).is_ok());
        assert!(at(now() - policy.max_skew).is_ok());
        assert_eq!(
            at(now() + Duration::from_secs(3601)).unwrap_err(),
            AuthError::Expired {
                expires: "2013-05-24T13:00:00Z".into(),
                server_time: "2013-05-24T13:00:01Z".into()
            }
        );
        assert!(matches!(at(now() - policy.max_skew - second), Err(AuthError::NotYetValid { .. })));
    }

    #[test]
    fn a_malformed_query_is_told_apart() {
        let replacing = |from: &str, to: &str| {
            assert!(PRESIGNED_QUERY.contains(from), "{from}");
            let query = format!("{}&X-Amz-Signature=0", PRESIGNED_QUERY.replace(from, to));
            query_fault(&presigned_put().with_query(&query))
        };
        assert_eq!(replacing("SHA256", "SHA1"), AuthFault::Algorithm);
        assert_eq!(replacing("&X-Amz-Expires=3600", ""), AuthFault::Missing("X-Amz-Expires"));
        assert_eq!(replacing("=host", "=host&X-Amz-Expires=1"), AuthFault::Repeated("X-Amz-Expires"));
        assert_eq!(replacing("=host", "=host&X-Amz-Signature=1"), AuthFault::Repeated("X-Amz-Signature"));
        assert_eq!(replacing("=20130524T", "=%FF"), AuthFault::NotText("X-Amz-Date"));
        assert_eq!(replacing("=20130524T", "=2013-05-24T"), AuthFault::Date);
        assert_eq!(replacing("%2Fs3%2F", "%2Fs3"), AuthFault::CredentialShape);
        assert_eq!(replacing("=host", "="), AuthFault::SignedHeadersShape);
        for expires in ["0", "604801", "-1", "+5", "", "1.5"] {
            let fault = AuthFault::Expires { max_seconds: 604_800 };
            assert_eq!(replacing("=3600", &format!("={expires}")), fault, "{expires}");
        }
    }

    #[test]
    fn ecdsa_is_not_implemented() {
        let query = PRESIGNED_QUERY.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
        assert_eq!(
            presigned_put().with_query(&query).error(),
            AuthError::EcdsaNotImplemented("AWS4-ECDSA-P256-SHA256".into())
        );
    }

    #[test]
    fn any_change_to_the_query_is_noticed() {
        let query = presigned_put().query;
        for altered in
            [query.replace("=3600", "=3601"), format!("{query}&acl"), format!("{query}&X-Amz-Extra=1")]
        {
            let error = presigned_put().with_query(&altered).error();
            assert!(matches!(error, AuthError::SignatureDoesNotMatch(_)), "{altered}: {error:?}");
        }
    }

    #[test]
    fn unsigned_amz_headers_are_refused() {
        assert_eq!(
            presigned_put().with_header("x-amz-acl", "public-read").error(),
            AuthError::HeadersNotSigned(vec!["x-amz-acl".into()])
        );
    }

    #[test]
    fn session_tokens_are_refused() {
        let query = format!("{}&X-Amz-Security-Token=t", presigned_put().query);
        assert_eq!(presigned_put().with_query(&query).error(), AuthError::SecurityToken);
    }
}

mod presigned_v2_requests {
    use super::*;

    #[test]
    fn it_may_be_switched_off() {
        let sent = presigned_v2("GET", "versionId=1", "", "/bucket/key?versionId=1");
        assert!(sent.authenticate().unwrap().presigned);
        let policy = VerifyPolicy { allow_sigv2: false, ..VerifyPolicy::default() };
        assert_eq!(sent.authenticate_as(&policy, now(), SECRET).unwrap_err(), AuthError::SigV2NotAllowed);
    }

    #[test]
    fn it_only_reads_and_puts() {
        for method in ["POST", "DELETE", "PATCH"] {
            assert_eq!(presigned_v2(method, "", "", "/bucket/key").error(), AuthError::SigV2Method);
        }
    }

    #[test]
    fn it_expires() {
        let sent = presigned_v2("GET", "", "", "/bucket/key");
        let at = |seconds| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            sent.authenticate_as(&VerifyPolicy::default(), now, SECRET)
        };
        assert!(at(1_369_400_000).is_ok());
        assert!(matches!(at(1_369_400_001), Err(AuthError::Expired { .. })));
    }

    #[test]
    fn a_malformed_query_is_told_apart() {
        let sent = presigned_v2("GET", "", "", "/bucket/key");
        let fault = |query: &str| query_fault(&sent.clone().with_query(query));
        assert_eq!(fault("AWSAccessKeyId=a&Signature=b"), AuthFault::Missing("Expires"));
        assert_eq!(fault("AWSAccessKeyId=a&Signature=b&Expires=soon"), AuthFault::Epoch);
        assert_eq!(fault("AWSAccessKeyId=a&AWSAccessKeyId=b"), AuthFault::Repeated("AWSAccessKeyId"));
        assert_eq!(fault("Signature=a"), AuthFault::Missing("AWSAccessKeyId"));
    }

    #[test]
    fn strangers_and_wrong_secrets_are_told_apart() {
        let sent = presigned_v2("GET", "", "", "/bucket/key");
        let stranger = sent.query.replace(ACCESS_KEY_ID, "AKSTRANGER");
        assert_eq!(
            sent.clone().with_query(&stranger).error(),
            AuthError::UnknownAccessKeyId("AKSTRANGER".into())
        );
        let error = sent.authenticate_as(&VerifyPolicy::default(), now(), "another secret").unwrap_err();
        let AuthError::SignatureDoesNotMatch(mismatch) = error else { panic!("{error:?}") };
        assert_eq!(mismatch.string_to_sign, b"GET\n\n\n1369400000\n/bucket/key");
        assert_eq!(mismatch.canonical_request, None);
    }

    /// A holder of the URL could append parameters; those that Version 2 does not sign must not matter.
    #[test]
    fn unsigned_parameters_that_matter_are_refused() {
        for name in ["attributes", "legal-hold", "retention", "encryption", "publicAccessBlock"] {
            let sent = presigned_v2("GET", name, "", "/bucket/key");
            assert_eq!(sent.error(), AuthError::SigV2UnsignedParameter(name.into()));
        }
        for harmless in ["list-type=2&prefix=a", "anything=1", "x-user=johndoe", "%ff=1"] {
            assert!(presigned_v2("GET", harmless, "", "/bucket/key").authenticate().is_ok(), "{harmless}");
        }
    }

    /// Values are signed decoded, so one long value and several parameters could share a signature.
    #[test]
    fn a_value_cannot_swallow_a_signed_parameter() {
        let resource = "/bucket/key?response-content-type=a&versionId=1";
        assert!(
            presigned_v2("GET", "response-content-type=a&versionId=1", "", resource).authenticate().is_ok()
        );
        assert_eq!(
            presigned_v2("GET", "response-content-type=a%26versionId%3D1", "", resource).error(),
            AuthError::SigV2UnsignedParameter("response-content-type".into())
        );
        assert_eq!(
            presigned_v2(
                "PUT",
                "x-amz-acl=private%0Ax-amz-meta-a:b",
                "x-amz-acl:private\nx-amz-meta-a:b\n",
                "/bucket/key"
            )
            .error(),
            AuthError::SigV2UnsignedParameter("x-amz-acl".into())
        );
        assert_eq!(
            presigned_v2("PUT", "x-amz-a:b=c", "x-amz-a:b:c\n", "/bucket/key").error(),
            AuthError::SigV2UnsignedParameter("x-amz-a:b".into())
        );
    }

    #[test]
    fn amz_values_count_from_the_header_and_the_query() {
        let sent = presigned_v2("PUT", "x-amz-acl=private", "x-amz-acl:private\n", "/bucket/key");
        assert!(sent.authenticate().is_ok());
        assert!(sent.clone().with_header("x-amz-acl", "private").authenticate().is_ok());
        assert_eq!(
            sent.with_header("x-amz-acl", "public-read").error(),
            AuthError::Contradiction("x-amz-acl".into())
        );
        let bare = presigned_v2("PUT", "", "", "/bucket/key");
        let error = bare.with_header("x-amz-acl", "public-read").error();
        assert!(matches!(error, AuthError::SignatureDoesNotMatch(_)), "{error:?}");
    }

    #[test]
    fn a_payload_word_counts() {
        let with = |word: &str| {
            let lines = format!("x-amz-content-sha256:{word}\n");
            presigned_v2("PUT", "", &lines, "/bucket/key").with_header("x-amz-content-sha256", word)
        };
        let hash = super::super::signing_key::EMPTY_SHA256;
        assert!(matches!(with(hash).authenticate().unwrap().payload, Payload::Sha256(_)));
        assert!(matches!(with("UNSIGNED-PAYLOAD").authenticate().unwrap().payload, Payload::Unsigned));
        let unsigned = with("STREAMING-UNSIGNED-PAYLOAD-TRAILER").authenticate().unwrap().payload;
        assert!(matches!(unsigned, Payload::Chunked(_)));
        assert_eq!(with("STREAMING-AWS4-HMAC-SHA256-PAYLOAD").error(), AuthError::SigV2SignedChunks);
    }
}

mod outbound_requests {
    use super::*;

    fn parts(uri: &str) -> http::request::Parts {
        Request::builder().uri(uri).body(()).unwrap().into_parts().0
    }

    fn sign(parts: &mut http::request::Parts, token: Option<&str>) -> Result<(), SignError> {
        let credentials = Credentials::new(ACCESS_KEY_ID, SECRET, token.map(str::to_owned), None, "test");
        Signer::new("us-east-1").sign(parts, PayloadSigning::Unsigned, &credentials, now())
    }

    /// One signer for all, so that its kept key is right for every day and credentials.
    #[test]
    fn the_sdk_signs_in_the_same_way() {
        let signer = Signer::new("us-east-1");
        let one = Credentials::new(ACCESS_KEY_ID, SECRET, None, None, "test");
        let other = Credentials::new("OTHER", "other secret", Some("a/token+=".to_owned()), None, "test");
        let renewed = Credentials::new(ACCESS_KEY_ID, "another secret", None, None, "test");
        let payloads = [
            PayloadSigning::Empty,
            PayloadSigning::Sha256([0xab; 32]),
            PayloadSigning::Unsigned,
            PayloadSigning::StreamingUnsignedTrailer,
        ];
        for (uri, headers) in [
            ("http://h:9000/", &[][..]),
            (
                "http://h/b/k",
                &[("x-amz-meta-a", "  one   two "), ("x-amz-meta-a", "three"), ("x-amz-meta-empty", "")],
            ),
            (
                "http://h/b//.././%2e/a%20b+c(1)!*'~",
                &[("content-type", "text/plain; charset=utf-8"), ("range", "bytes=0-1")],
            ),
            (
                "http://h/b/%C3%A9%25?uploads&prefix=a%20b%2Fc&list-type=2&a=%2B",
                &[("content-md5", "AAAA"), ("x-amz-acl", "private")],
            ),
            (
                "http://h/b/k?x-id=GetObject&versionId=null&a=2&a=1",
                &[("content-encoding", "aws-chunked,gzip"), ("host", "elsewhere")],
            ),
        ] {
            for credentials in [&one, &other, &renewed] {
                for (payload, time) in payloads.into_iter().zip([now(), now() + DAY, now(), now() + DAY / 2])
                {
                    let mut ours = parts(uri);
                    for (name, value) in headers {
                        ours.headers.append(*name, HeaderValue::from_static(value));
                    }
                    let mut theirs = ours.clone();
                    signer.sign(&mut ours, payload, credentials, time).unwrap();
                    sign_as_the_sdk_does(&mut theirs, payload, credentials, time);
                    assert_eq!(
                        ours.headers["authorization"], theirs.headers["authorization"],
                        "{uri} {headers:?}"
                    );
                    assert_eq!(ours.headers, theirs.headers, "{uri}");
                }
            }
        }
    }

    #[test]
    fn what_signing_sets_replaces_what_was_there() {
        let mut parts = parts("https://s3.example.test:443/b/k");
        for name in ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
            parts.headers.insert(name, HeaderValue::from_static("stale"));
        }
        sign(&mut parts, Some("token")).unwrap();
        assert_eq!(parts.headers["host"], "s3.example.test");
        assert_eq!(parts.headers["x-amz-date"], "20130524T120000Z");
        assert_eq!(parts.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
        assert_eq!(parts.headers["x-amz-security-token"], "token");
        assert!(parts.headers["x-amz-security-token"].is_sensitive());
        let authorization = parts.headers["authorization"].to_str().unwrap();
        let signed = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,";
        assert!(authorization.contains(signed), "{authorization}");

        sign(&mut parts, None).unwrap();
        assert!(!parts.headers.contains_key("x-amz-security-token"));
    }

    #[test]
    fn headers_that_proxies_change_are_not_signed() {
        let mut parts = parts("http://h:9000/b/k");
        for name in ["accept-encoding", "range", "content-length", "expect"] {
            parts.headers.insert(name, HeaderValue::from_static("1"));
        }
        sign(&mut parts, None).unwrap();
        assert_eq!(parts.headers["host"], "h:9000");
        let authorization = parts.headers["authorization"].to_str().unwrap();
        assert!(
            authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date,"),
            "{authorization}"
        );
    }

    #[test]
    fn what_cannot_be_spelt_is_refused() {
        assert!(matches!(sign(&mut parts("/b/k"), None), Err(SignError::NoHost)));
        assert!(matches!(sign(&mut parts("http://h/b?prefix=%FF"), None), Err(SignError::QueryNotText)));
        let endless = format!("http://h/b?{}", "a&".repeat(1_281));
        assert!(matches!(sign(&mut parts(&endless), None), Err(SignError::QueryTooLong)));
        let mut latin1 = parts("http://h/b/k");
        latin1.headers.insert("x-amz-meta-a", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert!(
            matches!(sign(&mut latin1, None), Err(SignError::HeaderNotText(name)) if name == "x-amz-meta-a")
        );
    }

    #[test]
    fn odd_keys_and_queries_verify() {
        for target in [
            "/b//",
            "/b///x//",
            "/b/../../etc/./passwd",
            "/b/a%20b",
            "/b/a+b",
            "/b/a%2Bb",
            "/b/100%25",
            "/b/%2525",
            "/b/%E6%97%A5%E6%9C%AC",
            "/b/(1)!*'~",
            "/b/%00%01%7F",
            "/b/%FF",
            "/b/a%2Fb",
            "/b?acl",
            "/b?acl=",
            "/b?prefix=a+b%2Bc%20d&delimiter=/&marker=",
            "/b?b=2&a=1&a=0&A=3&%7E=4",
            "/b?prefix=%E6%97%A5=%26",
            "/b?x&&y",
        ] {
            let sent = signed("GET", target, &[], PayloadSigning::Empty);
            assert!(sent.authenticate().is_ok(), "{target}: {:?}", sent.error());
        }
    }

    proptest! {
        #[test]
        fn any_key_and_query_verify(key in "\\PC{0,40}", name in "[a-z\\-]{1,12}", value in "\\PC{0,20}", plain in any::<bool>()) {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let key = encode(&key);
            let key = if plain { key.replace("%2F", "/").replace("%2E", ".").replace("%2B", "+") } else { key };
            let target = format!("/bucket/{key}?{name}={}", encode(&value));
            let sent = signed("PUT", &target, &[("x-amz-meta-a", "b  c")], PayloadSigning::Unsigned);
            prop_assert!(sent.authenticate().is_ok());
        }
    }
}

#[test]
fn every_refusal_has_its_s3_code() {
    for (error, code) in refusals() {
        assert_eq!(error.s3_code().code(), code, "{error:?}");
    }
}

/// Every variant with its code, so that a code cannot change unnoticed.
pub(crate) fn refusals() -> Vec<(AuthError, &'static str)> {
    let text = String::new;
    let malformed = |found_in| AuthError::Malformed { found_in, fault: AuthFault::CredentialShape };
    let skewed = AuthError::RequestTimeTooSkewed {
        request_time: text(),
        server_time: text(),
        max_skew: Duration::from_secs(900),
    };
    let mismatch = SignatureMismatch {
        access_key_id: text(),
        signature_provided: text(),
        string_to_sign: Vec::new(),
        canonical_request: None,
    };
    vec![
        (AuthError::Anonymous, "AccessDenied"),
        (AuthError::SeveralMechanisms, "InvalidArgument"),
        (AuthError::SigV2NotAllowed, "InvalidRequest"),
        (AuthError::SigV2Method, "AccessDenied"),
        (AuthError::SigV2UnsignedParameter(text()), "AccessDenied"),
        (AuthError::Contradiction(text()), "InvalidArgument"),
        (AuthError::UnsupportedScheme, "InvalidArgument"),
        (AuthError::EcdsaNotImplemented(text()), "NotImplemented"),
        (malformed(AuthSource::Header), "AuthorizationHeaderMalformed"),
        (malformed(AuthSource::Query), "AuthorizationQueryParametersError"),
        (malformed(AuthSource::Form), "InvalidArgument"),
        (AuthError::AmbiguousHeader("date"), "InvalidArgument"),
        (AuthError::TooManyQueryParameters { limit: 1 }, "InvalidArgument"),
        (AuthError::InvalidDate, "AccessDenied"),
        (skewed, "RequestTimeTooSkewed"),
        (AuthError::Expired { expires: text(), server_time: text() }, "AccessDenied"),
        (AuthError::NotYetValid { request_time: text(), server_time: text() }, "AccessDenied"),
        (AuthError::SecurityToken, "InvalidToken"),
        (AuthError::HeadersNotSigned(Vec::new()), "AccessDenied"),
        (AuthError::SignedHeaderMissing(text()), "SignatureDoesNotMatch"),
        (AuthError::MissingContentSha256, "InvalidRequest"),
        (AuthError::InvalidContentSha256, "InvalidArgument"),
        (AuthError::SigV2SignedChunks, "InvalidRequest"),
        (AuthError::InvalidDecodedLength, "InvalidArgument"),
        (AuthError::TooManyTrailers { limit: 1 }, "InvalidArgument"),
        (AuthError::UnknownAccessKeyId(text()), "InvalidAccessKeyId"),
        (AuthError::SignatureDoesNotMatch(Box::new(mismatch)), "SignatureDoesNotMatch"),
    ]
}

#[test]
fn refusals_say_what_s3_says() {
    let region = AuthFault::Region { expected: "eu-west-1".into(), given: "us-east-1".into() };
    assert_eq!(
        AuthError::Malformed { found_in: AuthSource::Header, fault: region }.to_string(),
        "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'"
    );
    assert_eq!(
        AuthError::HeadersNotSigned(vec!["host".into(), "x-amz-acl".into()]).to_string(),
        "There were headers present in the request which were not signed: host, x-amz-acl"
    );
}
