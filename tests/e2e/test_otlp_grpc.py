"""OTLP/gRPC against a server that is not ours (python3-grpcio), over plaintext HTTP/2."""

import contextlib
import re
import socket
import time

import grpc
import pytest

from tests.support import dnsclient, otlp
from tests.support.collector import GrpcCollector, HttpCollector
from tests.support.waiting import PATIENCE, wait_until

COLLECTOR = "192.0.2.80:4317"
RULES = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "*.allowed.test"}]}


@pytest.fixture
def collector(world):
    one = GrpcCollector(world.internet, COLLECTOR)
    yield one
    one.close()


def exporting(**settings):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{COLLECTOR}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_BLRP_SCHEDULE_DELAY": "50", "RULES": RULES, **settings}


def test_a_hundred_exports_in_a_row(start, world, collector):
    sidecar = start(**exporting(OTEL_METRIC_EXPORT_INTERVAL="20"))
    dnsclient.ask(world.sandbox, "bad.other.test")
    collector.wait_exports(100, "metrics", 60)
    collector.wait_record(lambda r: r.event_name == "egress.denied")
    last = collector.of("metrics")[-1]
    assert last.value("egress.policy.denied_total") == 1
    exported = last.points("otel.sdk.exporter.metric_data_point.exported")
    assert [attributes for attributes, point in exported.items() if point.as_int] == [frozenset()], "none failed"
    assert not [r for r in sidecar.records if r["msg"].startswith("telemetry")]
    assert last.headers["user-agent"].startswith("OTel-OTLP-Exporter-C/")
    assert last.headers.get("content-type", "application/grpc+proto") == "application/grpc+proto"
    assert 5 < last.left <= 10, "grpc-timeout is the time left"
    sidecar.stop()


def test_compressed_messages_and_headers(start, collector):
    start(**exporting(OTEL_EXPORTER_OTLP_COMPRESSION="gzip", OTEL_EXPORTER_OTLP_HEADERS="API-Key=a%20b"))
    export = collector.wait_metrics()
    assert export.metrics() and export.headers["api-key"] == "a b"
    assert collector.wait_record(lambda r: r.event_name == "egress.loaded")


def _first_request(server, pattern):
    """What comes on the first connection that brings it: one from before the table was in place is cut, and made anew."""
    server.settimeout(10 * PATIENCE)
    while True:
        peer, _ = server.accept()
        with peer, contextlib.suppress(TimeoutError, ConnectionError):
            peer.settimeout(2 * PATIENCE)
            seen = b""
            while more := peer.recv(65536):
                seen += more
                if re.search(pattern, seen, re.S):
                    return seen


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_compression_is_of_the_message(world, start, compression):
    """On the wire, since grpcio takes it off unseen: the flag, the length, and what gzip begins with."""
    with world.internet.inside():
        server = socket.create_server(("192.0.2.80", 4319))
    with server:
        start(**exporting(OTEL_EXPORTER_OTLP_ENDPOINT="http://192.0.2.80:4319", OTEL_METRICS_EXPORTER="none",
                          OTEL_EXPORTER_OTLP_COMPRESSION=compression))
        seen = _first_request(server, rb"\x01\x00\x00..\x1f\x8b\x08" if compression == "gzip" else
                              rb"\x00\x00\x00..\x0a..?\x0a")
    assert seen.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (b"\x1f\x8b\x08" in seen) == (compression == "gzip")


def test_an_endpoint_without_a_scheme(start, collector):
    start(**exporting(OTEL_EXPORTER_OTLP_ENDPOINT=COLLECTOR, OTEL_EXPORTER_OTLP_INSECURE="true"))
    assert collector.wait_metrics().metrics()


RETRIED = [grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED,
           grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS]


def once(collector, answer):
    """The first export of logs is answered by `answer(context)`; returns when exports of logs came, and their bytes."""
    seen = []

    def behave(export, context):
        if export.signal == "logs":
            seen.append((time.monotonic(), export.body))
            if len(seen) == 1:
                answer(context)
    collector.behave = behave
    return seen


@pytest.mark.parametrize("code", RETRIED, ids=lambda code: code.name)
def test_codes_that_may_pass(start, collector, code):
    seen = once(collector, lambda context: context.abort(code, "not now"))
    start(**exporting())
    collector.wait_record(lambda r: r.event_name == "egress.loaded")
    assert seen[0][1] == seen[1][1] and 0.4 < seen[1][0] - seen[0][0] < 5 * PATIENCE


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED,
                                  grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL], ids=lambda c: c.name)
def test_codes_that_do_not_pass(start, world, collector, code):
    seen = once(collector, lambda context: context.abort(code, "never ü"))
    sidecar = start(**exporting())
    warning = sidecar.wait_record(lambda r: r["msg"] == "telemetry could not be exported")
    assert warning["error"].startswith(f"gRPC status {code.value[0]}: never") and warning["lost"] > 0
    dnsclient.ask(world.sandbox, "bad.other.test")
    wait_until(lambda: len(seen) > 1, what="the next batch")
    assert seen[0][1] != seen[1][1]
    collector.wait_metrics(lambda e: e.value("otel.sdk.exporter.log.exported", error_type="refused") == warning["lost"])


def test_retry_info(start, collector):
    info = otlp.messages["RetryInfo"](retry_delay={"seconds": 2})
    status = otlp.messages["Status"](code=8, message="full", details=[
        {"type_url": "type.googleapis.com/google.rpc.RetryInfo", "value": info.SerializeToString()}])

    def answer(context):
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    seen = once(collector, answer)
    start(**exporting())
    collector.wait_record(lambda r: r.event_name == "egress.loaded")
    assert seen[0][1] == seen[1][1] and 1.9 < seen[1][0] - seen[0][0] < 6 * PATIENCE


def test_partial_success(start, collector):
    answer = otlp.messages["Response"](partial_success={"rejected": 3, "error_message": "odd"})
    collector.behave = lambda export, context: answer.SerializeToString() if export.signal == "metrics" else None
    sidecar = start(**exporting())
    collector.wait_metrics(lambda e: e.value("otel.sdk.exporter.metric_data_point.exported", error_type="rejected") >= 3)
    warning = sidecar.wait_record(lambda r: r["msg"] == "the collector rejected some telemetry")
    assert warning["error"] == "odd" and warning["signal"] == "metrics"


def test_http_200_alone_is_no_success(start, world):
    """A server that does not speak gRPC."""
    web = HttpCollector(world.internet, ("192.0.2.80", 4317))
    try:
        sidecar = start(**exporting(OTEL_EXPORTER_OTLP_TIMEOUT="1000"))
        warning = sidecar.wait_record(lambda r: r["msg"] == "telemetry could not be exported", 10)
        assert warning["lost"] > 0
    finally:
        web.errors.clear()
        web.close()
