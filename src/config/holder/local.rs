//! `provider = "local"`: wrapping keys in a file of this machine.
//! It must not know the file's content.
//! It promises that a missing file is created only where the storages are embedded stores.

use super::{Surroundings, only};
use crate::config::error::Result;
use crate::config::section::Section;
use crate::keyring::{Local, Provider};

pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Result<Provider> {
    only(section, "the local keyring", "provider file")?;
    let file = section.secret_file_path("file", "./data/keyring")?.ok_or_else(|| {
        let fix = "write for example file = \"./data/keyring\"";
        section.refuse("file", "is missing, and the local keyring requires it", fix)
    })?;
    Ok(Provider::Local(Local { file, create_if_missing: surroundings.is_trial }))
}
