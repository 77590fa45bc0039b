"""Limits that an operator may set: each is kept to, and counted when it is hit."""

import contextlib
import select

from tests.support import dnsclient, resolver as faults
from tests.support.metrics import Scrape
from tests.support.sidecar import PORT, Client
from tests.support.tcpclient import connection
from tests.support.waiting import wait_until
from tests.support.world import GATEWAY_V4, SANDBOX_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD = "198.51.100.53"


def _limited(sidecar, limit):
    return Scrape(sidecar).value("egress_dns_limited_total", limit=limit)


def _closed(sock):
    if not select.select([sock], [], [], 0)[0]:
        return False
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_tcp_connections(world, start):
    sidecar = start(RULES=RULES, DNS_TCP_MAX_CONNECTIONS="4")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(dnsclient.tcp_socket(world.sandbox, "192.0.2.53")) for _ in range(4)]
        for sock in held:
            dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test"))
            assert dnsclient.receive_tcp(sock)
        assert _limited(sidecar, "connections") == 0
        held.append(stack.enter_context(dnsclient.tcp_socket(world.sandbox, "192.0.2.53")))
        wait_until(lambda: _limited(sidecar, "connections") == 1, what="the limit")
        wait_until(lambda: sum(map(_closed, held)) == 1, what="the end of one connection")


def test_queries_of_a_connection(world, start, resolver):
    held = []
    odd = resolver(ODD, held.append)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_TCP_MAX_PIPELINED="2", DNS_UPSTREAM_TIMEOUT="60")

    def asked():
        return {request.name for request in odd.requests if request.name.endswith("allowed.test.")}

    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        for i in range(5):
            dnsclient.send_tcp(sock, dnsclient.question(f"n{i}.allowed.test"))
        wait_until(lambda: _limited(sidecar, "pipelined") == 1, what="the limit")
        # Somebody else's query comes later and is asked first.
        with dnsclient.udp_socket(world.sandbox, "192.0.2.53") as other:
            other.sendto(dnsclient.question("other.allowed.test").to_wire(), ("192.0.2.53", 53))
            wait_until(lambda: odd.asked("other.allowed.test"), what="the other's query")
        assert asked() == {"n0.allowed.test.", "n1.allowed.test.", "other.allowed.test."}
        odd.behave = faults.good
        for request in held:
            faults.good(request)
        answers = [dnsclient.receive_tcp(sock) for _ in range(5)]
        assert all(dnsclient.addresses(answer) == ["203.0.113.10"] for answer in answers)


def test_replies_that_nobody_takes(world, start, resolver):
    resolver(ODD, faults.largest)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_TCP_MAX_UNSENT_KIB="64", DNS_TCP_MAX_PIPELINED="1000")
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        with contextlib.suppress(OSError):
            for _ in range(300):
                dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test", "TXT"))
        wait_until(lambda: _limited(sidecar, "unsent") == 1, timeout=10, what="the limit")
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test", "TXT", tcp=True)) == "NOERROR"


def test_queries_under_way(world, start, resolver):
    odd = resolver(ODD, faults.silent)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_MAX_INFLIGHT="64", DNS_UPSTREAM_TIMEOUT="60")
    with dnsclient.udp_socket(world.sandbox, "192.0.2.53") as sock:
        sock.settimeout(10)
        for i in range(80):
            sock.sendto(dnsclient.question(f"n{i}.allowed.test").to_wire(), ("192.0.2.53", 53))
            wait_until(lambda name=f"n{i}.allowed.test": odd.asked(name), what="the question")
        answer = dnsclient.parse(sock.recv(4096))
    assert dnsclient.rcode(answer) == "SERVFAIL"
    # Probes of the upstream are under way as well, one or two at a time.
    assert 16 <= _limited(sidecar, "inflight") <= 18
    assert Scrape(sidecar).value("egress_dns_inflight") >= 62


def test_api_connections(world, start):
    start(RULES=RULES, HTTP_MAX_CONNECTIONS="4")
    outside = Client(world.internet, SANDBOX_V4, source=GATEWAY_V4)

    def limited():
        return Scrape(outside).value("egress_api_connections_limited_total")

    def open_one(stack):
        sock = stack.enter_context(connection(world.sandbox, "127.0.0.1", PORT, timeout=5))
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        return sock

    with contextlib.ExitStack() as stack:
        held = [open_one(stack) for _ in range(4)]
        assert limited() == 0
        held.append(open_one(stack))
        wait_until(lambda: _closed(held[0]), what="the end of the oldest connection")
        assert limited() == 1 and not any(map(_closed, held[1:]))
