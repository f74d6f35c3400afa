use std::path::{Path, PathBuf};

use super::*;
use crate::keyring::{CacheSettings, HolderSettings, KeyRule, Keyring, Provider, Reuse, Settings, Wrappings};

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn keys(entries: &[(&str, u8)]) -> LocalHolder {
    LocalHolder {
        ids: entries.iter().map(|(text, _)| id(text)).collect(),
        file: "ring".into(),
        wrapping_keys: entries.iter().map(|&(_, byte)| WrappingKey([byte; 32])).collect(),
    }
}

fn open(
    keys: &LocalHolder,
    blob: &[u8],
    context: &EncryptionContext,
    key_id: &str,
) -> Result<[u8; 32], KeyringError> {
    keys.decrypt(blob, context, &id(key_id)).map(|decrypted| *decrypted.data_key.unwrap().expose())
}

#[test]
fn what_was_wrapped_opens_and_only_in_its_context() {
    let keys = keys(&[("k", 1)]);
    let context = EncryptionContext::from_pairs([("a", "bc")]);
    let generated = keys.generate(&id("k"), &context).unwrap();
    assert_eq!(generated.wrapped.len(), 2 + 1 + 32 + 48);
    let data_key = *generated.data_key.unwrap().expose();
    assert_eq!(open(&keys, &generated.wrapped, &context, "k"), Ok(data_key));
    for other in [
        EncryptionContext::from_pairs([("ab", "c")]),
        EncryptionContext::from_pairs([("a", "bd")]),
        EncryptionContext::from_pairs([("a", "bc"), ("", "")]),
        EncryptionContext::from_pairs::<&str, &str>([]),
    ] {
        assert_eq!(
            open(&keys, &generated.wrapped, &other, "k"),
            Err(KeyringError::InvalidCiphertext),
            "This is a security issue: {other:?} opened a key of {context:?}.",
        );
    }
}

/// Made by an independent implementation (Python's hmac and `cryptography`) from the layout as documented.
#[test]
fn the_blob_layout_is_as_documented() {
    let wrapped: [u8; 48] = [
        0x62, 0xcf, 0x05, 0xe0, 0x1e, 0x5a, 0x47, 0xd2, 0xe8, 0x12, 0x53, 0x53, 0x5b, 0x26, 0xdf, 0xfa, 0xfa,
        0x1b, 0xb0, 0x13, 0x91, 0xfb, 0x3a, 0x55, 0x7c, 0x16, 0x45, 0xd7, 0xae, 0x1a, 0x2a, 0xbf, 0xd9, 0xcd,
        0xcd, 0xb4, 0xff, 0x59, 0x56, 0x6a, 0x22, 0x68, 0x52, 0x0c, 0xe5, 0x51, 0xca, 0xd0,
    ];
    let blob = [&[1, 1, b'k'][..], &[2; 32], &wrapped].concat();
    assert_eq!(open(&keys(&[("k", 1)]), &blob, &EncryptionContext::native("r"), "k"), Ok([3; 32]));
}

#[test]
fn no_two_blobs_share_a_salt_or_a_data_key() {
    let keys = keys(&[("k", 1)]);
    let context = EncryptionContext::native("r");
    let [one, other] = [(); 2].map(|()| keys.generate(&id("k"), &context).unwrap());
    assert_ne!(one.wrapped[3..35], other.wrapped[3..35]);
    assert_ne!(one.data_key.unwrap().expose(), other.data_key.unwrap().expose());
}

#[test]
fn every_flipped_bit_and_every_other_length_is_refused() {
    let keys = keys(&[("k", 1), ("j", 1)]);
    let context = EncryptionContext::native("r");
    let blob = keys.generate(&id("k"), &context).unwrap().wrapped;
    for bit in 0..blob.len() * 8 {
        let mut flipped = blob.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = open(&keys, &flipped, &context, "k").expect_err("This is a security issue.");
        let is_other_key = matches!(refused, KeyringError::IncorrectKey | KeyringError::KeyMissing { .. });
        let is_expected =
            if bit / 8 == 2 { is_other_key } else { refused == KeyringError::InvalidCiphertext };
        assert!(is_expected, "bit {bit}: {refused}");
    }
    for len in 0..blob.len() {
        assert_eq!(
            open(&keys, &blob[..len], &context, "k"),
            Err(KeyringError::InvalidCiphertext),
            "{len} bytes"
        );
    }
    let longer = [&blob[..], &[0]].concat();
    assert_eq!(open(&keys, &longer, &context, "k"), Err(KeyringError::InvalidCiphertext));
    let mut relabelled = blob.to_vec();
    relabelled[2] = b'j';
    assert_eq!(
        open(&keys, &relabelled, &context, "j"),
        Err(KeyringError::InvalidCiphertext),
        "same secret, other id"
    );
}

#[test]
fn a_blob_of_a_key_that_is_not_there_names_it_and_where_it_was_looked_for() {
    let context = EncryptionContext::native("r");
    let blob = keys(&[("lost", 1)]).generate(&id("lost"), &context).unwrap().wrapped;
    let missing = open(&keys(&[("k", 1), ("j", 2)]), &blob, &context, "k").unwrap_err();
    let expected = "the data key was wrapped under lost, which is not in ring (has: k, j)";
    assert_eq!(missing.to_string(), expected);
    let many: Vec<_> = (0..20).map(|number| format!("k{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), 3)).collect();
    let missing = open(&keys(&many), &blob, &context, "k0").unwrap_err().to_string();
    assert!(missing.ends_with("k6, k7, …)"), "{missing}");
}

#[test]
fn a_key_that_is_not_in_the_keyring_is_explained_by_the_ids_that_are() {
    let explained = keys(&[("k", 1), ("j", 2)]).explain(KeyringError::KeyNotFound);
    assert_eq!(explained.to_string(), "the wrapping key was not found: not in ring (has: k, j)");
    assert_eq!(keys(&[("k", 1)]).explain(KeyringError::InvalidCiphertext).cause, None);
}

#[test]
fn other_unknown_and_changed_keys_are_refused_as_kms_does_it() {
    let context = EncryptionContext::native("r");
    let both = keys(&[("k", 1), ("j", 2)]);
    let blob = both.generate(&id("k"), &context).unwrap().wrapped;
    assert_eq!(open(&both, &blob, &context, "j"), Err(KeyringError::IncorrectKey));
    assert_eq!(open(&both, &blob, &context, "nobody"), Err(KeyringError::KeyNotFound));
    assert_eq!(both.generate(&id("nobody"), &context).err(), Some(KeyringError::KeyNotFound));
    let changed = keys(&[("k", 9)]);
    assert_eq!(
        open(&changed, &blob, &context, "k"),
        Err(KeyringError::InvalidCiphertext),
        "This is a security issue: a changed wrapping key must make reads fail.",
    );
}

fn in_directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("deep/er/keyring");
    (directory, file)
}

fn settings(file: &Path, create_if_missing: bool) -> Settings {
    Settings {
        holders: vec![HolderSettings {
            name: "local".to_owned(),
            provider: Provider::Local(Local { file: file.to_owned(), create_if_missing }),
            replica_of: None,
        }],
        cache: CacheSettings::default(),
        reuse: Reuse::Bucket,
    }
}

fn put(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(file);
    std::fs::write(file, text).unwrap();
    #[cfg(unix)]
    chmod(file, 0o600);
}

#[cfg(unix)]
fn chmod(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn names_in(file: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(file.parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_generated_keyring_is_private_has_one_key_and_is_never_overwritten() {
    let (_directory, file) = in_directory();
    let made = generate(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(names_in(&file), ["keyring"], "nothing is left beside it");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    let stored = file::read(&file).unwrap();
    assert_eq!((stored.keys.len(), &stored.keys[0].id, stored.keys[0].current), (1, &made, true));
    assert_eq!(generate(&file), Err(KeyringSetupError::Exists(file.clone())));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn two_concurrent_generations_leave_one_keyring() {
    let (_directory, file) = in_directory();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| generate(&file))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let won: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(won, [&file::read(&file).unwrap().keys[0].id]);
    assert_eq!(names_in(&file), ["keyring"]);
}

#[tokio::test]
async fn after_a_rotation_the_new_key_writes_and_the_old_one_reads() {
    let (_directory, file) = in_directory();
    let context = EncryptionContext::native("r");
    let before = Keyring::build(settings(&file, true)).await.unwrap();
    let first = before.allowed_keys(&KeyRule::default()).next().unwrap().clone();
    let old = before.for_write(&KeyRule::default(), None, &context, 1).await.unwrap();
    assert_eq!(*old.key_id, *first.as_str());

    let second = rotate(&file).unwrap();
    assert_ne!(second, first);
    assert_eq!(names_in(&file), ["keyring"]);
    let after = Keyring::build(settings(&file, false)).await.unwrap();
    let rule = KeyRule::default();
    assert_eq!(after.allowed_keys(&rule).collect::<Vec<_>>(), [&second, &first]);
    assert_eq!(after.for_write(&rule, None, &context, 1).await.unwrap().key_id.as_ref(), second.as_str());
    let read = after.unwrap(&rule, Wrappings::single(&old.wrapped), &context).await.unwrap();
    assert_eq!((read.data_key.expose(), &*read.key_id), (old.data_key.expose(), first.as_str()));
    let only_new = KeyRule { key_id: Some(second.clone()), ..KeyRule::default() };
    let only_new = after.unwrap(&only_new, Wrappings::single(&old.wrapped), &context).await;
    assert_eq!(only_new.unwrap_err(), KeyringError::IncorrectKey);
    assert_eq!(after.check(0, None, &context).await.unwrap().key_id.as_ref(), second.as_str());
}

#[test]
fn a_rotation_refuses_what_it_can_not_do_and_leaves_the_file() {
    let (_directory, file) = in_directory();
    assert_eq!(rotate(&file), Err(KeyringSetupError::Missing(file.clone())));
    generate(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let lock = PathBuf::from(format!("{}.lock", file.display()));
    std::fs::write(&lock, "").unwrap();
    assert_eq!(rotate(&file), Err(KeyringSetupError::Locked(lock.clone())));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    std::fs::remove_file(&lock).unwrap();
    put(&file, "version = 2");
    assert!(matches!(rotate(&file), Err(KeyringSetupError::Invalid { .. })));
    assert_eq!(names_in(&file), ["keyring"], "no lock is left behind");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_refused_with_the_remedy() {
    let (_directory, file) = in_directory();
    generate(&file).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o660, 0o666] {
        chmod(&file, mode);
        let refused = file::read(&file).unwrap_err();
        assert_eq!(refused, KeyringSetupError::TooOpen { file: file.clone(), mode });
        assert!(refused.to_string().contains(&format!("chmod 600 {}", file.display())));
    }
    for mode in [0o600, 0o400] {
        chmod(&file, mode);
        file::read(&file).unwrap();
    }
}

#[tokio::test]
async fn a_missing_keyring_is_created_only_if_configured() {
    let (_directory, file) = in_directory();
    let missing = Keyring::build(settings(&file, false)).await.unwrap_err();
    assert_eq!(missing, KeyringSetupError::Missing(file.clone()));
    assert!(missing.to_string().contains("s3veil keygen"));
    let made = Keyring::build(settings(&file, true)).await.unwrap();
    let again = Keyring::build(settings(&file, true)).await.unwrap();
    let rule = KeyRule::default();
    assert!(made.allowed_keys(&rule).eq(again.allowed_keys(&rule)), "an existing one is used, not replaced");
}

const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI=";

#[test]
fn an_invalid_keyring_is_refused_without_showing_a_secret() {
    let (_directory, file) = in_directory();
    let good_key =
        format!("[[key]]\nid = \"a\"\ncreated = \"2026-01-31T12:00:00Z\"\nsecret = \"{SECRET}\"\n");
    let good = format!("version = 1\ncurrent = \"a\"\n{good_key}");
    put(&file, &good);
    assert_eq!(file::read(&file).unwrap().keys[0].secret.0, *b"secretsecretsecretsecretsecret12");
    let zeros = "A".repeat(43) + "=";
    for (bad, line, problem) in [
        (good.replace("version = 1", "version = 2"), None, "version 2"),
        (good.replace("version = 1\n", ""), Some(1), "version"),
        (good.replace("current = \"a\"", "current = \"b\""), None, "current = \"b\""),
        (format!("colour = 1\n{good}"), Some(1), "colour"),
        (good.replace("created", "age"), Some(5), "age"),
        (format!("{good}{good_key}"), None, "two keys have the id \"a\""),
        (good.replace(SECRET, &zeros), None, "all zeros"),
        (good.replace(SECRET, &SECRET[4..]), None, "32 bytes"),
        (good.replace(SECRET, SECRET.trim_end_matches('=')), None, "32 bytes"),
        (good.replace(SECRET, &format!("{SECRET}\" x")), Some(6), ""),
        (good.replace("2026-01-31T12:00:00Z", "yesterday"), None, "RFC 3339"),
        (good.replace("id = \"a\"", "id = \"a b\""), None, "an id is"),
        (good.replace("id = \"a\"", &format!("id = \"{}\"", "a".repeat(65))), None, "an id is"),
        ("version = 1\ncurrent = \"a\"\nkey = []\n".to_owned(), None, "current"),
        (String::new(), Some(1), ""),
    ] {
        put(&file, &bad);
        let refused = file::read(&file).unwrap_err();
        let text = refused.to_string();
        let KeyringSetupError::Invalid { line: at, .. } = refused else { panic!("{text}") };
        assert_eq!(at, line, "{text}\n{bad}");
        assert!(text.contains(problem), "{text}: {problem}");
        assert!(text.contains("restore it from its copy; do not make a new one"), "{text}");
        assert!(!text.contains(&SECRET[..8]), "a secret in an error: {text}");
    }
}

#[test]
fn a_file_too_large_is_refused_unread() {
    let (_directory, file) = in_directory();
    put(&file, &"#".repeat((1 << 20) + 1));
    assert_eq!(
        file::read(&file).unwrap_err(),
        KeyringSetupError::TooLarge { file: file.clone(), limit: 1 << 20 }
    );
}

/// The remedy for an open mode, `chmod 600`, would make a directory unusable.
#[test]
fn a_directory_is_no_keyring() {
    let (directory, _) = in_directory();
    let file = directory.path().to_owned();
    let kind = std::io::ErrorKind::IsADirectory;
    let expected = KeyringSetupError::Io { file: file.clone(), action: "read it", kind };
    assert_eq!(file::read(&file).unwrap_err(), expected);
}
