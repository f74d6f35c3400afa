use super::*;
use crate::envelope::native::UploadChecksum;
use crate::wire::checksum::ChecksumAlgorithm;

const NAME: ObjectName<'_> = ObjectName { realm: "realm", object_key: b"dir/key" };
const STRICT: Policy = Policy { least_binding: Binding::RealmAndKey };
const LAX: Policy = Policy { least_binding: Binding::None };
const BODY: BodyKind = BodyKind::Put { plaintext_length: 5 };

impl EnvelopeSalt {
    /// Fixed bytes, for test vectors.
    pub(in crate::envelope::native) fn fixed(salt: [u8; SALT]) -> Self {
        Self(salt)
    }
}

impl Entropy {
    /// Fixed bytes, for test vectors.
    pub(in crate::envelope::native) fn fixed(salt: [u8; SALT], content_key: [u8; KEY_LENGTH]) -> Self {
        Self { salt: EnvelopeSalt::fixed(salt), content_key: Zeroizing::new(content_key) }
    }
}

fn data_key() -> DataKey {
    DataKey::from_bytes([1; 32])
}

fn attributes() -> Attributes {
    Attributes::new(vec![Checksum::new(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).unwrap()])
}

/// The keys of an object without a customer key.
fn plain(data_key: &DataKey) -> EnvelopeKeys<'_> {
    EnvelopeKeys::without_customer(data_key)
}

fn sealed_as(binding: Binding, attributes: &Attributes) -> Envelope {
    sealed_for(BODY, binding, attributes)
}

fn sealed_for(body: BodyKind, binding: Binding, attributes: &Attributes) -> Envelope {
    let data_key = data_key();
    let request = SealRequest {
        keys: plain(&data_key),
        binding,
        body,
        sse: SseAlgorithm::AwsKms,
        name: NAME,
        attributes,
    };
    Envelope::seal(&request, Entropy::fixed([2; 32], [3; 32])).envelope
}

fn reparsed(bytes: &[u8]) -> Result<Envelope, FormatError> {
    Envelope::parse(base64::encode(bytes).as_bytes())
}

#[test]
fn what_was_sealed_opens() {
    for binding in [Binding::None, Binding::Realm, Binding::RealmAndKey] {
        for attributes in [Attributes::default(), attributes()] {
            let envelope = sealed_as(binding, &attributes);
            let parsed = Envelope::parse(envelope.to_header().as_bytes()).unwrap();
            assert_eq!(parsed, envelope);
            let opened = parsed.open(plain(&data_key()), LAX, NAME).unwrap();
            assert_eq!(opened.content_key.expose(), &[3; 32]);
            assert_eq!((opened.attributes, opened.body), (attributes, BODY));
        }
    }
}

#[test]
fn f_04_without_attributes_the_envelope_has_124_bytes() {
    assert_eq!(sealed_as(Binding::RealmAndKey, &Attributes::default()).bytes.len(), 124);
    let bytes = sealed_as(Binding::RealmAndKey, &attributes()).bytes;
    for length in [0, 1, 123, 125, 124 + super::super::TAG] {
        assert_eq!(reparsed(&bytes[..length.min(bytes.len())]), Err(FormatError::EnvelopeLength), "{length}");
    }
    assert_eq!(reparsed(&[1; MAX_ENVELOPE + 1]), Err(FormatError::EnvelopeLength));
}

#[test]
fn f_04_only_canonical_base64_is_read() {
    let header = sealed_as(Binding::RealmAndKey, &Attributes::default()).to_header();
    let unpadded = header.trim_end_matches('=');
    let spaced = format!("{} {}", &header[..4], &header[4..]);
    let mut trailing_bits = unpadded.to_owned();
    let last = trailing_bits.pop().expect("it is not empty");
    // The last character stands for two bits of the last byte, and for four unused ones that must be zero.
    trailing_bits.push(char::from(u8::try_from(last).unwrap() + 1));
    trailing_bits.push_str("==");
    for other in [unpadded, &spaced, &header.replace('+', "-").replace('/', "_"), "~~~~", &trailing_bits] {
        if other != header {
            assert_eq!(Envelope::parse(other.as_bytes()), Err(FormatError::Encoding), "{other}");
        }
    }
}

#[test]
fn f_05_to_f_08_unknown_versions_suites_bindings_and_flags_are_refused() {
    let bytes = sealed_as(Binding::RealmAndKey, &Attributes::default()).bytes;
    for (at, value, error) in [
        (0, 0, FormatError::Version),
        (0, 2, FormatError::Version),
        (1, 0, FormatError::Suite),
        (1, 2, FormatError::Suite),
        (2, 3, FormatError::UnknownBinding),
        (3, 6, FormatError::Flags),
        (3, 8, FormatError::Flags),
        (3, 0x81, FormatError::Flags),
    ] {
        let mut altered = bytes.clone();
        altered[at] = value;
        assert_eq!(reparsed(&altered), Err(error), "byte {at} = {value}");
    }
}

#[test]
fn f_07_a_binding_weaker_than_the_policy_is_refused() {
    let open = |binding, least_binding| {
        sealed_as(binding, &Attributes::default())
            .open(plain(&data_key()), Policy { least_binding }, NAME)
            .map(|_| ())
    };
    assert_eq!(open(Binding::Realm, Binding::RealmAndKey), Err(FormatError::WeakBinding));
    assert_eq!(open(Binding::None, Binding::RealmAndKey), Err(FormatError::WeakBinding));
    assert_eq!(open(Binding::None, Binding::Realm), Err(FormatError::WeakBinding));
    assert_eq!(open(Binding::RealmAndKey, Binding::None), Ok(()));
}

#[test]
fn f_07_and_f_08_relabelling_breaks_the_commitment() {
    let bytes = sealed_as(Binding::RealmAndKey, &Attributes::default()).bytes;
    let empty = BodyKind::Put { plaintext_length: 0 };
    let bytes_of_empty = sealed_for(empty, Binding::RealmAndKey, &Attributes::default()).bytes;
    for (bytes, at, value) in [(&bytes, 2, 0), (&bytes, 2, 2), (&bytes_of_empty, 3, 1)] {
        let mut relabelled = bytes.clone();
        relabelled[at] = value;
        let envelope = reparsed(&relabelled).unwrap();
        let refused = envelope.open(plain(&data_key()), LAX, NAME).unwrap_err();
        assert_eq!(refused, FormatError::Commitment, "This is a security issue: byte {at} is not bound.");
    }
}

#[test]
fn f_17_the_plaintext_length_is_committed_to() {
    let bytes = sealed_as(Binding::RealmAndKey, &attributes()).bytes;
    for (at, value) in [(11, 4), (11, 6), (9, 1), (7, 1)] {
        let mut altered = bytes.clone();
        altered[at] = value;
        let envelope = reparsed(&altered).unwrap();
        assert!(!envelope.is_committed(&data_key(), NAME), "This is a security issue: byte {at} is free.");
        assert_eq!(envelope.open(plain(&data_key()), LAX, NAME).unwrap_err(), FormatError::Commitment);
    }
    for (at, value) in [(3, 1), (6, 1), (4, 0x80)] {
        let mut impossible = bytes.clone();
        impossible[at] = value;
        assert_eq!(reparsed(&impossible), Err(FormatError::PlaintextLength), "byte {at} = {value}");
    }
}

#[test]
fn f_11_the_commitment_alone_shows_whether_an_envelope_is_that_of_key_and_name() {
    let envelope = sealed_as(Binding::RealmAndKey, &attributes());
    assert!(envelope.is_committed(&data_key(), NAME));
    assert!(!envelope.is_committed(&other_data_key(), NAME));
    assert!(!envelope.is_committed(&data_key(), COPY));
}

#[test]
fn f_10_the_name_is_bound_field_by_field() {
    let envelope = sealed_as(Binding::RealmAndKey, &Attributes::default());
    for (realm, object_key) in [
        ("realm", "dir/kez"),
        ("other", "dir/key"),
        ("realmd", "ir/key"),
        ("real", "mdir/key"),
        ("", "realmdir/key"),
        ("realmdir/key", ""),
    ] {
        let name = ObjectName { realm, object_key: object_key.as_bytes() };
        let refused = envelope.open(plain(&data_key()), STRICT, name).unwrap_err();
        assert_eq!(refused, FormatError::Commitment, "{realm}|{object_key}");
    }
    let renamed = ObjectName { realm: "realm", object_key: b"elsewhere" };
    assert!(sealed_as(Binding::Realm, &Attributes::default()).open(plain(&data_key()), LAX, renamed).is_ok());
}

#[test]
fn f_11_another_data_key_is_refused_by_the_commitment() {
    let envelope = sealed_as(Binding::RealmAndKey, &Attributes::default());
    for other in [[0; 32], [2; 32]] {
        let refused = envelope.open(plain(&DataKey::from_bytes(other)), STRICT, NAME).unwrap_err();
        assert_eq!(refused, FormatError::Commitment);
    }
}

/// F-11, F-12, F-14: no bit of an envelope can change unnoticed.
#[test]
fn any_flipped_bit_is_an_error() {
    let bytes = sealed_as(Binding::RealmAndKey, &attributes()).bytes;
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let opened = reparsed(&altered).and_then(|envelope| envelope.open(plain(&data_key()), LAX, NAME));
        assert!(opened.is_err(), "This is a security issue: bit {bit} is not authenticated.");
    }
}

#[test]
fn f_14_cut_or_exchanged_attributes_are_refused() {
    let bytes = sealed_as(Binding::RealmAndKey, &attributes()).bytes;
    let other = sealed_as(
        Binding::RealmAndKey,
        &Attributes::new(vec![Checksum::new(ChecksumAlgorithm::Crc32c, &[1, 2, 3, 4]).unwrap()]),
    );
    // The same salt and content key: only for this test, to show that the tag covers the attributes.
    let mut exchanged = bytes[..FIXED + 3].to_vec();
    exchanged.extend_from_slice(&other.bytes[FIXED + 3..]);
    for altered in [exchanged, bytes[..bytes.len() - 1].to_vec()] {
        let opened = reparsed(&altered).and_then(|envelope| envelope.open(plain(&data_key()), LAX, NAME));
        assert!(opened.is_err());
    }
}

#[test]
fn f_09_and_f_13_every_envelope_is_new() {
    let data_key = data_key();
    let request = SealRequest {
        keys: plain(&data_key),
        binding: Binding::RealmAndKey,
        body: BODY,
        sse: SseAlgorithm::AwsKms,
        name: NAME,
        attributes: &Attributes::default(),
    };
    let first = Envelope::seal(&request, Entropy::fresh());
    let second = Envelope::seal(&request, Entropy::fresh());
    assert_ne!(first.envelope.bytes[PREFIX..PREFIX + SALT], second.envelope.bytes[PREFIX..PREFIX + SALT]);
    assert_ne!(first.content_key.expose(), second.content_key.expose());
}

const COPY: ObjectName<'_> = ObjectName { realm: "other realm", object_key: b"copied/key" };

fn other_data_key() -> DataKey {
    DataKey::from_bytes([9; 32])
}

/// The envelope of a copy under another data key, realm and object key.
fn rewrapped(envelope: &Envelope, salt: EnvelopeSalt) -> Envelope {
    let opened = envelope.open(plain(&data_key()), LAX, NAME).unwrap();
    let data_key = other_data_key();
    let request = RewrapRequest {
        keys: plain(&data_key),
        binding: Binding::RealmAndKey,
        sse: SseAlgorithm::AwsKms,
        name: COPY,
        checksum: None,
    };
    opened.rewrap(&request, salt)
}

#[test]
fn f_53_a_copys_envelope_opens_under_its_own_name_and_data_key_only() {
    for binding in [Binding::None, Binding::Realm, Binding::RealmAndKey] {
        for attributes in [Attributes::default(), attributes()] {
            let copy = rewrapped(&sealed_as(binding, &attributes), EnvelopeSalt::fresh());
            let copy = Envelope::parse(copy.to_header().as_bytes()).unwrap();
            let opened = copy.open(plain(&other_data_key()), STRICT, COPY).unwrap();
            assert_eq!(opened.content_key.expose(), &[3; 32]);
            assert_eq!((opened.attributes, opened.body), (attributes, BODY));
            let renamed = ObjectName { object_key: NAME.object_key, ..COPY };
            let moved = ObjectName { realm: NAME.realm, ..COPY };
            for (data_key, name) in [
                (data_key(), COPY),
                (other_data_key(), NAME),
                (other_data_key(), renamed),
                (other_data_key(), moved),
            ] {
                let refused = copy.open(plain(&data_key), LAX, name).unwrap_err();
                assert_eq!(refused, FormatError::Commitment, "This is a security issue: {name:?} opens.");
            }
        }
    }
}

#[test]
fn f_53_every_rewrap_has_a_salt_of_its_own() {
    let envelope = sealed_as(Binding::RealmAndKey, &attributes());
    let copies = [EnvelopeSalt::fresh(), EnvelopeSalt::fresh()].map(|salt| rewrapped(&envelope, salt).bytes);
    let salt = PREFIX..PREFIX + SALT;
    assert_ne!(copies[0][salt.clone()], envelope.bytes[salt.clone()]);
    assert_ne!(copies[0][salt.clone()], copies[1][salt], "This is a security issue: a salt came twice.");
    let sealed = FIXED..copies[0].len();
    assert_ne!(copies[0][sealed.clone()], envelope.bytes[sealed], "the attributes are sealed anew");
}

#[test]
fn f_53_the_kind_of_body_and_its_length_are_kept() {
    for kind in [BodyKind::Put { plaintext_length: 0 }, BODY, BodyKind::Multipart] {
        let envelope = sealed_for(kind, Binding::Realm, &Attributes::default());
        assert_eq!(rewrapped(&envelope, EnvelopeSalt::fresh()).body(), kind);
    }
}

#[test]
fn f_08_the_encryption_that_answers_name_is_a_flag_of_its_own() {
    for (body, sse, flags) in [
        (BODY, SseAlgorithm::AwsKms, 0),
        (BodyKind::Multipart, SseAlgorithm::AwsKms, 1),
        (BODY, SseAlgorithm::Aes256, 4),
        (BodyKind::Multipart, SseAlgorithm::Aes256, 5),
    ] {
        let (data_key, attributes) = (data_key(), Attributes::default());
        let binding = Binding::RealmAndKey;
        let request =
            SealRequest { keys: plain(&data_key), binding, body, sse, name: NAME, attributes: &attributes };
        let bytes = Envelope::seal(&request, Entropy::fresh()).envelope.bytes;
        assert_eq!(bytes[3], flags);
        let parsed = reparsed(&bytes).unwrap();
        assert_eq!((parsed.body(), parsed.sse()), (body, sse));
        assert!(parsed.open(plain(&data_key), STRICT, NAME).is_ok());
        let mut relabelled = bytes.clone();
        relabelled[3] ^= 4;
        let refused = reparsed(&relabelled).unwrap().open(plain(&data_key), STRICT, NAME).unwrap_err();
        assert_eq!(refused, FormatError::Commitment, "flag 2 is authenticated");
        for unknown in [8, 16, 32, 64, 128] {
            let mut other = bytes.clone();
            other[3] |= unknown;
            assert_eq!(reparsed(&other), Err(FormatError::Flags), "flag {unknown}");
        }
        // A customer key's envelope is longer, and its flag stands with no other name of the encryption.
        let mut other = bytes.clone();
        other[3] |= 2;
        let refused = if flags & 4 == 0 { FormatError::EnvelopeLength } else { FormatError::Flags };
        assert_eq!(reparsed(&other), Err(refused));
    }
}

/// The destination's encryption is the one that the copy's own request names, as with S3.
#[test]
fn f_53_a_copy_is_called_as_its_own_request_asks() {
    let envelope = sealed_as(Binding::RealmAndKey, &attributes());
    let opened = envelope.open(plain(&data_key()), LAX, NAME).unwrap();
    for sse in [SseAlgorithm::AwsKms, SseAlgorithm::Aes256] {
        let data_key = other_data_key();
        let request = RewrapRequest {
            keys: plain(&data_key),
            binding: Binding::Realm,
            sse,
            name: COPY,
            checksum: None,
        };
        let copy = opened.rewrap(&request, EnvelopeSalt::fresh());
        assert_eq!(copy.sse(), sse);
        assert!(copy.open(plain(&data_key), LAX, COPY).is_ok());
    }
}

#[test]
fn f_53_a_checksum_of_the_copys_own_takes_the_place_of_the_others() {
    let announced = attributes().announcing(UploadChecksum::Composite(ChecksumAlgorithm::Crc32));
    let envelope = sealed_as(Binding::RealmAndKey, &announced);
    let opened = envelope.open(plain(&data_key()), LAX, NAME).unwrap();
    let (data_key, checksum) = (other_data_key(), Checksum::new(ChecksumAlgorithm::Sha256, &[7; 32]));
    let request = RewrapRequest {
        keys: plain(&data_key),
        binding: Binding::Realm,
        sse: SseAlgorithm::AwsKms,
        name: COPY,
        checksum,
    };
    let copy = opened.rewrap(&request, EnvelopeSalt::fresh()).open(plain(&data_key), LAX, COPY).unwrap();
    assert_eq!(copy.attributes, Attributes::new(checksum.into_iter().collect()));
}

fn customer_key(byte: u8) -> CustomerKey {
    CustomerKey::from_slice(&[byte; 32]).unwrap()
}

fn sealed_for_customer(customer_key: &CustomerKey, attributes: &Attributes) -> Envelope {
    let data_key = data_key();
    let request = SealRequest {
        keys: EnvelopeKeys { data_key: &data_key, customer_key: Some(customer_key) },
        binding: Binding::RealmAndKey,
        body: BODY,
        sse: SseAlgorithm::Aes256,
        name: NAME,
        attributes,
    };
    Envelope::seal(&request, Entropy::fixed([2; 32], [3; 32])).envelope
}

fn open_for_customer(envelope: &Envelope, customer_key: Option<&CustomerKey>) -> Result<Opened, FormatError> {
    envelope.open(EnvelopeKeys { data_key: &data_key(), customer_key }, STRICT, NAME)
}

#[test]
fn f_70_both_keys_open_an_object_with_a_customer_key_and_one_does_not() {
    for attributes in [Attributes::default(), attributes()] {
        let envelope = sealed_for_customer(&customer_key(9), &attributes);
        assert_eq!(envelope.bytes[3], 2);
        assert_eq!(envelope.sse(), SseAlgorithm::CustomerKey, "no algorithm of the server's own");
        let envelope = reparsed(&envelope.bytes).unwrap();
        let opened = open_for_customer(&envelope, Some(&customer_key(9))).unwrap();
        assert_eq!((opened.content_key.expose(), opened.attributes), (&[3; 32], attributes));
        let refused =
            |customer_key: Option<&CustomerKey>| open_for_customer(&envelope, customer_key).unwrap_err();
        assert_eq!(refused(None), FormatError::CustomerKeyMissing);
        assert_eq!(refused(Some(&customer_key(8))), FormatError::CustomerKeyWrong);
        let keys = EnvelopeKeys { data_key: &other_data_key(), customer_key: Some(&customer_key(9)) };
        assert_eq!(envelope.open(keys, STRICT, NAME).unwrap_err(), FormatError::Commitment);
        let exchanged = CustomerKey::from_slice(data_key().expose()).unwrap();
        assert_eq!(refused(Some(&exchanged)), FormatError::CustomerKeyWrong);
    }
    let plain = sealed_as(Binding::RealmAndKey, &attributes());
    let refused = open_for_customer(&plain, Some(&customer_key(9))).unwrap_err();
    assert_eq!(refused, FormatError::CustomerKeySurplus);
}

#[test]
fn f_70_no_bit_of_a_customer_key_is_without_effect() {
    let envelope = sealed_for_customer(&customer_key(9), &Attributes::default());
    for bit in 0..256 {
        let mut altered = [9; 32];
        altered[bit / 8] ^= 1 << (bit % 8);
        let altered = CustomerKey::from_slice(&altered).unwrap();
        let refused = open_for_customer(&envelope, Some(&altered)).unwrap_err();
        assert_eq!(
            refused,
            FormatError::CustomerKeyWrong,
            "This is a security issue: bit {bit} does not count."
        );
    }
}

#[test]
fn f_71_no_bit_of_an_envelope_with_a_customer_key_is_without_effect() {
    let envelope = sealed_for_customer(&customer_key(9), &attributes());
    for bit in 0..envelope.bytes.len() * 8 {
        let mut altered = envelope.bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let Ok(altered) = reparsed(&altered) else { continue };
        for given in [Some(customer_key(9)), None] {
            let opened = open_for_customer(&altered, given.as_ref());
            assert!(opened.is_err(), "This is a security issue: bit {bit} is not authenticated.");
        }
    }
}

#[test]
fn f_71_a_stripped_flag_does_not_open_the_object_without_its_customer_key() {
    for attributes in [Attributes::default(), attributes()] {
        let mut stripped = sealed_for_customer(&customer_key(9), &attributes).bytes;
        stripped[3] = 0;
        let whole = reparsed(&stripped).unwrap();
        assert_eq!(open_for_customer(&whole, None).unwrap_err(), FormatError::Commitment);
        let cut = reparsed(&stripped[..FIXED]).unwrap();
        assert_eq!(open_for_customer(&cut, None).unwrap_err(), FormatError::Commitment);
    }
    let mut added = sealed_as(Binding::RealmAndKey, &Attributes::default()).bytes;
    added[3] = 2;
    added.extend_from_slice(&[0; WRAPPED]);
    let added = reparsed(&added).unwrap();
    assert_eq!(open_for_customer(&added, Some(&customer_key(9))).unwrap_err(), FormatError::Commitment);
}

#[test]
fn f_71_the_end_key_opens_without_the_customer_key_and_is_bound_to_the_name() {
    let envelope = sealed_for_customer(&customer_key(9), &attributes());
    let end_key = envelope.open_end_key(&data_key(), STRICT, NAME).unwrap();
    let content_key = open_for_customer(&envelope, Some(&customer_key(9))).unwrap().content_key;
    assert_eq!(end_key.expose(), kdf::end_key(&content_key).expose());
    assert_ne!(end_key.expose(), content_key.expose());
    for (data_key, name) in [(other_data_key(), NAME), (data_key(), COPY)] {
        let refused = envelope.open_end_key(&data_key, LAX, name).unwrap_err();
        assert_eq!(refused, FormatError::Commitment, "This is a security issue.");
    }
    assert!(envelope.is_committed(&data_key(), NAME));
    assert!(!envelope.is_committed(&other_data_key(), NAME) && !envelope.is_committed(&data_key(), COPY));
    let plain = sealed_as(Binding::RealmAndKey, &attributes());
    assert!(plain.open_end_key(&data_key(), LAX, NAME).is_err());
}

#[test]
fn f_53_a_copy_gets_loses_and_changes_its_customer_key_around_one_content_key() {
    let (first, second) = (customer_key(9), customer_key(8));
    let mut envelope = sealed_as(Binding::RealmAndKey, &attributes());
    let (mut given, mut name): (Option<&CustomerKey>, _) = (None, NAME);
    for next in [Some(&first), Some(&second), None, Some(&first)] {
        let keys = EnvelopeKeys { data_key: &data_key(), customer_key: given };
        let opened = envelope.open(keys, STRICT, name).unwrap();
        assert_eq!((opened.content_key.expose(), &opened.attributes), (&[3; 32], &attributes()));
        (given, name) = (next, COPY);
        let keys = EnvelopeKeys { data_key: &data_key(), customer_key: given };
        let (binding, sse) = (Binding::RealmAndKey, SseAlgorithm::AwsKms);
        let request = RewrapRequest { keys, binding, sse, name, checksum: None };
        envelope = opened.rewrap(&request, EnvelopeSalt::fresh());
        let other = given.is_none().then_some(&second);
        let keys = EnvelopeKeys { data_key: &data_key(), customer_key: other };
        assert!(envelope.open(keys, STRICT, name).is_err(), "This is a security issue.");
    }
}
