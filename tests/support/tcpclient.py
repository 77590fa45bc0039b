"""What an application in a namespace sees when it opens a connection or sends a datagram."""

import contextlib
import select
import socket
import threading
import time


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def connection(namespace, address, port=80, timeout=2.0, source=None):
    with namespace.inside():
        sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    with sock:
        sock.settimeout(timeout)
        if source:
            sock.bind((source, 0))
        sock.connect((address, port))
        yield sock


def connects(namespace, address, port=80, timeout=2.0, source=None):
    """Whether a TCP connection comes about; False for a refusal and for silence."""
    try:
        with connection(namespace, address, port, timeout, source):
            return True
    except OSError:
        return False


def refusal_seconds(namespace, address, port=80):
    """Seconds until a TCP connection is refused; fails when it is not, or when nothing happens for 2 s."""
    start = time.monotonic()
    try:
        with connection(namespace, address, port):
            raise AssertionError(f"{address}:{port} was reached")
    except socket.timeout:
        raise AssertionError(f"{address}:{port}: silence instead of a refusal") from None
    except OSError:
        return time.monotonic() - start


def udp_refusal_seconds(namespace, address, port=5000):
    """The same for a datagram on a connected socket."""
    with namespace.inside():
        sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    with sock:
        sock.connect((address, port))
        start = time.monotonic()
        try:
            sock.send(b"?")
            readable, _, _ = select.select([sock], [], [], 2.0)
            assert readable, f"{address}:{port}: silence instead of a refusal"
            sock.recv(100)
        except OSError:
            return time.monotonic() - start
    raise AssertionError(f"{address}:{port} was reached")


def refused_at_once(refusal, *where):
    """Whether refusal(*where), one of the two above, takes less than 50 ms. The best of three: other programs of the
    machine are no fault of the sidecar's."""
    return any(refusal(*where) < 0.05 for _ in range(3))


def passes_udp(namespace, address, port=5000):
    """Whether a datagram leaves: nobody listens there, so the answer must come from the far host (port unreachable)
    and not from our own firewall (not permitted, no route)."""
    with namespace.inside():
        sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(2.0)
        try:
            sock.connect((address, port))
            sock.send(b"?")
            sock.recv(100)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True


class Visitor:
    """Connects to these addresses in turn, as fast as it can, for as long as the `with` block lasts."""

    def __init__(self, namespace, *addresses, timeout=1):
        self._namespace, self._addresses, self._timeout = namespace, addresses, timeout
        self._ended = threading.Event()
        self.reached, self.failed = 0, 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._ended.is_set():
            for address in self._addresses:
                if connects(self._namespace, address, timeout=self._timeout):
                    self.reached += 1
                else:
                    self.failed += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(10)


class Flood:
    """Sends datagrams to an address, as many as it can, for as long as the `with` block lasts. What a rule refuses or drops
    is an error of the call that sends it."""

    def __init__(self, namespace, address):
        self._namespace, self._address = namespace, address
        self._ended = threading.Event()
        self.passed, self.refused = 0, 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        with self._namespace.inside():
            sock = socket.socket(family_of(self._address), socket.SOCK_DGRAM)
        with sock:
            while not self._ended.is_set():
                try:
                    sock.sendto(b"?", (self._address, 5000))
                    self.passed += 1
                except OSError:
                    self.refused += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(10)


def ping(namespace, address):
    """Sends an ICMP echo request, whatever becomes of it."""
    v6 = family_of(address) == socket.AF_INET6
    with namespace.inside():
        sock = socket.socket(family_of(address), socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    with sock, contextlib.suppress(PermissionError):
        sock.sendto(bytes([128, 0, 0, 0, 0, 0, 0, 0]) if v6 else bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0]), (address, 0))
