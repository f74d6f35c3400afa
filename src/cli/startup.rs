//! Builds every other module as the configuration says, which no other module does.
//! It must not know requests.
//! What it returns is complete, or a failure says what to change.

use std::io;
use std::sync::Arc;

use super::Failure;
use crate::access::{Client, Clients};
use crate::buffers::Budget;
use crate::config::{Config, RequestRules};
use crate::error::with_causes;
use crate::keyring::{self, Keyring, KeyringSetupError};
use crate::object::caches::{DefaultKeyCache, LayoutCache, SizeCache};
use crate::object::rule::{BucketRule, Policies};
use crate::operation::Resources;
use crate::operation::response::cors::CorsCache;
use crate::service::Service;
use crate::sigv4::VerifyPolicy;
use crate::upload::conditional_writes::KnownConditionalWrites;
use crate::upload::memory::UploadCache;
use crate::upstream::{self, Route, Upstream, UpstreamSetupError, Upstreams};
use crate::{object, upload};

/// Divisor for the share of the buffer budget that documents of clients may take (a sixteenth): the largest
/// are rare, and the others small.
const DOCUMENTS: u64 = 16;

/// What the storage is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve clients.
    Serve,
    /// To read it in a command, perhaps while another process serves it.
    Look,
}

/// Builds the resources that operations work with: opens files and the embedded store, but neither listens
/// nor calls a server. The keyring is built last, so that no later step can fail after its file was made.
///
/// # Errors
/// [`Failure`] with what to change.
pub async fn resources(
    upstreams: Vec<upstream::Settings>,
    routes: Vec<Route>,
    keyring: keyring::Settings,
    buckets: Vec<BucketRule>,
    requests: &RequestRules,
    purpose: Purpose,
) -> Result<Resources, Failure> {
    let upstreams = self::upstreams(upstreams, routes, purpose).await?;
    let keyring = self::keyring(keyring).await?;
    let memory = Budget::new(requests.max_buffered);
    let documents = memory.part(requests.max_buffered / DOCUMENTS);
    let object = object::Resources {
        upstreams,
        keyring,
        policies: Policies::new(buckets),
        size_cache: SizeCache::default(),
        layout_cache: LayoutCache::default(),
        default_keys: DefaultKeyCache::default(),
        memory,
    };
    Ok(Resources {
        upload: upload::Resources {
            object,
            upload_cache: UploadCache::default(),
            conditional_writes: KnownConditionalWrites::default(),
        },
        cors: CorsCache::default(),
        client_idle_timeout: requests.idle_timeout,
        documents,
    })
}

/// Sets up the clients of the storages, of which the first is the default.
///
/// # Errors
/// [`Failure`] with what to change.
async fn upstreams(
    settings: Vec<upstream::Settings>,
    routes: Vec<Route>,
    purpose: Purpose,
) -> Result<Upstreams, Failure> {
    let is_single = settings.len() == 1;
    let mut built = Vec::with_capacity(settings.len());
    for mut settings in settings {
        if purpose == Purpose::Look {
            settings.embedded.exclusive = false;
        }
        let prefix = if is_single { String::new() } else { format!("upstream {:?}: ", settings.name) };
        built.push(upstream(settings).await.map_err(|error| upstream_failed(error, &prefix))?);
    }
    let default = built.remove(0);
    Ok(Upstreams::new(default, built, routes))
}

/// Sets up the client of a storage; opens the embedded store, where that is the storage.
async fn upstream(settings: upstream::Settings) -> Result<Upstream, UpstreamSetupError> {
    #[cfg(feature = "embedded-store")]
    if matches!(settings.target, upstream::Target::Embedded { .. }) {
        return super::embedded_store::open(settings).await;
    }
    Upstream::build(settings).await
}

/// Builds the service for the configured clients, and `further` ones.
///
/// # Errors
/// As [`resources`].
pub async fn service(
    config: Config,
    further: Option<(String, Client)>,
    purpose: Purpose,
) -> Result<Service, Failure> {
    let Config { requests, upstreams, routes, keyring, mut clients, buckets, .. } = config;
    clients.extend(further);
    let resources = resources(upstreams, routes, keyring, buckets, &requests, purpose).await?;
    let verification = VerifyPolicy {
        region: requests.region,
        max_skew: requests.max_clock_skew,
        allow_sigv2: requests.sigv2,
    };
    let domains = requests.domain.into_iter().collect();
    let clients = Clients::new(clients);
    let service = Service::new(Arc::new(resources), clients, verification, domains, requests.max_requests);
    if requests.cut_slow_clients {
        tokio::spawn(service.cut_slow_clients(requests.idle_timeout));
    }
    Ok(service)
}

/// Builds the keyring.
///
/// # Errors
/// [`Failure::Usage`] with the file or setting, and what to do.
pub async fn keyring(settings: keyring::Settings) -> Result<Keyring, Failure> {
    Keyring::build(settings).await.map_err(keyring_failed)
}

/// Converts the reason why a keyring could not be built into a [`Failure`], with the exit code of its kind.
pub fn keyring_failed(error: KeyringSetupError) -> Failure {
    let text = error.to_string();
    if let KeyringSetupError::Io { kind, .. } = error {
        setup_failed(text, kind, "keyring.file")
    } else {
        Failure::Usage(text)
    }
}

fn upstream_failed(error: UpstreamSetupError, prefix: &str) -> Failure {
    let text = format!("{prefix}{}", with_causes(&error));
    if let UpstreamSetupError::Embedded { source, .. } = &error
        && let Some(io) = source.downcast_ref::<io::Error>()
    {
        return setup_failed(text, io.kind(), "upstream.endpoint");
    }
    Failure::Usage(text)
}

/// The failure for a file or directory that can't be used, with advice.
fn setup_failed(what: String, kind: io::ErrorKind, key: &str) -> Failure {
    let is_in_the_way = [io::ErrorKind::NotADirectory, io::ErrorKind::AlreadyExists].contains(&kind);
    let advice = if kind == io::ErrorKind::PermissionDenied {
        let user = own_user_id().map_or_else(String::new, |id| format!(" with id {id}"));
        format!(": s3veil runs as the user{user}, who has no right there: give it that, or correct {key}")
    } else if is_in_the_way {
        format!(": a part of this path is a file: move it away, or correct {key}")
    } else if kind == io::ErrorKind::IsADirectory {
        format!(": name a file in {key}")
    } else {
        String::new()
    };
    Failure::Setup { message: format!("{what}{advice}"), kind }
}

fn own_user_id() -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some(std::fs::metadata("/proc/self").ok()?.uid())
    }
    #[cfg(not(unix))]
    None
}
