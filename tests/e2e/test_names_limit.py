"""Distinct names below one wildcard in a minute are limited: a tunnel through DNS ends there, ordinary programs do not
notice."""

import contextlib
import itertools
import subprocess
import time

import dns.rcode
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.metrics import Scrape
from tests.support.sidecar import command
from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4

ODD = "198.51.100.53"
TUNNEL = "198.51.100.54"
LIMIT = 5
RULES = {"egress": [{"action": "allow", "target": target} for target in ("*.a.test", "*.b.test", "one.c.test")]}
_serials = itertools.count()


def _behave(request):
    if request.name.startswith("none"):
        request.reply(request.answer(rcode=dns.rcode.NXDOMAIN))
    else:
        faults.good(request)


@pytest.fixture
def limited(start, resolver):
    """limited() starts a sidecar with LIMIT names a minute, when 20 s of one are left at least."""
    def start_one(**settings):
        sidecar = start(**{"RULES": RULES, "DNS_UPSTREAM": ODD, "DNS_NAMES_PER_MINUTE": str(LIMIT), **settings})
        wait_until(lambda: time.clock_gettime(time.CLOCK_MONOTONIC) % 60 < 40, timeout=25, what="a minute's beginning")
        return sidecar
    odd = resolver(ODD, _behave)
    start_one.upstream = odd
    return start_one


def _asks(world, name, rdtype="A", **how):
    return dnsclient.rcode(dnsclient.ask(world.sandbox, name, rdtype, **how))


def _fill(world, zone, prefix="n"):
    """Asks for as many new names as there may be."""
    names = [f"{prefix}{next(_serials)}.{zone}" for _ in range(LIMIT)]
    for name in names:
        assert _asks(world, name) == ("NXDOMAIN" if prefix == "none" else "NOERROR")
    return names


def _refused(sidecar):
    return Scrape(sidecar).value("egress_dns_limited_total", limit="names")


def test_one_name_too_many(world, limited):
    sidecar = limited()
    names = _fill(world, "a.test")
    answer = dnsclient.ask(world.sandbox, "new.a.test", edns=True)
    assert dnsclient.rcode(answer) == "NXDOMAIN" and dnsclient.ede_codes(answer) == [dnsclient.EDE_BLOCKED]
    assert _asks(world, "new.a.test", tcp=True) == "NXDOMAIN"
    assert not limited.upstream.asked("new.a.test")
    record = sidecar.wait_event("denied", target_host="new.a.test")
    assert (record["rule"], record["reason"]) == ("*.a.test", "names_limit")
    assert "reason" not in sidecar.wait_event("outbound", target_host=names[0])
    assert _refused(sidecar) == 2 and Scrape(sidecar).value("egress_policy_denied_total") == 0
    assert Scrape(sidecar).value("egress_dns_queries_total", result="denied", proto="tcp") == 1
    for name in names:
        for rdtype, how in ("A", {}), ("AAAA", {}), ("TXT", {"tcp": True}):
            assert _asks(world, name.upper(), rdtype, **how) == "NOERROR", "a known name keeps working"
    assert _asks(world, "one.c.test") == "NOERROR" and _asks(world, "x.b.test") == "NOERROR"
    assert _refused(sidecar) == 2


@pytest.mark.parametrize("settings", [{}, {"DNS_CACHE": "0"}], ids=["cache", "no cache"])
def test_types_spellings_and_repetitions_are_one_name(world, limited, settings):
    sidecar = limited(**settings)
    for name in "www.a.test", "WWW.a.TEST", "wWw.A.test":
        for rdtype in "A", "AAAA", "TXT", "MX", "HTTPS":
            assert _asks(world, name, rdtype) == "NOERROR"
    assert not _refused(sidecar)


def test_names_that_a_search_list_made_are_refused_quietly(world, limited):
    world.sandbox.resolv_conf(f"nameserver {ODD}\nsearch a.test\n")
    sidecar = limited(DNS_UPSTREAM=None, LOG_LEVEL="debug")
    _fill(world, "a.test")
    for name, level in ("one.c.test.a.test", "debug"), ("other.a.test", "info"):
        assert _asks(world, name) == "NXDOMAIN"
        denied = sidecar.wait_event("denied", target_host=name)
        assert (denied["level"], denied["reason"]) == (level, "names_limit")


def test_names_that_do_not_exist_count(world, limited):
    limited()
    _fill(world, "a.test", "none")
    assert _asks(world, "new.a.test") == "NXDOMAIN" and not limited.upstream.asked("new.a.test")


def test_default_allow_is_limited_by_registered_domain(world, limited):
    sidecar = limited(RULES={"defaultAction": "allow"})
    _fill(world, "evil.co.uk")
    assert _asks(world, "below.new.evil.co.uk") == "NXDOMAIN"
    assert sidecar.wait_event("denied", target_host="below.new.evil.co.uk")["rule"] == "default"
    _fill(world, "good.co.uk")


def test_policy_change_forgets_nothing(world, limited):
    sidecar = limited()
    names = _fill(world, "a.test")
    more = {"egress": [{"action": "allow", "target": "more.test"}, *RULES["egress"]]}
    assert sidecar.request("POST", "/policy", more).status == 200
    assert _asks(world, "new.a.test") == "NXDOMAIN" and _asks(world, names[0]) == "NOERROR"


def test_audit_records_and_answers(world, limited):
    sidecar = limited(MODE="dns+nft+audit")
    _fill(world, "a.test")
    assert _asks(world, "new.a.test") == "NOERROR"
    record = sidecar.wait_event("denied", target_host="new.a.test")
    assert record["reason"] == "names_limit" and record["audit"] is True
    assert not sidecar.events("outbound", target_host="new.a.test") and _refused(sidecar) == 1


def test_off_by_default(world, start, resolver):
    resolver(ODD, _behave)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    for i in range(300):
        assert _asks(world, f"n{i}.a.test") == "NOERROR"
    assert not _refused(sidecar)


@pytest.mark.parametrize("value", ["-1", "many", "1000001"])
def test_value_that_cannot_be_parsed_stops_the_start(world, value):
    done = command(world.sandbox, ["--check"], {"DNS_UPSTREAM": UPSTREAM_V4, "DNS_NAMES_PER_MINUTE": value})
    assert done.returncode == 78
    assert f'DNS_NAMES_PER_MINUTE="{value}": expected a whole number from 0 to 1000000' in done.stderr


@pytest.fixture
def tunnel(world):
    with contextlib.closing(Tunnel(world, TUNNEL, "t.tunnel.test")) as one:
        yield one


def _start_with_tunnel(start, **settings):
    # The tunnel's server is the resolver, which answers for nothing else: the shortest way between the two.
    return start(MODE="dns", DNS_UPSTREAM=TUNNEL, DNS_UPSTREAM_PROBE="ns.t.tunnel.test",
                 RULES={"egress": [{"action": "allow", "target": "*.tunnel.test"}]}, **settings)


def test_tunnel_works_without_a_limit(start, tunnel):
    _start_with_tunnel(start)
    assert tunnel.open()
    assert sum(tunnel.carries(4000, timeout=10) for _ in range(5)) >= 4


def test_tunnel_ends_at_the_limit(start, tunnel):
    sidecar = _start_with_tunnel(start, DNS_NAMES_PER_MINUTE="60")
    begin = time.monotonic()
    open_at_first = tunnel.open()
    while open_at_first and tunnel.carries(4000, timeout=3):
        assert time.monotonic() - begin < 60
    sidecar.wait_event("denied", rule="*.tunnel.test", reason="names_limit")
    assert _refused(sidecar)
    assert not any(tunnel.carries(1000, timeout=3) for _ in range(3))
    names = {record["target.host"] for record in sidecar.events("outbound")}
    assert len(names) <= 120, "two minutes' names at most; the client repeats some"


def _repository(folder):
    """A package and the index of a repository that has nothing else."""
    control = folder / "package" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: egress-trial\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@a.test>\n"
                       "Description: a package\n")
    site = folder / "site"
    site.mkdir()
    package = site / "egress-trial_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", control.parents[1], package], check=True,
                   stdout=subprocess.DEVNULL)
    digest = subprocess.run(["sha256sum", package], check=True, capture_output=True, text=True).stdout.split()[0]
    (site / "Packages").write_text(f"{control.read_text()}Filename: ./{package.name}\nSize: {package.stat().st_size}\n"
                                   f"SHA256: {digest}\n")
    return site


def test_package_installation_does_not_notice(world, start, tmp_path):
    site = _repository(tmp_path)
    server = world.internet.popen("python3", "-B", "-m", "http.server", "8080", "--bind", "203.0.113.30",
                                  "--directory", str(site), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        sidecar = start(RULES={"egress": [{"action": "allow", "target": "*.wild.test"}]}, DNS_NAMES_PER_MINUTE="30")
        world.sandbox.resolv_conf("nameserver 192.0.2.53\n")
        root = tmp_path / "root"
        for name in "lists/partial", "archives/partial", "etc/apt.conf.d", "etc/preferences.d":
            (root / name).mkdir(parents=True)
        (root / "status").write_text("")
        (root / "etc" / "sources.list").write_text("".join(
            f"deb [trusted=yes] http://{host}.wild.test:8080/ ./\n" for host in ("deb", "security", "backports")))
        apt = ["apt-get", "-q", "-o", f"Dir::State={root}", "-o", f"Dir::State::status={root}/status", "-o",
               f"Dir::Cache={root}", "-o", f"Dir::Etc={root}/etc", "-o", "APT::Sandbox::User=root"]
        wait_until(lambda: world.internet.run("curl", "-sf", "http://203.0.113.30:8080/Packages").stdout,
                   what="the repository")
        assert (done := world.sandbox.run(*apt, "update")).returncode == 0, done.stderr
        done = world.sandbox.run(*apt, "install", "-y", "--download-only", "egress-trial")
        assert done.returncode == 0, done.stderr
        assert (root / "archives" / "egress-trial_1_all.deb").exists()
        assert not sidecar.events("denied", reason="names_limit") and not _refused(sidecar)
        sidecar.wait_event("outbound", target_host="deb.wild.test")
    finally:
        server.terminate()
        server.wait(10)
