"""What somebody does to the table is noticed within a second, mended and told; /healthz tells the truth meanwhile."""

import subprocess
import time

import pytest

from tests.support import dnsclient, netns
from tests.support.metrics import Scrape
from tests.support.sidecar import Sidecar
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import GATEWAY_V4, GATEWAY_V6, SANDBOX_V6

TABLE = "inet opensandbox"
RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}, {"action": "deny", "target": "203.0.113.66"},
                    {"action": "allow", "target": "198.51.100.0/24"}]}
WITHIN_S = 1.0
LOAD_S = 3.0  # of other programs of the machine, at one harm or another

HARMS = [
    ("flush ruleset", "the table deleted"),
    (f"delete table {TABLE}", "the table deleted"),
    (f"flush chain {TABLE} egress; delete chain {TABLE} egress", "chain egress deleted"),
    (f"flush chain {TABLE} dns; delete chain {TABLE} dns", "chain dns deleted"),
    (f"flush chain {TABLE} egress", "a rule of chain egress deleted"),
    (f"insert rule {TABLE} egress accept", "a rule of chain egress added"),
    (f"add chain {TABLE} egress {{ policy accept; }}", "chain egress changed"),
    (f"flush set {TABLE} deny_v4", "elements of set deny_v4 deleted"),
    (f"flush set {TABLE} dyn_allow_v4", "203.0.113.10 of set dyn_allow_v4 deleted"),
    (f"add element {TABLE} allow_v4 {{ 203.0.113.11/32 }}", "of set allow_v4 added"),
    (f"add element {TABLE} dyn_allow_v4 {{ 203.0.113.11 }}", "203.0.113.11 of set dyn_allow_v4 added"),
    (f"add element {TABLE} revoked_v4 {{ 203.0.113.10 }}", "203.0.113.10 of set revoked_v4 added"),
]


def _errors(sidecar):
    return [record["msg"] for record in sidecar.records if record["level"] == "error"]


def test_harm_is_mended_within_a_second_and_told(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    seconds = []
    for number, (harm, told) in enumerate(HARMS):
        world.sandbox.nft(harm)
        begin = time.monotonic()
        wait_until(lambda number=number: len(_errors(sidecar)) > number, what=f"an error that tells of {harm}")
        seconds.append(time.monotonic() - begin)
        assert seconds[-1] < (WITHIN_S + LOAD_S) * PATIENCE, harm
        message = _errors(sidecar)[number]
        assert "changed from outside" in message and told in message
        assert connects(world.sandbox, "203.0.113.10"), harm
        refusal_seconds(world.sandbox, "203.0.113.11")
        refusal_seconds(world.sandbox, "203.0.113.66")
        assert sidecar.healthy()
    assert sorted(seconds)[len(seconds) // 4] < WITHIN_S * PATIENCE
    assert len(_errors(sidecar)) == len(HARMS)  # each was mended for good at once
    scrape = Scrape(sidecar)
    assert scrape.value("egress_nftables_repairs_total") == len(HARMS)
    assert scrape.value("egress_nftables_errors_total") == 0


def test_what_others_do_in_their_tables_is_theirs(world, start):
    sidecar = start(RULES=RULES)
    other = f"other_{sidecar.process.pid}"
    world.sandbox.nft(f"add table inet {other}; add chain inet {other} out {{ type filter hook output priority 5; }}")
    try:
        made = world.sandbox.run("nft", "-s", "-a", "list", "table", "inet", "opensandbox").stdout
        begin = time.monotonic()
        while time.monotonic() - begin < 2 * WITHIN_S:
            world.sandbox.nft(f"add rule inet {other} out meta mark 1 accept")
        assert world.sandbox.run("nft", "-s", "-a", "list", "table", "inet", "opensandbox").stdout == made
        world.sandbox.nft(f"flush chain {TABLE} egress")  # and it still looks
        wait_until(lambda: _errors(sidecar), what="an error that tells of it")
        assert len(_errors(sidecar)) == 1
    finally:
        world.sandbox.nft(f"delete table inet {other}")


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
def test_healthz_says_no_as_long_as_it_cannot_be_mended(world, start, mode):
    """A table that another program owns is not ours to delete."""
    sidecar = start(RULES=RULES, MODE=mode)
    with world.sandbox.popen("nft", "-i", stdin=subprocess.PIPE, text=True) as owner:
        # One line is one transaction: the sidecar puts no table of its own in between.
        owner.stdin.write(f"delete table {TABLE}; add table {TABLE} {{ flags owner; }}\n")
        owner.stdin.flush()
        sidecar.wait_unhealthy()
        reply = sidecar.request("GET", "/healthz")
        assert reply.status == 503 and "not in place" in reply.text
        assert sidecar.request("HEAD", "/healthz").status == 503
        assert Scrape(sidecar).value("egress_enforcement_active") == 0
        cannot = sidecar.wait_record(lambda record: record["level"] == "error")
        assert "cannot be put in place" in cannot["msg"]
        owner.stdin.close()
        owner.wait(10)
    sidecar.wait_healthy()
    assert Scrape(sidecar).value("egress_enforcement_active") == 1
    sidecar.wait_record(lambda record: record["level"] == "error" and "the table deleted" in record["msg"])
    assert len(_errors(sidecar)) == 2  # once each, however long it took
    assert "chain dns" in world.sandbox.table()


HARM_TO_WHAT_DENIES = ["flush ruleset", f"delete table {TABLE}", f"insert rule {TABLE} egress accept"]


@pytest.mark.once
@pytest.mark.parametrize("harm", HARM_TO_WHAT_DENIES)
def test_healthz_never_says_ok_about_a_table_that_is_not_there(world, start, harm):
    """Not even in the moment before the sidecar looks by itself."""
    sidecar = start(RULES=RULES)
    for _ in range(5):
        world.sandbox.nft(harm)
        assert sidecar.request("GET", "/healthz").status == 200
        refusal_seconds(world.sandbox, "203.0.113.66")
        assert "policy drop" in world.sandbox.table()


@pytest.mark.once
@pytest.mark.parametrize("mode, harm", [("dns", "flush ruleset"), ("dns", f"flush chain {TABLE} dns"),
                                        *(("dns+nft", harm) for harm in HARM_TO_WHAT_DENIES)])
def test_change_puts_the_table_back(world, start, mode, harm):
    """Whoever is told that a change is in force can rely on it, whatever was done to the table a moment before."""
    sidecar = start(RULES=RULES, MODE=mode)
    for number in range(5):
        target = f"198.51.100.{number + 1}"
        world.sandbox.nft(harm)
        reply = sidecar.request("PATCH", "/policy", [{"action": "deny", "target": target}])
        assert reply.status == 200, reply.text
        assert "redirect to :15353" in world.sandbox.table()
        if mode == "dns+nft":
            refusal_seconds(world.sandbox, target)
            refusal_seconds(world.sandbox, "203.0.113.66")
        assert sidecar.policy()["egress"][0]["target"] == target


@pytest.mark.once
def test_answer_puts_the_table_back(world, start):
    """A name is not answered with an address that nothing lets through, nor with an error."""
    sidecar = start(RULES=RULES)
    for name in "www", "api", "v4only":
        world.sandbox.nft(f"delete table {TABLE}; add table {TABLE}; add chain {TABLE} dns {{ type nat hook output priority"
                          " -110; }; add rule inet opensandbox dns meta l4proto { tcp, udp } th dport 53 meta mark 0"
                          " redirect to :15353")
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, f"{name}.allowed.test")) == "NOERROR"
    assert sidecar.healthy()


def test_namespace_that_its_devices_left(start, world):
    """An application that is restarted by itself has a new network namespace; the sidecar guards nobody then."""
    sidecar = start(RULES=RULES)
    begin = time.monotonic()
    world.sandbox.ip("link set eth0 down")
    try:
        lost = sidecar.wait_record(lambda record: record.get("opensandbox.event") == "egress.network.lost")
        assert lost["level"] == "error" and time.monotonic() - begin < (WITHIN_S + LOAD_S) * PATIENCE
        sidecar.wait_unhealthy()
        reply = sidecar.request("GET", "/healthz")
        assert reply.status == 503 and "no route leads out" in reply.text
        assert sidecar.request("GET", "/livez").status == 200, "a restart does not help against it"
        assert Scrape(sidecar).value("egress_enforcement_active") == 0
    finally:
        world.sandbox.ip("link set eth0 up")
        world.sandbox.ip(f"route add default via {GATEWAY_V4}")
        world.sandbox.ip(f"-6 addr replace {SANDBOX_V6}/64 dev eth0 nodad")
        world.sandbox.ip(f"-6 route replace default via {GATEWAY_V6}")
    sidecar.wait_healthy()
    sidecar.wait_record(lambda record: "lead out of this network namespace again" in record["msg"])
    refusal_seconds(world.sandbox, "203.0.113.66")


@pytest.fixture
def bare():
    """A sandbox with loopback alone, and a device in it that leads nowhere."""
    namespace = netns.Namespace("bare")
    yield namespace
    namespace.close()


def test_namespace_that_never_had_a_device(bare, tmp_path):
    sidecar = Sidecar(bare, tmp_path, RULES=RULES)
    try:
        sidecar.wait_healthy()
        bare.ip("link add late type veth peer name far")
        bare.ip("link set late up")
        bare.ip("link set far up")
        bare.ip("addr add 203.0.113.1/24 dev late")
        bare.nft("add table inet other")  # so that it looks before it answers, and has seen the route
        assert sidecar.healthy()
        bare.ip("link del late")
        sidecar.wait_record(lambda record: record.get("opensandbox.event") == "egress.network.lost")
        sidecar.wait_unhealthy()
    finally:
        sidecar.stop()
