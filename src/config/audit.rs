//! `[audit]`: the audit log.
//! It must not know what is recorded.
//! It promises a key that can sign, and a warning where there is none.

use super::error::Result;
use super::section::Section;
use crate::audit::{OnFailure, Settings, SigningKey};

pub(super) fn read(root: &Section<'_>) -> Result<Option<Settings>> {
    let Some(section) = root.section("audit")? else { return Ok(None) };
    let file = section.text("file", "audit.jsonl")?.ok_or_else(|| {
        section.refuse("file", "is missing", "write for example file = \"/var/log/s3veil/audit.jsonl\"")
    })?;
    let file = section.source.resolve(&file);
    let signing_key = read_key(&section)?;
    if signing_key.is_none() {
        let problem = "is missing: the checkpoints of the audit log are not signed, so whoever can write the file can \
                       write all of it again";
        section.warn(
            "signing_key_file",
            problem,
            "make a key with `s3veil keygen --audit FILE`, and name FILE",
        );
    }
    let choices = [("refuse", OnFailure::Refuse), ("serve", OnFailure::Serve)];
    let on_failure = section.choice("on_failure", &choices)?.unwrap_or_default();
    Ok(Some(Settings { file, signing_key, on_failure }))
}

fn read_key(section: &Section<'_>) -> Result<Option<SigningKey>> {
    const FIX: &str = "make one with `s3veil keygen --audit FILE`";
    let Some((file, pem)) = section.secret_file("signing_key_file", "audit.pem", FIX)? else {
        return Ok(None);
    };
    let key = SigningKey::from_pem(&pem).map_err(|error| {
        section.refuse("signing_key_file", &format!("names {}, which {error}", file.display()), FIX)
    })?;
    Ok(Some(key))
}
