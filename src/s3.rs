//! S3 as a language: operations, names, paths, queries, headers, errors and XML.
//!
//! It must not know keys, sockets or a clock; every function takes values and returns values.
//! What the module does not understand is refused by name, so that no request is forwarded by accident.

pub mod bucket_pattern;
pub mod checksum;
pub mod copy_source;
pub mod error;
pub mod etag;
pub mod form;
pub mod headers;
pub mod if_range;
pub mod name;
pub mod operation;
pub mod path;
pub mod pattern_index;
pub mod query;
pub mod range;
pub mod route;
pub mod time;
pub mod xml;

pub use bucket_pattern::{BucketPattern, InvalidPattern};
pub use checksum::{DeclaredIntegrity, Verifier};
pub use copy_source::CopySource;
pub use error::{ErrorCode, S3Error};
pub use etag::{EtagStyle, Hashed};
pub use form::{ContentLengthRange, Form, FormParser, FormPiece, PostPolicy};
pub use if_range::IfRange;
pub use name::{BucketName, ObjectKey};
pub use operation::{Operation, is_parameter};
pub use path::{S3Path, encode_path, virtual_host_bucket};
pub use pattern_index::PatternIndex;
pub use query::Query;
pub use route::route;
pub use time::iso_time;

pub use crate::wire::checksum::{Checksum, ChecksumAlgorithm};
pub use crate::wire::customer_key::CustomerKey;
pub use crate::wire::range::{ByteRange, RangeSpec};
