"""Downloads: flows in which, after a first word, only the server sends."""

import contextlib
import select
import socket
import threading
import time

import pytest

from tests.support.tcpclient import family_of

PORT = 7000


class Fountain:
    """A server that, once somebody connected or said a word, sends without end and listens to nothing."""

    def __init__(self, namespace, address, kind):
        self._ended = threading.Event()
        with namespace.inside():
            self._socket = socket.socket(family_of(address), kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in address:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._socket.bind(("::" if ":" in address else address, PORT))
        if kind == socket.SOCK_STREAM:
            self._socket.listen(8)
        self._thread = threading.Thread(target=self._pour if kind == socket.SOCK_STREAM else self._sprinkle)
        self._thread.start()

    def _pour(self):
        while not self._ended.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                threading.Thread(target=self._pour_for, args=(self._socket.accept()[0],), daemon=True).start()

    def _pour_for(self, client):
        with client, contextlib.suppress(OSError):
            while not self._ended.wait(0.002):
                client.sendall(b"x" * 100)

    def _sprinkle(self):
        peers = set()
        while not self._ended.is_set():
            if select.select([self._socket], [], [], 0.002)[0]:
                with contextlib.suppress(OSError):
                    peers.add(self._socket.recvfrom(100)[1])
            for peer in peers:
                with contextlib.suppress(OSError):
                    self._socket.sendto(b"x" * 100, peer)

    def close(self):
        self._ended.set()
        self._thread.join(5)
        self._socket.close()


def open_download(namespace, address, kind):
    """A client's socket that gets what a fountain sends."""
    with namespace.inside():
        client = socket.socket(family_of(address), kind)
    client.settimeout(2)
    client.connect((address, PORT))
    if kind == socket.SOCK_DGRAM:
        client.send(b"?")
    assert client.recv(1000)
    return client


def ends_within(flow, seconds):
    """Returns the seconds it took."""
    begin = time.monotonic()
    flow.settimeout(seconds)
    with pytest.raises(ConnectionError):
        while True:
            if time.monotonic() - begin > seconds:
                flow.setblocking(False)  # this program may have paused: what is there already came in time
            if not flow.recv(100000):
                raise ConnectionError  # the end of a stream
    took = time.monotonic() - begin
    flow.close()
    return took


def goes_on(flow, seconds=0.3):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert flow.recv(100000)
