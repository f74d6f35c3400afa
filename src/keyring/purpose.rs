//! The purpose that separates the cached data keys of different algorithm suites.
//! It must not know what a suite does with its data keys.
//! It promises that a data key of one suite is never served to another suite.

/// The algorithm suite that a data key is for. A cached data key is found only under the purpose it was
/// requested for: two suites must not use one key, even where both present the same blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    suite: &'static str,
    accepts_short_keys: bool,
}

impl Purpose {
    /// The native format.
    pub const NATIVE: Self = Self::new("native");

    /// A suite whose data keys have 256 bits.
    pub const fn new(suite: &'static str) -> Self {
        Self { suite, accepts_short_keys: false }
    }

    /// The purpose of a suite that also accepts unwrapped data keys of 128 bits.
    #[must_use]
    pub const fn with_short_keys(self) -> Self {
        Self { accepts_short_keys: true, ..self }
    }

    pub(super) fn name(self) -> &'static [u8] {
        self.suite.as_bytes()
    }

    pub(super) fn suite(self) -> &'static str {
        self.suite
    }

    pub(super) fn accepts_short_keys(self) -> bool {
        self.accepts_short_keys
    }
}
