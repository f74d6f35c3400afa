//! The errors of requests to the storage, by who has to act.
//! They must not say what an object means.
//! Each error says whether the storage may have acted on the request.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::BoxError;
use crate::sigv4::SignError;

/// Why there is no response. A response of any status is not an error here.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: DNS, TCP or TLS failed. Nothing was sent.
    #[error("could not connect to the storage")]
    Connect(#[source] BoxError),
    /// The storage exceeded a timeout.
    #[error("the storage took longer than {limit:?} ({phase})")]
    Timeout {
        /// What was waited for.
        phase: Phase,
        /// The limit that passed.
        limit: Duration,
    },
    /// The connection broke, or the response is not HTTP. The storage may have acted on the request.
    #[error("the exchange with the storage failed")]
    Protocol(#[source] BoxError),
    /// The response head exceeds the limit of header fields or of bytes. The storage acted on the request.
    #[error("the head of the storage's response is too large")]
    HeadTooLarge,
    /// The request body failed, with this error. The request was cut before its end.
    #[error("the request body failed")]
    Body(#[source] BoxError),
    /// The request body was shorter or longer than announced. The request was cut before its end.
    #[error("the request body is not of the announced length")]
    Length(#[from] LengthError),
    /// There are no valid credentials to sign with.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The request could not be signed.
    #[error("the request could not be signed")]
    Sign(#[from] SignError),
    /// The bucket has no address at this storage.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl UpstreamError {
    /// Whether the request may succeed a little later: the storage or the network is at fault.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout { .. } | Self::Protocol(_) | Self::Credentials(_) => true,
            Self::HeadTooLarge | Self::Body(_) | Self::Length(_) | Self::Sign(_) | Self::Address(_) => false,
        }
    }

    /// The kind of the error, as `error.type` of a span.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Protocol(_) => "protocol",
            Self::HeadTooLarge => "head_too_large",
            Self::Body(_) => "body",
            Self::Length(_) => "length",
            Self::Credentials(_) => "credentials",
            Self::Sign(_) => "sign",
            Self::Address(_) => "address",
        }
    }

    /// Whether the storage may have acted on the request: it was sent, and no response came.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Protocol(_)
            | Self::HeadTooLarge
            | Self::Timeout { phase: Phase::Send | Phase::Head, .. } => true,
            Self::Connect(_)
            | Self::Timeout { phase: Phase::Connect | Phase::Idle, .. }
            | Self::Credentials(_)
            | Self::Body(_)
            | Self::Length(_)
            | Self::Sign(_)
            | Self::Address(_) => false,
        }
    }
}

/// Why a bucket or an object has no address. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// At some storages the first segment of a path is administration under this name, and not a bucket.
    #[error("the path /{0} is administration at some storages, and not a bucket")]
    Administration(String),
    /// The rule of the bucket makes a stored name that no bucket can have.
    #[error("the stored name of the bucket {0} is invalid")]
    NoStoredName(String),
    /// The name is that of another bucket in the storage.
    #[error("the storage has another bucket under the name {0}")]
    AnotherBucket(String),
    /// The source of a copy is in another storage than the copy.
    #[error("the source of the copy is in another storage")]
    AnotherStorage,
    /// The URI that was built does not name the configured host and port.
    #[error("the address {uri} is not at the configured endpoint")]
    AnotherHost {
        /// The URI.
        uri: String,
    },
    /// The names do not make a URI.
    #[error("not a URI: {0}")]
    NotAUri(#[from] http::Error),
}

/// What a timeout waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A connection, TLS included.
    Connect,
    /// The storage's reading of the request body.
    Send,
    /// The response head, after the request was sent.
    Head,
    /// The next frame of the response body.
    Idle,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "to connect",
            Self::Send => "to take in the request body",
            Self::Head => "to respond",
            Self::Idle => "to go on with the response body",
        })
    }
}

/// A body that is not of the length announced for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// The body ended early.
    #[error("the body ended {missing} bytes early")]
    Short {
        /// Bytes that are missing.
        missing: u64,
    },
    /// The body went on after its end.
    #[error("the body is longer than announced")]
    Long,
}

/// No credentials to sign with.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "no AWS credentials for the upstream: {reason}; set upstream.access_key_id and upstream.secret_access_key, or \
     AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or attach a role to this machine or pod"
)]
pub struct CredentialsError {
    /// The error of the chain.
    pub reason: String,
}

/// Why the upstream could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// The endpoint is not `http://host[:port]` or `https://host[:port]`.
    #[error("upstream.endpoint {endpoint}: {reason}")]
    Endpoint {
        /// What was configured.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The region does not make a host name.
    #[error("upstream.region {0:?} is not a region name such as eu-central-1")]
    Region(String),
    /// The file of extra root certificates.
    #[error("upstream root certificates {path}: {reason}")]
    RootCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's root certificates.
    #[error(
        "this machine has no root certificates ({0}); install ca-certificates or name a file of them in the configuration"
    )]
    SystemRoots(String),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// No credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The target is within the process, and nothing carries requests to it.
    #[error(
        "upstream.endpoint names the embedded store, which this build of s3veil does not have: build with the feature \
         embedded-store, or name another storage"
    )]
    NoTransport,
    /// The embedded store's directory.
    #[cfg_attr(not(feature = "embedded-store"), allow(dead_code))]
    #[error("embedded store {path}")]
    Embedded {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: BoxError,
    },
}
