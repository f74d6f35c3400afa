use super::*;

/// Made by `openssl genpkey -algorithm x25519`, for this test.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEILh0nMXfVJzmcAJ5O5D3iQ/fdYAQul1ugnFZ4g6Mg0Ng
-----END PRIVATE KEY-----
";
/// Made by `openssl pkey -pubout` of [`PRIVATE`].
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEASCQQi8JQEUKx2Dfmo5jRvwZ+YCabii7b1d4ea9GC5lI=
-----END PUBLIC KEY-----
";

const CONTEXT: &[u8] = b"canonical context";

#[test]
fn f_66_what_the_public_half_seals_the_private_half_opens() {
    let private_key = RecoveryPrivateKey::generate();
    let data_key = DataKey::from_bytes([7; 32]);
    let sealed = private_key.public_key().seal(&data_key, CONTEXT);
    assert_eq!(sealed.len(), 80);
    assert_eq!(private_key.open(&sealed, CONTEXT).unwrap().expose(), data_key.expose());
    assert_ne!(private_key.public_key().seal(&data_key, CONTEXT), sealed, "each has a key pair of its own");
}

#[test]
fn f_66_another_key_realm_length_or_byte_is_refused() {
    let private_key = RecoveryPrivateKey::generate();
    let sealed = private_key.public_key().seal(&DataKey::from_bytes([7; 32]), CONTEXT);
    let other = RecoveryPrivateKey::generate().open(&sealed, CONTEXT);
    assert_eq!(other.unwrap_err(), FormatError::HolderTag);
    assert_eq!(private_key.open(&sealed, b"another").unwrap_err(), FormatError::HolderTag);
    assert_eq!(private_key.open(&sealed, &[0; MAX_CONTEXT + 1]).unwrap_err(), FormatError::HolderTag);
    for at in 0..sealed.len() {
        let mut altered = sealed.to_vec();
        altered[at] ^= 1;
        assert_eq!(private_key.open(&altered, CONTEXT).unwrap_err(), FormatError::HolderTag, "{at}");
    }
    for other in [&sealed[..79], &[&sealed[..], &[0]].concat(), &[]] {
        assert_eq!(private_key.open(other, CONTEXT).unwrap_err(), FormatError::HolderBlob);
    }
    // With a point of low order, the shared secret would be known to everyone.
    let low = [&[0; X25519_KEY], &sealed[X25519_KEY..]].concat();
    assert_eq!(private_key.open(&low, CONTEXT).unwrap_err(), FormatError::HolderTag);
}

#[test]
fn f_67_keys_are_those_of_openssl() {
    let private_key = RecoveryPrivateKey::from_pem(PRIVATE.as_bytes()).unwrap();
    assert_eq!(*private_key.to_pem(), PRIVATE);
    assert_eq!(private_key.public_key().to_pem(), PUBLIC);
    let public_key = RecoveryPublicKey::from_pem(PUBLIC.as_bytes()).unwrap();
    assert_eq!(public_key, private_key.public_key());
    let sealed = public_key.seal(&DataKey::from_bytes([7; 32]), CONTEXT);
    assert!(private_key.open(&sealed, CONTEXT).is_ok());
    let made = RecoveryPrivateKey::generate();
    let read = RecoveryPrivateKey::from_pem(made.to_pem().as_bytes()).unwrap();
    assert_eq!(read.public_key(), made.public_key());
}

#[test]
fn f_67_a_file_of_another_kind_says_what_it_is() {
    let public = |text: &str| RecoveryPublicKey::from_pem(text.as_bytes()).unwrap_err();
    let private = |text: &str| RecoveryPrivateKey::from_pem(text.as_bytes()).unwrap_err();
    assert_eq!(public(PRIVATE), RecoveryKeyError::PrivateKey);
    assert_eq!(private(PUBLIC), RecoveryKeyError::PublicKey);
    let encrypted = PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert_eq!(private(&encrypted), RecoveryKeyError::Encrypted);
    assert_eq!(public(&encrypted), RecoveryKeyError::PrivateKey);
    assert_eq!(public(&PUBLIC.replace("VuA", "VwA")), RecoveryKeyError::OtherAlgorithm);
    assert_eq!(private(&PRIVATE.replace("VuB", "VwB")), RecoveryKeyError::OtherAlgorithm);
    let certificate = PUBLIC.replace("PUBLIC KEY", "CERTIFICATE");
    assert_eq!(public(&certificate), RecoveryKeyError::OtherAlgorithm);
    assert_eq!(private(&certificate), RecoveryKeyError::OtherAlgorithm);
    for text in [
        String::new(),
        "ops".to_owned(),
        PUBLIC.replace("-----END PUBLIC KEY-----", ""),
        PUBLIC.repeat(2),
        PUBLIC.replace("MCow", "MCo"),
        PUBLIC.replace("MCow", "M.ow"),
    ] {
        assert_eq!(public(&text), RecoveryKeyError::NotPem, "{text}");
    }
    let surrounded = format!("Public-Key:\n{}\n{PUBLIC}", "text of OpenSSL");
    assert!(RecoveryPublicKey::from_pem(surrounded.replace('\n', "\r\n").as_bytes()).is_ok());
}

/// The points of low order: <https://cr.yp.to/ecdh.html#validate>.
#[test]
fn f_67_public_keys_of_low_order_are_refused() {
    let mut ends = vec![[0; 32], [0; 32]];
    ends[1][0] = 1;
    for lowest in [0xec, 0xed, 0xee] {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (lowest, 0x7f);
        ends.push(point);
    }
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    ends.extend(order_8.map(|text| crate::wire::hex::decode::<32>(text).unwrap()));
    for point in ends {
        assert_eq!(RecoveryPublicKey::from_bytes(&point).unwrap_err(), RecoveryKeyError::LowOrder);
        let pem = pem::write_public(&point);
        assert_eq!(RecoveryPublicKey::from_pem(pem.as_bytes()).unwrap_err(), RecoveryKeyError::LowOrder);
    }
}

#[test]
fn a_private_key_is_never_printed() {
    let private_key = RecoveryPrivateKey::from_pem(PRIVATE.as_bytes()).unwrap();
    assert_eq!(format!("{private_key:?}"), "RecoveryPrivateKey(redacted)");
    let public_key = format!("{:?}", private_key.public_key());
    assert_eq!(public_key, format!("RecoveryPublicKey({})", private_key.public_key().fingerprint()));
}
