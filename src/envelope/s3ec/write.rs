//! A new object that Amazon's own clients can read: its entries and its sealer, for one PUT.
//!
//! It must not know how the data key was generated or where the object is stored. It promises entries that
//! every client of that version accepts.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::envelope::{COMMITTING, GCM, KMS_CONTEXT, KMS_CONTEXT_V3};
use super::kdf::{Derivation, ID, SUITE_ID};
use super::{context, entries as names};
use crate::envelope::DataKey;
use crate::envelope::aes_gcm::{self, MessageKey};
use crate::envelope::stream::StreamSealer;

/// Random bytes that a new object needs.
pub const ENTROPY: usize = ID;

/// The format of a new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// AES-GCM under the data key, which must be unique for each object.
    V2,
    /// AES-GCM under a key derived from the data key, with a commitment.
    V3,
}

impl Version {
    fn algorithm(self) -> &'static str {
        match self {
            Self::V2 => GCM,
            Self::V3 => COMMITTING,
        }
    }

    /// The encryption context in which the data key of such an object is generated: the writer's own pairs,
    /// and the content's algorithm.
    pub fn context(self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut context = own.clone();
        context.insert(context::ALGORITHM.to_owned(), self.algorithm().to_owned());
        context
    }
}

/// A new object: its metadata entries, and the sealer of its body.
pub struct NewObject {
    /// Names without `x-amz-meta-`, and values in visible ASCII.
    pub entries: Vec<(&'static str, String)>,
    /// Seals the body.
    pub sealer: StreamSealer,
}

impl NewObject {
    /// A new object for a data key that was generated in `context`, which is [`Version::context`], and
    /// wrapped as `wrapped`. `random` must be fresh.
    pub fn new(
        version: Version,
        data_key: &DataKey,
        wrapped: &[u8],
        context: &BTreeMap<String, String>,
        random: &[u8; ENTROPY],
    ) -> Self {
        let wrapped = STANDARD.encode(wrapped);
        let context = context::write(context);
        match version {
            Version::V2 => {
                let iv: [u8; aes_gcm::IV] = *random.first_chunk().expect("28 bytes have 12");
                let entries = vec![
                    (names::KEY_V2, wrapped),
                    (names::IV, STANDARD.encode(iv)),
                    (names::CONTENT_ALGORITHM, GCM.to_owned()),
                    (names::WRAP_ALGORITHM, KMS_CONTEXT.to_owned()),
                    (names::CONTEXT, context),
                    (names::TAG_LENGTH, "128".to_owned()),
                ];
                let key = data_key.as_slice().to_vec().into();
                Self { entries, sealer: StreamSealer::message(&MessageKey { key, iv, aad: &[] }) }
            }
            Version::V3 => {
                let derivation = Derivation::new(data_key, random);
                let commitment = derivation.commitment();
                let key = derivation.key(&commitment).expect("it is its own commitment");
                let entries = vec![
                    (names::KEY_V3, wrapped),
                    (names::MESSAGE_ID, STANDARD.encode(random)),
                    (names::COMMITMENT, STANDARD.encode(commitment)),
                    (names::CONTENT_ALGORITHM_V3, COMMITTING.to_owned()),
                    (names::WRAP_ALGORITHM_V3, KMS_CONTEXT_V3.to_owned()),
                    (names::CONTEXT_V3, context),
                ];
                let message = MessageKey { key, iv: [1; aes_gcm::IV], aad: SUITE_ID };
                Self { entries, sealer: StreamSealer::message(&message) }
            }
        }
    }
}
