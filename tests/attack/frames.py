"""Ways out past the IP stack: frames of packet sockets, on every device."""

import contextlib

from tests.attack import moves, names
from tests.attack.packets import secrets_of
from tests.attack.suite import DNS, NO_FAMILY, SENTINEL, attack
from tests.support import attacker
from tests.support.tap import Tap
from tests.support.waiting import wait_until

NOBODY = "00:00:00:00:00:00"
SOURCE = b"\2\0\0\0\0\1"  # the address that frames of the tests come from
ETHERTYPES = [0x0000, 0x05dc, 0x8035, 0x8100, 0x88a8, 0x8847, 0x8863, 0x8864, 0x886d, 0x888e, 0x88b5, 0x88cc,
              0x88f7, 0x8906, 0x8915, 0x9000, 0xffff]


def _mark(scene):
    """The sidecar's, as if it had been guessed."""
    return 0 if scene.control else secrets_of(scene)["mark"]


def guarded(scene, device):
    return f'"{device}"' in scene.sandbox.run("nft", "list", "table", "netdev", "opensandbox").stdout


@attack(net_raw=True)
def frames(scene):
    """With every protocol that a packet socket may claim, past queues, marked, behind tags, as ARP that is none."""
    scene.guard()
    scene.run(attacker.frames, "eth0", scene.mac, scene.own, scene.denied, _mark(scene))
    return scene.left(SOURCE)


@attack(families=NO_FAMILY, net_raw=True)
def frames_of_other_protocols(scene):
    """VLANs, MPLS, PPPoE, LLDP, EAPOL, PTP, RoCE, 802.3 and what nobody knows, to the gateway and to everybody."""
    scene.guard()
    for to in scene.mac, "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:0e":
        scene.run(attacker.frames_of, "eth0", to, scene.token, *ETHERTYPES)
    return scene.left(SOURCE)


@attack(net_raw=True)
def frames_on_a_device_that_came_later(scene):
    scene.guard()
    scene.internet.ip(f"link add late type veth peer name late netns {scene.sandbox.name}")
    with contextlib.ExitStack() as stack:
        stack.callback(scene.internet.ip, "link del late")
        for namespace in scene.sandbox, scene.internet:
            namespace.ip("link set late up")
        wait_until(lambda: scene.control or guarded(scene, "late"), what="the device to be guarded")
        late = stack.enter_context(contextlib.closing(Tap(scene.internet, "late")))
        scene.run(attacker.frames, "late", scene.mac, scene.own, scene.denied)
        scene.sandbox.ip("addr add 10.0.6.2/24 dev late")
        scene.internet.ip("addr add 10.0.6.1/24 dev late")
        scene.sandbox.ip(f"route add {SENTINEL[0]} via 10.0.6.1 dev late")
        return late.catch_up(scene.sandbox).holding(scene.denied, SOURCE)


@attack(net_raw=True)
def frames_on_a_device_on_top_of_another(scene):
    scene.guard()
    scene.sandbox.ip("link add over link eth0 type macvlan mode bridge")
    try:
        scene.sandbox.ip("link set over up")
        wait_until(lambda: scene.control or guarded(scene, "over"), what="the device to be guarded")
        scene.run(attacker.frames, "over", scene.mac, scene.own, scene.denied)
        return scene.left(SOURCE)
    finally:
        scene.sandbox.ip("link del over")


@attack(net_raw=True)
def frames_into_loopback_that_are_routed(scene):
    """They would never meet the output chains. Whoever may route sets these switches, the application does not."""
    for name in "net/ipv6/conf/all/forwarding", "net/ipv4/ip_forward":
        scene.enter(scene.sandbox.sysctl(name, 1))
    if scene.control:  # the kernel thinks these strange
        for name in "all", "lo":
            scene.enter(scene.sandbox.sysctl(f"net/ipv4/conf/{name}/accept_local", 1))
    scene.sandbox.ip(f"-6 route replace default via {scene.gateway if scene.v6 else 'fd00:5::1'}")
    scene.guard()
    scene.run(attacker.frames, "lo", NOBODY, scene.own, scene.denied)
    return scene.left()


@attack(families=(4,), net_raw=True, once=True)
def frames_while_the_sidecar_restarts(scene):
    sidecar = scene.guard()
    finish = scene.beside(attacker.flood_frames, "eth0", scene.mac, scene.own, scene.denied)
    for _ in range(0 if scene.control else 8):
        sidecar.kill()
        sidecar.restart().wait_healthy()
    if scene.control:
        wait_until(lambda: scene.left(), what="a frame")
    finish()
    return scene.left(SOURCE)


@attack(families=NO_FAMILY, net_raw=True)
def frames_after_the_table_was_deleted(scene):
    """By accident: it is put in place anew."""
    scene.guard()
    if not scene.control:
        scene.sandbox.nft("delete table netdev opensandbox")
        wait_until(lambda: guarded(scene, "eth0"), what="the table to be back")
    scene.run(attacker.frames_of, "eth0", scene.mac, scene.token, *ETHERTYPES)
    return scene.left(SOURCE)


@attack(modes=(DNS,), net_raw=True)
def question_in_a_frame(scene):
    """No redirect sees it."""
    scene.guard()
    scene.run(attacker.question_in_a_frame, "eth0", scene.mac, scene.own, scene.google,
              names.message(names.denied_name(scene)))
    return scene.left()


@attack(families=NO_FAMILY, net_raw=True)
def data_in_arp(scene):
    """Of the size that the kernel sends."""
    scene.guard()
    scene.run(attacker.arp, "eth0", scene.token)
    return scene.left()


@attack()
def data_in_group_reports(scene):
    """The kernel tells the neighbours which groups a process listens to, and from whom (RFC 3810, RFC 3376). It takes no
    capability, and group and sources may be any octets."""
    scene.guard(RULES={"defaultAction": "allow"})
    group = scene.run(moves.join_group, "eth0", scene.token, scene.v6)
    return scene.left(group)
