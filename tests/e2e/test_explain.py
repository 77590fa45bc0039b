"""/policy/explain and /policy/effective: why something passes or not."""

import pytest

from tests.e2e.test_policy_api import rules
from tests.support import dnsclient
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import wait_until
from tests.support.world import SANDBOX_V4, SANDBOX_V6

POLICY = {"egress": rules("+*.allowed.test +198.51.100.0/24 -203.0.113.13")}


@pytest.fixture
def sidecar(start, tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "deny.always").write_text("deep.down.allowed.test\n198.51.100.66\n")
    (folder / "allow.always").write_text("www.other.test\n")
    return start(RULES=POLICY)


def _explain(sidecar, target):
    reply = sidecar.request("GET", f"/policy/explain?target={target}")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/json"
    return reply.json()


def _verdict(sidecar, target):
    answer = _explain(sidecar, target)
    assert answer["target"] == target
    return answer["action"], answer["layer"], answer["rule"] and answer["rule"]["target"]


@pytest.mark.parametrize("name, verdict", [
    ("www.allowed.test", ("allow", "policy", "*.allowed.test")),
    ("deep.down.allowed.test", ("deny", "deny_always", "deep.down.allowed.test")),
    ("www.other.test", ("allow", "allow_always", "www.other.test")),
    ("allowed.test", ("deny", "default", None))])
def test_names(world, sidecar, name, verdict):
    assert _verdict(sidecar, name) == verdict
    assert (dnsclient.rcode(dnsclient.ask(world.sandbox, name)) == "NXDOMAIN") is (verdict[0] == "deny")
    assert "lease" not in _explain(sidecar, name)


@pytest.mark.parametrize("address, verdict", [
    ("198.51.100.1", ("allow", "policy", "198.51.100.0/24")),
    ("198.51.100.66", ("deny", "deny_always", "198.51.100.66")),
    ("203.0.113.13", ("deny", "policy", "203.0.113.13")),
    ("203.0.113.10", ("deny", "default", None)), ("2001:db8:1::10", ("deny", "default", None))])
def test_addresses(world, sidecar, address, verdict):
    assert _verdict(sidecar, address) == verdict
    assert connects(world.sandbox, address) is (verdict[0] == "allow")
    assert _explain(sidecar, address)["lease"] is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", SANDBOX_V4, SANDBOX_V6])
def test_own_addresses(world, sidecar, address):
    """Whatever the rules say of them."""
    sidecar.request("PATCH", "/policy", rules(f"-{address}"))
    assert _verdict(sidecar, address) == ("allow", "own", None)
    assert connects(world.sandbox, address, 18080)


def test_learned_and_revoked_addresses(world, sidecar):
    address = "203.0.113.10"
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert connects(world.sandbox, address)
    assert _verdict(sidecar, address) == ("allow", "learned", None)
    lease = _explain(sidecar, address)["lease"]
    assert (lease["state"], lease["names"]) == ("learned", ["www.allowed.test"])
    assert 100 <= lease["seconds"] <= 120
    sidecar.request("PATCH", "/policy", rules("-www.allowed.test"))
    refusal_seconds(world.sandbox, address)
    assert _verdict(sidecar, address) == ("deny", "revoked", None)
    lease = _explain(sidecar, address)["lease"]
    assert (lease["state"], lease["names"]) == ("revoked", ["www.allowed.test"])
    sidecar.request("PATCH", "/policy", rules(f"+{address}"))
    assert _verdict(sidecar, address) == ("allow", "policy", address)
    assert connects(world.sandbox, address)


def test_always_files_are_seen_as_they_are_now(sidecar, tmp_path):
    (tmp_path / "rules/deny.always").write_text("www.allowed.test\n")
    wait_until(lambda: _verdict(sidecar, "www.allowed.test") == ("deny", "deny_always", "www.allowed.test"))
    assert _verdict(sidecar, "deep.down.allowed.test")[1] == "policy"
    assert sidecar.request("GET", "/policy/effective").json()["deny_always"] == rules("-www.allowed.test")


def test_effective(sidecar):
    reply = sidecar.request("GET", "/policy/effective")
    assert reply.headers["Content-Type"] == "application/json" and reply.text.endswith("\n")
    assert (reply.status, reply.json()) == (200, {
        "status": "ok", "mode": "enforcing", "enforcementMode": "dns+nft",
        "deny_always": rules("-deep.down.allowed.test -198.51.100.66"), "allow_always": rules("+www.other.test"),
        "policy": {"egress": POLICY["egress"], "defaultAction": "deny"}})
    assert sidecar.policy() == {"egress": POLICY["egress"], "defaultAction": "deny"}, "GET /policy shows no always rules"


@pytest.mark.parametrize("query", ["", "?", "?target", "?target=", "?target=*.a.test", "?target=10.0.0.0/8",
                                   "?target=https://a.test/", "?target=a.test:443", "?target=a%00.test", "?name=a.test"])
def test_what_cannot_be_explained(sidecar, query):
    reply = sidecar.request("GET", f"/policy/explain{query}")
    assert reply.status == 400 and reply.text.startswith("target: ") and reply.text.count("\n") == 1


def test_methods_token_and_records(start):
    sidecar = start(TOKEN="s3cret", RULES=POLICY)
    right = {"OPENSANDBOX-EGRESS-AUTH": "s3cret"}
    for path in "/policy/explain", "/policy/effective":
        assert sidecar.request("GET", f"{path}?target=a.test").status == 401
        assert sidecar.request("GET", f"{path}?target=a.test", headers=right).status == 200
        reply = sidecar.request("POST", path, "{}", headers=right)
        assert (reply.status, reply.headers["Allow"]) == (405, "GET")
        sidecar.wait_record(lambda record, path=path: record.get("http.route") == path
                            and record.get("http.response.status_code") == 200)
