use bytes::BytesMut;
use proptest::prelude::*;

use super::super::{ENTROPY, MAX_PLAINTEXT, MessageBody, NewObject, Version, ciphertext_length};
use super::*;

const STRICT: Policy = Policy { legacy: false };
const LEGACY: Policy = Policy { legacy: true };

type Pairs = std::collections::BTreeMap<String, String>;

fn object(version: Version) -> NewObject {
    let context = version.context(&Pairs::from([("tenant".to_owned(), "blå".to_owned())]));
    NewObject::new(version, &DataKey::from_bytes([3; 32]), b"blob", &context, &[5; ENTROPY])
}

/// The entries of an object, to be altered.
fn v2() -> Vec<(&'static str, String)> {
    object(Version::V2).entries
}

fn v3() -> Vec<(&'static str, String)> {
    object(Version::V3).entries
}

/// `kms` and AES-CBC, as the oldest clients with KMS write.
fn v1_kms() -> Vec<(&'static str, String)> {
    vec![
        (names::KEY_V2, STANDARD.encode("blob")),
        (names::IV, STANDARD.encode([1; 16])),
        (names::CONTENT_ALGORITHM, CBC[0].to_owned()),
        (names::WRAP_ALGORITHM, KMS_LEGACY.to_owned()),
        (names::CONTEXT, r#"{"kms_cmk_id":"k"}"#.to_owned()),
    ]
}

fn with(
    mut entries: Vec<(&'static str, String)>,
    name: &'static str,
    value: &str,
) -> Vec<(&'static str, String)> {
    entries.retain(|(other, _)| *other != name);
    entries.push((name, value.to_owned()));
    entries
}

fn entries(pairs: &[(&'static str, String)]) -> Entries {
    Entries::from_metadata(pairs.iter().map(|(name, value)| (*name, value.as_bytes()))).unwrap()
}

fn parse(pairs: &[(&'static str, String)], policy: Policy) -> Result<Envelope, S3ecError> {
    Envelope::parse(&entries(pairs), policy)
}

fn file(pairs: &[(&'static str, String)]) -> Entries {
    let json: serde_json::Map<_, _> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    Entries::parse_instruction_file(serde_json::to_string(&json).unwrap().as_bytes()).unwrap()
}

#[test]
fn what_is_written_is_read_and_both_are_the_formats_lengths() {
    for version in [Version::V2, Version::V3] {
        let data_key = DataKey::from_bytes([3; 32]);
        for length in [0, 1, 15, 16, 17, 100_000] {
            let NewObject { entries: pairs, mut sealer } = object(version);
            let plaintext = vec![6; length];
            let mut stored = BytesMut::new();
            sealer.update(&plaintext, &mut stored);
            sealer.finish(&mut stored);
            assert_eq!(ciphertext_length(length as u64), Some(stored.len() as u64));
            let envelope = parse(&pairs, STRICT).unwrap();
            assert_eq!(envelope.wrapped(), b"blob");
            let context: Pairs = envelope.context().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let own = Pairs::from([("tenant".to_owned(), "blå".to_owned())]);
            assert_eq!(context, version.context(&own));
            assert!(envelope.has_own_context(&own));
            assert!(!envelope.has_own_context(&Pairs::new()));
            assert_eq!(envelope.plaintext_length(stored.len() as u64), Ok(Some(length as u64)));
            let Content::Message(message) = envelope.unlock(&data_key).unwrap() else { panic!("no message") };
            assert_eq!(message.open_whole(stored).unwrap(), plaintext);
        }
    }
}

#[test]
fn a_label_that_disagrees_with_the_context_is_refused_under_every_policy() {
    let as_cbc = with(with(v2(), names::CONTENT_ALGORITHM, CBC[0]), names::IV, &STANDARD.encode([0; 16]));
    let as_legacy = with(v2(), names::WRAP_ALGORITHM, KMS_LEGACY);
    let as_legacy_cbc = with(as_cbc.clone(), names::WRAP_ALGORITHM, KMS_LEGACY);
    let v3_as_v2 = with(v2(), names::CONTEXT, r#"{"aws:x-amz-cek-alg":"115"}"#);
    let v2_as_v3 = with(v3(), names::CONTEXT_V3, r#"{"aws:x-amz-cek-alg":"AES/GCM/NoPadding"}"#);
    let v3_unnamed = with(v3(), names::CONTEXT_V3, "{}");
    for relabelled in [as_cbc, as_legacy, as_legacy_cbc, v3_as_v2, v2_as_v3, v3_unnamed] {
        for policy in [STRICT, LEGACY] {
            let refused = parse(&relabelled, policy);
            assert_eq!(
                refused,
                Err(S3ecError::ContextAlgorithm),
                "This is a security issue: {relabelled:?}."
            );
        }
    }
}

#[test]
fn other_formats_data_keys_are_refused_under_every_policy() {
    let native = r#"{"s3veil:version":"1","s3veil:realm":"bucket","kms_cmk_id":"k"}"#;
    for context in ["{}", r#"{"s3veil:version":"1","s3veil:realm":"bucket"}"#, native] {
        for algorithm in [GCM, CBC[0]] {
            let iv = if algorithm == GCM { STANDARD.encode([1; 12]) } else { STANDARD.encode([1; 16]) };
            let relabelled = with(with(v1_kms(), names::CONTENT_ALGORITHM, algorithm), names::IV, &iv);
            let relabelled = with(relabelled, names::CONTEXT, context);
            for policy in [STRICT, LEGACY] {
                let refused = parse(&relabelled, policy);
                assert_eq!(
                    refused,
                    Err(S3ecError::Context),
                    "This is a security issue: {context} as {algorithm}."
                );
            }
        }
    }
}

#[test]
fn several_versions_at_once_are_refused() {
    let key = STANDARD.encode("blob");
    for both in [
        with(v2(), names::KEY_V3, &key),
        with(v2(), names::KEY_V1, &key),
        with(v3(), names::KEY_V2, &key),
        with(v2(), names::MESSAGE_ID, &key),
        with(v3(), names::IV, &key),
        with(v3(), names::WRAP_ALGORITHM, KMS_CONTEXT),
    ] {
        assert_eq!(parse(&both, LEGACY), Err(S3ecError::Contradiction), "{both:?}");
    }
    let twice = v2().into_iter().chain(v2()).collect::<Vec<_>>();
    let twice = twice.iter().map(|(name, value)| (*name, value.as_bytes()));
    assert_eq!(Entries::from_metadata(twice), Err(S3ecError::Contradiction));
}

#[test]
fn each_entry_that_is_needed_is_missed() {
    for whole in [v2(), v3(), v1_kms()] {
        for (missing, _) in &whole {
            if *missing == names::TAG_LENGTH {
                continue;
            }
            let mut rest = whole.clone();
            rest.retain(|(name, _)| name != missing);
            assert!(parse(&rest, LEGACY).is_err(), "{missing}");
            // An empty value counts as absent.
            assert!(parse(&with(rest, missing, ""), LEGACY).is_err(), "{missing}");
        }
    }
}

#[test]
fn values_of_other_lengths_and_kinds_are_refused() {
    for (altered, error) in [
        (with(v2(), names::IV, &STANDARD.encode([0; 16])), S3ecError::Malformed(names::IV)),
        (with(v1_kms(), names::IV, &STANDARD.encode([0; 12])), S3ecError::Malformed(names::IV)),
        (with(v3(), names::MESSAGE_ID, &STANDARD.encode([0; 27])), S3ecError::Malformed(names::MESSAGE_ID)),
        (with(v3(), names::COMMITMENT, &STANDARD.encode([0; 32])), S3ecError::Malformed(names::COMMITMENT)),
        (with(v2(), names::KEY_V2, "not base64"), S3ecError::Malformed(names::KEY_V2)),
        (with(v2(), names::TAG_LENGTH, "96"), S3ecError::Malformed(names::TAG_LENGTH)),
        (with(v1_kms(), names::TAG_LENGTH, "128"), S3ecError::Malformed(names::TAG_LENGTH)),
        (with(v3(), names::CONTENT_ALGORITHM_V3, "116"), S3ecError::Algorithm(names::CONTENT_ALGORITHM_V3)),
        (with(v3(), names::WRAP_ALGORITHM_V3, "13"), S3ecError::Algorithm(names::WRAP_ALGORITHM_V3)),
        (with(v2(), names::WRAP_ALGORITHM, "rot13"), S3ecError::Algorithm(names::WRAP_ALGORITHM)),
        (with(v3(), names::WRAP_ALGORITHM_V3, "02"), S3ecError::RawWrapping),
        (with(v2(), names::WRAP_ALGORITHM, "AES/GCM"), S3ecError::RawWrapping),
        (with(v2(), names::WRAP_ALGORITHM, "RSA-OAEP-SHA1"), S3ecError::RawWrapping),
        (with(v2(), names::CONTEXT, "no JSON"), S3ecError::Context),
    ] {
        assert_eq!(parse(&altered, LEGACY), Err(error), "{altered:?}");
    }
}

#[test]
fn an_unknown_algorithm_is_refused_though_the_context_names_it_too() {
    let name = "AES/CTR/NoPadding";
    let context = format!(r#"{{"aws:x-amz-cek-alg":"{name}"}}"#);
    let altered = with(with(v2(), names::CONTENT_ALGORITHM, name), names::CONTEXT, &context);
    assert_eq!(parse(&altered, LEGACY), Err(S3ecError::Algorithm(names::CONTENT_ALGORITHM)));
}

#[test]
fn old_clients_objects_need_the_flag() {
    assert_eq!(parse(&v1_kms(), STRICT), Err(S3ecError::LegacyContent));
    assert_eq!(parse(&v1_kms(), LEGACY).unwrap().wrapping(), Wrapping::Legacy);
    let bound = r#"{"aws:x-amz-cek-alg":"AES/CBC/PKCS5Padding"}"#;
    let bound = with(with(v1_kms(), names::WRAP_ALGORITHM, KMS_CONTEXT), names::CONTEXT, bound);
    assert_eq!(parse(&bound, STRICT), Err(S3ecError::LegacyContent));
    assert_eq!(parse(&bound, LEGACY).unwrap().wrapping(), Wrapping::Context);
}

#[test]
fn an_instruction_file_holds_what_its_version_keeps_there() {
    let nothing = Entries::default();
    assert_eq!(nothing.claim(), Ok(Claim::Nothing));
    assert!(Envelope::parse_with_file(&nothing, &file(&v2()), STRICT).is_ok());

    let on_object = [names::CONTENT_ALGORITHM_V3, names::COMMITMENT, names::MESSAGE_ID];
    let (object, in_file): (Vec<_>, Vec<_>) =
        v3().into_iter().partition(|(name, _)| on_object.contains(name));
    assert_eq!(entries(&object).claim(), Ok(Claim::KeyElsewhere));
    assert!(Envelope::parse_with_file(&entries(&object), &file(&in_file), STRICT).is_ok());

    for (object, in_file) in [
        (vec![], v3()),
        (object.clone(), v3()),
        (object.clone(), v2()),
        (object.clone(), vec![]),
        (vec![], vec![]),
        (vec![], in_file),
    ] {
        let refused = Envelope::parse_with_file(&entries(&object), &file(&in_file), LEGACY);
        assert_eq!(refused, Err(S3ecError::InstructionFile), "{object:?} {in_file:?}");
    }
    // A whole object needs no file, and an attacker's file does not replace its entries.
    let refused = Envelope::parse_with_file(&entries(&v2()), &file(&v2()), LEGACY);
    assert_eq!(refused, Err(S3ecError::Contradiction));
}

#[test]
fn an_instruction_file_is_one_json_object_of_known_names() {
    for broken in
        ["", "[]", "{\"x-amz-iv\":[]}", "{\"else\":\"\"}", "{\"x-amz-iv\":\"a\",\"x-amz-iv\":\"b\"}", "{} {}"]
    {
        let refused = Entries::parse_instruction_file(broken.as_bytes());
        assert_eq!(refused, Err(S3ecError::InstructionFile), "{broken}");
    }
    let numbers = Entries::parse_instruction_file(b"{\"x-amz-tag-len\":128,\"x-amz-m\":\"\"}").unwrap();
    assert_eq!(numbers.text(names::TAG_LENGTH), Some("128"));
}

#[test]
fn lengths_are_exact_but_for_chains() {
    let message = parse(&v2(), STRICT).unwrap();
    assert_eq!(message.plaintext_length(16), Ok(Some(0)));
    assert_eq!(message.plaintext_length(15), Err(S3ecError::Length));
    assert_eq!(message.plaintext_length(MAX_PLAINTEXT + 16), Ok(Some(MAX_PLAINTEXT)));
    assert_eq!(message.plaintext_length(MAX_PLAINTEXT + 17), Err(S3ecError::Length));
    assert_eq!(ciphertext_length(MAX_PLAINTEXT + 1), None);

    let length_with_hint = |hint: &str, stored| {
        parse(&with(v1_kms(), names::PLAINTEXT_LENGTH, hint), LEGACY).unwrap().plaintext_length(stored)
    };
    assert_eq!(length_with_hint("17", 32), Ok(Some(17)));
    assert_eq!(length_with_hint("15", 32), Ok(None), "a body of 32 bytes holds 16 to 31");
    assert_eq!(length_with_hint("32", 32), Ok(None));
    assert_eq!(length_with_hint("x", 32), Ok(None));
    assert_eq!(length_with_hint("17", 33), Err(S3ecError::Length));
    assert_eq!(length_with_hint("0", 0), Err(S3ecError::Length));
}

#[test]
fn a_short_data_key_opens_messages_of_v2_only() {
    let short = DataKey::short_from_slice(&[3; 16]).unwrap();
    assert!(parse(&v2(), STRICT).unwrap().unlock(&short).is_ok());
    assert_eq!(parse(&v3(), STRICT).unwrap().unlock(&short).err(), Some(S3ecError::DataKeyLength));
    assert_eq!(parse(&v1_kms(), LEGACY).unwrap().unlock(&short).err(), Some(S3ecError::DataKeyLength));
}

#[test]
fn names_are_recognised_in_any_case() {
    let shouted: Vec<_> = v2().into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect();
    let shouted = shouted.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert!(Envelope::parse(&Entries::from_metadata(shouted).unwrap(), STRICT).is_ok());
}

proptest! {
    #[test]
    fn a_view_is_the_slice(length in 1..2000_u64, a in any::<u64>(), b in any::<u64>()) {
        let (first, last) = ((a % length).min(b % length), (a % length).max(b % length));
        let data_key = DataKey::from_bytes([3; 32]);
        let NewObject { entries: pairs, mut sealer } = object(Version::V3);
        let plaintext: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut stored = BytesMut::new();
        sealer.update(&plaintext, &mut stored);
        sealer.finish(&mut stored);
        let Content::Message(message) = parse(&pairs, STRICT).unwrap().unlock(&data_key).unwrap() else { panic!() };
        let mut opener = message.view(first, last - first + 1).unwrap();
        let mut released = BytesMut::new();
        let from = first - first % 16;
        opener.push(&stored[from as usize..=last as usize], &mut released).unwrap();
        opener.finish(&mut released).unwrap();
        prop_assert_eq!(&released[..], &plaintext[first as usize..=last as usize]);
        prop_assert_eq!(MessageBody::plaintext_length(stored.len() as u64), Ok(length));
    }

    #[test]
    fn entries_of_any_bytes_never_panic(name in prop::sample::select(&["x-amz-t", "x-amz-i", "x-amz-3", "x-amz-c"][..]), value in any::<Vec<u8>>()) {
        let mut pairs: Vec<(&str, Vec<u8>)> = v3().into_iter().map(|(n, v)| (n, v.into_bytes())).collect();
        pairs.retain(|(other, _)| *other != name);
        pairs.push((name, value));
        let entries = Entries::from_metadata(pairs.iter().map(|(n, v)| (*n, v.as_slice())));
        if let Ok(entries) = entries {
            let _ = Envelope::parse(&entries, LEGACY);
        }
    }
}
