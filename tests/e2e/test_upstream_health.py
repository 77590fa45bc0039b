"""Probes of upstreams, who is skipped for them, and the next upstream asked beside a slow one."""

import threading
import time

import dns.rcode
import dns.rdatatype
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import UPSTREAM_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
FIRST, SECOND, THIRD = "198.51.100.53", "198.51.100.55", "198.51.100.56"
LATER = "3600"  # no second probe within the test


def _answered_in(world, name="www.allowed.test", tcp=False):
    begin = time.monotonic()
    answer = dnsclient.ask(world.sandbox, name, tcp=tcp, timeout=30)
    return answer, time.monotonic() - begin


def _probes(resolver, name="."):
    return [request for request in list(resolver.requests) if request.name == name]


def _for_clients_only(behave):
    """Probes are answered well, clients' questions as said."""
    return lambda request: faults.good(request) if request.name == "." else behave(request)


def _for_probes_only(behave):
    return lambda request: behave(request) if request.name == "." else faults.good(request)


def _wait_told(sidecar, upstream, words, level):
    return sidecar.wait_record(lambda record: upstream in record["msg"] and words in record["msg"]
                               and record["level"] == level, timeout=10)


def test_probe_is_one_datagram_for_the_root_by_default(world, start, resolver):
    upstreams = [resolver(address, faults.good) for address in (FIRST, SECOND)]
    sidecar = start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{SECOND}")
    for upstream in upstreams:
        wait_until(lambda: _probes(upstream), what="the probe")
        assert [(probe.tcp, probe.message.question[0].rdtype) for probe in _probes(upstream)] == \
            [(False, dns.rdatatype.NS)]
    assert not sidecar.events("outbound") and not sidecar.events("denied")


def test_probes_come_every_interval(world, start, resolver):
    odd = resolver(FIRST, faults.truncating)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=FIRST, DNS_UPSTREAM_PROBE="probe.Example.", LOG_LEVEL="debug",
                    DNS_UPSTREAM_PROBE_INTERVAL_SEC="1")
    wait_until(lambda: len(_probes(odd, "probe.example.")) >= 3, timeout=10, what="three probes")
    probes = _probes(odd, "probe.example.")
    assert all(not probe.tcp and probe.message.question[0].rdtype == dns.rdatatype.A for probe in probes)
    assert not [record for record in sidecar.records if "probe" in record["msg"]], "a truncated answer is an answer"


@pytest.mark.parametrize("behave", [faults.failing(dns.rcode.SERVFAIL), faults.failing(dns.rcode.REFUSED),
                                    faults.silent, faults.garbage], ids=["servfail", "refused", "silent", "garbage"])
def test_upstream_whose_probe_failed_is_skipped_until_one_succeeds(world, start, resolver, behave):
    odd = resolver(FIRST, _for_probes_only(behave))
    sidecar = start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{UPSTREAM_V4}", DNS_UPSTREAM_PROBE_INTERVAL_SEC="1")
    _wait_told(sidecar, FIRST, "failed its probe", "warn")
    for i in range(5):
        dnsclient.ask(world.sandbox, f"n{i}.allowed.test")
        assert not odd.asked(f"n{i}.allowed.test")
    probes = len(_probes(odd))
    wait_until(lambda: len(_probes(odd)) >= probes + 2, timeout=10, what="probes of an upstream that failed")
    odd.behave = faults.good
    _wait_told(sidecar, FIRST, "answers its probe again", "info")
    dnsclient.ask(world.sandbox, "back.allowed.test")
    assert odd.asked("back.allowed.test")
    told = [record for record in sidecar.records if "its probe" in record["msg"]]
    assert len(told) == 2, "each change of state is told once"


def test_when_all_probes_failed_all_are_tried(world, start, resolver):
    probe_fails = _for_probes_only(faults.failing(dns.rcode.SERVFAIL))
    first, second = resolver(FIRST, probe_fails), resolver(SECOND, probe_fails)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{SECOND}")
    for upstream in FIRST, SECOND:
        _wait_told(sidecar, upstream, "failed its probe", "warn")
    assert dnsclient.addresses(_answered_in(world)[0]) == ["203.0.113.10"] and first.asked("www.allowed.test")
    first.behave = faults.failing(dns.rcode.SERVFAIL)
    assert dnsclient.addresses(_answered_in(world, "n1.allowed.test")[0]) == ["203.0.113.10"]
    assert second.asked("n1.allowed.test")


@pytest.mark.parametrize("name, value", [("DNS_UPSTREAM_PROBE_INTERVAL_SEC", "0"),
                                         ("DNS_UPSTREAM_PROBE_INTERVAL_SEC", "3601"),
                                         ("DNS_UPSTREAM_PROBE", "not/a/name")])
def test_unusable_settings_are_a_warning(world, start, resolver, name, value):
    odd = resolver(FIRST, faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=FIRST, **{name: value})
    sidecar.wait_record(lambda record: record["level"] == "warn" and name in record["msg"])
    wait_until(lambda: _probes(odd), what="the probe")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_silent_first_upstream_costs_well_under_a_second(world, start, resolver, tcp):
    resolver(FIRST, _for_clients_only(faults.silent))
    start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{UPSTREAM_V4}", DNS_UPSTREAM_PROBE_INTERVAL_SEC=LATER)
    seconds = []
    for name, address in ("www", "203.0.113.10"), ("api", "203.0.113.11"):  # a third failure, and it is asked last
        answer, took = _answered_in(world, f"{name}.allowed.test", tcp)
        assert dnsclient.addresses(answer) == [address]
        seconds.append(took)
    assert 0.2 < min(seconds) < 0.6 * PATIENCE


def test_slow_first_upstream_still_wins(world, start, resolver):
    """It is not given up when the next one is asked: whoever has a final answer first counts."""
    first = resolver(FIRST, faults.good)
    second = resolver(SECOND, _for_clients_only(faults.silent))
    start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{SECOND}", DNS_UPSTREAM_PROBE_INTERVAL_SEC=LATER)
    answer, seconds = _answered_in(world, "slow.allowed.test")  # half a second
    assert dnsclient.addresses(answer) == ["203.0.113.10"]
    assert seconds < 4.5  # without an answer it is given up after 5 s
    assert first.questions("slow.allowed.test") == 1 and second.questions("slow.allowed.test") == 1


def test_error_of_the_second_does_not_end_the_wait_for_the_first(world, start, resolver):
    resolver(FIRST, faults.good)
    resolver(SECOND, _for_clients_only(faults.failing(dns.rcode.SERVFAIL)))
    start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{SECOND}", DNS_UPSTREAM_PROBE_INTERVAL_SEC=LATER)
    assert dnsclient.addresses(_answered_in(world, "slow.allowed.test")[0]) == ["203.0.113.10"]


def test_two_answers_are_one_reply(world, start, resolver):
    """Both upstreams answer at the same moment, half a second after the first was asked."""
    gate = threading.Barrier(2)

    def together(address):
        def behave(request):
            gate.wait(5)
            faults.good(request, address)
        return _for_clients_only(behave)

    resolver(FIRST, together("203.0.113.10"))
    resolver(SECOND, together("203.0.113.11"))
    sidecar = start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{SECOND}", DNS_UPSTREAM_PROBE_INTERVAL_SEC=LATER)
    with dnsclient.tcp_socket(world.sandbox, UPSTREAM_V4) as sock:
        dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test"))
        assert len(dnsclient.addresses(dnsclient.receive_tcp(sock))) == 1
        dnsclient.send_tcp(sock, dnsclient.question("www.other.test"))
        assert dnsclient.rcode(dnsclient.receive_tcp(sock)) == "NXDOMAIN"
    sidecar.wait_event("denied", target_host="www.other.test")  # recorded after whatever the first name gave
    assert len(sidecar.events("outbound", target_host="www.allowed.test")) == 1


def test_upstream_that_lost_three_times_is_asked_last(world, start, resolver):
    first = resolver(FIRST, _for_clients_only(faults.silent))
    start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{UPSTREAM_V4}", DNS_UPSTREAM_PROBE_INTERVAL_SEC=LATER)
    for i in range(3):
        _answered_in(world, f"n{i}.allowed.test")
    names = ["www.allowed.test", "api.allowed.test", "v4only.allowed.test"]
    assert min(_answered_in(world, name)[1] for name in names) < 0.2 * PATIENCE
    assert not all(first.asked(name) for name in names)  # asked all the same when the other one takes its time


def test_all_silent_ends_at_the_timeout(world, start, resolver):
    for address in FIRST, SECOND, THIRD:
        resolver(address, faults.silent)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=f"{FIRST},{SECOND},{THIRD}", DNS_UPSTREAM_TIMEOUT="2")
    answer, seconds = _answered_in(world)
    assert dnsclient.rcode(answer) == "SERVFAIL" and 1.9 < seconds < 4.5
    assert sidecar.wait_event("outbound", target_host="www.allowed.test")["error"] == "timeout"
