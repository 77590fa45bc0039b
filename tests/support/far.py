"""Far ends that a test itself speaks for, and flows to them from the sandbox."""

import contextlib
import socket

from tests.support.tcpclient import family_of

IPV6_FREEBIND = 78
PATIENCE_S = 2


def far_socket(world, address, port, kind):
    """A socket in the internet at an address of its networks; TCP listens."""
    v6 = ":" in address
    with world.internet.inside():
        sock = socket.socket(family_of(address), kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if v6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    sock.settimeout(PATIENCE_S)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen(8)
    return sock


class Flow:
    """An open flow: `near` is the application's socket, connected or not. Both ends have spoken."""

    def __init__(self, world, far, kind, port=7100, own=None, connected=True, device=None, listening=False):
        self._stack = contextlib.ExitStack()
        self._server = self._stack.enter_context(far_socket(world, far, port, kind))
        self._far, self._connected, self._tcp = (far, port), connected, kind == socket.SOCK_STREAM
        self.near = self._open(world, kind)
        if device:
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if own:
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self.near.bind(own)
        if connected:
            self.near.connect(self._far)
        if listening:
            other = self._open(world, kind)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(own)
            if self._tcp:
                other.listen(1)
        self.say(b"hello")
        if self._tcp:
            self._peer = self._stack.enter_context(self._server.accept()[0])
            self._peer.settimeout(PATIENCE_S)
            self._peer.recv(100)
        else:
            self._client = self._server.recvfrom(100)[1]
        self.speak()
        self.near.recv(100)

    def _open(self, world, kind):
        with world.sandbox.inside():
            sock = self._stack.enter_context(socket.socket(self._server.family, kind))
        sock.settimeout(PATIENCE_S)
        return sock

    def say(self, data):
        """The application sends, whatever becomes of it."""
        with contextlib.suppress(OSError):
            self.near.send(data) if self._connected else self.near.sendto(data, self._far)

    def speak(self):
        """The far end does."""
        with contextlib.suppress(OSError):
            self._peer.send(b"x") if self._tcp else self._server.sendto(b"x", self._client)

    def hears(self, seconds=0.3):
        """Whether the application gets what the far end says, which goes on for a while."""
        self.near.settimeout(seconds / 3)
        for _ in range(3):
            self.speak()
            with contextlib.suppress(OSError):
                if self.near.recv(100):
                    return True
        return False

    def close(self):
        self._stack.close()
