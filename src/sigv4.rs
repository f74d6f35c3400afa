//! Signatures: verifies clients' requests, bodies and forms (Version 4, presigned Version 2), signs requests
//! to the storage (Version 4), and reads and writes aws-chunked bodies.
//! It must not know S3's operations, bucket policies or a clock; time, secrets and bytes are parameters.
//! What was signed is what is interpreted: an unsigned, repeated or ambiguous part is refused.

mod authenticate;
mod canonical;
mod chunk_signer;
mod chunked;
mod claim;
mod claimed;
mod credentials;
mod error;
mod form;
mod header;
mod outbound;
mod payload;
mod presigned_v2;
mod query;
mod request_head;
mod scope;
mod signing_key;

#[cfg(test)]
pub(crate) mod tests;

pub use authenticate::authenticate;
pub use chunked::{
    AwsChunkedDecoder, AwsChunkedEncoder, ChunkError, Decoded, EncodeError, Trailers, UPSTREAM_CHUNK_SIZE,
    encoded_length,
};
pub use claimed::{access_key_id, claimed_access_key_id};
pub use credentials::AccessKeyId;
pub use error::{AuthError, AuthFault, AuthSource, SignatureMismatch};
pub use form::{AuthenticatedForm, authenticate_form};
pub use outbound::{PayloadSigning, SignError, Signer};
pub use payload::{ChunkedPayload, Payload};
pub use request_head::{Authenticated, RequestHead, VerifyPolicy};
pub use signing_key::SecretAccessKey;
