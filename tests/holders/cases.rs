//! The cases for a service that works, or refuses by a state of its keys. They must not know any provider,
//! and each begins with a key of its own. What reads is another keyring than the one that wrote.

use s3veil::keyring::{EncryptionContext, KeyRule, KeyringError, Provider, Wrappings};

use crate::bench::{
    Bench, Delete, Deny, Disable, IgnoreContext, Login, Name, Rotate, check, context, keyring, keyrings,
    read, read_in, write,
};
use crate::local::LocalBench;

/// Longest blob that a keyring opens, in bytes.
const MAX_BLOB_LEN: usize = 6_144;

pub(crate) async fn a_data_key_comes_back_in_another_process<B: Bench>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    let read = read(bench.provider(), &written.wrapped).await.expect("the same key and realm");
    assert_eq!(read.data_key.expose(), written.data_key.expose());
    assert_eq!(read.key_id, written.key_id);
    assert_ne!(written.data_key.expose(), &[0; 32]);
    let further = write(bench.provider()).await.expect("the key is usable");
    assert_ne!(further.data_key.expose(), written.data_key.expose(), "each data key is new");
}

/// A bucket moves from another holder to this one: its data keys are wrapped for it, and once.
pub(crate) async fn an_existing_data_key_is_wrapped<B: Bench>() {
    let (bench, old) = (B::new().await, LocalBench::new().await);
    an_existing_data_key_is_wrapped_by(bench.provider(), old.provider()).await;
}

/// [`an_existing_data_key_is_wrapped`], by this provider with rights of its own.
pub(crate) async fn an_existing_data_key_is_wrapped_by(new: Provider, old: Provider) {
    let rule = KeyRule { wrapping: vec![1], unwrapping: vec![0], ..KeyRule::default() };
    let both = async || keyrings(vec![old.clone(), new.clone()]).await;
    let written = write(old.clone()).await.expect("the key is usable");
    let rewrap = async |first: &[u8]| {
        both().await.rewrap_for(&rule, None, Wrappings::single(first), &context()).await.expect("its key")
    };
    let made = rewrap(&written.wrapped).await;
    assert!(!made.is_unchanged);
    let read = read(new.clone(), &made.wrapped).await.expect("the new holder alone");
    assert_eq!(read.data_key.expose(), written.data_key.expose());
    let other = EncryptionContext::native("other");
    let refused = read_in(new.clone(), &made.wrapped, &other).await.expect_err("This is a security issue.");
    assert_eq!(refused, KeyringError::InvalidCiphertext);
    let again = rewrap(&made.wrapped).await;
    assert!(again.is_unchanged && again.wrapped == made.wrapped);
}

pub(crate) async fn another_realm_does_not_open<B: Bench>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    let others = [
        EncryptionContext::native("other"),
        EncryptionContext::native("realm "),
        EncryptionContext::native(""),
        EncryptionContext::from_pairs([("s3veil:realm", "realm")]),
        EncryptionContext::from_pairs::<&str, &str>([]),
    ];
    for other in others {
        let refused = read_in(bench.provider(), &written.wrapped, &other).await;
        assert_eq!(
            refused.expect_err("This is a security issue."),
            KeyringError::InvalidCiphertext,
            "{other:?}"
        );
    }
    read(bench.provider(), &written.wrapped).await.expect("its own realm opens it after all refusals");
}

pub(crate) async fn a_blob_of_another_key_does_not_open<B: Bench>() {
    let (bench, other) = (B::new().await, B::new().await);
    let forged = write(other.provider()).await.expect("the key is usable");
    let refused = read(bench.provider(), &forged.wrapped).await.expect_err("This is a security issue.");
    assert!(B::is_refusal_of_blob(&refused), "{refused:?}");
}

pub(crate) async fn an_altered_blob_does_not_open<B: Bench>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    let whole = written.wrapped.to_vec();
    let flipped = (0..whole.len()).step_by(7).chain([whole.len() - 1]).map(|at| {
        let mut blob = whole.clone();
        blob[at] ^= 1;
        blob
    });
    let shortened = whole[..whole.len() - 1].to_vec();
    let lengthened = [&whole[..], b"A"].concat();
    for blob in flipped.chain([shortened, lengthened]) {
        let refused = read(bench.provider(), &blob).await.expect_err("This is a security issue.");
        assert!(B::is_refusal_of_blob(&refused), "{refused:?} for {}", blob.escape_ascii());
    }
}

pub(crate) async fn what_is_no_blob_does_not_open<B: Bench>() {
    let bench = B::new().await;
    let blobs = [b"no blob at all".to_vec(), vec![0], vec![0xff; 64], vec![b'A'; MAX_BLOB_LEN]];
    for blob in blobs {
        let refused = read(bench.provider(), &blob).await.expect_err("This is a security issue.");
        assert!(
            B::is_refusal_of_blob(&refused),
            "{refused:?} for {}",
            blob[..blob.len().min(32)].escape_ascii()
        );
    }
}

pub(crate) async fn a_missing_key_neither_writes_nor_reads<B: Name>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    let missing = bench.missing_key();
    assert_eq!(write(missing.clone()).await.expect_err("there is no key"), KeyringError::KeyNotFound);
    assert_eq!(
        read(missing, &written.wrapped).await.expect_err("there is no key"),
        KeyringError::KeyNotFound
    );
}

pub(crate) async fn a_check_makes_the_round_trip<B: Bench>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    let checked = check(bench.provider()).await.expect("the key is usable");
    assert_eq!(checked.key_id, written.key_id);
}

pub(crate) async fn a_disabled_key_neither_writes_nor_reads<B: Disable>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    bench.disable().await;
    assert_eq!(write(bench.provider()).await.expect_err("disabled"), KeyringError::KeyDisabled);
    assert_eq!(
        read(bench.provider(), &written.wrapped).await.expect_err("disabled"),
        KeyringError::KeyDisabled
    );
    let checked = check(bench.provider()).await.expect_err("disabled");
    assert_eq!(checked.error, KeyringError::KeyDisabled);
    bench.enable().await;
    let read = read(bench.provider(), &written.wrapped).await.expect("the key is enabled again");
    assert_eq!(read.data_key.expose(), written.data_key.expose());
}

pub(crate) async fn a_deleted_key_neither_writes_nor_reads<B: Delete>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    bench.delete().await;
    assert_eq!(write(bench.provider()).await.expect_err("deleted"), B::DELETED);
    assert_eq!(read(bench.provider(), &written.wrapped).await.expect_err("deleted"), B::DELETED);
}

pub(crate) async fn rotation_keeps_old_blobs_readable<B: Rotate>() {
    let bench = B::new().await;
    let mut written = vec![write(bench.provider()).await.expect("the key is usable")];
    for _ in 0..3 {
        bench.rotate().await;
        written.push(write(bench.provider()).await.expect("the key is usable"));
    }
    for key in written {
        let read = read(bench.provider(), &key.wrapped).await.expect("every version opens");
        assert_eq!(read.data_key.expose(), key.data_key.expose());
        assert_eq!(read.key_id, key.key_id, "a version is not another key");
    }
}

pub(crate) async fn credentials_without_the_right_are_denied<B: Deny>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    let provider = bench.without_right().await;
    assert_eq!(write(provider.clone()).await.expect_err("no right"), KeyringError::Denied);
    assert_eq!(read(provider, &written.wrapped).await.expect_err("no right"), KeyringError::Denied);
}

pub(crate) async fn wrong_credentials_are_told_apart<B: Login>() {
    let bench = B::new().await;
    let written = write(bench.provider()).await.expect("the key is usable");
    let provider = bench.with_wrong_credentials().await;
    assert_eq!(write(provider.clone()).await.expect_err("no login"), KeyringError::Credentials);
    assert_eq!(read(provider, &written.wrapped).await.expect_err("no login"), KeyringError::Credentials);
}

pub(crate) async fn a_key_that_ignores_the_context_is_refused<B: IgnoreContext>() {
    let bench = B::new().await;
    let provider = bench.key_without_context().await;
    let refused = keyring(provider.clone()).await.prove(0).await.expect_err("This is a security issue.");
    assert_eq!(refused.error, KeyringError::ContextIgnored);
    let refused = write(provider.clone()).await.expect_err("This is a security issue.");
    assert_eq!(refused, KeyringError::ContextIgnored);
    let checked = check(provider).await.expect_err("This is a security issue.");
    assert_eq!(checked.error, KeyringError::ContextIgnored);
    keyring(bench.provider()).await.prove(0).await.expect("the other key is bound to its context");
}
