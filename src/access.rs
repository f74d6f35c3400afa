//! Clients and their rights: access keys, bucket patterns, reading and writing. They must not know how a
//! request proves its access key. They promise that a request outside the client's buckets or rights is
//! refused, the source of a copy included.

use std::collections::HashMap;

use crate::s3::{Access, BucketName, BucketPattern, CopySource, ErrorCode, Operation, S3Error, S3Path};
use crate::sigv4::{AccessKeyId, SecretAccessKey};

/// The rights of a client in its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAccess {
    /// All operations.
    ReadWrite,
    /// Operations that change nothing.
    ReadOnly,
    /// Operations that return no stored data.
    WriteOnly,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// The secret access key.
    pub secret: SecretAccessKey,
    /// The buckets that the client may use.
    pub buckets: Vec<BucketPattern>,
    /// The client's rights in these buckets.
    pub access: ClientAccess,
    /// The name of the client certificate that the access key is bound to, as a connection's certificate has
    /// it; `None` for a key that requires none.
    pub certificate_subject: Option<String>,
}

impl Client {
    /// The buckets that a listing of buckets may show; `None`: all.
    pub(crate) fn visible_buckets(&self) -> Option<Vec<BucketPattern>> {
        (!self.buckets.contains(&BucketPattern::any())).then(|| self.buckets.clone())
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

    fn allows(&self, access: Access) -> bool {
        match (self.access, access) {
            (ClientAccess::ReadWrite, _)
            | (ClientAccess::ReadOnly, Access::Read)
            | (ClientAccess::WriteOnly, Access::Write) => true,
            (ClientAccess::ReadOnly, Access::Write) | (ClientAccess::WriteOnly, Access::Read) => false,
        }
    }

    fn covers(&self, bucket: &BucketName) -> bool {
        self.buckets.iter().any(|pattern| pattern.matches(bucket.as_str()))
    }
}

/// All clients by access key id, each with a number that is less than the number of clients.
#[derive(Debug, Default)]
pub struct Clients(HashMap<String, (Client, usize)>);

impl Clients {
    /// The clients by their access key ids.
    pub fn new(clients: impl IntoIterator<Item = (String, Client)>) -> Self {
        let numbered = clients.into_iter().enumerate();
        Self(numbered.map(|(number, (id, client))| (id, (client, number))).collect())
    }

    /// The number of clients.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn secret(&self, access_key_id: &str) -> Option<&SecretAccessKey> {
        self.0.get(access_key_id).map(|(client, _)| &client.secret)
    }

    /// The client and its number, if the client has the right to this operation, and for a copy to its
    /// source.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(crate) fn authorize(
        &self,
        access_key_id: &AccessKeyId,
        operation: Operation,
        path: &S3Path,
        copy_source: Option<&CopySource>,
    ) -> Result<(&Client, usize), S3Error> {
        let denied = |message: String| S3Error::new(ErrorCode::AccessDenied, message);
        let client = self.0.get(access_key_id.as_str());
        let (client, number) = client.ok_or(S3Error::from(ErrorCode::InvalidAccessKeyId))?;
        if path.bucket().is_some_and(|bucket| !client.covers(bucket)) {
            return Err(denied("This access key has no rights in this bucket.".to_owned()));
        }
        if !client.allows(operation.access()) {
            return Err(denied(format!("This access key has no right to {}.", operation.name())));
        }
        let reads = |source: &CopySource| client.covers(&source.bucket) && client.allows(Access::Read);
        if copy_source.is_some_and(|source| !reads(source)) {
            return Err(denied("This access key has no right to read the source of the copy.".to_owned()));
        }
        Ok((client, *number))
    }
}

#[cfg(test)]
mod tests;
