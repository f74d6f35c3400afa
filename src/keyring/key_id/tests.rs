use super::*;

#[test]
fn every_way_to_name_a_key_is_a_key_id() {
    for text in [
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "alias/s3veil",
        "arn:aws:kms:us-east-2:111122223333:alias/s3veil",
        "mrk-1234abcd12ab34cd56ef1234567890ab",
        "local-00ff",
    ] {
        assert_eq!(KeyId::parse(text).unwrap().as_str(), text);
    }
}

#[test]
fn a_name_that_no_header_can_carry_is_refused() {
    for text in ["", "a b", "a\r\nx-evil: 1", "ключ", "tab\t", &"k".repeat(MAX_KEY_ID_LEN + 1)] {
        assert_eq!(KeyId::parse(text), Err(InvalidKeyId), "{text:?}");
    }
    assert!(KeyId::parse(&"k".repeat(MAX_KEY_ID_LEN)).is_ok());
}

const ARN: &str = "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const ALIAS_ARN: &str = "arn:aws:kms:us-east-2:111122223333:alias/s3veil";

#[test]
fn every_name_of_one_key_is_taken_back() {
    for (configured, full_name, others) in [
        (ARN, None, &[ARN, ID][..]),
        (ID, None, &[ID, ARN]),
        ("alias/s3veil", None, &["alias/s3veil"]),
        ("alias/s3veil", Some(ARN), &["alias/s3veil", ALIAS_ARN, ARN, ID]),
        (ALIAS_ARN, Some(ARN), &[ALIAS_ARN, "alias/s3veil", ARN, ID]),
        ("local-00ff", Some("local-00ff"), &["local-00ff"]),
    ] {
        let key_id = KeyId::parse(configured).unwrap();
        for other in others {
            assert!(key_id.is_named(other, full_name), "{configured} {full_name:?} {other}");
        }
    }
}

#[test]
fn no_name_of_another_key_is() {
    let others = [
        "",
        "alias/other",
        "alias/",
        "s3veil",
        "key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "34cd-56ef-1234567890ab",
        "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ac",
        "arn:aws:kms:us-east-2:999999999999:alias/s3veil",
        "arn:aws:kms:eu-west-1:111122223333:alias/s3veil",
        "arn:aws:kms:us-east-2:111122223333:alias/s3veil2",
        "arn:aws:kms:us-east-2:111122223333:alias/x/alias/s3veil",
        ":alias/s3veil",
    ];
    for configured in [ARN, ID, "alias/s3veil", "local-00ff"] {
        for other in others {
            let key_id = KeyId::parse(configured).unwrap();
            assert!(!key_id.is_named(other, Some(ARN)), "This is a security issue: {configured} {other}");
        }
    }
}

#[test]
fn a_response_names_the_requested_key() {
    let may_be = |requested: &str, returned: &str| KeyId::parse(requested).unwrap().may_be(returned);
    for requested in [ARN, ID, "alias/anything", ALIAS_ARN] {
        assert!(may_be(requested, ARN), "{requested}");
    }
    let other = "arn:aws:kms:us-east-2:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab";
    assert!(!may_be(ARN, other) && !may_be(ID, other) && !may_be(ARN, ID));
    assert!(may_be("local-00ff", "local-00ff") && !may_be("local-00ff", "local-00fe"));
}

#[cfg(feature = "aws")]
#[test]
fn only_an_arn_of_kms_names_a_region() {
    let region = |text| KeyId::parse(text).unwrap().region().map(str::to_owned);
    assert_eq!(region("arn:aws:kms:eu-west-3:111122223333:alias/x"), Some("eu-west-3".to_owned()));
    assert_eq!(region("arn:aws-cn:kms:cn-north-1:1:key/x"), Some("cn-north-1".to_owned()));
    assert_eq!(region("arn:aws:s3:eu-west-3:111122223333:x"), None);
    assert_eq!(region("arn:aws:kms::111122223333:key/x"), None);
    assert_eq!(region("alias/x"), None);
    assert_eq!(region("arn:aws"), None);
}
