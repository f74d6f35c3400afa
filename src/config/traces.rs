//! `[traces]`: the collector of traces.
//! It must not know what a span is.
//! It promises an endpoint to which a path can be appended.

use super::error::Result;
use super::section::Section;
use super::value;
use crate::log::Share;
use crate::trace::Settings;

/// Maximum length of the name of the service, in bytes.
const MAX_NAME: usize = 256;

pub(super) fn read(root: &Section<'_>) -> Result<Option<Settings>> {
    let Some(section) = root.section("traces")? else { return Ok(None) };
    let endpoint = section.parsed("endpoint", "http://127.0.0.1:4318", value::endpoint)?;
    let endpoint = endpoint.ok_or_else(|| {
        let fix = "write endpoint = \"http://127.0.0.1:4318\", the address of a collector for OTLP over HTTP";
        section.refuse("endpoint", "is missing", fix)
    })?;
    let service = section.text("service", "s3veil")?;
    if service.as_ref().is_some_and(|service| service.len() > MAX_NAME) {
        return Err(section.refuse("service", "is longer than 256 bytes", "choose a shorter name"));
    }
    Ok(Some(Settings {
        endpoint,
        sample: section.parsed("sample", "10%", value::share)?.unwrap_or(Share::ALL),
        service: service.map_or_else(|| "s3veil".to_owned(), std::borrow::Cow::into_owned),
    }))
}
