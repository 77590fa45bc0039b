"""Answers that somebody outside forges while an accomplice inside asks: there is one question to hit, its letters have to be
guessed, and guessing is noticed. The resolver's own socket sends the forgeries, which is what spoofing looks like."""

import os
import random
import socket
import struct

import dns.edns
import dns.flags
import dns.message
import pytest

from tests.support import dnsclient
from tests.support import resolver as faults
from tests.support.metrics import Scrape
from tests.support.waiting import wait_until

ODD = "198.51.100.53"
RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
HELD = "held.allowed.test"
MARK = b"a message to the accomplice"
FORGED = bytes([203, 0, 113, 99])
QUESTIONS, SOCKETS, FORGERIES = 2000, 16, 20_000


def _question(number, name=HELD, size=1232):
    """The same question in another dress each time."""
    query = dns.message.make_query(name, "A", use_edns=0, payload=size, id=number,
                                   options=[dns.edns.GenericOption(65001, struct.pack("!H", number) + MARK)])
    return query.to_wire()


def _forged(number, name=HELD):
    """An answer without EDNS: 16 octets and the question."""
    wire = bytearray(dns.message.make_query(name, "A", id=number).to_wire())
    wire[2:8] = struct.pack("!HHH", 0x8180, 1, 1)
    return bytes(wire) + struct.pack("!HHHIH", 0xc00c, 1, 1, 60, 4) + FORGED


def _holding(request):
    """Names `held.…` are never answered."""
    if request.name != f"{HELD}.":
        faults.good(request)


def _ports(namespace):
    """What the accomplice tells: the source ports that lead to the resolver, from /proc/net/udp."""
    remote = f"{int.from_bytes(socket.inet_aton(ODD), 'little'):08X}:0035"
    lines = namespace.run("cat", "/proc/net/udp").stdout.splitlines()[1:]
    return [int(fields[1].split(":")[1], 16) for fields in map(str.split, lines) if fields[2] == remote]


def _forge(odd, address, ports):
    """Guesses ids; asks nobody."""
    for i in range(FORGERIES):
        odd._udp.sendto(_forged(random.getrandbits(16)), (address, ports[i % len(ports)]))


def _believed(sockets):
    """How many answers with the forged address came."""
    count = 0
    for sock in sockets:
        sock.setblocking(False)
        while True:
            try:
                count += FORGED in sock.recv(4096)
            except BlockingIOError:
                break
    return count


def test_control_many_questions_are_hit(world, resolver):
    """Without a sidecar: a stub with that many questions under way believes some of the forgeries."""
    odd = resolver(ODD, _holding)
    sockets, ids = [], []
    for _ in range(SOCKETS):
        sock = dnsclient.udp_socket(world.sandbox, ODD)
        sock.setsockopt(socket.SOL_SOCKET, faults.SO_RCVBUFFORCE, 8 << 20)
        sock.connect((ODD, 53))
        sockets.append(sock)
        ids.append(set())
    for i in range(QUESTIONS):
        number = random.getrandbits(16)
        ids[i % SOCKETS].add(number)
        sockets[i % SOCKETS].send(_question(number))
    wait_until(lambda: odd.questions(HELD) > QUESTIONS * 0.9, what="the questions")
    _forge(odd, "10.0.5.2", [sock.getsockname()[1] for sock in sockets])
    hits = 0
    for sock, sent in zip(sockets, ids):
        sock.setblocking(False)
        while True:
            try:
                hits += struct.unpack("!H", sock.recv(4096)[:2])[0] in sent
            except BlockingIOError:
                break
        sock.close()
    assert hits > 3


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_one_question_is_under_way(world, start, resolver, mode):
    odd = resolver(ODD, _holding)
    sidecar = start(MODE=mode, RULES=RULES, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="30")
    dnsclient.ask(world.sandbox, "www.allowed.test")
    sockets = [dnsclient.udp_socket(world.sandbox, ODD) for _ in range(SOCKETS)]
    flags = [dns.flags.RD, dns.flags.RD | dns.flags.CD, dns.flags.RD | dns.flags.AD, 0]
    for i in range(QUESTIONS):
        wire = bytearray(_question(i, HELD.upper() if i & 1 else HELD, 512 + i))
        wire[2:4] = struct.pack("!H", flags[i % 4] | i & 0x47)  # the reserved bit and a response code as well
        sockets[i % SOCKETS].sendto(bytes(wire), (ODD, 53))
    wait_until(lambda: Scrape(sidecar).value("egress_dns_inflight") > QUESTIONS * 0.9, what="the questions")
    with dnsclient.tcp_socket(world.sandbox, ODD) as tcp:
        dnsclient.send_tcp(tcp, dnsclient.question(HELD))
        _forge(odd, "10.0.5.2", _ports(world.sandbox))
        hits = []

        def noticed():
            hits.append(_believed(sockets))
            return any(hits) or Scrape(sidecar).sum("egress_dns_suspect_total", reason="flood") > 0
        wait_until(noticed, what="the suspicion")
    assert not any(hits) and not _believed(sockets)
    for sock in sockets:
        sock.close()
    assert odd.questions(HELD) == 1, "under way at once"
    assert not any(MARK in request.wire for request in odd.requests)
    held = [request for request in odd.requests if request.name == f"{HELD}."]
    assert any(request.tcp for request in held), "guesses came, and it is asked over TCP"
    assert sidecar.wait_record(lambda record: record["msg"].startswith(f"more answers than questions from upstream {ODD}"))
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "after.allowed.test")) == ["203.0.113.10"]


def _forger(request):
    """Right id, right port, small letters; the true answer only over TCP."""
    if request.name != "forge.allowed.test." or request.tcp:
        faults.good(request)
    else:
        request.reply(_forged(request.message.id, "forge.allowed.test"))


@pytest.mark.parametrize("case, told", [("on", "203.0.113.10"), ("off", "203.0.113.99")])
def test_letters_give_the_forger_away(world, start, resolver, case, told):
    """Off is the control: there the forgery is believed."""
    odd = resolver(ODD, _forger)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_0X20=case)
    answer = dnsclient.ask(world.sandbox, "FoRgE.Allowed.Test")
    assert dnsclient.addresses(answer) == [told]
    assert answer.question[0].name.to_text() == "FoRgE.Allowed.Test."
    assert odd.asked("forge.allowed.test", tcp=True) == (case == "on")
    assert Scrape(sidecar).sum("egress_dns_suspect_total", reason="forged") == (case == "on")
    if case == "on":
        assert sidecar.wait_record(lambda record: record["msg"].startswith(f"a forged answer from upstream {ODD}"))
        spelled = {request.spelled for request in odd.requests if request.name == "forge.allowed.test."}
        assert len(spelled) == 1, "one question"


def test_letters_say_nothing_of_the_client(world, start, resolver):
    odd = resolver(ODD, faults.good)
    start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_CACHE="0")
    for _ in range(24):
        for name in "abcdefgh.allowed.test", "ABCDEFGH.ALLOWED.TEST":
            assert dnsclient.ask(world.sandbox, name).question[0].name.to_text() == f"{name}."
    seen = [request.spelled for request in odd.requests if request.name == "abcdefgh.allowed.test."]
    assert len(seen) == 48
    for asked in seen[::2], seen[1::2]:
        assert all({name[i] for name in asked} == {letter, letter.upper()} for i, letter in enumerate("abcdefgh"))


@pytest.mark.parametrize("over_tcp", [True, False], ids=["tcp", "no tcp"])
def test_upstream_that_changes_letters(world, start, resolver, over_tcp):
    """It goes on being used: what it is shows over TCP, or, where it has none, from its first answer."""
    def small(request):
        response = request.answer(*[f"{request.name} 60 A 203.0.113.10"] if request.message.question[0].rdtype == 1 else ())
        wire = bytearray(response.to_wire())
        end = wire.index(b"\0", 12)
        wire[12:end] = wire[12:end].lower()
        request.reply(bytes(wire))

    odd = resolver(ODD, small)
    if not over_tcp:
        odd._tcp.shutdown(socket.SHUT_RDWR)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD)
    text = f"upstream {ODD}:53 changes the case of letters"
    sidecar.wait_record(lambda record: record["msg"].startswith(text))
    tcp = sum(request.tcp for request in odd.requests)
    for i in range(8):
        answer = dnsclient.ask(world.sandbox, f"Name{i}.allowed.test")
        assert dnsclient.addresses(answer) == ["203.0.113.10"]
        assert answer.question[0].name.to_text() == f"Name{i}.allowed.test."
    assert sum(request.tcp for request in odd.requests) == tcp
    assert not Scrape(sidecar).sum("egress_dns_suspect_total")


def test_random_octets_do_not_matter(world, start, resolver):
    """An upstream whose datagrams are noise: names fail, or come over TCP; the next upstream answers."""
    def noise(request):
        if request.tcp:
            faults.good(request)
            return
        for _ in range(64):
            request.reply(os.urandom(40))

    resolver(ODD, noise)
    start(RULES=RULES, DNS_UPSTREAM=ODD)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
