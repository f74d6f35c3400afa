//! `[listen]` and `[admin]`: addresses, timeouts and limits.
//! It must not know how connections are served.
//! It promises limits that a machine can hold, and different addresses for clients and operators.

use std::time::Duration;

use super::error::{Refusal, Result};
use super::section::Section;
use super::{credentials, required, tls, value};
use crate::admin::BearerToken;
use crate::{admin, server};

const TOKEN: &str = "bearer_token";
const TOKEN_FILE: &str = "bearer_token_file";

/// Maximum of `max_connections`: each connection takes a file descriptor and often another one upstream, and
/// Linux allows about a million by default.
const MAX_CONNECTIONS: u64 = 1_000_000;

/// Default of `max_requests`: a thousand streams of large objects take about 250 MiB.
const DEFAULT_REQUESTS: u64 = 1_000;

/// Default of `max_buffered`: eight messages of the default `s3ec.buffer`, or a hundred small last parts.
const DEFAULT_BUFFERED: u64 = 512 << 20;
/// Minimum of `max_buffered`: twice the buffer of one form.
const MIN_BUFFERED: u64 = 16 << 20;

/// Default of `min_rate`, in bytes per second: the slowest mobile networks have ten times that.
const DEFAULT_MIN_RATE: u64 = 1 << 10;

/// Maximum of `max_clock_skew`. AWS allows 15 minutes, and a day covers a wrong time zone; with a longer skew
/// the age of a signature would not protect.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// Requirements and limits of requests, regardless of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRules {
    /// Requests to `BUCKET.domain` are virtual-hosted-style; without a domain all requests are path-style. In
    /// lower case, without port.
    pub domain: Option<String>,
    /// The region that credential scopes must name; `None` accepts any region.
    pub region: Option<String>,
    /// Whether URLs and forms signed with SigV2 are accepted.
    pub sigv2: bool,
    /// Maximum difference between the clocks of client and proxy.
    pub max_clock_skew: Duration,
    /// Timeout for the next bytes of a request's body.
    pub idle_timeout: Duration,
    /// Whether a client that is slower than `listen.min_rate` over an idle timeout is cut off.
    pub cut_slow_clients: bool,
    /// Maximum number of requests in flight, each from the verification of its signature to the end of its
    /// response. Requests that wait for their client do not count; at most an eighth of this number may wait
    /// in addition.
    pub max_requests: usize,
    /// Bytes of memory for buffered bodies, for all requests together.
    pub max_buffered: u64,
}

pub(super) fn read(root: &Section<'_>) -> Result<(server::Settings, RequestRules)> {
    let section = required(root, "listen", "write [listen] and below it address = \"127.0.0.1:8333\"")?;
    let address = section.parsed("address", "127.0.0.1:8333", value::address)?;
    let address = address.ok_or_else(|| {
        section.refuse("address", "is missing", "write for example address = \"127.0.0.1:8333\"")
    })?;
    let timeout = |word, seconds| {
        let default = Duration::from_secs(seconds);
        section.parsed(word, "30s", value::timeout).map(|timeout| timeout.unwrap_or(default))
    };
    let max_connections = section.count("max_connections", 1..=MAX_CONNECTIONS)?.unwrap_or(10_000);
    let idle_timeout = timeout("idle_timeout", 60)?;
    let min_rate = section.parsed("min_rate", "1KiB", |text| match text {
        "off" => Ok(None),
        text => value::size(text).map(Some).map_err(|Refusal { problem, .. }| {
            Refusal::new(problem, "write bytes per second, such as \"1KiB\", or \"off\"")
        }),
    })?;
    let min_rate = min_rate.unwrap_or(Some(DEFAULT_MIN_RATE));
    let settings = server::Settings {
        address,
        address_key: "listen.address",
        tls: tls::read(&section)?,
        reuse_port: section.boolean("reuse_port")?.unwrap_or(false),
        max_connections: usize::try_from(max_connections).expect("a million fits"),
        header_timeout: timeout("header_timeout", 60)?,
        idle_timeout,
        min_rate: min_rate.unwrap_or(DEFAULT_MIN_RATE),
        drain_delay: section.parsed("drain_delay", "10s", value::duration)?.unwrap_or_default(),
        is_counted: true,
        drain_timeout: timeout("drain_timeout", 30)?,
    };
    let max_clock_skew = timeout("max_clock_skew", 15 * 60)?;
    if max_clock_skew > MAX_CLOCK_SKEW {
        return Err(section.refuse("max_clock_skew", "is over a day", "write \"15m\", as AWS does"));
    }
    let max_requests = section.count("max_requests", 1..=MAX_CONNECTIONS)?.unwrap_or(DEFAULT_REQUESTS);
    let max_buffered = section.parsed("max_buffered", "512MiB", |text| match value::size(text)? {
        bytes if bytes < MIN_BUFFERED => {
            let fix = "write at least \"16MiB\": the file of one form takes half of it";
            Err(Refusal::new("is too little memory", fix))
        }
        bytes => Ok(bytes),
    })?;
    let rules = RequestRules {
        domain: section.parsed("domain", "s3.example.com", value::domain)?,
        region: section.parsed("region", "us-east-1", value::region)?,
        sigv2: section.boolean("sigv2")?.unwrap_or(true),
        max_clock_skew,
        idle_timeout,
        cut_slow_clients: min_rate.is_some(),
        max_requests: usize::try_from(max_requests).expect("a million fits"),
        max_buffered: max_buffered.unwrap_or(DEFAULT_BUFFERED),
    };
    Ok((settings, rules))
}

pub(super) fn read_admin(root: &Section<'_>, listen: &server::Settings) -> Result<Option<admin::Settings>> {
    let Some(section) = root.section("admin")? else { return Ok(None) };
    let fix = "write for example address = \"127.0.0.1:9333\", or remove [admin]";
    let address = section.parsed("address", "127.0.0.1:9333", value::address)?;
    let address = address.ok_or_else(|| section.refuse("address", "is missing", fix))?;
    if address == listen.address && address.port() != 0 {
        return Err(section.refuse("address", "equals `listen.address`", "choose another port"));
    }
    let (tls, token) = (tls::read_one(&section)?, read_token(&section)?);
    if token.is_some() && tls.is_none() && !address.ip().to_canonical().is_loopback() {
        let problem = format!("is sent unencrypted, and {address} can be reached from outside");
        let fix = "write [admin.tls] with certificate and private_key";
        section.warn(TOKEN, &problem, fix);
    }
    Ok(Some(admin::Settings { address, tls, token, reuse_port: listen.reuse_port }))
}

fn read_token(section: &Section<'_>) -> Result<Option<BearerToken>> {
    let Some(secret) = credentials::read_secret_of(section, TOKEN, TOKEN_FILE)? else { return Ok(None) };
    let key = if section.has(TOKEN_FILE) { TOKEN_FILE } else { TOKEN };
    let token = BearerToken::parse(secret.expose()).ok_or_else(|| {
        let problem = format!(
            "is an invalid token: it requires at least {} bytes, of letters, digits and - . _ ~ + / =",
            BearerToken::MIN_LENGTH
        );
        section.refuse(key, &problem, "choose one at random, such as `openssl rand -hex 20` prints")
    })?;
    Ok(Some(token))
}
