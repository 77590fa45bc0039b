"""Answers that are not the upstream's: none is believed."""

import contextlib
import socket
import sys

from tests.attack import names
from tests.attack.suite import BOTH_MODES, DNS, attack
from tests.support import attacker, dnsclient
from tests.support.resolver import good
from tests.support.tcpclient import family_of, refusal_seconds
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4

HONEST = "203.0.113.10"
DNS_PORT = 15353
SERVED = 40053  # a port of the application's
IPV6_FREEBIND = 78


def _forged(scene, forger, *arguments):
    """Whether a client is told the forged address. The forger answers before the upstream does."""
    upstream, held = ("2001:4860:4860::8888" if scene.v6 else "198.51.100.53"), []
    scene.resolver(upstream, lambda request: held.append(request) if "forge" in request.name else good(request))
    scene.guard(fresh=True, DNS_UPSTREAM=upstream)
    if forger is attacker.forge_through_redirect:
        for number in range(100):  # until all of its sockets are there to be read
            scene.ask(f"w{number}.allowed.test")
    address = "198.19.66.66"
    server = upstream if scene.control else UPSTREAM_V4
    with dnsclient.udp_socket(scene.sandbox, server) as sock:
        finish = scene.beside(forger, scene.own, upstream, address, *arguments)
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
    return _forged(scene, attacker.forge, "raw")


@attack(modes=BOTH_MODES, net_raw=True, once=True)
def answer_forged_by_a_frame_on_loopback(scene):
    return _forged(scene, attacker.forge, "lo")


@attack(modes=BOTH_MODES, net_raw=True, once=True)
def answer_forged_as_the_reply_to_a_redirected_question(scene):
    """From the sidecar's port the application asks, is redirected, and answers itself: the kernel gives the answer the
    upstream's address. In the control nothing is redirected."""
    if scene.control:
        return _forged(scene, attacker.forge, "raw")
    return _forged(scene, attacker.forge_through_redirect, "::1" if scene.v6 else "127.0.0.1", DNS_PORT)


@attack(modes=BOTH_MODES, net_raw=True)
def upstream_called_unreachable(scene):
    """By an error that no router sent: the question fails though the upstream answers."""
    upstream, held = "2001:4860:4860::8888" if scene.v6 else "198.51.100.53", []
    scene.resolver(upstream, lambda request: held.append(request) if "forge" in request.name else None)
    scene.guard(fresh=True, DNS_UPSTREAM=upstream)
    with dnsclient.udp_socket(scene.sandbox, upstream if scene.control else UPSTREAM_V4) as sock:
        sock.settimeout(4)
        sock.connect((upstream if scene.control else UPSTREAM_V4, 53))
        finish = scene.beside(attacker.call_unreachable, scene.own, scene.gateway, upstream)
        sock.send(dnsclient.question("forge.allowed.test").to_wire())
        finish()
        wait_until(lambda: held, what="the question")
        for request in held:
            request.reply(request.answer(f"forge.allowed.test. 60 A {HONEST}"))
        try:
            return HONEST not in dnsclient.addresses(dnsclient.parse(sock.recv(4096)))
        except ConnectionRefusedError:
            return True


@attack(families=(4,), net_raw=True)
def way_to_the_upstream_moved(scene):
    """By a redirect that no router sent: the next hop is somebody else."""
    upstream, neighbour = "198.51.100.54", "10.0.5.9"
    scene.resolver(upstream, good)
    scene.sandbox.ip(f"neigh replace {neighbour} lladdr {scene.mac} dev eth0 nud reachable")
    try:
        scene.guard(DNS_UPSTREAM=upstream)
        scene.run(attacker.redirect, scene.own, scene.gateway, upstream, neighbour)
        return neighbour in scene.sandbox.run("ip", "route", "get", upstream).stdout
    finally:
        scene.sandbox.ip("route flush cache")
        scene.sandbox.ip(f"neigh del {neighbour} dev eth0")


def _in_a_flow_from_outside(scene, far, port, data):
    """An accomplice outside who can forge an address sends first from it: what the application sends back there belongs to
    a flow that somebody outside opened."""
    scene.guard()
    finish = scene.beside(answer_whoever_sends, scene.own, data)
    with scene.internet.inside(), socket.socket(family_of(far), socket.SOCK_DGRAM) as sock:
        if scene.v6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.bind((far, port))
        sock.sendto(b"first", (scene.own, SERVED))
    finish()
    return scene.left()


@attack(modes=(DNS,))
def question_in_a_flow_from_outside(scene):
    """That of a resolver: no redirect is for such a flow."""
    return _in_a_flow_from_outside(scene, scene.google, 53, names.message(names.denied_name(scene)))


@attack(not_defended="**Connections from outside** into the sandbox are not restricted")
def datagram_in_a_flow_from_outside(scene):
    return _in_a_flow_from_outside(scene, scene.denied, 443, scene.token.encode().hex())


def answer_whoever_sends(own, wire):
    """Sends these octets, in hex, to the first who sends here."""
    with socket.socket(family_of(own), socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.bind((own, SERVED))
        print("ready", flush=True)
        with contextlib.suppress(OSError):
            _, peer = sock.recvfrom(100)
            sock.sendto(bytes.fromhex(wire), peer)
        sys.stdin.readline()
