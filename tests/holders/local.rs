//! The local keyring in the suite: a file for each key. Needs no server.

use std::path::PathBuf;

use s3veil::keyring::{Local, Provider, local};
use tempfile::TempDir;

use crate::bench::{Bench, Rotate};
use crate::conformance;

pub(crate) struct LocalBench {
    directory: TempDir,
}

impl LocalBench {
    fn file(&self) -> PathBuf {
        self.directory.path().join("keyring")
    }
}

impl Bench for LocalBench {
    async fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().expect("a directory for the file") };
        local::generate(&bench.file()).expect("the directory is empty");
        bench
    }

    fn provider(&self) -> Provider {
        Provider::Local(Local { file: self.file(), create_if_missing: false })
    }
}

impl Rotate for LocalBench {
    async fn rotate(&self) {
        local::rotate(&self.file()).expect("the file is a keyring");
    }
}

conformance! { cases::<LocalBench>:
    a_data_key_comes_back_in_another_process,
    an_existing_data_key_is_wrapped,
    another_realm_does_not_open,
    a_blob_of_another_key_does_not_open,
    an_altered_blob_does_not_open,
    what_is_no_blob_does_not_open,
    a_check_makes_the_round_trip,
    rotation_keeps_old_blobs_readable,
}
