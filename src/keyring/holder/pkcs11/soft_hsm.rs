//! Tokens of SoftHSM2 for tests, made within the process: the library sees no token that another process
//! makes. It must not know the holder. It promises tokens that no other test uses. `scripts/test` says where
//! the library is.

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::{AuthPin, Ulong};

pub(crate) const PIN: &str = "1234";

/// How many tokens a process makes for its tests.
const TOKENS: usize = 40;

/// The tokens that no test has taken. All are made before the first one is used: SoftHSM2 can't make a token
/// while other threads work with its slots.
static UNUSED: LazyLock<Option<Unused>> = LazyLock::new(|| library().map(Unused::new));

struct Unused {
    functions: Pkcs11,
    library: PathBuf,
    tokens: Mutex<Vec<(Slot, String)>>,
}

/// A token with a user, and a directory for files.
pub(crate) struct SoftToken {
    pub(crate) functions: Pkcs11,
    pub(crate) slot: Slot,
    pub(crate) label: String,
    pub(crate) library: PathBuf,
    directory: tempfile::TempDir,
}

/// SoftHSM2's library; `None` where it is not installed.
#[expect(clippy::disallowed_methods, reason = "where SoftHSM2 is, only the environment knows")]
fn library() -> Option<PathBuf> {
    let library = std::env::var_os("S3VEIL_TEST_PKCS11_LIBRARY").map(PathBuf::from);
    assert!(library.is_none() || std::env::var_os("SOFTHSM2_CONF").is_some(), "set SOFTHSM2_CONF as well");
    library
}

/// Whether tokens can be made.
#[allow(dead_code, reason = "the suite of all holders calls it")]
pub(crate) fn is_installed() -> bool {
    library().is_some()
}

impl Unused {
    fn new(library: PathBuf) -> Self {
        let functions = Pkcs11::new(&library).expect("the library loads");
        functions.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("the first use");
        let token = |number| {
            let label = format!("token {}-{number}", std::process::id());
            let slots = functions.get_all_slots().expect("slots");
            let is_empty =
                |slot: &Slot| functions.get_token_info(*slot).is_ok_and(|info| !info.token_initialized());
            let slot = slots.into_iter().find(is_empty).expect("SoftHSM2 always has an empty slot");
            functions.init_token(slot, &AuthPin::from("4321"), &label).expect("a token");
            let session = functions.open_rw_session(slot).expect("a session");
            session.login(UserType::So, Some(&AuthPin::from("4321"))).expect("the officer's PIN");
            session.init_pin(&AuthPin::from(PIN)).expect("a user");
            session.logout().expect("the officer is logged in");
            (slot, label)
        };
        let tokens = Mutex::new((0..TOKENS).map(token).collect());
        Self { functions, library, tokens }
    }
}

impl SoftToken {
    /// A new token; `None` without SoftHSM2.
    pub(crate) fn new() -> Option<Self> {
        let Unused { functions, library, tokens } = UNUSED.as_ref()?;
        let unused = tokens.lock().expect("no test panics while it takes a token").pop();
        let (slot, label) = unused.expect("there are more tokens than tests: raise TOKENS");
        let directory = tempfile::tempdir().expect("a directory");
        let token = Self { functions: functions.clone(), slot, label, library: library.clone(), directory };
        token.write_pin(PIN);
        Some(token)
    }

    /// The file with the user's PIN.
    pub(crate) fn pin_file(&self) -> PathBuf {
        self.directory.path().join("pin")
    }

    pub(crate) fn write_pin(&self, pin: &str) {
        std::fs::write(self.pin_file(), format!("{pin}\n")).expect("the directory is there");
    }

    /// Does work as the token's user, and leaves the process logged in or out as it was.
    pub(crate) fn as_user<T>(&self, work: impl FnOnce(&Session) -> T) -> T {
        let session = self.functions.open_rw_session(self.slot).expect("a session");
        let was_logged_out = session.login(UserType::User, Some(&AuthPin::from(PIN))).is_ok();
        let outcome = work(&session);
        if was_logged_out {
            session.logout().expect("the user is logged in");
        }
        outcome
    }

    /// A key as an operator should make it, but for `changes`.
    pub(crate) fn make_key(&self, label: &str, id: &[u8], changes: &[Attribute]) {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(Ulong::new(32)),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        for change in changes {
            let same_type = |attribute: &Attribute| attribute.attribute_type() == change.attribute_type();
            template.retain(|attribute| !same_type(attribute));
            template.push(change.clone());
        }
        self.as_user(|session| session.generate_key(&Mechanism::AesKeyGen, &template)).expect("a key");
    }

    fn key(session: &Session, label: &str, id: &[u8]) -> ObjectHandle {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        session.find_objects(&template).expect("a search")[0]
    }

    pub(crate) fn remove_key(&self, label: &str, id: &[u8]) {
        self.as_user(|session| session.destroy_object(Self::key(session, label, id))).expect("a key");
    }

    /// Allows the key encryption and decryption, or neither.
    pub(crate) fn allow_use(&self, label: &str, id: &[u8], allow: bool) {
        let attributes = [Attribute::Encrypt(allow), Attribute::Decrypt(allow)];
        self.as_user(|session| session.update_attributes(Self::key(session, label, id), &attributes))
            .expect("a modifiable key");
    }
}
