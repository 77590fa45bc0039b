"""The world of the tests: a sandbox, and behind its only cable an internet with a name server and web servers.

    sandbox  10.0.5.2, fd00:5::2  ---  10.0.5.1, fd00:5::1  internet

The internet answers at every address of the documentation and benchmark ranges below.
"""

from tests.support import netns
from tests.support.authority import Authority
from tests.support.web import Web

SANDBOX_V4, SANDBOX_V6 = "10.0.5.2", "fd00:5::2"
GATEWAY_V4, GATEWAY_V6 = "10.0.5.1", "fd00:5::1"
UPSTREAM_V4, UPSTREAM_V6 = "192.0.2.53", "2001:db8::53"
GOOGLE_V4, GOOGLE_V6 = "8.8.8.8", "2001:4860:4860::8888"

INTERNET_V4 = ("192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "10.9.0.0/16", "8.8.8.8/32")
INTERNET_V6 = ("2001:db8::/32", "2001:4860:4860::/48", "fd09::/64")
# A socket can be bound to these: an IPv6 address must be on a device for that, a route is not enough.
BINDABLE_V6 = (UPSTREAM_V6, GOOGLE_V6)


class World:
    def __init__(self, folder):
        self.sandbox = netns.Namespace("sandbox")
        self.internet = netns.Namespace("internet")
        self.authority = self.web = None
        try:
            self._lay_cables()
            self.authority = Authority(self.internet, (UPSTREAM_V4, UPSTREAM_V6), folder)
            self.web = Web(self.internet, folder)
        except BaseException:
            self.close()
            raise

    def _lay_cables(self):
        netns.link(self.sandbox, ("eth0", (f"{SANDBOX_V4}/24", f"{SANDBOX_V6}/64")),
                   self.internet, ("eth0", (f"{GATEWAY_V4}/24", f"{GATEWAY_V6}/64")))
        self.sandbox.ip(f"route add default via {GATEWAY_V4}")
        self.sandbox.ip(f"-6 route add default via {GATEWAY_V6}")
        for network in INTERNET_V4:
            self.internet.ip(f"route add local {network} dev lo")
        for network in INTERNET_V6:
            self.internet.ip(f"-6 route add local {network} dev lo")
        for address in BINDABLE_V6:
            self.internet.ip(f"addr add {address}/128 dev lo nodad")

    def close(self):
        for part in self.web, self.authority, self.internet, self.sandbox:
            if part:
                part.close()
