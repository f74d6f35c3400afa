//! Every operation of the S3 REST interface, one row each: how it is requested, its parameters, and what it
//! touches.
//!
//! The table is the only place that knows this; [`route`](mod@super::route) reads it, handlers match on the
//! enum. Source:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>

use std::fmt;

/// What an operation does to the storage: a parameter or header that is not known is ignored on a read, and
/// refused on a write. The rights that an operation needs are another table, `access::right`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Changes nothing.
    Read,
    /// Changes, creates or removes something, or hands out a session that may.
    Write,
}

/// The HTTP methods S3 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Head,
    Put,
    Post,
    Delete,
    Options,
}

/// What the path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Root,
    Bucket,
    Object,
}

macro_rules! subresources {
    ($($variant:ident $name:literal)*) => {
        /// The query parameters that choose an operation, whatever their value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Subresource {
            /// No subresource: the account, the bucket or the object itself.
            Itself,
            $($variant,)*
        }

        impl Subresource {
            pub(super) fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { Self::Itself => "", $(Self::$variant => $name,)* }
            }
        }
    };
}

subresources! {
    Abac "abac"                                         Accelerate "accelerate"
    Acl "acl"                                           Analytics "analytics"
    Annotation "annotation"                             Attributes "attributes"
    Cors "cors"                                         Delete "delete"
    Encryption "encryption"                             IntelligentTiering "intelligent-tiering"
    Inventory "inventory"                               LegalHold "legal-hold"
    Lifecycle "lifecycle"                               Location "location"
    Logging "logging"                                   MetadataAnnotationTable "metadataAnnotationTable"
    MetadataConfiguration "metadataConfiguration"       MetadataInventoryTable "metadataInventoryTable"
    MetadataJournalTable "metadataJournalTable"         MetadataTable "metadataTable"
    Metrics "metrics"                                   Notification "notification"
    ObjectLock "object-lock"                            OwnershipControls "ownershipControls"
    Policy "policy"                                     PolicyStatus "policyStatus"
    PublicAccessBlock "publicAccessBlock"               RenameObject "renameObject"
    Replication "replication"                           RequestPayment "requestPayment"
    Restore "restore"                                   Retention "retention"
    Select "select"                                     Session "session"
    Tagging "tagging"                                   Torrent "torrent"
    UploadId "uploadId"                                 Uploads "uploads"
    Versioning "versioning"                             Versions "versions"
    Website "website"
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) verb: Verb,
    pub(super) target: Target,
    pub(super) subresource: Subresource,
    /// The query parameters it takes beside its subresource.
    pub(super) parameters: &'static [&'static str],
    effect: Effect,
    content: bool,
}

const CONTENT: bool = true;
const BARE: bool = false;

macro_rules! operations {
    ($($name:ident $verb:ident $target:ident $subresource:ident [$($parameter:literal)*] $effect:ident $content:ident;)*) => {
        /// An S3 operation. Where S3 has one name for two things that a proxy must distinguish, there are two
        /// here: `AppendObject` is PutObject with a write offset, `CorsPreflight` is OPTIONS.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(
                #[doc = concat!(
                    stringify!($verb), " ", stringify!($target), ", subresource ", stringify!($subresource),
                    ": ", stringify!($effect), "."
                )]
                $name,
            )*
        }

        impl Operation {
            /// Every operation, in the order of the enum.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// The name in S3's API reference.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        static ROWS: &[Row] = &[$(Row {
            verb: Verb::$verb,
            target: Target::$target,
            subresource: Subresource::$subresource,
            parameters: &[$($parameter),*],
            effect: Effect::$effect,
            content: $content,
        },)*];
    };
}

operations! {
    // The account.
    ListBuckets                                   Get    Root   Itself ["bucket-region" "continuation-token" "max-buckets" "prefix"] Read BARE;
    ListDirectoryBuckets                          Get    Root   Itself ["continuation-token" "max-directory-buckets"] Read BARE;

    // Buckets and what is in them.
    CreateBucket                                  Put    Bucket Itself [] Write BARE;
    HeadBucket                                    Head   Bucket Itself [] Read BARE;
    DeleteBucket                                  Delete Bucket Itself [] Write BARE;
    GetBucketLocation                             Get    Bucket Location [] Read BARE;
    CreateSession                                 Get    Bucket Session [] Write BARE;
    ListObjects                                   Get    Bucket Itself ["delimiter" "encoding-type" "marker" "max-keys" "prefix"] Read BARE;
    ListObjectsV2                                 Get    Bucket Itself ["continuation-token" "delimiter" "encoding-type" "fetch-owner" "list-type" "max-keys" "prefix" "start-after"] Read BARE;
    ListObjectVersions                            Get    Bucket Versions ["delimiter" "encoding-type" "key-marker" "max-keys" "prefix" "version-id-marker"] Read BARE;
    ListMultipartUploads                          Get    Bucket Uploads ["delimiter" "encoding-type" "key-marker" "max-uploads" "prefix" "upload-id-marker"] Read BARE;
    DeleteObjects                                 Post   Bucket Delete [] Write BARE;
    PostObject                                    Post   Bucket Itself [] Write CONTENT;
    WriteGetObjectResponse                        Post   Bucket Itself [] Write CONTENT;

    // Objects.
    GetObject                                     Get    Object Itself ["partNumber" "response-cache-control" "response-content-disposition" "response-content-encoding" "response-content-language" "response-content-type" "response-expires" "versionId"] Read CONTENT;
    HeadObject                                    Head   Object Itself ["partNumber" "response-cache-control" "response-content-disposition" "response-content-encoding" "response-content-language" "response-content-type" "response-expires" "versionId"] Read BARE;
    PutObject                                     Put    Object Itself [] Write CONTENT;
    AppendObject                                  Put    Object Itself [] Write CONTENT;
    CopyObject                                    Put    Object Itself [] Write CONTENT;
    RenameObject                                  Put    Object RenameObject [] Write CONTENT;
    DeleteObject                                  Delete Object Itself ["versionId"] Write BARE;
    GetObjectAttributes                           Get    Object Attributes ["versionId"] Read BARE;
    SelectObjectContent                           Post   Object Select ["select-type"] Read CONTENT;
    RestoreObject                                 Post   Object Restore ["versionId"] Write BARE;
    GetObjectTorrent                              Get    Object Torrent [] Read CONTENT;
    UpdateObjectEncryption                        Put    Object Encryption ["versionId"] Write BARE;
    GetObjectAcl                                  Get    Object Acl ["versionId"] Read BARE;
    PutObjectAcl                                  Put    Object Acl ["versionId"] Write BARE;
    GetObjectTagging                              Get    Object Tagging ["versionId"] Read BARE;
    PutObjectTagging                              Put    Object Tagging ["versionId"] Write BARE;
    DeleteObjectTagging                           Delete Object Tagging ["versionId"] Write BARE;
    GetObjectRetention                            Get    Object Retention ["versionId"] Read BARE;
    PutObjectRetention                            Put    Object Retention ["versionId"] Write BARE;
    GetObjectLegalHold                            Get    Object LegalHold ["versionId"] Read BARE;
    PutObjectLegalHold                            Put    Object LegalHold ["versionId"] Write BARE;
    ListObjectAnnotations                         Get    Object Annotation ["annotation-prefix" "continuation-token" "max-annotation-results" "versionId"] Read BARE;
    GetObjectAnnotation                           Get    Object Annotation ["annotationName" "versionId"] Read CONTENT;
    PutObjectAnnotation                           Put    Object Annotation ["annotationName" "versionId"] Write CONTENT;
    DeleteObjectAnnotation                        Delete Object Annotation ["annotationName" "versionId"] Write BARE;

    // Multipart uploads.
    CreateMultipartUpload                         Post   Object Uploads [] Write BARE;
    UploadPart                                    Put    Object UploadId ["partNumber"] Write CONTENT;
    UploadPartCopy                                Put    Object UploadId ["partNumber"] Write CONTENT;
    ListParts                                     Get    Object UploadId ["encoding-type" "max-parts" "part-number-marker"] Read BARE;
    CompleteMultipartUpload                       Post   Object UploadId [] Write BARE;
    AbortMultipartUpload                          Delete Object UploadId [] Write BARE;

    // A bucket's configuration.
    GetBucketAbac                                 Get    Bucket Abac [] Read BARE;
    PutBucketAbac                                 Put    Bucket Abac [] Write BARE;
    GetBucketAccelerateConfiguration              Get    Bucket Accelerate [] Read BARE;
    PutBucketAccelerateConfiguration              Put    Bucket Accelerate [] Write BARE;
    GetBucketAcl                                  Get    Bucket Acl [] Read BARE;
    PutBucketAcl                                  Put    Bucket Acl [] Write BARE;
    ListBucketAnalyticsConfigurations             Get    Bucket Analytics ["continuation-token"] Read BARE;
    GetBucketAnalyticsConfiguration               Get    Bucket Analytics ["id"] Read BARE;
    PutBucketAnalyticsConfiguration               Put    Bucket Analytics ["id"] Write BARE;
    DeleteBucketAnalyticsConfiguration            Delete Bucket Analytics ["id"] Write BARE;
    GetBucketCors                                 Get    Bucket Cors [] Read BARE;
    PutBucketCors                                 Put    Bucket Cors [] Write BARE;
    DeleteBucketCors                              Delete Bucket Cors [] Write BARE;
    GetBucketEncryption                           Get    Bucket Encryption [] Read BARE;
    PutBucketEncryption                           Put    Bucket Encryption [] Write BARE;
    DeleteBucketEncryption                        Delete Bucket Encryption [] Write BARE;
    ListBucketIntelligentTieringConfigurations    Get    Bucket IntelligentTiering ["continuation-token"] Read BARE;
    GetBucketIntelligentTieringConfiguration      Get    Bucket IntelligentTiering ["id"] Read BARE;
    PutBucketIntelligentTieringConfiguration      Put    Bucket IntelligentTiering ["id"] Write BARE;
    DeleteBucketIntelligentTieringConfiguration   Delete Bucket IntelligentTiering ["id"] Write BARE;
    ListBucketInventoryConfigurations             Get    Bucket Inventory ["continuation-token"] Read BARE;
    GetBucketInventoryConfiguration               Get    Bucket Inventory ["id"] Read BARE;
    PutBucketInventoryConfiguration               Put    Bucket Inventory ["id"] Write BARE;
    DeleteBucketInventoryConfiguration            Delete Bucket Inventory ["id"] Write BARE;
    GetBucketLifecycleConfiguration               Get    Bucket Lifecycle [] Read BARE;
    PutBucketLifecycleConfiguration               Put    Bucket Lifecycle [] Write BARE;
    DeleteBucketLifecycle                         Delete Bucket Lifecycle [] Write BARE;
    GetBucketLogging                              Get    Bucket Logging [] Read BARE;
    PutBucketLogging                              Put    Bucket Logging [] Write BARE;
    CreateBucketMetadataConfiguration             Post   Bucket MetadataConfiguration [] Write BARE;
    GetBucketMetadataConfiguration                Get    Bucket MetadataConfiguration [] Read BARE;
    DeleteBucketMetadataConfiguration             Delete Bucket MetadataConfiguration [] Write BARE;
    UpdateBucketMetadataAnnotationTableConfiguration Put Bucket MetadataAnnotationTable [] Write BARE;
    UpdateBucketMetadataInventoryTableConfiguration Put  Bucket MetadataInventoryTable [] Write BARE;
    UpdateBucketMetadataJournalTableConfiguration Put    Bucket MetadataJournalTable [] Write BARE;
    CreateBucketMetadataTableConfiguration        Post   Bucket MetadataTable [] Write BARE;
    GetBucketMetadataTableConfiguration           Get    Bucket MetadataTable [] Read BARE;
    DeleteBucketMetadataTableConfiguration        Delete Bucket MetadataTable [] Write BARE;
    ListBucketMetricsConfigurations               Get    Bucket Metrics ["continuation-token"] Read BARE;
    GetBucketMetricsConfiguration                 Get    Bucket Metrics ["id"] Read BARE;
    PutBucketMetricsConfiguration                 Put    Bucket Metrics ["id"] Write BARE;
    DeleteBucketMetricsConfiguration              Delete Bucket Metrics ["id"] Write BARE;
    GetBucketNotificationConfiguration            Get    Bucket Notification [] Read BARE;
    PutBucketNotificationConfiguration            Put    Bucket Notification [] Write BARE;
    GetObjectLockConfiguration                    Get    Bucket ObjectLock [] Read BARE;
    PutObjectLockConfiguration                    Put    Bucket ObjectLock [] Write BARE;
    GetBucketOwnershipControls                    Get    Bucket OwnershipControls [] Read BARE;
    PutBucketOwnershipControls                    Put    Bucket OwnershipControls [] Write BARE;
    DeleteBucketOwnershipControls                 Delete Bucket OwnershipControls [] Write BARE;
    GetBucketPolicy                               Get    Bucket Policy [] Read BARE;
    PutBucketPolicy                               Put    Bucket Policy [] Write BARE;
    DeleteBucketPolicy                            Delete Bucket Policy [] Write BARE;
    GetBucketPolicyStatus                         Get    Bucket PolicyStatus [] Read BARE;
    GetPublicAccessBlock                          Get    Bucket PublicAccessBlock [] Read BARE;
    PutPublicAccessBlock                          Put    Bucket PublicAccessBlock [] Write BARE;
    DeletePublicAccessBlock                       Delete Bucket PublicAccessBlock [] Write BARE;
    GetBucketReplication                          Get    Bucket Replication [] Read BARE;
    PutBucketReplication                          Put    Bucket Replication [] Write BARE;
    DeleteBucketReplication                       Delete Bucket Replication [] Write BARE;
    GetBucketRequestPayment                       Get    Bucket RequestPayment [] Read BARE;
    PutBucketRequestPayment                       Put    Bucket RequestPayment [] Write BARE;
    GetBucketTagging                              Get    Bucket Tagging [] Read BARE;
    PutBucketTagging                              Put    Bucket Tagging [] Write BARE;
    DeleteBucketTagging                           Delete Bucket Tagging [] Write BARE;
    GetBucketVersioning                           Get    Bucket Versioning [] Read BARE;
    PutBucketVersioning                           Put    Bucket Versioning [] Write BARE;
    GetBucketWebsite                              Get    Bucket Website [] Read BARE;
    PutBucketWebsite                              Put    Bucket Website [] Write BARE;
    DeleteBucketWebsite                           Delete Bucket Website [] Write BARE;

    // Browsers.
    CorsPreflight                                 Options Bucket Itself [] Read BARE;
}

impl Operation {
    pub(super) fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// What the operation does to the storage.
    pub(super) fn effect(self) -> Effect {
        self.row().effect
    }

    /// Whether a client's object bytes travel in the request or the response, or move to another name inside
    /// the storage: such an operation needs a handler that understands it, and is never passed on as it is.
    pub fn carries_object_content(self) -> bool {
        self.row().content
    }

    /// Whether the query parameter is the operation's subresource or one that it takes beside it.
    pub fn takes_parameter(self, name: &str) -> bool {
        let row = self.row();
        row.parameters.contains(&name)
            || (row.subresource != Subresource::Itself && row.subresource.name() == name)
    }

    /// Whether a request has a customer key of the object that it reads, stores or uploads, if the object has
    /// one.
    pub fn takes_customer_key(self) -> bool {
        self.stores_under_customer_key()
            || matches!(
                self,
                Self::GetObject
                    | Self::HeadObject
                    | Self::GetObjectAttributes
                    | Self::CompleteMultipartUpload
                    | Self::ListParts
            )
    }

    /// Whether it stores content of an object that may have a customer key.
    pub fn stores_under_customer_key(self) -> bool {
        matches!(
            self,
            Self::PutObject
                | Self::PostObject
                | Self::CopyObject
                | Self::CreateMultipartUpload
                | Self::UploadPart
                | Self::UploadPartCopy
        )
    }

    /// Whether it makes an object, or begins one, by a request that has no body of its own.
    pub fn is_without_content(self) -> bool {
        self.is_copy() || self == Self::CreateMultipartUpload
    }

    /// Whether it reads another object than the one it writes.
    pub fn is_copy(self) -> bool {
        matches!(self, Self::CopyObject | Self::UploadPartCopy)
    }
}

/// Whether a query parameter chooses an operation, or is one that some operation takes.
pub fn is_parameter(name: &str) -> bool {
    Subresource::parse(name).is_some() || ROWS.iter().any(|row| row.parameters.contains(&name))
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_and_the_enum_agree() {
        assert_eq!(Operation::ALL.len(), ROWS.len());
        let names: HashSet<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
        for (index, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, index);
        }
    }

    #[test]
    fn reading_verbs_read_and_writing_verbs_write() {
        for operation in Operation::ALL {
            let expected = match (operation.row().verb, operation) {
                (Verb::Get, Operation::CreateSession) => Effect::Write,
                (Verb::Post, Operation::SelectObjectContent) => Effect::Read,
                (Verb::Get | Verb::Head | Verb::Options, _) => Effect::Read,
                (Verb::Put | Verb::Post | Verb::Delete, _) => Effect::Write,
            };
            assert_eq!(operation.effect(), expected, "{operation}");
        }
    }

    #[test]
    fn exactly_these_carry_content() {
        let carrying: Vec<_> =
            Operation::ALL.iter().filter(|o| o.carries_object_content()).map(|o| o.name()).collect();
        assert_eq!(
            carrying,
            [
                "PostObject",
                "WriteGetObjectResponse",
                "GetObject",
                "PutObject",
                "AppendObject",
                "CopyObject",
                "RenameObject",
                "SelectObjectContent",
                "GetObjectTorrent",
                "GetObjectAnnotation",
                "PutObjectAnnotation",
                "UploadPart",
                "UploadPartCopy",
            ]
        );
    }

    #[test]
    fn an_operation_takes_its_own_parameters() {
        assert!(Operation::GetObjectAcl.takes_parameter("acl"));
        assert!(Operation::GetObjectAcl.takes_parameter("versionId"));
        assert!(!Operation::GetObjectAcl.takes_parameter("tagging"));
        assert!(!Operation::GetObject.takes_parameter(""));
        assert!(!Operation::GetObject.takes_parameter("x-id"));
        assert!(is_parameter("acl") && is_parameter("prefix") && !is_parameter("cb") && !is_parameter(""));
    }

    #[test]
    fn subresources_and_parameters_do_not_overlap() {
        for operation in Operation::ALL {
            let row = operation.row();
            assert!(row.parameters.is_sorted(), "{operation}");
            assert!(row.parameters.iter().all(|name| Subresource::parse(name).is_none()), "{operation}");
            if row.subresource != Subresource::Itself {
                assert_eq!(Subresource::parse(row.subresource.name()), Some(row.subresource));
            }
        }
        assert_eq!(Subresource::parse(""), None);
    }
}
