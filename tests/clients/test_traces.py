"""Traces: the spans of a request from the client's to the storage's, delivered to a collector that a request never waits for."""

import gzip
import json
import re
import signal
import time

import pytest

from conftest import embedded_backend, new_bucket
from fakes import refusing, silent
from multiparts import LEAST, upload
from proxy import ACCESS_KEY_ID
from standin import Reply, StandIn
from test_limits import until

SERVER, CLIENT, INTERNAL = 2, 3, 1
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


class Collector(StandIn):
    """A collector of OTLP over HTTP, as the specification has it; it keeps the spans, their attributes as a dict."""

    def __init__(self):
        super().__init__(self.take)
        self.resources = []
        self.spans = []

    def take(self, asked):
        assert (asked.method, asked.path, asked.headers["content-type"]) == ("POST", "/v1/traces", "application/json"), asked
        body = gzip.decompress(asked.body) if asked.headers.get("content-encoding") == "gzip" else asked.body
        for group in json.loads(body)["resourceSpans"]:
            self.resources.append(plain(group["resource"]["attributes"]))
            for scope in group["scopeSpans"]:
                self.spans += [span | {"attributes": plain(span["attributes"])} for span in scope["spans"]]
        return Reply(headers=[("content-type", "application/json")], body=b"{}")

    def named(self, name):
        return [span for span in self.spans if span["name"] == name]

    def of_trace(self, trace_id):
        return [span for span in self.spans if span["traceId"] == trace_id]


def plain(attributes):
    def value(of):
        (kind, content), = of.items()
        assert (kind, type(content)) in [("stringValue", str), ("intValue", str)], of
        return int(content) if kind == "intValue" else content

    return {attribute["key"]: value(attribute["value"]) for attribute in attributes}


@pytest.fixture
def collector():
    with Collector() as collector:
        yield collector


def traces_of(collector, **more):
    return {"endpoint": collector.endpoint, **more}


def assert_within(span, parent):
    """A child begins and ends within its parent; the clocks of one machine differ by less than a millisecond."""
    slack = 1_000_000
    begin, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    assert int(parent["startTimeUnixNano"]) - slack <= begin <= end <= int(parent["endTimeUnixNano"]) + slack, (span, parent)


def test_an_upload_in_parts_is_one_request_each_with_its_calls(start, real, collector):
    running = start(real, traces=traces_of(collector, service="veil"), log={"format": "json"})
    s3, bucket = running.boto(), new_bucket(running.boto())
    upload(s3, bucket, [(1, LEAST), (2, 1000)])
    s3.get_object(Bucket=bucket, Key="object")["Body"].read()
    until(lambda: collector.named("S3/GetObject"), 30)

    assert collector.resources[0]["service.name"] == "veil" and "service.version" in collector.resources[0]
    requests = [span for span in collector.spans if span["kind"] == SERVER]
    names = {span["name"] for span in requests}
    assert names >= {"S3/CreateBucket", "S3/CreateMultipartUpload", "S3/UploadPart", "S3/CompleteMultipartUpload", "S3/GetObject"}
    assert len({span["traceId"] for span in requests}) == len(requests), "each begins a trace of its own"
    assert len({span["spanId"] for span in collector.spans}) == len(collector.spans)
    calls = []
    for request in requests:
        assert "parentSpanId" not in request
        children = [span for span in collector.of_trace(request["traceId"]) if span is not request]
        for child in children:
            assert child["parentSpanId"] == request["spanId"], child
            assert_within(child, request)
        (authentication,) = [child for child in children if child["name"] == "authenticate"]
        assert authentication["kind"] == INTERNAL
        of_storage = [child for child in children if "s3veil.upstream" in child["attributes"]]
        # A small last part may be kept until the upload is completed.
        assert (of_storage or request["name"] == "S3/UploadPart") and all(child["kind"] == CLIENT for child in of_storage)
        for child in of_storage:
            attributes = child["attributes"]
            assert attributes["http.request.method"] == child["name"] and attributes["http.response.status_code"]
            assert attributes["server.address"] in real.upstream["endpoint"]
        calls += [(request["name"], child["name"]) for child in children if "s3veil.key.holder" in child["attributes"]]
        attributes = request["attributes"]
        assert (attributes["rpc.system"], attributes["rpc.service"]) == ("aws-api", "S3")
        assert f"S3/{attributes['rpc.method']}" == request["name"] and attributes["s3veil.client"] == ACCESS_KEY_ID
        assert (attributes["aws.s3.bucket"], attributes["http.response.status_code"]) == (bucket, 200)
    assert {name for _, name in calls} == {"generate", "unwrap"}, "a shared data key is unwrapped once before it is used"
    # The same trace is in the log.
    logged = lambda: {json.loads(line).get("trace_id") for line in running.log_text().splitlines() if '"msg":"request"' in line}
    until(lambda: {span["traceId"] for span in requests} <= logged())


def storing(status=200):
    return lambda _: Reply(status, [("etag", '"e"'), ("x-amz-request-id", "STORAGES")])


@pytest.fixture
def behind(start, tmp_path, collector):
    """behind(storage, **traces): a proxy of this storage."""

    def begin(storage, traces=None, **sections):
        backend = embedded_backend(tmp_path)
        backend.upstream = {**storage.upstream, "max_retries": 1}
        return start(backend, traces=traces or traces_of(collector), log={"format": "json"}, **sections)

    return begin


def test_the_clients_context_goes_to_the_storage_and_is_not_signed(behind, collector):
    with StandIn(storing()) as storage:
        running = behind(storage)
        headers = {"traceparent": SAMPLED, "tracestate": "a=1,b=2"}
        assert running.raw().request("PUT", "/bucket/key", body=b"x", headers=headers).status == 200
        # Systems in between add them after the client has signed.
        assert running.raw().request("PUT", "/bucket/other", body=b"x", unsigned=headers).status == 200
        until(lambda: len([span for span in collector.of_trace(TRACE) if span["kind"] == SERVER]) == 2, 30)
    of_key = [span for span in collector.of_trace(TRACE) if span["attributes"].get("aws.s3.key") == "key"]
    (request,) = [span for span in of_key if span["kind"] == SERVER]
    assert request["parentSpanId"] == PARENT and request["traceState"] == "a=1,b=2"
    (sent,) = [asked for asked in storage.asked if asked.path == "/bucket/key"]
    (of_storage,) = [span for span in of_key if span["kind"] == CLIENT]
    assert sent.headers["traceparent"] == f"00-{TRACE}-{of_storage['spanId']}-01"
    assert sent.headers["tracestate"] == "a=1,b=2"
    signed = re.search(r"SignedHeaders=([^,]+)", sent.headers["authorization"])[1]
    assert "trace" not in signed
    assert of_storage["attributes"]["aws.request_id"] == "STORAGES"


def test_a_context_that_is_not_sampled_goes_on_without_a_span(behind, collector):
    with StandIn(storing()) as storage:
        running = behind(storage)
        running.raw().request("PUT", "/bucket/key", body=b"x", headers={"traceparent": SAMPLED[:-2] + "00"})
        running.raw().request("PUT", "/bucket/last", body=b"x")
        until(lambda: collector.named("S3/PutObject"), 30)
    assert collector.of_trace(TRACE) == []
    (sent,) = [asked for asked in storage.asked if asked.path == "/bucket/key"]
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", sent.headers["traceparent"])
    (line,) = until(lambda: [json.loads(line) for line in running.log_text().splitlines() if '"object_key":"key"' in line])
    assert line["trace_id"] == TRACE


def test_without_a_share_only_the_traces_of_clients_are_recorded(behind, collector):
    with StandIn(storing()) as storage:
        running = behind(storage, traces_of(collector, sample="0%"))
        running.raw().request("PUT", "/bucket/own", body=b"x")
        running.raw().request("PUT", "/bucket/key", body=b"x", headers={"traceparent": SAMPLED})
        until(lambda: collector.of_trace(TRACE), 30)
    assert {span["traceId"] for span in collector.spans} == {TRACE}
    own = [asked.headers["traceparent"] for asked in storage.asked if asked.path == "/bucket/own"]
    assert all(parent.endswith("-02") for parent in own), "random, and not sampled"


@pytest.mark.parametrize("wrong", [
    "", "00", SAMPLED.upper(), SAMPLED + "-more", "ff" + SAMPLED[2:], f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", "00-xyz-abc-01",
])  # fmt: skip
def test_an_invalid_context_is_as_none(behind, collector, wrong):
    with StandIn(storing()) as storage:
        running = behind(storage)
        headers = {"traceparent": wrong, "tracestate": "a=1"}
        assert running.raw().request("PUT", "/bucket/key", body=b"x", unsigned=headers).status == 200
        until(lambda: collector.named("S3/PutObject"), 30)
    (request,) = collector.named("S3/PutObject")
    assert "parentSpanId" not in request and "traceState" not in request and request["traceId"] != TRACE
    assert "tracestate" not in storage.asked[0].headers


def test_failures_are_named(behind, collector):
    with StandIn(storing(500)) as storage:
        running = behind(storage)
        running.raw().request("PUT", "/bucket/key", body=b"x", headers={"traceparent": SAMPLED})
        running.raw(secret_access_key="wrong").request("GET", "/bucket/refused")
        until(lambda: collector.named("S3/GetObject") and collector.named("S3/PutObject"), 30)
    (refused,) = collector.named("S3/GetObject")
    assert refused["attributes"]["error.type"] == "SignatureDoesNotMatch" and "status" not in refused, "the client's fault"
    (failed,) = collector.named("S3/PutObject")
    assert failed["status"] == {"code": 2} and failed["attributes"]["http.response.status_code"] >= 500
    attempts = [span for span in collector.of_trace(TRACE) if span["kind"] == CLIENT]
    assert len(attempts) == 2 and all(span["attributes"]["error.type"] == "500" for span in attempts), "one each"


def test_without_a_collector_nothing_is_passed_on(start, tmp_path):
    with StandIn(storing()) as storage:
        backend = embedded_backend(tmp_path)
        backend.upstream = storage.upstream
        running = start(backend)
        assert running.raw().request("PUT", "/bucket/key", body=b"x", headers={"traceparent": SAMPLED}).status == 200
    assert "traceparent" not in storage.asked[0].headers and "trace_id" not in running.log_text()


@pytest.mark.parametrize("away", [refusing, silent], ids=["refuses", "is-silent"])
def test_a_collector_that_is_away_fails_no_request(start, tmp_path, away):
    with away() as port:
        running = start(embedded_backend(tmp_path), traces={"endpoint": f"http://127.0.0.1:{port}"})
        s3, bucket = running.boto(), new_bucket(running.boto())
        for number in range(50):
            s3.put_object(Bucket=bucket, Key=str(number), Body=b"content")
        if away is refusing:
            until(lambda: "spans could not be delivered" in running.log_text(), 30)
            assert running.metrics()["s3veil_trace_spans_dropped_total"] > 0
        begun = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        assert time.monotonic() - begun < 15, "the end of the process waits for the collector, but not long"


def test_the_last_spans_are_delivered_at_the_end(start, tmp_path, collector):
    running = start(embedded_backend(tmp_path), traces=traces_of(collector))
    s3, bucket = running.boto(), new_bucket(running.boto())
    s3.put_object(Bucket=bucket, Key="last", Body=b"x")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0
    assert collector.named("S3/PutObject")
