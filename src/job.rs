//! Jobs over whole buckets: verify, rewrap, encrypt, decrypt, and counting keys.
//!
//! It must not know command lines or clients' requests. It promises that each row of an input ends as exactly
//! one row of a report, and that nothing is kept beside the objects themselves: a job that runs again
//! continues.

pub mod outcome;
pub mod row;
pub mod step;
