//! The published vectors of further holders, made in Python from docs/FORMAT.md and opened here, one
//! expectation each.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::envelope::native::{Binding, Envelope, EnvelopeKeys, ObjectName, Policy, RecoveryPrivateKey};
use crate::keyring::EncryptionContext;

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap()
}

fn key(value: &Value) -> [u8; 32] {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// The data key that the vector's reader finds, or the reason why there is none.
fn find_data_key(vector: &Value) -> Result<DataKey, String> {
    let reason = |error: FormatError| format!("{error:?}");
    let missing = || "NoHolder".to_owned();
    let entries = HolderEntries::parse(text(vector, "header").as_bytes()).map_err(reason)?;
    assert_eq!(HolderEntries::parse(entries.to_header().as_bytes()).as_ref(), Ok(&entries));
    let context = EncryptionContext::native(text(vector, "realm"));
    if vector.get("recovery_key").is_some() {
        let private_key = RecoveryPrivateKey::from_pem(text(vector, "recovery_key").as_bytes()).unwrap();
        let fingerprint = private_key.public_key().fingerprint();
        let entry = entries.find(HolderKind::Recovery, fingerprint).ok_or_else(missing)?;
        return private_key.open(&entry.blob, context.canonical()).map_err(reason);
    }
    let holder = &vector["holder"];
    let kind = HolderKind::from_tag(u8::try_from(holder["kind"].as_u64().unwrap()).unwrap()).unwrap();
    let fingerprint = HolderFingerprint::new(kind, text(holder, "name").as_bytes());
    let entry = entries.find(kind, fingerprint).ok_or_else(missing)?;
    let blob = ServiceBlob::parse(&entry.blob).map_err(reason)?;
    if STANDARD.encode(blob.inner) != text(holder, "inner") {
        return Err("HolderKey".to_owned());
    }
    let holder_key = DataKey::from_bytes(key(&holder["key"]));
    let data_key = blob.open(&holder_key, kind, fingerprint, context.canonical()).map_err(reason)?;
    let again = seal_under(&holder_key, blob.inner, &data_key, kind, fingerprint, context.canonical());
    assert_eq!(again, entry.blob, "sealing gives other bytes than the reference");
    Ok(data_key)
}

fn open(vector: &Value) -> Result<(), String> {
    let data_key = find_data_key(vector)?;
    assert_eq!(data_key.expose(), &key(&vector["data_key"]));
    let envelope = Envelope::parse(text(vector, "envelope").as_bytes()).unwrap();
    let policy = Policy { least_binding: Binding::RealmAndKey };
    let (realm, object_key) = (text(vector, "realm"), text(vector, "object_key").as_bytes());
    // F-65: the envelope's commitment says whether this is the object's data key.
    let opened =
        envelope.open(EnvelopeKeys::without_customer(&data_key), policy, ObjectName { realm, object_key });
    let opened = opened.map_err(|error| format!("{error:?}"))?;
    assert_eq!(opened.content_key.expose(), &key(&vector["content_key"]));
    Ok(())
}

#[test]
fn every_vector_does_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/holders");
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let vector: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let expected = text(&vector, "expect");
        let found = open(&vector).err().unwrap_or_else(|| "ok".to_owned());
        if found != expected {
            wrong.push(format!("{}: {found} instead of {expected}", path.display()));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 59, "the vectors are gone: {seen}");
}
