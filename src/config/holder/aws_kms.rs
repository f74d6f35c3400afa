//! `provider = "aws-kms"`: AWS KMS, or a service with its API.
//! It must not know how AWS KMS is called.
//! It promises a region, by default that of the storage.

use super::{Surroundings, only};
use crate::config::error::Result;
use crate::config::section::Section;
use crate::config::{credentials, value};
use crate::keyring::{AwsKms, Provider};

const KEYS: &str = "provider key_id endpoint region access_key_id secret_access_key secret_access_key_file";

pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Result<Provider> {
    only(section, "AWS KMS", KEYS)?;
    let region = section.parsed("region", "us-east-1", value::region)?;
    let endpoint = section.parsed("endpoint", "http://127.0.0.1:4566", value::key_service)?;
    Ok(Provider::AwsKms(AwsKms {
        key_id: section.parsed("key_id", "alias/s3veil", value::key_id)?,
        endpoint: endpoint.map(|endpoint| endpoint.to_string()),
        region: Some(region.unwrap_or_else(|| surroundings.upstream_region.to_owned())),
        credentials: credentials::read(section)?.for_kms(),
    }))
}
