"""The answer cache: what is answered without asking again, for how long, and when it is not."""

import concurrent.futures
import threading
import time

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD, OTHER = "198.51.100.53", "198.51.100.54"
NAME = "www.allowed.test"


def _with_ttl(ttl, address="203.0.113.10"):
    return lambda request: request.reply(request.answer(f"{request.name} {ttl} A {address}"))


def _missing(minimum, rcode=dns.rcode.NXDOMAIN):
    """There is no such name, for that many seconds; None: without an SOA record."""
    def behave(request):
        response = request.answer(rcode=rcode)
        if minimum is not None:
            response.authority.append(dns.rrset.from_text("test.", 600, "IN", "SOA", f"a. b. 1 2 3 4 {minimum}"))
        request.reply(response)
    return behave


def _exchange(world, query, **options):
    """dnspython checks id, question and the spelling of the name."""
    return dnsclient.exchange(world.sandbox, query, **options)


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_hit_does_not_reach_the_upstream(world, start, resolver, mode):
    odd = resolver(ODD, faults.good)
    sidecar = start(RULES=RULES, MODE=mode, DNS_UPSTREAM=ODD)
    answers = [_exchange(world, dnsclient.question(name), tcp=tcp)
               for name, tcp in ((NAME, False), (NAME, False), ("WWW.allowed.TEST", False), (NAME, True))]
    assert [dnsclient.addresses(answer) for answer in answers] == [["203.0.113.10"]] * 4
    assert odd.asked(NAME) == 1
    sidecar.wait_record(lambda record: record.get("cache"))
    wait_until(lambda: len(sidecar.events("outbound", target_host=NAME)) == 4, what="a record of each")
    records = sidecar.events("outbound", target_host=NAME)
    assert [record.get("cache") for record in records] == [None, "hit", "hit", "hit"]
    assert all(record["target.ips"] == ["203.0.113.10"] for record in records)


def test_ttl_is_counted_down_and_ends(world, start, resolver):
    odd = resolver(ODD, _with_ttl(3))
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    begin = time.monotonic()
    seen = []
    while odd.asked(NAME) < 2:
        seen.append(dnsclient.ask(world.sandbox, NAME).answer[0].ttl)
        assert time.monotonic() - begin < 10
    assert time.monotonic() - begin >= 2.9
    assert seen[0] == 3 and seen[-1] == 3 and {2, 1} & set(seen) and 0 not in seen
    assert seen[:-1] == sorted(seen[:-1], reverse=True)


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR], ids=["nxdomain", "nodata"])
def test_nothing_is_kept_as_long_as_its_soa_record_says(world, start, resolver, rcode):
    odd = resolver(ODD, _missing(2, rcode))
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    begin = time.monotonic()
    for _ in range(3):
        assert dnsclient.ask(world.sandbox, NAME).rcode() == rcode
    if time.monotonic() - begin < 1.9:
        assert odd.asked(NAME) == 1
    wait_until(lambda: dnsclient.ask(world.sandbox, NAME) and odd.asked(NAME) == 2, what="another question")
    assert time.monotonic() - begin >= 1.9


@pytest.mark.parametrize("behave", [_missing(None), _with_ttl(0), faults.failing(dns.rcode.SERVFAIL),
                                    faults.truncating], ids=["no soa", "ttl 0", "servfail", "truncated"])
def test_what_is_not_kept(world, start, resolver, behave):
    odd = resolver(ODD, behave)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    for _ in range(3):
        dnsclient.ask(world.sandbox, NAME)
    assert odd.asked(NAME) == 3


def test_other_flags_are_another_question(world, start, resolver):
    odd = resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    plain, edns, secure, unchecked = (dns.message.make_query(NAME, "A", **options) for options in (
        {}, {"use_edns": 0}, {"want_dnssec": True}, {"flags": dns.flags.RD | dns.flags.CD}))
    for count, query in enumerate((plain, edns, secure, unchecked), 1):
        for _ in range(2):
            answer = _exchange(world, query)
            assert dnsclient.addresses(answer) == ["203.0.113.10"]
            assert (answer.edns >= 0) == (query.edns >= 0)
            assert odd.asked(NAME) == count


@pytest.mark.parametrize("option", [dns.edns.ECSOption("192.0.2.0", 24), dns.edns.GenericOption(10, b"c" * 8),
                                    dns.edns.GenericOption(12, b"p" * 400), dns.edns.GenericOption(65001, b"x" * 400)],
                         ids=["subnet", "cookie", "padding", "unknown"])
def test_options_end_here(world, start, resolver, option):
    odd = resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    for size in 512, 4096:
        query = dns.message.make_query(NAME, "A", use_edns=0, payload=size, options=[option])
        query.ednsflags |= 0x7fff
        answer = _exchange(world, query)
        assert dnsclient.addresses(answer) == ["203.0.113.10"] and not answer.options
    assert odd.asked(NAME) == 1
    asked = next(request for request in odd.requests if request.name == f"{NAME}.")
    assert asked.message.edns == 0 and not asked.message.options and not asked.message.ednsflags
    assert asked.message.payload == 1232


def test_denied_name_is_not_answered_from_the_cache(world, start, resolver):
    odd = resolver(ODD, faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    dnsclient.ask(world.sandbox, NAME)
    sidecar.request("POST", "/policy", {"egress": []})
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, NAME)) == "NXDOMAIN"
    sidecar.request("POST", "/policy", RULES)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, NAME)) == ["203.0.113.10"]
    assert odd.asked(NAME) == 2
    assert connects(world.sandbox, "203.0.113.10")


def test_address_stays_reachable_as_long_as_the_answer_may_be_held(world, start, resolver):
    resolver(ODD, _with_ttl(86400))
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    first = dnsclient.ask(world.sandbox, NAME).answer[0].ttl
    later = wait_until(lambda: (ttl := dnsclient.ask(world.sandbox, NAME).answer[0].ttl) < first - 1 and ttl,
                       what="time to pass")
    lease = sidecar.request("GET", "/policy/explain?target=203.0.113.10").json()["lease"]
    assert 300 <= later < first < 360 and lease["seconds"] > later
    assert connects(world.sandbox, "203.0.113.10")


def test_address_that_made_room_is_asked_for_anew(world, start, resolver):
    def numbered(request):
        number = int(request.name[1:].split(".")[0])
        request.reply(request.answer(f"{request.name} 300 A 203.0.113.{number}"))

    odd = resolver(ODD, lambda request: numbered(request) if request.name.startswith("n") else None)
    start(RULES=RULES, DNS_UPSTREAM=ODD, MAX_ADDRESSES="16")
    for i in range(1, 40):
        dnsclient.ask(world.sandbox, f"n{i}.allowed.test")
    refusal_seconds(world.sandbox, "203.0.113.1")
    dnsclient.ask(world.sandbox, "n1.allowed.test")
    assert odd.asked("n1.allowed.test") == 2
    assert connects(world.sandbox, "203.0.113.1")


def test_long_answer_is_cut_for_datagrams_only(world, start, resolver):
    odd = resolver(ODD, faults.truncating)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    whole = dnsclient.ask(world.sandbox, NAME, tcp=True)
    assert len(dnsclient.addresses(whole)) == 100
    asked = odd.asked(NAME)
    cut = dnsclient.ask(world.sandbox, NAME)
    again = dnsclient.ask(world.sandbox, NAME, tcp=True)
    assert cut.flags & dns.flags.TC and not cut.answer
    assert dnsclient.addresses(again) == dnsclient.addresses(whole)
    assert odd.asked(NAME) == asked


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_same_question_of_many_is_asked_once(world, start, resolver, tcp):
    name = "slow.allowed.test"
    odd = resolver(ODD, faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    spellings = [name if i % 2 else name.upper() for i in range(16)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: _exchange(world, dnsclient.question(one), tcp=tcp), spellings))
    assert [dnsclient.addresses(answer) for answer in answers] == [["203.0.113.10"]] * 16
    assert odd.asked(name) == 1
    wait_until(lambda: len(sidecar.events("outbound", target_host=name)) == 16, what="a record of each")


def test_failure_is_shared_too(world, start, resolver):
    name = "slow.allowed.test"
    fail = faults.failing(dns.rcode.SERVFAIL)

    def fail_late(request):
        if request.name == f"{name}.":
            time.sleep(1)  # a failure is not kept: whoever asks after it asks anew
        fail(request)

    odd, other = (resolver(address, fail_late) for address in (ODD, OTHER))
    start(RULES=RULES, DNS_UPSTREAM=f"{ODD},{OTHER}")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: dnsclient.ask(world.sandbox, name), range(8)))
    assert [dnsclient.rcode(answer) for answer in answers] == ["SERVFAIL"] * 8
    assert odd.questions(name) == 1 and other.questions(name) == 1


def test_denied_while_many_wait(world, start, resolver):
    name = "slow.allowed.test"
    denied = threading.Event()
    odd = resolver(ODD, faults.good_after(denied))
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(dnsclient.ask, world.sandbox, name) for _ in range(4)]
        faults.wait_asked(odd, name)
        sidecar.request("POST", "/policy", {"egress": []})
        denied.set()
        assert [dnsclient.rcode(one.result()) for one in asked] == ["NXDOMAIN"] * 4
    refusal_seconds(world.sandbox, "203.0.113.10")
    assert odd.asked(name) == 1


def test_second_try_does_not_wait_for_a_datagram_that_got_lost(world, start, resolver):
    """It is sent again as it was: a second question under way would be a second chance for who forges answers."""
    sent = []

    def lose_two(request):
        sent.append((request.message.id, request.client, request.spelled))
        if len(sent) > 2:
            faults.good(request)

    odd = resolver(ODD, lambda request: lose_two(request) if request.name == f"{NAME}." else faults.good(request))
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    begin = time.monotonic()
    with pytest.raises(dnsclient.Timeout):
        dnsclient.ask(world.sandbox, NAME, timeout=2.0)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, NAME)) == ["203.0.113.10"]
    assert time.monotonic() - begin < 4.5  # the first one is given up after 5 s
    assert odd.asked(NAME) == 3 and len(set(sent)) == 1


def test_ways_of_asking_take_turns(world, start, resolver):
    """Asked at once in six ways, each client has the answer to its way, and the upstream one question at a time."""
    name, under_way = "slow.allowed.test", []

    def answer(request):
        under_way.append(odd.questions(name) - len(under_way))
        faults.good(request)

    odd = resolver(ODD, lambda request: answer(request) if request.name == f"{name}." else faults.good(request))
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    ways = [{}, {"use_edns": 0}, {"want_dnssec": True}, {"flags": dns.flags.RD | dns.flags.CD},
            {"flags": dns.flags.RD | dns.flags.AD, "use_edns": 0}, {}]
    queries = [dns.message.make_query(name, "A", **way) for way in ways for _ in range(3)]
    with concurrent.futures.ThreadPoolExecutor(len(queries)) as pool:
        answers = list(pool.map(lambda numbered: _exchange(world, numbered[1], tcp=numbered[0] % 3 == 2),
                                enumerate(queries)))
    for query, received in zip(queries, answers):
        assert dnsclient.addresses(received) == ["203.0.113.10"]
        assert (received.edns >= 0) == (query.edns >= 0)
    assert under_way == [1] * 5
    kept = dns.flags.RD | dns.flags.AD | dns.flags.CD
    seen = {(request.message.flags & kept, request.message.edns, request.message.ednsflags & dns.flags.DO)
            for request in odd.requests if request.name == f"{name}."}
    assert seen == {(query.flags & kept, query.edns, query.ednsflags & dns.flags.DO) for query in queries}


def test_off(world, start, resolver):
    name = "slow.allowed.test"
    odd = resolver(ODD, faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_CACHE="0")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: dnsclient.ask(world.sandbox, name), range(4)))
    dnsclient.ask(world.sandbox, name)
    assert odd.asked(name) == 2, "what is under way is asked once all the same"
    assert not any("cache" in record for record in sidecar.records)


@pytest.mark.parametrize("value", ["-1", "many", "262145"])
def test_unusable_size_is_a_warning(world, start, resolver, value):
    odd = resolver(ODD, faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_CACHE=value)
    sidecar.wait_record(lambda record: record["level"] == "warn" and "DNS_CACHE" in record["msg"])
    for _ in range(2):
        dnsclient.ask(world.sandbox, NAME)
    assert odd.asked(NAME) == 1
