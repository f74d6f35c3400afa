//! The `command` room.
