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
    pub(super) fn visible_buckets(&self) -> Option<Vec<BucketPattern>> {
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

/// All clients, by access key id.
#[derive(Debug, Default)]
pub struct Clients(HashMap<String, NumberedClient>);

/// A client with its number, which is less than the number of clients.
#[derive(Debug)]
struct NumberedClient {
    client: Client,
    number: usize,
}

impl Clients {
    /// The clients by their access key ids.
    pub fn new(clients: impl IntoIterator<Item = (String, Client)>) -> Self {
        let numbered = clients.into_iter().enumerate();
        Self(numbered.map(|(number, (id, client))| (id, NumberedClient { client, number })).collect())
    }

    /// The number of clients.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn secret(&self, access_key_id: &str) -> Option<&SecretAccessKey> {
        self.0.get(access_key_id).map(|numbered| &numbered.client.secret)
    }

    /// The client and its number, if the client has the right to this operation, and for a copy to its
    /// source.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(super) fn authorize(
        &self,
        access_key_id: &AccessKeyId,
        operation: Operation,
        path: &S3Path,
        copy_source: Option<&CopySource>,
    ) -> Result<(&Client, usize), S3Error> {
        let denied = |message: String| S3Error::new(ErrorCode::AccessDenied, message);
        let NumberedClient { client, number } = self.0.get(access_key_id.as_str()).ok_or_else(|| {
            S3Error::new(ErrorCode::InvalidAccessKeyId, ErrorCode::InvalidAccessKeyId.message())
        })?;
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
mod tests {
    use super::*;

    fn clients(buckets: &[&str], access: ClientAccess) -> Clients {
        let client = Client {
            secret: SecretAccessKey::new("secret".to_owned()),
            buckets: buckets.iter().map(|pattern| BucketPattern::parse(pattern).unwrap()).collect(),
            access,
        };
        Clients::new([("id".to_owned(), client)])
    }

    fn allowed(clients: &Clients, operation: Operation, path: &str) -> bool {
        let path = S3Path::parse(path, None, &[] as &[&str]).unwrap();
        clients.authorize(&AccessKeyId::new("id"), operation, &path, None).is_ok()
    }

    fn copy_allowed(clients: &Clients, operation: Operation, source: &str, path: &str) -> bool {
        let path = S3Path::parse(path, None, &[] as &[&str]).unwrap();
        let source = CopySource::parse(source.as_bytes()).unwrap();
        clients.authorize(&AccessKeyId::new("id"), operation, &path, Some(&source)).is_ok()
    }

    #[test]
    fn rights_are_kept_apart() {
        for (access, reads, writes) in [
            (ClientAccess::ReadWrite, true, true),
            (ClientAccess::ReadOnly, true, false),
            (ClientAccess::WriteOnly, false, true),
        ] {
            let clients = clients(&["*"], access);
            for (operation, expected) in [
                (Operation::GetObject, reads),
                (Operation::HeadObject, reads),
                (Operation::ListBuckets, reads),
                (Operation::PutObject, writes),
                (Operation::DeleteObject, writes),
                (Operation::DeleteObjects, writes),
                (Operation::CreateBucket, writes),
            ] {
                assert_eq!(allowed(&clients, operation, "/b/k"), expected, "{access:?} {operation:?}");
            }
        }
    }

    #[test]
    fn a_client_reaches_its_own_buckets_only() {
        let clients = clients(&["logs-*"], ClientAccess::ReadWrite);
        assert!(allowed(&clients, Operation::GetObject, "/logs-eu/k"));
        assert!(!allowed(&clients, Operation::GetObject, "/data/k"));
        assert!(!allowed(&clients, Operation::CreateBucket, "/data"));
        assert!(allowed(&clients, Operation::ListBuckets, "/"));
    }

    #[test]
    fn a_copy_needs_the_right_to_read_its_source_and_to_write_its_destination() {
        for operation in [Operation::CopyObject, Operation::UploadPartCopy] {
            let own = clients(&["logs-*"], ClientAccess::ReadWrite);
            for (source, path, expected) in [
                ("logs-a/k", "/logs-b/k", true),
                ("/logs-a/k?versionId=1", "/logs-b/k", true),
                ("data/k", "/logs-b/k", false),
                ("/data/k", "/logs-b/k", false),
                ("%64ata%2Fk", "/logs-b/k", false),
                ("data/logs-a/k", "/logs-b/k", false),
                ("logs-a/k", "/data/k", false),
            ] {
                let allowed = copy_allowed(&own, operation, source, path);
                assert_eq!(allowed, expected, "This is a security issue: {operation} {source} to {path}.");
            }
            for access in [ClientAccess::ReadOnly, ClientAccess::WriteOnly] {
                let halved = clients(&["*"], access);
                let allowed = copy_allowed(&halved, operation, "b/k", "/b/k");
                assert!(!allowed, "This is a security issue: {access:?} {operation}.");
            }
        }
    }
}
