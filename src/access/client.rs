//! A client: the secret that proves its access key, and its grants.
//!
//! It must not know requests. A client without a secret can't be named by a signature.

use super::grant::{Grant, Grants};
use super::right::{Right, Rights};
use crate::s3::BucketPattern;
use crate::sigv4::SecretAccessKey;

/// The name of the client of requests without a signature, in the place of an access key id.
pub const ANONYMOUS: &str = "anonymous";

/// The short forms of rights in the configuration, the default first.
pub const SHORT_FORMS: [(&str, Rights); 5] = [
    ("read-write", Rights::new(&[Right::Read, Right::List, Right::Write, Right::Delete])),
    ("read-only", Rights::new(&[Right::Read, Right::List])),
    ("write-only", Rights::new(&[Right::Write])),
    ("append-only", Rights::new(&[Right::Append])),
    ("admin", Rights::ALL),
];

/// The rights that the anonymous client may have.
pub const ANONYMOUS_RIGHTS: Rights = Rights::new(&[Right::Read, Right::List]);

/// One client.
#[derive(Debug)]
pub struct Client {
    /// The secret access key; `None` for the anonymous client.
    pub secret: Option<SecretAccessKey>,
    /// The client's grants.
    pub grants: Grants,
}

impl Client {
    /// A client with the same rights for all keys of these buckets.
    pub fn new(secret: SecretAccessKey, buckets: Vec<BucketPattern>, rights: Rights) -> Self {
        let grants = Grants::new([Grant { buckets, prefix: String::new(), rights }]);
        Self { secret: Some(secret), grants }
    }

    /// Whether requests without a signature are this client's.
    pub fn is_anonymous(&self) -> bool {
        self.secret.is_none()
    }
}
