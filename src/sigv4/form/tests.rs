use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::*;

const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Fields = BTreeMap<String, String>;

fn authenticate(
    fields: &Fields,
    policy: &VerifyPolicy,
    now: SystemTime,
    secret: &str,
) -> Result<String, AuthError> {
    let secret = SecretAccessKey::new(secret.to_owned());
    let field = |name: &str| fields.get(name).map(String::as_str);
    let lookup = |id: &str| (id == ACCESS_KEY_ID).then_some(&secret);
    let authenticated = authenticate_form(field, policy, now, lookup)?;
    assert_eq!(authenticated.policy, fields["policy"]);
    Ok(authenticated.access_key_id.to_string())
}

/// The fields of one that boto3 made, and when.
fn vector(version: &str) -> (Fields, SystemTime) {
    let path = format!("tests/vectors/sigv4/form_boto3_{version}.json");
    let text = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let vector: Value = serde_json::from_slice(&text).unwrap();
    let form = vector["form"].as_object().unwrap();
    let fields = form.iter().map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()));
    let moment = time::PrimitiveDateTime::parse(
        vector["now"].as_str().unwrap(),
        time::macros::format_description!("[year][month][day]T[hour][minute][second]Z"),
    );
    (fields.collect(), moment.unwrap().assume_utc().into())
}

fn error(fields: &Fields) -> AuthError {
    authenticate(fields, &VerifyPolicy::default(), vector("v4").1, SECRET).unwrap_err()
}

fn with(fields: &Fields, name: &str, value: &str) -> Fields {
    let mut fields = fields.clone();
    fields.insert(name.to_owned(), value.to_owned());
    fields
}

fn without(fields: &Fields, name: &str) -> Fields {
    let mut fields = fields.clone();
    fields.remove(name).unwrap();
    fields
}

#[test]
fn what_boto3_signs_verifies() {
    for version in ["v2", "v4"] {
        let (fields, now) = vector(version);
        let verdict = authenticate(&fields, &VerifyPolicy::default(), now, SECRET);
        assert_eq!(verdict.as_deref(), Ok(ACCESS_KEY_ID), "{version}");
    }
}

#[test]
fn nothing_that_was_signed_can_be_altered() {
    for (version, signature) in [("v2", V2_SIGNATURE), ("v4", V4_SIGNATURE)] {
        let (fields, now) = vector(version);
        let policy = &fields["policy"];
        let altered = [
            with(&fields, "policy", &policy[..policy.len() - 4]),
            with(&fields, "policy", &format!("{policy}\n")),
            with(&fields, "policy", ""),
            with(&fields, signature, ""),
            with(&fields, signature, &fields[signature].to_uppercase()),
            with(&fields, signature, &format!(" {}", fields[signature])),
        ];
        for fields in altered {
            let verdict = authenticate(&fields, &VerifyPolicy::default(), now, SECRET);
            let refused = matches!(verdict, Err(AuthError::SignatureDoesNotMatch(_)));
            assert!(refused, "This is a security issue: {fields:?}: {verdict:?}");
        }
        let another = authenticate(&fields, &VerifyPolicy::default(), now, "another");
        assert!(matches!(another, Err(AuthError::SignatureDoesNotMatch(_))), "This is a security issue.");
        let unknown = ["x-amz-credential", "awsaccesskeyid"].iter().find(|name| fields.contains_key(**name));
        let unknown = with(&fields, unknown.unwrap(), &fields[*unknown.unwrap()].replace("AKIA", "AKIB"));
        let verdict = authenticate(&unknown, &VerifyPolicy::default(), now, SECRET);
        assert_eq!(verdict, Err(AuthError::UnknownAccessKeyId("AKIBIOSFODNN7EXAMPLE".into())));
    }
}

#[test]
fn a_form_is_signed_once_and_completely() {
    let (v2, v4) = (vector("v2").0, vector("v4").0);
    assert_eq!(error(&Fields::new()), AuthError::Anonymous);
    assert_eq!(error(&with(&Fields::new(), "key", "k")), AuthError::Anonymous);
    let both: Fields = v2.clone().into_iter().chain(v4.clone()).collect();
    assert_eq!(error(&both), AuthError::SeveralMechanisms);
    for fields in [&v2, &v4] {
        assert_eq!(error(&with(fields, "x-amz-security-token", "t")), AuthError::SecurityToken);
    }
    let missing = |name| malformed(AuthFault::Missing(name));
    for name in [POLICY, V4_ALGORITHM, V4_CREDENTIAL, V4_DATE, V4_SIGNATURE] {
        assert_eq!(error(&without(&v4, name)), missing(name));
    }
    for name in [POLICY, V2_ACCESS_KEY_ID, V2_SIGNATURE] {
        assert_eq!(error(&without(&v2, name)), missing(name));
    }
    assert_eq!(error(&with(&Fields::new(), POLICY, "")), missing(V4_ALGORITHM));
    assert_eq!(missing(V4_DATE).s3_code().code(), "InvalidArgument");
}

#[test]
fn what_a_form_says_of_its_signature_has_to_be_possible() {
    let v4 = vector("v4").0;
    let fault = |name: &str, value: &str| {
        let error = error(&with(&v4, name, value));
        let AuthError::Malformed { found_in: AuthSource::Form, fault } = error else {
            panic!("{name}={value}: {error:?}");
        };
        fault
    };
    assert_eq!(fault(V4_ALGORITHM, "AWS4-HMAC-SHA1"), AuthFault::Algorithm);
    assert_eq!(fault(V4_CREDENTIAL, "a/b"), AuthFault::CredentialShape);
    assert_eq!(
        fault(V4_CREDENTIAL, "a/20260102/us-east-1/ec2/aws4_request"),
        AuthFault::Service("ec2".into())
    );
    assert_eq!(fault(V4_DATE, "2026-01-02"), AuthFault::Date);
    let (scope, request) = ("20260102".to_owned(), "20260103".to_owned());
    assert_eq!(fault(V4_DATE, "20260103T000000Z"), AuthFault::ScopeDate { scope, request });
    let ecdsa = error(&with(&v4, V4_ALGORITHM, ECDSA_ALGORITHM));
    assert_eq!(ecdsa, AuthError::EcdsaNotImplemented(ECDSA_ALGORITHM.into()));
}

#[test]
fn the_policy_of_the_endpoint_counts_for_forms_too() {
    let ((v2, _), (v4, now)) = (vector("v2"), vector("v4"));
    let elsewhere = VerifyPolicy { region: Some("eu-west-1".into()), ..VerifyPolicy::default() };
    let (expected, given) = ("eu-west-1".to_owned(), "us-east-1".to_owned());
    let region = malformed(AuthFault::Region { expected, given });
    assert_eq!(authenticate(&v4, &elsewhere, now, SECRET), Err(region));
    let only_v4 = VerifyPolicy { allow_sigv2: false, ..VerifyPolicy::default() };
    assert_eq!(authenticate(&v2, &only_v4, now, SECRET), Err(AuthError::SigV2NotAllowed));
    assert!(authenticate(&v4, &only_v4, now, SECRET).is_ok());
}

#[test]
fn a_signing_key_lives_for_a_week() {
    let (v4, now) = vector("v4");
    let at = |now: SystemTime| authenticate(&v4, &VerifyPolicy::default(), now, SECRET);
    assert!(at(now + 7 * DAY).is_ok() && at(now - Duration::from_secs(15 * 60)).is_ok());
    assert!(matches!(at(now + 8 * DAY), Err(AuthError::Expired { .. })), "This is a security issue.");
    assert!(matches!(at(now - Duration::from_secs(16 * 60)), Err(AuthError::NotYetValid { .. })));
    let (v2, _) = vector("v2");
    let policy = VerifyPolicy::default();
    assert!(authenticate(&v2, &policy, now + 8 * DAY, SECRET).is_ok(), "its policy alone says when it ends");
}
