//! `check`: the configuration, a round trip through the key service, and whether the storage answers.

use std::fmt::Write as _;

use http::{HeaderMap, Method};

use super::{Failure, rooms};
use crate::config::Config;
use crate::error::with_causes;
use crate::handler::{BucketRule, Resources};
use crate::keyring::{EncryptionContext, KeyId};
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// Tries everything and reports line by line.
///
/// # Errors
/// [`Failure::Unavailable`] with the report, when anything would not work.
pub async fn check(config: Config) -> Result<String, Failure> {
    let mut report = String::from("configuration: valid\n");
    let mut failed = false;
    let keys = keys_in_use(&config.buckets);
    let resources =
        rooms::resources(config.upstream, config.keyring, config.buckets, &config.requests).await?;
    for key_id in keys {
        let shown = key_id.as_ref().map_or("the keyring's own", KeyId::as_str);
        match key_round_trip(&resources, key_id.as_ref()).await {
            Ok(told) => _ = writeln!(report, "key {shown}: {told}"),
            Err(why) => {
                failed = true;
                _ = writeln!(report, "key {shown}: FAILED: {why}");
            }
        }
    }
    match storage(&resources).await {
        Ok(told) => _ = writeln!(report, "storage: {told}"),
        Err(why) => {
            failed = true;
            _ = writeln!(report, "storage: FAILED: {why}");
        }
    }
    if failed { Err(Failure::Unavailable(report.trim_end().to_owned())) } else { Ok(report) }
}

/// Every key that a rule writes with; `None` is the keyring's default.
fn keys_in_use(rules: &[BucketRule]) -> Vec<Option<KeyId>> {
    let mut keys = Vec::new();
    for rule in rules {
        if !keys.contains(&rule.key_id) {
            keys.push(rule.key_id.clone());
        }
    }
    keys
}

/// Generates and unwraps one data key, past the cache.
pub(super) async fn key_round_trip(resources: &Resources, key_id: Option<&KeyId>) -> Result<String, String> {
    let context = EncryptionContext::native("s3veil-check");
    match resources.keyring.check(key_id, &context).await {
        Ok(trip) => Ok(format!(
            "{} generates in {} ms and unwraps in {} ms",
            trip.key_id,
            trip.generate.as_millis(),
            trip.unwrap.as_millis()
        )),
        Err(error) => Err(with_causes(&error)),
    }
}

/// Lists the buckets, which shows that the address, the signature and the clock are right.
pub(super) async fn storage(resources: &Resources) -> Result<String, String> {
    let request = UpstreamRequest {
        method: Method::GET,
        bucket: None,
        object: None,
        query: Vec::new(),
        headers: HeaderMap::new(),
        body: UpstreamBody::Empty,
    };
    let response = resources.upstream.send(request).await.map_err(|error| with_causes(&error))?;
    match response.status().as_u16() {
        200 => Ok("lists its buckets".to_owned()),
        403 => Err("answers 403 to a listing of buckets: the proxy's credentials are wrong, or lack s3:ListAllMyBuckets \
                    (objects may work all the same)"
            .to_owned()),
        status => Err(format!("answers {status} to a listing of buckets")),
    }
}
