"""Questions from inside a namespace, with dnspython."""

import socket
import struct

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.support.tcpclient import family_of

Timeout = dns.exception.Timeout
Refused = dns.exception.DNSException  # an answer that dnspython does not believe
EDE_BLOCKED = 15
RA, TC = dns.flags.RA, dns.flags.TC


def udp_socket(namespace, server):
    with namespace.inside():
        return socket.socket(family_of(server), socket.SOCK_DGRAM)


def tcp_socket(namespace, server, port=53, timeout=5.0):
    with namespace.inside():
        sock = socket.socket(family_of(server), socket.SOCK_STREAM)
    sock.settimeout(timeout)
    sock.connect((server, port))
    return sock


def question(name, rdtype="A", edns=False):
    return dns.message.make_query(name, rdtype, use_edns=0 if edns else None, payload=1232 if edns else None)


def parse(wire):
    return dns.message.from_wire(wire)


def ask(namespace, name, rdtype="A", server="192.0.2.53", tcp=False, edns=False, timeout=6.0, port=53, source_port=0):
    return exchange(namespace, question(name, rdtype, edns), server, tcp, timeout, port, source_port)


def exchange(namespace, query, server="192.0.2.53", tcp=False, timeout=6.0, port=53, source_port=0):
    if tcp:
        with tcp_socket(namespace, server, port, timeout) as sock:
            return dns.query.tcp(query, server, timeout, sock=sock)
    with udp_socket(namespace, server) as sock:
        sock.setblocking(False)
        if source_port:
            sock.bind(("", source_port))
        return dns.query.udp(query, server, timeout, port, sock=sock)


def exchange_raw(namespace, wire, server="192.0.2.53", timeout=6.0):
    """Sends bytes as they are over UDP and returns the bytes that come back, None when nothing does."""
    with udp_socket(namespace, server) as sock:
        sock.settimeout(timeout)
        sock.sendto(wire, (server, 53))
        try:
            return sock.recv(65535)
        except socket.timeout:
            return None


def send_tcp(sock, query):
    wire = query if isinstance(query, bytes) else query.to_wire()
    sock.sendall(struct.pack("!H", len(wire)) + wire)


def receive_tcp_wire(sock):
    """The bytes of the next message of a TCP stream, None at its end."""
    head = _receive_exactly(sock, 2)
    return _receive_exactly(sock, struct.unpack("!H", head)[0]) if head else None


def receive_tcp(sock):
    wire = receive_tcp_wire(sock)
    return dns.message.from_wire(wire) if wire else None


def _receive_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            return None
        data += piece
    return data


def rcode(answer):
    return dns.rcode.to_text(answer.rcode())


def addresses(answer):
    """The addresses of the answer section, sorted."""
    return sorted(rdata.address for rrset in answer.answer for rdata in rrset
                  if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA))


def ede_codes(answer):
    """Codes of extended errors (RFC 8914)."""
    return [option.code for option in answer.options if option.otype == dns.edns.OptionType.EDE]
