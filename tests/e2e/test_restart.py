"""What a new process takes over from one that was killed."""

import time

import pytest

from tests.support import dnsclient
from tests.support.ruleset import seconds_left
from tests.support.tcpclient import Visitor, connection, connects, refusal_seconds
from tests.support.world import UPSTREAM_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ALLOWED_V4, ALLOWED_V6 = "203.0.113.10", "2001:db8:1::10"
DENIED_V4, DENIED_V6 = "203.0.113.66", "2001:db8:1::66"


@pytest.mark.once
def test_fifty_crashes_never_open_and_never_forget(world, start):
    sidecar = start(RULES=RULES)
    for rdtype in "A", "AAAA":
        dnsclient.ask(world.sandbox, "www.allowed.test", rdtype)
    with connection(world.sandbox, ALLOWED_V4) as kept, Visitor(world.sandbox, DENIED_V4, DENIED_V6) as burglar, \
            Visitor(world.sandbox, ALLOWED_V4, ALLOWED_V6, timeout=10) as friend:
        for _ in range(50):
            sidecar.kill()
            sidecar.restart().wait_healthy()
        kept.sendall(b"GET / HTTP/1.0\r\nHost: kept\r\n\r\n")
        assert kept.recv(1000).startswith(b"HTTP/1.1 200")
    assert burglar.failed > 100 and not burglar.reached
    assert friend.reached > 100 and not friend.failed


def test_leases_go_on_where_they_were(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "moment.allowed.test")
    dnsclient.ask(world.sandbox, "forever.allowed.test")
    sidecar.kill()
    begin = time.monotonic()
    before = {address: seconds_left(world.sandbox, address) for address in ("203.0.113.41", "203.0.113.40")}
    sidecar.restart().wait_healthy()
    for address, seconds in before.items():
        left = seconds_left(world.sandbox, address)
        assert seconds - 3 - (time.monotonic() - begin) <= left <= seconds


def test_learned_addresses_are_known_by_name(world, start):
    sidecar = start(RULES=RULES)
    for name in "www", "api":
        dnsclient.ask(world.sandbox, f"{name}.allowed.test")
    sidecar.kill()
    sidecar.restart().wait_healthy()
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "api.allowed.test"}]).status == 200
    assert connects(world.sandbox, ALLOWED_V4)
    refusal_seconds(world.sandbox, "203.0.113.11")


def test_policy_that_is_stricter_at_the_restart_revokes(world, start):
    sidecar = start(RULES=RULES)
    for name in "www", "api":
        dnsclient.ask(world.sandbox, f"{name}.allowed.test")
    sidecar.kill()
    with connection(world.sandbox, "203.0.113.11") as flow:
        sidecar.settings["RULES"] = {"egress": [{"action": "allow", "target": "www.allowed.test"}]}
        sidecar.restart().wait_healthy()
        assert connects(world.sandbox, ALLOWED_V4)
        refusal_seconds(world.sandbox, "203.0.113.11")
        flow.settimeout(2)
        with pytest.raises(ConnectionError):
            flow.sendall(b"GET / HTTP/1.0\r\n\r\n")
            flow.recv(100)
            flow.recv(100)


def test_upstreams_are_those_of_the_first_start(world, start, resolver):
    forger = resolver("198.51.100.53", lambda request: request.reply(request.answer(f"{request.name} 60 A {DENIED_V4}")))
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n")
    sidecar = start(RULES=RULES, DNS_UPSTREAM=None)
    world.sandbox.resolv_conf("nameserver 198.51.100.53\n")
    sidecar.kill()
    sidecar.records.clear()
    sidecar.restart().wait_healthy()
    sidecar.wait_record(lambda record: record["level"] == "warn" and "resolv.conf" in record["msg"])
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == [ALLOWED_V4]
    assert not forger.requests
    sidecar.kill()
    sidecar.settings["DNS_UPSTREAM"] = "198.51.100.53"  # the environment is the operator's
    sidecar.restart().wait_healthy()
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == [DENIED_V4]


def test_resolv_conf_that_stayed_is_no_warning(world, start):
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n")
    sidecar = start(RULES=RULES, DNS_UPSTREAM=None)
    sidecar.kill()
    sidecar.records.clear()
    sidecar.restart().wait_healthy()
    sidecar.wait_event("loaded")
    assert not [record for record in sidecar.records if "resolv.conf" in record["msg"]]


def test_connections_prolong_a_lease_across_a_restart(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "moment.allowed.test")  # a TTL of 0, a lease of a minute
    assert seconds_left(world.sandbox, "203.0.113.41") <= 60
    assert connects(world.sandbox, "203.0.113.41")
    assert seconds_left(world.sandbox, "203.0.113.41") > 350
    sidecar.kill()
    sidecar.restart().wait_healthy()
    assert seconds_left(world.sandbox, "203.0.113.41") > 340
