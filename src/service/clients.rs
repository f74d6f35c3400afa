//! Who may do what: access keys, bucket patterns, read and write rights.

use std::collections::HashMap;

use crate::s3::{Access, BucketPattern, ErrorCode, Operation, S3Error, S3Path};
use crate::sigv4::{AccessKeyId, SecretAccessKey};

/// What a client may do in its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAccess {
    /// Everything.
    ReadWrite,
    /// Operations that change nothing.
    ReadOnly,
    /// Operations that give nothing out.
    WriteOnly,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its secret.
    pub secret: SecretAccessKey,
    /// Its buckets.
    pub buckets: Vec<BucketPattern>,
    /// Its rights in them.
    pub access: ClientAccess,
}

impl Client {
    /// Which buckets a listing of buckets may show; `None`: all.
    pub(super) fn visible_buckets(&self) -> Option<Vec<BucketPattern>> {
        (!self.buckets.contains(&BucketPattern::any())).then(|| self.buckets.clone())
    }

    fn may(&self, access: Access) -> bool {
        match (self.access, access) {
            (ClientAccess::ReadWrite, _)
            | (ClientAccess::ReadOnly, Access::Read)
            | (ClientAccess::WriteOnly, Access::Write) => true,
            (ClientAccess::ReadOnly, Access::Write) | (ClientAccess::WriteOnly, Access::Read) => false,
        }
    }

    fn reaches(&self, path: &S3Path) -> bool {
        let Some(bucket) = path.bucket() else { return true };
        self.buckets.iter().any(|pattern| pattern.matches(bucket.as_str()))
    }
}

/// All clients, by access key id.
#[derive(Debug, Default)]
pub struct Clients(HashMap<String, Client>);

impl Clients {
    /// The clients by their access key ids.
    pub fn new(clients: impl IntoIterator<Item = (String, Client)>) -> Self {
        Self(clients.into_iter().collect())
    }

    pub(super) fn secret_of(&self, access_key_id: &str) -> Option<&SecretAccessKey> {
        self.0.get(access_key_id).map(|client| &client.secret)
    }

    /// The client, if it may do this.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(super) fn authorize(
        &self,
        access_key_id: &AccessKeyId,
        operation: Operation,
        path: &S3Path,
    ) -> Result<&Client, S3Error> {
        let denied = |message: String| S3Error::new(ErrorCode::AccessDenied, message);
        let client = self.0.get(access_key_id.as_str()).ok_or_else(|| {
            S3Error::new(ErrorCode::InvalidAccessKeyId, ErrorCode::InvalidAccessKeyId.message())
        })?;
        if !client.reaches(path) {
            return Err(denied("This access key has no rights in this bucket.".to_owned()));
        }
        if !client.may(operation.access()) {
            return Err(denied(format!("This access key has no right to {}.", operation.name())));
        }
        Ok(client)
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
        clients.authorize(&AccessKeyId::new("id"), operation, &path).is_ok()
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
}
