"""The world works without any sidecar: otherwise a failure elsewhere says nothing."""

import time

import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.tcpclient import connects, passes_udp
from tests.support.world import UPSTREAM_V4, UPSTREAM_V6


@pytest.mark.parametrize("server", [UPSTREAM_V4, UPSTREAM_V6])
def test_authority_answers(world, server):
    answer = dnsclient.ask(world.sandbox, "www.allowed.test", "A", server)
    assert dnsclient.addresses(answer) == ["203.0.113.10"]
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "alias.allowed.test", "AAAA", server)) == ["2001:db8:1::20"]
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "nothing.test", "A", server)) == "NXDOMAIN"
    assert len(dnsclient.ask(world.sandbox, "big.allowed.test", "TXT", server, tcp=True).to_wire()) > 4000


@pytest.mark.parametrize("address", ["203.0.113.10", "198.18.3.7", "2001:db8:1::10"])
def test_everything_is_reachable(world, address):
    assert connects(world.sandbox, address)
    assert passes_udp(world.sandbox, address)


def test_web_server_answers(world):
    page = world.sandbox.run("curl", "-sS", "--resolve", "www.allowed.test:80:203.0.113.10", "http://www.allowed.test/")
    assert page.stdout == "hello from www.allowed.test\n"


def test_resolver_fills_a_message_to_the_last_octet(world, resolver):
    resolver("198.51.100.53", faults.largest)
    with dnsclient.tcp_socket(world.sandbox, "198.51.100.53") as sock:
        dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test", "TXT"))
        wire = dnsclient.receive_tcp_wire(sock)
    assert len(wire) == 65535
    assert dnsclient.parse(wire).answer


@pytest.mark.parametrize("behave", [faults.wrong_id, faults.silent, faults.from_other_port])
def test_resolver_lies(world, resolver, behave):
    resolver("198.51.100.53", behave)
    start = time.monotonic()
    with pytest.raises((dnsclient.Timeout, dnsclient.Refused)):
        dnsclient.ask(world.sandbox, "www.allowed.test", server="198.51.100.53", timeout=0.3)
    assert time.monotonic() - start < 2
