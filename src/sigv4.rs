//! Who sent this request, and is its body theirs: Signature Version 4 (and presigned Version 2, and both in forms) in,
//! Version 4 out, and the aws-chunked framing whose chunks and trailers are signed.
//! Knows no S3 operation, no bucket policy and no clock; time, secrets and bytes are passed in.
//! Promises that what was signed is what is interpreted: an unsigned, repeated or ambiguous part is refused.

mod authenticate;
mod canonical;
mod chunked;
mod claim;
mod claimed;
mod credentials;
mod error;
mod form;
mod outbound;
mod payload;
mod presigned_v2;
mod query;
mod scope;
mod signing_key;

#[cfg(test)]
pub(crate) mod tests;

pub use authenticate::{Authenticated, RequestHead, VerifyPolicy, authenticate};
pub use chunked::{
    AwsChunkedDecoder, AwsChunkedEncoder, ChunkError, Decoded, EncodeError, Trailers, UPSTREAM_CHUNK_SIZE,
    encoded_length,
};
pub use claimed::{access_key_id, claimed_access_key_id};
pub use credentials::{AccessKeyId, SecretAccessKey};
pub use error::{AuthError, AuthFault, AuthSource, SignatureMismatch};
pub use form::{AuthenticatedForm, authenticate_form};
pub use outbound::{PayloadSigning, SignError, Signer};
pub use payload::{ChunkedPayload, Payload};
