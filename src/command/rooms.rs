//! The rooms as the configuration wants them: every setting has one place to go.

use std::sync::Arc;

use super::Failure;
use crate::config::{self, BucketConfig, ClientConfig, Config, KeyringConfig, UpstreamConfig};
use crate::handler::{Binding, BucketRule, LearnedSizes, Policies, Resources};
use crate::keyring::{self, KeyId, Keyring, KeyringSetupError};
use crate::service::{Client, ClientAccess, Clients, Service};
use crate::sigv4::{SecretAccessKey, VerifyPolicy};
use crate::upstream::{self, Upstream, UpstreamSetupError};

/// Builds what handlers work with: opens files and the embedded store, but neither listens nor calls anybody.
///
/// # Errors
/// [`Failure`] with what to change.
pub async fn resources(config: &mut Config) -> Result<Resources, Failure> {
    let is_trial = matches!(config.upstream.target, config::Target::Embedded(_));
    let keyring = keyring(&config.keyring, is_trial).await?;
    let upstream = upstream(&config.upstream).await?;
    let policies = policies(&config.buckets)?;
    let learned_sizes = LearnedSizes::default();
    let client_idle_timeout = config.requests.idle_timeout;
    Ok(Resources { upstream, keyring, policies, learned_sizes, client_idle_timeout })
}

/// Builds what answers requests. Takes the clients' secrets out of the configuration.
///
/// # Errors
/// As [`resources`].
pub async fn service(config: &mut Config) -> Result<Service, Failure> {
    let resources = resources(config).await?;
    let clients = Clients::new(std::mem::take(&mut config.clients).into_iter().map(client));
    let config::RequestRules { domain, region, sigv2, max_clock_skew, idle_timeout: _ } =
        config.requests.clone();
    let verification = VerifyPolicy { region, max_skew: max_clock_skew, allow_sigv2: sigv2 };
    Ok(Service::new(Arc::new(resources), clients, verification, domain.into_iter().collect()))
}

/// The keyring. Only where s3veil is tried out is a missing file made: elsewhere a mistyped path would quietly
/// become a new key.
///
/// # Errors
/// [`Failure`] with the file or setting, and what to do.
pub async fn keyring(config: &KeyringConfig, is_trial: bool) -> Result<Keyring, Failure> {
    let KeyringConfig { provider, reuse, cache } = config;
    let provider = match provider {
        config::Provider::Local { file } => {
            keyring::Provider::Local(keyring::Local { file: file.clone(), create_if_missing: is_trial })
        }
        config::Provider::AwsKms { key_id, endpoint, region, credentials } => {
            keyring::Provider::AwsKms(keyring::AwsKms {
                key_id: key_id.as_deref().map(key_id_of).transpose()?,
                endpoint: endpoint.as_ref().map(ToString::to_string),
                region: Some(region.clone()),
                credentials: match credentials {
                    config::Credentials::DefaultChain => None,
                    config::Credentials::Static { access_key_id, secret_access_key } => {
                        let secret = secret_access_key.expose();
                        let name = "proxy.toml";
                        Some(aws_credential_types::Credentials::new(access_key_id, secret, None, None, name))
                    }
                },
            })
        }
    };
    let config::CacheConfig { max_age, max_objects, max_bytes, entries, stale_if_error } = cache.clone();
    let settings = keyring::Settings {
        provider,
        cache: keyring::CacheSettings { max_age, max_objects, max_bytes, entries, stale_if_error },
        reuse: match reuse {
            config::Reuse::Bucket => keyring::Reuse::Bucket,
            config::Reuse::Off => keyring::Reuse::Off,
        },
    };
    Keyring::build(settings).await.map_err(|error: KeyringSetupError| Failure::Usage(error.to_string()))
}

async fn upstream(config: &UpstreamConfig) -> Result<Upstream, Failure> {
    let target = match &config.target {
        config::Target::Embedded(path) => upstream::Target::Embedded { path: path.clone() },
        config::Target::Endpoint(uri) => upstream::Target::Endpoint(uri.clone()),
        config::Target::Aws => upstream::Target::Aws,
    };
    let settings = upstream::Settings {
        region: config.region.clone(),
        path_style: config.path_style,
        credentials: match &config.credentials {
            config::Credentials::DefaultChain => upstream::Credentials::DefaultChain,
            config::Credentials::Static { access_key_id, secret_access_key } => {
                upstream::Credentials::Static {
                    access_key_id: access_key_id.clone(),
                    secret_access_key: secret_access_key.expose().to_owned().into(),
                    session_token: None,
                }
            }
        },
        checksum: match config.checksum {
            config::Checksum::Crc64Nvme => upstream::Checksum::Crc64Nvme,
            config::Checksum::Crc32C => upstream::Checksum::Crc32c,
            config::Checksum::None => upstream::Checksum::None,
        },
        timeouts: upstream::Timeouts {
            connect: config.connect_timeout,
            head: config.head_timeout,
            idle: config.idle_timeout,
        },
        max_retries: config.max_retries,
        extra_root_ca: config.ca_file.clone(),
        ..upstream::Settings::new(target)
    };
    Upstream::build(settings).await.map_err(|error: UpstreamSetupError| Failure::Usage(with_causes(&error)))
}

/// The rules of all buckets.
///
/// # Errors
/// [`Failure::Usage`] for a key id that is none.
pub fn policies(buckets: &[BucketConfig]) -> Result<Policies, Failure> {
    let rules: Result<Vec<BucketRule>, Failure> = buckets.iter().map(rule).collect();
    Ok(Policies::new(rules?))
}

fn rule(config: &BucketConfig) -> Result<BucketRule, Failure> {
    let allowed: Result<Vec<KeyId>, Failure> =
        config.allowed_key_ids.iter().map(|id| key_id_of(id)).collect();
    Ok(BucketRule {
        name: config.name.clone(),
        prefix: config.prefix.clone(),
        realm: config.realm.clone(),
        key_id: config.key_id.as_deref().map(key_id_of).transpose()?,
        allowed_key_ids: allowed?,
        binding: match config.binding {
            config::Binding::RealmAndKey => Binding::RealmAndKey,
            config::Binding::Realm => Binding::Realm,
            config::Binding::None => Binding::None,
        },
    })
}

fn client(config: ClientConfig) -> (String, Client) {
    let ClientConfig { access_key_id, secret_access_key, buckets, access } = config;
    let access = match access {
        config::Access::ReadWrite => ClientAccess::ReadWrite,
        config::Access::ReadOnly => ClientAccess::ReadOnly,
        config::Access::WriteOnly => ClientAccess::WriteOnly,
    };
    let secret = SecretAccessKey::new(secret_access_key.into_inner());
    (access_key_id, Client { secret, buckets, access })
}

fn key_id_of(text: &str) -> Result<KeyId, Failure> {
    KeyId::parse(text).map_err(|error| Failure::Usage(format!("key id {text:?}: {error}")))
}

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
