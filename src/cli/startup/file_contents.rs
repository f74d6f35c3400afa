//! The content of the configuration's files, by digest, to find out which have changed.
//! It must not know what a file is for.
//! It promises to compare content, since a file can change without a new time, as with Kubernetes's swapped
//! links, and that it keeps no secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// SHA-256 of the content of each file; `None` for a file that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileContents(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl FileContents {
    /// Reads the files.
    pub fn read(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let digest_of = |file: &Path| {
            let content = Zeroizing::new(std::fs::read(file).ok()?);
            digest(&SHA256, &content).as_ref().try_into().ok()
        };
        Self(
            files
                .into_iter()
                .map(|file| (digest_of(&file), file))
                .map(|(digest, file)| (file, digest))
                .collect(),
        )
    }

    /// Reads the files again.
    pub fn read_again(&self) -> Self {
        Self::read(self.0.keys().cloned())
    }

    /// Whether a file has the content here and in `other`.
    pub fn agree(&self, other: &Self, file: &Path) -> bool {
        self.0.get(file) == other.0.get(file)
    }

    /// The files whose content here is not that in `earlier`, new ones included.
    pub fn changed_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a Path> {
        self.0.keys().map(PathBuf::as_path).filter(|file| !self.agree(earlier, file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, none] = ["one", "two", "none"].map(|name| folder.path().join(name));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&two, "2").unwrap();
        let before = FileContents::read([one.clone(), two.clone(), none.clone()]);
        assert_eq!(before.read_again(), before);
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&two, "3").unwrap();
        std::fs::write(&none, "").unwrap();
        let after = before.read_again();
        let changed: Vec<_> = after.changed_since(&before).collect();
        assert_eq!(changed, [none.as_path(), two.as_path()]);
        assert!(after.agree(&before, &one) && !after.agree(&before, &two));
    }
}
