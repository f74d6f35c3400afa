//! The limits of S3 that more than one module keeps.
//!
//! It must not know which error a violation is. Each limit names the page of AWS that states it.

/// The maximum length in bytes of a body stored by one PUT, or by one form: 5 GiB.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>
pub const MAX_PUT: u64 = 5 << 30;

/// The maximum length in bytes of the source of one copy: 5 GiB.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
pub const MAX_COPY: u64 = 5 << 30;

/// The maximum length in bytes of a part: 5 GiB.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PART: u64 = 5 << 30;

/// The minimum length in bytes of every part but the last: 5 MiB.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MIN_PART: u64 = 5 << 20;

/// The maximum number of parts of an upload, and the highest part number.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PARTS: u16 = 10_000;

/// The maximum length in bytes of an object key in UTF-8.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const MAX_OBJECT_KEY: usize = 1_024;

/// The maximum length in bytes of user metadata: names without `x-amz-meta-` and values together.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html#UserMetadata>
pub const MAX_METADATA: usize = 2_048;

/// The maximum number of objects in one DeleteObjects request.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
pub const MAX_DELETE_KEYS: usize = 1_000;

/// The maximum number of bytes of a form before the file's content, boundaries included: 20 KiB.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTForms.html>
pub const MAX_FORM_FIELDS: usize = 20 * 1024;
