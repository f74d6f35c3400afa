"""The Helm chart: rendered by Helm, compared with Kubernetes's schemas, and its proxy.toml loaded by s3veil."""

import re
import tomllib

import pytest
import yaml
from support import ROOT, assert_loads, is_full, run

helm = pytest.importorskip("helm_python", reason="Helm's SDK is missing")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="Kubernetes's schemas are missing")

CHART = ROOT / "deploy/helm/s3veil"
# Those that the chart is for; the first and the last of them unless all tests run.
VERSIONS = [f"1.{minor}" for minor in (range(30, 38) if is_full() else (30, 37))]
SMALL = {
    "config": {
        "upstream": {"region": "eu-central-1"},
        "keyring": {"provider": "aws-kms", "key_id": "alias/s3veil"},
        "client": [{"access_key_id": "a", "secret_access_key": "env:A"}],
    }
}
CERT_MANAGER = {"enabled": True, "issuerRef": {"name": "ca", "kind": "Issuer"}}

VALUES = {
    "example": yaml.safe_load((ROOT / "examples/kubernetes/values.yaml").read_text()),
    "example, minimal": yaml.safe_load((ROOT / "examples/kubernetes/values-minimal.yaml").read_text()),
    "one client": SMALL,
    "everything off": SMALL
    | {
        "config": SMALL["config"] | {"upstream": [{"name": "a", "region": "eu-central-1"}, {"name": "b", "region": "us-east-1"}]},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False, "name": "own"},
    },
    "everything on": SMALL
    | {
        "autoscaling": {"enabled": True},
        "existingSecret": "secrets",
        "secretEnv": {"A": {"name": "a", "key": "k"}},
        "env": [{"name": "RUST_LOG", "value": "info"}],
        "tls": {"certManager": CERT_MANAGER, "clientCA": {"existingSecret": "clients"}},
        "admin": {"bearerToken": {"existingSecret": "admin"}, "tls": {"existingSecret": "admin-tls"}},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "tlsConfig": {"serverName": "s3veil"}},
        "networkPolicy": {
            "clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "operators": [{"namespaceSelector": {}}],
            "egress": [{"ports": [{"port": 443}]}],
        },
        "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalTrafficPolicy": "Local"},
        "podAnnotations": {"a": "b"},
        "podLabels": {"azure.workload.identity/use": "true"},
        "nodeSelector": {"disk": "none"},
        "tolerations": [{"key": "proxy", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/s3veil/ca"}],
        "restartOnChange": True,
    },
}


def render(values, name="prod"):
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values=values, name=name)
    texts = [text for file, text in files.items() if not file.endswith("NOTES.txt")]
    documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def deployment(manifests):
    return next(document for (kind, _), document in manifests.items() if kind == "Deployment")


def pod(manifests):
    return deployment(manifests)["spec"]["template"]["spec"]


def proxy_toml(manifests):
    return next(document for (kind, _), document in manifests.items() if kind == "ConfigMap")["data"]["proxy.toml"]


def test_helm_finds_nothing_to_warn_of():
    report = helm.lint(CHART, values=VALUES["everything on"], strict=True)
    # The least severe says that an icon is recommended.
    assert (report["errors"], [found for found in report["messages"] if found["severity"] > 1]) == ([], [])


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_kubernetes_knows_every_field(values):
    manifests = render(values)
    own = {"Certificate", "ServiceMonitor"}
    checked = 0
    for version in VERSIONS:
        for (kind, _), document in manifests.items():
            if kind not in own:
                kubernetes_validate.validate(document, version, strict=True)
                checked += 1
    assert checked >= 4 * len(VERSIONS)


def test_kubernetes_knows_every_field_of_the_job():
    job = yaml.safe_load((ROOT / "deploy/jobs/kubernetes-indexed-job.yaml").read_text())
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == pod(render(SMALL))["containers"][0]["image"]


def test_a_field_that_kubernetes_does_not_know_is_found():
    document = deployment(render(SMALL))
    document["spec"]["template"]["spec"]["containers"][0]["port"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="port"):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_s3veil_takes_the_configuration(values, tmp_path, pair):
    text = proxy_toml(render(values))
    # The files that Secrets bring.
    for path in set(re.findall(r'"/etc/s3veil/([^"]+)"', text)):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pair[1] if path.endswith(".key") else pair[0] if path.startswith(("tls", "client-ca", "admin-tls")) else b"a-secret-of-twenty-bytes")
        file.chmod(0o600)
    (tmp_path / "proxy.toml").write_text(text.replace("/etc/s3veil/", f"{tmp_path}/"))
    warnings = assert_loads(tmp_path / "proxy.toml", re.findall(r'"env:([A-Z_]+)"', text))
    assert all("`admin.bearer_token` is sent unencrypted" in warning for warning in warnings), warnings


def test_the_admin_port_has_tls_where_it_is_given():
    for values, scheme in [(SMALL, "HTTP"), (VALUES["everything on"], "HTTPS")]:
        manifests = render(values)
        (container,) = pod(manifests)["containers"]
        assert {container[probe]["httpGet"]["scheme"] for probe in ("livenessProbe", "readinessProbe")} == {scheme}
        assert ("tls" in tomllib.loads(proxy_toml(manifests))["admin"]) == (scheme == "HTTPS")
    monitor = next(document for (kind, _), document in render(VALUES["everything on"]).items() if kind == "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["tlsConfig"]) == ("https", {"serverName": "s3veil"})


def test_strings_and_numbers_of_toml():
    """What a values file can hold arrives as the same values, quotes and long numbers among them."""
    listen = {"max_requests": 1_000_000, "sigv2": False, "domain": 'a"b\\c<d>&é\n'}
    bucket = [{"name": "b", "formats": {"write": "native", "read": ["native", "cbc"]}, "s3ec": {"context": {"t": "x"}}}]
    values = {"config": {**SMALL["config"], "listen": listen, "bucket": bucket, "keyring": {"provider": "aws-kms", "cache": {"entries": 10_000}}}}
    found = tomllib.loads(proxy_toml(render(values)))
    assert {name: found["listen"][name] for name in listen} == listen
    assert found["bucket"] == bucket
    assert found["keyring"]["cache"]["entries"] == 10_000 and found["keyring"]["provider"] == "aws-kms"
    assert found["listen"]["address"] == "0.0.0.0:8333"


def test_the_pod_is_closed():
    manifests = render(SMALL)
    (container,) = pod(manifests)["containers"]
    assert pod(manifests)["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(manifests)["automountServiceAccountToken"] is False
    assert "limits" in container["resources"]


def test_pods_have_the_time_to_drain():
    manifests = render(SMALL | {"drain": {"delaySeconds": 20, "timeoutSeconds": 100}})
    listen = tomllib.loads(proxy_toml(manifests))["listen"]
    assert (listen["drain_delay"], listen["drain_timeout"]) == ("20s", "100s")
    assert pod(manifests)["terminationGracePeriodSeconds"] > 120
    readiness = pod(render(SMALL))["containers"][0]["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= 10, "the default delay"


def test_replicas_are_the_autoscaler_s_if_there_is_one():
    assert deployment(render(SMALL))["spec"]["replicas"] == 2
    manifests = render(SMALL | {"autoscaling": {"enabled": True}})
    assert "replicas" not in deployment(manifests)["spec"]
    assert manifests["HorizontalPodAutoscaler", "prod-s3veil"]["spec"]["minReplicas"] == 2


def test_the_admin_port_is_never_in_the_service_of_clients():
    manifests = render(VALUES["everything on"])
    ports = {name: [port["name"] for port in document["spec"]["ports"]] for (kind, name), document in manifests.items() if kind == "Service"}
    assert ports == {"prod-s3veil": ["s3"], "prod-s3veil-admin": ["admin"]}
    assert manifests["Service", "prod-s3veil-admin"]["spec"]["type"] == "ClusterIP"
    monitor = manifests["ServiceMonitor", "prod-s3veil"]["spec"]
    labels = manifests["Service", "prod-s3veil-admin"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert not monitor["selector"]["matchLabels"].items() <= manifests["Service", "prod-s3veil"]["metadata"]["labels"].items()


def test_selectors_meet_the_pods():
    manifests = render(VALUES["everything on"])
    labels = deployment(manifests)["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        deployment(manifests)["spec"]["selector"]["matchLabels"],
        manifests["PodDisruptionBudget", "prod-s3veil"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy", "prod-s3veil"]["spec"]["podSelector"]["matchLabels"],
        manifests["Service", "prod-s3veil"]["spec"]["selector"],
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)


def test_no_secret_is_in_a_manifest():
    kinds = {kind for kind, _ in render(VALUES["everything on"])}
    assert "Secret" not in kinds
    for literal in (
        {"config": {"client": [{"access_key_id": "a", "secret_access_key": "literal"}]}},
        {"config": {**SMALL["config"], "upstream": {"region": "r", "secret_access_key": "literal"}}},
    ):
        with pytest.raises(helm.HelmError, match="secret_access_key"):
            render(literal)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "config.upstream is missing"),
        ({"config": {**SMALL["config"], "keyring": None}}, "config.keyring is missing"),
        ({"config": {**SMALL["config"], "client": []}}, "config.client is missing"),
        (SMALL | {"replica": 2}, "replica"),
        (SMALL | {"replicas": "two"}, "replicas"),
        (SMALL | {"existingSecret": "Not A Name"}, "existingSecret"),
        (SMALL | {"tls": {"clientCA": {"existingSecret": "ca"}}}, "tls.clientCA requires"),
        ({"config": {**SMALL["config"], "listen": {"address": "0.0.0.0:1"}}}, "config.listen.address is written by the chart"),
        ({"config": {**SMALL["config"], "bucket": []}}, "bucket"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        render(values)


def test_the_chart_has_the_version_of_the_program():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate and its key, in PEM."""
    directory = tmp_path_factory.mktemp("pair")
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
        "-subj", "/CN=s3.example.com", "-addext", "subjectAltName=DNS:s3.example.com",
        "-keyout", directory / "key", "-out", directory / "certificate",
    )  # fmt: skip
    return (directory / "certificate").read_bytes(), (directory / "key").read_bytes()
