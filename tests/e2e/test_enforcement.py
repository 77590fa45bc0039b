"""What the kernel enforces while policies change, at the start, and when it refuses us."""

import contextlib
import itertools
import socket
import subprocess
import time

import pytest

from tests.support import dnsclient, netns, ruleset
from tests.support.metrics import Scrape
from tests.support.tcpclient import Flood, Visitor, connects, family_of, refusal_seconds
from tests.support.waiting import wait_until
from tests.support.world import GATEWAY_V4, GATEWAY_V6, SANDBOX_V4, SANDBOX_V6

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
LEARNED, ALLOWED_V4, ALLOWED_V6 = "203.0.113.10", "203.0.113.13", "2001:db8:1::10"
DENIED_V4, DENIED_V6 = "203.0.113.66", "2001:db8:1::66"


@contextlib.contextmanager
def _table_of_another_owner(namespace):
    """Our table is gone, and one of its name is there that nobody but its owner may change."""
    with namespace.popen("nft", "-i", stdin=subprocess.PIPE, text=True) as owner:
        # One line is one transaction: the sidecar puts no table of its own in between.
        owner.stdin.write("delete table inet opensandbox; add table inet opensandbox { flags owner; }\n")
        owner.stdin.flush()
        try:
            yield
        finally:
            owner.stdin.close()
            owner.wait(10)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_address_that_the_kernel_refuses_is_no_answer(world, start, tcp):
    sidecar = start(RULES=RULES)

    def ask(name):  # at the listener: the redirect is gone with the table
        return dnsclient.ask(world.sandbox, name, server="127.0.0.1", port=15353, tcp=tcp)

    with _table_of_another_owner(world.sandbox):
        sidecar.wait_unhealthy()
        answer = ask("www.allowed.test")
        assert dnsclient.rcode(answer) == "SERVFAIL" and not answer.answer
        record = sidecar.wait_event("outbound", target_host="www.allowed.test")
        assert "kernel" in record["error"] and "target.ips" not in record
        assert dnsclient.rcode(ask("missing.allowed.test")) == "NXDOMAIN", "without an address there is nothing to refuse"
    assert Scrape(sidecar).value("egress_nftables_errors_total") > 0
    sidecar.wait_healthy()
    assert dnsclient.addresses(ask("www.allowed.test")) == [LEARNED]
    assert connects(world.sandbox, LEARNED)


def _rules(text):
    return [{"action": "allow" if word[0] == "+" else "deny", "target": word[1:]} for word in text.split()]


@pytest.mark.once
def test_two_hundred_changes_have_no_moment_in_between(world, start):
    """Policies with nothing in common but what they say of these addresses, each in its own way."""
    policies = itertools.cycle([
        {"egress": _rules(f"+*.allowed.test +{ALLOWED_V4} +{ALLOWED_V6}")},
        {"defaultAction": "allow", "egress": _rules(f"-{DENIED_V4} -{DENIED_V6}")},
        {"egress": _rules(f"+203.0.113.0/24 +2001:db8:1::/64 +www.allowed.test -{DENIED_V4}/31 -{DENIED_V6}/127")},
        {"defaultAction": "allow", "egress": _rules("-203.0.113.64/26 -2001:db8:1::60/124 -www.other.test")}])
    sidecar = start(RULES=next(policies))
    dnsclient.ask(world.sandbox, "www.allowed.test")
    # Flows that ended are not kept: every change looks at all there are, and the visitor makes thousands.
    with world.sandbox.sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", 1), \
            Visitor(world.sandbox, DENIED_V4, DENIED_V6) as burglar, \
            Visitor(world.sandbox, ALLOWED_V4, ALLOWED_V6, LEARNED, timeout=10) as friend:
        for _ in range(200):
            assert sidecar.request("POST", "/policy", next(policies)).status == 200
    assert burglar.failed > 100 and not burglar.reached
    assert friend.reached > 100 and not friend.failed


OTHERS = [f"10.{i // 128}.{i % 128 * 2}.0/24" for i in range(1000)]  # the kernel needs a moment for them


def _others(action):
    return [{"action": action, "target": target} for target in OTHERS]


@pytest.mark.once
def test_ranges_and_default_change_together(world, start):
    """The kernel shows new ranges later than the rules of their transaction (docs/kernel.md)."""
    listed = {"defaultAction": "allow", "egress": _others("deny") + _rules(f"-{DENIED_V4}")}
    closed = {"egress": _others("allow") + _rules(f"+{ALLOWED_V4}")}
    sidecar = start(RULES=closed)
    with Flood(world.sandbox, DENIED_V4) as burglar, Flood(world.sandbox, ALLOWED_V4) as friend:
        for policy in [listed, closed] * 20:
            assert sidecar.request("POST", "/policy", policy).status == 200
    assert burglar.refused > 1000 and not burglar.passed
    assert friend.passed > 1000 and not friend.refused


@pytest.mark.once
def test_denied_ranges_hold_through_restarts(world, start):
    sidecar = start(RULES={"defaultAction": "allow", "egress": _others("deny") + _rules(f"-{DENIED_V4}")})
    # One that meets the gate is not refused: it goes on by itself, a second later.
    with Flood(world.sandbox, DENIED_V4) as burglar, Visitor(world.sandbox, ALLOWED_V4, timeout=10) as friend:
        for _ in range(20):
            sidecar.kill()
            sidecar.restart().wait_healthy()
    assert burglar.refused > 1000 and not burglar.passed
    assert friend.reached > 20 and not friend.failed


@pytest.mark.once
def test_denied_ranges_hold_through_repairs(world, start):
    sidecar = start(RULES={"defaultAction": "allow", "egress": _others("deny") + _rules(f"-{DENIED_V4}")})
    with Flood(world.sandbox, DENIED_V4) as burglar:
        for i in range(5):
            world.sandbox.run("nft", "add", "element", "inet", "opensandbox", "allow_v4", "{ 192.0.2.1 }")
            wait_until(lambda: sum("changed from outside" in record["msg"] for record in sidecar.records) > i, what="a repair")
    assert burglar.refused > 1000 and not burglar.passed


@pytest.mark.once
def test_leases_go_on_through_policy_changes(world, start):
    sidecar = start(RULES=RULES)
    names = {"moment.allowed.test": "203.0.113.41", "forever.allowed.test": "203.0.113.40"}
    for name in names:
        dnsclient.ask(world.sandbox, name)
    begin = time.monotonic()
    before = {address: ruleset.seconds_left(world.sandbox, address) for address in names.values()}
    for rules in RULES, {"defaultAction": "allow"}, {"egress": [{"action": "allow", "target": "*"}]}, RULES:
        assert sidecar.request("POST", "/policy", rules).status == 200
        for address, seconds in before.items():
            left = ruleset.seconds_left(world.sandbox, address)
            assert seconds - 3 - (time.monotonic() - begin) <= left <= seconds


def test_every_start_draws_a_mark(world, start):
    seen = set()
    sidecar = start(RULES=RULES)
    for _ in range(4):
        seen.add(ruleset.mark(world.sandbox))
        sidecar.kill()
        sidecar.restart().wait_healthy()
    assert len(seen) == 4 and not seen & {0, 1}


@pytest.mark.once
def test_nothing_is_open_when_the_first_answer_comes(world, start):
    with world.sandbox.inside():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(0.05)
        client.connect(("127.0.0.1", 15353))
        query = dnsclient.question("www.other.test").to_wire()

        def answered():
            try:
                client.send(query)
                return client.recv(512)
            except OSError:
                return None
        assert connects(world.sandbox, DENIED_V4)
        start(RULES=RULES, healthy=False)
        assert dnsclient.rcode(dnsclient.parse(wait_until(answered, what="the first answer"))) == "NXDOMAIN"
        assert not connects(world.sandbox, DENIED_V4)


@pytest.fixture
def behind(world):
    """A namespace behind the sandbox, which forwards to it over a link of small packets."""
    inner = netns.Namespace("behind")
    try:
        netns.link(world.sandbox, ("eth1", ("10.0.6.1/24", "fd00:6::1/64")),
                   inner, ("eth0", ("10.0.6.2/24", "fd00:6::2/64")))
        world.sandbox.ip("link set eth1 mtu 1280")
        inner.ip("route add default via 10.0.6.1")
        inner.ip("-6 route add default via fd00:6::1")
        world.internet.ip(f"route add 10.0.6.0/24 via {SANDBOX_V4}")
        world.internet.ip(f"-6 route add fd00:6::/64 via {SANDBOX_V6}")
        with world.sandbox.sysctl("net/ipv4/conf/all/forwarding", 1), \
                world.sandbox.sysctl("net/ipv6/conf/all/forwarding", 1):
            yield
        world.internet.ip("route del 10.0.6.0/24")
        world.internet.ip("-6 route del fd00:6::/64")
    finally:
        inner.close()


@pytest.mark.parametrize("address, level, option, value", [
    ("10.0.6.2", socket.IPPROTO_IP, 14, 10), ("fd00:6::2", socket.IPPROTO_IPV6, 24, 23)], ids=["v4", "v6"])
def test_path_mtu_messages_pass(world, start, behind, address, level, option, value):
    """The sandbox's kernel tells a sender outside that its packets are too big, whatever the policy."""
    start(RULES={"egress": [{"action": "deny", "target": GATEWAY_V4}, {"action": "deny", "target": GATEWAY_V6}]})
    with world.internet.inside():
        sender = socket.socket(family_of(address), socket.SOCK_DGRAM)
    with sender:
        sender.setsockopt(level, value, 2)  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: never in fragments
        sender.connect((address, 5000))

        def path_mtu():
            with contextlib.suppress(OSError):
                sender.send(b"x" * 1400)
            return sender.getsockopt(level, option)  # IP_MTU, IPV6_MTU
        wait_until(lambda: path_mtu() == 1280, what="the path's MTU")
    refusal_seconds(world.sandbox, GATEWAY_V4)
