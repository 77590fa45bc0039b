"""What variables and files of the sandbox do, seen from the application: those that no other page of tests is about."""

import pathlib
import re
import sys

import pytest

from tests.support import dnsclient, no_ipv6, resolver as faults
from tests.support.authority import many_v4, many_v6
from tests.support.sidecar import Client, command
from tests.support.tcpclient import connects, passes_udp, refusal_seconds
from tests.support.waiting import wait_until
from tests.support.world import GOOGLE_V4, SANDBOX_V4, UPSTREAM_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}, {"action": "allow", "target": "*.many.test"}]}
ODD = "198.51.100.53"
WITHOUT_IPV6 = (sys.executable, no_ipv6.__file__)


def _resolves(world, name="www.allowed.test", address="203.0.113.10", **how):
    return dnsclient.addresses(dnsclient.ask(world.sandbox, name, **how)) == [address]


def test_kernel_that_has_no_ipv6(world, start):
    start(RULES=RULES, through=WITHOUT_IPV6)
    assert _resolves(world) and connects(world.sandbox, "203.0.113.10")
    assert Client(world.internet, SANDBOX_V4).healthy(), "the API listens on IPv4 alone"
    assert not connects(world.sandbox, "::1", 18080)
    refusal_seconds(world.sandbox, "203.0.113.66")


def test_no_limit_to_rules(start):
    many = {"egress": [{"action": "allow", "target": f"n{i}.test"} for i in range(10000)]}
    sidecar = start(MAX_RULES="0")
    assert sidecar.request("POST", "/policy", many).status == 200
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "one.more.test"}]).status == 200
    assert len(sidecar.policy()["egress"]) == 10001


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_other_dns_port(world, start, tcp):
    start(RULES=RULES, DNS_PORT="15399")
    assert _resolves(world, tcp=tcp), "the redirect leads there"
    for server in "127.0.0.1", "::1":
        assert _resolves(world, server=server, port=15399, tcp=tcp)
    assert not connects(world.sandbox, "127.0.0.1", 15353)


def _checked(world, **settings):
    done = command(world.sandbox, ["--check"], {"DNS_UPSTREAM": UPSTREAM_V4, **settings})
    assert done.returncode == 0, done.stderr
    values = dict(re.findall(r"^OPENSANDBOX_EGRESS_(\w+)=(.*)$", done.stdout, re.M))
    return values, [line for line in done.stdout.splitlines() if line.startswith("warning")]


@pytest.mark.parametrize("name, default, least, most", [
    ("DNS_UPSTREAM_TIMEOUT", "5", "1", "120"), ("DNS_UPSTREAM_PROBE_INTERVAL_SEC", "30", "1", "3600"),
    ("DNS_MAX_INFLIGHT", "8192", "64", "32768"), ("DNS_TCP_MAX_CONNECTIONS", "256", "4", "16384"),
    ("DNS_TCP_MAX_PIPELINED", "32", "1", "4096"), ("DNS_TCP_MAX_UNSENT_KIB", "16384", "64", "1048576"),
    ("HTTP_MAX_CONNECTIONS", "96", "4", "1024")])
def test_bounds_and_default(world, name, default, least, most):
    assert _checked(world)[0][name] == default
    for value in least, most:
        values, warnings = _checked(world, **{name: value})
        assert values[name] == value and not warnings
    for value in "0", str(int(most) + 1):
        values, warnings = _checked(world, **{name: value})
        assert values[name] == default and name in warnings[0] and value in warnings[0]


def _packets(world, address):
    """How many packets left the sandbox for port 53 of an address, with a mark and without one."""
    listing = world.sandbox.run("nft", "list", "table", "inet", "watcher").stdout
    return [int(re.search(rf"{re.escape(address)} .*counter packets (\d+) .*{word}", listing)[1])
            for word in ("marked", "plain")]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_upstream_traffic_to_exempt_servers_carries_no_mark(world, start, resolver, tcp):
    rules = "".join(f'''
        ip daddr {address} th dport 53 meta mark != 0 counter comment "marked"
        ip daddr {address} th dport 53 meta mark 0 counter comment "plain"''' for address in (ODD, UPSTREAM_V4))
    world.sandbox.nft(f"table inet watcher {{ chain output {{ type filter hook output priority 200; {rules}\n }}\n}}\n")
    try:
        resolver(ODD, faults.truncating if tcp else faults.good)
        start(RULES=RULES, DNS_UPSTREAM=f"{ODD},{UPSTREAM_V4}", NAMESERVER_EXEMPT=ODD)
        dnsclient.ask(world.sandbox, "www.allowed.test", tcp=tcp)
        wait_until(lambda: sum(_packets(world, UPSTREAM_V4)), what="the probe of the other upstream")
        assert _packets(world, UPSTREAM_V4)[0] > 0 and _packets(world, UPSTREAM_V4)[1] == 0
        assert _packets(world, ODD)[0] == 0 and _packets(world, ODD)[1] > 0
    finally:
        world.sandbox.nft("delete table inet watcher")


def test_addresses_are_limited_per_family(world, start):
    limit = 16
    start(RULES=RULES, MAX_ADDRESSES=str(limit))
    for i in range(limit):
        for rdtype in "A", "AAAA":
            dnsclient.ask(world.sandbox, f"host{i}.many.test", rdtype)
    for i in range(limit):
        assert connects(world.sandbox, many_v4(i)) and connects(world.sandbox, many_v6(i)), "each family has its own room"
    dnsclient.ask(world.sandbox, f"host{limit}.many.test")
    assert connects(world.sandbox, many_v4(limit))
    refusal_seconds(world.sandbox, many_v4(0))
    assert connects(world.sandbox, many_v6(0)), "and one does not make room for the other"


def test_resolv_conf_that_names_no_server(world, start, resolver):
    google = resolver(GOOGLE_V4, faults.good)
    world.sandbox.resolv_conf("search example.test\n")
    sidecar = start(RULES=RULES, DNS_UPSTREAM=None)
    sidecar.wait_record(lambda record: record["level"] == "warn" and "8.8.8.8:53" in record["msg"]
                        and "resolv.conf" in record["msg"])
    assert _resolves(world) and google.asked("www.allowed.test")


def test_hosts_file_is_never_consulted(world, start):
    """Neither the one from before the start nor the one that the application writes later."""
    lie = "203.0.113.66 www.allowed.test made.up.allowed.test\n"
    world.sandbox.etc("hosts", lie)
    sidecar = start(RULES=RULES)
    assert "203.0.113.66" in pathlib.Path(f"/proc/{sidecar.process.pid}/root/etc/hosts").read_text() or \
        "203.0.113.66" in world.sandbox.run("cat", "/etc/hosts").stdout, "the sandbox has this file"
    for _ in range(2):
        for rdtype in "A", "AAAA":
            dnsclient.ask(world.sandbox, "www.allowed.test", rdtype)
        assert _resolves(world)
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, "made.up.allowed.test")) == "NXDOMAIN"
        refusal_seconds(world.sandbox, "203.0.113.66")
        world.sandbox.etc("hosts", lie + "203.0.113.66 api.allowed.test\n")
    assert _resolves(world, "api.allowed.test", "203.0.113.11")


def test_private_ranges_are_learned(world, start):
    """Cluster services live there."""
    start(RULES=RULES)
    for address, rdtype in ("10.9.8.7", "A"), ("fd09::7", "AAAA"):
        refusal_seconds(world.sandbox, address)
        dnsclient.ask(world.sandbox, "cluster.allowed.test", rdtype)
        assert connects(world.sandbox, address) and passes_udp(world.sandbox, address)


def test_addresses_are_learned_under_default_allow(world, start):
    """So that denying their name ends what it led to, and that explain knows the name."""
    sidecar = start(RULES={"defaultAction": "allow"})
    dnsclient.ask(world.sandbox, "www.allowed.test")
    dnsclient.ask(world.sandbox, "api.allowed.test")
    explained = sidecar.request("GET", "/policy/explain?target=203.0.113.10").text
    assert "www.allowed.test" in explained
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "www.allowed.test"}]).status == 200
    refusal_seconds(world.sandbox, "203.0.113.10")
    assert connects(world.sandbox, "203.0.113.11")
