"""Flows that lost permission: the application keeps its socket, the far end goes on. Nothing more may leave; in the
control, without a sidecar, it does."""

import contextlib
import os
import socket

import pytest

from tests.support import dnsclient
from tests.support.far import Flow
from tests.support.tap import SENTINEL, Tap

FAR = {4: "203.0.113.10", 6: "2001:db8:1::10"}
TYPES = {4: "A", 6: "AAAA"}
NAMES = [{"action": "allow", "target": target} for target in ("*.allowed.test", SENTINEL[0])]
DENIALS = {"name": "www.allowed.test", "address": None}
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = {"tcp": (TCP, {}), "tcp-device": (TCP, {"device": "eth0"}), "udp": (UDP, {}),
         "udp-device": (UDP, {"device": "eth0"}), "udp-unconnected": (UDP, {"connected": False})}
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
GUARDED = pytest.mark.parametrize("guarded", [False, True], ids=["control", "guarded"])


def _deny(sidecar, family, denial):
    """The answer comes when flows have ended."""
    target = DENIALS[denial] or FAR[family]
    assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": target}]).status == 200


@contextlib.contextmanager
def _flow(world, start, family, kind, guarded):
    """A flow to an allowed name's address; the sidecar, if there is one."""
    sidecar = start(RULES={"egress": NAMES}) if guarded else None
    if guarded:
        dnsclient.ask(world.sandbox, "www.allowed.test", TYPES[family])
    sort, options = KINDS[kind]
    with contextlib.closing(Flow(world, FAR[family], sort, **options)) as flow:
        yield sidecar, flow


@FAMILIES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("denial", DENIALS)
@GUARDED
def test_socket_that_lives_on(world, start, family, kind, denial, guarded):
    """Bound to a device it was not found, and the entry was deleted as if it were gone. Later the address counts as
    revoked no more, and an entry that conntrack still had let everything pass."""
    token = os.urandom(16)
    with contextlib.closing(Tap(world.internet, "eth0")) as tap, \
            _flow(world, start, family, kind, guarded) as (sidecar, flow):
        if guarded:
            _deny(sidecar, family, denial)
        flow.hears()
        flow.say(token)
        if guarded:
            world.sandbox.nft(f"flush set inet opensandbox revoked_v{family}")
        flow.say(token)
        assert bool(tap.catch_up(world.sandbox).holding(token)) != guarded


@FAMILIES
@pytest.mark.parametrize("denial", DENIALS)
@GUARDED
def test_entry_that_had_its_time(world, start, family, denial, guarded):
    """Nobody sent for two minutes; then the far end does, and the name is asked for once more if that helps."""
    token = os.urandom(16)
    with contextlib.closing(Tap(world.internet, "eth0")) as tap, \
            _flow(world, start, family, "udp-unconnected", guarded) as (sidecar, flow):
        if guarded:
            _deny(sidecar, family, denial)
            if denial == "address":
                dnsclient.ask(world.sandbox, "api.allowed.test", TYPES[family])
                dnsclient.ask(world.sandbox, "www.allowed.test", TYPES[family])
        world.sandbox.run("conntrack", "-F")
        flow.hears()
        flow.say(token)
        assert bool(tap.catch_up(world.sandbox).holding(token)) != guarded


@FAMILIES
def test_socket_bound_to_a_device_gets_its_error(world, start, family):
    with _flow(world, start, family, "tcp-device", True) as (sidecar, flow):
        _deny(sidecar, family, "name")
        with pytest.raises(ConnectionError):
            flow.near.recv(100)


@FAMILIES
def test_address_that_is_allowed_again_answers_at_once(world, start, family):
    """Whatever its far end sent in the meantime."""
    with _flow(world, start, family, "udp-unconnected", True) as (sidecar, flow):
        _deny(sidecar, family, "address")
        assert not flow.hears()
        assert sidecar.request("PUT", "/policy", {"egress": NAMES}).status == 200
        dnsclient.ask(world.sandbox, "www.allowed.test", TYPES[family])
        flow.say(b"hello")
        assert flow.hears()
