//! The settings of this module: the storage's address, credentials, timeouts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::wire::checksum::ChecksumAlgorithm;

/// Timeout for TCP and TLS together. A storage in the client's region responds within 100 ms, so five seconds
/// cover two lost SYNs (1 s + 2 s).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout from the end of the request to the response head. Listings, requests about many objects and the
/// ends of streamed bodies have twice that, copies and completed uploads thirty times. With
/// [`CONNECT_TIMEOUT`], an unresponsive storage is reported to the client after 25 s, or 45 s: before its SDK
/// gives up.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout between two frames of a body, in either direction, while this side is ready for the next.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an idle connection is kept: below the 20 s after which S3 closes it, and the 60 s and more of
/// other storages and load balancers.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle connections that are kept; more concurrent streams than this work, but reconnect. They take a few
/// hundred kilobytes of kernel memory.
pub const MAX_IDLE_CONNECTIONS: usize = 256;
/// Attempts after the first; AWS's SDKs make two, and S3's advice on 503 is to go on a little longer.
pub const MAX_RETRIES: u32 = 3;

/// The name of a storage that the configuration names none.
pub const NAME: &str = "default";

/// Everything [`Upstream::build`](super::Upstream::build) needs; `config` fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The storage's name, for routes, the log and metrics.
    pub name: String,
    /// Where the objects are.
    pub target: Target,
    /// The region of the credential scope, and of the host name for [`Target::Aws`].
    pub region: String,
    /// Whether the bucket is in the path or in the host name. `None`: in the path for an endpoint, in the
    /// host name for AWS.
    pub path_style: Option<bool>,
    /// The credentials that requests are signed with; [`Target::Embedded`] has its own.
    pub credentials: Credentials,
    /// The checksum sent with object ciphertext, which the storage verifies: CRC-64/NVME is what AWS prefers,
    /// CRC-32C is for storages older than CRC-64/NVME (2024). `None`: no checksum and no aws-chunked framing.
    pub checksum: Option<ChecksumAlgorithm>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Idle connections kept per host.
    pub max_idle_connections: usize,
    /// Attempts after the first, for requests that can be repeated.
    pub max_retries: u32,
    /// A PEM file of root certificates trusted beside the system's.
    pub extra_root_ca: Option<PathBuf>,
    /// The `Via` of requests (RFC 9110, 7.6.3), unsigned, by which a proxy recognises its own requests.
    pub via: Option<&'static str>,
    /// How [`Target::Embedded`] treats its directory.
    pub embedded: Embedded,
}

/// How the embedded store treats its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// Whether an object and its entry in the directory are on disk (fsync) before the response is sent.
    pub sync: bool,
    /// Whether the directory is refused while another store that wants it alone has it open.
    pub exclusive: bool,
}

impl Settings {
    /// The defaults for `target`, in `us-east-1`, with the AWS default credential chain.
    pub fn new(target: Target) -> Self {
        Self {
            name: NAME.to_owned(),
            target,
            region: "us-east-1".to_owned(),
            path_style: None,
            credentials: Credentials::DefaultChain,
            checksum: Some(ChecksumAlgorithm::DEFAULT),
            timeouts: Timeouts::default(),
            max_idle_connections: MAX_IDLE_CONNECTIONS,
            max_retries: MAX_RETRIES,
            extra_root_ca: None,
            via: None,
            embedded: Embedded { sync: true, exclusive: false },
        }
    }
}

/// Where the objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// In a directory of this machine, served inside the process: for trying s3veil out.
    Embedded {
        /// The directory; created if missing.
        path: PathBuf,
    },
    /// At an S3-compatible server: `http://` or `https://`, a host, no path.
    Endpoint(http::Uri),
    /// At AWS, in the region of the settings.
    Aws,
}

/// The credentials that requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A fixed key pair.
    Static {
        /// The public half.
        access_key_id: String,
        /// The secret half.
        secret_access_key: Zeroizing<String>,
        /// For temporary credentials.
        session_token: Option<Zeroizing<String>>,
    },
    /// The credentials that AWS's default chain finds: environment, profile, SSO, web identity, container,
    /// instance.
    DefaultChain,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static { access_key_id, .. } => {
                f.debug_struct("Static").field("access_key_id", access_key_id).finish_non_exhaustive()
            }
            Self::DefaultChain => f.write_str("DefaultChain"),
        }
    }
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For TCP and TLS together.
    pub connect: Duration,
    /// From the end of the request to the response head, of requests that take no longer than others.
    pub head: Duration,
    /// Timeout between two frames of a body, in either direction.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: CONNECT_TIMEOUT, head: HEAD_TIMEOUT, idle: IDLE_TIMEOUT }
    }
}
