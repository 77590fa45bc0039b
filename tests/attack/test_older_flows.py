"""What was opened before the very first start, whose far end is the next to speak: to conntrack that is a connection from
outside. Nothing of it may leave; in the control, without a sidecar, it does."""

import contextlib
import os
import socket

import pytest

from tests.support.far import Flow
from tests.support.tap import SENTINEL, Tap
from tests.support.world import SANDBOX_V4, SANDBOX_V6

FAR = {4: "203.0.113.66", 6: "2001:db8:1::66"}
OWN = {4: SANDBOX_V4, 6: SANDBOX_V6}
PORT = 7200
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = {
    "tcp": (TCP, {}), "tcp-listening": (TCP, {"listening": True, "own": True}), "tcp-device": (TCP, {"device": "eth0"}),
    "udp": (UDP, {}), "udp-unconnected": (UDP, {"connected": False}),
    "udp-bound": (UDP, {"connected": False, "own": True}), "udp-listening": (UDP, {"listening": True, "own": True}),
    "udp-device": (UDP, {"connected": False, "device": "eth0"}),
}
POLICIES = {"default": {"egress": [{"action": "allow", "target": SENTINEL[0]}]},
            "always": {"defaultAction": "allow"}}


@pytest.fixture(params=[False, True], ids=["untracked", "tracked"])
def tracking(world, request):
    """Whether conntrack looks at packets, as it does while rules want it; it begins when the flows are open."""
    def begin():
        if request.param:
            world.sandbox.nft("table inet tracker { chain c { type filter hook input priority 0; ct state new; }; }")
    yield begin
    if request.param:
        world.sandbox.nft("delete table inet tracker")
    world.sandbox.run("conntrack", "-F")


@pytest.mark.parametrize("guarded", [False, True], ids=["control", "guarded"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_flow_whose_far_end_speaks_first(world, start, tracking, tmp_path, family, kind, policy, guarded):
    token = os.urandom(16)
    sort, options = KINDS[kind]
    options = {**options, **({"own": (OWN[family], PORT)} if options.get("own") else {})}
    with contextlib.closing(Tap(world.internet, "eth0")) as tap, \
            contextlib.closing(Flow(world, FAR[family], sort, **options)) as flow:
        tracking()
        flow.speak()
        flow.near.recv(100)
        if guarded:
            (tmp_path / "rules").mkdir()
            if policy == "always":
                (tmp_path / "rules" / "deny.always").write_text(f"{FAR[family]}\n")
            start(RULES=POLICIES[policy])
        flow.hears()
        flow.say(token)
        assert bool(tap.catch_up(world.sandbox).holding(token)) != guarded


def test_flow_that_is_older_goes_on_to_be_refused(world, start):
    """After a restart of the sidecar, and when the ports of the first start are forgotten."""
    token = os.urandom(16)
    with contextlib.closing(Tap(world.internet, "eth0")) as tap, \
            contextlib.closing(Flow(world, FAR[4], UDP, connected=False)) as flow:
        sidecar = start(RULES=POLICIES["default"])
        assert not flow.hears()
        sidecar.kill()
        sidecar.restart().wait_healthy()
        world.sandbox.nft("flush set inet opensandbox older_ports")
        assert not flow.hears()
        flow.say(token)
        assert not tap.catch_up(world.sandbox).holding(token)


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_server_that_is_younger_than_the_sidecar_is_reached_from_a_denied_network(world, start, kind, family):
    start(RULES={})
    with world.sandbox.inside():
        server = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind)
    with server:
        server.settimeout(2)
        server.bind((OWN[family], 0))
        if kind == TCP:
            server.listen(1)
        with world.internet.inside(), socket.socket(server.family, kind) as client:
            client.settimeout(2)
            client.connect(server.getsockname()[:2])
            client.send(b"?")
            inside = server.accept()[0] if kind == TCP else server
            data, source = inside.recvfrom(10)
            inside.send(b"!") if kind == TCP else inside.sendto(b"!", source)
            assert (data, client.recv(10)) == (b"?", b"!")
            inside.close()
