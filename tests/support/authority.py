"""A real authoritative server (nsd) that holds the whole tree of names, root included, and so serves as a resolver."""

import subprocess

from tests.support import dnsclient
from tests.support.waiting import wait_until

N_MANY = 1200

_HEAD = """\
.                      60 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60
.                      60 IN NS ns.test.
ns.test.               60 IN A 192.0.2.53
www.allowed.test.      60 IN A 203.0.113.10
www.allowed.test.      60 IN AAAA 2001:db8:1::10
api.allowed.test.      60 IN A 203.0.113.11
api.allowed.test.      60 IN AAAA 2001:db8:1::11
deep.down.allowed.test. 60 IN A 203.0.113.12
v4only.allowed.test.   60 IN A 203.0.113.13
www.other.test.        60 IN A 203.0.113.66
www.other.test.        60 IN AAAA 2001:db8:1::66
alias.allowed.test.    60 IN CNAME hop1.cdn.test.
hop1.cdn.test.         60 IN CNAME hop2.cdn.test.
hop2.cdn.test.         60 IN CNAME edge.cdn.test.
edge.cdn.test.         60 IN A 203.0.113.20
edge.cdn.test.         60 IN AAAA 2001:db8:1::20
tree.allowed.test.     60 IN DNAME tree.cdn.test.
leaf.tree.cdn.test.    60 IN A 203.0.113.21
*.wild.test.           60 IN A 203.0.113.30
forever.allowed.test.  86400 IN A 203.0.113.40
moment.allowed.test.   0 IN A 203.0.113.41
cluster.allowed.test.  60 IN A 10.9.8.7
cluster.allowed.test.  60 IN AAAA fd09::7
rebind.allowed.test.   60 IN A 127.0.0.1
rebind.allowed.test.   60 IN AAAA ::1
mixed.allowed.test.    60 IN A 169.254.169.254
mixed.allowed.test.    60 IN A 203.0.113.42
"""


def many_v4(i):
    return f"198.18.{i // 256}.{i % 256}"


def many_v6(i):
    return f"2001:db8:18::{i + 1:x}"


def _zone():
    yield _HEAD
    text = " ".join('"' + "x" * 200 + '"' for _ in range(20))
    yield f"big.allowed.test. 60 IN TXT {text}\n"
    for i in range(N_MANY):
        yield f"host{i}.many.test. 60 IN A {many_v4(i)}\nhost{i}.many.test. 60 IN AAAA {many_v6(i)}\n"


class Authority:
    def __init__(self, namespace, addresses, folder):
        zone, conf = folder / "root.zone", folder / "nsd.conf"
        zone.write_text("".join(_zone()))
        listen = "".join(f"    ip-address: {address}\n" for address in addresses)
        conf.write_text(f"server:\n{listen}    username: root\n    zonesdir: {folder}\n    database: \"\"\n"
                        f"    pidfile: {folder}/nsd.pid\n    xfrdfile: {folder}/xfrd.state\n"
                        f"    xfrdir: {folder}\n    zonelistfile: {folder}/zone.list\n    server-count: 1\n"
                        f"    rrl-ratelimit: 0\n"
                        f"remote-control:\n    control-enable: no\n"
                        f"zone:\n    name: .\n    zonefile: {zone}\n")
        self._process = namespace.popen("nsd", "-d", "-c", str(conf), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_until(lambda: self._answers(namespace, addresses), timeout=30, what="nsd")

    @staticmethod
    def _answers(namespace, addresses):
        try:
            return all(dnsclient.ask(namespace, "ns.test", server=address, timeout=0.5) for address in addresses)
        except (OSError, dnsclient.Timeout):
            return False

    def close(self):
        self._process.terminate()
        self._process.wait(10)
