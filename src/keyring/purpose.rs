//! What a data key is for.

/// What a data key is for, by the name of its algorithm suite. A cached key is found only under the purpose it was
/// obtained for: a key that one suite may use must never be served to another because the blob is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    suite: &'static str,
    takes_short_keys: bool,
}

impl Purpose {
    /// The native format.
    pub const NATIVE: Self = Self::new("native");

    /// A suite whose data keys have 256 bits.
    pub const fn new(suite: &'static str) -> Self {
        Self { suite, takes_short_keys: false }
    }

    /// The same, with data keys of 128 bits accepted when they are unwrapped.
    #[must_use]
    pub const fn with_short_keys(self) -> Self {
        Self { takes_short_keys: true, ..self }
    }

    pub(super) fn name(self) -> &'static [u8] {
        self.suite.as_bytes()
    }

    pub(super) fn takes_short_keys(self) -> bool {
        self.takes_short_keys
    }
}
