"""Clients and upstreams that go to the limits: deep pipelines, half-closed connections, more at once than fits."""

import concurrent.futures
import os
import select
import socket
import struct
import time

import dns.flags
import dns.rcode
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.resolver import wait_asked

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD = "198.51.100.53"
PIPELINE = 32  # queries of one connection that the sidecar works on at once


def _frames(names):
    """One write's worth of queries; their ids count from 0."""
    data = b""
    for number, name in enumerate(names):
        query = dnsclient.question(name)
        query.id = number
        wire = query.to_wire()
        data += struct.pack("!H", len(wire)) + wire
    return data


def _ids(sock, count):
    answers = (dnsclient.receive_tcp(sock) for _ in range(count))
    return sorted(answer.id for answer in answers if answer)


def _cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("count", [40, 100, 300])
@pytest.mark.parametrize("half_closed", [False, True])
def test_pipeline_deeper_than_the_limit(world, start, resolver, count, half_closed):
    resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        sock.sendall(_frames(f"n{i}.allowed.test" for i in range(count)))
        if half_closed:
            sock.shutdown(socket.SHUT_WR)
        assert _ids(sock, count) == list(range(count))


def test_full_pipeline_costs_nothing_and_the_next_is_answered(world, start, resolver):
    """One place is left beside queries that the upstream does not answer."""
    def answer_some(request):
        if not request.name.startswith("silent"):
            faults.good(request)

    odd = resolver(ODD, answer_some)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="20")
    silent = [f"silent{i}.allowed.test" for i in range(PIPELINE - 1)]
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        sock.sendall(_frames(silent))
        wait_asked(odd, silent[-1])
        query = dnsclient.question("www.allowed.test")
        dnsclient.send_tcp(sock, query)
        assert dnsclient.receive_tcp(sock).id == query.id
        before, begin = _cpu_seconds(sidecar.process.pid), time.monotonic()
        while time.monotonic() - begin < 1:
            assert dnsclient.addresses(dnsclient.ask(world.sandbox, "api.allowed.test")) == ["203.0.113.10"]
            time.sleep(0.05)
        assert _cpu_seconds(sidecar.process.pid) - before < 0.5


def test_two_queries_in_one_write_do_not_wait_for_each_other(world, start):
    start(RULES=RULES)
    seconds = []
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        for _ in range(20):
            begin = time.monotonic()
            sock.sendall(_frames(["www.allowed.test", "www.other.test"]))
            assert _ids(sock, 2) == [0, 1]
            seconds.append(time.monotonic() - begin)
    # Delayed acknowledgements hit all but the first few.
    assert min(seconds[-10:]) < 0.02, "delayed acknowledgements are felt"


def test_truncated_answer_that_breaks_off_in_a_record_is_passed_on(world, start, resolver):
    def break_off(request):
        response = request.answer(f"{request.name} 60 A 203.0.113.1", f"{request.name} 60 A 203.0.113.2")
        response.flags |= dns.flags.TC
        request.reply(response.to_wire()[:-7])

    resolver(ODD, break_off)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    answer = dnsclient.ask(world.sandbox, "www.allowed.test")
    assert dnsclient.rcode(answer) == "NOERROR" and answer.flags & dns.flags.TC


def test_few_addresses_allowed_and_many_come_at_once(world, start, resolver):
    def twelve(request):
        if request.name.endswith(".allowed.test."):
            number = int(request.name.split(".")[0])
            request.reply(request.answer(*[f"{request.name} 60 A 10.{number}.0.{i}" for i in range(12)]))

    resolver(ODD, twelve)
    start(RULES=RULES, DNS_UPSTREAM=ODD, MAX_ADDRESSES="16")
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda i: dnsclient.ask(world.sandbox, f"{i}.allowed.test"), range(100)))
    assert [dnsclient.rcode(answer) for answer in answers] == ["NOERROR"] * 100


def test_ttl_never_outlives_the_lease(world, start, resolver):
    ttls = iter([0, 30, 300, 3600, 0x7FFFFFFF])

    def answer(request):
        request.reply(request.answer(f"{request.name} {next(ttls)} A 203.0.113.10"))

    resolver(ODD, lambda request: answer(request) if request.name.startswith("t") else None)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    seen = [dnsclient.ask(world.sandbox, f"t{i}.allowed.test").answer[0].ttl for i in range(5)]
    assert seen[:3] == [0, 30, 300] and all(300 <= ttl < 360 for ttl in seen[3:])


def test_our_own_limit_is_not_the_upstreams_fault(world, start, resolver):
    """More truncated answers than connections to upstreams: those beyond fail at once, the upstream stays in use."""
    def truncate_and_hang(request):
        if request.name.startswith("after"):
            faults.good(request)
        elif not request.tcp:
            faults.truncating(request)

    other = "198.51.100.54"
    first = resolver(ODD, truncate_and_hang)
    # It must win no race: who loses three is asked last for a while, and rightly so.
    fail = faults.failing(dns.rcode.SERVFAIL)
    resolver(other, lambda request: (fail if request.name.startswith("n") else faults.good)(request))
    start(RULES=RULES, DNS_UPSTREAM=f"{ODD},{other}", DNS_UPSTREAM_TIMEOUT="60")
    clients = [dnsclient.tcp_socket(world.sandbox, "192.0.2.53") for _ in range(10)]
    for number, client in enumerate(clients):
        client.sendall(_frames(f"n{number}x{i}.allowed.test" for i in range(30)))
    answered, _, _ = select.select(clients, [], [], 20)
    assert dnsclient.rcode(dnsclient.receive_tcp(answered[0])) == "SERVFAIL"
    for i in range(5):
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, f"after{i}.allowed.test")) == ["203.0.113.10"]
    # The other one may be asked as well, when the first takes its time.
    assert all(first.asked(f"after{i}.allowed.test") for i in range(5))
    for client in clients:
        client.close()
