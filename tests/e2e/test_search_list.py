"""The search list of resolv.conf: what stub resolvers make of it, and its nameservers."""

import json

import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.world import UPSTREAM_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
SEARCH = "search default.svc.cluster.test svc.cluster.test\noptions ndots:5\n"


@pytest.mark.parametrize("upstream", [UPSTREAM_V4, None], ids=["configured", "from-resolv.conf"])
def test_names_made_by_the_search_list_are_denied_quietly(world, start, upstream):
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n{SEARCH}")
    sidecar = start(RULES=RULES, DNS_UPSTREAM=upstream, LOG_LEVEL="debug")
    lookup = world.sandbox.run("getent", "ahostsv4", "www.allowed.test")
    assert "203.0.113.10" in lookup.stdout
    made = sidecar.wait_event("denied", target_host="www.allowed.test.default.svc.cluster.test")
    assert made["level"] == "debug" and made["rule"] == "default"
    answer = dnsclient.ask(world.sandbox, "www.allowed.test.svc.cluster.test", edns=True)
    assert dnsclient.rcode(answer) == "NXDOMAIN" and dnsclient.ede_codes(answer) == [15]
    for name in "www.other.test.svc.cluster.test", "www.allowed.test.other.test", "svc.cluster.test":
        dnsclient.ask(world.sandbox, name)
        assert sidecar.wait_event("denied", target_host=name)["level"] == "info"


def test_they_are_not_logged_at_info(world, start):
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n{SEARCH}")
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test.svc.cluster.test")
    dnsclient.ask(world.sandbox, "www.other.test.svc.cluster.test")
    sidecar.wait_event("denied", target_host="www.other.test.svc.cluster.test")
    assert len(sidecar.events("denied")) == 1


def test_without_a_search_list_every_denial_is_told(world, start):
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n")
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test.svc.cluster.test")
    sidecar.wait_event("denied", target_host="www.allowed.test.svc.cluster.test")


def test_link_local_nameserver_with_a_zone(world, start, resolver):
    # Addresses of our own: duplicate address detection of the kernel's takes seconds.
    for namespace, address in (world.internet, "fe80::53"), (world.sandbox, "fe80::52"):
        namespace.ip(f"addr add {address}/64 dev eth0 nodad")
    link = json.loads(world.internet.run("ip", "-j", "link", "show", "dev", "eth0").stdout)[0]
    neighbour = resolver(f"fe80::53%{link['ifindex']}", faults.good)
    world.sandbox.resolv_conf("nameserver fe80::53%eth0\n")
    sidecar = start(RULES=RULES, DNS_UPSTREAM=None)
    for tcp in False, True:
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test", tcp=tcp)) == ["203.0.113.10"]
    assert neighbour.asked("www.allowed.test")
    world.sandbox.resolv_conf("nameserver 198.51.100.53\n")  # the kernel's table remembers the zone
    sidecar.kill()
    sidecar.restart().wait_healthy()
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "api.allowed.test")) == ["203.0.113.10"]
    assert neighbour.asked("api.allowed.test")


def test_list_of_the_first_start_stays_over_a_restart(world, start):
    """An application that writes a search list would else make its denials quiet."""
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n{SEARCH}")
    sidecar = start(RULES=RULES, LOG_LEVEL="debug")
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\nsearch evil.test\n")
    for _ in range(2):  # it is put in place anew as it was read back
        sidecar.kill()
        sidecar.records.clear()
        sidecar.restart().wait_healthy()
        sidecar.wait_record(lambda record: record["level"] == "warn" and "search list" in record["msg"])
        for suffix, level in ("svc.cluster.test", "debug"), ("default.svc.cluster.test", "debug"), ("evil.test", "info"):
            dnsclient.ask(world.sandbox, f"www.allowed.test.{suffix}")
            assert sidecar.wait_event("denied", target_host=f"www.allowed.test.{suffix}")["level"] == level
    table = world.sandbox.table()
    assert 'comment "ndots:5"' in table and 'comment "default.svc.cluster.test"' in table


def test_no_list_at_the_first_start_stays_none(world, start):
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n")
    sidecar = start(RULES=RULES, MODE="dns")
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\nsearch evil.test\n")
    sidecar.kill()
    sidecar.restart().wait_healthy()
    dnsclient.ask(world.sandbox, "www.allowed.test.evil.test")
    sidecar.wait_event("denied", target_host="www.allowed.test.evil.test")


def test_list_that_stayed_is_no_warning(world, start):
    world.sandbox.resolv_conf(f"nameserver {UPSTREAM_V4}\n{SEARCH}")
    sidecar = start(RULES=RULES)
    sidecar.kill()
    sidecar.records.clear()
    sidecar.restart().wait_healthy()
    sidecar.wait_event("loaded")
    assert not [record for record in sidecar.records if "resolv.conf" in record["msg"]]
