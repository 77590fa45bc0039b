"""What was open before the very first start: what the policy forbids ends then, and DNS flows are redirected."""

import contextlib
import socket

import pytest

from tests.support import dnsclient
from tests.support.fountain import PORT, Fountain, ends_within, goes_on
from tests.support.sidecar import command
from tests.support.tcpclient import connection, connects, refusal_seconds
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import GATEWAY_V4, SANDBOX_V4, UPSTREAM_V4

WWW, API, WWW_V6 = "203.0.113.10", "203.0.113.11", "2001:db8:1::10"
ALLOW_API = {"egress": [{"action": "allow", "target": API}]}
RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM]
KIND_NAMES = ["tcp", "udp"]


@pytest.fixture(params=[False, True], ids=["untracked", "tracked"])
def tracking(world, request):
    """Whether conntrack looked at packets before the sidecar came: it does only while rules want it."""
    if request.param:
        world.sandbox.nft("table inet tracker { chain c { type filter hook output priority 0; ct state new; }; }")
    yield request.param
    if request.param:
        world.sandbox.nft("delete table inet tracker")
    world.sandbox.run("conntrack", "-F")


def _talk(client, inside):
    inside.settimeout(2)
    for _ in range(3):
        client.sendall(b"?")
        assert inside.recv(10) == b"?"
        inside.sendall(b"!")
        assert client.recv(10) == b"!"


@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
def test_download_that_the_policy_forbids_ends(world, start, tracking, download, kind):
    lost, kept = download(WWW, kind), download(API, kind)
    start(RULES=ALLOW_API)
    ends_within(lost, 5 * PATIENCE)
    goes_on(kept)


@pytest.mark.parametrize("before", [None, "closed", "dns"])
def test_idle_connection_ends_whatever_of_ours_was_there(world, start, tracking, before):
    """A sandbox that a failed start closed keeps what was open waiting; dns mode never looked at it."""
    with world.sandbox.inside():
        idle = socket.create_connection((WWW, 80), 2)
    if before == "closed":
        assert start(healthy=False, MODE="nonsense").wait_end() == 78
    if before == "dns":
        start(RULES={}, MODE="dns").stop()
    with idle:
        start(RULES={})
        ends_within(idle, 5 * PATIENCE)


@pytest.mark.parametrize("address", [WWW_V6, f"::ffff:{WWW}"])
def test_idle_connection_of_an_ipv6_socket_ends(world, start, tracking, address):
    with world.sandbox.inside():
        idle = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    with idle:
        idle.connect((address, 80))
        start(RULES={})
        ends_within(idle, 5 * PATIENCE)


def test_connection_from_outside_goes_on_when_its_client_speaks(world, start, tracking):
    """Where conntrack did not look nobody knows whose connection it was: one from a denied network is over, and its
    client opens another."""
    with world.sandbox.inside():
        server = socket.create_server((SANDBOX_V4, PORT))
    with server, world.internet.inside(), \
            socket.create_connection((SANDBOX_V4, PORT), 2, source_address=(GATEWAY_V4, 0)) as client:
        inside, _ = server.accept()
        with inside:
            inside.settimeout(2)
            start(RULES={"egress": [{"action": "deny", "target": f"{GATEWAY_V4}/24"}]})
            if tracking:
                _talk(client, inside)
            else:
                inside.sendall(b"!")
                ends_within(inside, 5 * PATIENCE)
        with socket.create_connection((SANDBOX_V4, PORT), 2, source_address=(GATEWAY_V4, 0)) as client:
            inside, _ = server.accept()
            with inside:
                _talk(client, inside)


@pytest.mark.parametrize("tracking", [True], ids=["tracked"], indirect=True)
def test_download_from_outside_goes_on(world, start, tracking):
    """Where conntrack did not look, whoever speaks first after the start counts as the one who opened it."""
    server = Fountain(world.sandbox, SANDBOX_V4, socket.SOCK_STREAM)
    with contextlib.closing(server), world.internet.inside(), \
            socket.create_connection((SANDBOX_V4, PORT), 2, source_address=(GATEWAY_V4, 0)) as client:
        goes_on(client, 0.05)
        start(RULES={"egress": [{"action": "deny", "target": f"{GATEWAY_V4}/24"}]})
        goes_on(client)


def test_address_that_is_allowed_at_once_after_the_start(world, start):
    """While open flows are still looked at, for the policy before."""
    for _ in range(4):
        with connection(world.sandbox, WWW):
            sidecar = start(RULES={})
            assert sidecar.request("POST", "/policy", {"egress": [{"action": "allow", "target": WWW}]}).status == 200
            assert connects(world.sandbox, WWW)
            assert WWW not in world.sandbox.run("nft", "list", "set", "inet", "opensandbox", "revoked_v4").stdout
        sidecar.stop()
        assert command(world.sandbox, ["--cleanup"], {}).returncode == 0


def test_restart_ends_no_download_whose_lease_is_over(world, start, download):
    """What an earlier run let through is not forbidden because the restart has not learned it."""
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    flow = download(WWW, socket.SOCK_STREAM)
    world.sandbox.nft("flush set inet opensandbox dyn_allow_v4")
    sidecar.kill()
    sidecar.restart().wait_healthy()
    goes_on(flow)
    refusal_seconds(world.sandbox, WWW)


def _ask_on(sock, name):
    sock.send(dnsclient.question(name).to_wire())
    return dnsclient.parse(sock.recv(4096))


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_datagram_socket_is_redirected_at_its_next_question(world, start, tracking, mode):
    sock = dnsclient.udp_socket(world.sandbox, UPSTREAM_V4)
    with sock:
        sock.settimeout(2)
        sock.connect((UPSTREAM_V4, 53))
        assert dnsclient.addresses(_ask_on(sock, "www.other.test"))
        start(MODE=mode, RULES=RULES)
        assert dnsclient.rcode(_ask_on(sock, "www.other.test")) == "NXDOMAIN"
        assert dnsclient.addresses(_ask_on(sock, "www.allowed.test"))
        assert connects(world.sandbox, WWW)


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_connection_to_a_resolver_answers_no_more(world, start, tracking, mode):
    with dnsclient.tcp_socket(world.sandbox, UPSTREAM_V4) as sock:
        dnsclient.send_tcp(sock, dnsclient.question("www.other.test"))
        assert dnsclient.addresses(dnsclient.receive_tcp(sock))
        start(MODE=mode, RULES=RULES)
        with pytest.raises(ConnectionError):
            dnsclient.send_tcp(sock, dnsclient.question("www.other.test"))
            if not dnsclient.receive_tcp(sock):
                raise ConnectionError


@pytest.mark.once
@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_answer_that_comes_after_the_start_opens_no_way_around(world, start, resolver, mode):
    """Its question was never tracked, so it makes an entry of a flow from outside."""
    held = []
    resolver("198.51.100.53", held.append)
    with dnsclient.udp_socket(world.sandbox, "198.51.100.53") as sock:
        sock.settimeout(0.3)
        sock.connect(("198.51.100.53", 53))
        sock.send(dnsclient.question("www.other.test").to_wire())
        wait_until(lambda: held, what="the question")
        start(MODE=mode, RULES=RULES)
        held[0].reply(held[0].answer("www.other.test. 60 A 203.0.113.66"))

        def redirected():
            with contextlib.suppress(OSError):  # until then it is refused
                answer = _ask_on(sock, "www.other.test")
                return dnsclient.rcode(answer) == "NXDOMAIN"
        wait_until(redirected, what="the socket to be redirected")
