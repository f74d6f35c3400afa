//! The house rules that a compiler does not check: which module may use which, how large files, functions and
//! folders grow, how comments are written, and that documents name what exists.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod circles;
mod documents;
mod edges;
mod sizes;
mod sources;
mod uses;
mod words;

/// What is still allowed while the sweep through the modules goes on. Each constant goes down to zero, never
/// up.
mod allowances {
    /// Groups of modules in one folder that use each other in a circle.
    pub const MAX_CIRCLES: usize = 10;
    /// Rows of the table of edges that no file uses.
    pub const MAX_UNUSED_EDGES: usize = 7;
    /// Functions named `of`.
    pub const MAX_FUNCTIONS_NAMED_OF: usize = 27;
    /// Comment lines wider than the code may be.
    pub const MAX_WIDE_COMMENTS: usize = 490;
    /// Comment lines with a word that `words.rs` lists, beyond the share that is always allowed.
    pub const MAX_UNCLEAR_COMMENTS: usize = 187;
    /// Paths in documents that do not exist.
    pub const MAX_DEAD_PATHS: usize = 8;
    /// Names that documents place in a file which does not have them.
    pub const MAX_DEAD_NAMES: usize = 4;
}
