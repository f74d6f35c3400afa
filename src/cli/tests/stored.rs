//! `inspect` and `decrypt` of multipart uploads.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::body::test_support::layout;
use crate::envelope::native::CHUNK;
use crate::envelope::native::multipart::Layout;
use crate::test_support::{Storage, upload};

fn configured(folder: &TempDir, endpoint: &str) -> config::Config {
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:8333\"\n\
         [upstream]\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\n\
         access_key_id = \"id\"\nsecret_access_key = \"secret\"\n\
         [keyring]\nprovider = \"local\"\nfile = \"keyring\"\n\
         [[client]]\naccess_key_id = \"app\"\nsecret_access_key = \"hunter2\"\n\
         [[bucket]]\nname = \"*\"\n"
    );
    config::parse(&text, &folder.path().join("proxy.toml"), |_| None).expect("a valid file")
}

fn layouts() -> [Layout; 3] {
    const CHUNK_U64: u64 = CHUNK as u64;
    [
        layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, 5], false),
        layout(&[3, CHUNK_U64 + 4], true),
        layout(&[0], false),
    ]
}

#[tokio::test]
async fn inspect_shows_proven_parts() {
    let (storage, resources, folder) = Storage::serve().await;
    let object = ObjectUrl { bucket: "b".to_owned(), object_key: "k".to_owned() };
    for (layout, expected) in layouts().iter().zip([
        "plaintext: 262149 bytes\nparts: 3; layout: regular, authentic\npart 1: 131072 bytes\n",
        "plaintext: 65543 bytes\nparts: 2, ended by a terminator; layout: carried in the body, authentic\n",
        "plaintext: 0 bytes\nparts: 1; layout: regular, authentic\npart 1: 0 bytes\n",
    ]) {
        storage.keep("k", upload(&resources, "k", layout).await.kept("e"));
        let report = inspect::inspect(configured(&folder, &storage.endpoint), &object).await.unwrap();
        assert!(report.contains("body: multipart upload\n") && report.contains(expected), "{report}");
    }
    let mut kept = upload(&resources, "k", &layouts()[0]).await.kept("e");
    kept.body = kept.body.slice(..kept.body.len() - 21);
    storage.keep("k", kept);
    let refused = inspect::inspect(configured(&folder, &storage.endpoint), &object).await.unwrap_err();
    assert!(refused.to_string().contains("layout: NOT authentic"), "{refused}");
}

#[tokio::test]
async fn decrypt_opens_an_upload_and_nothing_that_was_cut() {
    let (_storage, resources, folder) = Storage::serve().await;
    let file = |name: &str| folder.path().join(name);
    for layout in &layouts() {
        let uploaded = upload(&resources, "k", layout).await;
        let metadata: std::collections::BTreeMap<_, _> = uploaded.metadata.iter().cloned().collect();
        fs::write(file("metadata.json"), serde_json::to_string(&metadata).unwrap()).unwrap();
        let arguments = Decrypt {
            body: file("body"),
            metadata: file("metadata.json"),
            instruction_file: None,
            bucket: "b".to_owned(),
            object_key: "k".to_owned(),
            out: None,
            recovery_key: None,
            realm: None,
            binding: Binding::RealmAndKey,
        };
        let body = uploaded.segments.concat();
        let segment = uploaded.segments[0].len();
        for (cut, is_whole) in [(body.len(), true), (body.len() - 1, false), (segment, segment == body.len())]
        {
            fs::write(file("body"), &body[..cut]).unwrap();
            let mut plaintext = Vec::new();
            let outcome =
                decrypt::decrypt(configured(&folder, "http://127.0.0.1:1"), &arguments, &mut plaintext).await;
            assert_eq!(outcome.is_ok(), is_whole, "This is a security issue: cut at {cut} of {}", body.len());
            assert!(uploaded.content.starts_with(&plaintext));
            assert!(!is_whole || plaintext == uploaded.content);
        }
        fs::write(file("body"), [&body[..], &[0]].concat()).unwrap();
        let mut plaintext = Vec::new();
        let outcome =
            decrypt::decrypt(configured(&folder, "http://127.0.0.1:1"), &arguments, &mut plaintext).await;
        assert!(outcome.is_err(), "This is a security issue: a byte was appended.");
    }
}
