"""GET /metrics: names, labels and types as Prometheus's own parsers read them, and values against what happened."""

import fcntl
import http.client
import re
import struct
import threading
import time

import dns.flags
import dns.rcode
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.metrics import OPENMETRICS, SCOPE_LABELS, Scrape, promtool
from tests.support.sidecar import Client
from tests.support.tcpclient import connects
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD = "198.51.100.53"
F_SETPIPE_SZ = 1031
DURATION = "egress_dns_query_duration_seconds"

# name: type, in the text format
EXPECTED = {
    "target_info": "gauge",
    "egress_dns_query_duration_seconds": "histogram",
    "egress_dns_queries": "counter",
    "egress_dns_cache_hits": "counter",
    "egress_dns_inflight": "gauge",
    "egress_dns_limited": "counter",
    "egress_dns_suspect": "counter",
    "egress_dns_upstreams_healthy": "gauge",
    "egress_policy_denied": "counter",
    "egress_policy_revision": "gauge",
    "egress_policy_reload_errors": "counter",
    "egress_enforcement_active": "gauge",
    "egress_nftables_rules_count": "gauge",
    "egress_nftables_updates_count": "counter",
    "egress_nftables_errors": "counter",
    "egress_nftables_repairs": "counter",
    "egress_dynamic_addresses": "gauge",
    "egress_dynamic_evicted": "counter",
    "egress_peer_connections": "counter",
    "egress_peer_suppressed": "counter",
    "egress_api_request_count": "counter",
    "egress_api_request_duration_seconds": "histogram",
    "egress_api_connections_limited": "counter",
    "egress_api_denied": "counter",
    "egress_webhook_sent": "counter",
    "egress_webhook_failed": "counter",
    "egress_webhook_dropped": "counter",
    "egress_log_dropped": "counter",
    "egress_system_memory_usage_bytes": "gauge",
    "egress_system_cpu_utilization_ratio": "gauge",
    "egress_process_memory_usage_bytes": "gauge",
    "egress_process_cpu_time_seconds": "counter",
}


def start_counting(start, **settings):
    """A sidecar whose queries are all forwarded."""
    return start(RULES=RULES, DNS_CACHE="0", **settings)


def queries(sidecar):
    """(result, proto): how many."""
    return {(s.labels["result"], s.labels["proto"]): s.value for s in Scrape(sidecar).all("egress_dns_queries_total")
            if s.value}


@pytest.fixture
def slow_query(world, resolver):
    """A thread, to be started, that asks for slow.allowed.test, and the event that its upstream's answer waits for."""
    released = threading.Event()

    def behave(request):
        if request.name.startswith("slow."):  # in a thread of its own, half a second after it came
            released.wait(20)
        faults.good(request)
    resolver(ODD, behave)
    asking = threading.Thread(target=dnsclient.ask, args=(world.sandbox, "slow.allowed.test"), kwargs={"timeout": 20})
    yield asking, released
    released.set()


def expect_none_in_flight(sidecar):
    """A query is over a moment after its answer has left."""
    wait_until(lambda: Scrape(sidecar).value("egress_dns_inflight") == 0, what="no query under way")


def raw(world, query, flags=None):
    """Sends a query whose header says something else, and waits for the answer."""
    wire = bytearray(query.to_wire())
    if flags is not None:
        wire[2:4] = struct.pack("!H", flags)
    return dnsclient.exchange_raw(world.sandbox, bytes(wire))


def test_every_query_is_counted_once(world, start):
    sidecar = start_counting(start)
    for _ in range(5):
        dnsclient.ask(world.sandbox, "www.allowed.test")
    dnsclient.ask(world.sandbox, "nothing.allowed.test")  # NXDOMAIN is an answer
    dnsclient.ask(world.sandbox, "rebind.allowed.test")  # so is one without the address that the guard takes out
    for _ in range(3):
        dnsclient.ask(world.sandbox, "api.allowed.test", tcp=True)
    for _ in range(4):
        dnsclient.ask(world.sandbox, "www.other.test")
    dnsclient.ask(world.sandbox, "www.other.test", tcp=True)
    dnsclient.ask(world.sandbox, "www.allowed.test", "ANY")
    assert raw(world, dnsclient.question("www.allowed.test"), dns.flags.RD | 2 << 11)  # STATUS: NOTIMP
    assert queries(sidecar) == {("allowed", "udp"): 7, ("allowed", "tcp"): 3, ("denied", "udp"): 4,
                                ("denied", "tcp"): 1, ("refused", "udp"): 1, ("malformed", "udp"): 1}
    scrape = Scrape(sidecar)
    assert scrape.value("egress_policy_denied_total") == 5
    assert scrape.value(f"{DURATION}_count") == 10, "what was forwarded, and nothing else"
    expect_none_in_flight(sidecar)


def test_cache_hits_are_counted_and_not_timed(world, start):
    sidecar = start(RULES=RULES)
    for tcp in False, False, False, True:
        dnsclient.ask(world.sandbox, "www.allowed.test", tcp=tcp)
    scrape = Scrape(sidecar)
    assert [scrape.value("egress_dns_cache_hits_total", proto=proto) for proto in ("udp", "tcp")] == [2, 1]
    assert [scrape.value("egress_dns_queries_total", result="allowed", proto=proto)
            for proto in ("udp", "tcp")] == [3, 1]
    assert scrape.value(f"{DURATION}_count") == 1


def test_failed_queries_are_counted_and_timed(world, start, resolver):
    resolver(ODD, faults.failing(dns.rcode.SERVFAIL))
    sidecar = start_counting(start, DNS_UPSTREAM=ODD, DNS_UPSTREAM_PROBE_INTERVAL_SEC="1")
    for _ in range(3):
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "SERVFAIL"
    assert queries(sidecar) == {("failed", "udp"): 3}
    assert Scrape(sidecar).value(f"{DURATION}_count") == 3
    wait_until(lambda: Scrape(sidecar).value("egress_dns_upstreams_healthy") == 0, what="the probe to fail")


def test_duration_and_in_flight(start, slow_query):
    asking, released = slow_query
    sidecar = start_counting(start, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="20")
    assert Scrape(sidecar).value("egress_dns_upstreams_healthy") == 1
    begin = time.monotonic()
    asking.start()
    wait_until(lambda: Scrape(sidecar).value("egress_dns_inflight") == 1, what="a query under way")
    released.set()
    asking.join()
    took = time.monotonic() - begin
    scrape = Scrape(sidecar)
    assert scrape.value(f"{DURATION}_bucket", le="0.25") == 0
    assert scrape.value(f"{DURATION}_bucket", le="+Inf") == 1
    assert 0.4 < scrape.value(f"{DURATION}_sum") < took
    expect_none_in_flight(sidecar)


def test_policy_decides_anew_while_a_query_is_under_way(start, slow_query):
    asking, released = slow_query
    sidecar = start_counting(start, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="20")
    asking.start()
    wait_until(lambda: Scrape(sidecar).value("egress_dns_inflight") == 1, what="a query under way")
    assert sidecar.request("POST", "/policy", "").status == 200
    released.set()
    asking.join()
    assert queries(sidecar) == {("denied", "udp"): 1}
    assert Scrape(sidecar).value(f"{DURATION}_count") == 0
    expect_none_in_flight(sidecar)


def test_requests_are_counted_by_method_route_and_status(start):
    sidecar = start_counting(start, TOKEN="s3cret")
    token = {"OPENSANDBOX-EGRESS-AUTH": "s3cret"}
    for _ in range(3):
        sidecar.request("GET", "/policy", headers=token)
    sidecar.request("GET", "/policy")
    sidecar.request("PATCH", "/policy", "[]", headers=token)
    for path in "/a", "/b?c", "/policy/x":
        sidecar.request("GET", path)
    sidecar.request("BREW", "/policy", headers=token)
    sidecar.request("GET", "/credential-vault/secret", headers=token)
    scrape = Scrape(sidecar)

    def count(method, route, status):
        labels = {"http_request_method": method, "http_route": route, "http_response_status_code": str(status)}
        total = scrape.value("egress_api_request_count_total", **labels)
        assert scrape.value("egress_api_request_duration_seconds_count", **labels) == total
        return total

    assert count("GET", "/policy", 200) == 3 and count("GET", "/policy", 401) == 1
    assert count("PATCH", "/policy", 400) == 1 and count("GET", "other", 404) == 3
    assert count("_OTHER", "/policy", 405) == 1 and count("GET", "/credential-vault", 404) == 1
    assert count("GET", "/healthz", 200) >= 1
    known = {"/policy", "/healthz", "/metrics", "/credential-vault", "other"}
    assert {s.labels["http_route"] for s in scrape.all("egress_api_request_count_total")} <= known
    again = Scrape(sidecar)
    assert again.value("egress_api_request_count_total", http_route="/metrics", http_request_method="GET") == 1, \
        "a scrape shows those before it"


def test_policies_and_enforcement(start, tmp_path):
    sidecar = start(RULES=RULES)

    def shown():
        scrape = Scrape(sidecar)
        return [scrape.value(f"egress_{name}") for name in ("policy_revision", "policy_reload_errors_total",
                                                            "enforcement_active")]
    assert shown() == [1, 0, 1]
    assert sidecar.request("POST", "/policy", "{").status == 400
    assert shown() == [1, 0, 1], "what was refused is no revision"
    assert sidecar.request("POST", "/policy", "").status == 200
    assert sidecar.request("PATCH", "/policy", RULES["egress"]).status == 200
    assert shown() == [3, 0, 1]
    rules = tmp_path / "rules"
    rules.mkdir(exist_ok=True)
    (rules / "deny.always").write_text("not a name\n")
    wait_until(lambda: shown()[1] == 1, what="the broken file to be counted")
    assert shown() == [3, 1, 1]


def test_rules_and_transactions(world, start):
    sidecar = start(RULES=RULES)

    def shown():
        scrape = Scrape(sidecar)
        return [scrape.value(f"egress_nftables_{name}") for name in ("rules_count", "updates_count_total", "errors_total",
                                                                     "repairs_total")]
    rules, updates, errors, repairs = shown()
    assert rules > 50 and updates >= 1 and not errors and not repairs
    ranges = [{"action": "allow", "target": target} for target in ("192.0.2.0/28", "192.0.2.64/28", "2001:db8:9::/64")]
    assert sidecar.request("PATCH", "/policy", ranges).status == 200
    assert shown() == [rules + 3, updates + 1, 0, 0]
    assert sidecar.request("DELETE", "/policy", [ranges[0]["target"]]).status == 200
    assert shown() == [rules + 2, updates + 2, 0, 0]
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert shown() == [rules + 2, updates + 3, 0, 0], "an address that was learned is no rule"


def test_direct_connections(world, start):
    rules = [*RULES["egress"], {"action": "allow", "target": "203.0.113.0/24"}]
    sidecar = start(RULES={"egress": rules})
    for _ in range(3):
        assert connects(world.sandbox, "203.0.113.9")
    for _ in range(2):
        assert not connects(world.sandbox, "198.51.100.9")
    wait_until(lambda: [Scrape(sidecar).value("egress_peer_connections_total", result=result)
                        for result in ("allowed", "denied")] == [3, 2], what="both to be counted")


def test_denials_that_the_search_list_made_are_counted(world, start):
    """They are logged quietly, but are denials all the same."""
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\nsearch svc.cluster.test\n")
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test.svc.cluster.test")
    assert Scrape(sidecar).value("egress_policy_denied_total") == 1


def test_no_token_is_needed_and_scrapes_are_logged_at_debug(start):
    sidecar = start(RULES=RULES, TOKEN="s3cret", LOG_LEVEL="debug")
    Scrape(sidecar)
    head = sidecar.request("HEAD", "/metrics")
    assert head.status == 200 and head.text == "" and int(head.headers["Content-Length"]) > 1000
    assert sidecar.request("POST", "/metrics", "x").status == 405
    record = sidecar.wait_record(lambda r: r.get("http.route") == "/metrics" and r["http.request.method"] == "HEAD")
    assert record["level"] == "debug" and record["http.response.status_code"] == 200


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_names_types_and_labels(world, start, accept):
    sidecar = start(RULES=RULES, MODE="dns+nft")
    dnsclient.ask(world.sandbox, "www.allowed.test")
    Scrape(sidecar)
    scrape = Scrape(sidecar, accept)
    expected = dict(EXPECTED)
    if scrape.openmetrics:
        assert scrape.text.endswith("# EOF\n")
        del expected["target_info"]
        expected["target"] = "info"
        units = {name: family.unit for name, family in scrape.families.items() if family.unit}
        assert units == {name: name.rsplit("_", 1)[1] for name in expected
                         if name.endswith(("_seconds", "_bytes", "_ratio"))}
    assert {name: family.type for name, family in scrape.families.items()} == expected
    assert all(family.documentation for family in scrape.families.values())
    content_type = "application/openmetrics-text; version=1.0.0" if accept else "text/plain; version=0.0.4"
    assert scrape.response.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    for sample in scrape.samples:
        assert sample.timestamp is None
        if sample.name != "target_info":
            assert SCOPE_LABELS <= set(sample.labels) and sample.labels["otel_scope_name"] == "opensandbox/egress"
    (target,) = scrape.all("target_info")
    assert re.fullmatch(r"opensandbox-egress-\d+\.\d+\.\d+", target.labels["service_name"])
    assert target.labels["telemetry_sdk_language"] == "c" and target.labels["os_type"] == "linux"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", target.labels["service_instance_id"])
    assert target.labels["process_pid"] == str(sidecar.process.pid) and target.value == 1


def test_promtool_reads_it(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    said = promtool(Scrape(sidecar).text)
    # The name is the reference's metric as every OpenTelemetry exporter writes it.
    assert [line for line in said if "egress_nftables_rules_count" not in line] == [], said


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_histograms_add_up(world, start, accept):
    sidecar = start_counting(start)
    for i in range(20):
        dnsclient.ask(world.sandbox, f"n{i}.allowed.test")
    scrape = Scrape(sidecar, accept)
    for name in DURATION, "egress_api_request_duration_seconds":
        for counted in scrape.all(f"{name}_count"):
            buckets = [s for s in scrape.all(f"{name}_bucket") if counted.labels.items() <= s.labels.items()]
            bounds = [float(s.labels["le"]) for s in buckets]
            assert bounds == [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, float("inf")]
            values = [s.value for s in buckets]
            assert values == sorted(values) and values[-1] == counted.value > 0
            assert scrape.value(f"{name}_sum", **counted.labels) > 0


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
@pytest.mark.parametrize("value", ['a"b\\c', "Zürich ☃ 東京", "x" * 10240, "a{b}#c 1", "back\\"])
def test_attributes_are_labels_of_every_sample(start, value, accept):
    sidecar = start(RULES=RULES, SANDBOX_ID=value, METRICS_EXTRA_ATTRS=f"team.name={value},9=nine,le=mine")
    scrape = Scrape(sidecar, accept)
    (target,) = scrape.all("target_info")
    assert target.labels["sandbox_id"] == value
    for sample in scrape.samples:
        if sample is not target:
            assert (sample.labels["sandbox_id"], sample.labels["team_name"]) == (value, value)
            assert (sample.labels["_9"], sample.labels["exported_le"]) == ("nine", "mine")
    assert scrape.value("egress_policy_revision", sandbox_id=value) >= 0


def test_attributes_that_cannot_be_told_apart(start):
    """Keys that become one label are joined; one that we use ourselves is left out, with a warning."""
    sidecar = start(RULES=RULES, METRICS_EXTRA_ATTRS="a-b=1,a.b=2,result=mine,k=old,k=new")
    labels = Scrape(sidecar).all("egress_dns_queries_total", result="allowed", proto="udp")[0].labels
    assert labels["a_b"] == "1;2" and labels["k"] == "new"
    assert not any(value == "mine" for value in labels.values())
    sidecar.wait_record(lambda r: r["level"] == "warn" and "result=mine" in r["msg"])


def test_resource_of_the_environment(start):
    sidecar = start(RULES=RULES, SANDBOX_ID="sbx", OTEL_SERVICE_NAME="mine",
                    OTEL_RESOURCE_ATTRIBUTES="deployment.name=pr%C3%B6d%2Ceu,sandbox_id=other,service.name=no")
    (target,) = Scrape(sidecar, OPENMETRICS).all("target_info")
    labels = [target.labels[name] for name in ("service_name", "deployment_name", "sandbox_id")]
    assert labels == ["mine", "pröd,eu", "sbx"]


def test_process_and_host(world, start):
    sidecar = start(RULES=RULES)
    first = Scrape(sidecar)
    assert first.value("egress_system_cpu_utilization_ratio") == 0, "there is nothing to compare with"
    assert first.value("egress_process_memory_usage_bytes") > 1 << 20
    with open("/proc/meminfo") as meminfo:
        total = int(re.search(r"MemTotal: +(\d+)", meminfo.read())[1]) * 1024
    assert 0 < first.value("egress_system_memory_usage_bytes") < total

    def used(mode):
        return Scrape(sidecar).value("egress_process_cpu_time_seconds_total", cpu_mode=mode)

    before = used("user") + used("system")

    def works():
        for _ in range(50):
            dnsclient.ask(world.sandbox, "www.other.test")
        return used("user") + used("system") > before
    wait_until(works, what="the process to use the CPU")
    wait_until(lambda: Scrape(sidecar).value("egress_system_cpu_utilization_ratio") > 0, what="a busy CPU")
    assert Scrape(sidecar).value("egress_system_cpu_utilization_ratio") <= 1


def test_counts_stay_whole_while_many_read(world, start):
    """Scrapes in both formats by several clients at once neither lose nor repeat what is recorded meanwhile."""
    sidecar = start_counting(start)
    total, stop, torn = 1500, threading.Event(), []

    def read(accept):
        last = 0
        while not stop.is_set():
            scrape = Scrape(Client(world.sandbox), accept)
            count = scrape.value(f"{DURATION}_count")
            if count < last or count != scrape.value(f"{DURATION}_bucket", le="+Inf"):
                torn.append((last, count))
            last = count

    readers = [threading.Thread(target=read, args=(accept,)) for accept in (None, OPENMETRICS)]
    for reader in readers:
        reader.start()
    try:
        wire = dnsclient.question("www.allowed.test").to_wire()
        with dnsclient.udp_socket(world.sandbox, "192.0.2.53") as sock:
            sock.settimeout(5)
            for i in range(total):
                sock.sendto(struct.pack("!H", i) + wire[2:], ("192.0.2.53", 53))
                sock.recv(1500)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not torn
    scrape = Scrape(sidecar)
    assert scrape.value("egress_dns_queries_total", result="allowed", proto="udp") == total
    assert scrape.value(f"{DURATION}_count") == total


def test_lost_log_records_are_counted(world, start):
    """While nobody reads standard output; and the count is what the log itself tells once somebody does."""
    sidecar = start(RULES=RULES, read_stdout=False)
    fcntl.fcntl(sidecar.process.stdout, F_SETPIPE_SZ, 4096)
    name = ".".join(["x" * 60] * 4)
    wire = dnsclient.question(name + ".test").to_wire()
    with dnsclient.udp_socket(world.sandbox, "192.0.2.53") as sock:
        sock.settimeout(5)

        def lost():
            for i in range(32):
                sock.sendto(struct.pack("!H", i) + wire[2:], ("192.0.2.53", 53))
            for _ in range(32):
                sock.recv(1500)
            return Scrape(sidecar).value("egress_log_dropped_total")
        wait_until(lost, timeout=30, what="the queue to be full")
    sidecar.drain_stdout()
    wait_until(lambda: sum(r.get("dropped", 0) + r.get("lost", 0) for r in sidecar.records)
               == Scrape(sidecar).value("egress_log_dropped_total"), timeout=20, what="the log to tell of as many")


def test_slow_scrapers_do_not_hold_others_up(world, start):
    sidecar = start(RULES=RULES)
    idle = []
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", 18080, timeout=10)
        with world.sandbox.inside():
            connection.connect()
        connection.request("GET", "/metrics")
        idle.append(connection)  # and does not read the answer
    try:
        assert Scrape(sidecar).value("egress_policy_denied_total") == 0
        assert sidecar.healthy()
    finally:
        for connection in idle:
            connection.close()
