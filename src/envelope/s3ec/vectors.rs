//! Objects that Amazon's own clients wrote (`tests/vectors/s3ec`), positive and negative: all of them are
//! run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde::Deserialize;

use super::*;
use crate::envelope::aes_cbc::AcceptedPadding;
use crate::envelope::aes_gcm::MessageKey;
use crate::envelope::stream::StreamOpener;
use crate::envelope::{DataKey, StreamError};

#[derive(Deserialize)]
struct Vector {
    name: String,
    metadata: BTreeMap<String, String>,
    instruction_file: Option<String>,
    body_b64: String,
    data_key_hex: String,
    plaintext_b64: String,
    encryption_context_for_kms: Option<BTreeMap<String, String>>,
}

impl Vector {
    fn body(&self) -> Vec<u8> {
        STANDARD.decode(&self.body_b64).unwrap()
    }

    fn plaintext(&self) -> Vec<u8> {
        STANDARD.decode(&self.plaintext_b64).unwrap()
    }

    fn data_key(&self) -> DataKey {
        DataKey::try_from_slice(&hex(&self.data_key_hex)).unwrap()
    }

    fn entries(&self) -> Entries {
        Entries::from_metadata(self.metadata.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
            .unwrap()
    }

    fn envelope(&self, policy: Policy) -> Result<Envelope, S3ecError> {
        match &self.instruction_file {
            Some(file) => {
                let file = Entries::parse_instruction_file(file.as_bytes())?;
                Envelope::parse_with_file(&self.entries(), &file, policy)
            }
            None => Envelope::parse(&self.entries(), policy),
        }
    }

    /// Opens the object in memory and as a stream; both must agree.
    fn open(&self) -> Result<Vec<u8>, S3ecError> {
        let envelope = self.envelope(LEGACY)?;
        match envelope.unlock(&self.data_key())? {
            Content::Message(message) => {
                let whole = message.open_whole(BytesMut::from(&self.body()[..]));
                let streamed =
                    message.delayed(self.body().len() as u64).map(|opener| pour(opener, &self.body()));
                match streamed {
                    Ok(Ok(plaintext)) => assert_eq!(Ok(&plaintext[..]), whole.as_deref(), "{}", self.name),
                    Ok(Err(error)) => assert_eq!(error, StreamError::Tag, "{}", self.name),
                    Err(error) => return Err(error),
                }
                whole.map(|plaintext| plaintext.to_vec())
            }
            Content::Cbc(chain) => {
                let whole = chain.open_whole(&self.body(), None).map_err(|Unreadable| S3ecError::Tag)?;
                Ok(whole.to_vec())
            }
        }
    }
}

const LEGACY: Policy = Policy { legacy: true };
const STRICT: Policy = Policy { legacy: false };

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}

fn pour(mut opener: StreamOpener, stored: &[u8]) -> Result<Vec<u8>, StreamError> {
    let mut plaintext = BytesMut::new();
    for piece in stored.chunks(1000) {
        opener.push(piece, &mut plaintext)?;
    }
    opener.finish(&mut plaintext)?;
    Ok(plaintext.to_vec())
}

fn texts(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/s3ec").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn vector(text: &str) -> Vector {
    serde_json::from_str(text).unwrap()
}

/// The way the object was written decides which of the two flags it needs.
fn is_legacy(name: &str) -> bool {
    name.starts_with("go1-cbc") || name.starts_with("go1-gcm-kms-") || name.starts_with("rb-v1-kms")
}

#[test]
fn every_object_of_amazons_clients_opens_with_its_data_key() {
    let vectors = texts("");
    assert_eq!(vectors.len(), 28);
    for (name, text) in &vectors {
        let vector = vector(text);
        if name.starts_with("rb-v1-aes") || name.starts_with("rb-v1-rsa") {
            assert_eq!(vector.envelope(LEGACY), Err(S3ecError::RawWrapping), "{name}");
            let iv = STANDARD.decode(&vector.metadata["x-amz-iv"]).unwrap().try_into().unwrap();
            let chain = CbcBody::new(vector.data_key().expose(), Some(iv), AcceptedPadding::Pkcs7);
            assert_eq!(chain.open_whole(&vector.body(), None).unwrap(), vector.plaintext(), "{name}");
            continue;
        }
        assert_eq!(vector.open(), Ok(vector.plaintext()), "{name}");
        let envelope = vector.envelope(LEGACY).unwrap();
        if let Some(context) = &vector.encryption_context_for_kms {
            let context: Vec<_> = context.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(envelope.context().collect::<Vec<_>>(), context, "{name}");
        }
        assert_eq!(envelope.is_legacy(), is_legacy(name), "{name}");
        let refused = vector.envelope(STRICT).err();
        let expected = match (is_legacy(name), envelope.suite()) {
            (false, _) => None,
            (true, Suite::Cbc) => Some(S3ecError::LegacyContent),
            (true, _) => Some(S3ecError::LegacyWrapping),
        };
        assert_eq!(refused, expected, "{name}");
        let length = envelope.plaintext_length(vector.body().len() as u64).unwrap();
        assert_eq!(length, Some(vector.plaintext().len() as u64), "{name}");
    }
}

#[test]
fn every_altered_object_is_refused() {
    let expected = [
        ("neg-v2-body", S3ecError::Tag),
        ("neg-v2-cek-downgrade", S3ecError::ContextAlgorithm),
        ("neg-v3-body", S3ecError::Tag),
        ("neg-v3-commit", S3ecError::Commitment),
        ("neg-v3-msgid", S3ecError::Commitment),
        ("neg-v3-trunc", S3ecError::Tag),
    ];
    let mut vectors = texts("negative");
    vectors.remove("salamander-aes256gcm").expect("it has a test of its own");
    assert_eq!(vectors.len(), expected.len());
    for (name, error) in expected {
        let opened = vector(&vectors[name]).open();
        assert_eq!(opened, Err(error), "This is a security issue: {name}.");
    }
}

/// One ciphertext that opens under two keys: AES-GCM alone can't refuse it, V3's commitment does.
#[test]
fn a_message_for_two_keys_is_refused_by_the_commitment() {
    #[derive(Deserialize)]
    struct Salamander {
        key1_hex: String,
        key2_hex: String,
        nonce_hex: String,
        ciphertext_tag_hex: String,
        plaintext1_hex: String,
        plaintext2_hex: String,
    }
    let salamander: Salamander = serde_json::from_str(&texts("negative")["salamander-aes256gcm"]).unwrap();
    let iv: [u8; 12] = hex(&salamander.nonce_hex).try_into().unwrap();
    for (key, plaintext) in [
        (&salamander.key1_hex, &salamander.plaintext1_hex),
        (&salamander.key2_hex, &salamander.plaintext2_hex),
    ] {
        let message = MessageKey { key: hex(key).into(), iv, aad: &[] };
        let opened = message.open_whole(BytesMut::from(&hex(&salamander.ciphertext_tag_hex)[..]));
        assert_eq!(opened.unwrap(), hex(plaintext));
    }
    let (one, other) = (hex(&salamander.key1_hex), hex(&salamander.key2_hex));
    let (one, other) = (DataKey::try_from_slice(&one).unwrap(), DataKey::try_from_slice(&other).unwrap());
    let object =
        NewObject::new(Version::V3, &one, b"blob", &Version::V3.context(&BTreeMap::new()), &[5; ENTROPY]);
    let entries = object.entries.iter().map(|(name, value)| (*name, value.as_bytes()));
    let envelope = Envelope::parse(&Entries::from_metadata(entries).unwrap(), STRICT).unwrap();
    assert!(envelope.unlock(&one).is_ok());
    let refused = envelope.unlock(&other).err();
    assert_eq!(refused, Some(S3ecError::Commitment), "This is a security issue: two keys open one object.");
}
