"""What an application in the sandbox can try that has no capability, or those that Docker gives.

A program of its own, which runs functions of this module and of others and answers in JSON on standard output:
`attacker.py serve` any number of them one after the other, `attacker.py MODULE FUNCTION ARGUMENTS` one.
"""

import contextlib
import ctypes
import importlib
import ipaddress
import json
import os
import pathlib
import random
import select
import socket
import struct
import subprocess
import sys

SO_MARK, SO_PRIORITY, SO_ATTACH_FILTER = 36, 12, 26
IP_NODEFRAG = 22
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, ETH_P_ARP = 0x0003, 0x0800, 0x86dd, 0x0806
PATIENCE_S = 20

ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_CAP, NET_RAW = "-all", "-all,+net_raw"
DOCKER = "-all," + ",".join(f"+{name}" for name in (
    "chown", "dac_override", "fsetid", "fowner", "mknod", "net_raw", "setgid", "setuid", "setfcap", "setpcap",
    "net_bind_service", "sys_chroot", "kill", "audit_write"))


def _argv(capabilities):
    return ("setpriv", f"--bounding-set={capabilities}", "--inh-caps=-all", "env", f"PYTHONPATH={ROOT}",
            sys.executable, "-B", "-m", "tests.support.attacker")


def _address_of(move):
    """Module and name of a function; a mere name is one of this module."""
    return (__name__, move) if isinstance(move, str) else (move.__module__, move.__name__)


class Attacker:
    """One application that does what it is told for as long as it lives, each in a process of its own."""

    def __init__(self, namespace, capabilities):
        self._process = namespace.popen(*_argv(capabilities), "serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def run(self, move, *arguments):
        """What move(*arguments) returns; None when a capability is missing for it."""
        self._process.stdin.write(json.dumps([*_address_of(move), *arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or "{}")
        assert "done" in answer, answer.get("error", "the attacker ended")
        return answer["done"]

    def close(self):
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


def attack(namespace, move, *arguments, capabilities=NET_RAW):
    """Runs one attack in a namespace to its end and returns what it says."""
    done = namespace.run(*_argv(capabilities), *_address_of(move), *map(str, arguments))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def attacker(namespace, move, *arguments, capabilities=NET_RAW):
    """The same for one that waits for something: yields when it is ready. `finish()` returns what it says."""
    process = namespace.popen(*_argv(capabilities), *_address_of(move), *map(str, arguments), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()

        def finish():
            if line == "null\n":
                return None
            out, _ = process.communicate("\n", timeout=PATIENCE_S)
            assert process.returncode == 0
            return json.loads(out)
        assert line in ("ready\n", "null\n"), "it ended before it was ready"
        yield finish
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


# --- packets ---

def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip_packet(source, destination, protocol, payload, fragment=0):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if destination.version == 6:
        if fragment:  # a header of its own (RFC 8200, section 4.5)
            payload = struct.pack("!BBHI", protocol, 0, (fragment & 0x1fff) << 3 | fragment >> 13 & 1, 77) + payload
            protocol = 44
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source.packed + destination.packed + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 77, fragment, 64, protocol, 0, source.packed,
                       destination.packed)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp_packet(source, source_port, destination, port, data, **options):
    pseudo = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    head = struct.pack("!HHHH", source_port, port, 8 + len(data), 0)
    total = checksum(pseudo + struct.pack("!II", len(head) + len(data), 17) + head + data)
    return ip_packet(source, destination, 17, head[:6] + struct.pack("!H", total or 0xffff) + data, **options)


def ethertype(packet):
    return ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP


def set_mark(sock, mark):
    sock.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", mark))


def send_raw(packet, destination, mark=None):
    """A finished IP packet through a raw socket; the name of the error, None when it went."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        try:
            if mark is not None:
                set_mark(sock, mark)
            sock.sendto(packet, (destination, 0))
        except OSError as error:
            return error.strerror
    return None


@contextlib.contextmanager
def frame_sender(device, bypass=False):
    """send(frame, protocol, mark) puts a frame out as it is; `protocol` is what the socket says of it. The error's name,
    None when it went. One socket for many: to close one takes the kernel long."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        if bypass:
            sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)

        def send(frame, protocol=None, mark=None):
            protocol = struct.unpack_from("!H", frame, 12)[0] if protocol is None else protocol
            try:
                if mark is not None:
                    set_mark(sock, mark)
                sock.sendto(frame, (device, protocol))
            except OSError as error:
                return error.strerror
            return None
        yield send


def send_frame(device, frame, protocol=None, mark=None, bypass=False):
    with frame_sender(device, bypass) as send:
        return send(frame, protocol, mark)


def frame_of(packet, mac):
    return bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\1" + struct.pack("!H", ethertype(packet)) + packet


# --- attacks ---

def marks(address, port, count):
    """One datagram with each of the marks 0, 1 and `count` random ones: how many could be set."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    tried = 0
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for mark in [0, 1] + [random.getrandbits(32) for _ in range(int(count))]:
            set_mark(sock, mark)
            with contextlib.suppress(OSError):
                sock.sendto(b"marked", (address, int(port)))
            tried += 1
    return tried


def send_as(address, port, mark, group):
    """A datagram with a mark, of a socket that was made by a process of the group, or of its own."""
    if group is not None:
        os.setresgid(-1, group, -1)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        set_mark(sock, mark)
        with contextlib.suppress(OSError):
            sock.sendto(b"secret", (address, port))


def shown_numbers():
    """Every number of 32 bits that sock_diag(7) and /proc show of the UDP sockets here, aligned or not."""
    dumps = []
    for family in socket.AF_INET, socket.AF_INET6:
        for extensions in [1 << bit for bit in range(8)]:
            body = struct.pack("=BBBxI", family, socket.IPPROTO_UDP, extensions, 0xffffffff) + bytes(48)
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as sock:  # NETLINK_SOCK_DIAG
                sock.send(struct.pack("=IHHII", 16 + len(body), 20, 0x301, 1, 0) + body)  # a dump
                while not dumps or b"\3\0\2\0" not in dumps[-1][4:8]:  # NLMSG_DONE, its flags
                    dumps.append(sock.recv(1 << 20))
                dumps.append(b"")
    numbers = {struct.unpack_from("=I", dump, at)[0] for dump in dumps for at in range(len(dump) - 3)}
    for name in "udp", "udp6", "tcp", "tcp6":
        for word in pathlib.Path("/proc/net", name).read_text().replace(":", " ").split():
            for base in 10, 16:
                with contextlib.suppress(ValueError):
                    numbers.add(int(word, base))
    return sorted(numbers)


def raw(own, foreign, destination):
    """Raw IP packets from an own and from a foreign address; the errors."""
    return [send_raw(udp_packet(source, 4444, destination, 7777, b"raw"), destination, mark)
            for source in (own, foreign) for mark in (None, 1, 0xffffffff)]


def protocols(own, destination, *numbers):
    """A raw packet of each of these protocols; the errors."""
    payload = struct.pack("!BBHHH", 128 if ":" in destination else 8, 0, 0, 1, 1) + b"\x45" * 32
    return [send_raw(ip_packet(own, destination, int(number), payload), destination) for number in numbers]


def fragments(own, destination):
    """The first and later fragments of a datagram, complete and not."""
    whole = udp_packet(own, 4444, destination, 7777, b"f" * 1500)
    data = whole[40 if ":" in destination else 20:]
    more = 0x2000
    pieces = [(more, data[:800]), (100, data[800:])]
    return [send_raw(ip_packet(own, destination, 17, piece, fragment=fragment), destination)
            for order in (pieces, pieces[1:], pieces[:1]) for fragment, piece in order]


def frames(device, mac, own, destination, *more_marks):
    """Frames with a datagram inside, in all the ways of a packet socket; the number of them."""
    packet = udp_packet(own, 4444, destination, 7777, b"frame")
    frame = frame_of(packet, mac)
    # ARP by its type, but longer than any, and behind a VLAN tag
    head = bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\1"
    arp = struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, 1)
    odd = [head + arp + b"x" * 200, head + struct.pack("!HH", 0x8100, 1) + arp + b"x" * 20, head + arp[:10]]
    tried = 0
    for bypass in False, True:
        with frame_sender(device, bypass) as send:
            for one in odd:
                send(one, ETH_P_ARP)
            for mark in [None, 0, 1, *map(int, more_marks)]:
                for protocol in ethertype(packet), ETH_P_ARP, 0x88b5, 0:
                    send(frame, protocol, mark)
                    tried += 1
        tried += len(odd)
    return tried


def frames_of(device, mac, data, *types):
    """Frames of these types with nothing but data in them."""
    head = bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\1"
    for bypass in False, True:
        with frame_sender(device, bypass) as send:
            for number in map(int, types):
                for begin in b"", b"\0\1\x08\0\6\4\0\1":
                    send(head + struct.pack("!H", number) + begin + data.encode())


def _mark_filter(instruction, value):
    """Lets packets through whose mark (skb->mark) passes the jump."""
    return [(0x20, 0, 0, 0xfffff000 + 20), (instruction, 0, 1, value), (0x06, 0, 0, 0xffff), (0x06, 0, 0, 0)]


def _sniffer(code):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    program = b"".join(struct.pack("HBBI", *one) for one in code)
    memory = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(code), ctypes.addressof(memory)))
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):  # what came before the filter
        while sock.recv(65535):
            pass
    return sock


def sniff_marks():
    """Every mark that shows on any device until a line comes: bit by bit, as filters tell them."""
    any_mark = _sniffer(_mark_filter(0x35, 1))  # at least 1
    bits = [_sniffer(_mark_filter(0x45, 1 << bit)) for bit in range(32)]
    print("ready", flush=True)
    sys.stdin.readline()

    def count(sock):
        n = 0
        with contextlib.suppress(BlockingIOError):
            while sock.recv(65535):
                n += 1
        return n
    seen = count(any_mark)
    return {"packets": seen, "mark": sum(1 << bit for bit, sock in enumerate(bits) if count(sock))}


def _reply(question, address):
    """An answer with one address to a question with these octets."""
    end = question.index(b"\0", 12) + 5
    return (question[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + question[12:end] +
            struct.pack("!HHHIH", 0xc00c, 1, 1, 60, 4) + ipaddress.ip_address(address).packed)


def _sockets_to(upstream):
    """Ports of everybody's UDP sockets that are connected to port 53 of the upstream: anyone may read them."""
    v6 = ":" in upstream
    packed = ipaddress.ip_address(upstream).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    peer = "".join(f"{word:08X}" for word in words) + ":0035"
    lines = pathlib.Path("/proc/thread-self/net", "udp6" if v6 else "udp").read_text().splitlines()[1:]
    return [int(line.split()[1].rpartition(":")[2], 16) for line in lines if line.split()[2] == peer]


def _await_question(sniffer, upstream, name):
    """The next packet with a question for the name to the upstream: the packet, its port, the question."""
    wanted, v6 = ipaddress.ip_address(upstream).packed, ":" in upstream
    size = 40 if v6 else 20
    while True:
        packet = sniffer.recv(65535)
        if packet[24 if v6 else 16:40 if v6 else 20] != wanted or packet[6 if v6 else 9] != 17:
            continue
        port, to = struct.unpack_from("!HH", packet, size)
        question = packet[size + 8:]
        if to == 53 and struct.unpack_from("!H", question, 4)[0] == 1 and name in question.lower():
            return packet, port, question


def _sniff_packets():
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sniffer.settimeout(PATIENCE_S)
    return sniffer


def forge_through_redirect(own, upstream, address, listener, listener_port):
    """Makes the kernel take the forger for the other end of a redirected question: a datagram without the sidecar's mark
    from each of its ports, which are redirected, and then an answer from where they are redirected to."""
    with _sniff_packets() as sniffer:
        for port in _sockets_to(upstream):
            send_raw(udp_packet(own, port, upstream, 53, b"x"), upstream)
        print("ready", flush=True)
        _, port, question = _await_question(sniffer, upstream, b"\5forge")
        forged = udp_packet(listener, int(listener_port), own, port, _reply(question, address))
        return [send_raw(forged, own) for _ in range(20)]


def icmp_packet(source, destination, kind, code, rest, body):
    """An ICMP or ICMPv6 message; `rest` is the second word."""
    message = struct.pack("!BBH4s", kind, code, 0, rest) + body
    if ":" in destination:
        pseudo = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
        total = checksum(pseudo + struct.pack("!II", len(message), 58) + message)
    else:
        total = checksum(message)
    return ip_packet(source, destination, 58 if ":" in destination else 1,
                     message[:2] + struct.pack("!H", total) + message[4:])


def call_unreachable(own, router, upstream):
    """When a question to the upstream goes out, says as a router that nobody listens there."""
    with _sniff_packets() as sniffer:
        print("ready", flush=True)
        packet, _, _ = _await_question(sniffer, upstream, b"\5forge")
        kind, code = (1, 4) if ":" in own else (3, 3)
        lie = icmp_packet(router, own, kind, code, b"\0" * 4, packet[:68])
        return [send_raw(lie, own) for _ in range(3)]


def redirect(own, router, destination, neighbour):
    """Says as a router that a neighbour is the better way (RFC 792), about a socket that there is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((destination, 53))
        packet = udp_packet(own, sock.getsockname()[1], destination, 53, b"x")
        lie = icmp_packet(router, own, 5, 1, ipaddress.ip_address(neighbour).packed, packet[:28])
        return [send_raw(lie, own) for _ in range(3)]


def question_in_fragments(own, server, question):
    """Octets in hex, to port 53, in two pieces that the kernel does not put together before it looks (IP_NODEFRAG)."""
    data = udp_packet(own, 4444, server, 53, bytes.fromhex(question))[40 if ":" in server else 20:]
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        if ":" not in server:
            sock.setsockopt(socket.IPPROTO_IP, IP_NODEFRAG, 1)
        for fragment, piece in (0x2000, data[:8]), (1, data[8:]):
            with contextlib.suppress(OSError):
                sock.sendto(ip_packet(own, server, 17, piece, fragment=fragment), (server, 0))


def question_in_a_frame(device, mac, own, server, question):
    packet = udp_packet(own, 4444, server, 53, bytes.fromhex(question))
    for bypass in False, True:
        with frame_sender(device, bypass) as send:
            for frame in frame_of(packet, mac), frame_of(packet, mac).replace(b"\x08\0E", b"\x81\0\0\1\x08\0E", 1):
                send(frame)


def arp(device, data):
    """Twenty octets of the sender's choice in a frame that looks like the kernel's own."""
    head = b"\xff" * 6 + b"\2\0\0\0\0\1" + struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, 1)
    with frame_sender(device) as send:
        return send(head + data.encode()[:20])


def forge(own, upstream, address, way):
    """Waits for a question to the upstream, which shows port and id, and answers before the upstream does."""
    with _sniff_packets() as sniffer:
        print("ready", flush=True)
        _, port, question = _await_question(sniffer, upstream, b"\5forge")
    forged = udp_packet(upstream, 53, own, port, _reply(question, address))
    errors = []
    for _ in range(20):
        if way == "raw":
            errors.append(send_raw(forged, own))
        else:
            errors.append(send_frame("lo", b"\0" * 12 + struct.pack("!H", ethertype(forged)) + forged))
    return errors


def flood_frames(device, mac, own, destination):
    """Frames without end, until a line comes; the number of them."""
    frame = frame_of(udp_packet(own, 4444, destination, 7777, b"flood"), mac)
    tried = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((device, ETH_P_IP))
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0.0005)[0]:
            with contextlib.suppress(OSError):
                sock.send(frame)
            tried += 1
    return tried


# --- the program ---

def _serve():
    for line in sys.stdin:
        module, name, *arguments = json.loads(line)
        move = getattr(importlib.import_module(module), name)
        child = os.fork()
        if not child:
            try:
                answer = {"done": _call(move, arguments)}
            except BaseException as error:
                answer = {"error": repr(error)}
            print(json.dumps(answer), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


def _call(move, arguments):
    try:
        return move(*arguments)
    except PermissionError:
        return None


def _main(module, *call):
    if module == "serve":
        _serve()
    else:
        name, *arguments = call
        print(json.dumps(_call(getattr(importlib.import_module(module), name), arguments)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
