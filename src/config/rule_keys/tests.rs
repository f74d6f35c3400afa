use std::path::Path;

use crate::config::{Config, ConfigError, parse};
use crate::envelope::native::RecoveryPrivateKey;
use crate::keyring::{KeyRule, RequiredHolders};

const HOLDERS: &str = "\
[listen]
address = \"127.0.0.1:8333\"
[upstream]
endpoint = \"embedded:./data\"
region = \"us-east-1\"
[[holder]]
name = \"aws\"
provider = \"aws-kms\"
key_id = \"alias/a\"
[[holder]]
name = \"file\"
provider = \"local\"
file = \"keyring\"
[[holder]]
name = \"keyless\"
provider = \"aws-kms\"
[[holder]]
name = \"ireland\"
provider = \"aws-kms\"
key_id = \"arn:aws:kms:eu-west-1:1:key/mrk-1\"
replica_of = \"aws\"
[[client]]
access_key_id = \"app\"
secret_access_key = \"hunter2\"
[[bucket]]
name = \"*\"
";

/// A configuration of four holders whose only rule has these lines; they begin at line 27.
fn read(lines: &str) -> Result<Config, ConfigError> {
    parse(&format!("{HOLDERS}{lines}"), Path::new("etc/proxy.toml"), |_| None)
}

fn rule(lines: &str) -> KeyRule {
    read(lines).expect(lines).buckets[0].keys.clone()
}

#[test]
fn holders_are_in_the_order_of_the_rule() {
    let keys =
        rule("holders = [\"file\", \"aws\"]\nallowed_holders = [\"ireland\"]\nholders_required = \"first\"");
    assert_eq!(
        (keys.wrapping, keys.unwrapping, keys.required),
        (vec![1, 0], vec![3], RequiredHolders::First)
    );
    let config = read("holders = [\"aws\"]").expect("one of several");
    let replicas: Vec<_> = config.keyring.holders.iter().map(|holder| holder.replica_of).collect();
    assert_eq!(replicas, [None, None, None, Some(0)]);
    assert_eq!(rule("holders = [\"keyless\"]\nkey_id = \"alias/k\"").first(), 2);
}

#[test]
fn recovery_keys_are_read_and_watched() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ops.pub.pem");
    let key = RecoveryPrivateKey::generate().public_key();
    std::fs::write(&file, key.to_pem()).expect("it is written");
    let line = |names: &str| format!("holders = [\"file\"]\nrecovery = [{names}]");
    let name = format!("{:?}", file.display().to_string());
    let config = read(&line(&name)).expect("a public key");
    assert_eq!(config.buckets[0].keys.recovery, [key]);
    assert!(config.files.contains(&file), "a change of it is a change of the configuration");
    let twice = read(&line(&format!("{name}, {name}"))).expect_err("twice").to_string();
    assert!(twice.contains("`bucket.recovery` names one key twice, at place 2"), "{twice}");
    let private = RecoveryPrivateKey::generate();
    std::fs::write(&file, &*private.to_pem()).expect("it is written");
    let refused = read(&line(&name)).expect_err("a private key").to_string();
    assert!(refused.contains("s3veil keygen --recovery"), "{refused}");
}

#[test]
fn each_mistake_says_what_to_write() {
    for (lines, expected) in [
        (
            "",
            "25: `bucket.holders` is missing, and there are several [[holder]]: write the names of the holders",
        ),
        ("holders = [\"awz\"]", "27: `bucket.holders` names no holder: \"awz\": did you mean \"aws\"?"),
        ("holders = [\"aws\", \"aws\"]", "`bucket.holders` names \"aws\" twice: remove one of them"),
        (
            "holders = [\"ireland\"]",
            "`bucket.holders` names \"ireland\", which is a replica and wraps nothing",
        ),
        (
            "holders = [\"file\", \"keyless\"]",
            "names \"keyless\", which has no key_id: write key_id in the [[holder]]",
        ),
        ("holders = [\"keyless\"]", "`bucket.key_id` is missing, and that of the holder \"keyless\" too"),
        (
            "holders = [\"aws\"]\nallowed_holders = [\"aws\"]",
            "`bucket.allowed_holders` names \"aws\", which wraps",
        ),
        (
            "holders = [\"aws\"]\nholders_required = \"all\"",
            "`bucket.holders_required` has no effect with one holder",
        ),
        (
            "holders = [\"aws\", \"file\"]\nholders_required = \"one\"",
            "`bucket.holders_required` can't be \"one\"",
        ),
        ("holders = [\"aws\"]\nrecovery = [\"missing.pem\"]", "names etc/missing.pem, which can't be read"),
    ] {
        let refused = read(lines).expect_err(lines).to_string();
        assert!(refused.contains(expected), "{lines}: {refused}");
    }
}

#[test]
fn holders_are_distinct_and_the_keyring_is_not_another_one() {
    for (from, to, expected) in [
        (
            "name = \"file\"",
            "name = \"aws\"",
            "`holder.name` names another [[holder]] too: choose another name",
        ),
        (
            "replica_of = \"aws\"",
            "replica_of = \"file\"",
            "`holder.replica_of` names no holder of the original key",
        ),
        (
            "replica_of = \"aws\"",
            "replica_of = \"ireland\"",
            "`holder.replica_of` names no holder of the original",
        ),
        (
            "[[client]]",
            "[keyring]\nfile = \"keyring\"\n[[client]]",
            "`keyring.file` has no effect beside [[holder]]",
        ),
    ] {
        let text = format!("{HOLDERS}holders = [\"aws\"]").replacen(from, to, 1);
        let refused = parse(&text, Path::new("etc/proxy.toml"), |_| None).expect_err(to).to_string();
        assert!(refused.contains(expected), "{to}: {refused}");
    }
    let text = format!("{HOLDERS}holders = [\"aws\"]").replacen(
        "[[client]]",
        "[keyring]\nreuse = \"off\"\n[[client]]",
        1,
    );
    parse(&text, Path::new("etc/proxy.toml"), |_| None).expect("[keyring] keeps reuse and cache");
}
