"""Direct connections to addresses in the log: which are there, how often, and what they cannot do."""

import contextlib
import os
import pathlib
import signal
import socket
import time

import pytest

from tests.support import dnsclient
from tests.support.metrics import Scrape
from tests.support.preload import preloaded
from tests.support.tcpclient import connection, connects, family_of, ping, refusal_seconds, udp_refusal_seconds
from tests.support.waiting import PATIENCE, wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}, {"action": "deny", "target": "203.0.113.64/26"},
                    {"action": "allow", "target": "203.0.113.0/24"}, {"action": "allow", "target": "2001:db8:1::/48"}]}
LAST = "192.0.2.200"  # the last thing a test tries: when that is logged, so is everything before it


def _peers(sidecar):
    """All records of direct connections, as (event, peer, port, transport, rule)."""
    connects(sidecar.namespace, LAST, 9999)
    last = sidecar.wait_record(lambda record: record.get("peer") == LAST)
    return [(record["opensandbox.event"].removeprefix("egress."), record["peer"], record.get("network.peer.port"),
             record["network.transport"], record.get("rule"))
            for record in sidecar.records if "peer" in record and record is not last]


def _try(world, transport, address):
    if transport == "tcp":
        connects(world.sandbox, address)
    elif transport == "udp":
        with world.sandbox.inside():
            sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
        with sock, contextlib.suppress(PermissionError):
            sock.sendto(b"?", (address, 80))
    else:
        ping(world.sandbox, address)


@pytest.mark.parametrize("transport", ["tcp", "udp", "icmp"])
@pytest.mark.parametrize("event, address, rule", [
    ("outbound", "203.0.113.9", None), ("outbound", "2001:db8:1::9", None), ("denied", "203.0.113.66", "203.0.113.64/26"),
    ("denied", "198.51.100.9", "default"), ("denied", "2001:db8:2::9", "default")])
def test_direct_connection_is_logged_once(world, start, transport, event, address, rule):
    sidecar = start(RULES=RULES)
    for _ in range(50):
        _try(world, transport, address)
    name = "icmpv6" if transport == "icmp" and ":" in address else transport
    assert _peers(sidecar) == [(event, address, None if transport == "icmp" else 80, name, rule)]
    record = sidecar.wait_event(event, peer=address)
    assert (record["level"], record["msg"]) == ("info", f"egress {event}")


def test_every_port_is_logged(world, start):
    sidecar = start(RULES=RULES)
    for port in 80, 81, 82:
        connects(world.sandbox, "203.0.113.9", port)
    assert [peer[2] for peer in _peers(sidecar)] == [80, 81, 82]


@pytest.mark.parametrize("default", ["deny", "allow"])
def test_learned_addresses_are_no_direct_connections(world, start, default, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "allow.always").write_text("203.0.113.11\n")
    sidecar = start(RULES={**RULES, "defaultAction": default})
    for name in "www", "api":
        dnsclient.ask(world.sandbox, f"{name}.allowed.test")
        dnsclient.ask(world.sandbox, f"{name}.allowed.test", "AAAA")
    for address in "203.0.113.10", "2001:db8:1::10", "203.0.113.11", "2001:db8:1::11":
        assert connects(world.sandbox, address)
        _try(world, "udp", address)
        _try(world, "icmp", address)
    assert _peers(sidecar) == []


def test_what_else_is_no_direct_connection(world, start):
    sidecar = start(RULES={}, NAMESERVER_EXEMPT="8.8.8.8")
    with world.sandbox.inside():
        server = socket.create_server(("0.0.0.0", 0))
    with server:
        port = server.getsockname()[1]
        assert connects(world.sandbox, "127.0.0.1", port) and connects(world.sandbox, "10.0.5.2", port)
        assert connects(world.internet, "10.0.5.2", port)
    dnsclient.ask(world.sandbox, "www.other.test")  # to an upstream, redirected
    connects(world.sandbox, "8.8.8.8", 53)
    assert _peers(sidecar) == []


def test_default_allow(world, start):
    sidecar = start(RULES={"defaultAction": "allow", "egress": [{"action": "deny", "target": "203.0.113.66"}]})
    assert connects(world.sandbox, "203.0.113.9")
    refusal_seconds(world.sandbox, "203.0.113.66")
    assert _peers(sidecar) == [("outbound", "203.0.113.9", 80, "tcp", None),
                               ("denied", "203.0.113.66", 80, "tcp", "203.0.113.66")]


def test_rules_that_are_no_targets(world, start, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "deny.always").write_text("203.0.113.128/25\n")
    (tmp_path / "rules" / "allow.always").write_text("203.0.113.64/30\n")
    sidecar = start(RULES=RULES, BLOCK_DOH_443="on", DOH_BLOCKLIST="203.0.113.9")
    dnsclient.ask(world.sandbox, "cluster.allowed.test")
    assert connects(world.sandbox, "10.9.8.7")
    sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "cluster.allowed.test"}])
    refusal_seconds(world.sandbox, "203.0.113.130")
    refusal_seconds(world.sandbox, "203.0.113.9", 853)
    udp_refusal_seconds(world.sandbox, "203.0.113.9", 443)
    refusal_seconds(world.sandbox, "10.9.8.7")
    assert connects(world.sandbox, "203.0.113.65")
    assert _peers(sidecar) == [("denied", "203.0.113.130", 80, "tcp", "203.0.113.128/25"),
                               ("denied", "203.0.113.9", 853, "tcp", "dot"),
                               ("denied", "203.0.113.9", 443, "udp", "doh"),
                               ("denied", "10.9.8.7", 80, "tcp", "revoked"),
                               ("outbound", "203.0.113.65", 80, "tcp", None)]


def test_address_that_is_denied_while_it_is_used(world, start):
    sidecar = start(RULES=RULES)
    with connection(world.sandbox, "203.0.113.9") as sock:
        sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "203.0.113.9"}])
        with pytest.raises(OSError):
            for _ in range(100):
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(4096)
    refusal_seconds(world.sandbox, "203.0.113.9")
    assert _peers(sidecar) == [("outbound", "203.0.113.9", 80, "tcp", None),
                               ("denied", "203.0.113.9", 80, "tcp", "203.0.113.9")]


def test_what_was_logged_is_remembered(world, start):
    """Across policy changes, a repair, and a crash."""
    sidecar = start(RULES=RULES)
    both = [("outbound", "203.0.113.9", 80, "tcp", None), ("denied", "198.51.100.9", 80, "tcp", "default")]

    def try_both():
        assert connects(world.sandbox, "203.0.113.9")
        refusal_seconds(world.sandbox, "198.51.100.9")

    try_both()
    sidecar.request("PATCH", "/policy", [{"action": "allow", "target": "203.0.113.8"}])
    try_both()
    world.sandbox.nft("add rule inet opensandbox egress counter")  # somebody meddles
    sidecar.wait_record(lambda record: record["level"] == "error")
    wait_until(lambda: "egress counter" not in world.sandbox.table(), what="the repair")
    try_both()
    assert _peers(sidecar) == both
    sidecar.signal(signal.SIGKILL)
    sidecar.wait_end()
    sidecar.records.clear()
    sidecar.restart().wait_healthy()
    try_both()
    # LAST was logged before the crash, so it is remembered as well.
    refusal_seconds(world.sandbox, "198.51.100.10")
    sidecar.wait_event("denied", peer="198.51.100.10")
    assert not [record for record in sidecar.records if record.get("peer") in ("203.0.113.9", "198.51.100.9", LAST)]


FLOOD = """
import random, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tried, begin = 0, time.monotonic()
while (now := time.monotonic() - begin) < {seconds}:
    for _ in range(max(0, int(now * 50000) - tried)):
        try:
            sock.sendto(b"x", (f"198.18.{{random.randrange(256)}}.{{random.randrange(256)}}", random.randrange(1024, 65536)))
        except PermissionError:
            pass
        tried += 1
    time.sleep(0.001)
print(tried)
"""


def _cpu_seconds(pid):
    user, system = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_flood_of_destinations_does_not_hold_dns_up(world, start):
    seconds = 4
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    before = _cpu_seconds(sidecar.process.pid)
    began = time.monotonic()
    flood = world.sandbox.popen("/usr/bin/python3", "-c", FLOOD.format(seconds=seconds), stdout=-1, text=True)
    waited = []
    while flood.poll() is None:
        begin = time.monotonic()
        dnsclient.ask(world.sandbox, "www.allowed.test")
        waited.append(time.monotonic() - begin)
        time.sleep(0.005)
    spent, took = _cpu_seconds(sidecar.process.pid) - before, time.monotonic() - began
    tried = int(flood.stdout.read())
    flood.stdout.close()
    assert tried > 5000 * seconds, "no flood on this machine"
    # The flood takes a processor of the machine for itself, and what is left is not all the sidecar's.
    assert sorted(waited)[len(waited) // 4] < 0.005 * PATIENCE and sum(one > 0.5 * PATIENCE for one in waited) <= 2
    assert spent < took * 0.25 * PATIENCE, f"{spent:.2f} s of CPU"
    report = sidecar.wait_record(lambda record: "direct connections are not in the log" in record["msg"])
    assert report["level"] == "warn" and int(report["msg"].split()[0]) > 0
    logged = len(sidecar.events("denied"))
    assert 200 <= logged <= 210 + 100 * took
    suppressed = wait_until(lambda: Scrape(sidecar).value("egress_peer_suppressed_total"), what="the count")
    assert 0 < suppressed <= tried
    assert sum("direct connections are not in the log" in record["msg"] for record in sidecar.records) == 1


def _works_without_peers(world, sidecar):
    assert connects(world.sandbox, "203.0.113.9")
    refusal_seconds(world.sandbox, "203.0.113.66")
    dnsclient.ask(world.sandbox, "www.allowed.test")
    sidecar.wait_event("outbound", target_host="www.allowed.test")
    assert "log group" not in world.sandbox.table()
    assert not [record for record in sidecar.records if "peer" in record]


def test_kernel_that_logs_no_packets(world, start, tmp_path):
    """One warning, and everything else works; also after somebody else's flush."""
    sidecar = start(RULES=RULES, through=preloaded("old_kernel", tmp_path, LACKS="log"))
    warning = sidecar.wait_record(lambda record: "direct connections are not logged" in record["msg"])
    assert warning["level"] == "warn" and "nft_log" in warning["msg"]
    _works_without_peers(world, sidecar)
    world.sandbox.run("nft", "flush", "ruleset")
    sidecar.wait_record(lambda record: "changed from outside" in record["msg"])
    _works_without_peers(world, sidecar)
    assert sum("direct connections" in record["msg"] for record in sidecar.records) == 1


def test_repair_that_fails_once_is_no_reason_to_log_no_more(world, start, tmp_path):
    failures = tmp_path / "failures"
    failures.write_bytes(b"\0")
    sidecar = start(RULES=RULES, through=preloaded("failing", tmp_path, FAILING_SENDS=failures))
    failures.write_bytes(b"\2")
    world.sandbox.run("nft", "flush", "ruleset")
    sidecar.wait_record(lambda record: "changed from outside" in record["msg"])
    assert failures.read_bytes() == b"\0"
    assert connects(world.sandbox, "203.0.113.9")
    assert sidecar.wait_event("outbound", peer="203.0.113.9")


def test_somebody_else_listens_to_nflog(world, start):
    """One warning, and everything else works."""
    with world.sandbox.inside():
        other = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
    with other:
        # nfnetlink_log.h: NFULNL_MSG_CONFIG for group 54, with NFULA_CFG_CMD = NFULNL_CFG_CMD_BIND
        other.send(bytes.fromhex("1c000000 0104 0500 00000000 00000000 00 00 0036 0500 0100 01 000000"))
        sidecar = start(RULES=RULES)
        warning = sidecar.wait_record(lambda record: "direct connections are not logged" in record["msg"])
        assert warning["level"] == "warn" and "group 54" in warning["msg"]
        _works_without_peers(world, sidecar)


def test_dns_mode_sees_no_connections(world, start):
    sidecar = start(MODE="dns", RULES=RULES)
    assert connects(world.sandbox, "198.51.100.9")
    assert "log group" not in world.sandbox.table()
    dnsclient.ask(world.sandbox, "www.allowed.test")
    sidecar.wait_event("outbound", target_host="www.allowed.test")
    assert not [record for record in sidecar.records if "peer" in record]
