//! `[metrics]`: which metrics there are besides those of all requests.
//! It must not know what is counted.
//! It promises that nothing is counted by names which a request brings.

use crate::config::error::Result;
use crate::config::section::Section;

/// `[metrics]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricSettings {
    /// Metrics of each client of the configuration.
    pub by_client: bool,
    /// Metrics of each bucket rule.
    pub by_rule: bool,
}

pub(in crate::config) fn read(root: &Section<'_>) -> Result<MetricSettings> {
    let Some(section) = root.section("metrics")? else {
        return Ok(MetricSettings::default());
    };
    Ok(MetricSettings {
        by_client: section.boolean("by_client")?.unwrap_or_default(),
        by_rule: section.boolean("by_rule")?.unwrap_or_default(),
    })
}
