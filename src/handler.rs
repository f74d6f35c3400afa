//! The `handler` room.
