"""A sidecar that may have 32 MiB, kernel's memory on its behalf included, as a control group has it: whatever the sandbox
does, it is not killed, answers, and stays closed."""

import re
import threading
import time

import pytest

from tests.support import dnsclient
from tests.support.cgroup import MemoryLimit
from tests.support.hostile import SHARES, hostile, watch_from
from tests.support.memory import is_usual
from tests.support.metrics import Scrape
from tests.support.sidecar import BINARY, environment
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import wait_until

LIMIT = 32 << 20
ODD = "198.51.100.53"
RULES = {"egress": [{"action": "allow", "target": "*.wild.test"}, {"action": "allow", "target": "*.allowed.test"}]}
TOKEN = {"OPENSANDBOX-EGRESS-AUTH": "secret"}
ROUNDS = 12


@pytest.fixture
def memory():
    limit = MemoryLimit(LIMIT)
    yield limit
    wait_until(limit.close, what="the end of the group")


@pytest.fixture
def start_small(memory, start):
    def start_one(**settings):
        sidecar = start(RULES=RULES, TOKEN="secret", LOG_LEVEL="warn", through=(*SHARES, *memory.through), **settings)
        if not is_usual(sidecar.process.pid):
            pytest.skip("memory is another one under sanitizers and valgrind")
        return sidecar
    return start_one


class Changes:
    """Policies that come and go, ten a second, for as long as the block lasts."""

    def __init__(self, sidecar):
        self._sidecar, self.statuses = sidecar, []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        number = 0
        while not self._ended.wait(0.1):
            number += 1
            many = [{"action": "deny", "target": f"n{i}.{number}.test"} for i in range(100)]
            body = {"egress": [*RULES["egress"], *many]}
            try:
                self.statuses.append(self._sidecar.request("POST", "/policy", body, TOKEN).status)
            except OSError as error:
                self.statuses.append(error)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(30)


def _survives(world, sidecar, memory, seconds):
    peak, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        peak = max(peak, memory.usage())
        assert not memory.kills() and sidecar.process.poll() is None
        time.sleep(0.05)
    best = min((watch_from(world.sandbox, "www.wild.test", 50) for _ in range(ROUNDS)), key=lambda one: one["lost"])
    assert not best["lost"]
    refusal_seconds(world.sandbox, "203.0.113.66")
    assert sidecar.request("GET", "/healthz").status == 200
    assert not memory.kills() and sidecar.process.poll() is None
    print(f"peak {peak >> 10} KiB of {LIMIT >> 10}")  # for docs/reliability.md, with pytest -s


def test_flood_of_names_and_addresses(world, memory, start_small):
    """Each name leads to 64 addresses: without a bound there are 262,144 of them in a second or two."""
    with hostile(world.internet, "wide_upstream", ODD):
        sidecar = start_small(DNS_UPSTREAM=ODD)
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.wild.test", timeout=20)) == ["203.0.113.10"]
        with hostile(world.sandbox, "flood", "wild.test", 1_000, 1), Changes(sidecar) as changes:
            wait_until(lambda: Scrape(sidecar).value("egress_dynamic_evicted_total") > 50_000, timeout=20,
                       what="as many addresses as there may be")
            _survives(world, sidecar, memory, 5)
            scrape = Scrape(sidecar)
            assert scrape.value("egress_dynamic_addresses", family="ipv4") <= 4096
            assert scrape.value("egress_nftables_errors_total") == scrape.value("egress_nftables_repairs_total") == 0
        assert len(changes.statuses) > 10 and set(changes.statuses) == {200}
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.wild.test")) == ["203.0.113.10"]
        assert connects(world.sandbox, "203.0.113.10")


@pytest.mark.parametrize("verb, count", [("greedy", 400), ("idle", 2000)])
def test_tcp_clients(world, memory, start_small, verb, count):
    sidecar = start_small()
    with hostile(world.sandbox, verb, count):
        _survives(world, sidecar, memory, 3)


def test_defaults_fit_the_limit_and_what_is_set_stays(world, memory):
    def shown(**settings):
        done = world.sandbox.run(*memory.through, BINARY, "--check", env=environment({"DNS_UPSTREAM": ODD, **settings}))
        return dict(re.findall(r"^OPENSANDBOX_EGRESS_(\w+)=(\d+)$", done.stdout, re.M))
    fitting = shown()
    assert (fitting["MAX_ADDRESSES"], fitting["DNS_TCP_MAX_UNSENT_KIB"]) == ("4096", "4096")
    assert shown(MAX_ADDRESSES="262144")["MAX_ADDRESSES"] == "262144"
