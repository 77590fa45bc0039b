"""Answers that are not the upstream's: none is believed."""

import contextlib

from tests.attack.suite import BOTH_MODES, attack
from tests.support import attacker, dnsclient
from tests.support.tcpclient import refusal_seconds
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4

HONEST = "203.0.113.10"


def _forged(scene, way):
    """Whether a client is told the forged address. The forger answers before the upstream does."""
    upstream, held = ("2001:4860:4860::8888" if scene.v6 else "198.51.100.53"), []
    scene.resolver(upstream, lambda request: held.append(request) if "forge" in request.name else None)
    scene.guard(fresh=True, DNS_UPSTREAM=upstream)
    address = "198.19.66.66"
    server = upstream if scene.control else UPSTREAM_V4
    with dnsclient.udp_socket(scene.sandbox, server) as sock:
        finish = scene.beside(attacker.forge, scene.own, upstream, address, way)
        sock.settimeout(4)
        sock.connect((server, 53))
        sock.send(dnsclient.question("forge.allowed.test").to_wire())
        finish()
        if not scene.control:
            wait_until(lambda: held, what="the question")
            held[0].reply(held[0].answer(f"forge.allowed.test. 60 A {HONEST}"))
        told = dnsclient.addresses(dnsclient.parse(sock.recv(4096)))
    if not scene.control and scene.mode == "dns+nft":
        with contextlib.suppress(AssertionError):
            refusal_seconds(scene.sandbox, address)
            return address in told
        return True
    return address in told


@attack(modes=BOTH_MODES, net_raw=True, once=True)
def answer_forged_by_a_raw_socket(scene):
    return _forged(scene, "raw")


@attack(modes=BOTH_MODES, net_raw=True, once=True)
def answer_forged_by_a_frame_on_loopback(scene):
    return _forged(scene, "lo")
