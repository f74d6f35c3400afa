//! V3's key derivation: HKDF-SHA512 (RFC 5869) of the data key, with the message id as salt.
//!
//! It must not know where message id and commitment are stored. It promises that the content's key comes out
//! only if the commitment matches.

use aws_lc_rs::hkdf::{HKDF_SHA512, Prk, Salt};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::S3ecError;
use crate::envelope::DataKey;
use crate::envelope::data_key::OutputLength;

/// Bytes of a message id, and of a commitment.
pub(super) const ID: usize = 28;
/// The suite's id, which is also the content's additional data.
pub(super) const SUITE_ID: &[u8] = &[0x00, 0x73];

/// The keys derived from one data key for one message id.
pub(super) struct Derivation(Prk);

impl Derivation {
    pub(super) fn new(data_key: &DataKey, message_id: &[u8; ID]) -> Self {
        Self(Salt::new(HKDF_SHA512, message_id).extract(data_key.expose()))
    }

    /// The commitment that the object stores to its data key.
    pub(super) fn commitment(&self) -> [u8; ID] {
        let mut commitment = [0; ID];
        self.expand(b"COMMITKEY", &mut commitment);
        commitment
    }

    /// The content's key, if the stored commitment matches; compared in constant time.
    pub(super) fn key(&self, stored: &[u8; ID]) -> Result<Zeroizing<Vec<u8>>, S3ecError> {
        if !bool::from(self.commitment().ct_eq(stored)) {
            return Err(S3ecError::Commitment);
        }
        let mut key = Zeroizing::new(vec![0; 32]);
        self.expand(b"DERIVEKEY", &mut key);
        Ok(key)
    }

    fn expand(&self, label: &[u8], output: &mut [u8]) {
        self.0
            .expand(&[SUITE_ID, label], OutputLength(output.len()))
            .and_then(|okm| okm.fill(output))
            .expect("HKDF-SHA512 gives up to 255 * 64 bytes");
    }
}
