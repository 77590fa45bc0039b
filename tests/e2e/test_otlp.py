"""Metrics and log records as a collector gets them, told by decoders that are not ours."""

import collections
import datetime
import json
import pathlib
import re
import subprocess

import dns.exception
import pytest

from tests.support import dnsclient, otlp, tcpclient
from tests.support.collector import HttpCollector
from tests.support.sidecar import BINARY, ROOT, environment
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4

COLLECTOR = "192.0.2.80"
RULES = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "*.allowed.test"}]}
DELTA, CUMULATIVE = 1, 2
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


@pytest.fixture
def collector(world):
    one = HttpCollector(world.internet, (COLLECTOR, 4318))
    yield one
    one.close()


def exporting(**settings):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{COLLECTOR}:4318", "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_BLRP_SCHEDULE_DELAY": "50", "RULES": RULES, "DNS_CACHE": "0", **settings}


def text(record):
    return otlp.attributes(record.attributes)


def ask_some(world, allowed=3, denied=2):
    for i in range(allowed):
        assert dnsclient.ask(world.sandbox, "www.allowed.test").answer
    for i in range(denied):
        dnsclient.ask(world.sandbox, f"bad{i}.other.test", tcp=i % 2 == 1)


# --- every event, field for field ---

def as_line(record):
    """The line of stdout that a LogRecord stands for."""
    seconds, nanos = divmod(record.time_unix_nano, 10**9)
    stamp = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return {"level": record.severity_text.lower(), "ts": f"{stamp:%Y-%m-%dT%H:%M:%S}.{nanos // 10**6:03}Z",
            "logger": "opensandbox.egress", "msg": otlp.value(record.body), **text(record)}


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_the_records_of_stdout_field_for_field(start, world, collector, protocol):
    attrs = 'team=a "b" ü,broken\udcff=\udcfe\x01,long=' + "x" * 10240
    sidecar = start(**exporting(OTEL_EXPORTER_OTLP_PROTOCOL=protocol, SANDBOX_ID='sb "1"\\', LOG_LEVEL="debug",
                                METRICS_EXTRA_ATTRS=attrs))
    ask_some(world)
    dnsclient.ask(world.sandbox, "alias.allowed.test", "AAAA")
    dnsclient.ask(world.sandbox, "gone.allowed.test")
    dnsclient.ask(world.sandbox, '\\255\\000a"\\\\b\\.c.other.test')
    assert not tcpclient.connects(world.sandbox, "198.51.100.9")
    sidecar.wait_event("denied", peer="198.51.100.9")
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "10.1.2.0/24"},
                                                {"action": "allow", "target": "new.test"}]).status == 200
    assert sidecar.request("POST", "/policy", '{"defaultAction":"perhaps"}').status == 400
    assert sidecar.request("POST", "/policy", "").status == 200
    sidecar.wait_event("updated", rules=[])
    sidecar.stop()
    lines = collections.Counter(json.dumps(line, sort_keys=True) for line in sidecar.records)
    exported = collections.Counter(json.dumps(as_line(record), sort_keys=True) for record in collector.records())
    missing = lines - exported
    # The last words are said after the flush.
    assert not exported - lines, exported - lines
    assert not missing, missing
    events = {record.event_name for record in collector.records()}
    assert events >= {"", "egress.loaded", "egress.updated", "egress.update_failed", "egress.outbound", "egress.denied"}
    numbers = {"DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}
    for record in collector.records():
        assert record.severity_number == numbers[record.severity_text]
        assert record.time_unix_nano <= record.observed_time_unix_nano
        assert record.event_name == text(record).get("opensandbox.event", "")
        assert text(record)["long"] == "x" * 10240 and text(record)["team"] == 'a "b" ü'
        assert text(record)["broken\ufffd"] == "\ufffd\x01"
    for export in collector.exports:
        if protocol == "http/protobuf":
            assert export.message.SerializeToString(deterministic=True), "decodes without unknown fields"
            assert not _unknown(export.message)


def _unknown(message):
    """Whether there is a field, at any depth, that the transcription does not know."""
    if len(message.UnknownFields()) if hasattr(message, "UnknownFields") else False:
        return True
    for field, content in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in content if field.label == field.LABEL_REPEATED else [content]:
                if _unknown(each):
                    return True
    return False


def test_rules_and_addresses_are_lists(start, world, collector):
    start(**exporting())
    ask_some(world, 1, 0)
    loaded = text(collector.wait_record(lambda r: r.event_name == "egress.loaded"))
    assert loaded["rules"] == [{"action": "allow", "target": "*.allowed.test"}]
    outbound = text(collector.wait_record(lambda r: r.event_name == "egress.outbound"))
    assert int(outbound.pop("latency_ms")) >= 0
    assert outbound == {"opensandbox.event": "egress.outbound", "target.host": "www.allowed.test",
                        "target.ips": ["203.0.113.10"]}


# --- the numbers of the fields, by protoc without any table ---

def test_protoc_sees_the_protocols_numbers(start, world, collector):
    start(**exporting(SANDBOX_ID="sb-1"))
    ask_some(world)
    collector.wait_record(lambda r: r.event_name == "egress.outbound")
    logs = "\n".join(otlp.decode_raw(export.plain) for export in collector.of("logs"))
    # ResourceLogs 1 { Resource 1, ScopeLogs 2 { scope 1 { name 1 }, LogRecord 2 { time 1, severity 2 3, body 5 … } } }
    assert re.match(r'1 \{\n  1 \{\n    1 \{\n      1: "sandbox_id"\n      2 \{\n        1: "sb-1"', logs)
    assert re.search(r'\n  2 \{\n    1 \{\n      1: "opensandbox/egress"\n      2: "', logs)
    assert re.search(r'\n    2 \{\n      1: 0x[0-9a-f]{16}\n      2: \d+\n      3: "[A-Z]+"\n      5 \{\n        1: "', logs)
    assert re.search(r'\n      6 \{\n        1: "sandbox_id"\n        2 \{\n          1: "sb-1"\n', logs)
    assert re.search(r'\n      11: 0x[0-9a-f]{16}\n      12: "egress.loaded"\n', logs)
    export = collector.wait_metrics(
        lambda e: any(p.count for p in e.points("egress.dns.query.duration").values()))
    metrics = otlp.decode_raw(export.plain)
    counter = re.search(r'\n    2 \{\n      1: "egress.policy.denied_total"\n.*?\n    \}\n', metrics, re.S).group()
    # Sum 7 { point 1 { start 2, time 3, as_int 6, attributes 7 }, temporality 2, monotonic 3 }
    assert re.search(r'\n      7 \{\n        1 \{\n          2: 0x\w+\n          3: 0x\w+\n          6: 0x\w+\n          7 \{\n'
                     r'            1: "sandbox_id"\n.*\n        2: 2\n        3: 1\n', counter, re.S)
    histogram = re.search(r'\n    2 \{\n      1: "egress.dns.query.duration"\n.*?\n    \}\n', metrics, re.S).group()
    # Histogram 9 { point 1 { start 2, time 3, count 4, sum 5, bucket_counts 6, bounds 7, attributes 9, min 11, max 12 }}
    assert re.search(r'\n      9 \{\n        1 \{\n          2: 0x\w+\n          3: 0x\w+\n          4: 0x\w+\n          5: 0x\w+\n'
                     r'          6(: ".*"| \{.*\})\n          7(: ".*"| \{.*\})\n          9 \{\n.*\n          11: 0x\w+\n          12: 0x\w+\n'
                     r'        \}\n        2: 2\n', histogram, re.S)
    gauge = re.search(r'\n    2 \{\n      1: "egress.dns.inflight"\n.*?\n    \}\n', metrics, re.S).group()
    assert re.search(r'\n      [57] \{\n        1 \{\n', gauge)


def test_protoc_sees_the_numbers_of_exponential_histograms_doubles_and_lists(start, world, collector):
    start(**exporting(OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="base2_exponential_bucket_histogram"))
    ask_some(world)
    export = collector.wait_metrics(
        lambda e: any(p.count for p in e.points("egress.dns.query.duration").values()))
    metrics = otlp.decode_raw(export.plain)
    histogram = re.search(r'\n    2 \{\n      1: "egress.dns.query.duration"\n.*?\n    \}\n', metrics, re.S).group()
    # ExponentialHistogram 10 { point 1 { start 2, time 3, count 4, sum 5, scale 6, positive 8 { offset 1, counts 2 },
    # min 12, max 13 }, temporality 2 }; times of less than a second have a negative offset, an odd number in zigzag.
    assert re.search(r'\n      10 \{\n        1 \{\n          2: 0x\w+\n          3: 0x\w+\n          4: 0x0+3\n          5: 0x3f\w+\n'
                     r'          6: \d+\n          8 \{\n            1: \d*[13579]\n            2(: ".*"| \{.*\})\n'
                     r'          \}\n          12: 0x3f\w+\n          13: 0x3f\w+\n        \}\n        2: 2\n', histogram, re.S)
    gauge = re.search(r'\n    2 \{\n      1: "egress.system.cpu.utilization"\n.*?\n    \}\n', metrics, re.S).group()
    assert re.search(r'\n      5 \{\n        1 \{\n          3: 0x\w+\n          4: 0x(3f\w+|0+)\n', gauge), "as_double 4"
    collector.wait_record(lambda r: r.event_name == "egress.loaded")
    logs = "\n".join(otlp.decode_raw(export.plain) for export in collector.of("logs"))
    # AnyValue: array 5 { values 1 }, kvlist 6 { values 1 { key 1, value 2 } }
    assert re.search(r'1: "rules"\n +2 \{\n +5 \{\n +1 \{\n +6 \{\n +1 \{\n +1: "action"\n +2 \{\n +1: "allow"\n', logs)


# --- metrics ---

def test_what_is_measured_is_what_was_done(start, world, collector):
    sidecar = start(**exporting(SANDBOX_ID="sb-1", METRICS_EXTRA_ATTRS="team=red"))
    ask_some(world, allowed=7, denied=4)
    dnsclient.ask(world.sandbox, "www.allowed.test", "ANY")
    export = collector.wait_metrics(lambda e: e.value("egress.dns.queries", result="denied") == 4
                                    and e.value("egress.dns.queries", result="refused") == 1)
    assert export.value("egress.policy.denied_total") == 4
    assert export.value("egress.dns.queries", result="allowed", proto="udp") == 7
    assert export.value("egress.dns.queries", result="denied", proto="tcp") == 2
    assert export.value("egress.enforcement.active") == 1
    assert export.value("egress.policy.revision") == 1
    assert 10**7 < export.value("egress.system.memory.usage_bytes") < 2**50
    assert 10**6 < export.value("egress.process.memory.usage_bytes") < 2**30
    ((attributes, point),) = export.points("egress.dns.query.duration").items()
    assert point.count == 7 and sum(point.bucket_counts) == 7
    assert list(point.explicit_bounds) == BOUNDS and len(point.bucket_counts) == len(BOUNDS) + 1
    assert 0 < point.min <= point.max < 5 and point.min * 7 <= point.sum <= point.max * 7
    assert dict(attributes) == {"sandbox_id": "sb-1", "team": "red"}
    for metric in export.metrics().values():
        for attributes in export.points(metric.name):
            assert {"sandbox_id": "sb-1", "team": "red"}.items() <= dict(attributes).items(), metric.name
    sidecar.stop()
    assert collector.of("metrics")[-1].value("egress.dns.queries", result="allowed") == 7, "flushed at the end"


# name: kind, unit, monotonic
INSTRUMENTS = {
    "egress.dns.query.duration": ("histogram", "s", None),
    "egress.policy.denied_total": ("sum", "{query}", True),
    "egress.nftables.rules.count": ("gauge", "{element}", None),
    "egress.nftables.updates.count": ("sum", "{update}", True),
    "egress.system.memory.usage_bytes": ("gauge", "By", None),
    "egress.system.cpu.utilization": ("gauge", "1", None),
    "egress.process.memory.usage_bytes": ("gauge", "By", None),
    "egress.process.cpu.time": ("sum", "s", True),
    "egress.dns.queries": ("sum", "{query}", True),
    "egress.dns.cache.hits": ("sum", "{query}", True),
    "egress.dns.inflight": ("sum", "{query}", False),
    "egress.dns.limited": ("sum", "{drop}", True),
    "egress.dns.suspect": ("sum", "{event}", True),
    "egress.dns.upstreams.healthy": ("gauge", "{upstream}", None),
    "egress.policy.reload_errors": ("sum", "{error}", True),
    "egress.nftables.repairs": ("sum", "{repair}", True),
    "egress.dynamic.evicted": ("sum", "{address}", True),
    "egress.peer.suppressed": ("sum", "{connection}", True),
    "egress.api.connections.limited": ("sum", "{connection}", True),
    "egress.api.denied": ("sum", "{request}", True),
    "egress.nftables.errors": ("sum", "{error}", True),
    "egress.dynamic.addresses": ("gauge", "{address}", None),
    "egress.enforcement.active": ("gauge", "", None),
    "egress.policy.revision": ("gauge", "{revision}", None),
    "egress.peer.connections": ("sum", "{connection}", True),
    "egress.api.request.count": ("sum", "{request}", True),
    "egress.api.request.duration": ("histogram", "s", None),
    "egress.webhook.sent": ("sum", "{denial}", True),
    "egress.webhook.failed": ("sum", "{denial}", True),
    "egress.webhook.dropped": ("sum", "{denial}", True),
    "egress.log.dropped": ("sum", "{record}", True),
    "otel.sdk.exporter.metric_data_point.exported": ("sum", "{data_point}", True),
    "otel.sdk.exporter.log.exported": ("sum", "{log_record}", True),
    "otel.sdk.processor.log.processed": ("sum", "{log_record}", True),
    "otel.sdk.processor.log.queue.size": ("sum", "{log_record}", False),
}


def test_every_instrument(start, world, collector):
    sidecar = start(**exporting())
    ask_some(world)
    sidecar.request("GET", "/policy")
    wanted = INSTRUMENTS.keys()
    described = set(re.findall(r"^\| `((?:egress|otel)\.[\w.]+)`", (ROOT / "docs/telemetry.md").read_text(), re.M))
    assert wanted - {"egress.webhook.failed", "egress.webhook.dropped"} == \
        described - {f"egress.{event}" for event in ("loaded", "updated", "update_failed", "outbound", "denied")}
    try:
        export = collector.wait_metrics(lambda e: wanted <= e.metrics().keys())
    except AssertionError:
        raise AssertionError(f"missing: {wanted - collector.of('metrics')[-1].metrics().keys()}") from None
    assert export.metrics().keys() == wanted, "and no other"
    for name, (kind, unit, monotonic) in INSTRUMENTS.items():
        metric = export.metrics()[name]
        found = metric.WhichOneof("choice")
        assert kind == found, name
        assert metric.description and unit == metric.unit, (name, metric.unit)
        data = getattr(metric, found)
        assert data.data_points, name
        if found != "gauge":
            assert data.aggregation_temporality == CUMULATIVE, name
        if found == "sum" and monotonic is not None:
            assert data.is_monotonic == monotonic, name
        for point in data.data_points:
            assert point.time_unix_nano and (found == "gauge") == (point.start_time_unix_nano == 0), name
            assert point.start_time_unix_nano <= point.time_unix_nano
    keys = {key for name in export.metrics() for attributes in export.points(name) for key, _ in attributes}
    assert keys <= {"result", "proto", "family", "limit", "reason", "cpu.mode", "http.request.method", "http.route",
                    "http.response.status_code", "error.type"}, "no attribute that could be a name, an address or a URL"


def test_the_resource(start, collector):
    sidecar = start(**exporting(SANDBOX_ID="sb-1", OTEL_SERVICE_NAME="mine",
                                OTEL_RESOURCE_ATTRIBUTES='deployment.environment=pr%C3%B6d,empty=,q="%22,sandbox_id=other'))
    resource = collector.wait_metrics().resource()
    assert collector.wait_exports(1, "logs")[0].resource() == resource
    assert resource["service.name"] == "mine" and resource["sandbox_id"] == "sb-1"
    assert resource["deployment.environment"] == "pröd" and resource["empty"] == "" and resource["q"] == '""'
    assert resource["telemetry.sdk.name"] == "opensandbox-egress" and resource["telemetry.sdk.language"] == "c"
    assert resource["process.pid"] == sidecar.process.pid
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", resource["service.instance.id"])


def test_cumulative_streams_begin_once_and_never_go_back(start, world, collector):
    start(**exporting(OTEL_METRIC_EXPORT_INTERVAL="50"))
    for _ in range(4):
        ask_some(world)
        n = len(collector.of("metrics"))
        collector.wait_exports(n + 2, "metrics")
    assert otlp.expect_cumulative(collector.of("metrics")) > 20


def test_deltas_add_up(start, world, collector):
    sidecar = start(**exporting(OTEL_METRIC_EXPORT_INTERVAL="50",
                                OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta"))
    for _ in range(3):
        ask_some(world, allowed=3, denied=2)
        collector.wait_exports(len(collector.of("metrics")) + 2, "metrics")
    sidecar.stop()
    exports = collector.of("metrics")
    assert sum(export.value("egress.policy.denied_total") for export in exports) == 6
    assert sum(export.value("egress.dns.queries", result="allowed") for export in exports) == 9
    points = [point for export in exports for point in export.points("egress.dns.query.duration").values()]
    assert sum(point.count for point in points) == 9 and sum(sum(point.bucket_counts) for point in points) == 9
    # An interval begins where the one before ended. Every interval has a delta of CPU time.
    cpu = [next(iter(export.points("egress.process.cpu.time").values())) for export in exports]
    assert len(cpu) > 6 and all(point.start_time_unix_nano < point.time_unix_nano for point in cpu)
    assert [point.start_time_unix_nano for point in cpu[1:]] == [point.time_unix_nano for point in cpu[:-1]]
    intervals = {(point.start_time_unix_nano, point.time_unix_nano) for point in cpu}
    for name in "egress.policy.denied_total", "egress.dns.query.duration", "egress.dns.queries":
        found = [export for export in exports if name in export.metrics()]
        assert 1 <= len(found) < len(exports), "left out when nothing happened"
        for export in found:
            metric = export.metrics()[name]
            assert getattr(metric, metric.WhichOneof("choice")).aggregation_temporality == DELTA
            for point in export.points(name).values():
                assert (point.start_time_unix_nano, point.time_unix_nano) in intervals, name
    up_down = exports[0].metrics()["egress.dns.inflight"].sum
    assert up_down.aggregation_temporality == CUMULATIVE and not up_down.is_monotonic


def test_low_memory_is_delta_for_what_is_counted_and_cumulative_for_what_is_observed(start, world, collector):
    sidecar = start(**exporting(OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="lowmemory"))
    ask_some(world, allowed=1, denied=2)
    sidecar.stop()
    exports = collector.of("metrics")
    assert sum(export.value("egress.policy.denied_total") for export in exports) == 2
    temporality = {}
    for export in exports:
        for name, metric in export.metrics().items():
            if metric.WhichOneof("choice") != "gauge":
                temporality.setdefault(getattr(metric, metric.WhichOneof("choice")).aggregation_temporality, set()).add(name)
    assert temporality[DELTA] >= {"egress.policy.denied_total", "egress.dns.query.duration", "egress.dns.queries"}
    assert temporality[CUMULATIVE] == {"egress.process.cpu.time", "egress.log.dropped", "egress.dns.inflight",
                                       "otel.sdk.processor.log.queue.size"}


def test_exponential_histograms(start, world, collector):
    start(**exporting(
        OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="base2_exponential_bucket_histogram"))
    ask_some(world, allowed=20)
    export = collector.wait_metrics(lambda e: sum(p.count for p in e.points("egress.dns.query.duration").values()) == 20)
    assert export.metrics()["egress.dns.query.duration"].WhichOneof("choice") == "exponential_histogram"
    (point,) = export.points("egress.dns.query.duration").values()
    counts, base = point.positive.bucket_counts, 2 ** (2 ** -point.scale)
    assert sum(counts) + point.zero_count == point.count == 20
    assert len(counts) <= 160 and point.scale <= 20
    used = [i + point.positive.offset for i, n in enumerate(counts) if n]
    assert base ** used[0] <= point.min * 1.0001 and point.max <= base ** (used[-1] + 1) * 1.0001
    assert base ** (used[0] + 1) >= point.min * 0.9999 and base ** used[-1] <= point.max * 1.0001
    for each in export.metrics()["egress.api.request.duration"].exponential_histogram.data_points:
        assert sum(each.positive.bucket_counts) + each.zero_count == each.count


# --- the request ---

def test_requests_are_those_of_an_sdk(start, collector):
    start(**exporting(OTEL_EXPORTER_OTLP_HEADERS="api-key=a%20b,x-empty=", OTEL_EXPORTER_OTLP_LOGS_HEADERS="only=logs",
                      OTEL_EXPORTER_OTLP_COMPRESSION="gzip", OTEL_METRIC_EXPORT_INTERVAL="50"))
    collector.wait_exports(12, "metrics")
    collector.wait_exports(1, "logs")
    metrics, logs = collector.of("metrics"), collector.of("logs")[0]
    assert metrics[0].path == "/v1/metrics" and logs.path == "/v1/logs"
    for export in metrics:
        assert export.headers["content-type"] == "application/x-protobuf"
        assert export.headers["content-encoding"] == "gzip" and len(export.body) < len(export.plain) / 2
        assert re.fullmatch(r"OTel-OTLP-Exporter-C/\S+ opensandbox-egress/\S+", export.headers["user-agent"])
        assert export.headers["api-key"] == "a b" and export.headers["x-empty"] == ""
        assert "expect" not in export.headers and "only" not in export.headers
    assert logs.headers["only"] == "logs" and "api-key" not in logs.headers
    # Both signals may use either's connection, and a busy server may lose one.
    assert len({export.peer for export in metrics}) <= 4, "connections are kept"


def test_signals_go_their_own_ways(start, world, collector):
    other = HttpCollector(world.internet, ("192.0.2.81", 9999))
    try:
        start(**exporting(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="http://192.0.2.81:9999/some/logs",
                          OTEL_EXPORTER_OTLP_LOGS_PROTOCOL="http/json"))
        export = other.wait_exports(1, "logs")[0]
        assert export.path == "/some/logs" and export.headers["content-type"] == "application/json"
        collector.wait_metrics()
        assert not collector.of("logs") and not other.of("metrics")
    finally:
        other.close()


@pytest.mark.parametrize("settings, signals", [
    ({"OTEL_METRICS_EXPORTER": "none"}, {"logs"}), ({"OTEL_LOGS_EXPORTER": "none"}, {"metrics"}),
    ({"OTEL_METRICS_EXPORTER": "prometheus"}, {"logs"})])
def test_a_signal_can_be_off(start, world, collector, settings, signals):
    sidecar = start(**exporting(**settings))
    ask_some(world)
    sidecar.wait_event("denied")
    sidecar.stop()
    assert {export.signal for export in collector.exports} == signals


def test_the_hosts_collector_gets_metrics(start, world):
    host = HttpCollector(world.internet, ("192.0.2.82", 4318))
    try:
        sidecar = start(HOST_IP="192.0.2.82", OTEL_METRIC_EXPORT_INTERVAL="100", RULES=RULES)
        host.wait_metrics()
        ask_some(world)
        sidecar.stop()
        assert not host.of("logs") and host.of("metrics")[0].path == "/v1/metrics"
    finally:
        host.close()


# --- console ---

def test_console_exporters_write_to_stderr(start, world):
    sidecar = start(OTEL_METRICS_EXPORTER="console", OTEL_LOGS_EXPORTER="console", OTEL_METRIC_EXPORT_INTERVAL="100",
                    RULES=RULES)
    ask_some(world)
    sidecar.wait_event("denied")
    wait_until(lambda: re.search(r"egress.policy.denied_total.*\n.*\b2\b", sidecar.stderr), what="metrics on stderr")
    wait_until(lambda: '"opensandbox.event":"egress.denied"' in sidecar.stderr, what="log records on stderr")


# --- off ---

@pytest.mark.parametrize("settings", [
    {}, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.80"},
    {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.80"}])
def test_off_means_no_thread_no_socket_no_curl(world, tmp_path, settings):
    """As strace sees it: two threads, no connection, no TCP socket that is not listened to, and none of the files that
    libcurl and OpenSSL read."""
    trace = tmp_path / "trace"
    process = world.sandbox.popen(
        "strace", "-D", "-f", "-qq", "-s", "200", "-e", "trace=clone,clone3,socket,listen,connect,openat", "-o", str(trace), BINARY,
        env=environment({"DNS_UPSTREAM": UPSTREAM_V4, "MODE": "dns", "RULES_DIR": str(tmp_path), **settings}),
        stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(world), 20, "an answer")
        wait_until(lambda: len(list(pathlib.Path(f"/proc/{process.pid}/task").iterdir())) == 3,
                   what="loop, export and API to be all threads")
    finally:
        process.terminate()
        process.wait(15)
        world.sandbox.run("nft", "delete", "table", "inet", "opensandbox")
    seen = trace.read_text()
    assert "openssl.cnf" not in seen and "/etc/ssl" not in seen
    streams = re.findall(r"socket\(AF_INET6?, SOCK_STREAM.*= (\d+)", seen)
    assert streams and set(streams) <= set(re.findall(r"listen\((\d+),", seen)), streams
    for call in re.findall(r"connect\(.*", seen):
        assert f'"{UPSTREAM_V4}"' in call or "AF_INET" not in call, call


def _answers(world):
    try:
        answer = dnsclient.ask(world.sandbox, "www.other.test", timeout=0.2)
        return dnsclient.rcode(answer) == "NXDOMAIN"
    except (OSError, dns.exception.Timeout):
        return None
