//! The rooms as the configuration wants them.

use std::sync::Arc;

use super::Failure;
use crate::buffers::Budget;
use crate::config::{Config, RequestRules};
use crate::error::with_causes;
use crate::handler::{
    BucketRule, CorsAnswers, DefaultKeys, KnownUploads, Layouts, LearnedSizes, Policies, Resources,
};
use crate::keyring::{self, Keyring};
use crate::service::{Clients, Service};
use crate::sigv4::VerifyPolicy;
use crate::upstream::{self, Upstream};

/// Documents of clients may have an eighth of what may be held whole: the largest are rare, and the others small.
const DOCUMENTS: u64 = 8;

/// Builds what handlers work with: opens files and the embedded store, but neither listens nor calls anybody.
///
/// # Errors
/// [`Failure`] with what to change.
pub async fn resources(
    upstream: upstream::Settings,
    keyring: keyring::Settings,
    buckets: Vec<BucketRule>,
    requests: &RequestRules,
) -> Result<Resources, Failure> {
    let keyring = self::keyring(keyring).await?;
    let upstream = Upstream::build(upstream).await.map_err(|error| Failure::Usage(with_causes(&error)))?;
    let policies = Policies::new(buckets);
    let (learned_sizes, layouts) = (LearnedSizes::default(), Layouts::default());
    let known_uploads = KnownUploads::default();
    let memory = Budget::new(requests.max_buffered);
    Ok(Resources {
        upstream,
        keyring,
        policies,
        learned_sizes,
        layouts,
        known_uploads,
        default_keys: DefaultKeys::default(),
        cors: CorsAnswers::default(),
        client_idle_timeout: requests.idle_timeout,
        documents: memory.part(requests.max_buffered / DOCUMENTS),
        memory,
    })
}

/// Builds what answers requests.
///
/// # Errors
/// As [`resources`].
pub async fn service(config: Config) -> Result<Service, Failure> {
    let Config { requests, upstream, keyring, clients, buckets, listen: _, admin: _, log: _ } = config;
    let resources = resources(upstream, keyring, buckets, &requests).await?;
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

/// The keyring alone.
///
/// # Errors
/// [`Failure::Usage`] with the file or setting, and what to do.
pub async fn keyring(settings: keyring::Settings) -> Result<Keyring, Failure> {
    Keyring::build(settings).await.map_err(|error| Failure::Usage(error.to_string()))
}
