//! The documents of multipart uploads: the storage's responses, and what clients send and receive. Source:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html> and its neighbours.

mod complete;
mod parts;
mod uploads;

pub use complete::{
    CompletedPart, CompletionResponse, CompletionResult, MAX_COMPLETE_REQUEST, complete_request,
    parse_completion_response, write_complete_request,
};
pub use parts::{ListedPart, PartEntry, UploadedParts, parse_uploaded_parts};
pub use uploads::{parse_upload_id, rewrite_uploads, upload_ids, write_initiated};

/// The maximum size in bytes of a response about an upload: 1,000 parts or uploads of less than 4 KiB each.
pub const MAX_UPLOAD_DOCUMENT: usize = 4 << 20;

/// Elements with the ciphertext's checksums, which the client must not see.
const ABOUT_CIPHERTEXT: [&str; 12] = [
    "ChecksumAlgorithm",
    "ChecksumType",
    "ChecksumCRC32",
    "ChecksumCRC32C",
    "ChecksumCRC64NVME",
    "ChecksumSHA1",
    "ChecksumSHA256",
    "ChecksumSHA512",
    "ChecksumMD5",
    "ChecksumXXHASH64",
    "ChecksumXXHASH3",
    "ChecksumXXHASH128",
];
