//! Nothing: what this package is for is `benches/micro.rs`.
