"""The guards against ways around the rules (the ways themselves are in tests/attack): what has to pass them passes, they
come and go with the rules, and a start says what they cannot do."""

import contextlib
import os
import re
import socket
import time

import pytest

from tests.attack.moves import netlink_to_others
from tests.attack.sockets import xdp_for_long, xdp_is_busy
from tests.support import dnsclient
from tests.support.attacker import DOCKER, NO_CAP, attack, attacker
from tests.support.preload import preloaded
from tests.support.sidecar import command
from tests.support.tap import SENTINEL, Tap
from tests.support.tcpclient import connects, family_of, refusal_seconds, udp_refusal_seconds
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import GATEWAY_V4, GATEWAY_V6, SANDBOX_V4, SANDBOX_V6, UPSTREAM_V4

ALLOWED_V4, ALLOWED_V6 = "203.0.113.11", "2001:db8:1::11"
DENIED_V4, DENIED_V6 = "203.0.113.66", "2001:db8:1::66"
RULES = {"egress": [{"action": "allow", "target": target}
                    for target in ("*.allowed.test", SENTINEL[0], ALLOWED_V4, ALLOWED_V6)]}
AF_XDP = 44
GRE, IPV6_IN_IP, ESP, SCTP, EXPERIMENT = 47, 41, 50, 132, 253


@pytest.fixture
def tap(world):
    """Everything that leaves the sandbox."""
    with contextlib.closing(Tap(world.internet, "eth0")) as tap:
        yield tap


def _netdev(world):
    """The text of the table for frames, None when there is none."""
    listing = world.sandbox.run("nft", "list", "table", "netdev", "opensandbox")
    return listing.stdout if listing.returncode == 0 else None


def _mark(world):
    return int(re.search(r"chain own .*?meta mark (0x\w+)", world.sandbox.table(), re.DOTALL).group(1), 16)


def _datagram_leaves(world, tap, address, port):
    """Seen from outside: how often a far host says that nobody listens is limited."""
    token = os.urandom(16)
    with world.sandbox.inside(), socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.sendto(token, (address, port))
    return bool(tap.catch_up(world.sandbox).holding(token))


def test_mark_is_another_at_every_start(world, start):
    sidecar = start(RULES=RULES)
    first = _mark(world)
    sidecar.kill()
    sidecar.restart().wait_healthy()
    assert _mark(world) not in (0, 1, first)


# --- raw sockets and frames ---

@pytest.mark.parametrize("own, foreign, denied, allowed", [(SANDBOX_V4, "198.51.100.7", DENIED_V4, ALLOWED_V4),
                                                           (SANDBOX_V6, "2001:db8:7::7", DENIED_V6, ALLOWED_V6)],
                         ids=["v4", "v6"])
def test_raw_packets_follow_the_policy(world, start, tap, own, foreign, denied, allowed):
    start(RULES=RULES)
    assert set(attack(world.sandbox, "raw", own, foreign, denied)) == {"Operation not permitted"}
    assert attack(world.sandbox, "raw", own, foreign, allowed) == [None] * 3 + ["Operation not permitted"] * 3
    tap.catch_up(world.sandbox)
    assert len(tap.holding(allowed)) == 3
    assert not tap.holding(denied) and not tap.holding(foreign)


def test_addresses_of_neighbours_are_found(world, start):
    """ARP and neighbour discovery pass, frames and packets of the kernel's own."""
    start(RULES=RULES)
    for namespace in world.sandbox, world.internet:
        namespace.ip("neigh flush dev eth0")
        namespace.ip("-6 neigh flush dev eth0")
    assert connects(world.sandbox, ALLOWED_V4) and connects(world.sandbox, ALLOWED_V6)


def test_devices_that_come_later_are_guarded(world, start):
    """Within a second of being up; the better of two."""
    sidecar = start(RULES=RULES)
    seconds = []
    for _ in range(2):
        world.internet.ip(f"link add late type veth peer name late netns {world.sandbox.name}")
        try:
            for namespace in world.sandbox, world.internet:
                namespace.ip("link set late up")
            begin = time.monotonic()
            wait_until(lambda: '"late"' in _netdev(world), what="the device to be guarded")
            seconds.append(time.monotonic() - begin)
        finally:
            world.internet.ip("link del late")
        wait_until(lambda: '"late"' not in _netdev(world), what="the device to be forgotten")
    assert min(seconds) < 1.0 * PATIENCE
    assert sidecar.healthy()
    assert not [record for record in sidecar.records if record["level"] == "error"]


def test_devices_on_top_of_others_work(world, start):
    """A packet passes the guards of both."""
    start(RULES=RULES)
    world.sandbox.ip("link add over link eth0 type macvlan mode bridge")
    try:
        world.sandbox.ip("addr add 10.0.5.3/24 dev over")
        world.sandbox.ip("link set over up")
        wait_until(lambda: '"over"' in _netdev(world), what="the device to be guarded")
        world.sandbox.ip(f"route add {ALLOWED_V4} via {GATEWAY_V4} dev over src 10.0.5.3")
        assert connects(world.sandbox, ALLOWED_V4)
    finally:
        world.sandbox.ip("link del over")


def test_guard_of_frames_comes_and_goes_with_the_rules(world, start):
    assert _netdev(world) is None
    sidecar = start(RULES=RULES)
    assert '"eth0"' in _netdev(world)
    sidecar.stop()
    assert '"eth0"' in _netdev(world), "ON_EXIT=keep"
    assert command(world.sandbox, ["--cleanup"], {}).returncode == 0
    assert _netdev(world) is None and world.sandbox.table() is None
    start(RULES=RULES, ON_EXIT="remove").stop()
    assert _netdev(world) is None
    assert start(healthy=False, MODE="nonsense").wait_end() == 78
    assert '"eth0"' in _netdev(world), "a start that failed closes for frames, too"
    start(RULES=RULES, MODE="dns").stop()
    assert '"eth0"' in _netdev(world), "a question in a frame would meet no redirect"
    start(RULES=RULES, MODE="dns+audit")
    assert _netdev(world) is None, "audit mode takes it away"


def test_guard_of_frames_is_looked_after(world, start):
    sidecar = start(RULES=RULES)
    world.sandbox.nft("delete table netdev opensandbox")
    wait_until(lambda: _netdev(world), what="the table to be back")
    assert sidecar.healthy()


def _has_xdp():
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError:
        return False
    return True


@pytest.fixture
def xdp():
    if not _has_xdp():
        pytest.skip("this kernel has no AF_XDP")


def _look(world, sidecar):
    """A device that comes has the sidecar look after its rules."""
    world.sandbox.ip("link add look type veth peer name back")
    world.sandbox.ip("link del look")
    for _ in range(2):  # the loop answers, so it has heard of them
        assert sidecar.request("GET", "/policy/explain?target=www.allowed.test").status == 200


def _warns_of_xdp(world, sidecar):
    """What it said of that when it had looked."""
    _look(world, sidecar)
    sidecar.stop()
    return [record["level"] for record in sidecar.records if "AF_XDP" in record["msg"]]


def test_start_says_that_raw_sockets_are_a_risk(xdp, world, start):
    """AF_XDP goes past every rule, and the sidecar needs CAP_NET_RAW itself to take the queues. Once."""
    sidecar = start(RULES=RULES, through=("setpriv", "--bounding-set=-net_raw", "--inh-caps=-all"))
    wait_until(lambda: any("AF_XDP" in record["msg"] for record in sidecar.records), what="the warning")
    assert "CAP_NET_RAW" in sidecar.wait_record(lambda record: "AF_XDP" in record["msg"])["msg"]
    assert _warns_of_xdp(world, sidecar) == ["warn"]


@pytest.mark.parametrize("mode", ["dns", "dns+nft", "dns+nft+audit"])
def test_queues_that_are_taken_are_no_risk(xdp, world, start, mode):
    assert not _warns_of_xdp(world, start(RULES=RULES, MODE=mode))


def test_queues_are_taken_again_after_a_crash(xdp, world, start):
    sidecar = start(RULES=RULES)
    sidecar.kill()
    sidecar.restart().wait_healthy()
    _look(world, sidecar)
    assert attack(world.sandbox, xdp_is_busy, "eth0")


def test_queue_of_somebody_else_is_a_risk(xdp, world, start):
    """Who had it before the sidecar came keeps it."""
    with attacker(world.sandbox, xdp_for_long, "eth0"):
        assert _warns_of_xdp(world, start(RULES=RULES)) == ["warn"]


@pytest.mark.parametrize("mode, upstream, warns", [("dns+nft", "127.0.0.77", True), ("dns+nft", UPSTREAM_V4, False),
                                                   ("dns", "127.0.0.77", False)])
def test_start_says_that_answers_on_loopback_can_be_forged(world, start, mode, upstream, warns):
    sidecar = start(RULES=RULES, MODE=mode, DNS_UPSTREAM=upstream)
    sidecar.stop()  # all that it had to say is there then
    says = [record["level"] for record in sidecar.records if "it can forge answers" in record["msg"]]
    assert says == ["warn"] * warns


def test_kernel_without_the_egress_hook(world, start, tmp_path):
    """One before 5.16: the application's frames leave, so somebody has to hear of it. Everything else holds."""
    sidecar = start(RULES=RULES, through=preloaded("old_kernel", tmp_path, LACKS="egress"))
    sidecar.wait_record(lambda record: record["level"] == "warn" and "5.16" in record["msg"])
    assert "CAP_NET_RAW" in next(record["msg"] for record in sidecar.records if "5.16" in record["msg"])
    assert _netdev(world) is None
    assert sidecar.healthy() and connects(world.sandbox, ALLOWED_V4)
    refusal_seconds(world.sandbox, DENIED_V4)
    sidecar.request("POST", "/policy", RULES)
    assert sum("5.16" in record["msg"] for record in sidecar.records) == 1


# --- resolvers ---

@pytest.mark.parametrize("address", [ALLOWED_V4, ALLOWED_V6])
def test_dns_over_tls_and_quic_is_refused_even_to_the_allowed(world, start, address):
    start(RULES={"defaultAction": "allow", **RULES})
    refusal_seconds(world.sandbox, address, 853)
    udp_refusal_seconds(world.sandbox, address, 853)
    assert connects(world.sandbox, address)


@pytest.mark.parametrize("listed", [True, False], ids=["list", "all"])
def test_dns_over_https_and_quic_is_refused_as_configured(world, start, tap, listed):
    start(RULES={"defaultAction": "allow"}, BLOCK_DOH_443="on",
          DOH_BLOCKLIST=f"{DENIED_V4},{DENIED_V6}" if listed else None)
    for address, blocked in (DENIED_V4, True), (DENIED_V6, True), (ALLOWED_V4, not listed), (ALLOWED_V6, not listed):
        if not blocked:
            assert _datagram_leaves(world, tap, address, 443)
        else:
            refusal_seconds(world.sandbox, address, 443)
            udp_refusal_seconds(world.sandbox, address, 443)


# --- other packets ---

@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
@pytest.mark.parametrize("port", [53, 7777])
def test_loopback_addresses_stay_on_loopback_of_a_closed_sandbox(world, start, tap, address, port):
    assert start(healthy=False, MODE="nonsense").wait_end() == 78
    token = os.urandom(16)
    with world.sandbox.inside(), socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        with contextlib.suppress(PermissionError):
            sock.sendto(token, (address, port))
    # A closed sandbox sends nothing that tells that the rest was seen.
    world.sandbox.run("nft", "delete", "table", "inet", "opensandbox")
    assert not tap.catch_up(world.sandbox).holding(token)


@pytest.mark.parametrize("own, denied, allowed", [(SANDBOX_V4, DENIED_V4, ALLOWED_V4),
                                                  (SANDBOX_V6, DENIED_V6, ALLOWED_V6)], ids=["v4", "v6"])
def test_every_protocol_follows_the_policy(world, start, tap, own, denied, allowed):
    """6to4, GRE, ESP, SCTP, one that nobody knows, and echo requests."""
    numbers = [IPV6_IN_IP, GRE, ESP, SCTP, EXPERIMENT, 58 if ":" in own else 1]
    start(RULES=RULES)
    assert set(attack(world.sandbox, "protocols", own, denied, *numbers)) == {"Operation not permitted"}
    errors = attack(world.sandbox, "protocols", own, allowed, *numbers)
    tap.catch_up(world.sandbox)
    assert not tap.holding(denied)
    assert errors == [None] * len(numbers)
    at = 14 + (6 if ":" in own else 9)
    assert {frame[at] for frame in tap.holding(allowed)} >= set(numbers) - {1, 58}


def _echo(world, address):
    """Whether an echo request is answered."""
    v6 = ":" in address
    with world.sandbox.inside():
        sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW,
                             socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    with sock:
        sock.settimeout(2)
        sock.connect((address, 0))
        try:
            sock.send(b"\x80\0\0\0\0\1\0\1" if v6 else b"\x08\0\xf7\xfd\0\1\0\1")
            return bool(sock.recv(100))
        except OSError:
            return False


@pytest.mark.parametrize("denied, allowed", [(DENIED_V4, ALLOWED_V4), (DENIED_V6, ALLOWED_V6)], ids=["v4", "v6"])
def test_echo_requests_follow_the_policy(world, start, denied, allowed):
    start(RULES=RULES)
    assert _echo(world, allowed) and not _echo(world, denied)


@pytest.mark.parametrize("own, denied, allowed", [(SANDBOX_V4, DENIED_V4, ALLOWED_V4),
                                                  (SANDBOX_V6, DENIED_V6, ALLOWED_V6)], ids=["v4", "v6"])
def test_fragments_follow_the_policy(world, start, tap, own, denied, allowed):
    start(RULES=RULES)
    attack(world.sandbox, "fragments", own, denied)
    attack(world.sandbox, "fragments", own, allowed)
    tap.catch_up(world.sandbox)
    assert not tap.holding(denied)
    assert tap.holding(allowed), "whole datagrams pass in fragments"


def test_large_datagrams_to_the_allowed_pass_in_fragments(world, start, tap):
    start(RULES=RULES)
    with world.sandbox.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"l" * 4000, (ALLOWED_V4, 7777))
        with pytest.raises(PermissionError):
            sock.sendto(b"l" * 4000, (DENIED_V4, 7777))
    tap.catch_up(world.sandbox)
    assert len(tap.holding(ALLOWED_V4)) == 3 and not tap.holding(DENIED_V4)


def test_mapped_addresses_follow_the_policy(world, start, tap):
    start(RULES=RULES)
    assert connects(world.sandbox, f"::ffff:{ALLOWED_V4}")
    assert _datagram_leaves(world, tap, f"::ffff:{ALLOWED_V4}", 7777)
    refusal_seconds(world.sandbox, f"::ffff:{DENIED_V4}")
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert connects(world.sandbox, "::ffff:203.0.113.10"), "learned"


@pytest.mark.parametrize("router, far", [(GATEWAY_V4, "192.88.98.77"), (GATEWAY_V6, "2001:dba::77")],
                         ids=["v4", "v6"])
def test_path_mtu_is_learned_from_a_denied_router(world, start, router, far):
    """Otherwise large packets vanish: a narrow link behind the router, and a policy that denies the router itself."""
    v6 = "-6 " if ":" in far else ""
    forwarding = "net/ipv6/conf/all/forwarding" if v6 else "net/ipv4/ip_forward"
    world.internet.ip("link add narrow type veth peer name far")
    try:
        world.internet.ip("link set far up")
        world.internet.ip("link set narrow mtu 1300 up")
        world.internet.ip(f"{v6}route add {far}/{128 if v6 else 32} dev narrow")
        start(RULES={"egress": [{"action": "allow", "target": far}, {"action": "deny", "target": "10.0.0.0/8"},
                                {"action": "deny", "target": "fd00::/8"}]})
        with world.internet.sysctl(forwarding, 1), world.sandbox.inside(), \
                socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            level, discover, mtu = (socket.IPPROTO_IPV6, 23, 24) if v6 else (socket.IPPROTO_IP, 10, 14)
            sock.setsockopt(level, discover, 2)  # IP_PMTUDISC_DO
            sock.connect((far, 7777))

            def learned():
                with contextlib.suppress(OSError):
                    sock.send(b"m" * 1400)
                return sock.getsockopt(level, mtu) == 1300
            wait_until(learned, what="the path's MTU")
    finally:
        world.internet.ip("link del narrow")


@pytest.mark.parametrize("capabilities", [DOCKER, NO_CAP], ids=["docker", "no_cap"])
def test_netlink_is_the_kernels_alone(world, capabilities):
    """What the sidecar hears of sockets, devices, rules and packets nobody else can send: the kernel sees to it."""
    assert attack(world.sandbox, netlink_to_others, capabilities=capabilities) == [socket.NETLINK_USERSOCK]
