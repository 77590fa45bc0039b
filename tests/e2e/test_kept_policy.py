"""Without a policy file: what the API accepted outlives a crash, in the kernel's table, as long as the network namespace."""

import json
import os
import signal

import pytest

from tests.support import dnsclient
from tests.support.sidecar import UNDER, command
from tests.support.tcpclient import connects, refusal_seconds, refused_at_once
from tests.support.waiting import wait_until

RULES = {"defaultAction": "allow", "egress": []}
DENY = [{"action": "deny", "target": "203.0.113.66"}, {"action": "deny", "target": "www.allowed.test"}]
DENIED = {"defaultAction": "allow", "egress": DENY}


def _crash(sidecar):
    sidecar.kill()
    sidecar.records.clear()
    sidecar.restart().wait_healthy()


def _is_denied(world):
    return (refused_at_once(refusal_seconds, world.sandbox, "203.0.113.66")
            and dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NXDOMAIN")


def test_what_was_denied_stays_denied_after_a_crash(world, start):
    sidecar = start(RULES=RULES)
    assert sidecar.wait_event("loaded")["source"] == "rules" and connects(world.sandbox, "203.0.113.66")
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    for _ in range(2):  # the start that took it keeps it for the next
        _crash(sidecar)
        assert sidecar.policy() == DENIED and _is_denied(world)
        assert sidecar.wait_event("loaded")["source"] == "table"
    assert sidecar.request("DELETE", "/policy", ["203.0.113.66"]).status == 200
    _crash(sidecar)
    assert sidecar.policy()["egress"] == DENY[1:] and connects(world.sandbox, "203.0.113.66")


@pytest.mark.skipif(UNDER != "", reason="the sidecar is a child of what is watched")
def test_supervised_sidecar_comes_back_with_what_the_api_denied(world, start):
    sidecar = start(arguments=("--supervise",), RULES=RULES)
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    pid = sidecar.wait_record(lambda r: r.get("opensandbox.event") == "egress.supervisor.start")["process.pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(sidecar.events("loaded")) == 2, timeout=10, what="the next sidecar")
    assert sidecar.wait_healthy().policy() == DENIED and _is_denied(world)


def test_an_ordered_stop_is_no_other_beginning(world, start):
    """A kubelet's restart, after its liveness probe failed, begins with SIGTERM."""
    sidecar = start(RULES=RULES)
    assert sidecar.request("POST", "/policy", DENIED).status == 200
    assert sidecar.stop() == 0
    sidecar.restart().wait_healthy()
    assert sidecar.policy() == DENIED and _is_denied(world)


def test_mode_dns(world, start):
    sidecar = start(RULES=RULES, MODE="dns")
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    _crash(sidecar)
    assert sidecar.policy() == DENIED
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NXDOMAIN"


def test_refused_changes_leave_no_trace(start):
    sidecar = start(RULES=RULES)
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    assert sidecar.request("POST", "/policy", {"egress": [{"action": "allow", "target": "a b"}]}).status == 400
    assert sidecar.request("POST", "/policy?dryRun=true", {"egress": []}).status == 200
    _crash(sidecar)
    assert sidecar.policy() == DENIED


def test_other_rules_are_another_beginning(world, start):
    sidecar = start(RULES=RULES)
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    other = {"egress": [{"action": "allow", "target": "203.0.113.11"}]}
    sidecar.settings["RULES"] = other
    _crash(sidecar)
    assert sidecar.policy()["egress"] == other["egress"]
    assert sidecar.wait_event("loaded")["source"] == "rules"
    sidecar.wait_record(lambda r: r["level"] == "warn" and "OPENSANDBOX_EGRESS_RULES is not what it was" in r["msg"])
    sidecar.settings["RULES"] = RULES
    _crash(sidecar)
    assert sidecar.policy() == RULES, "what was dropped is gone"


def test_table_that_is_gone_is_another_beginning(world, start):
    sidecar = start(RULES=RULES)
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    sidecar.kill()
    assert command(world.sandbox, ["--cleanup"], {}).returncode == 0
    sidecar.restart().wait_healthy()
    assert sidecar.policy() == RULES


def test_policy_file_has_the_say(start, tmp_path):
    path = tmp_path / "policy.json"
    sidecar = start(RULES=RULES)
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    sidecar.settings["POLICY_FILE"] = str(path)
    path.write_text(json.dumps({"defaultAction": "deny", "egress": []}))
    _crash(sidecar)
    assert sidecar.policy() == {"defaultAction": "deny", "egress": []}
    assert sidecar.wait_event("loaded")["source"] == "file"


def test_harm_to_the_table_costs_nothing(world, start):
    sidecar = start(RULES=RULES)
    assert sidecar.request("PATCH", "/policy", DENY).status == 200
    world.sandbox.nft("delete table inet opensandbox")
    sidecar.wait_record(lambda r: r["level"] == "error" and "changed from outside" in r["msg"])
    _crash(sidecar)
    assert sidecar.policy() == DENIED


def test_thousands_of_names(start):
    """As many as MAX_RULES allows, of the length that names may have."""
    rules = [{"action": "deny", "target": f"n{i}." + ".".join(["a" * 60] * 3) + ".test"} for i in range(4096)]
    sidecar = start(RULES=RULES)
    assert sidecar.request("POST", "/policy", {"egress": rules}).status == 200
    assert sidecar.request("PATCH", "/policy", DENY[:1]).status == 413
    _crash(sidecar)
    assert sidecar.policy()["egress"] == rules
