"""What loses permission loses its open flows, too, those in which only the server sends included; nothing else does."""

import contextlib
import os
import select
import socket
import threading
import time

import pytest

from tests.support import dnsclient
from tests.support.tcpclient import connects, family_of, refusal_seconds
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import GATEWAY_V4, SANDBOX_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
WWW, API, WWW_V6 = "203.0.113.10", "203.0.113.11", "2001:db8:1::10"
PORT = 7000
WITHIN = 0.1 * PATIENCE
KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM]
KIND_NAMES = ["tcp", "udp"]


class Fountain:
    """A server that, once somebody connected or said a word, sends without end and listens to nothing."""

    def __init__(self, namespace, address, kind):
        self._ended = threading.Event()
        with namespace.inside():
            self._socket = socket.socket(family_of(address), kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in address:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._socket.bind(("::" if ":" in address else address, PORT))
        if kind == socket.SOCK_STREAM:
            self._socket.listen(8)
        self._thread = threading.Thread(target=self._pour if kind == socket.SOCK_STREAM else self._sprinkle)
        self._thread.start()

    def _pour(self):
        while not self._ended.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                threading.Thread(target=self._pour_for, args=(self._socket.accept()[0],), daemon=True).start()

    def _pour_for(self, client):
        with client, contextlib.suppress(OSError):
            while not self._ended.wait(0.002):
                client.sendall(b"x" * 100)

    def _sprinkle(self):
        peers = set()
        while not self._ended.is_set():
            if select.select([self._socket], [], [], 0.002)[0]:
                with contextlib.suppress(OSError):
                    peers.add(self._socket.recvfrom(100)[1])
            for peer in peers:
                with contextlib.suppress(OSError):
                    self._socket.sendto(b"x" * 100, peer)

    def close(self):
        self._ended.set()
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def download(world):
    """download(address, kind) opens a flow in which, after a first word, only the server sends."""
    with contextlib.ExitStack() as stack:
        fountains = {}

        def open_one(address, kind):
            if (address, kind) not in fountains:
                fountains[address, kind] = stack.enter_context(contextlib.closing(
                    Fountain(world.internet, address, kind)))
            with world.sandbox.inside():
                client = stack.enter_context(socket.socket(family_of(address), kind))
            client.settimeout(2)
            client.connect((address, PORT))
            if kind == socket.SOCK_DGRAM:
                client.send(b"?")
            assert client.recv(1000)
            return client

        yield open_one


def _ends_within(flow, seconds):
    deadline = time.monotonic() + seconds
    flow.settimeout(seconds)
    with pytest.raises(ConnectionError):
        while time.monotonic() < deadline:
            if not flow.recv(100000):
                raise ConnectionError  # the end of a stream
    flow.close()


def _goes_on(flow, seconds=0.3):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert flow.recv(100000)


def _entries(world, address):
    return world.sandbox.run("conntrack", "-L", "-d", address).stdout


@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
def test_denied_name_loses_its_downloads_and_no_other_does(world, start, download, kind):
    sidecar = start(RULES=RULES)
    for name in "www", "api":
        dnsclient.ask(world.sandbox, f"{name}.allowed.test")
    lost, kept = download(WWW, kind), download(API, kind)
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "www.allowed.test"}]).status == 200
    _ends_within(lost, WITHIN)
    _goes_on(kept)
    refusal_seconds(world.sandbox, WWW)


def test_idle_connection_over_ipv6_is_ended(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test", "AAAA")
    with world.sandbox.inside():
        idle = socket.create_connection((WWW_V6, 80), 2)
    with idle:
        assert sidecar.request("POST", "/policy", "").status == 200
        _ends_within(idle, WITHIN)
    wait_until(lambda: "ESTABLISHED" not in _entries(world, WWW_V6), what="the entry to be gone")


@pytest.mark.parametrize("before, after", [
    ({"egress": [{"action": "allow", "target": "203.0.113.0/24"}]},
     {"egress": [{"action": "allow", "target": "203.0.113.11"}]}),
    ({"defaultAction": "allow"}, {"defaultAction": "allow", "egress": [{"action": "deny", "target": "203.0.113.10"}]}),
    ({"defaultAction": "allow"}, {"egress": [{"action": "allow", "target": "203.0.113.11"}]}),
], ids=["allow taken away", "denied", "default"])
@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
def test_addresses_that_lose_permission(world, start, download, kind, before, after):
    sidecar = start(RULES=before)
    lost, kept = download(WWW, kind), download(API, kind)
    assert sidecar.request("POST", "/policy", after).status == 200
    _ends_within(lost, WITHIN)
    _goes_on(kept)
    assert sidecar.request("POST", "/policy", before).status == 200
    assert connects(world.sandbox, WWW), "allowed again"


def test_address_of_a_name_that_is_kept_stays(world, start, download, resolver):
    def shared(request):
        request.reply(request.answer(f"{request.name} 60 A {WWW}"))

    resolver("198.51.100.53", shared)
    sidecar = start(RULES=RULES, DNS_UPSTREAM="198.51.100.53")
    for name in "a", "b":
        dnsclient.ask(world.sandbox, f"{name}.allowed.test")
    flow = download(WWW, socket.SOCK_STREAM)
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "a.allowed.test"}]).status == 200
    _goes_on(flow)
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "b.allowed.test"}]).status == 200
    _ends_within(flow, WITHIN)


def test_always_files_end_flows_as_well(world, start, download, tmp_path):
    (tmp_path / "rules").mkdir()
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    flow = download(WWW, socket.SOCK_STREAM)
    (tmp_path / "rules" / "deny.always").write_text("www.allowed.test\n")
    sidecar.signal(1)
    sidecar.wait_event("updated", source="always")
    _ends_within(flow, WITHIN)


@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
def test_flows_from_outside_are_never_touched(world, start, kind):
    sidecar = start(RULES=RULES)
    server = Fountain(world.sandbox, SANDBOX_V4, kind)
    with contextlib.closing(server), world.internet.inside(), socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(2)
        client.connect((SANDBOX_V4, PORT))
        client.send(b"?")
        _goes_on(client, 0.05)
        deny = [{"action": "deny", "target": f"{GATEWAY_V4}/24"}]
        assert sidecar.request("POST", "/policy", {"defaultAction": "allow", "egress": deny}).status == 200
        assert sidecar.request("POST", "/policy", {"egress": deny}).status == 200
        _goes_on(client)


def test_flows_stay_when_the_file_cannot_be_put_in_place(world, start, download, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "policy.json"
    sidecar = start(RULES={"defaultAction": "allow"}, POLICY_FILE=str(path))
    flow = download(WWW, socket.SOCK_DGRAM)
    os.mkdir(path)  # a folder cannot be replaced by a file
    try:
        assert sidecar.request("POST", "/policy", "").status == 500
        _goes_on(flow)
    finally:
        os.rmdir(path)
    assert sidecar.request("POST", "/policy", "").status == 200
    _ends_within(flow, WITHIN)


def test_socket_that_talks_to_many_is_left_alone(world, start):
    """Destroying it would take the other peers' flows along; what it sends to the denied one is refused."""
    sidecar = start(RULES={"defaultAction": "allow"})
    bad, good = Fountain(world.internet, WWW, socket.SOCK_DGRAM), Fountain(world.internet, API, socket.SOCK_DGRAM)
    with contextlib.closing(bad), contextlib.closing(good), world.sandbox.inside(), \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        for address in WWW, API:
            client.sendto(b"?", (address, PORT))
        client.recv(1000)
        deny = [{"action": "deny", "target": WWW}]
        assert sidecar.request("POST", "/policy", {"defaultAction": "allow", "egress": deny}).status == 200
        _goes_on(client)
        client.sendto(b"?", (API, PORT))
        with pytest.raises(PermissionError):
            client.sendto(b"?", (WWW, PORT))


def test_upstream_in_a_denied_network_goes_on(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    deny = [{"action": "deny", "target": "192.0.2.0/24"}, *RULES["egress"]]
    assert sidecar.request("POST", "/policy", {"egress": deny}).status == 200
    for _ in range(5):
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "api.allowed.test")) == [API]
