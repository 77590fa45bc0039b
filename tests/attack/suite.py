"""The frame of the attack suite: what an attack is, where it runs, and what is seen of it.

An attack is a function of a Scene that ends in yes or no: something left, was believed, or stayed unheard of, as it is
seen from outside. `cases()` makes of each one a control without a sidecar, in which the answer must be yes, and guarded
cases, in which it must be no: for each family and mode, and with CAP_NET_RAW and without it where it needs that. In
mode `dns` nobody looks at connections: an attack that is run there is about names.

What the application does is done by a program of its own (tests/support/attacker.py), which has no capability, or those
that Docker gives, and never more.
"""

import contextlib
import dataclasses
import ipaddress
import json
import pathlib
import random
import re
import typing

import pytest

from tests.support import dnsclient
from tests.support.attacker import DOCKER, NO_CAP, Attacker, attacker
from tests.support.resolver import Resolver
from tests.support.sidecar import Sidecar
from tests.support.tap import SENTINEL, Tap
from tests.support.world import GATEWAY_V4, GATEWAY_V6, GOOGLE_V4, GOOGLE_V6, SANDBOX_V4, SANDBOX_V6

DNS, NFT = "dns", "dns+nft"
BOTH_MODES, BOTH_FAMILIES, NO_FAMILY = (DNS, NFT), (4, 6), (None,)
ALLOWED_V4, ALLOWED_V6 = "203.0.113.11", "2001:db8:1::11"
RULES = {"egress": [{"action": "allow", "target": target}
                    for target in ("*.allowed.test", SENTINEL[0], ALLOWED_V4, ALLOWED_V6)]}
SECURITY = pathlib.Path(__file__).resolve().parents[2] / "SECURITY.md"
_attacks = []


@dataclasses.dataclass(frozen=True)
class Attack:
    run: typing.Callable
    families: tuple
    modes: tuple
    net_raw: bool  # it needs CAP_NET_RAW
    once: bool     # it looks for a moment in which something is open: never run again
    open: str | None  # it succeeds with a sidecar, too, which this sentence of SECURITY.md says

    def __str__(self):
        return self.run.__name__


def attack(families=BOTH_FAMILIES, modes=(NFT,), net_raw=False, once=False, not_defended=None):
    """A function of a Scene becomes an attack of the suite."""
    def enter(run):
        assert run.__name__ not in [str(other) for other in _attacks], "two attacks of one name"
        _attacks.append(Attack(run, families, modes, net_raw, once, not_defended))
        return run
    return enter


@dataclasses.dataclass(frozen=True)
class Case:
    attack: Attack
    family: int | None
    mode: str | None  # None is the control
    net_raw: bool

    @property
    def control(self):
        return self.mode is None

    @property
    def succeeds(self):
        """What is right: where it is not defended, whoever closes it has to know of this sentence."""
        return self.control or bool(self.attack.open and self.net_raw == self.attack.net_raw)

    def __str__(self):
        parts = [str(self.attack), self.family and f"v{self.family}", self.mode or "control",
                 "net_raw" if self.net_raw else "no_cap"]
        return "-".join(part for part in parts if part)


def documented(sentence):
    return sentence in re.sub(r"\s+", " ", SECURITY.read_text())


def cases():
    """All of them, the controls first, then by mode, so that one sidecar serves many."""
    return [pytest.param(Case(one, family, mode, net_raw), marks=[pytest.mark.once] * one.once)
            for mode in (None, *BOTH_MODES) for one in _attacks if mode is None or mode in one.modes
            for family in one.families
            for net_raw in ([False, True] if one.net_raw and mode else [one.net_raw])]


class Stage:
    """What the cases of a module share: the world, a tap on the only cable, attackers, and the sidecar for as long as
    the next case wants the same one."""

    def __init__(self, world, folder):
        self.world, self._folder = world, folder
        self._stack = contextlib.ExitStack()
        self.tap = self._stack.enter_context(contextlib.closing(Tap(world.internet, "eth0")))
        self.mac = json.loads(world.internet.run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"]
        self._attackers = {}
        self.sidecar, self._settings = None, None

    def attacker(self, capabilities):
        if capabilities not in self._attackers:
            self._attackers[capabilities] = self._stack.enter_context(
                contextlib.closing(Attacker(self.world.sandbox, capabilities)))
        return self._attackers[capabilities]

    def guard(self, settings, fresh):
        if fresh or settings != self._settings or self.sidecar.process.poll() is not None:
            self.unguard()
            self._settings = settings
            self.sidecar = Sidecar(self.world.sandbox, self._folder, **settings)
            self.sidecar.wait_healthy()
        return self.sidecar

    def unguard(self):
        sidecar, self.sidecar, self._settings = self.sidecar, None, None
        try:
            if sidecar:
                sidecar.stop()
        finally:
            if sidecar and sidecar.process.poll() is None:
                sidecar.kill()
            for family in "inet", "netdev":
                self.world.sandbox.run("nft", "delete", "table", family, "opensandbox")

    def close(self):
        try:
            self.unguard()
        finally:
            self._stack.close()

    def play(self, case):
        """Runs a case and says what the attack came to."""
        if case.control and self.sidecar:
            self.unguard()
        self.tap.frames.clear()
        with contextlib.ExitStack() as stack:
            scene = Scene(self, case, stack)
            outcome = bool(case.attack.run(scene))
            assert case.control or scene.sidecar, "the attack called for no guard"
            return outcome


class Scene:
    """What one attack has: addresses of its family, some of which nobody else uses, and a token that nobody else sends.
    The token is of digits, which no resolver spells in another case."""

    def __init__(self, stage, case, stack):
        self.world, self.sandbox, self.internet = stage.world, stage.world.sandbox, stage.world.internet
        self.tap, self.mac, self.control, self.mode = stage.tap, stage.mac, case.control, case.mode
        self.sidecar = None
        v6 = case.family == 6
        self.v6 = v6
        self.own = SANDBOX_V6 if v6 else SANDBOX_V4
        self.gateway = GATEWAY_V6 if v6 else GATEWAY_V4
        self.allowed = ALLOWED_V6 if v6 else ALLOWED_V4
        self.google = GOOGLE_V6 if v6 else GOOGLE_V4
        self.foreign = "2001:db8:7::7" if v6 else "198.51.100.7"
        unique = random.getrandbits(16)
        self.denied = f"2001:db8:66::{unique:x}" if v6 else f"198.19.{unique >> 8}.{unique & 0xff}"
        self.token = f"{random.getrandbits(64):020}"
        self._stage, self._stack = stage, stack
        self._capabilities = DOCKER if case.net_raw else NO_CAP

    def guard(self, fresh=False, **settings):
        """From here on there is a sidecar, in the control there is none. `fresh`: one that nobody used before."""
        if not self.control:
            self.sidecar = self._stage.guard({"MODE": self.mode, "RULES": RULES, **settings}, fresh)
        return self.sidecar

    def unguard(self):
        """No sidecar and no rules, so that what comes is before the very first start."""
        self._stage.unguard()

    def run(self, move, *arguments):
        """The application calls move(*arguments), a function of a module: returns what it does, None when the kernel
        wants a capability for it that it has not."""
        return self._stage.attacker(self._capabilities).run(move, *arguments)

    def beside(self, move, *arguments):
        """The same for one that says `ready` and goes on until it is asked to finish: returns that function."""
        return self._stack.enter_context(attacker(self.sandbox, move, *arguments, capabilities=self._capabilities))

    def enter(self, context):
        """Ends with the case."""
        return self._stack.enter_context(context)

    def resolver(self, address, behave):
        return self.enter(contextlib.closing(Resolver(self.internet, address, behave)))

    def left(self, *needles):
        """Frames that left the sandbox with the token, the denied address, or one of these in them."""
        return self.tap.catch_up(self.sandbox).holding(self.token.encode(), self.denied, *needles)

    def sent_to(self, address, port):
        """Frames of any transport with this destination and port that left."""
        packed = ipaddress.ip_address(address).packed
        at = 14 + (24 if len(packed) == 16 else 16)
        ports = 14 + (40 if len(packed) == 16 else 20)
        return [frame for frame in self.tap.catch_up(self.sandbox).frames
                if frame[at:at + len(packed)] == packed and frame[ports + 2:ports + 4] == port.to_bytes(2, "big")]

    def ask(self, name, rdtype="A", **options):
        """What an honest client is told."""
        return dnsclient.ask(self.sandbox, name, rdtype, **options)
