"""Alerts and dashboard: their metrics are those of the source, Prometheus takes them, each alert fires when it should and
leads to a runbook.
"""

import importlib.util
import json
import re

import pytest
import yaml
from support import ROOT, program, requires, run

spec = importlib.util.spec_from_file_location("monitoring", ROOT / "deploy/monitoring.py")
monitoring = importlib.util.module_from_spec(spec)
spec.loader.exec_module(monitoring)
M = monitoring.METRICS

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/s3veil.json"


def headings(document):
    """The anchors of a document's headings, as GitHub makes them."""
    lines = [line for line in (ROOT / document).read_text().splitlines() if re.match("#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-") for line in lines}


def names(text):
    found = re.findall(r"\bs3veil_[a-z_]+[a-z]\b", text)
    return {re.sub("_(bucket|sum|count)$", "", name) for name in found}


def test_both_files_are_what_the_program_writes():
    for file, content in monitoring.files().items():
        assert file.read_text() == content, f"run python3 deploy/monitoring.py: {file.name}"


def test_each_metric_is_one_of_the_source():
    source = "".join(file.read_text() for file in sorted((ROOT / "src").rglob("*.rs")) if "tests" not in file.parts and file.name != "tests.rs")
    registered = set(re.findall(r'"(s3veil_[a-z_]+)"', source))
    assert len(registered) > 15
    used = names(ALERTS.read_text()) | names(DASHBOARD.read_text())
    assert used - registered == set()
    assert set(M.values()) - used == set(), "in METRICS for nothing"


def test_documents_name_metrics_of_the_source():
    source = "".join(file.read_text() for file in sorted((ROOT / "src").rglob("*.rs")))
    named = names((ROOT / "docs/RUNBOOKS.md").read_text())
    assert named and all(f'"{name}"' in source for name in named), named


def test_each_alert_leads_to_a_runbook():
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    assert len(rules) > 15
    anchors, text = headings("docs/RUNBOOKS.md"), (ROOT / "docs/RUNBOOKS.md").read_text()
    for rule in rules:
        document, anchor = rule["annotations"]["runbook_url"].split("#")
        assert document == "docs/RUNBOOKS.md" and anchor in anchors, rule["alert"]
        section = next(part for part in text.split("\n## ") if re.sub(r"\s+", "-", part.split("\n")[0].lower()) == anchor)
        assert rule["alert"] in section, f"the runbook {anchor} does not name {rule['alert']}"


def test_the_dashboard_is_whole():
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


@requires("promtool", package="prometheus")
def test_prometheus_takes_each_query(tmp_path):
    run(program("promtool"), "check", "rules", ALERTS)
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 25
    replaced = [query.replace("$__rate_interval", "5m").replace("$job", "s3veil").replace("$instance", ".*") for query in queries]
    assert not [query for query in replaced if "$" in query]
    rules = [{"record": f"panel:{index}", "expr": query} for index, query in enumerate(replaced)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    run(program("promtool"), "check", "rules", file)


def series(metric, values, **labels):
    labels = {"job": "s3veil", "instance": "a:9333"} | labels
    base = metric.removesuffix("_bucket").removesuffix("_count")
    name = M.get(base, base) + metric.removeprefix(base)
    return {"series": f"{name}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}", "values": values}


GOOD = series("requests", "0+100x120", operation="GetObject", status="200")
DAY = 24 * 60
# Each alert: series in which it fires after an hour, and series in which it does not.
CASES = {
    "S3veilDown": ([series("up", "0x120")], [series("up", "1x120")]),
    "S3veilNoNode": ([series("up", "0x120")], [series("up", "0x120"), series("up", "1x120", instance="b:9333")]),
    "S3veilErrors": (
        [GOOD, series("requests", "0+2x120", operation="PutObject", status="500")],
        [GOOD, series("requests", "0+20x120", operation="PutObject", status="503")],
    ),
    "S3veilUnavailable": ([GOOD, series("requests", "0+20x120", status="503")], [GOOD, series("requests", "0+2x120", status="503")]),
    "S3veilResponsesCut": ([GOOD, series("responses_cut", "0+3x120")], [GOOD, series("responses_cut", "0+0x120")]),
    "S3veilIntegrityFailure": ([series("integrity_failures", "0x55 1x65")], [series("integrity_failures", "1x120")]),
    "S3veilNearLimit": (
        [series("in_flight", "950x120"), series("requests_limit", "1000x120")],
        [series("in_flight", "500x120"), series("requests_limit", "1000x120"), series("connections", "9x120"), series("connections_limit", "1000x120")],
    ),
    "S3veilSlowDown": ([series("slow_downs", "0+120x120")], [series("slow_downs", "0+6x120")]),
    "S3veilLatency": (
        [series("seconds_bucket", "0+10x120", operation="HeadObject", le="10"), series("seconds_bucket", "0+10x120", operation="HeadObject", le="+Inf"),
         series("seconds_bucket", "0x120", operation="HeadObject", le="5")],
        [series("seconds_bucket", "0+10x120", operation="HeadObject", le="5"), series("seconds_bucket", "0+10x120", operation="HeadObject", le="+Inf")],
    ),
    "S3veilStorageSlow": (
        [series("storage_seconds_bucket", "0+10x120", upstream="default", operation="GetObject", le="+Inf"),
         series("storage_seconds_bucket", "0+10x120", upstream="default", operation="GetObject", le="5"),
         series("storage_seconds_bucket", "0x120", upstream="default", operation="GetObject", le="2.5")],
        [series("storage_seconds_bucket", "0+10x120", upstream="default", operation="GetObject", le="+Inf"),
         series("storage_seconds_bucket", "0+10x120", upstream="default", operation="GetObject", le="1")],
    ),
    "S3veilStorageFails": (
        [series("storage_seconds_count", "0+100x120", upstream="default", operation="GetObject", outcome="ok"),
         series("storage_seconds_count", "0+10x120", upstream="default", operation="GetObject", outcome="timeout")],
        [series("storage_seconds_count", "0+100x120", upstream="default", operation="GetObject", outcome="ok"),
         series("storage_seconds_count", "0+10x120", upstream="default", operation="GetObject", outcome="4xx")],
    ),
    "S3veilStorageRetries": ([series("upstream_retries", "0+120x120")], [series("upstream_retries", "0+6x120")]),
    "S3veilKeyHolderDown": ([series("holder_up", "1x30 0x90", holder="aws")], [series("holder_up", "0x30 1x90", holder="aws")]),
    "S3veilKeysSlow": (
        [series("keyring_seconds_bucket", "0+1x120", holder="aws", le="+Inf"), series("keyring_seconds_bucket", "0+1x120", holder="aws", le="5"),
         series("keyring_seconds_bucket", "0x120", holder="aws", le="2.5")],
        [series("keyring_seconds_bucket", "0+1x120", holder="aws", le="+Inf"), series("keyring_seconds_bucket", "0+1x120", holder="aws", le="1")],
    ),
    "S3veilKeyRefused": (
        [series("keyring_calls", "0+1x120", holder="aws", operation="decrypt", outcome="denied")],
        [series("keyring_calls", "0+1x120", holder="aws", operation="decrypt", outcome="ok"),
         series("keyring_calls", "0+1x120", holder="aws", operation="decrypt", outcome="unavailable")],
    ),
    "S3veilWrappingLeftOut": ([series("left_out", "_x50 1x70", holder="bao")], [series("left_out", "0x120", holder="bao")]),
    "S3veilWrongClock": ([series("logins_refused", "0+60x120", reason="skew")], [series("logins_refused", "0+60x120", reason="expired")]),
    "S3veilLoginsRefused": (
        [series("logins_refused", "0+120x120", reason="bad_signature")], [series("logins_refused", "0+6x120", reason="bad_signature")],
    ),
    # In seconds since 1970, when these tests take place.
    "S3veilCertificateExpires": (
        [series("certificate_end", f"{10 * 86400}x120", certificate="listen.tls.certificate")],
        [series("certificate_end", f"{20 * 86400}x120", certificate="listen.tls.certificate")],
    ),
    "S3veilCertificateExpired": (
        [series("certificate_end", f"{2 * 86400}x120", certificate="listen.tls.certificate")],
        [series("certificate_end", f"{10 * 86400}x120", certificate="listen.tls.certificate")],
    ),
    "S3veilReloadFailed": ([series("reload_failures", "0x30 0+1x90")], [series("reload_failures", "7x120")]),
    "S3veilLogLinesDropped": ([series("log_lines_dropped", "0x40 0+5x80")], [series("log_lines_dropped", "5x120")]),
    "S3veilAuditDown": ([series("audit_up", "1x30 0x90")], [series("audit_up", "0x30 1x90")]),
    "S3veilAuditLinesLost": ([series("audit_lost", "0x40 0+5x80")], [series("audit_lost", "5x120")]),
    "S3veilPlaintextRead": ([series("plaintext_reads", "0x30 1x90")], [series("plaintext_reads", "0x120")]),
    "S3veilAnonymousClient": ([series("anonymous", "1x150")], [series("anonymous", "0x150")]),
}  # fmt: skip


def test_each_alert_has_a_case():
    assert set(CASES) == {alert.name for alert in monitoring.ALERTS}


@requires("promtool", package="prometheus")
@pytest.mark.parametrize("fires", [True, False], ids=["fires", "stays silent"])
def test_alerts(fires, tmp_path):
    tests = []
    for name, cases in CASES.items():
        # `count` over the series of the alert: promtool compares every label otherwise.
        tests.append(
            {
                "interval": "1m",
                "input_series": cases[not fires],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                        "eval_time": "62m" if name != "S3veilAnonymousClient" else "65m",
                        "exp_samples": [{"labels": "{}", "value": int(fires)}],
                    }
                ],
            }
        )
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    run(program("promtool"), "test", "rules", file)
