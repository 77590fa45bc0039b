"""Ways out for packets: of ordinary sockets, of raw ones, of every protocol, whole and in pieces."""

import contextlib
import re
import socket

from tests.attack import moves, names
from tests.attack.suite import BOTH_MODES, DNS, attack
from tests.support import attacker, dnsclient
from tests.support.resolver import Resolver, good
from tests.support.tcpclient import family_of
from tests.support.world import UPSTREAM_V4, UPSTREAM_V6

PORT = 7777
GRE, IPV6_IN_IP, ESP, SCTP, DCCP, L2TP, UDPLITE, EXPERIMENT = 47, 41, 50, 132, 33, 115, 136, 253
PROTOCOLS = [0, 2, 4, IPV6_IN_IP, DCCP, GRE, ESP, 51, L2TP, SCTP, UDPLITE, EXPERIMENT, 255]


# --- ordinary sockets ---

@attack()
def datagram(scene):
    scene.guard()
    scene.run(moves.send, scene.denied, PORT, scene.token)
    return scene.left()


@attack()
def datagram_of_a_connected_socket(scene):
    scene.guard()
    scene.run(moves.send_connected, scene.denied, PORT, scene.token)
    return scene.left()


@attack()
def datagram_in_fragments(scene):
    scene.guard()
    scene.run(moves.send, scene.denied, PORT, scene.token * 200)
    return scene.left()


@attack()
def connection(scene):
    scene.guard()
    scene.run(moves.connect, scene.denied, 80)
    return scene.left()


@attack(families=(4,))
def mapped_address(scene):
    """An AF_INET6 socket speaks IPv4 to ::ffff:a.b.c.d (hickory, CVE-2026-123603, compared the forms of an address)."""
    scene.guard()
    scene.run(moves.send, f"::ffff:{scene.denied}", PORT, scene.token)
    scene.run(moves.connect, f"::ffff:{scene.denied}", 80)
    return scene.left()


@attack(families=(4,))
def mapped_address_beside_a_rule(scene):
    """The same where a deny rule names the IPv4 address and all else is allowed."""
    scene.guard(RULES={"defaultAction": "allow", "egress": [{"action": "deny", "target": "198.19.0.0/16"}]})
    scene.run(moves.send, f"::ffff:{scene.denied}", PORT, scene.token)
    scene.run(moves.connect, f"::ffff:{scene.denied}", 80)
    return scene.left()


@attack(modes=BOTH_MODES)
def loopback_address_through_a_device(scene):
    """A socket that is bound to a device, which takes no capability, sends to loopback addresses through it; questions,
    too, which the redirect sends there."""
    scene.guard(RULES={"defaultAction": "allow"})
    for port in 53, PORT:
        for address in ["::1"] if scene.v6 else ["127.0.0.1", "127.9.9.9"]:
            scene.run(moves.send, address, port, scene.token, "eth0")
    return scene.left()


@attack()
def address_of_another_device_through_this_one(scene):
    """Of the sandbox itself, but the socket is bound to a device, which takes no capability."""
    address = "fd00:7::2" if scene.v6 else "10.0.7.2"
    scene.internet.ip(f"link add second type veth peer name second netns {scene.sandbox.name}")
    try:
        for namespace in scene.internet, scene.sandbox:
            namespace.ip("link set second up")
        scene.sandbox.ip("addr add 10.0.7.2/24 dev second")
        scene.sandbox.ip("addr add fd00:7::2/64 dev second nodad")
        scene.guard()
        for port in 53, PORT:
            scene.run(moves.send, address, port, scene.token, "eth0")
        return scene.left()
    finally:
        scene.internet.ip("link del second")


# --- ports that are closed whatever the address ---

@attack()
def dns_over_tls_or_quic(scene):
    """Port 853, even of an allowed address under default allow."""
    scene.guard(RULES={"defaultAction": "allow", "egress": [{"action": "allow", "target": scene.allowed}]})
    scene.run(moves.connect, scene.allowed, 853)
    scene.run(moves.send, scene.allowed, 853, scene.token)
    return scene.left(scene.allowed)


@attack()
def dns_over_https_to_a_listed_resolver(scene):
    scene.guard(RULES={"defaultAction": "allow"}, BLOCK_DOH_443="on", DOH_BLOCKLIST=f"{scene.google}")
    scene.run(moves.connect, scene.google, 443)
    scene.run(moves.send, scene.google, 443, scene.token)
    return scene.left(scene.google)


@attack()
def dns_over_https_to_anybody(scene):
    scene.guard(RULES={"defaultAction": "allow"}, BLOCK_DOH_443="on")
    scene.run(moves.connect, scene.allowed, 443)
    scene.run(moves.send, scene.allowed, 443, scene.token)
    return scene.left(scene.allowed)


@attack()
def other_ports_of_a_resolver(scene):
    """Of the upstream and of an exempt server."""
    server = UPSTREAM_V6 if scene.v6 else UPSTREAM_V4
    scene.guard(DNS_UPSTREAM=server, NAMESERVER_EXEMPT=scene.foreign)
    where = [(address, port) for address in (server, scene.foreign) for port in (80, 443, 853, 5353)]
    for address, port in where:
        scene.run(moves.connect, address, port)
        scene.run(moves.send, address, port, scene.token)
    return scene.left() or any(scene.sent_to(address, port) for address, port in where)


# --- raw sockets ---

@attack(net_raw=True)
def marks(scene):
    """The sidecar's own packets pass by a random mark: any process with CAP_NET_RAW may set one (Linux 5.17)."""
    scene.guard()
    for address, port in (scene.denied, PORT), (scene.denied, 853), (UPSTREAM_V4, 80):
        scene.run(attacker.marks, address, port, 3000)
    return scene.left(b"marked")


@attack(net_raw=True)
def half_of_the_secret(scene):
    """The sidecar's mark without its group, and the group without the mark."""
    scene.guard()
    own = {"mark": 7, "group": 7} if scene.control else secrets_of(scene)
    for mark, group in (own["mark"], None), (7, own["group"]):
        for address, port in (scene.denied, 53), (scene.denied, PORT), (scene.denied, 853):
            scene.run(attacker.send_as, address, port, mark, group)
    return scene.left(b"secret")


@attack(modes=BOTH_MODES)
def secret_shown_by_the_kernel(scene):
    """What sock_diag(7) and /proc/net say of every socket to everybody; with it the mark alone is left to find. The
    control has a socket with a priority, which is shown."""
    if scene.control:
        own = {"group": 0x5eed1234}
        with scene.sandbox.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, attacker.SO_PRIORITY, own["group"])
            sock.connect((UPSTREAM_V4, 53))
            shown = scene.run(attacker.shown_numbers)
    else:
        scene.guard()
        own = secrets_of(scene)
        dnsclient.ask(scene.sandbox, "www.allowed.test")
        shown = scene.run(attacker.shown_numbers)
        assert shown, "sockets are listed"
    return bool(set(own.values()) & set(shown))


def secrets_of(scene):
    """What the sidecar's own packets are known by."""
    rule = re.search(r"chain own .*?meta mark (0x\w+) meta skgid (\d+)", scene.sandbox.table(), re.DOTALL)
    return {"mark": int(rule[1], 16), "group": int(rule[2])}


@attack(net_raw=True)
def raw_packet(scene):
    scene.guard()
    scene.run(attacker.raw, scene.own, scene.foreign, scene.denied)
    return scene.left()


@attack(net_raw=True)
def raw_packet_of_a_foreign_source(scene):
    """Even to an allowed address: the far end would answer somebody else."""
    scene.guard()
    scene.run(attacker.raw, scene.foreign, scene.foreign, scene.allowed)
    return scene.left(scene.foreign)


@attack(net_raw=True)
def raw_fragments(scene):
    """First and later ones, complete and not."""
    scene.guard()
    scene.run(attacker.fragments, scene.own, scene.denied)
    return scene.left()


@attack(modes=(DNS,), net_raw=True)
def question_in_fragments(scene):
    """The port is in the first one only, and the redirect looks at no other."""
    scene.guard()
    scene.run(attacker.question_in_fragments, scene.own, scene.google, names.message(names.denied_name(scene)))
    return scene.left()


@attack(net_raw=True)
def raw_protocols(scene):
    """Tunnels, transports that no socket speaks, and one that nobody knows."""
    scene.guard()
    scene.run(attacker.protocols, scene.own, scene.denied, *PROTOCOLS, 58 if scene.v6 else 1)
    return scene.left()


# --- marks that could be seen ---

def _sniffed(scene, upstream):
    """A filter of a packet socket tells the mark of what it sees, bit by bit. In the control somebody else has one."""
    scene.guard(DNS_UPSTREAM=upstream)
    finish = scene.beside(attacker.sniff_marks)
    if scene.control:
        with scene.sandbox.inside(), socket.socket(family_of(upstream), socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, attacker.SO_MARK, 0x5eed)
            sock.sendto(b"?", (upstream, 9))
    else:
        for tcp in False, True:
            assert dnsclient.addresses(scene.ask("www.allowed.test", tcp=tcp))
    return (finish() or {}).get("mark")


@attack(modes=BOTH_MODES, net_raw=True, once=True)
def mark_sniffed_on_the_way_out(scene):
    return _sniffed(scene, UPSTREAM_V6 if scene.v6 else UPSTREAM_V4)


@attack(families=(4,), modes=BOTH_MODES, net_raw=True, once=True)
def mark_sniffed_on_loopback(scene):
    """Where the upstream may be."""
    upstream = "127.0.0.77"
    scene.enter(contextlib.closing(Resolver(scene.sandbox, upstream, good)))
    return _sniffed(scene, upstream)
