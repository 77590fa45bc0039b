"""DNS as clients see it: what is refused, what is passed on, TCP, sizes, TTLs."""

import contextlib
import errno
import select
import signal
import socket
import struct
import time

import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.preload import preloaded
from tests.support.tap import Tap
from tests.support.tcpclient import connects
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4, UPSTREAM_V6

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD = "198.51.100.53"
IDLE_LIMIT = 60.0
MANY_CONNECTIONS = 600
STUB_PATIENCE = 4.5  # a stub resolver gives up after 5 s
UDP_SEGMENT = 103    # linux/udp.h


@pytest.mark.parametrize("rdtype", ["ANY", "AXFR", "IXFR", "NULL"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dangerous_types_are_refused(world, start, rdtype, tcp):
    start(RULES=RULES)
    query = dnsclient.question("www.allowed.test", "A").to_wire()
    query = query[:-4] + struct.pack("!HH", dns.rdatatype.from_text(rdtype), 1)
    if tcp:
        with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
            dnsclient.send_tcp(sock, query)
            reply = dnsclient.receive_tcp_wire(sock)
    else:
        reply = dnsclient.exchange_raw(world.sandbox, query)
    assert reply[:2] == query[:2] and reply[3] & 0x0F == dns.rcode.REFUSED


def _header(reply):
    """(id, opcode, rcode) of a message; it must be a response."""
    assert reply and reply[2] & 0x80
    return reply[:2], reply[2] >> 3 & 0xF, reply[3] & 0xF


def test_two_questions_or_none_are_a_format_error(world, start):
    start(RULES=RULES)
    query = dnsclient.question("www.allowed.test").to_wire()
    two = query[:4] + b"\0\2" + query[6:] + query[12:]
    none = query[:4] + b"\0\0" + query[6:12]
    for wire in two, none:
        assert _header(dnsclient.exchange_raw(world.sandbox, wire)) == (wire[:2], dns.opcode.QUERY, dns.rcode.FORMERR)


@pytest.mark.parametrize("opcode", [dns.opcode.IQUERY, dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE])
def test_other_opcodes_are_not_implemented(world, start, opcode):
    start(RULES=RULES)
    wire = bytearray(dnsclient.question("www.allowed.test").to_wire())
    wire[2] = opcode << 3
    assert _header(dnsclient.exchange_raw(world.sandbox, bytes(wire))) == (bytes(wire[:2]), opcode, dns.rcode.NOTIMP)


@pytest.mark.parametrize("cut", [13, 20, -5, -1])
def test_question_that_is_cut_off_is_a_format_error(world, start, cut):
    start(RULES=RULES)
    wire = dnsclient.question("www.allowed.test").to_wire()[:cut]
    assert _header(dnsclient.exchange_raw(world.sandbox, wire))[2] == dns.rcode.FORMERR


def test_other_classes_are_not_served(world, start):
    start(RULES=RULES)
    wire = dnsclient.question("www.allowed.test").to_wire()[:-1] + b"\3"  # CHAOS
    assert _header(dnsclient.exchange_raw(world.sandbox, wire))[2] in (dns.rcode.FORMERR, dns.rcode.NOTIMP,
                                                                       dns.rcode.REFUSED)


@pytest.mark.parametrize("wire", [b"", b"x", b"\0" * 11], ids=["empty", "one", "eleven"])
def test_what_is_no_message_gets_no_answer(world, start, wire):
    start(RULES=RULES)
    assert dnsclient.exchange_raw(world.sandbox, wire, timeout=0.3) is None
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]


def test_responses_are_not_answered(world, start):
    """Two servers that answer each other's answers would never stop."""
    start(RULES=RULES)
    wire = bytearray(dnsclient.question("www.allowed.test").to_wire())
    wire[2] |= 0x80
    assert dnsclient.exchange_raw(world.sandbox, bytes(wire), timeout=0.3) is None


@pytest.mark.parametrize("name", ["wWw.aLLowed.tEST", "wWw.Other.tEST"])
def test_question_comes_back_as_it_was_spelled(world, start, name):
    start(RULES=RULES)
    wire = dnsclient.question(name).to_wire()
    reply = dnsclient.exchange_raw(world.sandbox, wire)
    assert reply[12:len(wire)] == wire[12:]


def test_name_without_addresses_of_a_family_is_no_error(world, start):
    start(RULES=RULES)
    answer = dnsclient.ask(world.sandbox, "v4only.allowed.test", "AAAA")
    assert dnsclient.rcode(answer) == "NOERROR" and not answer.answer


def test_name_that_does_not_exist_is_the_upstreams_word(world, start):
    sidecar = start(RULES=RULES)
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "missing.allowed.test")) == "NXDOMAIN"
    sidecar.wait_event("outbound", target_host="missing.allowed.test")
    assert not sidecar.events("denied")


def test_names_with_odd_octets_are_denied_not_fatal(world, start):
    start(RULES=RULES)
    labels = b"\x03a.b\x05\"\\\r\n\0\x02\xff\xfe\x04test\0"
    wire = dnsclient.question("www.allowed.test").to_wire()[:12] + labels + b"\0\1\0\1"
    assert _header(dnsclient.exchange_raw(world.sandbox, wire))[2] == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("name, most", [("forever.allowed.test", 360), ("moment.allowed.test", 60)])
def test_client_never_holds_an_address_longer_than_its_lease(world, start, name, most):
    start(RULES=RULES)
    answer = dnsclient.ask(world.sandbox, name)
    assert answer.answer[0].ttl <= most
    assert connects(world.sandbox, answer.answer[0][0].address)


def test_truncated_answer_is_passed_on_over_udp(world, start, resolver):
    odd = resolver(ODD, faults.truncating)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    answer = dnsclient.ask(world.sandbox, "many.allowed.test")
    assert answer.flags & dnsclient.TC
    assert not odd.asked("many.allowed.test", tcp=True)


def test_truncated_answer_is_completed_for_a_tcp_client(world, start, resolver):
    resolver(ODD, faults.truncating)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    answer = dnsclient.ask(world.sandbox, "many.allowed.test", tcp=True)
    assert not answer.flags & dnsclient.TC
    assert len(dnsclient.addresses(answer)) == 100
    assert connects(world.sandbox, "203.0.113.1") and connects(world.sandbox, "203.0.113.100")


def test_answer_of_65535_octets_over_tcp(world, start, resolver):
    resolver(ODD, faults.largest)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test", "TXT"))
        wire = dnsclient.receive_tcp_wire(sock)
    assert len(wire) == 65535
    assert struct.unpack("!H", wire[6:8])[0] > 200 and wire.endswith(b"xxx")


def test_udp_answer_fits_what_the_client_takes(world, start):
    start(RULES=RULES)
    query = dns.message.make_query("big.allowed.test", "TXT", use_edns=0, payload=4096)
    answer = dnsclient.exchange(world.sandbox, query)
    assert answer.flags & dnsclient.TC or len(answer.to_wire()) <= 4096
    query = dnsclient.question("big.allowed.test", "TXT")
    assert len(dnsclient.exchange_raw(world.sandbox, query.to_wire())) <= 512


def test_upstream_sees_a_modest_payload_size_and_the_clients_edns_otherwise(world, start, resolver):
    odd = resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    query = dns.message.make_query("www.allowed.test", "A", use_edns=0, payload=4096, want_dnssec=True)
    dnsclient.exchange(world.sandbox, query)
    seen = next(request.message for request in odd.requests if request.name == "www.allowed.test.")
    assert seen.payload <= 1232
    assert seen.ednsflags & dns.flags.DO


def test_other_edns_versions_are_told_ours(world, start):
    """RFC 6891, section 6.1.3: BADVERS and the highest version that is understood, whatever the name."""
    sidecar = start(RULES=RULES)
    for name in "www.allowed.test", "www.other.test":
        query = dnsclient.question(name, edns=True)
        query.ednsflags |= 1 << 16
        answer = dnsclient.exchange(world.sandbox, query)
        assert dnsclient.rcode(answer) == "BADVERS" and answer.edns == 0 and not answer.answer
    assert not sidecar.events("denied") and not sidecar.events("outbound")


def test_upstream_cannot_be_guessed(world, start, resolver):
    odd = resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    for i in range(60):
        dnsclient.ask(world.sandbox, f"n{i}.allowed.test")
    seen = [request for request in odd.requests if request.name.endswith(".allowed.test.")]
    ids = [request.message.id for request in seen]
    assert len(set(ids)) >= 55, "ids repeat"
    assert sum(abs(a - b) < 64 for a, b in zip(ids, ids[1:])) < 10, "ids come in order"
    ports = {request.client[1] for request in seen}
    assert len(ports) >= 5, f"source ports hardly vary: {ports}"


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_client_on_a_port_that_the_sidecar_used(world, start, resolver, mode):
    """The kernel remembers the sidecar's own question as a connection that is not redirected, for longer than its
    socket lives; a client that happens to get that port must be redirected all the same."""
    odd = resolver(ODD, faults.good)
    sidecar = start(MODE=mode, RULES=RULES, DNS_UPSTREAM=ODD)
    dnsclient.ask(world.sandbox, "www.allowed.test", server=ODD)
    ports = {request.client[1] for request in odd.requests}
    sidecar.kill()
    sidecar.restart().wait_healthy()
    for port in ports:
        answer = dnsclient.ask(world.sandbox, "www.other.test", server=ODD, source_port=port)
        assert dnsclient.rcode(answer) == "NXDOMAIN"


def test_sidecar_on_a_port_that_a_client_used(world, start, resolver):
    """The other way round: its question must not be redirected to itself. Here every port was a client's before."""
    resolver(ODD, faults.good)
    first, last = 40000, 40099
    with world.sandbox.sysctl("net/ipv4/ip_local_port_range", f"{first} {last}"):
        start(RULES=RULES, DNS_UPSTREAM=ODD)
        for port in range(first, last + 1):
            try:
                dnsclient.ask(world.sandbox, "www.other.test", server=ODD, source_port=port)
            except OSError as error:
                assert error.errno == errno.EADDRINUSE  # the sidecar has it at the moment
        for i in range(20):
            answer = dnsclient.ask(world.sandbox, f"n{i}.allowed.test", server="203.0.113.1")
            assert dnsclient.addresses(answer) == ["203.0.113.10"]


def test_pipelined_queries_are_all_answered(world, start):
    start(RULES=RULES)
    queries = [dnsclient.question(name) for name in ("www.allowed.test", "www.other.test", "api.allowed.test") * 20]
    for i, query in enumerate(queries):
        query.id = 1000 + i
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        sock.sendall(b"".join(struct.pack("!H", len(wire)) + wire for wire in (q.to_wire() for q in queries)))
        answers = {answer.id: answer for answer in (dnsclient.receive_tcp(sock) for _ in queries)}
    for query in queries:
        assert answers[query.id].question == query.question
        assert (dnsclient.rcode(answers[query.id]) == "NXDOMAIN") == ("other" in query.question[0].name.to_text())


def test_slow_answer_holds_nobody_up(world, start, resolver):
    resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    slow, quick = dnsclient.question("slow.allowed.test"), dnsclient.question("quick.allowed.test")
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        dnsclient.send_tcp(sock, slow)
        dnsclient.send_tcp(sock, quick)
        assert [dnsclient.receive_tcp(sock).id for _ in range(2)] == [quick.id, slow.id]


def test_tcp_message_in_single_octets(world, start):
    start(RULES=RULES)
    wire = dnsclient.question("www.allowed.test").to_wire()
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in struct.pack("!H", len(wire)) + wire:
            sock.sendall(bytes([octet]))
        assert dnsclient.addresses(dnsclient.receive_tcp(sock)) == ["203.0.113.10"]


def test_client_that_closes_its_side_still_gets_its_answers(world, start):
    start(RULES=RULES)
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test"))
        sock.shutdown(socket.SHUT_WR)
        assert dnsclient.addresses(dnsclient.receive_tcp(sock)) == ["203.0.113.10"]
        assert dnsclient.receive_tcp(sock) is None


def test_idle_tcp_connections_are_closed(world, start):
    start(RULES=RULES)
    idle = []
    for begin in b"", b"\0", b"\0\x20half a message":
        idle.append(dnsclient.tcp_socket(world.sandbox, "192.0.2.53", timeout=IDLE_LIMIT))
        idle[-1].sendall(begin)
    for sock in idle:
        with sock:
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass


def _closed(sock):
    if not select.select([sock], [], [], 0)[0]:
        return False
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_connections_are_limited_and_new_clients_served(world, start):
    start(RULES=RULES)
    idle = []
    try:
        for _ in range(MANY_CONNECTIONS):
            idle.append(dnsclient.tcp_socket(world.sandbox, "192.0.2.53"))
        # Not for ten seconds: then they are closed because they are idle.
        wait_until(lambda: any(_closed(sock) for sock in idle), timeout=3, what="the limit to be felt")
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test", tcp=True)) == ["203.0.113.10"]
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    finally:
        for sock in idle:
            sock.close()


def test_reader_that_never_reads_does_not_stop_others(world, start, resolver):
    resolver(ODD, faults.largest)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    wire = dnsclient.question("www.allowed.test", "TXT").to_wire()
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53", timeout=0.5) as sock:
        try:
            for _ in range(300):
                dnsclient.send_tcp(sock, wire)
        except OSError:
            pass  # held back or cut off: both are fine
        begin = time.monotonic()
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test")) == "NXDOMAIN"
        assert time.monotonic() - begin < 5.0, "a loop that is held up would wait ten seconds"


def _ask_together(sidecar, server, questions):
    """Each client's questions, all of one length, wait together for the sidecar; the replies of each by their ids."""
    sidecar.signal(signal.SIGSTOP)
    for client, wires in questions.items():
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(wires[0]))
        client.sendto(b"".join(wires), (server, 53))
        client.settimeout(STUB_PATIENCE)
    sidecar.signal(signal.SIGCONT)
    return [{reply[:2]: reply for reply in (client.recv(65535) for _ in wires)} for client, wires in questions.items()]


@pytest.mark.parametrize("server, path", [(UPSTREAM_V4, "good"), (UPSTREAM_V6, "good"), (UPSTREAM_V4, "narrow"),
                                          (UPSTREAM_V4, "without bulk")])
def test_replies_to_one_client_leave_together(world, start, resolver, tmp_path, server, path):
    """Those of one length as one packet, where the path takes any; each is a datagram of its own for the client."""
    resolver(ODD, faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD,
                    through=preloaded("old_kernel", tmp_path, LACKS="bulk") if path == "without bulk" else ())
    with contextlib.ExitStack() as stack:
        tap = stack.enter_context(contextlib.closing(Tap(world.sandbox, "lo")))
        clients = [stack.enter_context(dnsclient.udp_socket(world.sandbox, server)) for _ in range(2)]
        if path == "narrow":  # its packets are shorter than a reply
            stack.callback(world.sandbox.ip, "link set lo mtu 65536")
            world.sandbox.ip("link set lo mtu 68")
        for zone, rcode, addresses in ("allowed", "NOERROR", ["203.0.113.10"]), ("other", "NXDOMAIN", []):
            asked = {client: [dns.message.make_query(f"{letter * 40}{i}.{zone}.test", "A", id=i) for i in range(10, 30)]
                     for client, letter in zip(clients, "ab")}
            replies = _ask_together(sidecar, server, {
                client: [query.to_wire() for query in queries] for client, queries in asked.items()})
            for queries, got in zip(asked.values(), replies):
                assert len(got) == len(queries)
                for query in queries:
                    answer = dnsclient.parse(got[query.to_wire()[:2]])
                    assert (answer.question, dnsclient.rcode(answer)) == (query.question, rcode)
                    assert dnsclient.addresses(answer) == addresses
        tap.catch_up(world.sandbox, ("127.0.0.1", 9))
    whole = [frame for frame in tap.frames if frame.count(b"\5other\4test") == 20]
    assert len(whole) == {"good": 4, "narrow": 0, "without bulk": 2}[path]  # the questions, and the replies
