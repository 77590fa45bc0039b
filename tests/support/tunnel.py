"""A tunnel through DNS: Debian's iodine, its server in the internet and its client in the sandbox."""

import contextlib
import os
import stat
import subprocess
import time

from tests.support.tcpclient import connection
from tests.support.waiting import PATIENCE, wait_until

SERVER, CLIENT = "10.99.0.1", "10.99.0.2"


class Tunnel:
    """The server, which answers for `domain` at an address of the internet, port 53, until close()."""

    def __init__(self, world, address, domain):
        self._world, self._domain = world, domain
        self._clients = []
        os.makedirs("/dev/net", exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mknod("/dev/net/tun", stat.S_IFCHR | 0o600, os.makedev(10, 200))
        self._server = world.internet.popen("iodined", "-f", "-c", "-P", "secret", "-l", address, f"{SERVER}/24", domain,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: f"{SERVER}/" in world.internet.run("ip", "-4", "addr").stdout, what="the tunnel's server")

    def open(self, timeout=15):
        """Starts a client, which asks the resolver of the sandbox; whether it gets through."""
        client = self._world.sandbox.popen("iodine", "-f", "-r", "-P", "secret", "-T", "TXT", "-m", "200", "-I", "2",
                                           "192.0.2.53", self._domain, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL)
        self._clients.append(client)
        deadline = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < deadline and client.poll() is None:
            if f"{CLIENT}/" in self._world.sandbox.run("ip", "-4", "addr").stdout:
                return True
            time.sleep(0.05)
        return False

    def carries(self, size, timeout=5.0):
        """Whether so many bytes get out through the tunnel, in one request to the web server at its end."""
        try:
            with connection(self._world.sandbox, SERVER, timeout=timeout * PATIENCE) as sock:
                sock.sendall(b"GET /?" + os.urandom(size // 2).hex().encode() + b" HTTP/1.0\r\n\r\n")
                return b"200" in sock.recv(100)
        except OSError:
            return False

    def close(self):
        for process in *self._clients, self._server:
            process.terminate()
            process.wait(10)
