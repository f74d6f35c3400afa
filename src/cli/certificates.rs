//! The certificates of a configuration, for operators: status, readiness, metrics.
//! It must not know handshakes.
//! It promises a name for each certificate, which begins with its configuration key.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::admin::Certificate;
use crate::config::Config;
use crate::metric::timestamp_seconds;
use crate::server::{Tls, Validity, read_certificates};

/// The certificates that this process serves with, and those of its clients' authorities, by names such as
/// `listen.tls.certificate`, `listen.tls.host.certificate s3.example.com`, `listen.tls.client_ca CN=Clients`
/// and `admin.tls.certificate`.
pub fn certificates(config: &Config) -> Vec<(String, Validity)> {
    let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    let listeners = [("listen.tls", config.listen.tls.as_ref()), ("admin.tls", admin)];
    let named = listeners.into_iter().flat_map(|(table, tls)| {
        let validities = tls.map(Tls::validities).unwrap_or_default();
        validities.iter().map(move |(name, validity)| (format!("{table}.{name}"), *validity))
    });
    named.collect()
}

/// Those certificates, and the ones of `upstream.ca_file`, with their subjects and names.
pub fn described(config: &Config) -> Vec<Certificate> {
    let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    let listeners = [("listen.tls", config.listen.tls.as_ref()), ("admin.tls", admin)];
    let mut described = Vec::new();
    for (table, tls) in listeners {
        let Some(tls) = tls else { continue };
        for ((name, validity), names) in tls.validities().iter().zip(tls.names()) {
            described.push(describe(format!("{table}.{name}"), names, *validity));
        }
    }
    for upstream in &config.upstreams {
        let pem = upstream.extra_root_ca.as_ref().and_then(|file| std::fs::read(file).ok());
        for (names, validity) in pem.iter().flat_map(|pem| read_certificates(pem)) {
            let setting = match config.upstreams.len() {
                1 => "upstream.ca_file".to_owned(),
                _ => format!("upstream.ca_file of {}", upstream.name),
            };
            described.push(describe(setting, &names, validity));
        }
    }
    described
}

fn describe(setting: String, names: &[String], validity: Validity) -> Certificate {
    let subject = names.first().cloned().unwrap_or_default();
    Certificate { setting, subject, names: names.iter().skip(1).cloned().collect(), validity }
}

/// The certificates that are not valid, or end soon: `listen.tls.certificate expired on 2026-01-31, 3 days
/// ago`.
pub fn problems(certificates: &[(String, Validity)], now: SystemTime) -> Vec<String> {
    let problem = |(name, validity): &(String, Validity)| Some(format!("{name} {}", validity.problem(now)?));
    certificates.iter().filter_map(problem).collect()
}

/// Sets the metric of each certificate's end, in place of those that were set before. Of several
/// certificates with one name, the first end counts.
pub fn set_expiry_metrics(certificates: &[(String, Validity)]) {
    static SET: Mutex<BTreeMap<String, f64>> = Mutex::new(BTreeMap::new());
    let mut set = SET.lock().unwrap_or_else(PoisonError::into_inner);
    // A certificate that is gone keeps its line, which compares with nothing.
    set.values_mut().for_each(|end| *end = f64::NAN);
    for (name, validity) in certificates {
        let end = timestamp_seconds(validity.not_after);
        let known = set.entry(name.clone()).or_insert(f64::NAN);
        *known = known.min(end);
    }
    for (name, end) in &*set {
        metrics::gauge!("s3veil_certificate_expiry_timestamp_seconds", "certificate" => name.clone())
            .set(*end);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn valid_until(seconds: u64) -> Validity {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Validity { not_before: at(0), not_after: at(seconds) }
    }

    #[test]
    fn the_metrics_follow_the_certificates() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let named = |name: &str, end| (name.to_owned(), valid_until(end));
        set_expiry_metrics(&[named("one", 7), named("two", 9), named("two", 8)]);
        let line = |name: &str, end: &str| {
            format!("s3veil_certificate_expiry_timestamp_seconds{{certificate=\"{name}\"}} {end}\n")
        };
        let shown = recorder.handle().render();
        assert!(shown.contains(&line("one", "7")) && shown.contains(&line("two", "8")), "{shown}");
        set_expiry_metrics(&[named("two", 90)]);
        let shown = recorder.handle().render();
        assert!(shown.contains(&line("one", "NaN")) && shown.contains(&line("two", "90")), "{shown}");
    }

    #[test]
    fn problems_name_the_certificate() {
        let certificates =
            [("good".to_owned(), valid_until(10_000_000)), ("bad".to_owned(), valid_until(100))];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000);
        assert_eq!(problems(&certificates, now), ["bad expired on 1970-01-01, 1 hour ago"]);
    }
}
