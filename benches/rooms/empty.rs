//! Nothing: what this package is for is `benches/rooms.rs`.
