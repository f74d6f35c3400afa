//! The ground floor: formats and numbers that several of the modules above share, each defined once.
//!
//! It must not know any other module of the crate, no key services, no sockets and no clock.
//! Every function is pure, and what a function cannot read it refuses without a substitute.

pub mod base64;
pub mod checksum;
pub mod customer_key;
pub mod digest;
pub mod eight;
pub mod error_code;
pub mod header;
pub mod hex;
pub mod limits;
pub mod percent;
pub mod query;
pub mod range;
