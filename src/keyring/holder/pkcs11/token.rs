//! One token: its sessions, its keys, and AES-GCM under them. Every function blocks.
//! It must not know blobs or key names.
//! It promises that work which met a lost session or a lost handle is tried once more on a new session, and
//! that a ciphertext is called invalid only while the token works.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::blob::{CIPHERTEXT_LEN, IV_LEN, MAX_ID_LEN};
use super::failure::{Failure, is_ambiguous_decrypt};
use super::module::{Module, is_logged_in};
use super::threads::MAX_CALLS;
use crate::envelope::fill_random;
use crate::keyring::settings::Pkcs11;
use crate::keyring::{CheckError, KeyringError, MalformedResponse};

const TAG_BITS: Ulong = Ulong::new(128);

#[derive(Debug)]
pub(super) struct Token {
    settings: Pkcs11,
    /// Sessions that no call uses at present, at most one for each concurrent call.
    idle: Mutex<Vec<OpenSession>>,
}

/// A session of the logged-in user, used by one thread at a time.
#[derive(Debug)]
struct OpenSession {
    session: Session,
    /// The keys that this session has found, by CKA_ID.
    keys: BTreeMap<Vec<u8>, KeyObject>,
}

/// A secret key of the configured label.
#[derive(Debug, Clone)]
pub(super) struct KeyObject {
    /// CKA_ID.
    pub(super) id: Vec<u8>,
    handle: ObjectHandle,
    /// Why the key must not wrap: its secret may leave the token, or it is no AES key of 256 bits.
    pub(super) problem: Option<&'static str>,
    /// What the key does not allow at present.
    pub(super) restriction: Option<&'static str>,
}

/// A wrapped data key.
#[derive(Debug)]
pub(super) struct Encrypted {
    pub(super) iv: [u8; IV_LEN],
    pub(super) ciphertext: [u8; CIPHERTEXT_LEN],
}

impl Token {
    pub(super) fn new(settings: Pkcs11) -> Self {
        Self { settings, idle: Mutex::default() }
    }

    pub(super) fn settings(&self) -> &Pkcs11 {
        &self.settings
    }

    /// The token's label, and its secret keys of the configured label.
    pub(super) fn keys(&self) -> Result<(String, Vec<KeyObject>), CheckError> {
        let module = Module::open(&self.settings.library)?;
        let (slot, label) = module.slot(&self.settings.token)?;
        let mechanisms = module.functions().get_mechanism_list(slot).map_err(Failure::from)?;
        if !mechanisms.contains(&MechanismType::AES_GCM) {
            let cause = format!("{} has no AES-GCM (CKM_AES_GCM)", self.settings.token);
            return Err(Failure::new(KeyringError::InvalidKeyUsage, cause).into());
        }
        let keys = self.call(|open| open.find(&self.settings.key_label, None))?;
        Ok((label, keys))
    }

    /// Wraps `plaintext` under the key with this CKA_ID.
    pub(super) fn encrypt(
        &self,
        id: &[u8],
        aad: &[u8],
        plaintext: &[u8; 32],
    ) -> Result<Encrypted, CheckError> {
        self.call(|open| {
            let key = open.key(&self.settings.key_label, id)?;
            if let Some(problem) = key.problem {
                return Err(Failure::new(KeyringError::InvalidKeyUsage, format!("the key {problem}")));
            }
            open.encrypt(key.handle, aad, plaintext)
        })
    }

    /// Opens a wrapped data key under the key with this CKA_ID.
    pub(super) fn decrypt(
        &self,
        id: &[u8],
        aad: &[u8],
        mut iv: [u8; IV_LEN],
        ciphertext: &[u8; CIPHERTEXT_LEN],
    ) -> Result<Zeroizing<Vec<u8>>, CheckError> {
        self.call(|open| {
            let key = open.key(&self.settings.key_label, id)?;
            open.decrypt(key.handle, aad, &mut iv, ciphertext)
        })
    }

    /// Does work on an idle session or a new one. A session that failed is closed, unless it was shown to
    /// work.
    fn call<T>(&self, mut work: impl FnMut(&mut OpenSession) -> Result<T, Failure>) -> Result<T, CheckError> {
        let idle = self.lock_idle().pop();
        if let Some(mut open) = idle {
            let outcome = work(&mut open);
            match outcome {
                Err(failure) if failure.is_stale => {
                    // What ended one session ended all that were open then.
                    self.lock_idle().clear();
                }
                outcome => return self.keep(open, outcome),
            }
        }
        let mut open = self.open()?;
        let outcome = work(&mut open);
        self.keep(open, outcome)
    }

    fn keep<T>(&self, open: OpenSession, outcome: Result<T, Failure>) -> Result<T, CheckError> {
        let is_sound =
            outcome.as_ref().err().is_none_or(|failure| failure.error == KeyringError::InvalidCiphertext);
        let mut idle = self.lock_idle();
        if is_sound && idle.len() < MAX_CALLS {
            idle.push(open);
        }
        Ok(outcome?)
    }

    fn open(&self) -> Result<OpenSession, Failure> {
        let module = Module::open(&self.settings.library)?;
        let (slot, _) = module.slot(&self.settings.token)?;
        module.log_in(slot, &self.settings.pin_file)?;
        let session = module.functions().open_ro_session(slot)?;
        Ok(OpenSession { session, keys: BTreeMap::new() })
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<OpenSession>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenSession {
    /// The secret keys of this label and CKA_ID, or of every CKA_ID.
    fn find(&self, label: &str, id: Option<&[u8]>) -> Result<Vec<KeyObject>, Failure> {
        let mut template =
            vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(label.as_bytes().to_vec())];
        template.extend(id.map(|id| Attribute::Id(id.to_vec())));
        let handles = self.session.find_objects(&template)?;
        handles.into_iter().map(|handle| self.describe(handle)).collect()
    }

    fn describe(&self, handle: ObjectHandle) -> Result<KeyObject, Failure> {
        let attributes = self.session.get_attributes(
            handle,
            &[
                AttributeType::Id,
                AttributeType::KeyType,
                AttributeType::ValueLen,
                AttributeType::Sensitive,
                AttributeType::Extractable,
                AttributeType::Encrypt,
                AttributeType::Decrypt,
            ],
        )?;
        let id = attributes
            .iter()
            .find_map(|attribute| if let Attribute::Id(id) = attribute { Some(id.clone()) } else { None });
        let id = id.unwrap_or_default();
        let unless = |attribute, problem| (!attributes.contains(&attribute)).then_some(problem);
        let problem = unless(Attribute::KeyType(KeyType::AES), "is no AES key")
            .or(unless(Attribute::ValueLen(Ulong::new(32)), "does not have 256 bits"))
            .or(unless(Attribute::Sensitive(true), "can be read in clear: CKA_SENSITIVE is false"))
            .or(unless(Attribute::Extractable(false), "may leave the token: CKA_EXTRACTABLE is true"))
            .or((id.len() > MAX_ID_LEN).then_some("has a CKA_ID longer than 64 bytes"));
        let restriction = unless(Attribute::Encrypt(true), "does not allow encryption: CKA_ENCRYPT is false")
            .or(unless(Attribute::Decrypt(true), "does not allow decryption: CKA_DECRYPT is false"));
        Ok(KeyObject { id, handle, problem, restriction })
    }

    /// The key with this label and CKA_ID.
    fn key(&mut self, label: &str, id: &[u8]) -> Result<KeyObject, Failure> {
        if let Some(key) = self.keys.get(id) {
            return Ok(key.clone());
        }
        let mut keys = self.find(label, Some(id))?;
        let key = keys.pop().ok_or_else(|| {
            Failure::new(KeyringError::KeyNotFound, format!("the token has no such key labelled {label:?}"))
        })?;
        if !keys.is_empty() {
            let cause = format!("several keys are labelled {label:?} and have this CKA_ID");
            return Err(Failure::new(KeyringError::InvalidKeyUsage, cause));
        }
        self.keys.insert(id.to_vec(), key.clone());
        Ok(key)
    }

    fn encrypt(&self, key: ObjectHandle, aad: &[u8], plaintext: &[u8; 32]) -> Result<Encrypted, Failure> {
        let mut iv = [0; IV_LEN];
        match self.session.generate_random_slice(&mut iv) {
            Ok(()) => {}
            Err(Error::Pkcs11(RvError::RandomNoRng | RvError::FunctionNotSupported, _)) => {
                fill_random(&mut iv)
            }
            Err(error) => return Err(error.into()),
        }
        let ciphertext = match self.encrypt_with(key, aad, &mut iv, plaintext) {
            // A token that makes the IV itself requires zeros in its place, and writes it there.
            Err(Error::Pkcs11(RvError::MechanismParamInvalid | RvError::ArgumentsBad, _)) => {
                iv = [0; IV_LEN];
                let ciphertext = self.encrypt_with(key, aad, &mut iv, plaintext)?;
                if iv == [0; IV_LEN] {
                    let cause = "the token neither accepts an IV for AES-GCM nor makes one";
                    return Err(Failure::new(KeyringError::InvalidKeyUsage, cause));
                }
                ciphertext
            }
            outcome => outcome?,
        };
        let ciphertext = ciphertext.try_into().map_err(|ciphertext: Vec<u8>| {
            let cause = format!("AES-GCM of 32 bytes gave {} bytes, not 48", ciphertext.len());
            Failure::new(KeyringError::Malformed(MalformedResponse::WrappedKeyLength), cause)
        })?;
        Ok(Encrypted { iv, ciphertext })
    }

    fn encrypt_with(
        &self,
        key: ObjectHandle,
        aad: &[u8],
        iv: &mut [u8; IV_LEN],
        plaintext: &[u8; 32],
    ) -> Result<Vec<u8>, Error> {
        let mechanism = Mechanism::AesGcm(GcmParams::new(iv, aad, TAG_BITS)?);
        self.session.encrypt(&mechanism, key, plaintext)
    }

    fn decrypt(
        &self,
        key: ObjectHandle,
        aad: &[u8],
        iv: &mut [u8; IV_LEN],
        ciphertext: &[u8; CIPHERTEXT_LEN],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mechanism = Mechanism::AesGcm(GcmParams::new(iv, aad, TAG_BITS)?);
        match self.session.decrypt(&mechanism, key, ciphertext) {
            Ok(plaintext) => Ok(Zeroizing::new(plaintext)),
            Err(error) if is_ambiguous_decrypt(&error) => {
                if self.works() {
                    return Err(Failure::new(KeyringError::InvalidCiphertext, error.to_string()));
                }
                Err(Failure { is_stale: true, ..Failure::from(error) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether session and device work: the state of a session may be known to the library alone, random
    /// bytes come from the device.
    fn works(&self) -> bool {
        let random = self.session.generate_random_slice(&mut [0; IV_LEN]);
        let has_responded = matches!(
            random,
            Ok(()) | Err(Error::Pkcs11(RvError::RandomNoRng | RvError::FunctionNotSupported, _))
        );
        is_logged_in(&self.session) && has_responded
    }
}
