use std::time::SystemTime;

use super::*;
use crate::audit::{AuditLog, OnFailure, Settings, SigningKey};
use crate::log::field;

fn verify(verify: Verify) -> (String, Result<(), u8>) {
    let mut output = Vec::new();
    let outcome = run(&AuditCommand::Verify(verify), &mut output);
    (String::from_utf8(output).unwrap(), outcome.map_err(|failure| failure.exit_code()))
}

#[test]
fn the_exit_code_says_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (key, _) = SigningKey::generate().unwrap();
    std::fs::write(path("key"), key.public_key().to_pem()).unwrap();
    let settings = Settings { file: path("log"), signing_key: Some(key), on_failure: OnFailure::Refuse };
    let log = AuditLog::start(&settings).unwrap();
    log.handle().record(SystemTime::now(), |entry| entry.text(field!("key"), "secret plans"));
    drop(log);
    let arguments = |file: &str, keys: &[&str]| Verify {
        files: vec![path(file)],
        public_key: keys.iter().map(|key| path(key)).collect(),
        at_least: None,
        ended: true,
    };
    let (text, outcome) = verify(arguments("log", &["key"]));
    assert_eq!(outcome, Ok(()), "{text}");
    assert!(
        text.starts_with("4 lines, number 1 to 4\n2 checkpoints (with signatures of --public-key)"),
        "{text}"
    );
    let (text, outcome) = verify(arguments("log", &[]));
    assert!(outcome.is_ok() && text.contains("signatures not verified"), "{text}");
    assert_eq!(verify(arguments("none", &[])).1, Err(74));
    assert_eq!(verify(arguments("log", &["log"])).1, Err(64));
    let altered = std::fs::read_to_string(path("log")).unwrap().replace("secret plans", "secret songs");
    std::fs::write(path("log"), altered).unwrap();
    let (text, outcome) = verify(arguments("log", &[]));
    assert_eq!(outcome, Err(65));
    assert!(text.starts_with(&format!("PROBLEM {}:3", path("log").display())), "{text}");
}
