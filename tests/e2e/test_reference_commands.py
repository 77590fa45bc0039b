"""Every curl command of the reference's README, as it stands there, does what the README says."""

import contextlib
import subprocess

import pytest

from tests.support import dnsclient
from tests.support.receiver import Receiver
from tests.support.resolver import good
from tests.support.tcpclient import connects, refusal_seconds

WEB = "203.0.113.10"  # the address of every name
RESOLVER = "192.0.2.99"
HOST_SEEN_IN_THE_README = "11.167.84.130"

ALLOWLIST = """\
curl -XPOST http://127.0.0.1:18080/policy \\
  -d '{"defaultAction":"deny","egress":[{"action":"allow","target":"*.bing.com"}]}'
"""
BLOCKLIST = """\
curl -XPOST http://127.0.0.1:18080/policy \\
  -d '{"defaultAction":"allow","egress":[{"action":"deny","target":"*.bing.com"}]}'
"""
ADDRESSES = """\
curl -XPOST http://127.0.0.1:18080/policy \\
  -d '{"defaultAction":"deny","egress":[{"action":"allow","target":"1.1.1.1"},{"action":"deny","target":"10.0.0.0/8"}]}'
"""
MIXED = """\
curl -XPOST http://127.0.0.1:18080/policy \\
  -d '{"defaultAction":"deny","egress":[{"action":"allow","target":"*.example.com"},{"action":"allow","target":"203.0.113.0/24"},{"action":"deny","target":"*.bad.com"}]}'
"""
BASELINE = """\
curl -XPOST http://127.0.0.1:18080/policy \\
  -d '{"defaultAction":"allow","egress":[{"action":"deny","target":"*.cloudflare.com"}]}'
"""
MERGE = """\
curl -XPATCH http://127.0.0.1:18080/policy \\
  -d '[{"action":"allow","target":"www.cloudflare.com"}]'
"""
REPLACE = """\
curl -XPOST http://127.0.0.1:18080/policy \\
  -d '{"defaultAction":"deny","egress":[{"action":"allow","target":"*.example.com"}]}'
"""
REMOVE = """\
curl -XDELETE http://127.0.0.1:18080/policy \\
  -d '["*.example.com"]'
"""
FROM_THE_HOST = """\
curl -XPOST http://11.167.84.130:18080/policy \\
  -H "OPENSANDBOX-EGRESS-AUTH: $OPENSANDBOX_EGRESS_TOKEN" \\
  -d '{"defaultAction":"deny","egress":[{"action":"allow","target":"*.bing.com"}]}'
"""
ALLOWED_DOMAIN = "curl -I https://google.com"
DENIED_DOMAIN = "curl -I https://github.com"


def _type_in(namespace, command, **env):
    return namespace.run("bash", "-c", command, env={"PATH": "/usr/bin:/bin", **env})


def _accepted(done):
    return done.returncode == 0 and '"status":"ok"' in done.stdout


@pytest.fixture
def sidecar(start, resolver):
    """With a resolver that gives every name the same address."""
    resolver(RESOLVER, good)
    return lambda **settings: start(DNS_UPSTREAM=RESOLVER, **settings)


@pytest.fixture
def names(world):
    """names("a.test", …) says of each whether it resolves; what does not is denied."""
    def ask(*wanted):
        rcodes = [dnsclient.rcode(dnsclient.ask(world.sandbox, name)) for name in wanted]
        assert set(rcodes) <= {"NOERROR", "NXDOMAIN"}
        return [rcode == "NOERROR" for rcode in rcodes]
    return ask


def test_allowlist(world, sidecar, names):
    sidecar()
    assert _accepted(_type_in(world.sandbox, ALLOWLIST))
    assert names("www.bing.com", "cn.edge.bing.com", "bing.com", "www.google.com") == [True, True, False, False]
    assert connects(world.sandbox, WEB)
    refusal_seconds(world.sandbox, "203.0.113.11")


def test_blocklist(world, sidecar, names):
    sidecar()
    assert _accepted(_type_in(world.sandbox, BLOCKLIST))
    assert names("www.bing.com", "bing.com", "www.google.com") == [False, True, True]
    assert connects(world.sandbox, "203.0.113.11")


def test_addresses(world, sidecar, names):
    world.internet.ip("route replace local 1.1.1.1/32 dev lo")
    sidecar()
    assert not connects(world.sandbox, "1.1.1.1")
    assert _accepted(_type_in(world.sandbox, ADDRESSES))
    assert connects(world.sandbox, "1.1.1.1")
    for address in "10.9.8.7", "203.0.113.11":
        refusal_seconds(world.sandbox, address)
    assert names("www.bing.com") == [False]


def test_names_and_addresses(world, sidecar, names):
    sidecar()
    assert _accepted(_type_in(world.sandbox, MIXED))
    assert names("www.example.com", "www.bad.com", "example.com") == [True, False, False]
    assert connects(world.sandbox, "203.0.113.200")
    refusal_seconds(world.sandbox, "198.51.100.9")


def test_merge(world, sidecar, names):
    sidecar()
    assert _accepted(_type_in(world.sandbox, BASELINE))
    assert names("www.cloudflare.com", "dash.cloudflare.com", "www.google.com") == [False, False, True]
    assert _accepted(_type_in(world.sandbox, MERGE))
    assert names("www.cloudflare.com", "dash.cloudflare.com", "www.google.com") == [True, False, True]


def test_replace_and_remove(world, sidecar, names):
    one = sidecar()
    assert _accepted(_type_in(world.sandbox, REPLACE))
    assert names("www.example.com") == [True]
    assert _accepted(_type_in(world.sandbox, REMOVE))
    assert names("www.example.com") == [False]
    assert one.policy() == {"defaultAction": "deny", "egress": []}


def test_policy_pushed_from_the_host(world, sidecar, names):
    """At the address that the README happens to have, which is the sandbox's here."""
    world.sandbox.ip(f"addr replace {HOST_SEEN_IN_THE_README}/32 dev eth0")
    world.internet.ip(f"route replace {HOST_SEEN_IN_THE_README}/32 dev eth0")
    sidecar(TOKEN="secret")
    assert _type_in(world.internet, FROM_THE_HOST).stdout.strip() == "unauthorized"
    assert names("www.bing.com") == [False]
    assert _accepted(_type_in(world.internet, FROM_THE_HOST, OPENSANDBOX_EGRESS_TOKEN="secret"))
    assert names("www.bing.com", "www.google.com") == [True, False]


def test_verification(world, sidecar, tmp_path):
    """With a server of https behind every name and a certificate for that of the command."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=google.com", "-addext", "subjectAltName=DNS:google.com",
                    "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    sidecar(RULES={"defaultAction": "deny", "egress": [{"action": "allow", "target": "google.com"}]})
    with contextlib.closing(Receiver(world.internet, WEB, 443, tls=(certificate, key))):
        allowed = _type_in(world.sandbox, ALLOWED_DOMAIN, CURL_CA_BUNDLE=str(certificate))
        assert allowed.returncode == 0 and "200 OK" in allowed.stdout, allowed.stderr
        denied = _type_in(world.sandbox, DENIED_DOMAIN, CURL_CA_BUNDLE=str(certificate))
        assert denied.returncode == 6 and "Could not resolve host: github.com" in denied.stderr
