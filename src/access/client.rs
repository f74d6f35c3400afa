//! A client: the secret that proves its access key, and its grants.
//!
//! It must not know requests. A client without a secret can't be named by a signature.

use super::grant::{Grant, Grants};
use super::right::{Right, Rights};
use crate::s3::{BucketPattern, ErrorCode, S3Error};
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
    /// The name of the client certificate that the access key is bound to, as a connection's certificate has
    /// it; `None` for a key that requires none.
    pub certificate_subject: Option<String>,
}

impl Client {
    /// A client with these rights for all keys of these buckets.
    pub fn new(secret: SecretAccessKey, buckets: Vec<BucketPattern>, rights: Rights) -> Self {
        let grants = Grants::new([Grant { buckets, prefix: String::new(), rights }]);
        Self { secret: Some(secret), grants, certificate_subject: None }
    }

    /// Refuses a request that came on a connection without the certificate that the access key is bound to.
    /// `names` are those of the connection's verified certificate.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(crate) fn require_certificate(&self, names: Option<&[String]>) -> Result<(), S3Error> {
        let Some(subject) = &self.certificate_subject else { return Ok(()) };
        let found = match names {
            Some(names) if names.contains(subject) => return Ok(()),
            Some(names) => format!("that of this connection has the names {names:?}"),
            None => "this connection has none".to_owned(),
        };
        let message = format!("This access key requires its own client certificate, and {found}.");
        Err(S3Error::new(ErrorCode::AccessDenied, message))
    }

    /// Whether requests without a signature are this client's.
    pub fn is_anonymous(&self) -> bool {
        self.secret.is_none()
    }
}
