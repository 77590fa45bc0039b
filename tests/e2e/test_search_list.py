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
    start(RULES=RULES, DNS_UPSTREAM=None)
    for tcp in False, True:
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test", tcp=tcp)) == ["203.0.113.10"]
    assert neighbour.asked("www.allowed.test")
