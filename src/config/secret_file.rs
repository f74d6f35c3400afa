//! Files with secrets that other users of this machine may read or change. It must not know which keys of the
//! configuration name a file: `Section::secret_file` and `Section::secret_file_path` bring every one here. It
//! promises advice after which s3veil can still read the file.

use std::path::Path;

/// A mode that is too wide for a file with a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exposure {
    /// Ends a sentence about the file: `0644 lets other users read or change it`.
    pub(super) problem: String,
    /// The remedy.
    pub(super) fix: String,
}

/// How other users may use the file at `path`. `None` if not at all, if there is no such file, and on systems
/// without modes.
///
/// What belongs to another user, such as root, s3veil reads as one of the file's group: that bit is allowed
/// there, and only there.
pub(super) fn exposure(path: &Path) -> Option<Exposure> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok()?;
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        exposure_by(path, metadata.mode() & 0o7777, is_own)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(unix)]
fn exposure_by(path: &Path, mode: u32, is_own: bool) -> Option<Exposure> {
    let (excess, allowed) = if is_own { (0o077, "600") } else { (0o037, "640") };
    if mode & excess == 0 {
        return None;
    }
    Some(Exposure {
        problem: format!("{mode:04o} lets other users read or change it"),
        fix: format!(
            "run chmod {allowed} {} (Kubernetes: defaultMode: 0400 in the secret's volume)",
            path.display()
        ),
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_use_a_file_and_the_group_may_read_one_of_another_owner() {
        let shown = |mode, is_own| exposure_by(Path::new("s"), mode, is_own).map(|exposure| exposure.fix);
        let fix =
            |mode| Some(format!("run chmod {mode} s (Kubernetes: defaultMode: 0400 in the secret's volume)"));
        for mode in [0o600, 0o400, 0o700, 0o4600] {
            assert_eq!((shown(mode, true), shown(mode, false)), (None, None), "{mode:o}");
        }
        for mode in [0o640, 0o440] {
            assert_eq!((shown(mode, true), shown(mode, false)), (fix("600"), None), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o602, 0o601, 0o620, 0o660, 0o610, 0o666] {
            assert_eq!((shown(mode, true), shown(mode, false)), (fix("600"), fix("640")), "{mode:o}");
        }
    }

    #[test]
    fn a_link_is_followed_and_a_missing_file_is_no_problem() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("..data"), directory.path().join("link"));
        assert_eq!(exposure(&file), None);
        std::fs::write(&file, "secret").expect("a file");
        symlink(&file, &link).expect("a link");
        for (mode, is_exposed) in [(0o600, false), (0o644, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its owner");
            assert_eq!(exposure(&link).is_some(), is_exposed, "{mode:o}");
        }
    }
}
