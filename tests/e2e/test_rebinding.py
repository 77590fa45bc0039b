"""The rebinding guard: names that lead back into the sandbox, to its link, or to nobody."""

import contextlib

import pytest

from tests.support import dnsclient, ruleset
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import wait_until
from tests.support.world import SANDBOX_V4, SANDBOX_V6

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD = "198.51.100.53"
# Where clouds tell a machine its secrets, and addresses that a gateway makes others of.
CLOUDS = ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe")
HIDDEN = ("240.0.0.1", "fec0::1", "2001::1", "64:ff9b:1::a9fe:a9fe", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:502",
          "2002:7f00:1::1", "2001:db8:9::5efe:a9fe:a9fe", "::203.0.113.5", "::ffff:0:7f00:1")
PUBLIC_V4, PUBLIC_V6 = "203.0.113.42", "2001:db8:1::42"


def _holding(*addresses, alias=False):
    """A resolver for whose names these are the addresses, behind a CNAME if wanted."""
    def behave(request):
        rdtype = {1: "A", 28: "AAAA"}.get(request.message.question[0].rdtype)
        owner = f"edge.{request.name}" if alias else request.name
        if not rdtype:
            request.reply(request.answer())
            return
        chain = [f"{request.name} 60 CNAME {owner}"] if alias else []
        wanted = [address for address in addresses if (":" in address) == (rdtype == "AAAA")]
        request.reply(request.answer(*chain, *[f"{owner} 60 {rdtype} {address}" for address in wanted]))
    return behave


def _is_blocked_nodata(answer):
    return dnsclient.rcode(answer) == "NOERROR" and not answer.answer and dnsclient.ede_codes(answer) == [15]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "169.254.169.254", "0.0.0.0", "0.1.2.3", "224.0.0.1",
                                     "255.255.255.255", SANDBOX_V4, "::1", "::", "fe80::1", "ff02::1",
                                     "::ffff:203.0.113.42", "::ffff:127.0.0.1", SANDBOX_V6, *CLOUDS, *HIDDEN])
def test_address_is_taken_out(world, start, resolver, address, tcp):
    rdtype, public = ("AAAA", PUBLIC_V6) if ":" in address else ("A", PUBLIC_V4)
    odd = resolver(ODD, _holding(address))
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    assert _is_blocked_nodata(dnsclient.ask(world.sandbox, "n1.allowed.test", rdtype, tcp=tcp, edns=True))
    plain = dnsclient.ask(world.sandbox, "n2.allowed.test", rdtype, tcp=tcp)
    assert dnsclient.rcode(plain) == "NOERROR" and not plain.answer and not plain.additional and plain.edns < 0
    record = sidecar.wait_event("denied", target_host="n1.allowed.test")
    assert record["rule"] == "rebinding guard" and record["target.ips"] == [address]
    assert sidecar.wait_event("outbound", target_host="n1.allowed.test").get("target.ips") is None
    odd.behave = _holding(address, public)
    answer = dnsclient.ask(world.sandbox, "n3.allowed.test", rdtype, tcp=tcp, edns=True)
    assert dnsclient.addresses(answer) == [public]
    assert connects(world.sandbox, public)
    assert sidecar.wait_event("outbound", target_host="n3.allowed.test")["target.ips"] == [public]
    learned = ruleset.learned(world.sandbox)
    assert f" {public} " in learned and f" {address} " not in learned


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_at_the_end_of_a_chain(world, start, resolver, tcp):
    odd = resolver(ODD, _holding("127.0.0.1", PUBLIC_V4, alias=True))
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    answer = dnsclient.ask(world.sandbox, "n1.allowed.test", tcp=tcp)
    assert dnsclient.addresses(answer) == [PUBLIC_V4]
    assert connects(world.sandbox, PUBLIC_V4)
    odd.behave = _holding("127.0.0.1", alias=True)
    assert _is_blocked_nodata(dnsclient.ask(world.sandbox, "n2.allowed.test", tcp=tcp, edns=True))


def test_name_with_one_bad_family_keeps_the_other(world, start, resolver):
    """One verdict for all types of a name: musl gives a name up when one of them is NXDOMAIN."""
    resolver(ODD, _holding("::1", PUBLIC_V4))
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    lookup = world.sandbox.run("getent", "ahosts", "n1.allowed.test")
    assert PUBLIC_V4 in lookup.stdout and "::1" not in lookup.stdout
    for rdtype in "AAAA", "A", "MX":
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, "n1.allowed.test", rdtype)) == "NOERROR"


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_private_addresses_stay(world, start, mode):
    start(RULES=RULES, MODE=mode)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "cluster.allowed.test")) == ["10.9.8.7"]
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "cluster.allowed.test", "AAAA")) == ["fd09::7"]
    assert _is_blocked_nodata(dnsclient.ask(world.sandbox, "rebind.allowed.test", edns=True))
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "mixed.allowed.test")) == [PUBLIC_V4]


@pytest.mark.parametrize("address", CLOUDS + HIDDEN)
def test_allow_rule_opens_it(world, start, resolver, address):
    """Nothing is forbidden that somebody allows by name of the address."""
    resolver(ODD, _holding(address))
    rdtype = "AAAA" if ":" in address else "A"
    start(RULES={"egress": [*RULES["egress"], {"action": "allow", "target": address}]}, DNS_UPSTREAM=ODD)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "n1.allowed.test", rdtype)) == [address]


@pytest.mark.parametrize("rdtype", ["HTTPS", "SVCB"])
@pytest.mark.parametrize("hint, refused", [("ipv4hint=127.0.0.1", "127.0.0.1"), ("ipv6hint=fd00:ec2::254", "fd00:ec2::254"),
                                           ("ipv4hint=203.0.113.42,169.254.169.254", "169.254.169.254"),
                                           ("ipv4hint=203.0.113.42", None)])
def test_hints(world, start, resolver, rdtype, hint, refused):
    resolver(ODD, lambda request: request.reply(request.answer(f"{request.name} 60 {rdtype} 1 . alpn=h2 {hint}")))
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    for tcp in False, True:
        answer = dnsclient.ask(world.sandbox, "n1.allowed.test", rdtype, tcp=tcp, edns=True)
        if refused:
            assert _is_blocked_nodata(answer)
            assert sidecar.wait_event("denied", target_host="n1.allowed.test")["target.ips"] == [refused]
        else:
            assert len(answer.answer) == 1 and hint in answer.answer[0].to_text().replace('"', "")


@pytest.mark.parametrize("target", ["169.254.169.254", "169.254.0.0/16"])
def test_allow_rule_for_the_address(world, start, target):
    rules = {"egress": [*RULES["egress"], {"action": "allow", "target": target}]}
    sidecar = start(RULES=rules)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "mixed.allowed.test")) == ["169.254.169.254", PUBLIC_V4]
    assert sidecar.request("POST", "/policy", RULES).status == 200
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "mixed.allowed.test")) == [PUBLIC_V4]


def test_default_allow_names_no_address(world, start):
    start(RULES={"defaultAction": "allow"})
    assert _is_blocked_nodata(dnsclient.ask(world.sandbox, "rebind.allowed.test", edns=True))


@contextlib.contextmanager
def _address(namespace, address):
    namespace.ip(f"addr add {address} dev eth0")
    try:
        yield
    finally:
        namespace.ip(f"addr del {address} dev eth0")


def test_own_address_that_comes_and_goes(world, start, resolver):
    resolver(ODD, _holding("10.9.0.77"))
    start(RULES=RULES, DNS_UPSTREAM=ODD)

    def told():
        return dnsclient.addresses(dnsclient.ask(world.sandbox, "n1.allowed.test"))
    assert told() == ["10.9.0.77"]
    with _address(world.sandbox, "10.9.0.77/32"):
        wait_until(lambda: not told(), what="the new address to be known")
    wait_until(told, what="the address to be forgotten")


def test_refused_address_is_not_reachable_under_another_name(world, start, resolver):
    """It is not learned: what the guard keeps from the client stays closed for those who knew it before."""
    link_local = "169.254.7.7"
    world.internet.ip(f"addr add {link_local}/32 dev eth0")
    world.sandbox.ip(f"route add {link_local} dev eth0")
    try:
        resolver(ODD, _holding(link_local))
        start(RULES=RULES, DNS_UPSTREAM=ODD)
        dnsclient.ask(world.sandbox, "n1.allowed.test")
        refusal_seconds(world.sandbox, link_local)
    finally:
        world.sandbox.ip(f"route del {link_local} dev eth0")
        world.internet.ip(f"addr del {link_local}/32 dev eth0")
