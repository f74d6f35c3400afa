use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::envelope::DataKey;
use crate::envelope::native::{
    Attributes, Binding, BodyKind, Entropy, EnvelopeKeys, ObjectName, Policy, SealRequest, Sealed,
    SseAlgorithm,
};
use crate::wire::checksum::ChecksumAlgorithm;

const TARGET: UploadTarget<'_> = UploadTarget { bucket: "bucket", object_key: b"a/key" };

const CHECKSUM: UploadChecksum = UploadChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme);

fn sealed(body: BodyKind) -> Sealed {
    let data_key = DataKey::from_bytes([3; 32]);
    let name = ObjectName { realm: "bucket", object_key: TARGET.object_key };
    let request = SealRequest {
        keys: EnvelopeKeys::without_customer(&data_key),
        binding: Binding::RealmAndKey,
        body,
        sse: SseAlgorithm::AwsKms,
        name,
        attributes: &Attributes::default(),
    };
    Envelope::seal(&request, Entropy::fresh())
}

fn token() -> (UploadToken, ContentKey) {
    let Sealed { envelope, content_key } = sealed(BodyKind::Multipart);
    let token = UploadToken::new(
        &content_key,
        TARGET,
        CHECKSUM,
        "upstream~id.42".to_owned(),
        (vec![9; 184], None),
        envelope,
    )
    .unwrap();
    (token, content_key)
}

#[test]
fn f_50_a_token_survives_its_text_and_opens_the_upload() {
    let (token, content_key) = token();
    let text = token.to_text();
    assert!(
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "safe in a query"
    );
    assert!(text.len() < 600, "{}", text.len());
    let parsed = UploadToken::parse(&text).unwrap();
    assert_eq!(parsed, token);
    assert_eq!(parsed.checksum(), CHECKSUM);
    assert_eq!((parsed.upstream_id(), parsed.wrapped_key()), ("upstream~id.42", &[9; 184][..]));
    let name = ObjectName { realm: "bucket", object_key: TARGET.object_key };
    let policy = Policy { least_binding: Binding::RealmAndKey };
    let opened = parsed
        .envelope()
        .open(EnvelopeKeys::without_customer(&DataKey::from_bytes([3; 32])), policy, name)
        .unwrap();
    assert_eq!(opened.content_key.expose(), content_key.expose());
    assert_eq!(parsed.verify(&opened.content_key, TARGET), Ok(()));
}

#[test]
fn f_51_a_token_is_bound_to_bucket_key_and_upload() {
    let (token, content_key) = token();
    for target in [
        UploadTarget { bucket: "other", ..TARGET },
        UploadTarget { object_key: b"a/other", ..TARGET },
        UploadTarget { bucket: "bucketa", object_key: b"/key" },
        UploadTarget { bucket: "", object_key: b"bucketa/key" },
    ] {
        assert_eq!(token.verify(&content_key, target), Err(TokenError::Binding), "{target:?}");
    }
    let elsewhere = UploadToken { upstream_id: "another".to_owned(), ..token.clone() };
    assert_eq!(elsewhere.verify(&content_key, TARGET), Err(TokenError::Binding));
    let weaker = UploadToken { checksum: UploadChecksum::Undeclared, ..token.clone() };
    assert_eq!(weaker.verify(&content_key, TARGET), Err(TokenError::Binding));
    let swapped = UploadToken { wrapped_key: vec![8; 184], ..token.clone() };
    assert_eq!(swapped.verify(&content_key, TARGET), Err(TokenError::Binding));
    let other = ContentKey::from_zeroizing(Zeroizing::new([1; 32]));
    assert_eq!(token.verify(&other, TARGET), Err(TokenError::Binding));
}

#[test]
fn f_49_everything_else_is_refused() {
    let (token, _) = token();
    let text = token.to_text();
    let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
    let parse = |bytes: &[u8]| UploadToken::parse(&URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(UploadToken::parse(""), Err(TokenError::Malformed));
    assert_eq!(UploadToken::parse(&format!("{text}=")), Err(TokenError::Encoding));
    assert_eq!(
        UploadToken::parse("VXBsb2FkIElEIGZvciBlbHZpbmcncyBtb3ZpZQ"),
        Err(TokenError::Version),
        "an id of S3's"
    );
    assert_eq!(UploadToken::parse(&"A".repeat(20_000)), Err(TokenError::Malformed), "longer than any");
    assert_eq!(parse(&[&[2], &bytes[1..]].concat()), Err(TokenError::Version));
    assert_eq!(parse(&bytes[..20]), Err(TokenError::Malformed));
    assert_eq!(parse(&bytes[..bytes.len() - 1]), Err(TokenError::Malformed), "cut");
    assert_eq!(parse(&[&bytes[..], &[0]].concat()), Err(TokenError::Malformed), "a byte left over");
    assert_eq!(parse(&[&[1, 0, 0, 0], &bytes[18..]].concat()), Err(TokenError::Malformed), "an empty id");
    assert_eq!(
        parse(&[&[1, 0, 4, 1], &[b'x'; 1025][..], &bytes[18..]].concat()),
        Err(TokenError::Malformed),
        "an id too long"
    );
    for checksum in [11, 0x80, 0x8b, 0xff] {
        assert_eq!(parse(&[&[1, checksum], &bytes[2..]].concat()), Err(TokenError::Malformed), "{checksum}");
    }
    let mut not_utf8 = bytes.clone();
    not_utf8[6] = 0xff;
    assert_eq!(parse(&not_utf8), Err(TokenError::Malformed));
    let mut flags = bytes.clone();
    let envelope = bytes.len() - 32 - 124;
    flags[envelope + 3] = 0;
    assert_eq!(parse(&flags), Err(TokenError::Envelope), "the envelope of one PUT");
    flags[envelope] = 9;
    assert_eq!(parse(&flags), Err(TokenError::Envelope), "no envelope at all");
    let mut with_length = bytes.clone();
    with_length[envelope + 11] = 1;
    assert_eq!(parse(&with_length), Err(TokenError::Envelope), "F-17: an upload with a length of its own");
}

#[test]
fn f_50_a_token_is_made_within_its_limits_only() {
    let make = |body, id: usize, wrapped| {
        let Sealed { envelope, content_key } = sealed(body);
        UploadToken::new(&content_key, TARGET, CHECKSUM, "i".repeat(id), (vec![0; wrapped], None), envelope)
            .err()
    };
    assert_eq!(make(BodyKind::Multipart, 1_024, 6_144), None);
    assert_eq!(make(BodyKind::Multipart, 0, 1), Some(TokenError::Malformed));
    assert_eq!(make(BodyKind::Multipart, 1_025, 1), Some(TokenError::Malformed));
    assert_eq!(make(BodyKind::Multipart, 1, 0), Some(TokenError::Malformed));
    assert_eq!(make(BodyKind::Multipart, 1, 6_145), Some(TokenError::Malformed));
    assert_eq!(make(BodyKind::Put { plaintext_length: 0 }, 1, 1), Some(TokenError::Envelope));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn f_51_no_byte_of_a_token_can_be_changed(bit in any::<prop::sample::Index>()) {
        let (token, content_key) = token();
        let mut bytes = URL_SAFE_NO_PAD.decode(token.to_text()).unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(altered) = UploadToken::parse(&URL_SAFE_NO_PAD.encode(bytes)) {
            prop_assert_eq!(altered.verify(&content_key, TARGET), Err(TokenError::Binding));
        }
    }

    #[test]
    fn parsing_never_panics(text in "[A-Za-z0-9_-]{0,200}") {
        prop_assert!(UploadToken::parse(&text).is_err());
    }
}
