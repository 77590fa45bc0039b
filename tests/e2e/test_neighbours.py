"""Others around the sandbox: clients from outside, the link itself, and Docker's resolver inside."""

import socket
import struct
import threading

import pytest

from tests.support import dnsclient, resolver as faults, ruleset
from tests.support.resolver import Resolver
from tests.support.sidecar import Client
from tests.support.tcpclient import connection, connects, refusal_seconds, udp_refusal_seconds
from tests.support.world import GATEWAY_V4, GATEWAY_V6, SANDBOX_V4, SANDBOX_V6, UPSTREAM_V4

DENY_NEIGHBOURS = {"defaultAction": "deny", "egress": [
    {"action": "allow", "target": "*.allowed.test"}, {"action": "deny", "target": "10.0.0.0/8"},
    {"action": "deny", "target": "fd00::/8"}, {"action": "deny", "target": "::/0"}]}


@pytest.fixture
def echo(world):
    """An echo server of the application's in the sandbox; its port."""
    with world.sandbox.inside():
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)

    def serve(sock):
        with sock:
            while data := sock.recv(4096):
                sock.sendall(data)

    def accept():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def _echoes(sock, text=b"hello"):
    sock.sendall(text)
    return sock.recv(100) == text


@pytest.mark.parametrize("gateway, sandbox", [(GATEWAY_V4, SANDBOX_V4), (GATEWAY_V6, SANDBOX_V6)], ids=["v4", "v6"])
def test_client_in_a_denied_network_reaches_api_and_server(world, start, echo, gateway, sandbox):
    start(RULES=DENY_NEIGHBOURS)
    assert Client(world.internet, sandbox, source=gateway).healthy()
    with connection(world.internet, sandbox, echo, source=gateway) as sock:
        assert _echoes(sock)
    refusal_seconds(world.sandbox, gateway)
    udp_refusal_seconds(world.sandbox, gateway)


@pytest.mark.parametrize("gateway, sandbox", [(GATEWAY_V4, SANDBOX_V4), (GATEWAY_V6, SANDBOX_V6)], ids=["v4", "v6"])
def test_connection_from_outside_outlives_a_deny(world, start, echo, gateway, sandbox):
    sidecar = start(RULES={"defaultAction": "allow"})
    with connection(world.internet, sandbox, echo, source=gateway) as sock:
        assert _echoes(sock)
        assert sidecar.request("POST", "/policy", DENY_NEIGHBOURS).status == 200
        assert _echoes(sock)
    refusal_seconds(world.sandbox, gateway)


def test_datagrams_from_outside_are_answered(world, start):
    start(RULES=DENY_NEIGHBOURS)
    with world.sandbox.inside():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with world.internet.inside():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.settimeout(2)
        client.settimeout(2)
        server.bind((SANDBOX_V4, 0))
        client.sendto(b"ping", server.getsockname())
        _, peer = server.recvfrom(100)
        server.sendto(b"pong", peer)
        assert client.recv(100) == b"pong"


def test_ipv6_neighbours_are_found_anew(world, start):
    start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]})
    for namespace in world.sandbox, world.internet:
        namespace.ip("-6 neigh flush dev eth0")
    dnsclient.ask(world.sandbox, "www.allowed.test", "AAAA")
    assert connects(world.sandbox, "2001:db8:1::10")
    for namespace in world.sandbox, world.internet:
        namespace.ip("-6 neigh flush dev eth0")
    assert Client(world.internet, SANDBOX_V6, source=GATEWAY_V6).healthy()


def _connects_marked(world, address, port, mark):
    with world.sandbox.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        sock.settimeout(2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
        return sock.connect_ex((address, port)) == 0


def test_mark_opens_nothing_but_dns(world, start):
    """An application with CAP_NET_RAW can set any mark: a guess opens nothing, and even ours opens no web server."""
    start(RULES={})
    mark = ruleset.mark(world.sandbox)
    assert not _connects_marked(world, "203.0.113.10", 80, 1)
    assert not _connects_marked(world, "203.0.113.10", 80, mark)
    assert _connects_marked(world, UPSTREAM_V4, 53, mark)


@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_listener_asked_directly_filters_the_same(world, start, server, tcp):
    start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]})
    for name, code in ("www.allowed.test", "NOERROR"), ("www.other.test", "NXDOMAIN"):
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, name, server=server, tcp=tcp, port=15353)) == code


def test_resolver_on_dns_over_tls_port_is_refused(world, start):
    start(RULES={"egress": [{"action": "allow", "target": "203.0.113.0/24"}]})
    refusal_seconds(world.sandbox, "203.0.113.10", 853)
    udp_refusal_seconds(world.sandbox, "203.0.113.10", 853)


@pytest.mark.parametrize("blocklist, blocked, open_", [
    ("203.0.113.10,2001:db8:1::/64", ["203.0.113.10", "2001:db8:1::10"], ["203.0.113.11"]),
    (None, ["203.0.113.10", "203.0.113.11", "2001:db8:1::10"], [])])
def test_dns_over_https_is_refused_when_told_to(world, start, blocklist, blocked, open_):
    start(RULES={"defaultAction": "allow"}, BLOCK_DOH_443="on", DOH_BLOCKLIST=blocklist)
    with world.internet.inside():
        server = socket.create_server(("::", 443), family=socket.AF_INET6, dualstack_ipv6=True)
    with server:
        for address in blocked:
            refusal_seconds(world.sandbox, address, 443)
            udp_refusal_seconds(world.sandbox, address, 443)
            assert connects(world.sandbox, address, 80)
        for address in open_:
            assert connects(world.sandbox, address, 443)


DOCKER, DOCKER_PORT = "127.0.0.11", 41953


@pytest.fixture
def docker(world):
    """Docker's resolver: it listens on a high port of 127.0.0.11 in the sandbox, and nat rules lead port 53 there."""
    world.sandbox.nft(f"""
        table ip docker {{
            chain output {{
                type nat hook output priority -100;
                ip daddr {DOCKER} udp dport 53 dnat to {DOCKER}:{DOCKER_PORT}
                ip daddr {DOCKER} tcp dport 53 dnat to {DOCKER}:{DOCKER_PORT}
            }}
            chain postrouting {{
                type nat hook postrouting priority 100;
                ip saddr {DOCKER} udp sport {DOCKER_PORT} snat to :53
                ip saddr {DOCKER} tcp sport {DOCKER_PORT} snat to :53
            }}
        }}""")
    world.sandbox.resolv_conf(f"nameserver {DOCKER}\n")
    resolvers = []

    def start_resolver(behave):
        resolvers.append(Resolver(world.sandbox, DOCKER, behave, DOCKER_PORT))
        return resolvers[-1]

    yield start_resolver
    for resolver in resolvers:
        resolver.close()
    world.sandbox.nft("delete table ip docker")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dockers_resolver_without_the_sidecar(world, docker, tcp):
    """The rebuilt thing works as the real one does; otherwise the next test says nothing."""
    resolver = docker(faults.good)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.other.test", server=DOCKER, tcp=tcp))
    assert resolver.asked("www.other.test")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dockers_resolver_is_redirected_filtered_and_forwarded_to(world, start, docker, tcp):
    resolver = docker(faults.good)
    start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]}, DNS_UPSTREAM=None)
    answer = dnsclient.ask(world.sandbox, "www.allowed.test", server=DOCKER, tcp=tcp)
    assert dnsclient.addresses(answer) == ["203.0.113.10"] and resolver.asked("www.allowed.test")
    assert connects(world.sandbox, "203.0.113.10")
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test", server=DOCKER, tcp=tcp)) == "NXDOMAIN"
    assert not resolver.asked("www.other.test")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dockers_resolver_is_upstream_and_exempt(world, start, docker, tcp):
    """Service names come from it to everybody; its answers to the sidecar, too, are of a redirected connection."""
    resolver = docker(faults.good)
    start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]}, DNS_UPSTREAM=DOCKER,
          NAMESERVER_EXEMPT=DOCKER)
    answer = dnsclient.ask(world.sandbox, "www.allowed.test", server=UPSTREAM_V4, tcp=tcp)
    assert dnsclient.addresses(answer) == ["203.0.113.10"] and resolver.asked("www.allowed.test")


def _no_answer(world, tcp, port):
    with pytest.raises((OSError, dnsclient.Timeout)):
        dnsclient.ask(world.sandbox, "www.other.test", server=DOCKER, tcp=tcp, port=port, timeout=0.5)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dockers_resolver_cannot_be_reached_around_the_sidecar(world, start, docker, tcp):
    resolver = docker(faults.good)
    start(RULES={"egress": [{"action": "allow", "target": "127.0.0.0/8"}]}, DNS_UPSTREAM=None)
    _no_answer(world, tcp, DOCKER_PORT)
    assert not resolver.asked("www.other.test")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dockers_resolver_is_closed_although_the_upstream_is_another(world, start, docker, tcp):
    resolver = docker(faults.good)
    start(RULES={"defaultAction": "allow", "egress": [{"action": "deny", "target": "www.other.test"}]},
          DNS_UPSTREAM=UPSTREAM_V4)
    _no_answer(world, tcp, DOCKER_PORT)
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test", server=DOCKER, tcp=tcp)) == "NXDOMAIN"
    assert not resolver.asked("www.other.test")


def _asks_from_inside(world):
    """The real one does when its own upstream is the sandbox's: its questions come back to us."""
    def forward(request):
        try:
            request.reply(dnsclient.exchange(world.sandbox, request.message, UPSTREAM_V4, timeout=2))
        except (OSError, dnsclient.Timeout):
            pass
    return forward


def test_dockers_resolver_that_asks_from_inside_the_sandbox_is_recognised(world, start, docker):
    docker(_asks_from_inside(world))
    sidecar = start(DNS_UPSTREAM=None, healthy=False)
    assert sidecar.wait_end(timeout=20) == 78
    assert DOCKER in sidecar.stderr and "OPENSANDBOX_EGRESS_DNS_UPSTREAM" in sidecar.stderr


def test_resolver_that_asks_us_is_dropped_and_the_others_stay(world, start, docker):
    looping = docker(_asks_from_inside(world))
    sidecar = start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]},
                    DNS_UPSTREAM=f"{DOCKER},{UPSTREAM_V4}", DNS_UPSTREAM_PROBE_INTERVAL_SEC="1")
    sidecar.wait_record(lambda record: record["level"] == "error" and DOCKER in record["msg"]
                        and "OPENSANDBOX_EGRESS_DNS_UPSTREAM" in record["msg"])
    for name in "www", "api", "v4only":
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, f"{name}.allowed.test")) == "NOERROR"
        assert not looping.asked(f"{name}.allowed.test")
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test")) == "NXDOMAIN"
    sidecar.wait_event("denied", target_host="www.other.test")
    assert [record["target.host"] for record in sidecar.events("denied")] == ["www.other.test"], "nobody asked but us"
    assert not looping.asked(""), "an upstream that may ask us is not asked whether it is well"
