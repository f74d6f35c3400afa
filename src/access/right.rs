//! The rights that a client can have, and the table of those that each operation of S3 needs.
//!
//! It must not know clients or their grants. An operation that is not in the table does not compile.

use std::fmt;

use http::{HeaderMap, HeaderName};

use crate::s3::{Operation, headers};

/// One right of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Content of objects, and what describes them: metadata, tags, ACLs, retention.
    Read,
    /// Names of objects, versions, uploads and parts.
    List,
    /// New objects, also in the place of existing ones.
    Write,
    /// New objects, but never in the place of an existing one.
    Append,
    /// Deletion of objects and versions, and of uploads of others.
    Delete,
    /// Deletion and change of what governance retention protects; in addition to the right for it.
    BypassRetention,
    /// Buckets and their configuration; ACLs, retention and legal holds of objects.
    Manage,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::List,
        Self::Write,
        Self::Append,
        Self::Delete,
        Self::BypassRetention,
        Self::Manage,
    ];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Write => "write",
            Self::Append => "append",
            Self::Delete => "delete",
            Self::BypassRetention => "bypass-retention",
            Self::Manage => "manage",
        }
    }
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// Every right.
    pub const ALL: Self = Self::new(&Right::ALL);

    /// The set of these rights.
    pub const fn new(rights: &[Right]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < rights.len() {
            set |= 1 << rights[at] as u8;
            at += 1;
        }
        Self(set)
    }

    /// Whether the set has this right.
    pub const fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }

    /// Whether the sets have a right in common.
    pub const fn has_any(self, rights: Self) -> bool {
        self.0 & rights.0 != 0
    }

    /// The rights of both sets.
    #[must_use]
    pub const fn with(self, rights: Self) -> Self {
        Self(self.0 | rights.0)
    }

    /// The rights of this set that are not in the other.
    #[must_use]
    pub const fn without(self, rights: Self) -> Self {
        Self(self.0 & !rights.0)
    }

    /// The names in the configuration, with `separator` between two.
    pub fn names(self, separator: &str) -> String {
        let names: Vec<_> =
            Right::ALL.into_iter().filter(|right| self.has(*right)).map(Right::name).collect();
        names.join(separator)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names(", "))
    }
}

/// Where a client needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Anywhere: the request names no bucket.
    Anywhere,
    /// For any key of the bucket: the operation shows nothing of other keys.
    SomeKeys,
    /// For all keys of the bucket.
    AllKeys,
    /// For the prefix that the request lists.
    ListedPrefix,
    /// For the object that the request names.
    Object,
    /// For each object that the request's document names.
    NamedObjects,
}

/// An operation needs one of these rights, at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) one_of: Rights,
    pub(crate) place: Place,
}

const fn need(rights: &[Right], place: Place) -> Needed {
    Needed { one_of: Rights::new(rights), place }
}

/// The rights that an operation needs. A copy needs `read` for its source too, and some headers need more
/// ([`missing_for_headers`]).
#[rustfmt::skip]
pub(crate) const fn needed(operation: Operation) -> Needed {
    use Operation as Op;
    use Place::{AllKeys, Anywhere, ListedPrefix, NamedObjects, Object, SomeKeys};
    use Right::{Append, Delete, List, Manage, Read, Write};
    match operation {
        Op::GetObject | Op::HeadObject | Op::GetObjectAttributes | Op::GetObjectTorrent | Op::SelectObjectContent
        | Op::GetObjectAcl | Op::GetObjectTagging | Op::GetObjectRetention | Op::GetObjectLegalHold
        | Op::GetObjectAnnotation | Op::ListObjectAnnotations => need(&[Read], Object),

        Op::ListBuckets | Op::ListDirectoryBuckets => need(&[List], Anywhere),
        Op::ListObjects | Op::ListObjectsV2 | Op::ListObjectVersions | Op::ListMultipartUploads => {
            need(&[List], ListedPrefix)
        }
        Op::ListParts => need(&[List], Object),
        // What a client has to know of a bucket before it can use it.
        Op::HeadBucket | Op::GetBucketLocation | Op::GetBucketVersioning | Op::GetBucketEncryption | Op::GetBucketCors
        | Op::GetObjectLockConfiguration | Op::GetBucketRequestPayment | Op::GetBucketAccelerateConfiguration
        | Op::GetBucketOwnershipControls => need(&[List], SomeKeys),
        // Configuration that names prefixes, but no place, account or address elsewhere.
        Op::GetBucketLifecycleConfiguration | Op::GetBucketTagging | Op::GetPublicAccessBlock
        | Op::GetBucketPolicyStatus | Op::GetBucketAbac | Op::ListBucketIntelligentTieringConfigurations
        | Op::GetBucketIntelligentTieringConfiguration => need(&[List], AllKeys),

        Op::PutObject | Op::PostObject | Op::CopyObject | Op::CreateMultipartUpload | Op::UploadPart
        | Op::UploadPartCopy | Op::CompleteMultipartUpload => need(&[Write, Append], Object),
        // The operation itself requires `delete` for an upload that only a listing named.
        Op::AbortMultipartUpload => need(&[Write, Append, Delete], Object),
        Op::PutObjectTagging | Op::DeleteObjectTagging | Op::PutObjectAnnotation | Op::DeleteObjectAnnotation
        | Op::RestoreObject | Op::AppendObject | Op::UpdateObjectEncryption => need(&[Write], Object),
        Op::WriteGetObjectResponse => need(&[Write], AllKeys),

        Op::DeleteObject | Op::RenameObject => need(&[Delete], Object),
        Op::DeleteObjects => need(&[Delete], NamedObjects),

        Op::PutObjectAcl | Op::PutObjectRetention | Op::PutObjectLegalHold => need(&[Manage], Object),
        Op::CreateBucket | Op::DeleteBucket | Op::CreateSession
        | Op::PutBucketAbac | Op::PutBucketAccelerateConfiguration | Op::GetBucketAcl | Op::PutBucketAcl
        | Op::ListBucketAnalyticsConfigurations | Op::GetBucketAnalyticsConfiguration
        | Op::PutBucketAnalyticsConfiguration | Op::DeleteBucketAnalyticsConfiguration
        | Op::PutBucketCors | Op::DeleteBucketCors | Op::PutBucketEncryption | Op::DeleteBucketEncryption
        | Op::PutBucketIntelligentTieringConfiguration | Op::DeleteBucketIntelligentTieringConfiguration
        | Op::ListBucketInventoryConfigurations | Op::GetBucketInventoryConfiguration
        | Op::PutBucketInventoryConfiguration | Op::DeleteBucketInventoryConfiguration
        | Op::PutBucketLifecycleConfiguration | Op::DeleteBucketLifecycle | Op::GetBucketLogging | Op::PutBucketLogging
        | Op::CreateBucketMetadataConfiguration | Op::GetBucketMetadataConfiguration
        | Op::DeleteBucketMetadataConfiguration | Op::UpdateBucketMetadataAnnotationTableConfiguration
        | Op::UpdateBucketMetadataInventoryTableConfiguration | Op::UpdateBucketMetadataJournalTableConfiguration
        | Op::CreateBucketMetadataTableConfiguration | Op::GetBucketMetadataTableConfiguration
        | Op::DeleteBucketMetadataTableConfiguration
        | Op::ListBucketMetricsConfigurations | Op::GetBucketMetricsConfiguration
        | Op::PutBucketMetricsConfiguration | Op::DeleteBucketMetricsConfiguration
        | Op::GetBucketNotificationConfiguration | Op::PutBucketNotificationConfiguration
        | Op::PutObjectLockConfiguration | Op::PutBucketOwnershipControls | Op::DeleteBucketOwnershipControls
        | Op::GetBucketPolicy | Op::PutBucketPolicy | Op::DeleteBucketPolicy
        | Op::PutPublicAccessBlock | Op::DeletePublicAccessBlock
        | Op::GetBucketReplication | Op::PutBucketReplication | Op::DeleteBucketReplication
        | Op::PutBucketRequestPayment | Op::PutBucketTagging | Op::DeleteBucketTagging | Op::PutBucketVersioning
        | Op::GetBucketWebsite | Op::PutBucketWebsite | Op::DeleteBucketWebsite => need(&[Manage], AllKeys),

        // Browsers send it without credentials, so no client needs a right.
        Op::CorsPreflight => need(&Right::ALL, Anywhere),
    }
}

/// The first header of a request that needs a right which is not among `held`, and that right: an ACL that
/// gives others access, and what protects a new object from deletion, need `manage`; the bypass of governance
/// retention needs its own right.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl>
pub(crate) fn missing_for_headers(
    operation: Operation,
    request: &HeaderMap,
    held: Rights,
) -> Option<(Right, &HeaderName)> {
    let makes_object = matches!(
        operation,
        Operation::PutObject
            | Operation::PostObject
            | Operation::CopyObject
            | Operation::CreateMultipartUpload
    );
    let may_bypass = matches!(
        operation,
        Operation::DeleteObject | Operation::DeleteObjects | Operation::PutObjectRetention
    );
    if !makes_object && !may_bypass {
        return None;
    }
    request.iter().find_map(|(name, value)| {
        let right = match name.as_str() {
            headers::CANNED_ACL if makes_object && !is_owners_acl(value.as_bytes()) => Right::Manage,
            text if makes_object
                && (text.starts_with("x-amz-grant-") || text.starts_with("x-amz-object-lock-")) =>
            {
                Right::Manage
            }
            headers::BYPASS_GOVERNANCE if may_bypass && !value.as_bytes().eq_ignore_ascii_case(b"false") => {
                Right::BypassRetention
            }
            _ => return None,
        };
        (!held.has(right)).then_some((right, name))
    })
}

/// Whether a canned ACL gives access to the owners of the object and of its bucket alone.
fn is_owners_acl(acl: &[u8]) -> bool {
    matches!(acl, b"private" | b"bucket-owner-full-control")
}
