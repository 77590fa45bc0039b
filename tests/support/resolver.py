"""A resolver that misbehaves on purpose. What it does with a request is a function `behave(request)`, which calls
`request.reply()` as often as it likes; ready-made ones are below. Names `slow.…` are answered half a second late."""

import socket
import struct
import threading

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support import dnsclient
from tests.support.tcpclient import family_of
from tests.support.waiting import wait_until

SO_RCVBUFFORCE = 33  # asm-generic/socket.h: beyond net.core.rmem_max, with CAP_NET_ADMIN


class Request:
    def __init__(self, wire, client, send, send_from_elsewhere=None):
        self.wire, self.client, self.tcp = wire, client, send_from_elsewhere is None
        self.message = dns.message.from_wire(wire)
        self.spelled = self.message.question[0].name.to_text()  # the sidecar asks in random case
        self.name = self.spelled.lower()
        self._send, self._send_from_elsewhere = send, send_from_elsewhere

    def answer(self, *records, rcode=dns.rcode.NOERROR):
        """A response with these records, each `NAME TTL TYPE DATA`."""
        response = dns.message.make_response(self.message)
        response.flags |= dns.flags.RA
        response.set_rcode(rcode)
        for record in records:
            owner, ttl, rdtype, data = record.split(" ", 3)
            response.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", rdtype, data))
        return response

    def reply(self, response, elsewhere=False):
        wire = response if isinstance(response, bytes) else response.to_wire(max_size=65535)
        (self._send_from_elsewhere if elsewhere else self._send)(wire)


class Resolver:
    """Answers on UDP and TCP port 53 of an address until close(). `requests` are those received, in order."""

    def __init__(self, namespace, address, behave, port=53):
        self.address, self.behave, self.requests = address, behave, []
        with namespace.inside():
            self._udp = socket.socket(family_of(address), socket.SOCK_DGRAM)
            self._elsewhere = socket.socket(family_of(address), socket.SOCK_DGRAM)
            self._tcp = socket.socket(family_of(address), socket.SOCK_STREAM)
        # The kernel's default holds 256 small questions, fewer than a test asks at once.
        self._udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock, number in (self._udp, port), (self._elsewhere, 0), (self._tcp, port):
            # with the zone of a link-local address, given as a number
            sock.bind(socket.getaddrinfo(address, number, flags=socket.AI_NUMERICHOST)[0][4])
        self._tcp.listen(1024)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def close(self):
        for sock in self._udp, self._tcp:
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
            except OSError:
                pass
        for thread in self._threads:
            thread.join(5)
        for sock in self._udp, self._elsewhere, self._tcp:
            sock.close()

    def asked(self, name, tcp=None):
        """How often this name was asked for."""
        return sum(request.name.lower() == f"{name}." and tcp in (None, request.tcp) for request in self.requests)

    def questions(self, name):
        """How many different ones for this name: a datagram that was sent once more counts once."""
        return len({request.message.id for request in self.requests if request.name.lower() == f"{name}."})

    def _handle(self, request):
        self.requests.append(request)
        if request.name.startswith("slow."):
            timer = threading.Timer(0.5, self._behave, [request])
            timer.daemon = True
            timer.start()
        else:
            self._behave(request)

    def _behave(self, request):
        try:
            self.behave(request)
        except OSError:
            pass  # whoever asked is gone, or this resolver is

    def _serve_udp(self):
        while True:
            try:
                wire, client = self._udp.recvfrom(65535)
            except OSError:
                return
            if not wire:
                return
            self._handle(Request(wire, client, lambda reply, to=client: self._udp.sendto(reply, to),
                                 lambda reply, to=client: self._elsewhere.sendto(reply, to)))

    def _serve_tcp(self):
        while True:
            try:
                sock, client = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(sock, client), daemon=True).start()

    def _serve_connection(self, sock, client):
        with sock:
            try:
                while (wire := dnsclient.receive_tcp_wire(sock)) is not None:
                    if wire:
                        self._handle(Request(wire, client,
                                             lambda reply: sock.sendall(struct.pack("!H", len(reply)) + reply)))
            except OSError:
                return


def wait_asked(resolver, name):
    wait_until(lambda: resolver.asked(name), what=f"the question for {name}")


def good(request, address="203.0.113.10"):
    """The right answer: this address for every A question, nothing for others."""
    rdtype = dns.rdatatype.to_text(request.message.question[0].rdtype)
    request.reply(request.answer(*[f"{request.name} 60 A {address}"] if rdtype == "A" else ()))


def good_after(event):
    """The right answer, to `slow.` names not before the event: they hold no others up."""
    return lambda request: (not request.name.startswith("slow.") or event.wait(4)) and good(request)


def silent(_request):
    pass


def failing(rcode):
    def fail(request):
        request.reply(request.answer(rcode=rcode))
    return fail


def garbage(request):
    request.reply(request.wire[:2] + b"\xff" * 30)


def wrong_id(request):
    response = request.answer(f"{request.name} 60 A 203.0.113.99")
    response.id = request.message.id ^ 0x5555
    request.reply(response)


def wrong_question(request):
    response = request.answer(f"{request.name} 60 A 203.0.113.99")
    other = "x" + request.name[1:]  # of the same length, so that everything else is where it should be
    if request.name == ".":
        other = "x."
    response.question = [dns.rrset.from_text(other, 0, "IN", "A")]
    request.reply(response)


def wrong_owner(request):
    """Records that the question does not lead to, beside one that it does."""
    below = "below." + request.name.removeprefix(".")
    request.reply(request.answer("evil.test. 60 A 203.0.113.99", f"{request.name} 60 A 203.0.113.10",
                                 f"{below} 60 A 203.0.113.98"))


def from_other_port(request):
    request.reply(request.answer(f"{request.name} 60 A 203.0.113.99"), elsewhere=True)


def truncating(request):
    """TC over UDP; over TCP the whole answer of 100 addresses."""
    if request.tcp:
        request.reply(request.answer(*[f"{request.name} 60 A 203.0.113.{i + 1}" for i in range(100)]))
    else:
        response = request.answer()
        response.flags |= dns.flags.TC
        request.reply(response)


def largest(request):
    """TC over UDP; over TCP a message of exactly 65,535 octets: TXT records, the last one cut to fit."""
    response = request.answer()
    if not request.tcp:
        response.flags |= dns.flags.TC
        request.reply(response)
        return
    wire = bytearray(response.to_wire())
    count, left = 0, 65535 - len(wire)
    while left:
        size = min(left, 12 + 256)          # a compressed owner, fixed fields, one string of 255 octets
        if 0 < left - size < 12 + 1:        # what is left must hold a record of its own
            size -= 13
        data = size - 12
        wire += b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 60, data) + bytes([data - 1]) + b"x" * (data - 1)
        count, left = count + 1, left - size
    wire[6:8] = struct.pack("!H", count)
    request.reply(bytes(wire))
