//! Builds every other module as the configuration says, which no other module does.
//! It must not know requests.
//! What it returns is complete, or a failure says what to change.

mod file_contents;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::file_contents::FileContents;
use super::Failure;
use crate::access::{Client, Clients};
use crate::buffers::Budget;
use crate::config::{Config, MetricSettings};
use crate::error::with_causes;
use crate::keyring::{self, Keyring, KeyringError, KeyringSetupError};
use crate::object::caches::{DefaultKeyCache, LayoutCache, SizeCache};
use crate::object::rule::Policies;
use crate::operation::Resources;
use crate::operation::response::cors::CorsCache;
use crate::service::{State, Tallies, TallySettings};
use crate::sigv4::VerifyPolicy;
use crate::timer;
use crate::upload::acls::KnownAcls;
use crate::upload::conditional_writes::KnownConditionalWrites;
use crate::upload::memory::UploadCache;
use crate::upstream::{self, Route, Upstream, UpstreamSetupError, Upstreams};
use crate::{object, upload};

/// Divisor for the share of the buffer budget that documents of clients may take (a sixteenth): the largest
/// are rare, and the others small.
const DOCUMENTS: u64 = 16;

/// How long a start waits for the proof that a holder binds data keys to their context.
const PROOF_TIMEOUT: Duration = Duration::from_secs(3);

/// What the storage is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve clients.
    Serve,
    /// For a command, perhaps while another process serves it.
    Look,
}

/// What a state was built from, by which the next one finds what has not changed.
#[derive(Debug)]
pub struct Origin {
    upstreams: Vec<upstream::Settings>,
    routes: Vec<Route>,
    keyring: keyring::Settings,
    max_buffered: u64,
    /// The content of the configuration's files.
    pub files: FileContents,
}

/// A state that another one is to replace.
pub struct Earlier<'a> {
    /// The state itself.
    pub state: &'a State,
    /// What it was built from.
    pub origin: &'a Origin,
}

impl Origin {
    /// The origin of the state that `config` is built into, when its files had this content.
    pub fn new(config: &Config, files: FileContents) -> Self {
        let Config { requests, upstreams, routes, keyring, .. } = config;
        let (upstreams, routes, keyring) = (upstreams.clone(), routes.clone(), keyring.clone());
        Self { upstreams, routes, keyring, max_buffered: requests.max_buffered, files }
    }

    /// The place of the upstream with these settings and root certificates. An embedded store stays as it was
    /// opened, since no other store can have its directory at that time.
    fn place_of(&self, settings: &upstream::Settings, files: &FileContents) -> Option<usize> {
        let is_open = matches!(settings.target, upstream::Target::Embedded { .. });
        let has_roots = || settings.extra_root_ca.as_ref().is_none_or(|file| self.files.agree(files, file));
        self.upstreams.iter().position(|earlier| {
            let is_there = settings.target == earlier.target && settings.name == earlier.name;
            is_there && (is_open || (settings == earlier && has_roots()))
        })
    }

    fn has_keyring(&self, settings: &keyring::Settings, files: &FileContents) -> bool {
        let mut read = settings.holders.iter().flat_map(|holder| holder.provider.files());
        *settings == self.keyring && read.all(|file| self.files.agree(files, file))
    }
}

/// Builds the resources that operations work with: opens files and the embedded store, but neither listens
/// nor calls a server. The keyring is built last, so that no later step can fail after its file was made.
///
/// # Errors
/// [`Failure`] with what to change.
pub async fn resources(config: &Config, purpose: Purpose) -> Result<Resources, Failure> {
    let mut upstreams = Vec::with_capacity(config.upstreams.len());
    for settings in &config.upstreams {
        let mut settings = settings.clone();
        if purpose == Purpose::Look {
            settings.embedded.exclusive = false;
        }
        upstreams.push(named_upstream(settings, config).await?);
    }
    let upstreams = Upstreams::new(upstreams.remove(0), upstreams, config.routes.clone());
    let keyring = self::keyring(config.keyring.clone()).await?;
    if purpose == Purpose::Serve {
        prove(&keyring).await?;
    }
    let memory = Budget::new(config.requests.max_buffered);
    Ok(assemble(config, upstreams, keyring, memory))
}

/// Builds the resources that follow earlier ones. Connections, data keys and cached values are kept as far as
/// the configuration allows the same use of them.
async fn next_resources(
    config: &Config,
    origin: &Origin,
    earlier: &Earlier<'_>,
) -> Result<Resources, Failure> {
    let kept = &earlier.state.resources;
    let mut upstreams = Vec::with_capacity(config.upstreams.len());
    let mut are_kept = origin.upstreams == earlier.origin.upstreams && origin.routes == earlier.origin.routes;
    for settings in &config.upstreams {
        let place = earlier.origin.place_of(settings, &origin.files);
        let upstream = place.and_then(|place| kept.upstreams.all().nth(place));
        are_kept &= upstream.is_some();
        upstreams.push(match upstream {
            Some((_, upstream)) => upstream.clone(),
            None => named_upstream(settings.clone(), config).await?,
        });
    }
    let upstreams = Upstreams::new(upstreams.remove(0), upstreams, config.routes.clone());
    let is_keyring_kept = earlier.origin.has_keyring(&config.keyring, &origin.files);
    let keyring = if is_keyring_kept {
        kept.keyring.clone()
    } else {
        let keyring = self::keyring(config.keyring.clone()).await?;
        prove(&keyring).await?;
        keyring
    };
    let is_memory_kept = earlier.origin.max_buffered == origin.max_buffered;
    let memory = if is_memory_kept { kept.memory.clone() } else { Budget::new(config.requests.max_buffered) };
    let mut next = assemble(config, upstreams, keyring, memory);
    if are_kept {
        next.upload.upload_cache = kept.upload_cache.clone();
        next.upload.conditional_writes = kept.conditional_writes.clone();
        next.cors = kept.cors.clone();
    }
    // What the caches hold was read under the rules and keys of its time.
    if are_kept && is_keyring_kept && kept.policies.are(&config.buckets) {
        next.upload.object.size_cache = kept.size_cache.clone();
        next.upload.object.layout_cache = kept.layout_cache.clone();
        next.upload.object.default_keys = kept.default_keys.clone();
    }
    if is_memory_kept {
        next.documents = kept.documents.clone();
    }
    Ok(next)
}

fn assemble(config: &Config, upstreams: Upstreams, keyring: Keyring, memory: Budget) -> Resources {
    let documents = memory.part(config.requests.max_buffered / DOCUMENTS);
    let object = object::Resources {
        upstreams,
        keyring,
        policies: Policies::new(config.buckets.clone()),
        size_cache: SizeCache::default(),
        layout_cache: LayoutCache::default(),
        default_keys: DefaultKeyCache::default(),
        memory,
    };
    Resources {
        upload: upload::Resources {
            object,
            upload_cache: UploadCache::default(),
            conditional_writes: KnownConditionalWrites::default(),
            acls: KnownAcls::default(),
        },
        cors: CorsCache::default(),
        client_idle_timeout: config.requests.idle_timeout,
        documents,
    }
}

/// Sets up the client of one of the storages, which a failure names where there are several.
///
/// # Errors
/// [`Failure`] with what to change.
async fn named_upstream(settings: upstream::Settings, config: &Config) -> Result<Upstream, Failure> {
    let is_single = config.upstreams.len() == 1;
    let prefix = if is_single { String::new() } else { format!("upstream {:?}: ", settings.name) };
    upstream(settings).await.map_err(|error| upstream_failed(error, &prefix))
}

/// Sets up the client of a storage; opens the embedded store, where that is the storage.
async fn upstream(settings: upstream::Settings) -> Result<Upstream, UpstreamSetupError> {
    #[cfg(feature = "embedded-store")]
    if matches!(settings.target, upstream::Target::Embedded { .. }) {
        return super::embedded_store::open(settings).await;
    }
    Upstream::build(settings).await
}

/// Builds the state of the service for the configured clients, and `further` ones.
///
/// # Errors
/// As [`resources`].
pub async fn state(
    config: Config,
    further: Option<(String, Client)>,
    purpose: Purpose,
) -> Result<State, Failure> {
    let resources = resources(&config, purpose).await?;
    Ok(state_with(resources, config, |clients| Clients::new(clients.into_iter().chain(further))))
}

/// Builds the state that follows an earlier one.
///
/// # Errors
/// As [`resources`]; nothing was changed then.
pub async fn next_state(config: Config, origin: &Origin, earlier: &Earlier<'_>) -> Result<State, Failure> {
    let resources = next_resources(&config, origin, earlier).await?;
    Ok(state_with(resources, config, |clients| Clients::replacing(clients, &earlier.state.clients)))
}

fn state_with(
    resources: Resources,
    config: Config,
    number: impl FnOnce(Vec<(String, Client)>) -> Clients,
) -> State {
    let Config { requests, clients, log, metrics: MetricSettings { by_client, by_rule }, .. } = config;
    let clients = number(clients);
    let tallies = Tallies::new(TallySettings { by_client, by_rule }, &clients, &resources.policies);
    State {
        resources: Arc::new(resources),
        clients,
        verification: VerifyPolicy {
            region: requests.region,
            max_skew: requests.max_clock_skew,
            allow_sigv2: requests.sigv2,
        },
        domains: requests.domain.into_iter().collect(),
        max_requests: requests.max_requests,
        max_delay: requests.cut_slow_clients.then_some(requests.idle_timeout),
        access_log: log.access,
        tallies,
    }
}

/// Builds the keyring.
///
/// # Errors
/// [`Failure::Usage`] with the file or setting, and what to do.
pub async fn keyring(settings: keyring::Settings) -> Result<Keyring, Failure> {
    Keyring::build(settings).await.map_err(keyring_failed)
}

/// Refuses a keyring with a holder that opens data keys in another context than their own. A holder that
/// can't respond now is proven before its first data key is used.
///
/// # Errors
/// [`Failure::Usage`] with the key and what to do.
async fn prove(keyring: &Keyring) -> Result<(), Failure> {
    for (place, (name, _)) in keyring.holders().enumerate() {
        match timer::timeout(PROOF_TIMEOUT, keyring.prove(place)).await {
            Ok(Err(failure)) if failure.error == KeyringError::ContextIgnored => {
                return Err(Failure::Usage(format!("holder {name:?}: {failure}")));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
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
