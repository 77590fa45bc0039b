"""Network namespaces that belong to one test run: named after its pid, removed at its end whatever happens."""

import atexit
import contextlib
import ctypes
import itertools
import os
import pathlib
import shutil
import subprocess

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    def __init__(self, role):
        self.name = f"egress-{os.getpid()}-{next(_numbers)}-{role}"
        self._etc = pathlib.Path("/etc/netns") / self.name
        _run("ip", "netns", "add", self.name)
        atexit.register(self.close)
        self.ip("link set lo up")

    def close(self):
        atexit.unregister(self.close)
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self._etc, ignore_errors=True)

    def ip(self, command):
        """Runs `ip` with the words of `command` in here."""
        _run("ip", "-n", self.name, *command.split())

    @contextlib.contextmanager
    def sysctl(self, name, value):
        """`/proc/sys/NAME` has this value in here as long as the block lasts."""
        path = pathlib.Path("/proc/sys", name)
        with self.inside():
            before = path.read_text()
            path.write_text(str(value))
        try:
            yield
        finally:
            with self.inside():
                path.write_text(before)

    @contextlib.contextmanager
    def inside(self):
        """This thread works in here: sockets it opens and programs it starts belong to the namespace."""
        with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{self.name}") as here:
            _setns(here.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())

    def run(self, *argv, **options):
        """Runs a program to its end as an application in here would: with this namespace's /etc/resolv.conf."""
        options = {"capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(["ip", "netns", "exec", self.name, *argv], check=False, **options)

    def popen(self, *argv, **options):
        """Starts a program, which does not outlive the test run. The pid is its own: `ip` and `setpriv` become it."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, "setpriv", "--pdeathsig", "KILL", *argv], **options)

    def etc(self, name, text):
        """Programs started in here see this /etc/NAME; those that run already do too, when they saw one before."""
        self._etc.mkdir(parents=True, exist_ok=True)
        (self._etc / name).write_text(text)

    def resolv_conf(self, text):
        self.etc("resolv.conf", text)

    def nft(self, script):
        subprocess.run(["ip", "netns", "exec", self.name, "nft", "-f", "-"], input=script, text=True, check=True)

    def table(self):
        """The text of the sidecar's table, None when there is none."""
        listing = self.run("nft", "list", "table", "inet", "opensandbox")
        return listing.stdout if listing.returncode == 0 else None


def link(a, device_a, b, device_b):
    """A cable between two namespaces; `device_*` is (name, addresses)."""
    (name_a, addresses_a), (name_b, addresses_b) = device_a, device_b
    a.ip(f"link add {name_a} type veth peer name {name_b} netns {b.name}")
    for namespace, name, addresses in (a, name_a, addresses_a), (b, name_b, addresses_b):
        namespace.ip(f"link set {name} up")
        for address in addresses:
            namespace.ip(f"addr add {address} dev {name}" + (" nodad" if ":" in address else ""))


def _run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
