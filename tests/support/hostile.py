"""What a hostile application in the sandbox does, and, beside it, what another client sees.

A program of its own, so that the test's own work is not measured: `hostile.py VERB ARGUMENTS`. It prints `ready` when the
attack is under way and goes on until it is killed; `watch` ends by itself and prints JSON.
"""

import contextlib
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import time

UDP_SEGMENT = 103
RESOLVER = "192.0.2.53"
HEAD = struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0)  # behind the id
API = ("127.0.0.1", 18080)


@contextlib.contextmanager
def hostile(namespace, verb, *arguments):
    """One attack, under way for as long as the block lasts."""
    process = namespace.popen(*(SHARES if verb == "half_deaf_upstream" else ()), sys.executable, "-B", str(pathlib.Path(__file__)), verb, *map(str, arguments),
                              stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() is None, "the attack ended by itself"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# In a pod the sidecar has CPU shares of its own. Here neither the attack nor whatever else runs on the machine may
# take them away, nor those of the client that measures.
SHARES = ("nice", "-n", "-15")


def watch_from(namespace, zone, count=200):
    """What a client sees that asks for `count` names below a zone, one after the other: p99 in seconds, and losses."""
    done = namespace.run(*SHARES, sys.executable, "-B", str(pathlib.Path(__file__)), "watch", zone, str(count))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def query(name, number=0):
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return struct.pack("!H", number) + HEAD + labels + b"\0\0\1\0\1"


def ready():
    print("ready", flush=True)


def watch(zone, count):
    """An answer that does not come within a quarter of a second is a loss, and counts as that long."""
    took, lost = [], 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((RESOLVER, 53))
        sock.settimeout(0.25)
        for number in range(int(count)):
            name = zone if zone.startswith("www.") else f"v{os.getpid()}x{number}.{zone}"
            begin = time.monotonic()
            sock.send(query(name, number))
            try:
                while struct.unpack_from("!H", sock.recv(4096))[0] != number:
                    pass
            except socket.timeout:
                lost += 1
                if lost == 10:
                    break
            took.append(time.monotonic() - begin)
            time.sleep(0.002)
    print(json.dumps({"p99": sorted(took)[len(took) * 99 // 100], "lost": lost}))


# --- DNS over UDP ---

def flood(zone, rate, ports):
    """Random names, `rate` a second, 32 to a system call."""
    tail = b"".join(bytes([len(label)]) + label for label in zone.encode().split(b".")) + b"\0\0\1\0\1"
    socks = []
    for _ in range(int(ports)):
        socks.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        socks[-1].connect((RESOLVER, 53))
        socks[-1].setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 2 + len(HEAD) + 13 + len(tail))
    sent, number, begin = 0, random.getrandbits(40), time.monotonic()
    ready()
    while True:
        if sent > (time.monotonic() - begin) * int(rate):
            time.sleep(0.0005)
            continue
        batch = b"".join(b"%c%c%b\x0c%012x%b" % (i, i, HEAD, (number + i) * 0x9e3779b97f4a7 & 0xffffffffffff, tail)
                         for i in range(32))
        with contextlib.suppress(OSError):
            socks[sent // 32 % len(socks)].send(batch)
        sent, number = sent + 32, number + 32


def odd_messages():
    """Over UDP, again and again: names with every byte value, compression that loops, lies about what follows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((RESOLVER, 53))
        ready()
        while True:
            for byte in range(256):
                label = bytes([byte]) * random.randint(1, 63)
                for message in (
                        b"\0\1" + HEAD + bytes([len(label)]) + label + b"\5other\4test\0\0\1\0\1",
                        b"\0\2" + HEAD + b"\xc0\x0c\0\1\0\1", b"\0\3" + HEAD + b"\xc0\x0e\xc0\x0c\0\1\0\1",
                        b"\0\4" + struct.pack("!HHHHH", 0x0100, 65535, 65535, 65535, 65535) + b"\1a\0\0\1\0\1",
                        b"\0\5" + HEAD + bytes([byte]) + b"\xff" * 20, os.urandom(random.randint(0, 600))):
                    with contextlib.suppress(OSError):
                        sock.send(message)


def forged_answers(own, *upstreams):
    """Answers to every port of the host, with the upstreams' address; needs CAP_NET_RAW. As fast as it can."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
    from tests.support.attacker import udp_packet  # pylint: disable=import-outside-toplevel
    answer = b"\0\0" + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + query("www.allowed.test")[12:] + \
        struct.pack("!HHHIH", 0xc00c, 1, 1, 60, 4) + bytes([203, 0, 113, 66])
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind((own, 0))
        ready()
        while True:
            for port in range(32768, 61000):
                with contextlib.suppress(OSError):
                    plain.sendto(answer, (own, port))
                    raw.sendto(udp_packet(upstreams[port % len(upstreams)], 53, own, port, answer), (own, 0))


def half_deaf_upstream(address):
    """An upstream that says nothing to questions below a label `dead`, and answers others at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((address, 53))
        ready()
        while True:
            data, client = sock.recvfrom(4096)
            if b"\4dead" not in data.lower():
                end = data.index(b"\0", 12) + 5
                sock.sendto(data[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + data[12:end] +
                            struct.pack("!HHHIH", 0xc00c, 1, 1, 60, 4) + bytes([203, 0, 113, 10]), client)


def wide_upstream(address):
    """An upstream that leads each name to 64 addresses of its own, for as long as may be; names `www.…` to one."""
    number = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((address, 53))
        ready()
        while True:
            data, client = sock.recvfrom(4096)
            end = data.index(b"\0", 12) + 5
            addresses = [0xcb00710a]  # 203.0.113.10
            if data[12:16].lower() != b"\3www":
                addresses = [20 << 24 | (number + i) & 0xffffff for i in range(64)]
                number += 64
            sock.sendto(data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(addresses), 0, 0) + data[12:end] +
                        b"".join(struct.pack("!HHHIHI", 0xc00c, 1, 1, 3600, 4, one) for one in addresses), client)


# --- DNS over TCP ---

def _connections(count, address=(RESOLVER, 53)):
    return [socket.create_connection(address, 5) for _ in range(int(count))]


def idle(count):
    """Opened anew when they are closed."""
    socks = _connections(count)
    ready()
    while True:
        for i, sock in enumerate(socks):
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                try:
                    gone = sock.recv(1) == b""
                except ConnectionError:
                    gone = True
                if gone:
                    sock.close()
                    socks[i] = _connections(1)[0]
            time.sleep(0.0002)


def slow_writers(count):
    """A byte a second, of a message that never ends."""
    socks = _connections(count)
    ready()
    while True:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(b"\x7f")
        time.sleep(1)


def greedy(count):
    """They ask for long answers without end and take none."""
    frame = query("big.allowed.test").replace(b"\0\1\0\1", b"\0\x10\0\1")
    frames = (struct.pack("!H", len(frame)) + frame) * 50
    socks = _connections(count)
    ready()
    while True:
        for i, sock in enumerate(socks):
            sock.setblocking(False)
            try:
                sock.send(frames)
            except BlockingIOError:
                pass
            except OSError:
                sock.close()
                socks[i] = _connections(1)[0]
        time.sleep(0.005)


def large_messages():
    """64 KiB of 10,000 questions, or of records, or of one question that is too long, on eight connections."""
    question, record = b"\1a\0\0\1\0\1", b"\0\0\1\0\1\0\0\0\0\0\0"
    messages = [b"\0\1" + struct.pack("!HHHHH", 0x0100, 9000, 0, 0, 0) + question * 9000,
                b"\0\2" + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 5000) + question + record * 5000,
                b"\0\3" + struct.pack("!HHHHH", 0x0100, 1, 5000, 0, 0) + question + record * 5000,
                b"\0\4" + HEAD + b"\x3f" + b"x" * 65000]
    socks = _connections(8)
    ready()
    while True:
        for i, sock in enumerate(socks):
            for message in messages:
                try:
                    sock.sendall(struct.pack("!H", len(message)) + message)
                    sock.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        sock.recv(65536)
                    sock.settimeout(5)
                except OSError:
                    sock.close()
                    sock = socks[i] = _connections(1)[0]


# --- the API ---

def slow_loris(count):
    """Requests whose headers come a byte a second."""
    socks = _connections(count, API)
    ready()
    while True:
        for i, sock in enumerate(socks):
            try:
                sock.send(b"G")
            except OSError:
                sock.close()
                socks[i] = _connections(1, API)[0]
        time.sleep(1)


def _requests(make, at_once):
    """Sends what make() gives on so many connections at once and waits until all are answered or closed."""
    ready()
    while True:
        socks = _connections(at_once, API)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.sendall(make())
        for sock in socks:
            with contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass
            sock.close()


def takes_nothing(count):
    """They ask for long answers, more than the kernel keeps for them, and read none. Closed ones are opened anew."""
    asked = (b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /policy/leases HTTP/1.1\r\nHost: x\r\n\r\n") * 40
    ready()
    socks = []
    while True:
        if len(socks) == int(count):
            socks.pop(0).close()
        with contextlib.suppress(OSError):
            socks += _connections(1, API)
            socks[-1].sendall(asked)
        time.sleep(0.01)


def policy_changes(count):
    body = json.dumps({"defaultAction": "allow", "egress": [{"action": "allow", "target": "*"}] * 1000}).encode()
    _requests(lambda: b"POST /policy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" %
              len(body) + body, int(count))


def huge_headers(count):
    _requests(lambda: b"GET /policy HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\n",
              int(count))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
