"""Writes deploy/prometheus/alerts.yml and deploy/grafana/s3veil.json: python3 deploy/monitoring.py

The names of metrics are here alone, in METRICS; a test compares them with the source, and both files with what
this program writes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

METRICS = {
    "requests": "s3veil_requests_total",
    "seconds": "s3veil_request_duration_seconds",
    "received": "s3veil_request_bytes_total",
    "sent": "s3veil_response_bytes_total",
    "errors": "s3veil_errors_total",
    "integrity_failures": "s3veil_integrity_failures_total",
    "responses_cut": "s3veil_responses_cut_total",
    "in_flight": "s3veil_requests_in_flight",
    "requests_limit": "s3veil_requests_limit",
    "connections_limit": "s3veil_connections_limit",
    "build": "s3veil_build_info",
    "slow_downs": "s3veil_slow_downs_total",
    "first_byte": "s3veil_request_time_to_first_byte_seconds",
    "storage_seconds": "s3veil_upstream_request_duration_seconds",
    "storage_connections": "s3veil_upstream_connections",
    "opened": "s3veil_objects_opened_total",
    "sealed": "s3veil_objects_sealed_total",
    "buffered": "s3veil_buffered_bytes",
    "buffered_limit": "s3veil_buffered_bytes_limit",
    "cached_keys": "s3veil_keyring_cached_keys",
    "oldest_key": "s3veil_keyring_oldest_key_age_seconds",
    "cache_reserve": "s3veil_keyring_cache_reserve_seconds",
    "keys_answered": "s3veil_keyring_last_success_timestamp_seconds",
    "client_requests": "s3veil_client_requests_total",
    "client_errors": "s3veil_client_errors_total",
    "client_received": "s3veil_client_request_bytes_total",
    "client_sent": "s3veil_client_response_bytes_total",
    "rule_requests": "s3veil_rule_requests_total",
    "rule_errors": "s3veil_rule_errors_total",
    "rule_received": "s3veil_rule_request_bytes_total",
    "rule_sent": "s3veil_rule_response_bytes_total",
    "slow_clients": "s3veil_slow_clients_cut_total",
    "logins_refused": "s3veil_logins_refused_total",
    "connections": "s3veil_connections_open",
    "connections_unusable": "s3veil_connections_unusable_total",
    "upstream_retries": "s3veil_upstream_retries_total",
    "keyring_calls": "s3veil_keyring_calls_total",
    "keyring_seconds": "s3veil_keyring_call_duration_seconds",
    "keyring_cache": "s3veil_keyring_cache_total",
    "keyring_logins": "s3veil_keyring_logins_total",
    "holder_up": "s3veil_keyring_holder_up",
    "left_out": "s3veil_keyring_left_out_total",
    "plaintext_reads": "s3veil_plaintext_reads_total",
    "legacy_reads": "s3veil_legacy_reads_total",
    "certificate_end": "s3veil_certificate_expiry_timestamp_seconds",
    "config_loaded": "s3veil_config_loaded_timestamp_seconds",
    "reload_failures": "s3veil_reload_failures_total",
    "log_lines_dropped": "s3veil_log_lines_dropped_total",
    "anonymous": "s3veil_anonymous_client",
    "audit_up": "s3veil_audit_up",
    "audit_lost": "s3veil_audit_lines_lost_total",
}

# Prometheus's own, for the scrape job of the nodes.
JOB = "s3veil"
DIRECTORY = Path(__file__).parent


def fill(expression):
    """`{requests}` becomes the metric's name; `[[` and `]]` the braces of a selector."""
    return expression.format(**METRICS).replace("[[", "{").replace("]]", "}")


def grew(metric, window, by):
    """How much a counter with labels grew. It appears with its first event, which `increase` does not see."""
    return f"sum by ({by}) ((increase({metric}[{window}]) > 0) or ({metric} unless {metric} offset {window}))"


@dataclass
class Alert:
    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    description: str
    runbook: str


ALERTS = [
    Alert("S3veilDown", f'up[[job="{JOB}"]] == 0', "2m", "critical",
          "s3veil at {{ $labels.instance }} can't be scraped",
          "The node's admin address gives no metrics.", "a-node-is-down"),
    Alert("S3veilNoNode", f'absent(up[[job="{JOB}"]] == 1)', "1m", "critical",
          "No node of s3veil is up",
          f'No target of the scrape job "{JOB}" responds: clients reach no object.', "a-node-is-down"),
    Alert("S3veilErrors",
          'sum(rate({requests}[[status=~"5..",status!="503"]][5m])) / sum(rate({requests}[5m])) > 0.01', "5m", "critical",
          "{{ $value | humanizePercentage }} of the requests end with 5xx",
          "Without 503, which clients repeat. The log lines of these requests have the cause.", "requests-fail"),
    Alert("S3veilResponsesCut", "sum(rate({responses_cut}[5m])) / sum(rate({requests}[5m])) > 0.01", "5m", "warning",
          "{{ $value | humanizePercentage }} of the responses break off",
          "The storage's response ended early, or a stored object failed authentication behind bytes that were sent.", "requests-fail"),
    Alert("S3veilUnavailable",
          'sum(rate({requests}[[status="503"]][5m])) / sum(rate({requests}[5m])) > 0.05', "10m", "warning",
          "{{ $value | humanizePercentage }} of the requests end with 503",
          "The storage or the key service is away, or the nodes are at a limit.", "requests-fail"),
    Alert("S3veilIntegrityFailure", "sum by (instance) (increase({integrity_failures}[10m])) > 0", "0m", "critical",
          "Stored objects fail authentication at {{ $labels.instance }}",
          "What the storage returned was altered, truncated, moved, or sealed under another key; nothing of it was released.",
          "integrity-failure"),
    Alert("S3veilNearLimit",
          "max by (instance) ({in_flight} / {requests_limit}) > 0.9 or max by (instance) ({connections} / {connections_limit}) > 0.9",
          "10m", "warning",
          "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its requests or connections",
          "Beyond listen.max_requests and listen.max_connections clients receive SlowDown.", "a-limit-is-reached"),
    Alert("S3veilSlowDown", "sum by (instance) (rate({slow_downs}[5m])) > 1", "10m", "warning",
          "{{ $labels.instance }} refuses requests with SlowDown",
          "A limit is reached: listen.max_requests, listen.max_connections or listen.max_buffered.", "a-limit-is-reached"),
    Alert("S3veilLatency",
          'histogram_quantile(0.99, sum by (le) (rate({seconds}_bucket[[operation=~"HeadObject|ListObjectsV2|ListObjects"]][5m]))) > 5',
          "15m", "warning",
          "1 % of HEADs and listings take longer than {{ $value | humanizeDuration }}",
          "The storage is slow, or the nodes lack CPU.", "requests-are-slow"),
    Alert("S3veilStorageSlow",
          'histogram_quantile(0.95, sum by (le, upstream) (rate({storage_seconds}_bucket[[operation=~"GetObject|HeadObject|PutObject"]][10m]))) > 2',
          "15m", "warning",
          "Requests to the storage {{ $labels.upstream }} take {{ $value | humanizeDuration }}",
          "5 % of the objects' requests take longer until the head of the response.", "requests-are-slow"),
    Alert("S3veilStorageFails",
          'sum by (upstream) (rate({storage_seconds}_count[[outcome=~"5xx|timeout|unreachable|broken"]][5m]))'
          " / sum by (upstream) (rate({storage_seconds}_count[5m])) > 0.05",
          "10m", "critical",
          "{{ $value | humanizePercentage }} of the requests to the storage {{ $labels.upstream }} fail",
          "It responds 5xx, not in time, or not at all.", "storage-away"),
    Alert("S3veilStorageRetries", "sum(rate({upstream_retries}[5m])) > 1", "10m", "warning",
          "Requests to the storage are repeated, {{ $value | humanize }} a second",
          "Connections to the storage fail, or it responds 5xx.", "storage-away"),
    Alert("S3veilKeyHolderDown", "min by (instance, holder) ({holder_up}) == 0", "2m", "critical",
          "The key holder {{ $labels.holder }} does not respond to {{ $labels.instance }}",
          "Cached data keys serve until keyring.cache.max_age.", "key-service-away"),
    Alert("S3veilKeysSlow",
          "histogram_quantile(0.95, sum by (le, holder) (rate({keyring_seconds}_bucket[10m]))) > 2", "15m", "warning",
          "Calls of the key holder {{ $labels.holder }} take {{ $value | humanizeDuration }}",
          "Requests whose data key is not cached wait for it.", "requests-are-slow"),
    Alert("S3veilKeyRefused",
          grew('{keyring_calls}[[outcome!~"ok|throttled|unavailable|interrupted|invalid_ciphertext"]]', "10m", "holder, outcome") + " > 0",
          "5m", "critical",
          "The key holder {{ $labels.holder }} refuses: {{ $labels.outcome }}",
          "A key is disabled or gone, or the proxy lacks a right or credentials.", "key-refused"),
    Alert("S3veilWrappingLeftOut", grew("{left_out}", "1h", "holder") + " > 0", "0m", "warning",
          "New objects lack the wrapping of {{ $labels.holder }}",
          "They do not open by that holder until they are wrapped again.", "key-service-away"),
    Alert("S3veilWrongClock", 'sum(rate({logins_refused}[[reason="skew"]][5m])) > 0.1', "10m", "warning",
          "Requests are refused because of their time",
          "The clock of a client, or of this machine, is wrong.", "wrong-clock"),
    Alert("S3veilLoginsRefused",
          'sum(rate({logins_refused}[[reason=~"unknown_key|bad_signature"]][10m])) > 1', "15m", "warning",
          "Requests with wrong credentials, {{ $value | humanize }} a second",
          "A client has an old secret, or credentials are being guessed. The log has claimed_client and peer.", "logins-are-refused"),
    Alert("S3veilCertificateExpires", "min by (instance, certificate) ({certificate_end}) - time() < 14 * 86400", "1h", "warning",
          "{{ $labels.certificate }} of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}",
          "The renewal did not happen, or its files did not arrive.", "certificate-expiry"),
    Alert("S3veilCertificateExpired", "min by (instance, certificate) ({certificate_end}) - time() < 3 * 86400", "10m", "critical",
          "{{ $labels.certificate }} of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}",
          "Clients will refuse to connect.", "certificate-expiry"),
    Alert("S3veilReloadFailed",
          "increase({reload_failures}[30m]) > 0", "15m", "warning",
          "{{ $labels.instance }} does not load its changed configuration",
          "The earlier one stays in effect. The log and the status page say what is invalid.", "a-reload-is-refused"),
    Alert("S3veilLogLinesDropped", "sum by (instance) (increase({log_lines_dropped}[10m])) > 0", "5m", "warning",
          "{{ $labels.instance }} can't write its log",
          "Requests are served, and their lines are missing. Mostly the disk is full.", "disk-full"),
    Alert("S3veilAuditDown", "min by (instance) ({audit_up}) == 0", "1m", "critical",
          "{{ $labels.instance }} can't write its audit log",
          "Requests that use keys are refused there, or served without a line if on_failure is \"serve\".", "disk-full"),
    Alert("S3veilAuditLinesLost", "sum by (instance) (increase({audit_lost}[1h])) > 0", "0m", "critical",
          "{{ $labels.instance }} has lost lines of its audit log",
          "The chain has a line with their number. They are in the ordinary log.", "disk-full"),
    Alert("S3veilPlaintextRead", "sum(increase({plaintext_reads}[1h])) > 0", "0m", "info",
          "Objects that are stored unencrypted are read",
          "A rule has \"plaintext\" in formats.read: nothing authenticates these objects.", "unprotected-formats"),
    Alert("S3veilAnonymousClient", "max({anonymous}) == 1", "1h", "info",
          "Requests without a signature are served",
          "A [[client]] has anonymous = true.", "logins-are-refused"),
]  # fmt: skip


def alerts():
    """The rules file of Prometheus. A string of JSON is one of YAML."""
    lines = [
        "# Alerts of s3veil. Written by deploy/monitoring.py: change that. The scrape job is called s3veil:",
        "#   scrape_configs: [{ job_name: s3veil, static_configs: [{ targets: ['10.0.0.11:9333', '10.0.0.12:9333'] }] }]",
        "groups:",
        "  - name: s3veil",
        "    rules:",
    ]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: '{fill(alert.expression)}'",
            f"        for: {alert.lasts}",
            f"        labels: {{severity: {alert.severity}}}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          description: {json.dumps(alert.description)}",
            f"          runbook_url: docs/RUNBOOKS.md#{alert.runbook}",
        ]
    return "\n".join(lines) + "\n"


# Rows of the dashboard: a title, and panels of (title, unit, [(query, legend)], kind).
S = '[[job="$job",instance=~"$instance"]]'
I = '[$__rate_interval]'  # noqa: E741
ROWS = [
    ("Now", [
        ("Nodes up", "none", [(f'sum(up[[job="$job"]])', "")], "stat"),
        ("Requests a second", "reqps", [(f"sum(rate({{requests}}{S}{I}))", "")], "stat"),
        ("Errors (5xx)", "percentunit",
         [('sum(rate({requests}[[job="$job",instance=~"$instance",status=~"5.."]]' + I + f")) / sum(rate({{requests}}{S}{I}))", "")], "stat"),
        ("In flight", "none", [(f"sum({{in_flight}}{S})", "")], "stat"),
        ("Integrity failures, 24 h", "none",
         [(f"sum(increase({{integrity_failures}}{S}[24h]))", "")], "stat"),
        ("First certificate to end", "s", [(f"min({{certificate_end}}{S}) - time()", "")], "stat"),
    ]),
    ("Requests", [
        ("By operation", "reqps", [(f"sum by (operation) (rate({{requests}}{S}{I}))", "[[operation]]")], "timeseries"),
        ("By status", "reqps", [(f"sum by (status) (rate({{requests}}{S}{I}))", "[[status]]")], "timeseries"),
        ("Errors by side and code", "reqps", [(f"sum by (side, code) (rate({{errors}}{S}{I}))", "[[side]]: [[code]]")], "timeseries"),
        ("Responses cut", "reqps", [(f"sum by (instance) (rate({{responses_cut}}{S}{I}))", "[[instance]]")], "timeseries"),
        ("Duration", "s",
         [(f"histogram_quantile({q}, sum by (le) (rate({{seconds}}_bucket{S}{I})))", f"p{int(q * 100)}") for q in (0.5, 0.95, 0.99)], "timeseries"),
        ("Duration, 99 % by operation", "s",
         [(f"histogram_quantile(0.99, sum by (le, operation) (rate({{seconds}}_bucket{S}{I})))", "[[operation]]")], "timeseries"),
        ("Time to first byte", "s",
         [(f"histogram_quantile({q}, sum by (le) (rate({{first_byte}}_bucket{S}{I})))", f"p{int(q * 100)}") for q in (0.5, 0.95, 0.99)], "timeseries"),
        ("Bytes", "Bps",
         [(f"sum(rate({{received}}{S}{I}))", "in"), (f"sum(rate({{sent}}{S}{I}))", "out")], "timeseries"),
        ("Refused logins", "reqps", [(f"sum by (reason) (rate({{logins_refused}}{S}{I}))", "[[reason]]")], "timeseries"),
    ]),
    ("Storage", [
        ("Duration of requests to the storage", "s",
         [(f"histogram_quantile({q}, sum by (le, upstream) (rate({{storage_seconds}}_bucket{S}{I})))", f"[[upstream]] p{int(q * 100)}") for q in (0.5, 0.95, 0.99)], "timeseries"),
        ("Requests to the storage, 95 % by operation", "s",
         [(f"histogram_quantile(0.95, sum by (le, operation) (rate({{storage_seconds}}_bucket{S}{I})))", "[[operation]]")], "timeseries"),
        ("Requests to the storage, by outcome", "reqps",
         [(f"sum by (upstream, outcome) (rate({{storage_seconds}}_count{S}{I}))", "[[upstream]] [[outcome]]")], "timeseries"),
        ("Connections to the storage", "none", [(f"sum by (upstream, state) ({{storage_connections}}{S})", "[[upstream]] [[state]]")], "timeseries"),
    ]),
    ("Clients and rules, where [metrics] counts them", [
        ("Requests by client", "reqps", [(f"topk(20, sum by (client) (rate({{client_requests}}{S}{I})))", "[[client]]")], "timeseries"),
        ("Errors by client", "reqps", [(f"topk(20, sum by (client) (rate({{client_errors}}{S}{I})))", "[[client]]")], "timeseries"),
        ("Bytes by client", "Bps",
         [(f"topk(20, sum by (client) (rate({{client_received}}{S}{I})))", "[[client]] in"),
          (f"topk(20, sum by (client) (rate({{client_sent}}{S}{I})))", "[[client]] out")], "timeseries"),
        ("Requests by rule", "reqps", [(f"topk(20, sum by (rule) (rate({{rule_requests}}{S}{I})))", "[[rule]]")], "timeseries"),
        ("Errors by rule", "reqps", [(f"topk(20, sum by (rule) (rate({{rule_errors}}{S}{I})))", "[[rule]]")], "timeseries"),
        ("Bytes by rule", "Bps",
         [(f"topk(20, sum by (rule) (rate({{rule_received}}{S}{I})))", "[[rule]] in"),
          (f"topk(20, sum by (rule) (rate({{rule_sent}}{S}{I})))", "[[rule]] out")], "timeseries"),
    ]),
    ("Keys", [
        ("Key holders", "none", [(f"min by (holder) ({{holder_up}}{S})", "[[holder]]")], "timeseries"),
        ("Calls", "cps", [(f"sum by (holder, operation, outcome) (rate({{keyring_calls}}{S}{I}))", "[[holder]] [[operation]] [[outcome]]")], "timeseries"),
        ("Duration of calls, 95 %", "s",
         [(f"histogram_quantile(0.95, sum by (le, holder, operation) (rate({{keyring_seconds}}_bucket{S}{I})))", "[[holder]] [[operation]]")], "timeseries"),
        ("Cache of data keys", "cps", [(f"sum by (operation, outcome) (rate({{keyring_cache}}{S}{I}))", "[[operation]] [[outcome]]")], "timeseries"),
        ("Data keys in memory", "none", [(f"sum by (operation) ({{cached_keys}}{S})", "[[operation]]")], "timeseries"),
        ("Oldest data key; how long the newest serves without its holder", "s",
         [(f"max by (operation) ({{oldest_key}}{S})", "[[operation]]: age"), (f"min by (operation) ({{cache_reserve}}{S})", "[[operation]]: reserve")], "timeseries"),
        ("Since the holder last answered", "s", [(f"time() - max by (holder) ({{keys_answered}}{S} > 0)", "[[holder]]")], "timeseries"),
        ("Wrappings left out; logins", "cps",
         [(f"sum by (holder) (rate({{left_out}}{S}{I}))", "left out: [[holder]]"),
          (f"sum by (outcome) (rate({{keyring_logins}}{S}{I}))", "login: [[outcome]]")], "timeseries"),
    ]),
    ("Protection", [
        ("Integrity failures", "cps", [(f"sum by (instance, kind) (rate({{integrity_failures}}{S}{I}))", "[[instance]] [[kind]]")], "timeseries"),
        ("Objects opened, by format", "cps", [(f"sum by (format) (rate({{opened}}{S}{I}))", "[[format]]")], "timeseries"),
        ("Objects sealed, by format", "cps", [(f"sum by (format) (rate({{sealed}}{S}{I}))", "[[format]]")], "timeseries"),
        ("Reads of unprotected formats", "cps",
         [(f"sum(rate({{plaintext_reads}}{S}{I}))", "plaintext"), (f"sum by (format) (rate({{legacy_reads}}{S}{I}))", "[[format]]")], "timeseries"),
    ]),
    ("Nodes", [
        ("In flight, of the limit", "percentunit", [(f"{{in_flight}}{S} / {{requests_limit}}{S}", "[[instance]]")], "timeseries"),
        ("Connections, of the limit", "percentunit", [(f"{{connections}}{S} / {{connections_limit}}{S}", "[[instance]]")], "timeseries"),
        ("Buffered, of the limit", "percentunit", [(f"{{buffered}}{S} / {{buffered_limit}}{S}", "[[instance]]")], "timeseries"),
        ("Version", "none", [(f"{{build}}{S}", "[[instance]] [[version]] [[commit]]")], "timeseries"),
        ("Memory", "bytes", [(f"process_resident_memory_bytes{S}", "[[instance]]")], "timeseries"),
        ("CPU", "none", [(f"rate(process_cpu_seconds_total{S}{I})", "[[instance]]")], "timeseries"),
        ("SlowDown, slow clients", "cps",
         [(f"sum(rate({{slow_downs}}{S}{I}))", "SlowDown"), (f"sum(rate({{slow_clients}}{S}{I}))", "client cut off")], "timeseries"),
        ("Repeated requests to the storage", "cps", [(f"sum by (instance) (rate({{upstream_retries}}{S}{I}))", "[[instance]]")], "timeseries"),
        ("Unusable connections", "cps", [(f"sum by (reason) (rate({{connections_unusable}}{S}{I}))", "[[reason]]")], "timeseries"),
        ("Reloads refused; log lines dropped", "none",
         [(f"sum by (instance) (increase({{reload_failures}}{S}{I}))", "reload [[instance]]"),
          (f"sum by (instance) (increase({{log_lines_dropped}}{S}{I}))", "log [[instance]]")], "timeseries"),
        ("Configuration's age", "s", [(f"time() - {{config_loaded}}{S}", "[[instance]]")], "timeseries"),
        ("Certificates' time left", "s", [(f"{{certificate_end}}{S} - time()", "[[instance]] [[certificate]]")], "timeseries"),
    ]),
]  # fmt: skip

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number, title, unit, queries, kind, place):
    """One panel of Grafana."""
    targets = [
        {"datasource": SOURCE, "expr": fill(query), "legendFormat": legend.replace("[[", "{{").replace("]]", "}}"), "refId": chr(ord("A") + index)}
        for index, (query, legend) in enumerate(queries)
    ]
    made = {"id": number, "type": kind, "title": title, "datasource": SOURCE, "gridPos": place, "targets": targets,
            "fieldConfig": {"defaults": {"unit": unit, "min": 0 if kind == "timeseries" else None}, "overrides": []}}  # fmt: skip
    if kind == "timeseries":
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    else:
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return made


def dashboard():
    """The dashboard as Grafana imports it."""
    panels, top, number = [], 0, 1
    for row, content in ROWS:
        panels.append({"id": number, "type": "row", "title": row, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}})
        number, top = number + 1, top + 1
        stat = content[0][3] == "stat"
        width, height = (4, 4) if stat else (12, 8)
        for index, (title, unit, queries, kind) in enumerate(content):
            x, y = index * width % 24, index * width // 24 * height
            panels.append(panel(number, title, unit, queries, kind, {"x": x, "y": top + y, "w": width, "h": height}))
            number += 1
        top += -(-len(content) * width // 24) * height
    variables = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {"name": "job", "type": "query", "datasource": SOURCE, "query": fill("label_values({requests}, job)"), "refresh": 2},
        {"name": "instance", "label": "node", "type": "query", "datasource": SOURCE, "query": fill('label_values({requests}[[job="$job"]], instance)'),
         "refresh": 2, "multi": True, "includeAll": True, "current": {"text": "All", "value": "$__all"}},
    ]  # fmt: skip
    return {"uid": "s3veil", "title": "s3veil", "tags": ["s3veil"], "schemaVersion": 39, "version": 1, "editable": True,
            "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "templating": {"list": variables}, "panels": panels}  # fmt: skip


def files():
    """Each file that is written here, and its content."""
    return {
        DIRECTORY / "prometheus/alerts.yml": alerts(),
        DIRECTORY / "grafana/s3veil.json": json.dumps(dashboard(), indent=1) + "\n",
    }


if __name__ == "__main__":
    for file, content in files().items():
        file.write_text(content)
