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
}

impl Client {
    /// The buckets that a listing of buckets may show; `None`: all.
    pub(crate) fn visible_buckets(&self) -> Option<Vec<BucketPattern>> {
        (!self.buckets.contains(&BucketPattern::any())).then(|| self.buckets.clone())
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

/// All clients by access key id, each with a number of its own, by which its requests are counted.
#[derive(Debug, Default)]
pub struct Clients {
    clients: HashMap<String, (Client, usize)>,
    numbers: usize,
}

impl Clients {
    /// The clients by their access key ids.
    pub fn new(clients: impl IntoIterator<Item = (String, Client)>) -> Self {
        Self::replacing(clients, &Self::default())
    }

    /// The clients by their access key ids, numbered after the `earlier` ones: a client keeps its number, and
    /// no other one receives it.
    pub(crate) fn replacing(clients: impl IntoIterator<Item = (String, Client)>, earlier: &Self) -> Self {
        let mut next = earlier.numbers();
        let numbered = clients.into_iter().map(|(id, client)| {
            let number = earlier.clients.get(&id).map(|(_, number)| *number).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            (id, (client, number))
        });
        let clients = numbered.collect();
        Self { clients, numbers: next }
    }

    /// How many numbers clients have received: each number is less.
    pub(crate) fn numbers(&self) -> usize {
        self.numbers
    }

    pub(crate) fn secret(&self, access_key_id: &str) -> Option<&SecretAccessKey> {
        self.clients.get(access_key_id).map(|(client, _)| &client.secret)
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
        let client = self.clients.get(access_key_id.as_str());
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
