"""What the application does with ordinary sockets. Errors of sending are no answer: what left is seen outside."""

import contextlib
import ipaddress
import select
import socket
import struct

from tests.support.tcpclient import family_of

PATIENCE_S = 2
NETLINK_SOCK_DIAG, NETLINK_NETFILTER = 4, 12
REPORT_S = 0.3  # the kernel says it within a few milliseconds
MCAST_JOIN_SOURCE_GROUP = 46


def bound_to(device, family, kind):
    sock = socket.socket(family, kind)
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    return sock


def send(address, port, data, device=None, options=(), flags=0):
    """A datagram by sendto(); `options` are (level, name, value), the value a number or octets in hex."""
    with bound_to(device, family_of(address), socket.SOCK_DGRAM) as sock:
        for level, name, value in options:
            sock.setsockopt(level, name, bytes.fromhex(value) if isinstance(value, str) else value)
        with contextlib.suppress(OSError):
            sock.sendto(data.encode(), flags, (address, port))


def send_connected(address, port, data):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect((address, port))
        sock.send(data.encode())


def connect(address, port, device=None):
    """Whether a connection comes about or is refused from afar."""
    with bound_to(device, family_of(address), socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE_S)
        sock.connect((address, port))


def exchange(address, wire, tcp=False, port=53, seconds=0.3, device=None):
    """Octets in hex to a DNS server; those that come back, None when none do."""
    wire = bytes.fromhex(wire)
    with bound_to(device, family_of(address), socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):
            sock.connect((address, port))
            sock.settimeout(seconds)
            sock.sendall(struct.pack("!H", len(wire)) + wire if tcp else wire)
            return sock.recv(65535).hex()
    return None


def stream(address, *wires, port=53, seconds=0.3):
    """Messages in hex over one connection, the last in two pieces."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE_S)
        sock.connect((address, port))
        octets = b"".join(struct.pack("!H", len(wire) // 2) + bytes.fromhex(wire) for wire in wires)
        sock.sendall(octets[:-9])
        sock.sendall(octets[-9:])
        sock.settimeout(seconds)
        while sock.recv(65535):
            pass


def talk(address, port, data):
    """Connects and says something."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE_S)
        sock.connect((address, port))
        sock.sendall(data.encode())


def _group_source(device, group, source):
    """struct group_source_req (RFC 3678 section 5.1)."""
    def storage(address):
        packed = ipaddress.ip_address(address).packed
        head = struct.pack("=HHI", socket.AF_INET6, 0, 0) if len(packed) == 16 else struct.pack("=HH", socket.AF_INET, 0)
        return (head + packed).ljust(128, b"\0")
    return struct.pack("@Q", socket.if_nametoindex(device)) + storage(group) + storage(source)


def join_group(device, data, v6):
    """Listens to a group whose address is made of the data; returns the address."""
    octets = data.encode()[:11]
    group = str(ipaddress.IPv6Address(b"\xff\x0e\0\0\0" + octets) if v6 else ipaddress.IPv4Address(b"\xef" + octets[-3:]))
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP,
                        _group_source(device, group, "2001:db8::1" if v6 else "192.0.2.1"))
        select.select([], [], [], REPORT_S)
    select.select([], [], [], REPORT_S)
    return group


def netlink_to_others():
    """The protocols of netlink over which one process can send to another's socket. The sidecar listens to ROUTE, SOCK_DIAG
    and NETFILTER; USERSOCK is made for that."""
    reached = []
    for protocol in socket.NETLINK_ROUTE, socket.NETLINK_USERSOCK, NETLINK_SOCK_DIAG, NETLINK_NETFILTER:
        with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, protocol) as other, \
                socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, protocol) as sock:
            other.bind((0, 0))
            sock.sendto(struct.pack("=IHHII", 16, 2, 0, 0, 0), (other.getsockname()[0], 0))
            reached.append(protocol)
    return reached
