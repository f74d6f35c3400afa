//! What `/metrics` says of each metric, and the values that exist before anything was counted. It must not
//! know where a metric is counted.
//! It promises a help text for every metric of this program, and counters that begin with 0, so that alerts
//! on their rates see the first event.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use crate::cli::status::COMMIT;
use crate::config::Config;
use crate::object::rule::counted;
use crate::object::rule::formats::WriteFormat;
use crate::server::unusable_reasons;
use crate::service::login_refusal_reasons;

/// Every metric of this program, by kind.
const COUNTERS: &[(&str, Unit, &str)] = &[
    ("s3veil_audit_lines_lost_total", Unit::Count, "Lines of the audit log that were dropped"),
    ("s3veil_audit_lines_total", Unit::Count, "Lines of requests that were written to the audit log"),
    ("s3veil_audit_refused_total", Unit::Count, "Requests refused because of the audit log"),
    ("s3veil_client_errors_total", Unit::Count, "Failed requests, by client, if metrics.by_client is set"),
    ("s3veil_client_request_bytes_total", Unit::Bytes, "Bytes of request bodies that arrived, by client"),
    ("s3veil_client_requests_total", Unit::Count, "Requests, by client, if metrics.by_client is set"),
    ("s3veil_client_response_bytes_total", Unit::Bytes, "Bytes of response bodies sent, by client"),
    ("s3veil_connections_total", Unit::Count, "Connections of S3 clients that were accepted"),
    ("s3veil_connections_unusable_total", Unit::Count, "Connections without a usable request, by reason"),
    ("s3veil_errors_total", Unit::Count, "Failed requests, by S3 error code and by whose side failed"),
    ("s3veil_integrity_failures_total", Unit::Count, "Stored objects that failed authentication, by kind"),
    ("s3veil_job_backoffs_total", Unit::Count, "Times a job halved its objects at once for the load it met"),
    ("s3veil_job_bytes_total", Unit::Bytes, "Bytes of plaintext of the rows that a job has ended"),
    ("s3veil_job_requests_total", Unit::Count, "Requests of a job to the storage, by kind"),
    ("s3veil_job_retries_total", Unit::Count, "Rows that a job tries again, by reason"),
    ("s3veil_job_rows_total", Unit::Count, "Rows that a job has ended, by status"),
    ("s3veil_keyring_cache_total", Unit::Count, "Lookups of data keys in the cache, by outcome"),
    ("s3veil_keyring_calls_total", Unit::Count, "Calls of key holders, by holder, operation and outcome"),
    ("s3veil_keyring_left_out_total", Unit::Count, "Data keys made without the wrapping of a holder"),
    ("s3veil_keyring_logins_total", Unit::Count, "Logins to key holders, by outcome"),
    ("s3veil_layout_reads_total", Unit::Count, "Reads of the layout of an upload in parts"),
    ("s3veil_legacy_reads_total", Unit::Count, "Objects read in formats that authenticate less, by format"),
    ("s3veil_listing_extra_reads_total", Unit::Count, "Requests to the storage for sizes in listings"),
    ("s3veil_log_lines_dropped_total", Unit::Count, "Log lines that could not be written in time"),
    ("s3veil_logins_refused_total", Unit::Count, "Requests refused for their signature, by reason"),
    ("s3veil_objects_opened_total", Unit::Count, "Objects whose content was opened for a reader, by format"),
    ("s3veil_objects_sealed_total", Unit::Count, "Objects that were stored, by format"),
    ("s3veil_plaintext_reads_total", Unit::Count, "Objects read that are stored as plaintext"),
    ("s3veil_reload_failures_total", Unit::Count, "Configurations that were refused at a reload"),
    ("s3veil_request_bytes_total", Unit::Bytes, "Bytes of request bodies that arrived"),
    ("s3veil_requests_total", Unit::Count, "Requests, by S3 operation and status"),
    ("s3veil_response_bytes_total", Unit::Bytes, "Bytes of response bodies that were sent"),
    ("s3veil_responses_cut_total", Unit::Count, "Responses that broke off after their head"),
    ("s3veil_rule_errors_total", Unit::Count, "Failed requests, by bucket rule, if metrics.by_rule is set"),
    ("s3veil_rule_request_bytes_total", Unit::Bytes, "Bytes of request bodies that arrived, by bucket rule"),
    ("s3veil_rule_requests_total", Unit::Count, "Requests, by bucket rule, if metrics.by_rule is set"),
    ("s3veil_rule_response_bytes_total", Unit::Bytes, "Bytes of response bodies sent, by bucket rule"),
    ("s3veil_slow_clients_cut_total", Unit::Count, "Clients cut off because they were too slow"),
    ("s3veil_slow_downs_total", Unit::Count, "Requests refused with SlowDown by the proxy itself"),
    ("s3veil_trace_spans_dropped_total", Unit::Count, "Spans that could not be delivered"),
    ("s3veil_upstream_retries_total", Unit::Count, "Repeated requests to the storage, by upstream"),
];

const GAUGES: &[(&str, Unit, &str)] = &[
    ("s3veil_anonymous_client", Unit::Count, "1 if requests without a signature are admitted"),
    ("s3veil_audit_up", Unit::Count, "0 while the audit log can't be written, else 1"),
    ("s3veil_buffered_bytes", Unit::Bytes, "Memory in use for buffered bodies"),
    ("s3veil_buffered_bytes_limit", Unit::Bytes, "listen.max_buffered"),
    ("s3veil_build_info", Unit::Count, "1, with the version of the program and its commit"),
    ("s3veil_certificate_expiry_timestamp_seconds", Unit::Seconds, "When a certificate expires"),
    ("s3veil_client_last_request_timestamp_seconds", Unit::Seconds, "End of the latest request, by client"),
    ("s3veil_config_loaded_timestamp_seconds", Unit::Seconds, "When the configuration was last loaded"),
    ("s3veil_connections_limit", Unit::Count, "listen.max_connections"),
    ("s3veil_connections_open", Unit::Count, "Open connections of S3 clients"),
    ("s3veil_job_ended_timestamp_seconds", Unit::Seconds, "When a job ended"),
    ("s3veil_job_exit_code", Unit::Count, "The exit code of a job that has ended"),
    ("s3veil_job_rows_remaining", Unit::Count, "Rows not ended, once a job has read all of its input"),
    ("s3veil_job_rows_waiting", Unit::Count, "Rows that a job will try again"),
    ("s3veil_job_started_timestamp_seconds", Unit::Seconds, "When a job began"),
    ("s3veil_job_window", Unit::Count, "Objects that a job works on at once at most, for now"),
    (
        "s3veil_keyring_cache_reserve_seconds",
        Unit::Seconds,
        "How long the newest data key in memory serves without its holder",
    ),
    ("s3veil_keyring_cached_keys", Unit::Count, "Data keys in memory, by the operation that needs them"),
    ("s3veil_keyring_holder_up", Unit::Count, "1 if the last call of the key holder had a response"),
    ("s3veil_plaintext_rules", Unit::Count, "Rules of buckets whose objects are stored unencrypted"),
    (
        "s3veil_keyring_last_success_timestamp_seconds",
        Unit::Seconds,
        "When a call of the key holder last succeeded, 0 before",
    ),
    ("s3veil_keyring_oldest_key_age_seconds", Unit::Seconds, "Age of the oldest data key in memory"),
    ("s3veil_requests_in_flight", Unit::Count, "Requests that are worked on"),
    ("s3veil_requests_limit", Unit::Count, "listen.max_requests"),
    (
        "s3veil_rule_last_request_timestamp_seconds",
        Unit::Seconds,
        "End of the latest request, by bucket rule",
    ),
    ("s3veil_upstream_connections", Unit::Count, "Connections to the storage, by upstream and state"),
];

const HISTOGRAMS: &[(&str, Unit, &str)] = &[
    ("s3veil_keyring_call_duration_seconds", Unit::Seconds, "Time of calls of key holders, by operation"),
    ("s3veil_request_duration_seconds", Unit::Seconds, "Time from a request's head to its response's end"),
    (
        "s3veil_request_time_to_first_byte_seconds",
        Unit::Seconds,
        "Time from a request's head to its response's head",
    ),
    (
        "s3veil_upstream_request_duration_seconds",
        Unit::Seconds,
        "Time of a request to the storage until its response's head",
    ),
];

/// The counters without labels.
const UNLABELLED: &[&str] = &[
    "s3veil_connections_total",
    "s3veil_layout_reads_total",
    "s3veil_listing_extra_reads_total",
    "s3veil_log_lines_dropped_total",
    "s3veil_plaintext_reads_total",
    "s3veil_reload_failures_total",
    "s3veil_request_bytes_total",
    "s3veil_response_bytes_total",
    "s3veil_responses_cut_total",
    "s3veil_slow_clients_cut_total",
    "s3veil_slow_downs_total",
    "s3veil_trace_spans_dropped_total",
];

/// Describes every metric to the recorder that is installed.
pub fn describe() {
    for (name, unit, help) in COUNTERS {
        describe_counter!(*name, *unit, *help);
    }
    for (name, unit, help) in GAUGES {
        describe_gauge!(*name, *unit, *help);
    }
    for (name, unit, help) in HISTOGRAMS {
        describe_histogram!(*name, *unit, *help);
    }
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!("s3veil_build_info", "version" => version, "commit" => COMMIT).set(1.0);
}

/// Describes every metric, and sets the values of a proxy that exist from the start.
pub fn begin(config: &Config) {
    describe();
    for name in UNLABELLED {
        metrics::counter!(*name).increment(0);
    }
    for reason in login_refusal_reasons() {
        metrics::counter!("s3veil_logins_refused_total", "reason" => reason).increment(0);
    }
    for upstream in &config.upstreams {
        metrics::counter!("s3veil_upstream_retries_total", "upstream" => upstream.name.clone()).increment(0);
    }
    for kind in ["cut", "refused"] {
        metrics::counter!("s3veil_integrity_failures_total", "kind" => kind).increment(0);
    }
    for reason in unusable_reasons() {
        metrics::counter!("s3veil_connections_unusable_total", "reason" => reason).increment(0);
    }
    for side in ["client", "keys", "proxy", "storage"] {
        metrics::counter!("s3veil_errors_total", "code" => "other", "side" => side).increment(0);
    }
    for format in ["cbc", "s3ec-cbc", "s3ec-kms"] {
        metrics::counter!("s3veil_legacy_reads_total", "format" => format).increment(0);
    }
    for operation in ["generate", "unwrap"] {
        for outcome in ["hit", "miss"] {
            metrics::counter!("s3veil_keyring_cache_total", "operation" => operation, "outcome" => outcome)
                .increment(0);
        }
    }
    for holder in &config.keyring.holders {
        let name = || holder.name.clone();
        metrics::counter!("s3veil_keyring_left_out_total", "holder" => name()).increment(0);
        metrics::gauge!("s3veil_keyring_last_success_timestamp_seconds", "holder" => name()).set(0.0);
    }
    counted::register();
    metrics::gauge!("s3veil_connections_open").set(0.0);
    metrics::gauge!("s3veil_requests_in_flight").set(0.0);
    metrics::gauge!("s3veil_connections_limit").set(number(config.listen.max_connections));
    set_request_limit(config.requests.max_requests);
    set_plaintext_rules(plaintext_rules(config));
}

/// The number of rules whose objects are stored unencrypted.
pub fn plaintext_rules(config: &Config) -> usize {
    config.buckets.iter().filter(|rule| rule.formats.write == WriteFormat::Plaintext).count()
}

/// Sets the gauge of [`plaintext_rules`], which a reload may change.
pub fn set_plaintext_rules(rules: usize) {
    metrics::gauge!("s3veil_plaintext_rules").set(number(rules));
}

/// Sets the gauge of `listen.max_requests`, which a reload may change.
pub fn set_request_limit(limit: usize) {
    metrics::gauge!("s3veil_requests_limit").set(number(limit));
}

fn number(limit: usize) -> f64 {
    f64::from(u32::try_from(limit).expect("limits are at most a million"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The names of metrics in the source files below a folder.
    fn names_in(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names_in(&path, names);
            } else if path.extension().is_some_and(|end| end == "rs")
                && !path.ends_with("metric_descriptions.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let found = text.split("\"s3veil_").skip(1);
                let names_only = found.filter_map(|rest| rest.split('"').next());
                let is_name = |rest: &&str| {
                    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                };
                names.extend(names_only.filter(is_name).map(|rest| format!("s3veil_{rest}")));
            }
        }
    }

    #[test]
    fn every_metric_is_described_and_every_description_is_of_a_metric() {
        let mut counted = BTreeSet::new();
        names_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut counted);
        let own = [
            "s3veil_build_info",
            "s3veil_connections_limit",
            "s3veil_plaintext_rules",
            "s3veil_requests_limit",
        ];
        counted.extend(own.map(str::to_owned));
        let described = [COUNTERS, GAUGES, HISTOGRAMS].concat();
        let described: BTreeSet<_> = described.into_iter().map(|(name, ..)| name.to_owned()).collect();
        assert_eq!(counted, described);
    }

    #[test]
    fn names_have_the_units_of_prometheus() {
        for (name, ..) in COUNTERS {
            assert!(name.ends_with("_total"), "{name}");
        }
        for (name, unit, help) in [COUNTERS, GAUGES, HISTOGRAMS].concat() {
            assert_eq!(name.contains("_seconds"), unit == Unit::Seconds, "{name}");
            assert!(!help.ends_with('.') && help.len() < 100, "{help}");
        }
    }
}
