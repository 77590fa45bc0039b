"""Upstreams that are dead, silent, slow or lying; and the way from one to the next."""

import signal
import threading
import time

import dns.message
import dns.rcode
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import GATEWAY_V4, UPSTREAM_V4, UPSTREAM_V6

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD = "198.51.100.53"
DEAD = "198.51.100.54"   # nobody listens: port unreachable, connection refused
LIE = "203.0.113.99"
STUB_PATIENCE = 4.5      # a stub resolver gives up after 5 s


def _answered_in(world, tcp=False, name="www.allowed.test"):
    begin = time.monotonic()
    answer = dnsclient.ask(world.sandbox, name, tcp=tcp, timeout=30)
    return answer, time.monotonic() - begin


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("behave", [faults.silent, faults.garbage, faults.wrong_id, faults.wrong_question,
                                    faults.from_other_port], ids=lambda behave: behave.__name__)
def test_no_valid_answer_from_the_first_upstream(world, start, resolver, behave, tcp):
    resolver(ODD, behave)
    start(RULES=RULES, DNS_UPSTREAM=f"{ODD},{UPSTREAM_V4}")
    answer, seconds = _answered_in(world, tcp)
    assert dnsclient.addresses(answer) == ["203.0.113.10"]
    assert seconds < STUB_PATIENCE
    refusal_seconds(world.sandbox, LIE)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_error_of_the_first_upstream_asks_the_next_at_once(world, start, resolver, code, tcp):
    fail = faults.failing(dns.rcode.from_text(code))
    first = resolver(ODD, lambda request: (faults.good if request.name == "." else fail)(request))
    start(RULES=RULES, DNS_UPSTREAM=f"{ODD},{UPSTREAM_V4}")
    seconds = []
    for name, address in ("www.allowed.test", "203.0.113.10"), ("api.allowed.test", "203.0.113.11"):
        answer, took = _answered_in(world, tcp, name)
        assert dnsclient.addresses(answer) == [address] and first.asked(name)
        seconds.append(took)
    assert min(seconds) < 0.3 * PATIENCE  # after that it is asked whatever the first one does


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dead_first_upstream(world, start, tcp):
    start(RULES=RULES, DNS_UPSTREAM=f"{DEAD},{UPSTREAM_V4}")
    answer, seconds = _answered_in(world, tcp)
    assert dnsclient.addresses(answer) == ["203.0.113.10"]
    assert seconds < STUB_PATIENCE


def test_five_silent_upstreams_before_a_good_one(world, start, resolver):
    silent = [f"198.51.100.{i}" for i in range(60, 65)]
    for address in silent:
        resolver(address, faults.silent)
    start(RULES=RULES, DNS_UPSTREAM=",".join([*silent, UPSTREAM_V4]))
    answer, seconds = _answered_in(world)
    assert dnsclient.addresses(answer) == ["203.0.113.10"]
    assert seconds < STUB_PATIENCE


def test_upstream_on_ipv6(world, start):
    start(RULES=RULES, DNS_UPSTREAM=f"[{UPSTREAM_V6}]:53")
    for tcp in False, True:
        assert dnsclient.addresses(_answered_in(world, tcp)[0]) == ["203.0.113.10"]


def test_nxdomain_is_final(world, start, resolver):
    second = resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=f"{UPSTREAM_V4},{ODD}")
    assert dnsclient.rcode(_answered_in(world, name="missing.allowed.test")[0]) == "NXDOMAIN"
    assert not second.asked("missing.allowed.test")


@pytest.mark.parametrize("behave", [faults.silent, faults.garbage, faults.wrong_id, faults.wrong_question,
                                    faults.from_other_port, faults.failing(dns.rcode.SERVFAIL)],
                         ids=lambda behave: behave.__name__)
def test_all_upstreams_fail(world, start, resolver, behave):
    resolver(ODD, behave)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="1")
    answer, seconds = _answered_in(world)
    assert dnsclient.rcode(answer) == "SERVFAIL" and not answer.answer
    assert seconds < STUB_PATIENCE
    record = sidecar.wait_event("outbound", target_host="www.allowed.test")
    assert record["error"]
    refusal_seconds(world.sandbox, LIE)


def test_all_upstreams_dead(world, start):
    sidecar = start(RULES=RULES, DNS_UPSTREAM=f"{DEAD},198.51.100.55", DNS_UPSTREAM_TIMEOUT="1")
    for tcp in False, True:
        assert dnsclient.rcode(_answered_in(world, tcp)[0]) == "SERVFAIL"
    assert sidecar.wait_event("outbound", target_host="www.allowed.test")["error"]


def test_upstream_that_comes_back_is_used_again(world, start, resolver):
    start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="1")
    assert dnsclient.rcode(_answered_in(world)[0]) == "SERVFAIL"
    resolver(ODD, faults.good)
    assert dnsclient.addresses(_answered_in(world)[0]) == ["203.0.113.10"]


def test_owners_that_the_question_does_not_lead_to_are_not_learned(world, start, resolver):
    resolver(ODD, faults.wrong_owner)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert connects(world.sandbox, "203.0.113.10")
    for stray in "203.0.113.99", "203.0.113.98":
        refusal_seconds(world.sandbox, stray)


def test_lie_before_the_true_answer_is_passed_over(world, start, resolver):
    def lie_then_answer(request):
        faults.wrong_id(request)
        faults.wrong_question(request)
        faults.from_other_port(request)
        faults.garbage(request)
        faults.good(request)

    resolver(ODD, lie_then_answer)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    assert dnsclient.addresses(_answered_in(world)[0]) == ["203.0.113.10"]
    refusal_seconds(world.sandbox, LIE)


def test_answer_after_its_name_was_denied_opens_nothing(world, start, resolver):
    denied = threading.Event()
    odd = resolver(ODD, faults.good_after(denied))
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    with dnsclient.tcp_socket(world.sandbox, UPSTREAM_V4) as sock:
        dnsclient.send_tcp(sock, dnsclient.question("slow.allowed.test"))
        faults.wait_asked(odd, "slow.allowed.test")
        assert sidecar.request("POST", "/policy", "").status == 200
        denied.set()
        answer = dnsclient.receive_tcp(sock)
    assert dnsclient.rcode(answer) != "NOERROR" or not dnsclient.addresses(answer)
    refusal_seconds(world.sandbox, "203.0.113.10")


def test_upstreams_of_resolv_conf(world, start):
    world.sandbox.resolv_conf(f"# a comment\nnameserver {UPSTREAM_V4}\nsearch example.test\n")
    start(RULES=RULES, DNS_UPSTREAM=None)
    assert dnsclient.addresses(_answered_in(world)[0]) == ["203.0.113.10"]


def test_exempt_server_is_asked_directly(world, start, resolver):
    direct = resolver(ODD, faults.good)
    start(RULES=RULES, NAMESERVER_EXEMPT=ODD)
    answer = dnsclient.ask(world.sandbox, "www.other.test", server=ODD)
    assert dnsclient.addresses(answer) == ["203.0.113.10"] and direct.asked("www.other.test")
    refusal_seconds(world.sandbox, ODD, port=80)


def _ask_at_once(world, names):
    """Questions that arrive in one piece, and therefore leave together; the addresses of each answer, by name."""
    with dnsclient.tcp_socket(world.sandbox, UPSTREAM_V4) as sock:
        wires = [dnsclient.question(name).to_wire() for name in names]
        sock.sendall(b"".join(len(wire).to_bytes(2, "big") + wire for wire in wires))
        answers = [dnsclient.receive_tcp(sock) for _ in wires]
    return {answer.question[0].name.to_text(omit_final_dot=True): dnsclient.addresses(answer) for answer in answers}


MANY = [f"{'n' * (1 + i % 3)}{i:02}.allowed.test" for i in range(30)]  # of three lengths


@pytest.mark.parametrize("first", [None, DEAD], ids=["good", "dead"])
def test_many_questions_leave_together(world, start, resolver, first):
    odd = resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=f"{first},{ODD}" if first else ODD)
    begin = time.monotonic()
    for _ in range(3 if first else 1):
        assert _ask_at_once(world, MANY) == {name: ["203.0.113.10"] for name in MANY}
    assert time.monotonic() - begin < STUB_PATIENCE
    assert [odd.asked(name) for name in MANY] == [1] * 30


def test_path_that_takes_no_bulk(world, start, resolver):
    """Its packets are smaller than a query: nothing can leave as one packet that is divided later."""
    odd = resolver(ODD, faults.good)
    world.sandbox.ip(f"route add {ODD} via {GATEWAY_V4} mtu lock 68")
    try:
        start(RULES=RULES, DNS_UPSTREAM=ODD)
        long = [f"{'x' * 40}.{name}" for name in MANY]
        assert _ask_at_once(world, long) == {name: ["203.0.113.10"] for name in long}
        assert [odd.asked(name) for name in long] == [1] * 30
    finally:
        world.sandbox.ip(f"route del {ODD}")


@pytest.mark.parametrize("n", [1, 2], ids=["alone", "beside another"])
def test_datagram_that_is_lost_is_sent_once_more(world, start, resolver, n):
    def loses_the_first(request):
        came.append(request.name)
        if request.name == "." or came.count(request.name) > n:
            faults.good(request)
    came = []
    upstreams = [resolver(address, loses_the_first) for address in (ODD, "198.51.100.56")[:n]]
    start(RULES=RULES, DNS_UPSTREAM=",".join((ODD, "198.51.100.56")[:n]))
    answer, seconds = _answered_in(world)
    assert dnsclient.addresses(answer) == ["203.0.113.10"]
    assert 0.5 < seconds < 4.5
    requests = [request for upstream in upstreams for request in upstream.requests
                if request.name == "www.allowed.test."]
    assert len({request.wire for request in requests}) == 1, "the same question, id included"


def test_silent_upstream_is_asked_twice_and_no_more(world, start, resolver):
    silent = resolver(ODD, faults.silent)
    start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="3")
    assert dnsclient.rcode(_answered_in(world)[0]) == "SERVFAIL"
    assert silent.asked("www.allowed.test") == 2


def test_upstream_that_fails_when_asked_again_has_the_others_asked_no_more(world, start, resolver):
    def fails_late(request):
        if request.name != "." and second.asked("www.allowed.test") > 1:
            faults.failing(dns.rcode.SERVFAIL)(request)

    first, second = resolver(ODD, faults.silent), resolver("198.51.100.56", fails_late)
    start(RULES=RULES, DNS_UPSTREAM=f"{ODD},198.51.100.56", DNS_UPSTREAM_TIMEOUT="3")
    assert dnsclient.rcode(_answered_in(world)[0]) == "SERVFAIL"
    assert (first.asked("www.allowed.test"), second.asked("www.allowed.test")) == (2, 2)


def test_answers_of_many_sockets_at_once(world, start, resolver):
    """More than one batch, on several sockets, all there before the sidecar looks: to each name its own address."""
    held, released = [], threading.Event()
    n = 240

    def behave(request):
        if request.name.startswith("h") and not released.is_set():
            held.append(request)
        else:
            faults.good(request)

    odd = resolver(ODD, behave)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_CACHE="0")
    sockets = [dnsclient.udp_socket(world.sandbox, UPSTREAM_V4) for _ in range(n)]
    for i, sock in enumerate(sockets):
        sock.settimeout(20)
        sock.sendto(dnsclient.question(f"h{i}.allowed.test").to_wire(), (UPSTREAM_V4, 53))
        if i % 8 == 7:  # a socket for each of these
            wait_until(lambda count=i + 1: len({request.name for request in held}) == count, what="the questions")
    sidecar.signal(signal.SIGSTOP)
    released.set()
    for request in held:
        faults.good(request, f"203.0.113.{int(request.name[1:].split('.')[0])}")
    sidecar.signal(signal.SIGCONT)
    for i, sock in enumerate(sockets):
        with sock:
            assert dnsclient.addresses(dns.message.from_wire(sock.recv(4096))) == [f"203.0.113.{i}"]
    assert len({request.client for request in odd.requests}) > 3, "sockets"
