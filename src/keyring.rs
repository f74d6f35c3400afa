//! The `keyring` room.
