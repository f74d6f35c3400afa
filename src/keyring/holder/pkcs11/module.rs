//! The PKCS#11 libraries of this process, and the login to each of their tokens.
//! It must not know keys.
//! It promises one C_Initialize per library, and that no PIN is tried twice after the token refused it.
//!
//! The standard lets a process initialise a library once, and counts a login for all sessions of the process.
//! So a library, once opened, is shared by every holder that names it, also by those of a reloaded
//! configuration beside the old ones, and stays open until the process ends: C_Finalize would end the
//! sessions of all. There are as many as configurations have named paths.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;
use zeroize::Zeroizing;

use super::failure::{Failure, PIN_REFUSED};
use crate::keyring::KeyringError;
use crate::keyring::settings::TokenName;

/// Maximum length of a PIN's file, in bytes.
const MAX_PIN_FILE_LEN: usize = 4_096;

static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A library that was initialised.
#[derive(Debug)]
pub(super) struct Module {
    functions: Pkcs11,
    /// Held while slots are listed: libraries look for new tokens then, and not each of them allows others to
    /// do so at the same time.
    listing: Mutex<()>,
    logins: Mutex<HashMap<Slot, Arc<Mutex<Login>>>>,
}

/// The process's login to one token.
#[derive(Debug, Default)]
struct Login {
    /// The login lasts as long as the process has a session: this one.
    keeper: Option<Session>,
    /// SHA-256 of the PIN that the token refused last.
    refused: Option<[u8; 32]>,
    /// How often C_Login was called.
    attempts: u64,
}

impl Module {
    /// The library at `path`, initialised if this is its first use in the process. Blocks.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, Failure> {
        let canonical = std::fs::canonicalize(path).map_err(|error| {
            Failure::new(KeyringError::Unavailable, format!("{}: {error}", path.display()))
        })?;
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.get(&canonical) {
            return Ok(Arc::clone(module));
        }
        let functions = Pkcs11::new(&canonical)?;
        match functions.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // A file that was replaced under its path: the loader hands out the library that is in memory.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        let module = Arc::new(Self { functions, listing: Mutex::default(), logins: Mutex::default() });
        modules.insert(canonical, Arc::clone(&module));
        Ok(module)
    }

    pub(super) fn functions(&self) -> &Pkcs11 {
        &self.functions
    }

    /// The slot that holds the token, and the token's label. Looked up again for each session, since a token
    /// that was taken out may come back in another slot.
    pub(super) fn slot(&self, name: &TokenName) -> Result<(Slot, String), Failure> {
        let absent = || Failure::new(KeyringError::Unavailable, format!("{name} is not there"));
        let mut found = Vec::new();
        let _listing = lock(&self.listing);
        for slot in self.functions.get_slots_with_initialized_token()? {
            let label = self.functions.get_token_info(slot)?.label().to_owned();
            let is_named = match name {
                TokenName::Label(wanted) => label == *wanted,
                TokenName::Slot(number) => slot.id() == *number,
            };
            if is_named {
                found.push((slot, label));
            }
        }
        if found.len() > 1 {
            let slots: Vec<_> = found.iter().map(|(slot, _)| slot.id().to_string()).collect();
            let cause = format!(
                "{} tokens have this label: name one of the slots {} by `slot`",
                found.len(),
                slots.join(", ")
            );
            return Err(Failure::new(KeyringError::InvalidKeyUsage, cause));
        }
        found.pop().ok_or_else(absent)
    }

    /// Logs the process in to the token, unless it is. One login at a time; blocks.
    ///
    /// # Errors
    /// [`KeyringError::Credentials`] if the PIN is missing or refused, or was refused before.
    pub(super) fn log_in(&self, slot: Slot, pin_file: &Path) -> Result<(), Failure> {
        let login = Arc::clone(lock(&self.logins).entry(slot).or_default());
        let mut login = lock(&login);
        if login.keeper.as_ref().is_some_and(is_logged_in) {
            return Ok(());
        }
        login.keeper = None;
        let session = self.functions.open_ro_session(slot)?;
        let info = self.functions.get_token_info(slot)?;
        if info.login_required() && !is_logged_in(&session) {
            let pin = read_pin(pin_file)?;
            let hash = digest(&SHA256, &pin).as_ref().try_into().expect("SHA-256 has 32 bytes");
            let refuse = |cause: &str| {
                Err(Failure::new(KeyringError::Credentials, format!("{}: {cause}", pin_file.display())))
            };
            if login.refused == Some(hash) {
                return refuse(
                    "the token refused this PIN before; it is not tried again until the file changes",
                );
            }
            if info.user_pin_locked() || info.user_pin_final_try() {
                return refuse(
                    "one more wrong PIN would lock the token, or it is locked: log in by other means",
                );
            }
            login.attempts += 1;
            let pin: RawAuthPin = Box::new(pin.to_vec()).into();
            match session.login_with_raw(UserType::User, &pin) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => login.refused = None,
                Err(error) => {
                    if matches!(&error, Error::Pkcs11(value, _) if PIN_REFUSED.contains(value)) {
                        login.refused = Some(hash);
                        return refuse(&error.to_string());
                    }
                    return Err(error.into());
                }
            }
        }
        login.keeper = Some(session);
        Ok(())
    }

    /// How often the process called C_Login for the token.
    #[cfg(test)]
    pub(super) fn login_attempts(&self, slot: Slot) -> u64 {
        lock(&self.logins).get(&slot).map_or(0, |login| lock(login).attempts)
    }
}

/// Whether the session lives and its user is logged in.
pub(super) fn is_logged_in(session: &Session) -> bool {
    session
        .get_session_info()
        .is_ok_and(|info| matches!(info.session_state(), SessionState::RoUser | SessionState::RwUser))
}

/// The PIN without the line end that editors add.
fn read_pin(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let refuse =
        |cause: String| Failure::new(KeyringError::Credentials, format!("{}: {cause}", file.display()));
    let content = Zeroizing::new(std::fs::read(file).map_err(|error| refuse(error.to_string()))?);
    let pin = content.strip_suffix(b"\n").unwrap_or(&content);
    let pin = pin.strip_suffix(b"\r").unwrap_or(pin);
    if pin.is_empty() || pin.len() > MAX_PIN_FILE_LEN {
        return Err(refuse("requires the PIN alone".to_owned()));
    }
    Ok(Zeroizing::new(pin.to_vec()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
