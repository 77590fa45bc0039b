"""A sidecar that has nothing to do is small: what only its start needed is given back."""

import pytest

from tests.support import dnsclient
from tests.support.memory import is_usual, status_kib
from tests.support.waiting import wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}


def _shrinks_below(pid, kib):
    if not is_usual(pid):
        pytest.skip("memory is another one under sanitizers and valgrind")
    wait_until(lambda: status_kib(pid, "VmRSS") < kib, timeout=15, what=f"less than {kib} KiB")


def test_idle_sidecar_is_small_and_still_works(world, start):
    sidecar = start(RULES=RULES)
    assert status_kib(sidecar.process.pid, "VmHWM") > 5000
    _shrinks_below(sidecar.process.pid, 5000)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert sidecar.request("GET", "/policy").status == 200


def test_supervisor_is_small(start):
    sidecar = start(RULES=RULES, arguments=("--supervise",))
    _shrinks_below(sidecar.process.pid, 2500)
