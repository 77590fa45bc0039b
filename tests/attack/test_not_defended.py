"""What is not defended today, and is said to be not: each of these ways leads out, and SECURITY.md says so. Whoever closes
one moves it to the suite."""

import os
import socket

import pytest

from tests.attack.suite import documented
from tests.support import dnsclient
from tests.support.tap import SENTINEL
from tests.support.tcpclient import connection, connects

RULES = {"egress": [{"action": "allow", "target": target} for target in ("*.allowed.test", SENTINEL[0])]}
WWW = "203.0.113.10"


def _says(world, address, text, port=80):
    """What the far end answers to this."""
    with connection(world.sandbox, address, port) as sock:
        sock.sendall(text.encode())
        return sock.recv(4096).decode()


def test_another_host_at_an_allowed_address(world, start):
    """SNI of an allowed name, Host of another, on a shared CDN (github/gh-aw, discussion 60747): nothing looks into a
    connection."""
    assert documented("Where many names share an address (a CDN), the allowed one opens it for all of them.")
    start(RULES=RULES)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == [WWW]
    token = f"t{os.urandom(8).hex()}.denied.test"
    assert f"hello from {token}" in _says(world, WWW, f"GET / HTTP/1.1\r\nHost: {token}\r\n\r\n")


def test_relay_through_an_allowed_proxy(world, start):
    """A CONNECT that an allowed proxy would follow (anthropics/claude-code#87381): no proxy is part of this program, and
    one that a rule allows is an allowed connection like any other. nginx, which is none, says that the request came."""
    assert documented("An allowed connection is a way out for data.")
    start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert "Server: nginx" in _says(world, WWW, "CONNECT www.denied.test:443 HTTP/1.1\r\nHost: www.denied.test:443\r\n\r\n")


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_names_below_an_allowed_wildcard_carry_data(world, start, resolver, mode):
    assert documented("Who owns the name server of an allowed wildcard reads what the sandbox asks for below it.")
    odd = resolver("198.51.100.53", lambda request: request.reply(request.answer()))
    start(RULES=RULES, MODE=mode, DNS_UPSTREAM="198.51.100.53")
    name = f"t{os.urandom(8).hex()}.allowed.test"
    dnsclient.ask(world.sandbox, name)
    assert odd.asked(name)


def test_doh_through_an_allowed_name_without_the_switch(world, start):
    """The same as any other allowed connection; with OPENSANDBOX_EGRESS_BLOCK_DOH_443 it is refused (names.py)."""
    assert documented("DoH on port 443 as configured")
    start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    with world.internet.inside(), socket.create_server((WWW, 443)):
        assert connects(world.sandbox, WWW, 443)
