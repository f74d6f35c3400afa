use super::*;

const CONTEXT: &[u8] = b"canonical context";

fn entry(kind: HolderKind, name: &[u8], blob: &[u8]) -> HolderEntry {
    HolderEntry { kind, fingerprint: HolderFingerprint::new(kind, name), blob: Bytes::copy_from_slice(blob) }
}

fn three() -> Vec<HolderEntry> {
    vec![
        entry(HolderKind::Vault, b"transit/s3veil", &[1; 120]),
        entry(HolderKind::Vault, b"transit/other", b"\x02"),
        entry(HolderKind::Recovery, &[7; 32], &[3; 80]),
    ]
}

#[test]
fn f_60_entries_come_back_as_they_were_written() {
    let entries = HolderEntries::new(three()).unwrap();
    let parsed = HolderEntries::parse(entries.to_header().as_bytes()).unwrap();
    assert_eq!(parsed, entries);
    assert_eq!(parsed.iter().cloned().collect::<Vec<_>>(), three());
    let found = parsed.find(HolderKind::Vault, HolderFingerprint::new(HolderKind::Vault, b"transit/other"));
    assert_eq!(found, Some(&three()[1]));
    let other = HolderFingerprint::new(HolderKind::AwsKms, b"transit/other");
    assert_eq!(parsed.find(HolderKind::AwsKms, other), None);
}

#[test]
fn f_61_any_other_length_version_or_repetition_is_refused() {
    let bytes = STANDARD.decode(HolderEntries::new(three()).unwrap().to_header()).unwrap();
    let refused = |bytes: &[u8]| HolderEntries::parse(STANDARD.encode(bytes).as_bytes()).unwrap_err();
    for cut in 0..bytes.len() {
        assert_eq!(refused(&bytes[..cut]), FormatError::Holders, "{cut}");
    }
    assert_eq!(refused(&[&bytes[..], &[0]].concat()), FormatError::Holders);
    for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 2), (1, 4), (1, 255)] {
        let mut altered = bytes.clone();
        altered[at] = value;
        assert_eq!(refused(&altered), FormatError::Holders, "{at}: {value}");
    }
    let empty = [&[VERSION, 1, HolderKind::Local.tag()][..], &[0; 10]].concat();
    assert_eq!(refused(&empty), FormatError::Holders);
    let one = &bytes[2..2 + ENTRY_PREFIX + 120];
    assert_eq!(refused(&[&[VERSION, 2], one, one].concat()), FormatError::Holders);
    assert_eq!(refused(&[0; HolderEntries::MAX_LEN + 3]), FormatError::HoldersLength);
    assert!(HolderEntries::parse(&STANDARD.encode([&[VERSION, 1], one].concat()).into_bytes()).is_ok());
}

#[test]
fn f_61_base64_has_one_spelling() {
    let header = HolderEntries::new(vec![entry(HolderKind::Local, b"k", &[9; 3])]).unwrap().to_header();
    assert!(header.ends_with("=="), "{header}");
    let other_bits = format!("{}B==", &header[..header.len() - 3]);
    for other in [header.trim_end_matches('='), &format!("{header} "), &header.replace('+', "-"), &other_bits]
    {
        if *other != header {
            assert_eq!(HolderEntries::parse(other.as_bytes()).unwrap_err(), FormatError::Holders, "{other}");
        }
    }
}

#[test]
fn f_61_kinds_of_a_later_version_are_skipped_and_kept() {
    let later = [7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 99];
    let known = HolderEntries::new(three()).unwrap();
    let bytes = STANDARD.decode(known.to_header()).unwrap();
    let bytes = [&[VERSION, 4], &later[..], &bytes[2..]].concat();
    let parsed = HolderEntries::parse(STANDARD.encode(&bytes).as_bytes()).unwrap();
    assert_eq!(parsed.iter().cloned().collect::<Vec<_>>(), three());
    let written = STANDARD.decode(parsed.to_header()).unwrap();
    assert_eq!(written, [&[VERSION, 4], &STANDARD.decode(known.to_header()).unwrap()[2..], &later].concat());
    let alone = STANDARD.encode([&[VERSION, 1], &later[..]].concat());
    assert_eq!(HolderEntries::parse(alone.as_bytes()).unwrap().iter().count(), 0);
}

#[test]
fn f_60_what_metadata_cannot_hold_is_not_written() {
    assert_eq!(HolderEntries::new(Vec::new()).unwrap_err(), FormatError::Holders);
    assert_eq!(
        HolderEntries::new(vec![entry(HolderKind::Local, b"k", b"")]).unwrap_err(),
        FormatError::Holders
    );
    let twice = vec![entry(HolderKind::Local, b"k", b"a"), entry(HolderKind::Local, b"k", b"b")];
    assert_eq!(HolderEntries::new(twice).unwrap_err(), FormatError::Holders);
    let fits = HolderEntries::MAX_LEN - 2 - ENTRY_PREFIX;
    let header =
        HolderEntries::new(vec![entry(HolderKind::Local, b"k", &vec![0; fits])]).unwrap().to_header();
    assert_eq!(header.len(), 2_048);
    assert!(HolderEntries::parse(header.as_bytes()).is_ok());
    let long = HolderEntries::new(vec![entry(HolderKind::Local, b"k", &vec![0; fits + 1])]);
    assert_eq!(long.unwrap_err(), FormatError::HoldersLength);
}

#[test]
fn f_62_kind_and_name_make_the_fingerprint() {
    let kinds = HolderKind::ALL.map(|kind| HolderFingerprint::new(kind, b"name"));
    for (at, one) in kinds.iter().enumerate() {
        assert!(!kinds[..at].contains(one));
    }
    assert!(HolderKind::ALL.iter().all(|kind| HolderKind::from_tag(kind.tag()) == Some(*kind)));
    // SHA-256(0x03 | "transit/s3veil"), by Python's hashlib.
    let vault = HolderFingerprint::new(HolderKind::Vault, b"transit/s3veil");
    assert_eq!(vault.to_string(), "531d49b35581ec33");
}

#[test]
fn f_63_a_service_entry_opens_with_its_holders_key_kind_fingerprint_and_context_alone() {
    let (holder_key, data_key) = (DataKey::from_bytes([1; 32]), DataKey::from_bytes([2; 32]));
    let kind = HolderKind::Vault;
    let fingerprint = HolderFingerprint::new(kind, b"transit/s3veil");
    let blob = seal_under(&holder_key, b"vault:v1:inner", &data_key, kind, fingerprint, CONTEXT);
    let parsed = ServiceBlob::parse(&blob).unwrap();
    assert_eq!(parsed.inner, b"vault:v1:inner");
    assert_eq!(parsed.open(&holder_key, kind, fingerprint, CONTEXT).unwrap().expose(), data_key.expose());

    let other = HolderFingerprint::new(kind, b"transit/other");
    let refused = [
        parsed.open(&data_key, kind, fingerprint, CONTEXT),
        parsed.open(&holder_key, HolderKind::Local, fingerprint, CONTEXT),
        parsed.open(&holder_key, kind, other, CONTEXT),
        parsed.open(&holder_key, kind, fingerprint, b"canonical contex"),
        parsed.open(&DataKey::short_from_slice(&[1; 16]).unwrap(), kind, fingerprint, CONTEXT),
    ];
    for opened in refused {
        assert_eq!(opened.unwrap_err(), FormatError::HolderTag);
    }
    for at in blob.len() - SEALED_KEY..blob.len() {
        let mut altered = blob.to_vec();
        altered[at] ^= 1;
        let opened = ServiceBlob::parse(&altered).unwrap().open(&holder_key, kind, fingerprint, CONTEXT);
        assert_eq!(opened.unwrap_err(), FormatError::HolderTag, "{at}");
    }
}

#[test]
fn f_63_a_service_entry_of_another_length_is_refused() {
    let inner = [&[0, 5][..], b"inner", &[0; SEALED_KEY]].concat();
    assert!(ServiceBlob::parse(&inner).is_ok());
    for cut in 0..inner.len() {
        assert_eq!(ServiceBlob::parse(&inner[..cut]).unwrap_err(), FormatError::HolderBlob);
    }
    for other in [[&inner[..], &[0]].concat(), [&[0, 0], &[0; SEALED_KEY][..]].concat()] {
        assert_eq!(ServiceBlob::parse(&other).unwrap_err(), FormatError::HolderBlob);
    }
}
