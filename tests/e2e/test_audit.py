"""Audit mode refuses nothing and records everything; the policy suggested from it is enough to enforce."""

import contextlib
import re
import socket

import pytest

from tests.support import dnsclient
from tests.support.fountain import ends_within, goes_on
from tests.support.metrics import Scrape
from tests.support.receiver import Receiver
from tests.support.sidecar import command
from tests.support.tcpclient import connection, connects, passes_udp, ping, refusal_seconds
from tests.support.waiting import PATIENCE, wait_until

MODES = pytest.mark.parametrize("mode", ["dns+audit", "dns+nft+audit"])
DENY_SOME = {"egress": [{"action": "deny", "target": "203.0.113.64/26"}, {"action": "deny", "target": "*.wild.test"},
                        {"action": "allow", "target": "*.allowed.test"}]}
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
LOUD = "NOTHING IS ENFORCED"


def _allows(*targets):
    return {"egress": [{"action": "allow", "target": target} for target in targets], "defaultAction": "deny"}


def _resolves(world, name, *expected, rdtype="A"):
    answer = dnsclient.ask(world.sandbox, name, rdtype)
    return dnsclient.rcode(answer) == "NOERROR" and dnsclient.addresses(answer) == sorted(expected)


def _netdev_table(world):
    return world.sandbox.run("nft", "list", "table", "netdev", "opensandbox").returncode == 0


@pytest.mark.parametrize("spelling, mode", [("dns+audit", "dns+audit"), (" Audit + DNS ", "dns+audit"),
                                            ("nft+AUDIT+dns", "dns+nft+audit")])
def test_mode_in_answers(start, spelling, mode):
    sidecar = start(MODE=spelling)
    health = sidecar.request("GET", "/healthz")
    assert health.status == 200 and LOUD in health.text and "ok" not in health.text.split()
    assert sidecar.request("GET", "/policy").json()["enforcementMode"] == mode
    assert sidecar.request("POST", "/policy", _allows("a.test")).json()["enforcementMode"] == mode
    assert sidecar.wait_record(lambda record: LOUD in record["msg"])["level"] == "warn"
    assert [sample.value for sample in Scrape(sidecar).all("egress_enforcement_active")] == [0]


@MODES
def test_denied_name_is_answered_and_recorded(world, start, mode):
    sidecar = start(MODE=mode, RULES=DENY_SOME)
    assert _resolves(world, "www.other.test", "203.0.113.66")
    assert _resolves(world, "a.wild.test", "203.0.113.30")
    assert _resolves(world, "a.wild.test", "203.0.113.30")  # from the cache
    assert _resolves(world, "www.allowed.test", "203.0.113.10")
    assert connects(world.sandbox, "203.0.113.30") and connects(world.sandbox, "203.0.113.10")
    assert sidecar.wait_event("denied", target_host="www.other.test", rule="default")["audit"] is True
    assert "audit" not in sidecar.wait_event("outbound", target_host="www.allowed.test")
    assert [record["audit"] for record in sidecar.events("denied", target_host="a.wild.test", rule="*.wild.test")] == \
        [True, True]
    assert not sidecar.events("outbound", target_host="a.wild.test")
    sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "www.allowed.test"}])
    assert connects(world.sandbox, "203.0.113.10")
    assert _resolves(world, "www.allowed.test", "203.0.113.10")
    sidecar.wait_event("denied", target_host="www.allowed.test", audit=True)
    assert not [record for record in sidecar.records if "peer" in record], "the name says it all"
    metrics = Scrape(sidecar)
    assert metrics.value("egress_policy_denied_total") == 4
    assert metrics.value("egress_dns_queries_total", result="denied", transport="udp") == 0


def test_refused_connections_pass_and_are_recorded(world, start, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "deny.always").write_text("198.51.100.128/25\n")
    sidecar = start(MODE="dns+nft+audit", RULES=DENY_SOME, BLOCK_DOH_443="on", DOH_BLOCKLIST="203.0.113.9")
    assert _resolves(world, "www.other.test", "203.0.113.66")
    for address in "203.0.113.66", "203.0.113.66", "198.51.100.9", "198.51.100.130", "2001:db8:1::66":
        assert connects(world.sandbox, address)
    assert passes_udp(world.sandbox, "203.0.113.9", 853)
    assert passes_udp(world.sandbox, "203.0.113.9", 443)
    ping(world.sandbox, "198.51.100.11")

    def denied():
        return [(record["peer"], record.get("network.peer.port"), record["rule"], record.get("audit"))
                for record in sidecar.events("denied") if "peer" in record]
    expected = [("203.0.113.66", 80, "203.0.113.64/26", True), ("198.51.100.9", 80, "default", True),
                ("198.51.100.130", 80, "198.51.100.128/25", True), ("2001:db8:1::66", 80, "default", True),
                ("203.0.113.9", 853, "dot", True), ("203.0.113.9", 443, "doh", True),
                ("198.51.100.11", None, "default", True)]
    wait_until(lambda: len(denied()) >= len(expected), what="the records")
    assert denied() == expected
    assert not re.search(r"\b(drop|reject)\b", world.sandbox.table()) and not _netdev_table(world)


def test_nothing_that_is_open_ends(world, start, download):
    with connection(world.sandbox, "198.51.100.20") as old:
        sidecar = start(MODE="dns+nft+audit", RULES=_allows("203.0.113.0/24", "*.allowed.test"))
        flows = [download("203.0.113.9", TCP), download("203.0.113.9", UDP)]
        assert _resolves(world, "www.allowed.test", "203.0.113.10")
        named = download("203.0.113.10", TCP)
        dry = sidecar.request("POST", "/policy?dryRun=true", {}).json()
        assert (dry["flowsTotal"], dry["revokedTotal"]) == (0, 0)
        deny = {"egress": [{"action": "deny", "target": "203.0.113.0/24"}]}
        assert sidecar.request("POST", "/policy", deny).status == 200
        for flow in *flows, named:
            goes_on(flow)
        old.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert old.recv(100)


def test_what_the_rebinding_guard_refuses_is_answered_and_not_learned(world, start):
    sidecar = start(MODE="dns+nft+audit", RULES=DENY_SOME)
    for _ in range(2):
        assert _resolves(world, "mixed.allowed.test", "169.254.169.254", "203.0.113.42")
    assert _resolves(world, "rebind.allowed.test", "127.0.0.1")
    record = sidecar.wait_event("denied", target_host="rebind.allowed.test")
    assert (record["rule"], record["target.ips"], record["audit"]) == ("rebinding guard", ["127.0.0.1"], True)
    assert len(sidecar.events("denied", target_host="mixed.allowed.test")) == 2
    assert "203.0.113.42" in world.sandbox.table() and "169.254.169.254" not in world.sandbox.table()
    suggested = sidecar.request("GET", "/policy/suggested").json()
    assert suggested == _allows("mixed.allowed.test", "rebind.allowed.test", "127.0.0.1", "169.254.169.254")


def test_webhook_is_not_told(world, start):
    with contextlib.closing(Receiver(world.internet, "198.51.100.88", 8080)) as receiver:
        sidecar = start(MODE="dns+nft+audit", DENY_WEBHOOK="http://198.51.100.88:8080/hook")
        assert _resolves(world, "www.other.test", "203.0.113.66")
        sidecar.wait_event("denied", target_host="www.other.test")
        sidecar.stop()  # after what was to be told
        assert not receiver.hostnames()


@pytest.mark.parametrize("mode", ["dns+nft+audit", "dns+audit"])
def test_table_is_taken_over_by_an_enforcing_start_and_back(world, start, download, mode):
    audit = start(MODE=mode, RULES=DENY_SOME)
    assert _resolves(world, "www.other.test", "203.0.113.66") and _resolves(world, "www.allowed.test", "203.0.113.10")
    flows = [download("203.0.113.66", TCP), download("198.51.100.9", TCP)]
    audit.kill()
    enforcing = start(MODE="dns+nft", RULES=DENY_SOME)
    assert enforcing.request("GET", "/healthz").text == "ok"
    for flow in flows:
        ends_within(flow, 5 * PATIENCE)
    refusal_seconds(world.sandbox, "203.0.113.66")
    refusal_seconds(world.sandbox, "198.51.100.9")
    if "nft" in mode:
        assert connects(world.sandbox, "203.0.113.10"), "learned in audit mode, of a name that is allowed"
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test")) == "NXDOMAIN"
    assert "audit" not in enforcing.wait_event("denied", target_host="www.other.test")
    enforcing.stop()
    refusal_seconds(world.sandbox, "198.51.100.9")
    start(MODE=mode, RULES=DENY_SOME)
    assert connects(world.sandbox, "198.51.100.9") and connects(world.sandbox, "203.0.113.66")
    assert not _netdev_table(world)


def test_start_that_fails_closes(world, start):
    assert connects(world.sandbox, "198.51.100.9")
    result = command(world.sandbox, (), {"MODE": "dns+nft+audit", "RULES": "{"})
    try:
        assert result.returncode == 78
        refusal_seconds(world.sandbox, "198.51.100.9")
    finally:
        world.sandbox.run("nft", "delete", "table", "inet", "opensandbox")
        world.sandbox.run("nft", "delete", "table", "netdev", "opensandbox")


@pytest.mark.parametrize("mode", ["dns+nft+audit", "dns+audit"])
def test_enforcing_start_that_fails_closes_what_audit_mode_left_open(world, start, mode):
    audit = start(MODE=mode, RULES=DENY_SOME)
    audit.kill()
    again = command(world.sandbox, (), {"MODE": mode, "RULES": "{"})
    assert again.returncode == 78 and connects(world.sandbox, "198.51.100.9"), "an audit run refuses nothing, failed or not"
    result = command(world.sandbox, (), {"MODE": "dns+nft", "RULES": "{"})
    assert result.returncode == 78
    refusal_seconds(world.sandbox, "198.51.100.9")
    audit.restart().wait_healthy()
    assert connects(world.sandbox, "198.51.100.9")


def _day_of_a_client(world):
    """What a client does, and whether all of it works."""
    return {
        "names": all([_resolves(world, "www.allowed.test", "203.0.113.10"),
                      _resolves(world, "www.allowed.test", "2001:db8:1::10", rdtype="AAAA"),
                      _resolves(world, "api.allowed.test", "203.0.113.11"),
                      _resolves(world, "v4only.allowed.test", "203.0.113.13"),
                      _resolves(world, "moment.allowed.test", "203.0.113.41"),
                      _resolves(world, "deep.down.allowed.test", "203.0.113.12"),
                      _resolves(world, "cluster.allowed.test", "10.9.8.7"),
                      _resolves(world, "www.other.test", "203.0.113.66")]),
        "their addresses": all(connects(world.sandbox, address)
                               for address in ("203.0.113.10", "2001:db8:1::10", "203.0.113.66", "10.9.8.7")),
        "direct": all(connects(world.sandbox, address) for address in ("10.9.1.1", "198.51.100.7", "2001:db8:7::7")),
        "datagrams": passes_udp(world.sandbox, "10.9.1.2"),
    }


EVERYTHING = {"names": True, "their addresses": True, "direct": True, "datagrams": True}
SUGGESTED = _allows("*.allowed.test", "www.other.test", "10.9.1.1", "10.9.1.2", "198.51.100.7", "2001:db8:7::7")


def test_suggested_policy_is_enough(world, start):
    """Observe, take what is suggested, enforce it: the same client works, and nothing of it is denied."""
    audit = start(MODE="dns+nft+audit")
    assert _day_of_a_client(world) == EVERYTHING
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "missing.other.test")) == "NXDOMAIN"
    assert passes_udp(world.sandbox, "203.0.113.9", 853), "which no policy can allow"
    wait_until(lambda: audit.events("denied", peer="203.0.113.9"), what="the last record")
    suggested = audit.request("GET", "/policy/suggested")
    assert suggested.headers["Content-Type"] == "application/json" and suggested.text.endswith("}\n")
    assert "OPENSANDBOX-EGRESS-INCOMPLETE" not in suggested.headers
    assert suggested.json() == SUGGESTED
    audit.stop()

    enforcing = start(MODE="dns+nft")
    assert enforcing.request("POST", "/policy", suggested.text).status == 200
    assert enforcing.policy() == SUGGESTED
    assert _day_of_a_client(world) == EVERYTHING
    refusal_seconds(world.sandbox, "198.51.100.200")
    enforcing.wait_event("denied", peer="198.51.100.200")  # when that is there, so is everything before it
    assert len(enforcing.events("denied")) == 1


def test_suggested_while_enforcing(world, start, tmp_path):
    """Allowed and denied, names and peers; not what the always files decide."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "deny.always").write_text("never.wild.test\n198.51.100.128/25\n")
    (tmp_path / "rules" / "allow.always").write_text("v4only.allowed.test\n198.51.100.64/26\n")
    sidecar = start(RULES=_allows("www.allowed.test", "203.0.113.9"), TOKEN="secret")
    key = {"OPENSANDBOX-EGRESS-AUTH": "secret"}
    assert sidecar.request("GET", "/policy/suggested", headers=key).json() == _allows()
    for name in "www.allowed.test", "www.other.test", "never.wild.test", "v4only.allowed.test":
        dnsclient.ask(world.sandbox, name)
    for address in "203.0.113.9", "198.51.100.9", "198.51.100.130", "198.51.100.65", "203.0.113.10", "198.51.100.10":
        connects(world.sandbox, address)
    sidecar.wait_event("denied", peer="198.51.100.10")
    suggested = sidecar.request("GET", "/policy/suggested", headers=key).json()
    assert suggested == _allows("www.allowed.test", "www.other.test", "198.51.100.9", "198.51.100.10", "203.0.113.9")
    assert sidecar.request("GET", "/policy/suggested").status == 401
    refused = sidecar.request("POST", "/policy/suggested", {}, headers=key)
    assert (refused.status, refused.headers["Allow"]) == (405, "GET")


def test_suggestion_says_that_it_lacks_something(world, start):
    sidecar = start(MODE="dns+nft+audit")
    assert _resolves(world, "a\\032b.wild.test", "203.0.113.30")
    lacking = sidecar.request("GET", "/policy/suggested")
    assert lacking.json() == _allows() and lacking.headers["OPENSANDBOX-EGRESS-INCOMPLETE"] == "names"
    with world.sandbox.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        for i in range(1000):  # more at once than the log takes
            sock.sendto(b"?", (f"198.18.{i // 250}.{i % 250 + 1}", 5000))
    wait_until(lambda: sidecar.request("GET", "/policy/suggested").headers["OPENSANDBOX-EGRESS-INCOMPLETE"] ==
               "names, addresses", what="the answer to say so")
    assert sidecar.request("POST", "/policy", sidecar.request("GET", "/policy/suggested").text).status == 200
