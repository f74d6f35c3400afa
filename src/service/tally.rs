//! The metrics of single clients and of single bucket rules, where the configuration asks for them.
//! It must not know how a client proves its access key.
//! It promises no label but the names of the configuration and `other`, and a request path without a search
//! for handles.

use std::sync::Arc;
use std::time::SystemTime;

use metrics::{Counter, Gauge};

use crate::access::Clients;
use crate::metric::timestamp_seconds;
use crate::object::rule::Policies;
use crate::s3::S3Path;

/// The label of requests that are of no client or rule of the configuration: those that are refused before
/// their client is known, and those for several rules.
const OTHER: &str = "other";

/// Which metrics there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TallySettings {
    /// Metrics of each client.
    pub by_client: bool,
    /// Metrics of each bucket rule.
    pub by_rule: bool,
}

/// The metrics of all clients and rules.
#[derive(Debug, Default)]
pub struct Tallies {
    clients: Option<Labelled>,
    rules: Option<Labelled>,
}

/// The metrics of several names of one kind, by number.
#[derive(Debug)]
struct Labelled {
    named: Vec<Option<Arc<Tally>>>,
    other: Arc<Tally>,
}

/// The metrics of one client or rule.
struct Tally {
    requests: Counter,
    errors: Counter,
    received: Counter,
    sent: Counter,
    latest: Gauge,
}

/// The metrics that one request counts in.
#[derive(Debug, Default)]
pub(super) struct RequestTallies {
    client: Option<Arc<Tally>>,
    rule: Option<Arc<Tally>>,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tally(..)")
    }
}

impl Tallies {
    /// The metrics of these clients and of the rules of `policies`, each from 0 on, or from where it was.
    pub fn new(settings: TallySettings, clients: &Clients, policies: &Policies) -> Self {
        let of_clients = || Labelled::new(client_tally, clients.names());
        let of_rules =
            || Labelled::new(rule_tally, policies.names().enumerate().map(|(at, name)| (name, at)));
        Self { clients: settings.by_client.then(of_clients), rules: settings.by_rule.then(of_rules) }
    }

    /// The metrics of a request whose client and target are not known yet.
    pub(super) fn unknown(&self) -> RequestTallies {
        let other =
            |labelled: &Option<Labelled>| labelled.as_ref().map(|labelled| Arc::clone(&labelled.other));
        RequestTallies { client: other(&self.clients), rule: other(&self.rules) }
    }

    /// Names the client of a request, by the number that `client` returns, and the rule of its target.
    pub(super) fn name(
        &self,
        request: &mut RequestTallies,
        client: impl FnOnce() -> Option<usize>,
        policies: &Policies,
        path: &S3Path,
    ) {
        if let Some(clients) = &self.clients {
            request.client = Some(clients.at(client()));
        }
        if let Some(rules) = &self.rules {
            request.rule = Some(rules.at(policies.place(path)));
        }
    }
}

impl Labelled {
    fn new(tally: fn(&str) -> Tally, names: impl IntoIterator<Item = (impl AsRef<str>, usize)>) -> Self {
        let mut named = Vec::new();
        for (name, number) in names {
            if named.len() <= number {
                named.resize(number + 1, None);
            }
            named[number] = Some(Arc::new(tally(name.as_ref())));
        }
        Self { named, other: Arc::new(tally(OTHER)) }
    }

    fn at(&self, number: Option<usize>) -> Arc<Tally> {
        let found = number.and_then(|number| self.named.get(number)?.as_ref());
        Arc::clone(found.unwrap_or(&self.other))
    }
}

impl RequestTallies {
    /// Counts a request that has ended at this time.
    pub(super) fn count(&self, is_error: bool, (received, sent): (u64, u64), at: SystemTime) {
        for tally in self.client.iter().chain(&self.rule) {
            tally.requests.increment(1);
            tally.errors.increment(u64::from(is_error));
            tally.received.increment(received);
            tally.sent.increment(sent);
            tally.latest.set(timestamp_seconds(at));
        }
    }
}

fn client_tally(name: &str) -> Tally {
    let label = || name.to_owned();
    Tally {
        requests: metrics::counter!("s3veil_client_requests_total", "client" => label()),
        errors: metrics::counter!("s3veil_client_errors_total", "client" => label()),
        received: metrics::counter!("s3veil_client_request_bytes_total", "client" => label()),
        sent: metrics::counter!("s3veil_client_response_bytes_total", "client" => label()),
        latest: metrics::gauge!("s3veil_client_last_request_timestamp_seconds", "client" => label()),
    }
}

fn rule_tally(name: &str) -> Tally {
    let label = || name.to_owned();
    Tally {
        requests: metrics::counter!("s3veil_rule_requests_total", "rule" => label()),
        errors: metrics::counter!("s3veil_rule_errors_total", "rule" => label()),
        received: metrics::counter!("s3veil_rule_request_bytes_total", "rule" => label()),
        sent: metrics::counter!("s3veil_rule_response_bytes_total", "rule" => label()),
        latest: metrics::gauge!("s3veil_rule_last_request_timestamp_seconds", "rule" => label()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Client, Grants};
    use crate::keyring::KeyRule;
    use crate::object::rule::formats::Formats;
    use crate::object::rule::{Binding, BucketRule, CustomerKeyRule};
    use crate::s3::{BucketPattern, EtagStyle};

    fn path(text: &str) -> S3Path {
        S3Path::in_namespace(None, text).unwrap()
    }

    fn rule(name: &str, prefix: &str) -> BucketRule {
        BucketRule {
            name: BucketPattern::parse(name).unwrap(),
            prefix: prefix.to_owned(),
            realm: None,
            keys: KeyRule::default(),
            customer_keys: CustomerKeyRule::default(),
            formats: Formats::default(),
            binding: Binding::RealmAndKey,
            etag: EtagStyle::Opaque,
        }
    }

    fn client(id: &str) -> (String, Client) {
        (id.to_owned(), Client { secret: None, grants: Grants::new([]), certificate_subject: None })
    }

    #[test]
    fn configured_names_are_counted_and_the_rest_is_other() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let clients = Clients::new(["one", "two"].map(client));
        let policies = Policies::new(vec![rule("logs-*", "old/"), rule("logs-*", "")]);
        let settings = TallySettings { by_client: true, by_rule: true };
        let tallies = Tallies::new(settings, &clients, &policies);
        let number = clients.names().find(|(id, _)| *id == "two").unwrap().1;
        for (target, bytes) in [("/logs-eu/old/k", 3), ("/logs-eu/k", 4), ("/logs-eu", 0), ("/", 0)] {
            let mut request = tallies.unknown();
            tallies.name(&mut request, || Some(number), &policies, &path(target));
            request.count(bytes == 4, (bytes, 9), SystemTime::UNIX_EPOCH);
        }
        tallies.unknown().count(true, (0, 1), SystemTime::UNIX_EPOCH);
        let shown = recorder.handle().render();
        for line in [
            "s3veil_client_requests_total{client=\"one\"} 0\n",
            "s3veil_client_requests_total{client=\"two\"} 4\n",
            "s3veil_client_requests_total{client=\"other\"} 1\n",
            "s3veil_client_errors_total{client=\"two\"} 1\n",
            "s3veil_client_response_bytes_total{client=\"two\"} 36\n",
            "s3veil_rule_request_bytes_total{rule=\"logs-*/old/*\"} 3\n",
            "s3veil_rule_request_bytes_total{rule=\"logs-*/*\"} 4\n",
            "s3veil_rule_requests_total{rule=\"other\"} 3\n",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }

    #[test]
    fn nothing_is_counted_unless_it_is_asked_for() {
        let tallies = Tallies::new(TallySettings::default(), &Clients::default(), &Policies::new(Vec::new()));
        let mut request = tallies.unknown();
        tallies.name(&mut request, || Some(0), &Policies::new(Vec::new()), &path("/b/k"));
        assert!(request.client.is_none() && request.rule.is_none());
    }
}
